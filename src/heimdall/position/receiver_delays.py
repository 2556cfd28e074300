"""What a receiver adds to every session of its own, as sessions of known transmitters show it: its delay.

Cables, filters and decoders delay a receiver's recordings by a constant. Echoes differ from one transmitter
to the next. So what stays over many transmitters, when the distances are taken off, is the receiver's. Only
differences between receivers can be known: what is common to all of them is left at 0.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph

from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.signal.arrival import Observation
from heimdall.signal.correlation import NARROW_HZ

Float64 = npt.NDArray[np.float64]

_LEAST = 5  # transmitters that must tell of a receiver
_ROUNDS = 20
_TO_SIGMA = 1.4826  # of a normal variable's median magnitude
_ERRORS = 2.0  # variances of their errors that numbers of receivers must exceed, squared, in the mean
_CERTAIN = 1e-9  # of the largest variance, the least that counts
_COARSE_S2 = 1e-12  # of a time, a variance from which on it tells nothing of a delay
_LEAST_SCALE = 0.1  # of residuals, in standard deviations: equal sessions would leave none
_ECHO_SIGMA_S = 1e-7  # of an arrival time beside noise and clock, as in light multipath
_TILT_SHARE = 0.7  # of a channel's tilt, the error that echoes make (docs/physics.md)


class Difference(NamedTuple):
    """What one receiver has more of than another, in one session.

    Attributes:
        transmitter: Whose session it is.
        first: The receiver, by its place in the network.
        second: The other one.
        value: By how much.
        sigma: Its standard deviation.
    """

    transmitter: str
    first: int
    second: int
    value: float
    sigma: float

    @property
    def tells(self) -> bool:
        """Whether it is of two receivers, and known."""
        known = math.isfinite(self.value) and math.isfinite(self.sigma) and self.sigma > 0
        return self.first != self.second and known


@dataclass(frozen=True)
class Delays:
    """By receiver, for those that enough transmitters tell of.

    Attributes:
        websdr_id: The receivers.
        delay_s: How late each is, beside the mean of them, seconds.
    """

    websdr_id: tuple[int, ...] = ()
    delay_s: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Delays:
        """What `dataclasses.asdict` made, also of JSON."""
        return cls(
            tuple(int(value) for value in values["websdr_id"]),
            tuple(float(value) for value in values["delay_s"]),
        )

    def taken_off(self, observation: Observation) -> Float64:
        """Arrival times, shape (R,), seconds, as if no receiver had a delay of its own; 0 where none is."""
        arrivals, known = observation.arrivals, dict(zip(self.websdr_id, self.delay_s, strict=True))
        own_s = np.array([known.get(name, 0.0) for name in observation.session.websdr_id.tolist()])
        return np.asarray(arrivals.delay_s - np.where(arrivals.information_s2 > 0, own_s, 0.0), np.float64)


NO_DELAYS = Delays()


def fit(
    observations: Iterable[Observation],
    truth_m: Float64,
    plane: TangentPlane,
    *,
    transmitter: Sequence[str],
    websdr_id: npt.NDArray[np.int32],
) -> Delays:
    """The delays of a network's receivers.

    Keyed carriers, whose times err by microseconds, and coarse clocks do not count.

    Args:
        observations: n sessions of known transmitters.
        truth_m: Where these are, east and north, metres, shape (n, 2).
        plane: Of the positions.
        transmitter: A name for the transmitter of each.
        websdr_id: The receivers of the network, shape (R,).
    """
    place = {name: number for number, name in enumerate(websdr_id.tolist())}
    found = []
    for item, at_m, sender in zip(observations, truth_m, transmitter, strict=True):
        session, arrivals = item.session, item.arrivals
        heard = np.flatnonzero(arrivals.information_s2 > 0)
        noise_s2 = 1 / arrivals.information_s2[heard] + session.timing_sigma_s[heard] ** 2
        known = (noise_s2 < _COARSE_S2) & np.isin(session.websdr_id[heard], websdr_id)
        timed = heard[known]
        if len(timed) < 2 or arrivals.rms_bandwidth_hz < NARROW_HZ:
            continue
        flight_s = distances_m(at_m, session.position_enu_m[timed], plane) / SPEED_OF_LIGHT_M_S
        late_s = arrivals.delay_s[timed] - flight_s
        variance_s2 = noise_s2[known] + (_TILT_SHARE * arrivals.tilt_s[timed]) ** 2 + _ECHO_SIGMA_S**2
        number = [place[int(session.websdr_id[row])] for row in timed]
        best = int(np.argmin(variance_s2))
        found += [
            Difference(
                sender,
                number[row],
                number[best],
                float(late_s[row] - late_s[best]),
                float(np.sqrt(variance_s2[row] + variance_s2[best])),
            )
            for row in range(len(timed))
            if row != best
        ]
    rows, delay_s = that_stay(found, len(place))
    return Delays(tuple(websdr_id[rows].tolist()), tuple(delay_s.tolist()))


def that_stay(differences: Sequence[Difference], receivers: int) -> tuple[npt.NDArray[np.intp], Float64]:
    """What receivers add to all sessions, beside the mean of them.

    Each transmitter counts once for two receivers, for its echoes stay the same. Differences between
    receivers are fitted by least squares that large residuals weigh less in (Cauchy's weights; P. J. Holland
    and R. E. Welsch, Comm. Stat. A6, 1977), and what may be chance is left out, as the scatter over
    transmitters tells (P. J. Huber, Proc. Fifth Berkeley Symp. 1, 1967). Receivers of which fewer than five
    transmitters tell, or that no chain of comparisons connects to most others, are left out, too.

    Args:
        differences: Of n pairs of receivers and sessions.
        receivers: Of the network.

    Returns:
        Places of the F receivers that were fitted, and their numbers, shape (F,) each.
    """
    sender, first, second, measured, sigma = _by_transmitter([one for one in differences if one.tells])
    kept = np.ones(len(first), np.bool_)
    while True:  # a receiver may lose those that it was compared with
        told = np.zeros((receivers, int(sender.max(initial=0)) + 1), np.bool_)
        told[first[kept], sender[kept]] = told[second[kept], sender[kept]] = True
        enough = told.sum(axis=1) >= _LEAST
        fewer = kept & enough[first] & enough[second]
        if fewer.sum() == kept.sum():
            break
        kept = fewer
    if not kept.any():
        return np.zeros(0, np.intp), np.zeros(0)
    linked = np.zeros((receivers, receivers), np.bool_)
    linked[first[kept], second[kept]] = True
    _, group = scipy.sparse.csgraph.connected_components(linked, directed=False)
    fitted = np.flatnonzero(group == np.bincount(group[enough]).argmax())
    kept &= np.isin(first, fitted)
    design = (first[kept, None] == fitted) * 1.0 - (second[kept, None] == fitted)
    return fitted, _robust(design, measured[kept], sigma[kept], sender[kept])


def _by_transmitter(
    differences: Sequence[Difference],
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], Float64, Float64]:
    """By transmitter who is measured against whom, three numbers; values and sigmas; (n,) each."""
    senders = {name: number for number, name in enumerate(sorted({one.transmitter for one in differences}))}
    found: dict[tuple[int, int, int], list[Difference]] = {}
    for one in differences:
        found.setdefault((senders[one.transmitter], one.first, one.second), []).append(one)
    keys = sorted(found)
    values = [np.mean([one.value for one in found[key]]) for key in keys]
    sigmas = [np.sqrt(np.mean(np.square([one.sigma for one in found[key]]))) for key in keys]
    sender, first, second = np.array(keys, np.intp).reshape(-1, 3).T
    return sender, first, second, np.array(values, np.float64), np.array(sigmas, np.float64)


def _robust(design: Float64, measured: Float64, sigma: Float64, sender: npt.NDArray[np.intp]) -> Float64:
    """Numbers x of R connected receivers about their mean, less what may be chance, shape (R,).

    Args:
        design: Which differences of x were measured, shape (n, R).
        measured: Those, shape (n,).
        sigma: Their standard deviations, shape (n,).
        sender: Numbers of the transmitters, whose measurements have errors in common, shape (n,).
    """
    weight = 1 / sigma**2
    for _ in range(_ROUNDS):
        normal = design.T @ (weight[:, None] * design)
        inverse = np.linalg.inv(normal + normal.diagonal().mean())  # differences leave the mean open
        value = inverse @ (design.T @ (weight * measured))
        residual = measured - design @ value
        scaled = residual / sigma
        scale = max(float(np.median(np.abs(scaled))) * _TO_SIGMA, _LEAST_SCALE)
        weight = 1 / (1 + (scaled / (2 * scale)) ** 2) / sigma**2
    inverse = inverse - 1 / (normal.diagonal().mean() * len(inverse) ** 2)  # about the mean, without that
    scores = np.zeros((int(sender.max()) + 1, design.shape[1]))
    np.add.at(scores, sender, (weight * residual)[:, None] * design)
    chance = (inverse @ (scores.T @ scores) @ inverse).diagonal()
    # The weights fall where residuals grow, so a change moves the solution by more than they say; and the
    # residuals are smaller than the errors, because the solution follows them.
    falling = (scaled / (2 * scale)) ** 2
    steeper = (1 / (1 + falling)).sum() / max(float(((1 - falling) / (1 + falling) ** 2).sum()), 1.0)
    senders = len(np.unique(sender))
    chance = chance * senders / max(senders - design.shape[1], 1)
    # Of a receiver that a few tell of, these may agree by chance.
    each = ((weight * sigma * residual) ** 2).sum() / (weight * sigma**2).sum()
    chance = steeper**2 * np.maximum(chance, each * inverse.diagonal())
    return _believed(value, chance)


def _believed(value: Float64, chance: Float64) -> Float64:
    """Normal variables given measured ones.

    Their variance over receivers is what the errors leave of the measured ones (B. Efron and C. Morris, J.
    American Statistical Association 68, 1973): twice the errors, for where there is none chance alone shall
    seldom make one. Receivers that are measured badly count less.

    Args:
        value: As measured, shape (R,).
        chance: Variances of the errors of that, shape (R,).
    """
    certain = np.maximum(chance, _CERTAIN * max(float((value * value).max()), float(chance.max())))
    if not certain.any():
        return value
    value = value - np.average(value, weights=1 / certain)
    spread = max(float(np.average(value * value - _ERRORS * chance, weights=1 / certain)), 0.0)
    return np.asarray(value * (spread / (spread + certain)), np.float64)
