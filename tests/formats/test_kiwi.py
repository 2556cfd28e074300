"""KiwiSDR files made here, with known rate, time, jitter and every kind of wrong time stamp."""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.formats import kiwi

NEAR = dt.datetime(2017, 11, 27, 10, 42, tzinfo=dt.UTC)
WEEK_START_NS = 1977 * kiwi.WEEK_NS  # Sunday, 2017-11-26, in GPS time
RATE_HZ = 12001.13
BLOCK = 512


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body


def wav(stamps: Sequence[tuple[int, int]], samples: npt.NDArray[np.int16], fmt: bytes | None = None) -> bytes:
    """A file of blocks of 512 samples, (n, 2), each with its nanoseconds of the week and its fix age."""
    body = b"WAVE" + chunk(b"fmt ", fmt or struct.pack("<HHIIHH", 1, 2, 12001, 48004, 4, 16))
    for number, (week_ns, age_s) in enumerate(stamps):
        second, nanosecond = divmod(week_ns % kiwi.WEEK_NS, kiwi.SECOND_NS)
        body += chunk(b"kiwi", struct.pack("<BBII", age_s, 0, second, nanosecond))
        body += chunk(b"data", samples[number * BLOCK : (number + 1) * BLOCK].astype("<i2").tobytes())
    return b"RIFF" + struct.pack("<I", len(body)) + body


def true_ns(blocks: int, start_ns: int) -> list[int]:
    return [start_ns + round(k * BLOCK * 1e9 / RATE_HZ) for k in range(blocks)]


def ramp(blocks: int) -> npt.NDArray[np.int16]:
    return np.stack([np.arange(blocks * BLOCK) % 30000, -(np.arange(blocks * BLOCK) % 7)], axis=1).astype(
        np.int16
    )


def written(tmp_path: Path, stamps: Sequence[tuple[int, int]], blocks: int) -> Path:
    path = tmp_path / "x.wav"
    path.write_bytes(wav(stamps, ramp(blocks)))
    return path


def test_rate_time_and_samples_come_back_through_jitter(tmp_path: Path) -> None:
    start_ns = 124_934 * kiwi.SECOND_NS + 171_899_011
    jitter_ns = np.random.default_rng(1).normal(0, 50, 700)
    stamps = [(time + round(error), 2) for time, error in zip(true_ns(700, start_ns), jitter_ns, strict=True)]
    read = kiwi.read(written(tmp_path, stamps, 700), NEAR)
    assert read.sample_rate_hz == pytest.approx(RATE_HZ, rel=1e-9)
    assert abs(read.start_gps_ns - (WEEK_START_NS + start_ns)) < 10
    assert read.timing_sigma_ns == pytest.approx(50, rel=0.1)
    assert (read.stamps, read.rejected) == (700, 0)
    assert read.samples.dtype == np.complex64
    assert read.samples[1000] == np.complex64((1000 - 1j * (1000 % 7)) / 32768)
    assert len(read.samples) == 700 * BLOCK


def test_stale_wrong_and_leading_blocks_do_not_move_the_line(tmp_path: Path) -> None:
    start_ns = 50_000 * kiwi.SECOND_NS
    stamps = [(time, 1) for time in true_ns(100, start_ns)]
    stamps[0] = (start_ns - 568 * kiwi.SECOND_NS, 1)  # a block that was in the buffer for minutes
    stamps[40] = (stamps[40][0] + 5_000_000, 1)
    stamps[41] = (stamps[41][0] + 3_000, 1)
    stamps[60:70] = [(time + 200_000, 200) for time, _ in stamps[60:70]]  # no fix for minutes
    read = kiwi.read(written(tmp_path, stamps, 100), NEAR)
    assert read.sample_rate_hz == pytest.approx(RATE_HZ, rel=1e-9)
    assert abs(read.start_gps_ns - (WEEK_START_NS + stamps[1][0])) <= 1
    assert (read.stamps, read.rejected) == (87, 13)
    assert read.timing_sigma_ns == 1.0
    assert len(read.samples) == 99 * BLOCK
    assert read.samples[0].real == np.float32(BLOCK / 32768)


