"""One signal written in every format, read back; and files that must be refused in one line."""

from __future__ import annotations

import datetime as dt
import io
import json
import struct
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.formats import plain, reader, recording, sample_types, seconds
from heimdall.formats.gps_time import Moment, gps_ns_of_utc, to_utc, utc_ns
from heimdall.formats.reader import Hints
from heimdall.formats.recording import TimedRecording

RATE_HZ = 48_000
START = dt.datetime(2024, 5, 6, 7, 8, 9, 250_000, tzinfo=dt.UTC)
RAW = Hints(sample_rate_hz=RATE_HZ)


def signal(count: int = RATE_HZ // 4) -> npt.NDArray[np.complex64]:
    random = np.random.default_rng(7)
    return (0.1 * (random.normal(size=count) + 1j * random.normal(size=count))).astype(np.complex64)


def stored(kind: str, samples: npt.NDArray[np.complex64], zero: float | None = None) -> bytes:
    """The samples as bytes: `kind` is a component's type as `plain.RAW_TYPES` names it, or cs24.

    Zero of unsigned bytes is 127.5 in a raw file, and 128 in WAV and SigMF.
    """
    parts = samples.view(np.float32).astype(np.float64)
    if kind == "cs24":
        words = np.round(parts * 2**23).astype("<i4")
        return words.view(np.uint8).reshape(-1, 4)[:, :3].tobytes()
    known = plain.RAW_TYPES[kind]
    scaled = parts * known.full_scale + (known.zero if zero is None else zero)
    if kind.startswith("cf"):
        return parts.astype(known.dtype).tobytes()
    return np.round(scaled).astype(known.dtype).tobytes()


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body + b"\0" * (len(body) % 2)


def fmt(code: int, bits: int, channels: int = 2, *, extensible: bool = False) -> bytes:
    frame = channels * bits // 8
    plain_fmt = struct.pack(
        "<HHIIHH", 0xFFFE if extensible else code, channels, RATE_HZ, RATE_HZ * frame, frame, bits
    )
    guid = struct.pack("<H", code) + bytes.fromhex("000000001000800000aa00389b71")
    return plain_fmt + struct.pack("<HHI", 22, bits, 3) + guid if extensible else plain_fmt


def wav(form: bytes, data: bytes, *others: bytes) -> bytes:
    body = b"WAVE" + chunk(b"fmt ", form) + b"".join(others) + chunk(b"data", data)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def rf64(form: bytes, data: bytes, magic: bytes = b"RF64") -> bytes:
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, len(data), 0, 0))
    head = magic + b"\xff\xff\xff\xffWAVE" + sizes + chunk(b"fmt ", form)
    return head + b"data\xff\xff\xff\xff" + data + chunk(b"LIST", b"made by a test")


def auxi(second: int = 9, stop: int = 0, frequency_hz: int = 145_500_000, **changes: int) -> bytes:
    """A header that says that it began then, or at another hour or year; it stopped so many seconds later."""
    millisecond = changes.get("millisecond", 250)
    began = (changes.get("year", 2024), 5, 1, 6, changes.get("hour", 7), 8, second, millisecond)
    ended = (2024, 5, 1, 6, 7, 8 + stop // 60, second + stop % 60, 500) if stop else (0,) * 8
    return chunk(b"auxi", struct.pack("<8H8H9I", *began, *ended, frequency_hz, *[0] * 8))


AUXI = auxi()
XML = chunk(
    b"auxi",
    '<?xml version="1.0"?><SDR-XML-Root><Definition CurrentTimeUTC="06-05-2024 07:08:09" '
    'RadioCenterFreq="145500000" SampleRate="48000"/></SDR-XML-Root>'.encode("utf-16-le"),
)


def npy(version: tuple[int, int] = (1, 0), **changes: Any) -> bytes:  # noqa: ANN401
    stream = io.BytesIO()
    np.lib.format.write_array(stream, changes.get("array", signal()), version=version)
    return stream.getvalue()


WAV_KINDS = {
    ("cu8", 1, 8): 0.01,
    ("cs16", 1, 16): 1e-4,
    ("cs24", 1, 24): 1e-6,
    ("cs32", 1, 32): 1e-6,
    ("cf32", 3, 32): 0.0,
    ("cf64", 3, 64): 0.0,
}


@pytest.mark.parametrize("extensible", [False, True])
@pytest.mark.parametrize(("kind", "code", "bits"), WAV_KINDS)
def test_iq_in_a_wav_file_is_read_whatever_its_samples_are(
    tmp_path: Path, kind: str, code: int, bits: int, extensible: bool
) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(
        wav(fmt(code, bits, extensible=extensible), stored(kind, signal(), 128.0 * (bits == 8)), AUXI)
    )
    (read,) = reader.read(path)
    np.testing.assert_allclose(read.samples, signal(), atol=max(WAV_KINDS[kind, code, bits], 1e-9))
    assert (read.sample_rate_hz, read.frequency_hz, read.start_utc) == (RATE_HZ, 145.5e6, START)
    assert read.missing == ("GPS time", "receiver")


@pytest.mark.parametrize(
    "content",
    [
        rf64(fmt(3, 32), stored("cf32", signal())),
        rf64(fmt(3, 32), stored("cf32", signal()), b"BW64"),
        wav(fmt(3, 32), stored("cf32", signal()), chunk(b"odd ", b"abc")),
    ],
)
def test_long_and_odd_wav_files_are_read(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    np.testing.assert_array_equal(reader.read(path)[0].samples, signal())


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000, 0x80000000])
@pytest.mark.parametrize("begin", [b"", b"abcd\x7f\x80\x81\x82"])  # samples may look like a chunk's name
def test_wav_of_a_killed_recorder_is_read_to_its_end_and_said(
    tmp_path: Path, size: int, begin: bytes
) -> None:
    data = begin + stored("cs16", signal())[len(begin) :]
    content = wav(fmt(1, 16), data)
    path = tmp_path / "x.wav"
    path.write_bytes(content[: -len(data) - 4] + struct.pack("<I", size) + data)
    (read,) = reader.read(path)
    np.testing.assert_allclose(read.samples[2:], signal()[2:], atol=1e-4)
    assert "does not say how long it is" in read.remarks[0]


