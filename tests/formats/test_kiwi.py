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
from heimdall.formats import gps_time, reader
from heimdall.formats.gps_time import SECOND_NS, WEEK_NS
from heimdall.formats.recording import TimedRecording

NEAR = dt.datetime(2017, 11, 27, 10, 42, tzinfo=dt.UTC)
WEEK_START_NS = 1977 * WEEK_NS  # Sunday, 2017-11-26, in GPS time
RATE_HZ = 12001.13
BLOCK = 512


def chunk(name: bytes, body: bytes) -> bytes:
    return struct.pack("<4sI", name, len(body)) + body


def wav(stamps: Sequence[tuple[int, int]], samples: npt.NDArray[np.int16], fmt: bytes | None = None) -> bytes:
    """A file of blocks of 512 samples, (n, 2), each with its nanoseconds of the week and its fix age."""
    body = b"WAVE" + chunk(b"fmt ", fmt or struct.pack("<HHIIHH", 1, 2, 12001, 48004, 4, 16))
    for number, (week_ns, age_s) in enumerate(stamps):
        second, nanosecond = divmod(week_ns % WEEK_NS, SECOND_NS)
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


def read_all(path: Path, near: dt.datetime = NEAR) -> list[TimedRecording]:
    return reader.read(path, reader.Hints(near=near, only_kiwi=True))


def read_one(path: Path, near: dt.datetime = NEAR) -> TimedRecording:
    (recording,) = read_all(path, near)
    return recording


