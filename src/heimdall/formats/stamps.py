"""GPS time from a stamp on every block of samples: stretches without a gap, a line through each, its sigma.

Single stamps are stale, wrong, or a buffer late; a straight line through many is good to tens of nanoseconds.
A stamp counts samples of the receiver's own clock since the last fix, so most steps between stamps are exact,
and a fix corrects all later ones by up to some hundred nanoseconds.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.formats.recording import TimingSigma

Numbers = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Flags = npt.NDArray[np.bool_]

SECOND_NS = 1e9
MAX_FIX_AGE_S = 30.0  # an older fix, or a good stamp further away, says nothing of a sample
# Three real receivers (DCF77, 2017-11-27): a line through 5 to 15 s of stamps, continued for 5 to 10 s, was
# off by 2 to 9 ns for each second on two of them, and by 33 to 43 ns on the third.
DRIFT_NS_PER_S = 40.0
FIX_INTERVAL_S = 5.0  # in the same files stamps scatter no more at the age of 5 s than at 0 s
# Errors of fixes last for minutes: the stamps of a file share them, and cannot show them. In the same files a
# line through the stamps of one or two fixes was off by 85 to 95 ns on one receiver, and by 20 to 24 ns on
# the others. How fast many fixes average it out nobody has measured, so it counts in full.
FIX_SIGMA_NS = 80.0
BULGE_S = 5.0  # stamps whose mean is off the line for so long are no jitter
NEIGHBOURS_S = (0.5, 5.0)  # a second by itself, and the fixes around it, whose errors last for seconds
SAME_STRETCH_NS = 1e6  # far above any jitter, far below the 25 ms of a lost block of 512 samples at 20 kHz
JUMP_NS = 1000.0  # a step of fresh stamps beyond it, and beyond 8 deviations of the steps, is no correction
JUMP_SIGMAS = 8.0
JUMP_NS_PER_S = 1000.0  # by so much a provisional rate and the clock may be wrong between compared stamps
TRIM_SIGMAS = 5.0
TRIM_FLOOR_NS = 100.0  # between fixes stamps do not scatter at all
MIN_STAMPS = 10
_MAD = 1.4826  # of a normal distribution: standard deviation over median absolute deviation


@dataclass(frozen=True)
class Stamped:
    """The blocks of a file, or of a stretch.

    Attributes:
        first_sample: Number of each block's first sample, shape (b,), int64.
        time_ns: Its stamp, shape (b,), int64, on one axis without a fall at the end of the week.
        fix_age_s: Age of the GPS fix behind the stamp, shape (b,).
    """

    first_sample: Numbers
    time_ns: Numbers
    fix_age_s: Numbers

    @property
    def fresh(self) -> Flags:
        """Which stamps follow from a recent fix, shape (b,)."""
        return self.fix_age_s <= MAX_FIX_AGE_S

    def part(self, first: int, end: int) -> Stamped:
        """The blocks from `first` to `end - 1`."""
        return Stamped(self.first_sample[first:end], self.time_ns[first:end], self.fix_age_s[first:end])


@dataclass(frozen=True)
class Line:
    """GPS time as a linear function of the sample number.

    Attributes:
        origin_ns: Time at sample 0 of the file, nanoseconds on the stamps' own axis.
        period_ns: Time between samples.
        sigma_ns: Standard deviation of the stamps used about the line.
        used: Which stamps were used, shape (b,), bool.
        residual_ns: All stamps less the line, shape (b,).
    """

    origin_ns: float
    period_ns: float
    sigma_ns: float
    used: Flags
    residual_ns: Floats


def stretches(blocks: Stamped) -> list[tuple[int, int]]:
    """Where the stamps jump: ranges of blocks between which samples, or the right time, were lost.

    A block off the line of those before it begins a stretch if the next one agrees with it; alone it is a
    wrong stamp. Stale stamps drift, and jump back with the next fix: only a jump as of a lost block counts.

    Args:
        blocks: At least two blocks.

    Returns:
        First block and the one after the last, of each stretch; together they are all blocks.
    """
    fresh = blocks.fresh
    x, y = _centred(blocks)
    compared = fresh if fresh.sum() >= MIN_STAMPS else np.ones_like(fresh)
    period_ns = float(np.median(np.diff(y[compared]) / np.diff(x[compared])))
    offset_ns, time_s = y - period_ns * x, x * period_ns / SECOND_NS
    steps_ns = np.abs(np.diff(offset_ns[compared]))
    jump_ns = max(JUMP_NS, JUMP_SIGMAS * _MAD * float(np.median(steps_ns)))

    def agrees(one: int, other: int) -> bool:
        allowed_ns = jump_ns if fresh[one] and fresh[other] else SAME_STRETCH_NS
        allowed_ns += JUMP_NS_PER_S * (time_s[one] - time_s[other])
        return bool(abs(offset_ns[one] - offset_ns[other]) <= allowed_ns)

    starts, suspect, last, last_fresh = [0], -1, 0, 0
    for block in range(1, len(x)):
        if agrees(block, last_fresh if fresh[block] and fresh[last_fresh] else last):
            last = block
        elif suspect == block - 1 and agrees(block, suspect):
            starts.append(suspect)
            last_fresh, last = suspect, block
        else:
            suspect = block
            continue
        last_fresh = block if fresh[block] else last_fresh
    return list(zip(starts, [*starts[1:], len(x)], strict=True))


def fit(blocks: Stamped, *, stale: bool = False) -> Line:
    """The straight line through most stamps of a stretch: those of recent fixes, if there are enough.

    The median step between stamps and the median offset find where most blocks lie, whatever the others
    say; least squares on those, trimmed at `TRIM_SIGMAS` times the scaled median deviation until nothing
    changes, gives the line.

    Args:
        blocks: Of one stretch.
        stale: Take stamps without a recent fix, too: their line gives the rate, but no GPS time.

    Raises:
        ValueError: Fewer than `MIN_STAMPS` stamps are fresh and on one line.
    """
    recent = _recent(blocks)
    fresh = recent if recent.sum() >= MIN_STAMPS else blocks.fresh | stale
    if fresh.sum() < MIN_STAMPS:
        raise ValueError(f"only {int(fresh.sum())} of {len(fresh)} time stamps have a fresh GPS fix")
    x, y = _centred(blocks)
    period_ns = float(np.median(np.diff(y[fresh]) / np.diff(x[fresh])))
    offset_ns = y - period_ns * x
    used = fresh & (np.abs(offset_ns - np.median(offset_ns[fresh])) < SAME_STRETCH_NS)
    while True:
        if used.sum() < MIN_STAMPS:
            raise ValueError(f"only {int(used.sum())} of {len(used)} time stamps lie on one line")
        period_ns, origin_ns, residual_ns = _least_squares(x, y, used)
        scale_ns = _MAD * float(np.median(np.abs(residual_ns[used])))
        kept = used & (np.abs(residual_ns) <= max(TRIM_SIGMAS * scale_ns, TRIM_FLOOR_NS))
        if (kept == used).all():
            break
        used = kept
    variance = float(np.sum(residual_ns[used] ** 2)) / (int(used.sum()) - 2)
    return Line(
        origin_ns=origin_ns + float(blocks.time_ns[0]) - period_ns * float(blocks.first_sample[0]),
        period_ns=period_ns,
        sigma_ns=max(1.0, math.sqrt(variance)),  # a stamp is a whole number of nanoseconds
        used=used,
        residual_ns=residual_ns,
    )


def distance_ns(one: Line, other: Line, sample: int) -> float:
    """By how much the other line is later than the first, at a sample of the file."""
    return other.origin_ns - one.origin_ns + (other.period_ns - one.period_ns) * sample


def between(spans: Sequence[tuple[int, int]], lines: Sequence[Line]) -> dict[int, int]:
    """Stretches that lie between two on one line: no samples were lost, the clock was wrong for a while.

    Args:
        spans: First sample of each stretch, and the one after its last, in the file's order.
        lines: Their lines, all of stamps with a GPS fix.

    Returns:
        By the number of each such stretch, that of one on whose line its samples lie.
    """
    found: dict[int, int] = {}
    for first in range(len(spans)):
        if first in found:
            continue
        for last in range(len(spans) - 1, first + 1, -1):
            (begin, end), (start, stop) = spans[first], spans[last]
            # The lines are known best in the middle of each: they are compared half way, with their slopes.
            period_s = lines[first].period_ns / SECOND_NS
            apart_s = ((start + stop) - (begin + end)) / 2 * period_s
            slopes_ns = sum(
                line.sigma_ns * math.sqrt(12) / ((until - since) * period_s) * apart_s / 2
                for line, (since, until) in ((lines[first], spans[first]), (lines[last], spans[last]))
            )
            off_ns = abs(distance_ns(lines[first], lines[last], (begin + end + start + stop) // 4))
            if off_ns <= JUMP_NS + DRIFT_NS_PER_S * apart_s + TRIM_SIGMAS * slopes_ns:
                found |= dict.fromkeys(range(first + 1, last), first)
                break
    return found


def unexplained_ns(spans: Sequence[tuple[int, int]], lines: Sequence[Line], block: int) -> float:
    """By how much two stretches contradict each other: 0 if samples were lost, or blocks written twice.

    Args:
        spans: First sample of each of the two, and the one after its last. What is between has no time.
        lines: Their lines.
        block: Samples of a block.

    Returns:
        How far the latter begins from where the former ends, if that is neither a number of lost samples nor
        of repeated blocks: then one of the clocks was wrong by as much, or by a part of it.
    """
    (one, other), ((_, end), (first, _)) = lines, spans
    off_ns = distance_ns(one, other, first)
    unit_ns = one.period_ns * (1 if off_ns > 0 else block)
    apart_s = ((first - end) * one.period_ns + abs(off_ns)) / SECOND_NS
    slopes_ns = sum(
        line.sigma_ns * (1 + math.sqrt(12) * apart_s / ((until - since) * line.period_ns / SECOND_NS))
        for line, (since, until) in zip(lines, spans, strict=True)
    )
    left_ns = abs(off_ns - round(off_ns / unit_ns) * unit_ns)
    return abs(off_ns) if left_ns > JUMP_NS + DRIFT_NS_PER_S * apart_s + TRIM_SIGMAS * slopes_ns else 0.0


def timing_sigma(blocks: Stamped, line: Line) -> TimingSigma:
    """How well the line gives the time of each block, by the stamps in and around it.

    It is the scatter of the good stamps within `NEIGHBOURS_S` seconds, the largest one, and not below how far
    the mean of `BULGE_S` anywhere in the stretch is off the line, for a lasting step bends all of it; what
    the fixes may be wrong by together (`FIX_SIGMA_NS`); and what the clock may have drifted since the nearest
    good stamp and its fix. The drift is `DRIFT_NS_PER_S` and what the line's slope may be wrong by: sigma
    over the length, times the root of 12, as of one point in twelve independent ones; the errors of a fix
    last for seconds. A block whose own stamp was rejected may be wrong by as much as that stamp says. Sigma
    is infinite beyond `MAX_FIX_AGE_S` from a good stamp, and where the block's stamp tells of lost samples.

    Args:
        blocks: Of the stretch.
        line: Its line.

    Returns:
        A step for each block; samples are counted from the stretch's first.
    """
    time_s = (blocks.first_sample - blocks.first_sample[0]) * line.period_ns / SECOND_NS
    good_s = time_s[line.used]
    good_ns = line.residual_ns[line.used]

    def mean(values: Floats, reach_s: float) -> Floats:
        first = np.searchsorted(good_s, time_s - reach_s)
        end = np.searchsorted(good_s, time_s + reach_s, "right")
        sums = np.concatenate([[0.0], np.cumsum(values)])
        return np.where(end > first, (sums[end] - sums[first]) / np.maximum(end - first, 1), np.nan)

    def scatter_ns(reach_s: float) -> Floats:
        squares = mean(good_ns**2, reach_s)
        return np.where(np.isnan(squares), line.sigma_ns, np.sqrt(squares.clip(1.0)))

    since_s = _since_fix(
        time_s, np.where(line.used, np.maximum(0, blocks.fix_age_s - FIX_INTERVAL_S), np.inf)
    )
    slope_ns_per_s = line.sigma_ns * math.sqrt(12) / float(good_s[-1] - good_s[0])
    drift_ns = math.hypot(DRIFT_NS_PER_S, slope_ns_per_s) * since_s
    bulge_ns = float(np.nanmax(np.abs(mean(good_ns, BULGE_S / 2))))
    worst_ns = np.maximum.reduce([scatter_ns(reach_s) for reach_s in NEIGHBOURS_S]).clip(bulge_ns)
    own_ns = np.where(line.used, 0.0, np.abs(line.residual_ns))
    sigma_ns = np.sqrt(worst_ns**2 + FIX_SIGMA_NS**2 + drift_ns**2 + own_ns**2)
    sigma_ns[(since_s > MAX_FIX_AGE_S) | (own_ns >= SAME_STRETCH_NS)] = np.inf
    return TimingSigma(blocks.first_sample - blocks.first_sample[0], sigma_ns)


def _recent(blocks: Stamped) -> Flags:
    """Which stamps follow from a recent fix, shape (b,).

    Where fixes stop for longer than `FIX_INTERVAL_S`, stamps count on with the clock: from the second after
    the last fix on they would pull the line along its drift, and show no scatter.
    """
    fixed_s = _centred(blocks)[1] / SECOND_NS - blocks.fix_age_s
    begins = [0]
    for block in range(1, len(fixed_s)):
        if abs(fixed_s[block] - fixed_s[begins[-1]]) > 1.5:  # ages are cut to whole seconds
            begins.append(block)
    runs = np.searchsorted(begins, np.arange(len(fixed_s)), "right") - 1
    oldest_s = np.maximum.reduceat(blocks.fix_age_s, begins)[runs]
    return (blocks.fix_age_s <= FIX_INTERVAL_S) & ((oldest_s <= FIX_INTERVAL_S) | (blocks.fix_age_s < 1))


def _since_fix(time_s: Floats, late_s: Floats) -> Floats:
    """Time from each block to the nearest stamp plus that stamp's own lateness, the smallest such sum."""
    after = time_s + np.minimum.accumulate(late_s - time_s)
    before = np.minimum.accumulate((late_s + time_s)[::-1])[::-1] - time_s
    return np.minimum(after, before)


def _centred(blocks: Stamped) -> tuple[Floats, Floats]:
    """Sample numbers and times from the first block on; floats hold them exactly below 2**53 ns, 104 days."""
    x = (blocks.first_sample - blocks.first_sample[0]).astype(np.float64)
    return x, (blocks.time_ns - blocks.time_ns[0]).astype(np.float64)


def _least_squares(x: Floats, y: Floats, used: Flags) -> tuple[float, float, Floats]:
    """Slope, intercept, residuals of all points (centred normal equations)."""
    x_mean, y_mean = float(np.mean(x[used])), float(np.mean(y[used]))
    dx, dy = x - x_mean, y - y_mean
    slope = float(np.sum(dx[used] * dy[used]) / np.sum(dx[used] ** 2))
    return slope, y_mean - slope * x_mean, dy - slope * dx