@pytest.mark.parametrize(
    ("name", "extra", "frequency_hz", "start"),
    [
        ("x.wav", XML, 145.5e6, START.replace(microsecond=0)),
        ("HDSDR_20240506_070809Z_7100kHz_RF.wav", b"", 7.1e6, START.replace(microsecond=0)),
        ("SDRSharp_20240506_070809Z_145500000Hz_IQ.wav", b"", 145.5e6, START.replace(microsecond=0)),
        ("20240506T070809Z_77500_DF0KL_iq.wav", b"", 77_500.0, START.replace(microsecond=0)),
        ("x.wav", chunk(b"auxi", b"\xff" * 200), None, None),
        ("x_20240506_070810Z_145500000Hz.wav", AUXI, 145.5e6, START),
        ("x_20240506_070809Z_145510kHz.wav", auxi(year=1970), 145.5e6, START.replace(microsecond=0)),
        ("x_20240506_070809Z_7100kHz.wav", AUXI, None, START),
        ("x_20240506_070809Z_7100kHz.wav", auxi(frequency_hz=0), 7.1e6, START),
    ],
)
def test_time_and_frequency_come_from_what_programs_add(
    tmp_path: Path, name: str, extra: bytes, frequency_hz: float | None, start: dt.datetime | None
) -> None:
    path = tmp_path / name
    path.write_bytes(wav(fmt(3, 32), stored("cf32", signal()), extra))
    (read,) = reader.read(path)
    assert (read.frequency_hz, read.start_utc) == (frequency_hz, start)


@pytest.mark.parametrize(
    ("text", "step_ns"),
    [
        ("2024-05-06", 86_400e9),
        ("2024-05-06T07:08", 60e9),
        ("2024-05-06T07:08:09Z", 1e9),
        ("2024-05-06 09:08:09.50+02:00", 1e7),
        ("20240506T070809.123456789Z", 1.0),
    ],
)
def test_start_typed_by_hand_is_as_exact_as_its_last_digit(tmp_path: Path, text: str, step_ns: float) -> None:
    start = Moment.parse(text)
    contents = {
        "x.wav": wav(fmt(3, 32), stored("cf32", signal())),
        # Its header and name contradict each other, and the user decides.
        "x_20210506_070809Z.wav": wav(fmt(3, 32), stored("cf32", signal()), AUXI),
    }
    files = [sigmf(tmp_path, [capture()])]
    for name, content in contents.items():
        files.append(tmp_path / name)
        files[-1].write_bytes(content)
    for file in files:
        (read,) = reader.read(file, Hints(start=start))
        assert (read.start_utc_ns, read.start_step_ns) == (start.ns, step_ns)
        disciplined = read.disciplined(100.0)
        assert disciplined.timing_sigma is not None
        assert disciplined.timing_sigma.sigma_ns == pytest.approx(np.hypot(100.0, step_ns / 3**0.5))
        assert (disciplined.timing_sigma_ns(0, 10) is None) == (step_ns > 1e7)  # too vague to be of use
    errors_ns = np.random.default_rng(1).uniform(0, step_ns, 100_000)  # what a writer cuts
    assert np.sqrt(np.mean(errors_ns**2)) == pytest.approx(step_ns / 3**0.5, rel=0.02)


@pytest.mark.parametrize(
    ("extra", "step_ns"), [(XML, 1e9), (AUXI, 1e6), (auxi(millisecond=0), 1e9), (auxi(stop=1), 1e6)]
)
def test_header_of_whole_seconds_is_as_exact_as_that(tmp_path: Path, extra: bytes, step_ns: float) -> None:
    (tmp_path / "x.wav").write_bytes(wav(fmt(3, 32), stored("cf32", signal()), extra))
    (read,) = reader.read(tmp_path / "x.wav")
    assert read.start_step_ns == step_ns


@pytest.mark.parametrize(
    ("text", "counts", "said"),
    [
        ("2024-05-06T07:08:09.123456789Z", True, False),
        ("2024-05-06T07:08:09Z", False, False),
        ("2024-05-06T07:08Z", False, False),
        ("2024-05-06T07:08:19.5Z", False, True),
    ],
)
def test_finer_start_by_hand_counts_over_a_name_that_agrees(
    tmp_path: Path, text: str, counts: bool, said: bool
) -> None:
    path = tmp_path / "20240506T070809Z_x.cf32"
    path.write_bytes(stored("cf32", signal()))
    start = Moment.parse(text)
    (read,) = reader.read(path, Hints(sample_rate_hz=RATE_HZ, start=start))
    wanted = (start.ns, 1.0) if counts else (utc_ns(START.replace(microsecond=0)), 1e9)
    assert (read.start_utc_ns, read.start_step_ns) == wanted
    assert ("it says itself when it began, and --start does not count" in read.remarks) == said


