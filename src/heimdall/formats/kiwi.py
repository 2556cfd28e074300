"""KiwiSDR IQ files: a WAV whose every block of samples has a GPS time stamp.

Before each `data` chunk stands a `kiwi` chunk: age of the last GPS fix in seconds (uint8), an unused byte,
second of the GPS week and nanosecond (uint32 each, little-endian) of the block's first sample. Single stamps
are stale, wrong, or a buffer late; a straight line through all of them is good to tens of nanoseconds.
"""

from __future__ import annotations

import datetime as dt
import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError
from heimdall.recordings.iq import Samples

Nanoseconds = npt.NDArray[np.int64]

GPS_EPOCH = dt.datetime(1980, 1, 6, tzinfo=dt.UTC)
SECOND_NS = 1_000_000_000
WEEK_NS = 7 * 86_400 * SECOND_NS
# GPS time minus UTC since each date (IERS Bulletin C). The first KiwiSDRs are of 2016.
LEAP_SECONDS = ((dt.datetime(2017, 1, 1, tzinfo=dt.UTC), 18), (dt.datetime(2015, 7, 1, tzinfo=dt.UTC), 17))

MAX_FIX_AGE_S = 30  # a free-running KiwiSDR clock drifts by about 1 us in this time
SAME_STRETCH_NS = (
    1_000_000  # far above any jitter, far below the 43 ms of a lost block of 512 samples at 12 kHz
)
TRIM_SIGMAS = 5.0
TRIM_FLOOR_NS = 100.0  # between fixes stamps are extrapolated and do not scatter at all
MIN_STAMPS = 10
MAX_RATE_ERROR = 0.01  # of the rate in the WAV header, which is rounded to whole hertz

_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_STAMP = struct.Struct("<BBII")
_FRAME_BYTES = 4  # I and Q, 16 bit each
_REMEDY = "Give an IQ recording with GPS time stamps, as KiwiSDR clients write it"


@dataclass(frozen=True)
class TimedRecording:
    """A stretch of samples without a gap, on GPS time.

    Attributes:
        samples: IQ samples, shape (n,), complex64, full scale 1.
        sample_rate_hz: From the fit, not from the header.
        start_gps_ns: GPS time of the first sample, nanoseconds since 1980-01-06.
        timing_sigma_ns: Standard deviation of the time stamps about the fitted line.
        stamps: Number of time stamps that the fit rests on.
        rejected: Number of time stamps that were stale or off the line.
    """

    samples: Samples
    sample_rate_hz: float
    start_gps_ns: int
    timing_sigma_ns: float
    stamps: int
    rejected: int

    def time_ns(self, sample: int) -> int:
        """GPS time of a sample, nanoseconds since 1980-01-06."""
        return self.start_gps_ns + round(sample * SECOND_NS / self.sample_rate_hz)

    def first_sample_at(self, gps_ns: int) -> int:
        """Number of the first sample at or after a GPS time; below 0 or beyond the end if there is none."""
        return math.ceil((gps_ns - self.start_gps_ns) * self.sample_rate_hz / SECOND_NS)


@dataclass(frozen=True)
class Blocks:
    """The blocks of a file, in its order.

    Attributes:
        samples: All samples, shape (n,), complex64.
        header_rate_hz: Sample rate in the WAV header.
        first_sample: Number of each block's first sample, shape (b,), int64.
        week_ns: Time stamps, nanoseconds since the GPS week began, continued over its end, shape (b,), int64.
        fix_age_s: Age of the last GPS fix, shape (b,), int64.
    """

    samples: Samples
    header_rate_hz: int
    first_sample: Nanoseconds
    week_ns: Nanoseconds
    fix_age_s: Nanoseconds


@dataclass(frozen=True)
class Line:
    """GPS time as a linear function of the sample number.

    Attributes:
        origin_ns: Time at sample 0 of the file, nanoseconds on the stamps' own axis.
        period_ns: Time between samples.
        sigma_ns: Standard deviation of the stamps used.
        used: Which stamps were used, shape (b,), bool.
        on_stretch: Which blocks lie on the line but for the jitter of their stamp, shape (b,), bool.
    """

    origin_ns: float
    period_ns: float
    sigma_ns: float
    used: npt.NDArray[np.bool_]
    on_stretch: npt.NDArray[np.bool_]


