"""KiwiSDR IQ files: a WAV whose every block of samples has a GPS time stamp.

Before each `data` chunk stands a `kiwi` chunk: age of the last GPS fix in seconds (uint8), an unused byte,
second of the GPS week and nanosecond (uint32 each, little-endian) of the block's first sample.
"""

from __future__ import annotations

import datetime as dt
import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, recording, riff, sample_types, stamps
from heimdall.formats.file_names import Named
from heimdall.formats.gps_time import GPS_EPOCH, SECOND_NS, WEEK_NS, leap_seconds, to_utc, utc_ns
from heimdall.formats.recording import TimedRecording
from heimdall.formats.sample_types import Source
from heimdall.formats.stamps import Line, Stamped
from heimdall.recordings.iq import Samples

MAX_RATE_ERROR = 0.01  # of the rate in the WAV header, which is rounded to whole hertz
MAX_CLOCK_ERROR_NS = 60 * SECOND_NS  # of a clock without GPS, against the time in the file's name
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


@dataclass(frozen=True)
class _File:
    """A file's blocks, and when it was recorded: within half a week, and by its name."""

    path: Path
    blocks: Blocks
    near: dt.datetime
    named: Named


def has_stamps(chunks: list[riff.Chunk]) -> bool:
    """Whether a WAV file is a KiwiSDR's."""
    return any(chunk.name == b"kiwi" for chunk in chunks)


def read(path: Path, chunks: list[riff.Chunk], near: dt.datetime | None) -> list[TimedRecording]:
    """Read every stretch without a gap, and put it on GPS time.

    A stretch of fewer than `stamps.MIN_STAMPS` blocks is left out: a KiwiSDR often begins with a block that
    was in its buffer for minutes. A stretch whose stamps all lack a fresh fix has no GPS time. Where no
    stamps lie on a line, as without a GPS antenna, the file is read as any other WAV file: one stretch at
    the rate of the header, that begins when the file's name says.

    Args:
        path: The WAV file.
        chunks: As `riff.chunks` found them.
        near: UTC within half a week of the recording, for stamps count from the week's beginning only. None:
            as the file's name says.

    Returns:
        The stretches in the file's order, at least one.

    Raises:
        HeimdallError: It is no such file, its date is unknown, or no stretch holds a signal.
    """
    named = file_names.parse(path)
    near = near or named.start
    if near is None:
        cause = "its name does not say when it was recorded"
        raise HeimdallError(str(path), cause, "Give --date, such as --date 2017-11-27")
    blocks = read_blocks(path, chunks)
    file = _File(path, blocks, near, named)
    found: list[TimedRecording] = []
    refused, lost = [], 0
    ranges = stamps.stretches(blocks.stamped) if len(blocks.pieces) > 1 else [(0, 1)]
    lines = []
    for first, end in ranges:
        try:
            lines.append((first, end, _line(blocks, first, end)))
        except ValueError as error:
            lost += end - first
            refused.append((first - end, str(error)))
    if not lines and _torn(blocks, ranges):
        cause = f"blocks are lost so often that never {stamps.MIN_STAMPS} of them follow one another"
        raise HeimdallError(str(path), cause, "Record it again over a better connection")
    if not lines:  # why the longest stretch has no line
        untimed = _untimed(file, min(refused)[1])
        return [replace(untimed, receiver=named.station, remarks=(*untimed.remarks, *_truncated(path)))]
    remarks: tuple[str, ...] = ()
    for first, end, fitted in _possible(blocks, lines):
        try:
            found.append(_stretch(file, first, end, fitted, sum(len(one.samples) for one in found)))
        except HeimdallError as error:  # such as a receiver that was switched off
            if len(lines) == 1:
                raise
            last, remarks = error, (*remarks, f"a stretch of it is left out: {error.cause}")
    if not found:
        raise last
    if lost:
        remarks = (
            f"{lost} of {len(blocks.pieces)} blocks are in no stretch with a time of its own",
            *remarks,
        )
    found[0] = replace(found[0], remarks=(*found[0].remarks, *remarks, *_truncated(path)))
    return [replace(one, receiver=named.station, frequency_hz=named.frequency_hz) for one in found]


