"""Frequency differences of arrival: how a transmitter moves, and what that says of its place.

Where a receiver's clock is locked to GPS, the frequency at which it hears the carrier is f (1 - u v / c),
with u the direction from the receiver to the transmitter and v the transmitter's velocity (K. C. Ho and
W. Xu, "An accurate algebraic solution for moving source location using TDOA and FDOA measurements", IEEE
Trans. SP 52, 2004). Of a transmitter at rest the differences are zero wherever it is; of one that moves, u
turns from place to place.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Velocity
from heimdall.multilateration.minima import Candidate, Problem
from heimdall.multilateration.rays import Sites

Float64 = npt.NDArray[np.float64]

LEAST_OFFSETS = 3  # two of the velocity, and the carrier
_SPEED_SIGMA_M_S = 150.0  # of transmitters before anything is received: cars to airliners
_STEPS = 12
_CONVERGED_M = 1e-3


@dataclass(frozen=True, eq=False)
class Offsets:
    """Carrier offsets of the F receivers whose clocks are locked to GPS.

    Attributes:
        sites: The receivers.
        offset_hz: Offsets from the tuned frequency, Hz, shape (F,).
        sigma_hz: Standard deviations, Hz, shape (F,).
        frequency_hz: Carrier, Hz.
    """

    sites: Sites
    offset_hz: Float64
    sigma_hz: Float64
    frequency_hz: float

    @classmethod
    def of(cls, event: Event) -> Offsets | None:
        """Those of an event; None where there are too few to say anything."""
        known = np.isfinite(event.offset_hz) & (event.offset_sigma_hz > 0)
        if np.count_nonzero(known) < LEAST_OFFSETS or not event.frequency_hz > 0:
            return None
        sites = Sites.at(event.latitude_deg[known], event.longitude_deg[known], event.altitude_m[known])
        return cls(sites, event.offset_hz[known], event.offset_sigma_hz[known], event.frequency_hz)


def refined(problem: Problem, one: Candidate, offsets: Offsets) -> tuple[Candidate, Velocity]:
    """A candidate with the velocity that the offsets give, moved to where times and offsets fit together.

    Gauss's and Newton's method over the place, the moment of emission, the velocity and the carrier, from the
    candidate and the velocity that fits best there.

    Args:
        problem: Of the arrival times.
        one: A minimum of these alone.
        offsets: The offsets of the same event.

    Returns:
        The candidate, with the evidence of the offsets in its own, and the velocity.
    """
    weight_t, weight_f = np.where(one.right, 1 / one.deviation_m**2, 0.0), 1 / offsets.sigma_hz**2
    per_speed = offsets.frequency_hz / SPEED_OF_LIGHT_M_S
    latitude, longitude = np.array(one.latitude_deg), np.array(one.longitude_deg)
    altitude = np.array(one.altitude_m)
    # Unknowns: east, north, up, moment of emission, speed to the east and north, carrier.
    free = np.array([0, 1, *([2] if problem.altitude_is_free else []), 3, 4, 5, 6])
    prior = np.zeros(7)
    prior[:2] = problem.curvature(float(latitude), float(longitude))
    prior[2] = 1 / problem.altitude_sigma_m**2 if problem.altitude_is_free else 0.0
    prior[4:6] = 1 / _SPEED_SIGMA_M_S**2
    state = np.zeros(7)
    start = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation).length_m
    state[3] = float(((problem.range_m - start) * weight_t).sum() / weight_t.sum())
    state[6] = float(offsets.offset_hz.mean())
    for _ in range(_STEPS):
        ways = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation)
        late = problem.range_m - ways.length_m - state[3]
        of_times = np.zeros((len(late), 7))
        of_times[:, :3], of_times[:, 3] = ways.slope, 1.0
        seen = rays.paths(latitude, longitude, altitude, offsets.sites, problem.propagation)
        velocity = np.array([*state[4:6], 0.0])
        closing = seen.slope @ velocity
        high = offsets.offset_hz - state[6] + per_speed * closing
        turn = (velocity - seen.slope * closing[:, None]) / np.maximum(seen.length_m, 1.0)[:, None]
        of_offsets = np.zeros((len(high), 7))
        of_offsets[:, :3], of_offsets[:, 4:6], of_offsets[:, 6] = (
            -per_speed * turn,
            -per_speed * seen.slope[:, :2],
            1.0,
        )
        matrix = np.einsum("t,ti,tj->ij", weight_t, of_times, of_times)
        matrix += np.einsum("f,fi,fj->ij", weight_f, of_offsets, of_offsets) + np.diag(prior)
        pull = prior * state
        pull[:2] = 0.0
        pull[2] = prior[2] * float(altitude - problem.expected_altitude_m(latitude, longitude))
        right_side = of_times.T @ (weight_t * late) + of_offsets.T @ (weight_f * high) - pull
        step = np.zeros(7)
        step[free] = np.linalg.solve(matrix[np.ix_(free, free)], right_side[free])
        latitude, longitude = rays.moved(latitude, longitude, altitude, step[0], step[1])
        altitude = altitude + step[2]
        state = state + step
        if np.abs(step[:3]).max() < _CONVERGED_M and np.abs(step[4:6]).max() < _CONVERGED_M:
            break
    inverse = np.zeros((7, 7))
    inverse[np.ix_(free, free)] = np.linalg.inv(matrix[np.ix_(free, free)])
    square = float((weight_t * late * late).sum())
    rise_before = one.altitude_m - float(
        problem.expected_altitude_m(np.array(one.latitude_deg), np.array(one.longitude_deg))
    )
    cost = square - one.square + float((weight_f * high * high).sum() + prior[4:6] @ state[4:6] ** 2)
    if problem.altitude_is_free:
        cost += pull[2] ** 2 / prior[2] - prior[2] * rise_before**2
    place, rest = free[free < 3], free[free != 3]
    before = np.linalg.slogdet(one.covariance_m2[np.ix_(place, place)])[1]
    after = np.linalg.slogdet(inverse[np.ix_(rest, rest)])[1]
    # The normalising constants of the offsets are the same for all candidates.
    more = -0.5 * cost + 0.5 * float(after - before) - 2 * math.log(_SPEED_SIGMA_M_S)
    found = replace(
        one,
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        altitude_m=float(altitude),
        covariance_m2=inverse[:3, :3]
        + problem.shared_m2(inverse[:3] @ of_times.T * weight_t, np.array([latitude, longitude, altitude])),
        residual_m=late,
        square=square,
    )
    return found.weighed(more), Velocity(float(state[4]), float(state[5]), inverse[4:6, 4:6])