def read(path: Path, near: dt.datetime) -> TimedRecording:
    """Read a file and put it on GPS time.

    Blocks before the first and after the last one on the line are left out: a KiwiSDR often begins with a
    block that was in its buffer for minutes.

    Args:
        path: The WAV file.
        near: UTC within half a week of the recording: stamps count from the week's beginning only.

    Returns:
        The longest stretch without a gap.

    Raises:
        HeimdallError: The file is missing or no such WAV, or too few of its stamps agree.
    """
    blocks = read_blocks(path)
    try:
        line = fit(blocks.first_sample, blocks.week_ns, blocks.fix_age_s)
    except ValueError as error:
        raise HeimdallError(str(path), str(error), _REMEDY) from None
    sample_rate_hz = SECOND_NS / line.period_ns
    if abs(sample_rate_hz / blocks.header_rate_hz - 1) > MAX_RATE_ERROR:
        cause = f"time stamps give {sample_rate_hz:.1f} Hz, the header {blocks.header_rate_hz} Hz"
        raise HeimdallError(str(path), cause, _REMEDY)
    inside = np.flatnonzero(line.on_stretch)
    ends = np.append(blocks.first_sample[1:], len(blocks.samples))
    first, end = int(blocks.first_sample[inside[0]]), int(ends[inside[-1]])
    start_week_ns = round(line.origin_ns + first * line.period_ns)
    return TimedRecording(
        samples=blocks.samples[first:end],
        sample_rate_hz=sample_rate_hz,
        start_gps_ns=start_week_ns + _week_start_ns(start_week_ns, near),
        timing_sigma_ns=line.sigma_ns,
        stamps=int(line.used.sum()),
        rejected=int((~line.used).sum()),
    )


