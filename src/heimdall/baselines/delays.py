"""Arrival times: how likely they are if the transmitter were at a place, though any of them may be wrong.

The time of emission is unknown and integrated out, so that two arrival times say what their difference says.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.position.receiver_delays import Delays
from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

LEAST_TIMED = 2
_WRONG = 0.01  # probability that an arrival time has nothing to do with the transmitter
_WIDER = (1.0, 6.0, 36.0)  # scales of the other errors, each `rare` times as frequent as the one before
_STUDENT = math.gamma(4) / (
    math.gamma(3.5) * math.sqrt(7 * math.pi)
)  # density at 0, seven degrees of freedom
# Quantiles of Student's distribution with two degrees of freedom, at the middles of equally probable parts.
_PARTS = 8
_SHARE = (np.arange(_PARTS) + 0.5) / _PARTS
_QUANTILES = (2 * _SHARE - 1) / np.sqrt(2 * _SHARE * (1 - _SHARE))
_MOST_CENTRES = 8
_BLOCK = 1 << 17  # numbers held at once: they stay in a core's cache
# What is tried, and a weak prior (middle, standard deviation of the logarithm) that keeps few sessions sane.
_EXCESS_S = 1e-8 * 2.0 ** np.arange(0.0, 8.5, 0.5)
_RARE = (0.05, 0.1, 0.2, 0.4)
_PRIOR_EXCESS_S = (1e-7, 1.5)


@dataclass(frozen=True)
class ErrorLaw:
    """How arrival times err: a mixture of Student's distributions, each six times as wide as the one before.

    A scale mixture has the tails that multipath leaves (K. L. Lange, R. J. A. Little and J. M. G. Taylor,
    "Robust statistical modeling using the t distribution", J. American Statistical Association 84, 1989).
    With a probability of 1 % the time is anything at all.

    Attributes:
        excess_s: Scale of the errors beyond noise and clock, seconds. With the squares of these it gives that
            of the scale of the narrowest distribution.
        rare: How frequent each distribution is, of the one before.
        range_m: Over which a wrong arrival time lies anywhere, times the speed of light, metres.
    """

    excess_s: float
    rare: float
    range_m: float

    @property
    def information(self) -> float:
        """Fisher information in an arrival time over that of a Gaussian error of the same scale, below 0.8.

        The integral of f'^2 / f over the density f of the errors in units of the scale. Of Student's
        distribution with 7 degrees of freedom it is 8 / 10, and wider ones in the mixture leave less.
        """
        step = 0.01
        grid = step * np.arange(-900, 901)
        deviation = np.sinh(grid)  # to 4000 scales, a hundred of the widest
        density, derivative = np.zeros_like(grid), np.zeros_like(grid)
        share = [self.rare**number for number in range(len(_WIDER))]
        for frequent, wider in zip(share, _WIDER, strict=True):
            part = (deviation / wider) ** 2 / 7
            narrow = frequent / sum(share) * _STUDENT / wider * (1 + part) ** -4
            density += narrow
            derivative -= narrow * 8 * deviation / (7 * wider**2) / (1 + part)
        each = derivative * derivative / density * np.cosh(grid)
        return float((1 - _WRONG) * each.sum() * step)


@dataclass(frozen=True, eq=False)
class Timed:
    """The T receivers of a session that know when the signal came, those that know it best first.

    Attributes:
        row: Their rows in the session, shape (T,).
        position_m: East, north and up, metres, shape (T, 3).
        own_m: What each receiver is known to add, times the speed of light, metres, shape (T,).
        range_m: Arrival times, relative, without that, times the speed of light, metres, shape (T,).
        variance_m2: Of noise and clock, square metres, shape (T,).
    """

    row: npt.NDArray[np.intp]
    position_m: Float64
    own_m: Float64
    range_m: Float64
    variance_m2: Float64

    @classmethod
    def of(cls, observation: Observation, own: Delays) -> Timed | None:
        """None where fewer than two know it; `own` is what receivers add."""
        arrivals, session = observation.arrivals, observation.session
        row = np.flatnonzero(arrivals.information_s2 > 0)
        if len(row) < LEAST_TIMED:
            return None
        variance_s2 = 1 / arrivals.information_s2[row] + session.timing_sigma_s[row] ** 2
        order = np.argsort(variance_s2, kind="stable")
        row = row[order]
        measured_s, delay_s = arrivals.delay_s[row], own.taken_off(observation)[row]
        return cls(
            row,
            session.position_enu_m[row],
            SPEED_OF_LIGHT_M_S * (measured_s - delay_s),
            SPEED_OF_LIGHT_M_S * delay_s,
            SPEED_OF_LIGHT_M_S**2 * variance_s2[order],
        )

    def late_m(self, position_m: Float64, plane: TangentPlane) -> Float64:
        """What the ranges exceed the distances of positions (G, 2) by, metres, shape (G, T)."""
        return np.asarray(self.range_m - distances_m(position_m, self.position_m, plane), np.float64)

    def scale_m(self, excess_s: float, side_m: float = 0.0) -> Float64:
        """Scales of the errors, metres, shape (T,), where the centre of a square stands for all of it."""
        excess_m2 = (SPEED_OF_LIGHT_M_S * excess_s) ** 2 + side_m**2 / 6
        return np.sqrt(self.variance_m2 + excess_m2)


def log_likelihood(
    timed: Timed, law: ErrorLaw, position_m: Float64, side_m: float, plane: TangentPlane
) -> Float64:
    """Log density of the arrival times if the transmitter were in each of some squares.

    Args:
        timed: The receivers with a time.
        law: How the times err.
        position_m: Centres of the squares, east and north, metres, shape (G, 2).
        side_m: Of the squares, metres; 0 for points.
        plane: Of the positions.

    Returns:
        Natural logarithms, up to a constant of the session, shape (G,), float64, finite.
    """
    late_m, scale_m = timed.late_m(position_m, plane), timed.scale_m(law.excess_s, side_m)[None]
    rows = max(1, _BLOCK // (min(len(timed.row), _MOST_CENTRES) * _PARTS * len(timed.row)))
    return np.concatenate(
        [_marginal(late_m[start : start + rows], scale_m, law) for start in range(0, len(late_m), rows)]
    )


def fit(known: Sequence[tuple[Timed, Float64]], range_m: float, plane: TangentPlane) -> ErrorLaw:
    """The law under which the arrival times of sessions at known positions are most probable.

    Args:
        known: Receivers with a time and true position (2,) of each session.
        range_m: As in `ErrorLaw`.
        plane: Of the positions.

    Returns:
        The most probable of a fixed grid; without sessions that of the priors.
    """
    counts = sorted({len(timed.row) for timed, _ in known})
    groups = [
        (
            np.concatenate(
                [timed.late_m(truth[None], plane) for timed, truth in known if len(timed.row) == count]
            ),
            np.stack([timed.variance_m2 for timed, _ in known if len(timed.row) == count]),
        )
        for count in counts
    ]
    middle_s, spread = _PRIOR_EXCESS_S
    best, found = -math.inf, ErrorLaw(middle_s, _RARE[1], range_m)
    for excess_s in _EXCESS_S.tolist():
        for rare in _RARE:
            law = ErrorLaw(excess_s, rare, range_m)
            total = -0.5 * (math.log(excess_s / middle_s) / spread) ** 2
            for late_m, variance_m2 in groups:
                scale_m = np.sqrt(variance_m2 + (SPEED_OF_LIGHT_M_S * excess_s) ** 2)
                total += float(_marginal(late_m, scale_m, law).sum())
            if groups and total > best:
                best, found = total, law
    return found


def _marginal(late_m: Float64, scale_m: Float64, law: ErrorLaw) -> Float64:
    """Log of the integral over the emission time of the densities' product, (G,), from ranges (G, T).

    Importance sampling with fixed nodes: the quantiles of Student densities with two degrees of freedom
    around the ranges of the receivers that know the time best, against the mean of these densities.
    """
    centres = min(late_m.shape[1], _MOST_CENTRES)
    node_m = late_m[:, :centres, None] + scale_m[:, :centres, None] * _QUANTILES
    node_m = node_m.reshape(len(late_m), -1, 1)  # (G, nodes, 1)
    deviation = (late_m[:, None] - node_m) / scale_m[:, None]
    squared = deviation * deviation  # (G, nodes, T)
    drawn = 1 / (2 + squared[..., :centres])
    of_nodes = (drawn * np.sqrt(drawn) / scale_m[:, None, :centres]).sum(axis=-1) / centres
    share = [law.rare**step for step in range(len(_WIDER))]
    density = np.zeros_like(squared)
    for frequent, wider in zip(share, _WIDER, strict=True):
        falls = 1 / (1 + squared * (1 / (7 * wider**2)))
        falls *= falls
        falls *= falls
        falls *= (1 - _WRONG) * frequent / sum(share) * _STUDENT / wider
        density += falls
    density = density / scale_m[:, None] + _WRONG / law.range_m
    logarithm = np.log(density).sum(axis=-1) - np.log(of_nodes)
    largest = logarithm.max(axis=1)
    return np.asarray(largest + np.log(np.exp(logarithm - largest[:, None]).mean(axis=1)), np.float64)