def sigmas(recording: TimedRecording) -> list[float | None]:
    """Of each whole second."""
    count = int(RATE_HZ)
    return [
        recording.timing_sigma_ns(second * count, (second + 1) * count)
        for second in range(len(recording.samples) // count)
    ]


def test_rate_time_and_samples_come_back_through_jitter(tmp_path: Path) -> None:
    start_ns = 124_934 * SECOND_NS + 171_899_011
    jitter_ns = np.random.default_rng(1).normal(0, 50, 700)
    stamps = [(time + round(error), 2) for time, error in zip(true_ns(700, start_ns), jitter_ns, strict=True)]
    read = read_one(written(tmp_path, stamps, 700))
    assert read.sample_rate_hz == pytest.approx(RATE_HZ, rel=1e-9)
    assert read.start_gps_ns is not None
    assert abs(read.start_gps_ns - (WEEK_START_NS + start_ns)) < 10
    assert all(90 < sigma < 110 for sigma in sigmas(read) if sigma)
    assert "700 used, 0 rejected" in read.remarks[0]
    assert read.samples.dtype == np.complex64
    assert read.samples[1000] == np.complex64((1000 - 1j * (1000 % 7)) / 32768)
    assert len(read.samples) == 700 * BLOCK


def test_stale_wrong_and_leading_blocks_do_not_move_the_line(tmp_path: Path) -> None:
    start_ns = 50_000 * SECOND_NS
    stamps = [(time, 1) for time in true_ns(100, start_ns)]
    stamps[0] = (start_ns - 568 * SECOND_NS, 1)  # a block that was in the buffer for minutes
    stamps[40] = (stamps[40][0] + 5_000_000, 1)
    stamps[41] = (stamps[41][0] + 3_000, 1)
    stamps[60:70] = [(time + 200_000, 200) for time, _ in stamps[60:70]]  # no fix for minutes
    read = read_one(written(tmp_path, stamps, 100))
    assert read.sample_rate_hz == pytest.approx(RATE_HZ, rel=1e-9)
    assert read.time_ns(0) - (WEEK_START_NS + stamps[1][0]) in (-1, 0, 1)
    assert "87 used, 12 rejected" in read.remarks[0]
    assert "1 of 100 blocks" in read.remarks[1]
    assert len(read.samples) == 99 * BLOCK
    assert read.samples[0].real == np.float32(BLOCK / 32768)


def test_rejected_stamps_never_have_the_sigma_of_the_good_ones(tmp_path: Path) -> None:
    """Good for 5 s; one block 5 ms late; a second whose stamps scatter by 20 us; good again."""
    stamps = [(time, 1) for time in true_ns(240, 0)]
    stamps[60] = (stamps[60][0] + 5_000_000, 1)
    late = np.random.default_rng(2).permutation(24) * 3_000 - 36_000
    stamps[120:144] = [(time + int(ns), 1) for (time, _), ns in zip(stamps[120:144], late, strict=True)]
    read = read_one(written(tmp_path, stamps, 240))
    found = sigmas(read)
    assert found[0] == pytest.approx(80, rel=0.01)
    assert found[2] is None  # the block itself tells of lost samples: nobody knows
    assert found[5] is not None
    assert found[5] > 10_000
    assert found[8] == pytest.approx(80, rel=0.01)


def test_sigma_grows_while_the_fix_is_lost_and_ends_after_half_a_minute(tmp_path: Path) -> None:
    stamps = [(time, 0 if block < 100 else 255) for block, time in enumerate(true_ns(1000, 0))]
    found = sigmas(read_one(written(tmp_path, stamps, 1000)))
    assert found[:4] == [pytest.approx(80, rel=0.01)] * 4
    grown = [sigma for sigma in found[5:30] if sigma is not None]
    assert len(grown) == 25
    assert grown == sorted(grown)
    assert grown[-1] > 900
    assert found[36:] == [None] * len(found[36:])


def test_old_fixes_make_every_second_less_certain(tmp_path: Path) -> None:
    def sigma_ns(age_s: int) -> float | None:
        return sigmas(read_one(written(tmp_path, [(time, age_s) for time in true_ns(100, 0)], 100)))[1]

    assert sigma_ns(5) == pytest.approx(80, rel=0.01)
    assert sigma_ns(25) == pytest.approx(804, rel=0.01)
    assert sigma_ns(40) is None


@pytest.mark.parametrize(
    ("fix_sigma_ns", "lasting_s", "interval_s", "step_ns"),
    [(50, 60, 1, 0), (80, 30, 1, 0), (80, 0.01, 7, 0), (80, 0.01, 20, 0), (0, 1, 1, 900)],
)
def test_errors_that_fixes_share_stay_within_the_sigma(
    tmp_path: Path, fix_sigma_ns: float, lasting_s: float, interval_s: int, step_ns: int
) -> None:
    """Errors of fixes that last for a minute, few fixes, and a step that lasts but is no jump."""
    times = np.array(true_ns(1000, 0))
    fix = times // (interval_s * SECOND_NS)
    worst = 0.0
    for noise in np.random.default_rng(7).normal(0, 1, (3, int(fix[-1]) + 1)):
        kept, error = np.exp(-interval_s / lasting_s), list(noise[:1])
        for new in noise[1:]:
            error.append(kept * error[-1] + np.sqrt(1 - kept**2) * new)
        off = fix_sigma_ns * np.array(error)[fix] + step_ns * (np.arange(1000) >= 500)
        stamps = zip((times + off.round().astype(int)).tolist(), times // SECOND_NS % interval_s, strict=True)
        read = read_one(written(tmp_path, list(stamps), 1000))
        for second in range(42):
            sample = round((second + 0.5) * RATE_HZ)
            sigma_ns = read.timing_sigma_ns(sample, sample + 1)
            assert sigma_ns is not None
            wrong_ns = read.time_ns(sample) - WEEK_START_NS - sample * 1e9 / RATE_HZ
            worst = max(worst, abs(wrong_ns) / sigma_ns)
    assert worst < 3


@pytest.mark.parametrize(
    ("times", "remark"),
    [
        ([0] * 60, "time stamps give 0.0 Hz"),
        ([time * 2 for time in true_ns(60, 0)], "time stamps give 6000.6 Hz"),
        ([time + (k % 5) * 10**8 for k, time in enumerate(true_ns(60, 0))], "no GPS time"),
        (true_ns(9, 0), "only 9 of 9 time stamps have a fresh GPS fix"),
    ],
)
def test_file_whose_stamps_are_all_rejected_is_read_without_gps_time(
    tmp_path: Path, times: list[int], remark: str
) -> None:
    """A KiwiSDR without GPS writes zeros: its samples are good, and its name says the start."""
    path = tmp_path / "20171127T104156Z_77500_A_iq.wav"
    path.write_bytes(wav([(time, 1) for time in times], ramp(len(times))))
    read = read_one(path)
    assert len(read.samples) == len(times) * BLOCK
    assert (read.start_gps_ns, read.timing_sigma_ns(0, 100), read.sample_rate_hz) == (None, None, 12001)
    assert read.start_utc == dt.datetime(2017, 11, 27, 10, 41, 56, tzinfo=dt.UTC)
    assert remark in read.remarks[0]
    assert "GPS time" in read.missing


def test_file_that_lost_blocks_too_often_is_refused_and_not_read_over_its_gaps(tmp_path: Path) -> None:
    stamps = [(time, 1) for block, time in enumerate(true_ns(90, 0)) if block % 9]
    with pytest.raises(HeimdallError, match="blocks are lost so often that never 10 of them follow one"):
        read_all(written(tmp_path, stamps, len(stamps)))


def test_clock_that_gps_never_set_does_not_move_a_recording_by_days(tmp_path: Path) -> None:
    path = tmp_path / "20171127T104156Z_77500_A_iq.wav"
    path.write_bytes(wav([(time, 255) for time in true_ns(60, 7 * SECOND_NS)], ramp(60)))
    assert read_one(path).start_utc == dt.datetime(2017, 11, 27, 10, 41, 56, tzinfo=dt.UTC)


def test_stretch_of_a_receiver_that_was_switched_off_is_left_out_and_said(tmp_path: Path) -> None:
    times = [time + (10**9 if block >= 30 else 0) for block, time in enumerate(true_ns(100, 0))]
    samples = ramp(100)
    samples[: 30 * BLOCK] = 0
    path = tmp_path / "x.wav"
    path.write_bytes(wav([(time, 1) for time in times], samples))
    read = read_one(path)
    assert len(read.samples) == 70 * BLOCK
    assert "a stretch of it is left out: all 15360 samples are zero" in read.remarks


@pytest.mark.parametrize("jump_ns", [42_662_649, 3_000])
def test_jump_of_the_stamps_ends_a_stretch(tmp_path: Path, jump_ns: int) -> None:
    times = [time + (jump_ns if block >= 30 else 0) for block, time in enumerate(true_ns(100, 0))]
    read = read_all(written(tmp_path, [(time, 1) for time in times], 100))
    assert [len(one.samples) for one in read] == [30 * BLOCK, 70 * BLOCK]
    assert [one.time_ns(0) - WEEK_START_NS for one in read] == pytest.approx([times[0], times[30]], abs=1)
    assert [one.samples[1] for one in read] == [np.complex64((1 - 1j) / 32768), read[1].samples[1]]


def test_samples_that_were_replaced_by_later_ones_end_a_stretch_though_the_line_goes_on(
    tmp_path: Path,
) -> None:
    """Five blocks are lost and five come twice: before and after it the stamps lie on one line."""
    times = true_ns(300, 0)
    written_blocks = [*range(100), *range(105, 145), *range(140, 300)]
    path = written(tmp_path, [(times[block], 1) for block in written_blocks], len(written_blocks))
    read = read_all(path)
    assert [len(one.samples) // BLOCK for one in read] == [100, 40, 160]
    assert [one.start_gps_ns is None for one in read] == [False, True, False]
    assert "no GPS time, for its time stamps leave the line of those before and after" in read[1].remarks[0]


@pytest.mark.parametrize("off_ns", [900_000, 5_000, -30_000_000])
def test_stamps_that_leave_the_line_and_come_back_are_not_believed(tmp_path: Path, off_ns: int) -> None:
    times = [time + (off_ns if 200 <= block < 260 else 0) for block, time in enumerate(true_ns(500, 0))]
    read = read_all(written(tmp_path, [(time, 1) for time in times], 500))
    assert [len(one.samples) // BLOCK for one in read] == [200, 60, 240]
    assert [one.start_gps_ns is None for one in read] == [False, True, False]
    assert reader.overlap_s(read) == 0
    assert max(sigma or 0.0 for one in (read[0], read[2]) for sigma in sigmas(one)) < 200


def test_a_short_stretch_before_a_long_loss_takes_no_time_from_the_others(tmp_path: Path) -> None:
    """A correction of the clock within it bends its line; a minute on that is more than a sample."""
    lost = round(60 * RATE_HZ / BLOCK)
    true = true_ns(330 + lost, 0)
    times = [time + (-150 if block < 15 else 150 if block < 30 else 0) for block, time in enumerate(true)]
    kept = [(time, 1) for block, time in enumerate(times) if not 30 <= block < 30 + lost]
    assert [one.start_gps_ns is None for one in read_all(written(tmp_path, kept, 330))] == [False, False]


@pytest.mark.parametrize(
    ("step_ns", "sigma_ns"),
    [
        (-5_000, 5_000),
        (3_000, 3_000),  # less than one sample
        (-30_000_000, None),
        (SECOND_NS, None),
        (1000 * 10**9 * BLOCK / RATE_HZ, 80),  # lost blocks
        (100 * 10**9 / RATE_HZ, 80),  # lost samples
        (-3 * 10**9 * BLOCK / RATE_HZ, 80),  # blocks written twice
    ],
)
def test_of_two_stretches_that_contradict_each_other_none_is_believed_more_than_they_differ(
    tmp_path: Path, step_ns: float, sigma_ns: float | None
) -> None:
    """Whole samples are lost, and whole blocks come twice; else a clock was wrong, and nothing says which."""
    times = [time + round(step_ns if block >= 200 else 0) for block, time in enumerate(true_ns(500, 0))]
    read = read_all(written(tmp_path, [(time, 1) for time in times], 500))
    assert len(read) == 2
    for one in read:
        assert sigmas(one) == [sigma_ns and pytest.approx(sigma_ns, rel=0.01)] * len(sigmas(one))
        told = f"contradict each other by {abs(step_ns) / 1e6:.1f} ms"
        assert (told in one.remarks[0]) == (one.start_gps_ns is None) == (sigma_ns is None)


@pytest.mark.parametrize("drift_ns_per_s", [0, 10, 40])
def test_clock_that_drifts_after_its_last_fix_stays_within_its_sigma(
    tmp_path: Path, drift_ns_per_s: int
) -> None:
    noise = np.random.default_rng(5).normal(0, 5, (20, 600))
    true = true_ns(600, 0)
    errors = []
    for one in noise:
        late_s = [max(0.0, (time - 5e9) / 1e9) for time in true]  # since the last fix
        times = [round(t + n + s * drift_ns_per_s) for t, n, s in zip(true, one, late_s, strict=True)]
        stamps = [(time, min(255, int(s))) for time, s in zip(times, late_s, strict=True)]
        read = read_one(written(tmp_path, stamps, 600))
        for second in range(25):
            sample = int(RATE_HZ) * second
            sigma_ns = read.timing_sigma_ns(sample, sample + int(RATE_HZ))
            if sigma_ns is not None:
                off_ns = read.time_ns(sample) - WEEK_START_NS - sample * 1e9 / RATE_HZ
                errors.append(abs(off_ns) / sigma_ns)
    assert len(errors) > 400
    assert max(errors) < 3


def test_recording_without_any_fresh_fix_has_no_gps_time(tmp_path: Path) -> None:
    read = read_one(written(tmp_path, [(time, 255) for time in true_ns(50, 0)], 50))
    assert (read.start_gps_ns, read.timing_sigma_ns(0, 100)) == (None, None)
    assert "GPS time" in read.missing
    assert "no GPS time" in read.remarks[0]
    assert read.start_utc == gps_time.to_utc(WEEK_START_NS)
    assert read.disciplined(50.0) is read


def test_gps_week_may_end_within_the_file(tmp_path: Path) -> None:
    start_ns = WEEK_NS - 2 * SECOND_NS
    path = written(tmp_path, [(time, 1) for time in true_ns(100, start_ns)], 100)
    saturday = dt.datetime(2017, 12, 2, 23, 59, 40, tzinfo=dt.UTC)
    for near in (saturday, saturday + dt.timedelta(minutes=5)):
        assert read_one(path, near).start_gps_ns == WEEK_START_NS + start_ns
    assert read_one(path).start_gps_ns == WEEK_START_NS - WEEK_NS + start_ns


def test_sample_times_are_those_of_the_line(tmp_path: Path) -> None:
    read = read_one(written(tmp_path, [(time, 1) for time in true_ns(100, 0)], 100))
    number = read.first_sample_at(WEEK_START_NS + SECOND_NS)
    assert number == 12002
    assert read.time_ns(number - 1) < WEEK_START_NS + SECOND_NS <= read.time_ns(number)
    assert read.first_sample_at(WEEK_START_NS - SECOND_NS) < 0


def test_utc_knows_the_leap_seconds() -> None:
    assert gps_time.to_utc(1_195_814_534_171_898_960) == dt.datetime(
        2017, 11, 27, 10, 41, 56, 171898, tzinfo=dt.UTC
    )
    assert gps_time.leap_seconds(dt.datetime(2016, 12, 31, tzinfo=dt.UTC)) == 17
    with pytest.raises(HeimdallError, match="no time of a recording"):
        gps_time.leap_seconds(dt.datetime(1998, 1, 1, tzinfo=dt.UTC))


def test_file_cut_by_a_killed_recorder_is_read_up_to_its_last_whole_block(tmp_path: Path) -> None:
    path = written(tmp_path, [(time, 1) for time in true_ns(50, 0)], 50)
    whole = path.read_bytes()
    assert "truncated" not in str(read_one(path).remarks)
    for cut, blocks in ((100, 49), (20 * len(whole) // 50, 29)):
        path.write_bytes(whole[:-cut])
        assert len(read_one(path).samples) == blocks * BLOCK
        assert f"truncated: {cut} bytes of what its header declares" in read_one(path).remarks[-1]
    path.write_bytes(whole[:4] + b"\xff" * 4 + whole[8:-100])  # killed before it wrote the size
    assert "truncated" not in str(read_one(path).remarks)


PLAIN = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 2, 12001, 48004, 4, 16)) + chunk(b"data", bytes(2048))


@pytest.mark.parametrize(
    ("content", "cause"),
    [
        (b"", "not a WAV file"),
        (b"\x93NUMPY" + bytes(100), "not a WAV file"),
        (b"RIFF\0\0\0\0WAVE", "without samples"),
        (b"RIFF\0\0\0\0WAVE" + PLAIN, "without a GPS time stamp"),
        (b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", b"\1\0"), "damaged WAV header"),
        (wav([(0, 1)], ramp(1), struct.pack("<HHIIHH", 1, 1, 12001, 24002, 2, 16)), "one channel"),
    ],
)
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: bytes, cause: str) -> None:
    path = tmp_path / "x.wav"
    path.write_bytes(content)
    with pytest.raises(HeimdallError, match=cause) as caught:
        read_all(path)
    assert str(path) in str(caught.value)


def test_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"none\.wav: it cannot be read"):
        read_all(tmp_path / "none.wav")
