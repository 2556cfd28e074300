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

from heimdall.multilateration import rays
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Velocity
from heimdall.multilateration.minima import Candidate, Problem
from heimdall.multilateration.rays import SPEED_OF_LIGHT_M_S, Sites

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
    right = one.right
    variance = one.deviation_m**2
    weight_t, weight_f = np.where(right, 1 / variance, 0.0), 1 / offsets.sigma_hz**2
    per_speed = offsets.frequency_hz / SPEED_OF_LIGHT_M_S
    latitude, longitude = np.array(one.latitude_deg), np.array(one.longitude_deg)
    altitude = np.array(one.altitude_m)
    emitted, carrier, velocity = 0.0, float(offsets.offset_hz.mean()), np.zeros(2)
    zero = np.zeros(len(right))
    start = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation).length_m
    emitted = float(((problem.range_m - start) * weight_t).sum() / weight_t.sum())
    for _ in range(_STEPS):
        ways = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation)
        late = problem.range_m - ways.length_m - emitted
        of_times = np.stack([*ways.slope[:, :2].T, zero + 1, zero, zero, zero], axis=-1)
        seen = rays.paths(latitude, longitude, altitude, offsets.sites, problem.propagation)
        unit = seen.slope[:, :2]
        closing = unit @ velocity
        high = offsets.offset_hz - carrier + per_speed * closing
        turn = (velocity - unit * closing[:, None]) / seen.length_m[:, None]
        flat = np.zeros(len(high))
        of_offsets = np.stack([*(-per_speed * turn).T, flat, *(-per_speed * unit).T, flat + 1], axis=-1)
        matrix = np.einsum("t,ti,tj->ij", weight_t, of_times, of_times)
        matrix += np.einsum("f,fi,fj->ij", weight_f, of_offsets, of_offsets)
        right_side = of_times.T @ (weight_t * late) + of_offsets.T @ (weight_f * high)
        matrix[[3, 4], [3, 4]] += 1 / _SPEED_SIGMA_M_S**2
        right_side[3:5] -= velocity / _SPEED_SIGMA_M_S**2
        step = np.linalg.solve(matrix, right_side)
        latitude, longitude = rays.moved(latitude, longitude, altitude, step[0], step[1])
        emitted, velocity, carrier = emitted + step[2], velocity + step[3:5], carrier + step[5]
        if np.abs(step[:2]).max() < _CONVERGED_M and np.abs(step[3:5]).max() < _CONVERGED_M:
            break
    inverse = np.linalg.inv(matrix)
    covariance = one.covariance_m2.copy()
    covariance[:2, :2] = inverse[:2, :2]
    square = float((weight_t * late * late).sum())
    cost = (
        square
        - one.square
        + float((weight_f * high * high).sum() + velocity @ velocity / _SPEED_SIGMA_M_S**2)
    )
    _, before = np.linalg.slogdet(one.covariance_m2[:2, :2])
    _, after = np.linalg.slogdet(inverse[np.ix_([0, 1, 3, 4, 5], [0, 1, 3, 4, 5])])
    # The normalising constants of the offsets are the same for all candidates.
    more = -0.5 * cost + 0.5 * (float(after) - float(before)) - 2 * math.log(_SPEED_SIGMA_M_S)
    found = replace(
        one,
        latitude_deg=float(latitude),
        longitude_deg=float(longitude),
        covariance_m2=covariance,
        residual_m=late,
        square=square,
    )
    return found.weighed(more), Velocity(float(velocity[0]), float(velocity[1]), inverse[3:5, 3:5])
