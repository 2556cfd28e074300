"""KiwiSDR IQ files: a WAV whose every block of samples has a GPS time stamp.

Before each `data` chunk stands a `kiwi` chunk: age of the last GPS fix in seconds (uint8), an unused byte,
second of the GPS week and nanosecond (uint32 each, little-endian) of the block's first sample.
"""

from __future__ import annotations

import datetime as dt
import struct
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, recording, riff, sample_types, stamps
from heimdall.formats.gps_time import GPS_EPOCH, SECOND_NS, WEEK_NS, leap_seconds, to_utc, utc_ns
from heimdall.formats.recording import TimedRecording
from heimdall.formats.stamps import Line, Stamped

MAX_RATE_ERROR = 0.01  # of the rate in the WAV header, which is rounded to whole hertz
_STAMP = struct.Struct("<BBII")
_REMEDY = "Give an IQ recording with GPS time stamps, as KiwiSDR clients write it"


@dataclass(frozen=True)
class Blocks:
    """The blocks of a file, in its order.

    Attributes:
        form: What the WAV header says of the samples.
        pieces: Offset in the file and number of samples of each block, b of them.
        stamped: Their stamps, in nanoseconds since the GPS week began, continued over its end.
    """

    form: riff.Format
    pieces: tuple[tuple[int, int], ...]
    stamped: Stamped


def has_stamps(chunks: list[riff.Chunk]) -> bool:
    """Whether a WAV file is a KiwiSDR's."""
    return any(chunk.name == b"kiwi" for chunk in chunks)


def read(path: Path, chunks: list[riff.Chunk], near: dt.datetime | None) -> list[TimedRecording]:
    """Read every stretch without a gap, and put it on GPS time.

    A stretch of fewer than `stamps.MIN_STAMPS` blocks is left out: a KiwiSDR often begins with a block that
    was in its buffer for minutes. A stretch whose stamps all lack a fresh fix has no GPS time.

    Args:
        path: The WAV file.
        chunks: As `riff.chunks` found them.
        near: UTC within half a week of the recording, for stamps count from the week's beginning only. None:
            as the file's name says.

    Returns:
        The stretches in the file's order, at least one.

    Raises:
        HeimdallError: It is no such file, its date is unknown, or too few of its stamps agree.
    """
    named = file_names.parse(path)
    near = near or named.start
    if near is None:
        cause = "its name does not say when it was recorded"
        raise HeimdallError(str(path), cause, "Give --date, such as --date 2017-11-27")
    blocks = read_blocks(path, chunks)
    found, refused = [], []
    ranges = stamps.stretches(blocks.stamped) if len(blocks.pieces) > 1 else [(0, 1)]
    for first, end in sorted(ranges, key=lambda ends: ends[0] - ends[1]):  # why the longest one is refused
        try:
            found.append((first, _stretch(path, blocks, first, end, near)))
        except ValueError as error:
            refused.append((end - first, str(error)))
    if not found:
        longest, cause = refused[0]
        if len(ranges) > 1 and longest < stamps.MIN_STAMPS:
            cause = f"only {longest} of {len(blocks.pieces)} time stamps lie on one line"
        raise HeimdallError(str(path), cause, _REMEDY)
    lost = sum(count for count, _ in refused)
    remarks = (
        (f"{lost} of {len(blocks.pieces)} blocks are in no stretch with a time of its own",) if lost else ()
    )
    return [
        TimedRecording(
            **vars(stretch)
            | {
                "receiver": named.station,
                "frequency_hz": named.frequency_hz,
                "remarks": stretch.remarks + (remarks if number == 0 else ()),
            }
        )
        for number, (_, stretch) in enumerate(sorted(found, key=lambda pair: pair[0]))
    ]