def _truncated(path: Path) -> tuple[str, ...]:
    """What to say of a file that is shorter than its beginning says."""
    missing = riff.missing_bytes(path)
    if not missing:
        return ()
    return (f"it is truncated: {missing} bytes of what its header declares are missing; the others are read",)


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


@dataclass(frozen=True)
class _Fitted:
    """The line through the stamps of a stretch.

    `timed` says whether it is GPS time, `doubt_ns` by how much it contradicts the stretches beside it, and
    `cause` why it is none, if not for the age of the fixes.
    """

    line: Line
    timed: bool
    doubt_ns: float = 0.0
    cause: str = "none of its time stamps has a fresh GPS fix"

    def doubted(self, wrong_ns: float) -> _Fitted:
        """The same, if it or a stretch beside it is wrong by this."""
        if wrong_ns < stamps.SAME_STRETCH_NS:
            return replace(self, doubt_ns=max(self.doubt_ns, wrong_ns))
        cause = f"it and a stretch beside it contradict each other by {wrong_ns / 1e6:.1f} ms"
        return replace(self, timed=False, cause=cause)


def _possible(blocks: Blocks, lines: Sequence[tuple[int, int, _Fitted]]) -> list[tuple[int, int, _Fitted]]:
    """The same, after a comparison of the stretches: samples of one receiver follow one another.

    A stretch between two that lie on one line has that line and no GPS time. If one begins before the former
    one ends (by no whole number of blocks, which were written twice), or no whole number of samples after it,
    either of the two is wrong by as much: both have no GPS time if that is 1 ms or more.
    """
    kept = list(lines)
    timed = [number for number, (_, _, fitted) in enumerate(lines) if fitted.timed]
    samples = [*(int(first) for first in blocks.stamped.first_sample), sum(n for _, n in blocks.pieces)]
    spans = [(samples[lines[number][0]], samples[lines[number][1]]) for number in timed]
    away = stamps.between(spans, [lines[number][2].line for number in timed])
    for number, other in away.items():
        first, end, _ = lines[timed[number]]
        cause = "its time stamps leave the line of those before and after them"
        kept[timed[number]] = (first, end, _Fitted(lines[timed[other]][2].line, timed=False, cause=cause))
    left = [number for number in range(len(timed)) if number not in away]
    for one, other in pairwise(left):
        both = [kept[timed[number]][2].line for number in (one, other)]
        wrong_ns = stamps.unexplained_ns((spans[one], spans[other]), both, blocks.pieces[0][1])
        if wrong_ns:
            for number in (timed[one], timed[other]):
                begin, end, doubted = kept[number]
                kept[number] = (begin, end, doubted.doubted(wrong_ns))
    return kept