@pytest.mark.parametrize(
    ("name", "hour", "said"),
    [
        ("x_2024-05-06T09-08-09+0200.cf32", 7, False),
        ("x_20240506_020809-0500_7100kHz.cf32", 7, False),
        ("x_20240506-070809-0100_7100kHz.cf32", 8, False),
        ("20240506_070809-1400kHz.cf32", 7, True),
        ("20240506T070809Z_x.cf32", 7, False),
        ("20240506_070809_x.cf32", 7, True),
    ],
)
def test_zone_of_a_name_counts_and_its_lack_is_said(tmp_path: Path, name: str, hour: int, said: bool) -> None:
    (tmp_path / name).write_bytes(stored("cf32", signal()))
    (read,) = reader.read(tmp_path / name, RAW)
    assert read.start_utc == START.replace(hour=hour, microsecond=0)
    assert ("the time in its name has no zone, and counts as UTC" in read.remarks) == said
    offset = next((text for text in ("+0200", "-0500", "-0100") if text in name), None)
    assert (f"{offset} in its name counts as how far its time is ahead of UTC" in read.remarks) == bool(
        offset
    )


def test_header_and_name_of_a_wav_file_that_say_two_times_are_not_believed(tmp_path: Path) -> None:
    """As of a recorder that writes local time: which of the two counts, only its owner knows."""
    path = tmp_path / "x_20240506_070809Z.wav"
    path.write_bytes(wav(fmt(3, 32), stored("cf32", signal()), auxi(hour=9)))
    with pytest.raises(
        HeimdallError, match=r"began at 2024-05-06T09:08:09.*name at 2024-05-06T07.*or give --st"
    ):
        reader.read(path)
    begun = START.replace(hour=5)
    (read,) = reader.read(path, Hints(start=Moment(utc_ns(begun), 1e6)))
    assert read.start_utc == begun
    assert "its name at 2024-05-06T07:08:09" in read.remarks[0]
    (read,) = reader.read(path.rename(tmp_path / "x.wav"))
    assert read.start_utc == START.replace(hour=9)


def test_header_of_a_wav_file_whose_times_contradict_its_rate(tmp_path: Path) -> None:
    """A later stop means lost samples; an earlier one a wrong rate, or wrong times if the user says so."""
    path = tmp_path / "x.wav"
    path.write_bytes(wav(fmt(3, 32), stored("cf32", signal()), auxi(stop=1)))
    (read,) = reader.read(path)
    assert (read.remarks, read.start_utc, read.start_step_ns) == ((), START, 1e6)
    path.write_bytes(wav(fmt(3, 32), stored("cf32", signal()), auxi(stop=30)))
    (read,) = reader.read(path)
    assert read.remarks == (
        "by the start and stop in its header it lasted 30.2 s, by its samples at 48000 Hz 0.2 s: the rate is "
        "believed, so samples were lost, nobody knows where",
    )
    assert read.start_step_ns == pytest.approx(30e9, rel=0.01)
    assert read.disciplined(50.0).timing_sigma_ns(0, 10) is None
    path.write_bytes(wav(fmt(3, 32), stored("cf32", signal(RATE_HZ * 4)), auxi(stop=1)))
    with pytest.raises(
        HeimdallError, match=r"it lasted 1\.2 s, by its samples at 48000 Hz 4\.0 s\. .*153600 Hz"
    ):
        reader.read(path)
    start = Moment.parse("2024-05-06T05:00:00.5Z")
    (read,) = reader.read(path, Hints(start=start))
    assert (read.start_utc_ns, read.start_step_ns) == (start.ns, start.step_ns)
    assert "the rate is believed, and --start" in read.remarks[0]


def test_zero_of_unsigned_bytes_is_127_5_of_a_raw_file_and_128_of_wav_and_sigmf(tmp_path: Path) -> None:
    data = bytes([127, 128, 0, 255]) * 6000
    meta = sigmf(tmp_path, [capture()], **{"core:datatype": "cu8"})
    for name, zero in (("x.cu8", 127.5), ("x.wav", 128.0), ("x.sigmf-data", 128.0)):
        (tmp_path / name).write_bytes(wav(fmt(1, 8), data) if name == "x.wav" else data)
        (read,) = reader.read(meta if name == "x.sigmf-data" else tmp_path / name, RAW)
        wanted = (np.array([127, 128, 0, 255]) - zero) / 128
        assert read.samples[:2].view(np.float32).tolist() == wanted.tolist()


@pytest.mark.parametrize("kind", list(plain.RAW_TYPES))
def test_raw_files_are_read_by_their_name(tmp_path: Path, kind: str) -> None:
    path = tmp_path / f"x.{kind}"
    path.write_bytes(stored(kind, signal()))
    (read,) = reader.read(path, RAW)
    np.testing.assert_allclose(read.samples, signal(), atol=0.01 if "8" in kind else 1e-4)


@pytest.mark.parametrize(
    ("name", "rate_hz", "frequency_hz", "start"),
    [
        ("gqrx_20210101_120000_145500000_48000_fc.raw", 48_000, 145.5e6, dt.datetime(2021, 1, 1, 12)),
        ("gqrx_20210101_120000_145500000_48000_fc.cf64", 48_000, 145.5e6, dt.datetime(2021, 1, 1, 12)),
        ("g001_433.92M_250k.cf32", 250_000, 433.92e6, None),
        ("north_145.5MHz_48ksps.cf32", 48_000, 145.5e6, None),
    ],
)
def test_names_of_raw_files_say_rate_and_frequency(
    tmp_path: Path, name: str, rate_hz: float, frequency_hz: float, start: dt.datetime | None
) -> None:
    path = tmp_path / name
    path.write_bytes(stored("cf64" if name.endswith("cf64") else "cf32", signal(30_000)))
    (read,) = reader.read(path)
    assert len(read.samples) == 30_000
    assert (read.sample_rate_hz, read.frequency_hz) == (rate_hz, frequency_hz)
    assert read.start_utc == (start and start.replace(tzinfo=dt.UTC))


