"""How late a session's signal came to each receiver, had the transmitter been at a place: the residuals."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

# Beyond noise and clock, of an ordinary path with echoes: what the stated sigmas of loud receivers leave out.
EXCESS_S = 1e-7
_FREEDOM = 4.0  # of Student's distribution, under which one wrong time moves the others little
_TURNS = 50
_ONLY_DIFFER = 2  # so many times have one difference, which tells nothing of either


def sigma_s(observation: Observation) -> Float64:
    """Stated standard deviation of each arrival time, noise and clock together.

    Args:
        observation: A session of R recordings.

    Returns:
        Seconds, shape (R,), float64; NaN where there is no arrival time.
    """
    information_s2, clock_s = observation.arrivals.information_s2, observation.session.timing_sigma_s
    found = np.full(len(information_s2), np.nan)
    timed = information_s2 > 0
    found[timed] = np.sqrt(1 / information_s2[timed] + clock_s[timed] ** 2)
    return found


def travel_s(
    observation: Observation, latitude_deg: float, longitude_deg: float, plane: TangentPlane
) -> Float64:
    """How long the signal travels from a place to each receiver, along a straight ray.

    Args:
        observation: A session of R recordings.
        latitude_deg: Of the place, degrees.
        longitude_deg: Of the place, degrees.
        plane: Of the receivers' positions; it assumes an altitude of the place.

    Returns:
        Seconds, shape (R,), float64.
    """
    position_m = np.stack(plane.to_local(latitude_deg, longitude_deg), axis=-1)
    return distances_m(position_m, observation.session.position_enu_m, plane) / SPEED_OF_LIGHT_M_S


def late_s(observation: Observation, travelled_s: Float64) -> Float64:
    """By how much each arrival time is later than it would be from a place.

    Nobody knows when the signal was sent, so that only differences between receivers mean something. The time
    of sending is the one under which the arrival times are most probable if their errors have Student's
    distribution (K. L. Lange, R. J. A. Little and J. M. G. Taylor, 1989): a single wrong time then shows as
    one large residual, and does not spread over all. Of two times nothing says which is the wrong one: they
    differ from what is expected, and both are as many stated standard deviations off.

    Args:
        observation: A session of R recordings.
        travelled_s: What `travel_s` says of the place.

    Returns:
        Seconds, shape (R,), float64; NaN where there is no arrival time.
    """
    scale_s = np.hypot(sigma_s(observation), EXCESS_S)
    timed = np.isfinite(scale_s)
    if not timed.any():
        return np.full(len(scale_s), np.nan)
    after_s = np.where(timed, observation.arrivals.delay_s - travelled_s, np.nan)
    if np.count_nonzero(timed) <= _ONLY_DIFFER:
        stated_s = sigma_s(observation)
        return after_s - float(np.nansum(after_s / stated_s) / np.nansum(1 / stated_s))
    sent_s = float(np.nanmedian(after_s))
    for _ in range(_TURNS):
        weight = 1 / (scale_s**2 * (1 + ((after_s - sent_s) / scale_s) ** 2 / _FREEDOM))
        sent_s = float(np.nansum(weight * after_s) / np.nansum(weight))
    return after_s - sent_s