def _torn(blocks: Blocks, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether all stretches are too short for a line because samples are lost, and not for wrong stamps."""
    if len(ranges) == 1 or max(end - first for first, end in ranges) >= stamps.MIN_STAMPS:
        return False
    period_ns = SECOND_NS / blocks.form.rate_hz
    later_ns = np.diff(blocks.stamped.time_ns) - np.diff(blocks.stamped.first_sample) * period_ns
    return bool(blocks.stamped.fresh.all() and (later_ns > -stamps.SAME_STRETCH_NS).all())


def _line(blocks: Blocks, first: int, end: int) -> _Fitted:
    """The line through the stamps of some blocks; ValueError if there is none."""
    part = blocks.stamped.part(first, end)
    timed = bool(part.fresh.sum() >= stamps.MIN_STAMPS)
    line = stamps.fit(part, stale=not timed and len(part.fresh) >= stamps.MIN_STAMPS)
    sample_rate_hz = SECOND_NS / line.period_ns if line.period_ns > 0 else 0.0
    if abs(sample_rate_hz / blocks.form.rate_hz - 1) > MAX_RATE_ERROR:
        raise ValueError(f"time stamps give {sample_rate_hz:.1f} Hz, the header {blocks.form.rate_hz} Hz")
    return _Fitted(line, timed)


def _stretch(file: _File, first: int, end: int, fitted: _Fitted, read: int) -> TimedRecording:
    """Samples and times of some blocks, after as many samples of the file as are read."""
    line, timed, part = fitted.line, fitted.timed, file.blocks.stamped.part(first, end)
    source, samples, rate_hz, remarks = _samples(file, first, end, SECOND_NS / line.period_ns, read)
    start_week_ns = round(line.origin_ns + int(part.first_sample[0]) * line.period_ns)
    start_ns = start_week_ns + _week_start_ns(start_week_ns, file.near)
    start_utc_ns = utc_ns(to_utc(start_ns)) + start_ns % 1000
    if not timed and file.named.start is not None:
        # A clock that GPS never set may say anything. It counts on, so that stretches keep their distance.
        begun_ns = utc_ns(file.named.start)
        if abs(start_utc_ns - begun_ns) > MAX_CLOCK_ERROR_NS:
            passed_ns = int(part.time_ns[0] - file.blocks.stamped.time_ns[0])
            start_utc_ns = begun_ns + (passed_ns if 0 <= passed_ns < SECOND_NS * 3600 else 0)
    return TimedRecording(
        samples=samples,
        sample_rate_hz=rate_hz,
        start_gps_ns=start_ns if timed else None,
        timing_sigma=stamps.timing_sigma(part, line).with_error(fitted.doubt_ns) if timed else None,
        start_utc_ns=start_utc_ns,
        remarks=(_about(fitted), *remarks),
        source=source,
    )


def _untimed(file: _File, cause: str) -> TimedRecording:
    """All blocks as one stretch, for their stamps say nothing."""
    blocks, start = file.blocks, file.named.start
    source, samples, rate_hz, remarks = _samples(file, 0, len(blocks.pieces), float(blocks.form.rate_hz))
    return TimedRecording(
        samples,
        rate_hz,
        start_utc_ns=None if start is None else utc_ns(start),
        start_step_ns=None if start is None else float(SECOND_NS),
        frequency_hz=file.named.frequency_hz,
        remarks=(f"no GPS time: {cause}", *remarks),
        source=source,
    )


def _samples(
    file: _File, first: int, end: int, rate_hz: float, read: int = 0
) -> tuple[Source, Samples, float, tuple[str, ...]]:
    """Where the samples of some blocks are, they, their rate, and what to say of them."""
    rate_hz = recording.checked_rate(str(file.path), rate_hz)
    pieces, remarks = recording.limited(str(file.path), file.blocks.pieces[first:end], rate_hz, read)
    source = Source(file.path, file.blocks.form.kind, tuple(pieces))
    samples = sample_types.read(file.path, source.kind, pieces)
    recording.check_samples(str(file.path), samples, rate_hz)
    return source, samples, rate_hz, remarks


def _about(fitted: _Fitted) -> str:
    if not fitted.timed:
        return f"no GPS time, for {fitted.cause}"
    line, used = fitted.line, int(fitted.line.used.sum())
    text = f"time stamps scatter by {line.sigma_ns:.0f} ns ({used} used, {len(line.used) - used} rejected)"
    return text + (
        f", and contradict a stretch beside it by {fitted.doubt_ns:.0f} ns" if fitted.doubt_ns else ""
    )


def _week_start_ns(week_ns: int, near: dt.datetime) -> int:
    """Start of the GPS week in which a time of week is closest to `near`."""
    since_epoch = near - GPS_EPOCH + dt.timedelta(seconds=leap_seconds(near))
    near_ns = (since_epoch // dt.timedelta(microseconds=1)) * 1000
    return round((near_ns - week_ns) / WEEK_NS) * WEEK_NS


def _continued(week_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The same times without the fall at the end of the week."""
    steps = np.diff(week_ns, prepend=week_ns[:1])
    return week_ns - np.cumsum(np.round(steps / WEEK_NS).astype(np.int64)) * WEEK_NS