def test_lost_block_ends_the_stretch(tmp_path: Path) -> None:
    times = true_ns(101, 0)
    del times[30]
    read = kiwi.read(written(tmp_path, [(time, 1) for time in times], 100), NEAR)
    assert len(read.samples) == 70 * BLOCK
    assert abs(read.start_gps_ns - (WEEK_START_NS + times[30])) <= 1


def test_gps_week_may_end_within_the_file(tmp_path: Path) -> None:
    start_ns = kiwi.WEEK_NS - 2 * kiwi.SECOND_NS
    path = written(tmp_path, [(time, 1) for time in true_ns(100, start_ns)], 100)
    saturday = dt.datetime(2017, 12, 2, 23, 59, 40, tzinfo=dt.UTC)
    for near in (saturday, saturday + dt.timedelta(minutes=5)):
        assert kiwi.read(path, near).start_gps_ns == WEEK_START_NS + start_ns
    assert kiwi.read(path, NEAR).start_gps_ns == WEEK_START_NS - kiwi.WEEK_NS + start_ns


def test_sample_times_are_those_of_the_line(tmp_path: Path) -> None:
    read = kiwi.read(written(tmp_path, [(time, 1) for time in true_ns(100, 0)], 100), NEAR)
    number = read.first_sample_at(WEEK_START_NS + kiwi.SECOND_NS)
    assert number == 12002
    assert read.time_ns(number - 1) < WEEK_START_NS + kiwi.SECOND_NS <= read.time_ns(number)
    assert read.first_sample_at(WEEK_START_NS - kiwi.SECOND_NS) < 0


def test_utc_knows_the_leap_seconds() -> None:
    assert kiwi.to_utc(1_195_814_534_171_898_960) == dt.datetime(
        2017, 11, 27, 10, 41, 56, 171898, tzinfo=dt.UTC
    )
    assert kiwi.leap_seconds(dt.datetime(2016, 12, 31, tzinfo=dt.UTC)) == 17
    with pytest.raises(HeimdallError, match="no KiwiSDR recorded then"):
        kiwi.leap_seconds(dt.datetime(2010, 1, 1, tzinfo=dt.UTC))


def test_file_cut_by_a_killed_recorder_is_read_up_to_its_last_whole_block(tmp_path: Path) -> None:
    path = written(tmp_path, [(time, 1) for time in true_ns(50, 0)], 50)
    path.write_bytes(path.read_bytes()[:-100])
    assert len(kiwi.read(path, NEAR).samples) == 49 * BLOCK


PLAIN = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 12001, 48004, 4, 16)) + chunk(b"data", bytes(2048))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not a WAV file"),
        (b"\x93NUMPY" + bytes(100), "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "without samples"),
        (b"RIFF\0\0\0\0WAVE" + PLAIN, "without a GPS time stamp"),
        (b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", b"\1\0"), "damaged WAV header"),
        (wav([(0, 1)], ramp(1), struct.pack("<HHIIHH", 1, 1, 12001, 24002, 2, 16)), "1 channels of 16 bits"),
        (wav([(time, 1) for time in true_ns(9, 0)], ramp(9)), "only 9 of 9 time stamps have a fresh GPS fix"),
        (wav([(time, 255) for time in true_ns(50, 0)], ramp(50)), "only 0 of 50"),
        (wav([(time * 2, 1) for time in true_ns(50, 0)], ramp(50)), "time stamps give 6000.6 Hz"),
        (
            wav([(time + (k % 5) * 10**8, 1) for k, time in enumerate(true_ns(40, 0))], ramp(40)),
            "lie on one line",
        ),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(HeimdallError, match=cause) as caught:
        kiwi.read(path, NEAR)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"none\.wav: cannot be read"):
        kiwi.read(tmp_path / "none.wav", NEAR)