@pytest.mark.parametrize("name", ["x.cf32", "x_145.5M.cf32", "north_1234_5678.cf32", "a_145.5M_144M.cf32"])
def test_rate_that_the_name_does_not_say_clearly_is_asked_for(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    path.write_bytes(stored("cf32", signal()))
    with pytest.raises(HeimdallError, match=r"nothing says its sample rate\. Give --sample-rate"):
        reader.read(path)


def test_npy_of_any_version_has_its_rate_and_gps_time_from_a_file_beside_it(tmp_path: Path) -> None:
    beside = {
        "sample_rate_hz": RATE_HZ,
        "frequency_hz": 7e6,
        "start_gps_ns": 1_400_000_000_000_000_001,
        "timing_sigma_ns": 30,
        "receiver": "NORTH",
    }
    (tmp_path / "x.json").write_text(json.dumps(beside))
    for version in ((1, 0), (2, 0), (3, 0)):
        (tmp_path / "x.npy").write_bytes(npy(version))
        (read,) = reader.read(tmp_path / "x.npy")
        np.testing.assert_array_equal(read.samples, signal())
        assert (read.start_gps_ns, read.timing_sigma_ns(0, 9), read.missing) == (
            1_400_000_000_000_000_001,
            30.0,
            (),
        )


def test_what_a_file_beside_it_says_under_other_names_is_told(tmp_path: Path) -> None:
    (tmp_path / "x.npy").write_bytes(npy((1, 0)))
    (tmp_path / "x.json").write_text(json.dumps({"sample_rate": RATE_HZ, "start": "now"}))
    with pytest.raises(
        HeimdallError, match=r"its sample rate: the \.json beside it has sample_rate, start\. Give"
    ):
        reader.read(tmp_path / "x.npy")
    (read,) = reader.read(tmp_path / "x.npy", Hints(sample_rate_hz=RATE_HZ))
    assert "not known in the .json beside it: sample_rate, start" in read.remarks


def test_sigma_beside_a_file_grows_if_it_says_that_the_clock_drifts(tmp_path: Path) -> None:
    (tmp_path / "x.cf32").write_bytes(stored("cf32", signal(5 * RATE_HZ // 2)))
    beside = {"sample_rate_hz": RATE_HZ, "start_gps_ns": 1_400_000_000_000_000_000, "timing_sigma_ns": 30}
    for drift, wanted in ((None, [30.0, 30.0, 30.0]), (40.0, [50.0, 30 * 73**0.5 / 3, 30 * 17**0.5])):
        (tmp_path / "x.json").write_text(json.dumps(beside | {"timing_drift_ns_per_s": drift}))
        (read,) = reader.read(tmp_path / "x.cf32")
        ends = (RATE_HZ, 2 * RATE_HZ, len(read.samples))
        assert [read.timing_sigma_ns(end - 1000, end) for end in ends] == pytest.approx(wanted)


@pytest.mark.parametrize(
    ("start_gps_ns", "remark"),
    [
        (utc_ns(START), "start_gps_ns, which counts from 1980-01-06, is none of a recording"),
        (1, "start_gps_ns, which counts from 1980-01-06, is none of a recording"),
        (gps_ns_of_utc(utc_ns(START)), None),
    ],
)
def test_gps_time_of_another_epoch_is_left_out_and_said(
    tmp_path: Path, start_gps_ns: int, remark: str | None
) -> None:
    """Nanoseconds since 1970 would be a recording of the year 2034."""
    (tmp_path / "x.npy").write_bytes(npy())
    (tmp_path / "x.json").write_text(json.dumps({"start_gps_ns": start_gps_ns, "timing_sigma_ns": 9.0}))
    (read,) = reader.read(tmp_path / "x.npy", RAW)
    assert (read.start_gps_ns is None, read.remarks) == (remark is not None, (remark,) if remark else ())


def sigmf(folder: Path, captures: list[dict[str, Any]], count: int = RATE_HZ // 4, **changes: Any) -> Path:  # noqa: ANN401
    whole = {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": RATE_HZ} | changes
    meta = {"global": whole, "captures": captures, "annotations": []}
    (folder / "x.sigmf-meta").write_text(json.dumps(meta))
    order = ">" if str(whole["core:datatype"]).endswith("_be") else "<"
    kind = str(whole["core:datatype"]).split("_")[0].replace("ci", "cs")
    data = np.frombuffer(
        stored(kind, signal(count), {"cu8": 128.0, "cu16": 32_768.0}.get(kind)), plain.RAW_TYPES[kind].dtype
    )
    (folder / "x.sigmf-data").write_bytes(data.astype(data.dtype.newbyteorder(order)).tobytes())
    return folder / "x.sigmf-meta"


def capture(first: int = 0, **more: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"core:sample_start": first} | {f"core:{name}": value for name, value in more.items()}


@pytest.mark.parametrize(
    "datatype", ["cf32_le", "cf32_be", "cf64_le", "ci16_le", "ci16_be", "ci32_le", "ci8", "cu8", "cu16_le"]
)
def test_sigmf_of_any_complex_type_is_read(tmp_path: Path, datatype: str) -> None:
    moment = "2024-05-06T07:08:09.123456789Z"
    path = sigmf(tmp_path, [capture(frequency=7.1e6, datetime=moment)], **{"core:datatype": datatype})
    for name in (path, path.with_suffix(".sigmf-data")):
        (read,) = reader.read(name)
        np.testing.assert_allclose(read.samples, signal(), atol=0.01 if "8" in datatype else 1e-4)
        assert read.frequency_hz == 7.1e6
        assert read.start_utc_ns == utc_ns(START.replace(microsecond=0)) + 123_456_789
        assert read.start_gps_ns is None


def test_sigmf_archive_is_read_like_its_files(tmp_path: Path) -> None:
    path = sigmf(tmp_path, [capture(datetime="2024-05-06T07:08:09.25Z")])
    with tarfile.open(tmp_path / "y.sigmf", "w") as archive:
        for suffix in (".sigmf-meta", ".sigmf-data"):
            archive.add(path.with_suffix(suffix), f"x/x{suffix}")
    (read,) = reader.read(tmp_path / "y.sigmf")
    np.testing.assert_array_equal(read.samples, signal())
    assert read.start_utc == START


@pytest.mark.parametrize(
    ("captures", "lengths", "starts_s"),
    [
        ([capture(), capture(5000)], [12_000], [None]),
        ([capture(datetime="2024-01-01T00:00:00Z"), capture(5000)], [12_000], [0]),
        (
            [capture(datetime="2024-01-01T00:00:00Z", global_index=0), capture(6000, global_index=54_000)],
            [6000, 6000],
            [0, 54_000 / RATE_HZ],
        ),
        (
            [
                capture(datetime="2024-01-01T00:00:00.000Z"),
                capture(6000, datetime="2024-01-01T00:00:00.125Z"),
            ],
            [12_000],
            [0],
        ),
        (
            [
                capture(datetime="2024-01-01T00:00:00.000Z"),
                capture(6000, datetime="2024-01-01T00:00:02.000Z"),
            ],
            [6000, 6000],
            [0, 2],
        ),
        # Half a second may be lost: times to the second cannot tell, unless the samples are counted.
        *(
            ([capture(datetime=f"2024-01-01T00:00:00{first}Z"), capture(6000, datetime=second)], *wanted)
            for first, second, wanted in [
                ("", "2024-01-01T00:00:00Z", ([6000, 6000], [0, 0])),
                ("", "2024-01-01T00:00:01Z", ([6000, 6000], [0, 1])),
                (".000", "2024-01-01T00:00:01Z", ([6000, 6000], [0, 1])),
                ("", "2024-01-01T00:00:00.125Z", ([12_000], [0])),  # zeros at the end are left out
                (".00", "2024-01-01T00:00:00.12Z", ([6000, 6000], [0, 0.12])),
            ]
        ),
        (
            [
                capture(datetime="2024-01-01T00:00:00Z", global_index=500),
                capture(6000, datetime="2024-01-01T00:00:00Z", global_index=6500),
            ],
            [12_000],
            [0],
        ),
        (
            [
                capture(),
                capture(3000, datetime="2024-01-01T00:00:01Z"),
                capture(7000, datetime="2024-01-01T00:00:01Z"),
            ],
            [7000, 5000],
            [1 - 3000 / RATE_HZ, 1],
        ),
        ([capture(frequency=7e6), capture(6000, frequency=8e6)], [6000, 6000], [None, None]),
        ([capture(), capture(6000, datetime="2024-01-01T00:00:01Z")], [12_000], [1 - 6000 / RATE_HZ]),
        (
            [capture(), capture(6000, global_index=54_000, datetime="2024-01-01T00:00:02Z")],
            [6000, 6000],
            [2 - 54_000 / RATE_HZ, 2],
        ),
        (
            [
                capture(frequency=7e6, datetime="1970-01-01T00:00:00Z"),
                capture(6000, frequency=8e6, datetime="2024-01-01T00:00:01Z"),
            ],
            [6000, 6000],
            [1 - 6000 / RATE_HZ, 1],
        ),
    ],
)
def test_sigmf_captures_are_one_stretch_unless_there_is_a_gap(
    tmp_path: Path, captures: list[dict[str, Any]], lengths: list[int], starts_s: list[float | None]
) -> None:
    read = reader.read(sigmf(tmp_path, captures))
    assert [len(one.samples) for one in read] == lengths
    begin = dt.datetime(2024, 1, 1, tzinfo=dt.UTC)
    assert [one.start_utc and (one.start_utc - begin).total_seconds() for one in read] == starts_s


def test_start_of_a_sigmf_file_without_times_is_that_of_every_stretch(tmp_path: Path) -> None:
    captures = [
        capture(),
        capture(6000, global_index=54_000),
        capture(12_000, global_index=60_000, frequency=7e6),
        capture(18_000, frequency=8e6),
    ]
    path = sigmf(tmp_path, captures, 18_100)
    assert [one.start_utc for one in reader.read(path)] == [None] * 3
    read = reader.read(path, Hints(start=Moment(utc_ns(START), 1e6)))
    assert [(one.start_utc - START).total_seconds() * RATE_HZ for one in read if one.start_utc] == [
        0,
        54_000,
        60_000,
    ]
    assert read[0].remarks == ("a stretch of it is left out: 100 samples, fewer than the 4800 of 0.1 s",)
    captures[1]["core:datetime"] = "2024-01-01T00:00:00Z"
    read = reader.read(sigmf(tmp_path, captures, 18_100), Hints(start=Moment(utc_ns(START), 1e6)))
    assert "it says itself when it began, and --start does not count" in read[0].remarks
    assert all(one.start_utc and one.start_utc.year in {2023, 2024} for one in read)
    assert read[1].start_utc == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("moment", "leap_s"),
    [("2015-06-30T23:59:59.5Z", 16), ("2024-05-06T07:08:09.5Z", 18), ("2024-05-06T09:08:09.5+02:00", 18)],
)
def test_datetime_of_sigmf_is_utc_and_gps_time_is_ahead_by_the_leap_seconds(
    tmp_path: Path, moment: str, leap_s: int
) -> None:
    (read,) = reader.read(sigmf(tmp_path, [capture(datetime=moment)]))
    begun = dt.datetime.fromisoformat(moment)
    gps_ns = read.disciplined(50.0).start_gps_ns
    assert gps_ns == utc_ns(begun) - 315_964_800 * 10**9 + leap_s * 10**9
    assert read.start_utc == begun


def test_times_that_cannot_tell_of_lost_samples_are_said_and_no_gps_time(tmp_path: Path) -> None:
    captures = [capture(datetime="2024-01-01T00:00:00Z"), capture(6000, datetime="2024-01-01T00:00:00Z")]
    first, second = reader.read(sigmf(tmp_path, captures))
    assert "lost before its sample 6000 the times of the captures do not tell" in second.remarks[0]
    assert "written to 1 s" in second.remarks[0]
    known = [one.disciplined(50.0).timing_sigma_ns(0, 100) for one in (first, second)]
    assert known == [None, None]


def test_times_of_one_sigmf_stretch_that_disagree_make_it_less_certain(tmp_path: Path) -> None:
    times = ["2024-01-01T00:00:00.000000000Z", "2024-01-01T00:00:00.125900000Z"]
    captures = [capture(datetime=times[0]), capture(6000, datetime=times[1])]
    (read,) = reader.read(sigmf(tmp_path, captures))
    sigma_ns = read.disciplined(50.0).timing_sigma_ns(0, 100)
    assert sigma_ns == pytest.approx(900_000 / 3**0.5, rel=0.01)


def test_sigmf_recording_that_was_split_counts_its_samples_from_the_first_file(tmp_path: Path) -> None:
    captures = [
        capture(1000, datetime="2024-01-01T00:00:00Z"),
        capture(7000, datetime="2024-01-01T00:01:00Z"),
    ]
    read = reader.read(sigmf(tmp_path, captures, **{"core:offset": 1000}))
    np.testing.assert_array_equal(np.concatenate([one.samples for one in read]), signal())
    assert [len(one.samples) for one in read] == [6000, 6000]


@pytest.mark.parametrize(
    ("offset", "indexes"), [(48_000, (None, 54_000)), (48_000, (48_000, None)), (0, (1_000_000, None))]
)
def test_index_that_only_some_captures_say_loses_no_samples(
    tmp_path: Path, offset: int, indexes: tuple[int | None, int | None]
) -> None:
    first, second = ({} if index is None else {"global_index": index} for index in indexes)
    captures = [capture(offset, datetime="2024-01-01T00:00:00Z", **first), capture(offset + 6000, **second)]
    (read,) = reader.read(sigmf(tmp_path, captures, **{"core:offset": offset}))
    assert len(read.samples) == 12_000
    assert read.start_utc == dt.datetime(2024, 1, 1, tzinfo=dt.UTC)


def test_samples_of_all_stretches_of_a_file_have_one_limit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recording, "MAX_SAMPLES", 11_000)
    read = reader.read(sigmf(tmp_path, [capture(k * 6000, frequency=7e6 + k) for k in range(3)], 18_000))
    assert [len(one.samples) for one in read] == [6000, 5000]
    assert "a stretch of it is left out: 11000 samples before it are read, and no more of one" in str(
        read[0].remarks
    )
    assert "only its first 0.1 s of 0.1 s are read" in read[1].remarks


def test_start_of_unknown_accuracy_beside_a_file_is_a_start_without_gps_time(tmp_path: Path) -> None:
    (tmp_path / "20240101T000000Z.npy").write_bytes(npy())
    (tmp_path / "20240101T000000Z.json").write_text(
        json.dumps({"start_gps_ns": gps_ns_of_utc(utc_ns(START))})
    )
    (read,) = reader.read(tmp_path / "20240101T000000Z.npy", RAW)
    assert (read.start_gps_ns, read.start_utc) == (None, START)
    assert "its name says that it began at 2024-01-01T00:00:00+00:00, the .json beside" in read.remarks[0]
    assert read.disciplined(50.0) is read


def test_each_wav_file_has_its_start_from_a_file_beside_it(tmp_path: Path) -> None:
    file, beside = tmp_path / "rx_20260305_120000Z_433900kHz_IQ.wav", "rx_20260305_120000Z_433900kHz_IQ.json"
    file.write_bytes(wav(fmt(1, 16), stored("cs16", signal())))
    coarse = reader.read(file)[0].disciplined(50.0)
    assert "more than 10 ms; say its start finer, in start_gps_ns" in seconds.gps_time_text(coarse, [None])
    start_ns = gps_ns_of_utc(utc_ns(dt.datetime(2026, 3, 5, 12, tzinfo=dt.UTC))) + 820_377_011
    said = {
        "start_gps_ns": start_ns,
        "timing_sigma_ns": 50,
        "receiver": "hill",
        "sample_rate_hz": RATE_HZ + 0.25,
    }
    (tmp_path / beside).write_text(json.dumps(said))
    (read,) = reader.read(file)
    assert (read.start_gps_ns, read.timing_sigma_ns(0, 100), read.receiver) == (start_ns, 50, "hill")
    assert (read.sample_rate_hz, read.frequency_hz, read.remarks) == (RATE_HZ + 0.25, 433.9e6, ())
    (tmp_path / beside).write_text(json.dumps(said | {"sample_rate_hz": 2 * RATE_HZ}))
    with pytest.raises(
        HeimdallError, match=f"its header says {RATE_HZ} Hz, the .json beside it {2 * RATE_HZ}"
    ):
        reader.read(file)


def test_a_file_beside_one_that_has_times_of_its_own_does_not_count_and_this_is_said(tmp_path: Path) -> None:
    path = sigmf(tmp_path, [capture(datetime="2024-01-01T00:00:00Z")])
    beside = path.with_suffix(".json")
    beside.write_text('{"start_gps_ns": 1456747218820377011, "timing_sigma_ns": 50}')
    assert "the .json beside it does not count" in str(reader.read(path)[0].remarks)
    beside.write_text('{"model": "of another program"}')
    assert reader.read(path)[0].remarks == ()


def test_rf64_of_a_killed_recorder_and_24_bits_in_32_are_read(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    content = rf64(fmt(3, 32), stored("cf32", signal()))
    path.write_bytes(content[:28] + bytes(8) + content[36:-22])
    np.testing.assert_array_equal(reader.read(path)[0].samples, signal())
    form = struct.pack("<HHIIHH", 1, 2, RATE_HZ, RATE_HZ * 8, 8, 24)
    path.write_bytes(wav(form, stored("cs32", signal())))
    np.testing.assert_allclose(reader.read(path)[0].samples, signal(), atol=1e-6)


def test_samples_after_a_size_that_is_too_small_are_not_left_out_in_silence(tmp_path: Path) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(wav(fmt(3, 32), FLOATS) + stored("cf32", signal(100)))
    (read,) = reader.read(path)
    assert len(read.samples) == 12_000
    assert "800 bytes after its samples are no chunk of a WAV file, and are not read" in read.remarks


def test_samples_that_are_not_read_are_said(tmp_path: Path) -> None:
    data = stored("cf32", signal())
    (tmp_path / "x.wav").write_bytes(wav(fmt(3, 32), data, chunk(b"data", data)))
    (read,) = reader.read(tmp_path / "x.wav")
    assert f"{len(data)} bytes of samples in another chunk `data` are not read" in read.remarks
    (read,) = reader.read(sigmf(tmp_path, [capture(5000)]))
    assert "5000 samples before its first capture are left out" in read.remarks
    path = sigmf(tmp_path, [capture(frequency=7e6), capture(frequency=8e6)])
    with path.with_suffix(".sigmf-data").open("ab") as file:
        file.write(b"12345")
    (read,) = reader.read(path)
    assert "1 of its captures have no samples, and do not count" in read.remarks
    assert "5 bytes of an incomplete sample at its end are not read" in read.remarks
    (tmp_path / "x.wav").write_bytes(wav(fmt(3, 32), data + b"123"))
    (read,) = reader.read(tmp_path / "x.wav")
    assert "3 bytes of an incomplete sample at its end are not read" in read.remarks


@pytest.mark.parametrize("sigma_ns", [1e-9, 5e17])
def test_sigma_beside_a_file_that_no_clock_has_is_refused(tmp_path: Path, sigma_ns: float) -> None:
    (tmp_path / "x.npy").write_bytes(npy())
    beside = {"sample_rate_hz": RATE_HZ, "start_gps_ns": 1_400_000_000 * 10**9, "timing_sigma_ns": sigma_ns}
    (tmp_path / "x.json").write_text(json.dumps(beside))
    with pytest.raises(HeimdallError, match="timing_sigma_ns is no number from 1 to 1e9"):
        reader.read(tmp_path / "x.npy")


def test_other_numbers_in_a_name_do_not_hide_its_time(tmp_path: Path) -> None:
    path = tmp_path / "145500000_48000_20240506_070809.cf32"
    path.write_bytes(stored("cf32", signal()))
    assert reader.read(path, RAW)[0].start_utc == START.replace(microsecond=0)


def test_start_is_on_gps_time_only_by_its_owners_word_and_as_fine_as_it_is_written() -> None:
    def sigma_ns(step_ns: float | None) -> float | None:
        made = TimedRecording(signal(), RATE_HZ, start_utc_ns=utc_ns(START), start_step_ns=step_ns)
        assert made.start_gps_ns is None
        disciplined = made.disciplined(50.0)
        assert disciplined.start_gps_ns == (gps_ns_of_utc(utc_ns(START)) if step_ns else None)
        return disciplined.timing_sigma_ns(0, 10)

    assert sigma_ns(1.0) == pytest.approx(50, rel=0.01)
    assert sigma_ns(1e6) == pytest.approx(1e6 / 3**0.5, rel=0.01)
    assert sigma_ns(None) is None
    assert to_utc(gps_ns_of_utc(utc_ns(START))) == START


@pytest.mark.parametrize("moment", ["1970-01-01T00:00:00Z", "9999-12-31T23:59:59.999Z"])
def test_start_of_a_clock_that_was_never_set_is_left_out_and_said(tmp_path: Path, moment: str) -> None:
    (read,) = reader.read(sigmf(tmp_path, [capture(datetime=moment)]))
    assert (read.start_utc, read.disciplined(50.0) is read) == (None, True)
    assert "is no time of a recording" in read.remarks[0]


def with_meta(**changes: Any) -> Callable[[Path], Path]:  # noqa: ANN401
    return lambda folder: sigmf(folder, [capture()], **changes)


def bad_file(name: str, content: bytes) -> Callable[[Path], Path]:
    def write(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return write


FLOATS = stored("cf32", signal())
NAN = stored("cf32", np.where(np.arange(12_000) == 7, np.complex64("nan"), signal()).astype(np.complex64))
ZERO = bytes(len(FLOATS))


@pytest.mark.parametrize(
    ("write", "cause"),
    [
        (bad_file("x.wav", wav(fmt(3, 32, 1), FLOATS)), "one channel, a real signal"),
        (bad_file("x.wav", wav(fmt(3, 32, 0), FLOATS)), "0 channels of 32 bits"),
        (bad_file("x.wav", wav(fmt(3, 32, 4), FLOATS)), "4 channels of 32 bits"),
        (bad_file("x.wav", wav(fmt(2, 4), FLOATS)), r"2 channels of 4 bits at 48000 Hz \(format 2\)"),
        (bad_file("x.wav", wav(fmt(3, 32), FLOATS)[:-100]), "truncated: 95900 bytes"),
        (bad_file("x.wav", wav(fmt(3, 32), NAN)), "1 samples are NaN"),
        (bad_file("x.wav", wav(fmt(3, 32), ZERO)), "all 12000 samples are zero"),
        (bad_file("x.wav", wav(fmt(3, 32), FLOATS[:800])), "100 samples, fewer than the 4800"),
        (bad_file("x.wav", b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", fmt(3, 32))), "without samples"),
        (
            bad_file(
                "x.wav", b"RF64\xff\xff\xff\xffWAVE" + chunk(b"fmt ", fmt(1, 16)) + b"data\xfe\xff\xff\xff"
            ),
            "truncated: 0 bytes of samples where the header declares 4294967294",
        ),
        (bad_file("x.cf32", NAN), "1 samples are NaN"),
        (
            bad_file("gqrx_20210101_120000_7000000_48000_fc.raw", stored("cs16", signal())),
            "samples are NaN or infinite. It is read as cf32: if that is wrong, give --sample-format",
        ),
        (bad_file("x.cf32", ZERO), "all 12000 samples are zero"),
        (bad_file("x.cu8", b"\x7f" * 24_000), "all 12000 samples are equal"),
        (bad_file("x.cs16", FLOATS[:-1]), "95999 bytes are no whole number of samples"),
        (bad_file("x.cf32", b""), "0 samples, fewer"),
        (bad_file("x.dat", FLOATS), "no known format of a recording .* Give --sample-format"),
        (bad_file("x.npy", npy()[:-8]), "truncated: 96120 bytes where its header declares 96128"),
        (bad_file("x.npy", npy() + b"\0"), "96129 bytes where its header declares 96128"),
        (bad_file("x.npy", npy(array=np.ones((2, 6000), np.complex64))), "instead of one dimension"),
        (bad_file("x.npy", npy(array=np.ones(12_000))), "instead of complex64 or complex128"),
        (bad_file("x.npy", b"\x80\x04abc"), "a Python pickle"),
        (bad_file("x.sigmf", b"no tar"), "cannot be read"),
        (bad_file("x.sigmf-meta", b"{"), "no SigMF metadata"),
        (bad_file("x.sigmf-meta", b"[" * 5000), "no SigMF metadata"),
        (
            bad_file("x.sigmf-meta", b'{"global": {}, "captures": []}'),
            "global: 'core:datatype' is a required",
        ),
        (
            bad_file("x.cf32", np.repeat(signal().real, 2).tobytes()),
            "I and Q are equal, or one of them is constant",
        ),
        (
            bad_file("x.cu8", bytes([99, 128, 101, 128] * 6000)),
            "one of them is constant, as of a real signal",
        ),
        (bad_file("x.cf32", signal().real.astype("c8").tobytes()), "as of a real signal: its phase is lost"),
        (with_meta(**{"core:sample_rate": 1e9}), "a sample rate of 1e[+]09 Hz"),
        (with_meta(**{"core:sample_rate": 100}), "a sample rate of 100 Hz"),
        (with_meta(**{"core:num_channels": 2}), "2 channels"),
        (with_meta(**{"core:sha512": "0" * 128}), "not those of core:sha512"),
        (with_meta(**{"core:dataset": "../x"}), "not a file beside it"),
        (with_meta(**{"core:dataset": "other.bin"}), r"other\.bin: cannot be read \(No such file"),
        (lambda folder: sigmf(folder, [capture(), capture(10**12)]), "beyond the data"),
        (
            lambda folder: sigmf(folder, [capture(datetime="2024-05-06T25:00:00Z")]),
            "captures/0/core:datetime|core:datetime is",
        ),
    ],
)
def test_what_no_receiver_delivers_is_refused_in_one_line(
    tmp_path: Path, write: Callable[[Path], Path], cause: str
) -> None:
    path = write(tmp_path)
    with pytest.raises(HeimdallError, match=cause) as caught:
        reader.read(path, RAW)
    assert "\n" not in str(caught.value)
    assert str(tmp_path) in str(caught.value)


def test_real_signal_in_sigmf_is_refused_with_the_reason(tmp_path: Path) -> None:
    path = sigmf(tmp_path, [capture()])
    path.write_text(path.read_text().replace("cf32_le", "rf32_le"))
    with pytest.raises(HeimdallError, match="core:datatype is rf32_le, a real signal"):
        reader.read(path)


def test_memory_of_reading_is_that_of_the_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The parts that are converted at once stay small, whatever the length of the file."""
    largest = 0
    convert = sample_types._components

    def watched(*arguments: Any) -> Any:  # noqa: ANN401
        nonlocal largest
        found = convert(*arguments)
        largest = max(largest, found.nbytes)
        return found

    monkeypatch.setattr(sample_types, "_components", watched)
    path = tmp_path / "x.cs8"
    np.random.default_rng(1).integers(-99, 99, 2 * 5_000_000, np.int8).tofile(path)
    (read,) = reader.read(path, Hints(sample_rate_hz=1e6))
    assert len(read.samples) == 5_000_000
    assert largest <= 8 << 20