def read_blocks(path: Path, chunks: list[riff.Chunk]) -> Blocks:
    """Where the samples of a file are, and their time stamps.

    What a killed recorder left of the last block is dropped.

    Raises:
        HeimdallError: The file is no IQ recording with a `kiwi` chunk before each block.
    """
    form: riff.Format | None = None
    stamp: tuple[int, int] | None = None
    pieces: list[tuple[int, int]] = []
    found: list[tuple[int, int]] = []
    for chunk in chunks:
        if chunk.name == b"fmt ":
            form = riff.read_format(path, chunk.body)
        elif chunk.name == b"kiwi" and len(chunk.body) >= _STAMP.size:
            fix_age_s, _, second, nanosecond = _STAMP.unpack_from(chunk.body)
            stamp = (second * SECOND_NS + nanosecond, fix_age_s)
        elif chunk.name == b"data":
            if form is None or stamp is None:
                raise HeimdallError(str(path), "samples without a GPS time stamp (`kiwi` chunk)", _REMEDY)
            count = chunk.size // form.kind.sample_bytes
            if count and chunk.declared == chunk.size:
                pieces.append((chunk.offset, count))
                found.append(stamp)
            stamp = None
    if form is None or not pieces:
        raise HeimdallError(str(path), "a WAV file without samples", _REMEDY)
    times = np.array(found, np.int64)  # (b, 2)
    lengths = np.array([count for _, count in pieces], np.int64)
    return Blocks(
        form, tuple(pieces), Stamped(np.cumsum(lengths) - lengths, _continued(times[:, 0]), times[:, 1])
    )


def _stretch(path: Path, blocks: Blocks, first: int, end: int, near: dt.datetime) -> TimedRecording:
    """Samples and times of some blocks; ValueError if their stamps give none."""
    part = blocks.stamped.part(first, end)
    timed = bool(part.fresh.sum() >= stamps.MIN_STAMPS)
    line = stamps.fit(part, stale=not timed and len(part.fresh) >= stamps.MIN_STAMPS)
    sample_rate_hz = SECOND_NS / line.period_ns if line.period_ns > 0 else 0.0
    if abs(sample_rate_hz / blocks.form.rate_hz - 1) > MAX_RATE_ERROR:
        raise ValueError(f"time stamps give {sample_rate_hz:.1f} Hz, the header {blocks.form.rate_hz} Hz")
    samples = sample_types.read(path, blocks.form.kind, blocks.pieces[first:end])
    recording.check_samples(str(path), samples, recording.checked_rate(str(path), sample_rate_hz))
    start_week_ns = round(line.origin_ns + int(part.first_sample[0]) * line.period_ns)
    start_ns = start_week_ns + _week_start_ns(start_week_ns, near)
    return TimedRecording(
        samples=samples,
        sample_rate_hz=sample_rate_hz,
        start_gps_ns=start_ns if timed else None,
        timing_sigma=stamps.timing_sigma(part, line) if timed else None,
        start_utc_ns=utc_ns(to_utc(start_ns)) + start_ns % 1000,
        remarks=(_about(line, timed=timed),),
    )


def _about(line: Line, *, timed: bool) -> str:
    if not timed:
        return "no GPS time, for none of its time stamps has a fresh GPS fix"
    used = int(line.used.sum())
    return f"time stamps scatter by {line.sigma_ns:.0f} ns ({used} used, {len(line.used) - used} rejected)"


def _week_start_ns(week_ns: int, near: dt.datetime) -> int:
    """Start of the GPS week in which a time of week is closest to `near`."""
    since_epoch = near - GPS_EPOCH + dt.timedelta(seconds=leap_seconds(near))
    near_ns = (since_epoch // dt.timedelta(microseconds=1)) * 1000
    return round((near_ns - week_ns) / WEEK_NS) * WEEK_NS


def _continued(week_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same times without the fall at the end of the week."""
    steps = np.diff(week_ns, prepend=week_ns[:1])
    return week_ns - np.cumsum(np.round(steps / WEEK_NS).astype(np.int64)) * WEEK_NS