def read_blocks(path: Path) -> Blocks:
    """Samples and time stamps as the file has them.

    Raises:
        HeimdallError: The file is missing or no 16-bit stereo WAV with a `kiwi` chunk before each block.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        raise HeimdallError(str(path), f"cannot be read ({error.strerror})", "Check its name") from None
    if content[:4] != b"RIFF" or content[8:12] != b"WAVE":
        raise HeimdallError(str(path), "not a WAV file", _REMEDY)
    rate_hz: int | None = None
    stamp: tuple[int, int] | None = None
    data: list[memoryview] = []
    stamps: list[tuple[int, int]] = []
    for name, body in _chunks(content):
        if name == b"fmt ":
            rate_hz = _header_rate_hz(path, body)
        elif name == b"kiwi" and len(body) >= _STAMP.size:
            fix_age_s, _, second, nanosecond = _STAMP.unpack_from(body)
            stamp = (second * SECOND_NS + nanosecond, fix_age_s)
        elif name == b"data":
            if rate_hz is None or stamp is None:
                raise HeimdallError(str(path), "samples without a GPS time stamp (`kiwi` chunk)", _REMEDY)
            if len(body) >= _FRAME_BYTES:
                data.append(body[: len(body) - len(body) % _FRAME_BYTES])
                stamps.append(stamp)
            stamp = None
    if rate_hz is None or not data:
        raise HeimdallError(str(path), "a WAV file without samples", _REMEDY)
    frames = np.frombuffer(b"".join(data), "<i2").astype(np.float32) / np.float32(32768)
    times = np.array(stamps, np.int64)  # (b, 2)
    lengths = np.array([len(body) // _FRAME_BYTES for body in data], np.int64)
    return Blocks(
        samples=frames.view(np.complex64),
        header_rate_hz=rate_hz,
        first_sample=np.cumsum(lengths) - lengths,
        week_ns=_continued(times[:, 0]),
        fix_age_s=times[:, 1],
    )


def fit(first_sample: Nanoseconds, week_ns: Nanoseconds, fix_age_s: Nanoseconds) -> Line:
    """The straight line through most time stamps.

    The median step between stamps and the median offset find the stretch on which most blocks lie, whatever
    the others say; least squares on it, trimmed at `TRIM_SIGMAS` times the scaled median deviation until
    nothing changes, gives the line.

    Args:
        first_sample: Number of each block's first sample, shape (b,).
        week_ns: Its time stamp, shape (b,), nanoseconds.
        fix_age_s: Age of the GPS fix behind the stamp, shape (b,), seconds.

    Returns:
        The line and what it rests on.

    Raises:
        ValueError: Fewer than `MIN_STAMPS` stamps are fresh and on one line.
    """
    fresh = fix_age_s <= MAX_FIX_AGE_S
    if fresh.sum() < MIN_STAMPS:
        raise ValueError(f"only {int(fresh.sum())} of {len(fresh)} time stamps have a fresh GPS fix")
    x = (first_sample - first_sample[0]).astype(np.float64)
    y = (week_ns - week_ns[0]).astype(np.float64)  # exact below 2**53 ns, 104 days
    period_ns = float(np.median(np.diff(y[fresh]) / np.diff(x[fresh])))
    offset_ns = y - period_ns * x
    on_stretch = np.abs(offset_ns - np.median(offset_ns[fresh])) < SAME_STRETCH_NS
    used = fresh & on_stretch
    while True:
        if used.sum() < MIN_STAMPS:
            raise ValueError(f"only {int(used.sum())} of {len(used)} time stamps lie on one line")
        period_ns, origin_ns, residual_ns = _least_squares(x, y, used)
        scale_ns = 1.4826 * float(np.median(np.abs(residual_ns[used])))
        kept = used & (np.abs(residual_ns) <= max(TRIM_SIGMAS * scale_ns, TRIM_FLOOR_NS))
        if (kept == used).all():
            break
        used = kept
    variance = float(np.sum(residual_ns[used] ** 2)) / (int(used.sum()) - 2)
    return Line(
        origin_ns=origin_ns + float(week_ns[0]) - period_ns * float(first_sample[0]),
        period_ns=period_ns,
        sigma_ns=max(1.0, math.sqrt(variance)),  # a stamp is a whole number of nanoseconds
        used=used,
        on_stretch=on_stretch,
    )


def leap_seconds(moment: dt.datetime) -> int:
    """GPS time minus UTC, seconds.

    Raises:
        HeimdallError: `moment` lies before the first KiwiSDR.
    """
    for since, seconds in LEAP_SECONDS:
        if moment >= since:
            return seconds
    raise HeimdallError(str(moment), "no KiwiSDR recorded then", "Correct the date of the recording")


def to_utc(gps_ns: int) -> dt.datetime:
    """UTC of a GPS time, to the microsecond below."""
    gps = GPS_EPOCH + dt.timedelta(microseconds=gps_ns // 1000)
    return gps - dt.timedelta(seconds=leap_seconds(gps))


def _least_squares(
    x: npt.NDArray[np.float64], y: npt.NDArray[np.float64], used: npt.NDArray[np.bool_]
) -> tuple[float, float, npt.NDArray[np.float64]]:
    """Slope, intercept, residuals of all points (centred normal equations)."""
    x_mean, y_mean = float(np.mean(x[used])), float(np.mean(y[used]))
    dx, dy = x - x_mean, y - y_mean
    slope = float(np.sum(dx[used] * dy[used]) / np.sum(dx[used] ** 2))
    return slope, y_mean - slope * x_mean, dy - slope * dx


def _week_start_ns(week_ns: int, near: dt.datetime) -> int:
    """Start of the GPS week in which a time of week is closest to `near`."""
    since_epoch = near - GPS_EPOCH + dt.timedelta(seconds=leap_seconds(near))
    near_ns = (since_epoch // dt.timedelta(microseconds=1)) * 1000
    return round((near_ns - week_ns) / WEEK_NS) * WEEK_NS


def _continued(week_ns: Nanoseconds) -> Nanoseconds:
    """The same times without the fall at the end of the week."""
    steps = np.diff(week_ns, prepend=week_ns[:1])
    return week_ns - np.cumsum(np.round(steps / WEEK_NS).astype(np.int64)) * WEEK_NS


def _chunks(content: bytes) -> Iterator[tuple[bytes, memoryview]]:
    """Name and body of each whole chunk; what a killed recorder left of the last one is dropped."""
    view, position = memoryview(content), 12
    while position + _CHUNK.size <= len(content):
        name, size = _CHUNK.unpack_from(content, position)
        start = position + _CHUNK.size
        if start + size > len(content):
            return
        yield name, view[start : start + size]
        position = start + size + size % 2


def _header_rate_hz(path: Path, body: memoryview) -> int:
    if len(body) < _FORMAT.size:
        raise HeimdallError(str(path), "a damaged WAV header", _REMEDY)
    code, channels, rate_hz, _, _, bits = _FORMAT.unpack_from(body)
    if (code, channels, bits) != (1, 2, 16) or rate_hz == 0:
        cause = (
            f"{channels} channels of {bits} bits at {rate_hz} Hz (format {code}) instead of 16-bit stereo PCM"
        )
        raise HeimdallError(str(path), cause, _REMEDY)
    return int(rate_hz)
