"""Which start times the recordings of a session contradict.

A signal that came from one place reaches two receivers with a difference of no more than the light's way
between them, and echoes add little. A receiver whose clock is wrong breaks that with most others; which one
it is, the others say together.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.signal.correlation import Correlation, Recording, claimed_delays, correlate, near_each_other

Float64 = npt.NDArray[np.float64]

CONTRADICTS = "contradicts_the_others"
STARTS_ELSEWHERE = "starts_at_another_time"
EXCESS_S = 30e-6  # of a path over the straight one: a detour of 9 km. Longer ones are no arrival times either
SIGMAS = 6.0
_LIGHT_M_S = 299_792_458.0


def correlate_coherent(
    recordings: Sequence[Recording], position_m: Float64, params: FeatureParams
) -> Correlation:
    """`correlate`, without the GPS time of those recordings whose time the others contradict.

    Such a recording is one without GPS time: it may hear the signal, and its level counts. So is one to which
    the signal came so much earlier or later than to the reference that the lags do not reach there: what they
    hold of it is a side lobe. It is looked for again, for it was perhaps the reference that went.

    Args:
        recordings: The session's recordings, at least one.
        position_m: East, north and up of their receivers, metres, shape (R, 3).
        params: The parameters of the features.
    """
    grid = params.correlation_band_hz, params.correlation_rate_hz, params.correlation_max_lag_s
    sigma_s = np.array([sigma_of(item.timing_sigma_ns) for item in recordings])
    kept = list(recordings)
    while True:
        found = correlate(kept, *grid)
        delay_s = np.where(np.isfinite(sigma_s), claimed_delays(kept, found, *grid), np.nan)
        left = contradicting(delay_s, sigma_s, position_m)
        if not left.any():
            left = np.abs(delay_s - delay_s[found.reference]) > params.correlation_max_lag_s  # never of NaN
        if not left.any():
            return found
        kept = [
            replace(item, start_gps_ns=None) if out else item
            for item, out in zip(kept, left.tolist(), strict=True)
        ]


def contradicting(delay_s: Float64, sigma_s: Float64, position_m: Float64) -> npt.NDArray[np.bool_]:
    """Which arrival times the others contradict.

    Two contradict each other if they differ by more than the light takes between the receivers, `EXCESS_S`
    and `SIGMAS` standard deviations of both clocks. The one that contradicts most is left out, then
    the next, until none contradicts; of several that contradict as many, all are left out, for nobody can
    tell which of them is right.

    Args:
        delay_s: Delays, seconds, shape (R,); NaN where there is no arrival time.
        sigma_s: Standard deviations of the clocks, seconds, shape (R,).
        position_m: East, north and up of the receivers, metres, shape (R, 3).

    Returns:
        Shape (R,), bool.
    """
    count = len(delay_s)
    wrong = np.zeros(count, np.bool_)
    timed = [row for row in range(count) if math.isfinite(delay_s[row]) and math.isfinite(sigma_s[row])]
    against = np.zeros((count, count), np.bool_)
    for a in timed:
        for b in timed:
            far_m = math.dist(position_m[a].tolist(), position_m[b].tolist())
            limit_s = far_m / _LIGHT_M_S + EXCESS_S + SIGMAS * math.hypot(sigma_s[a], sigma_s[b])
            against[a, b] = abs(float(delay_s[a] - delay_s[b])) > limit_s
    while against.any():
        times = against.sum(axis=1)
        worst = times == times.max()
        wrong |= worst
        against[worst] = False
        against[:, worst] = False
    return wrong


def sigma_of(timing_sigma_ns: float | None) -> float:
    """Seconds; a time of unknown quality is worth nothing."""
    return math.inf if timing_sigma_ns is None or math.isnan(timing_sigma_ns) else timing_sigma_ns * 1e-9


def reasons(
    start_gps_ns: Sequence[int | None],
    timing_sigma_ns: Sequence[float | None],
    longest_s: float,
    used: Sequence[bool],
) -> list[str | None]:
    """Why start times that were given are not used.

    Args:
        start_gps_ns: As the recordings of a session say, R values.
        timing_sigma_ns: As they say.
        longest_s: Of the recordings, seconds.
        used: Whether the session's features have them: their `timing_sigma_s` is finite.

    Returns:
        For each recording `STARTS_ELSEWHERE`, `CONTRADICTS`, or None if its time is used or was not given.
    """
    near = near_each_other(start_gps_ns, longest_s)
    return [
        None
        if kept or start is None or math.isinf(sigma_of(said))
        else (CONTRADICTS if together else STARTS_ELSEWHERE)
        for start, said, kept, together in zip(start_gps_ns, timing_sigma_ns, used, near, strict=True)
    ]
