"""What receivers' own filters add to the shapes of channels, as sessions of one network show it.

Tilt and spread of a channel are relative to the receiver that hears best (`heimdall.signal.arrival`). What a
receiver's filter adds is there for all transmitters; what echoes add has another sign from one transmitter to
the next, for their phases turn within metres. So the part that stays over many transmitters is the filter's,
and is taken off. A filter's ripple is no parabola: how it looks depends on the signal's spectrum, and most
of what is taken off may be left (of a simulated ripple of 0.5 dB, 0.6 to 0.8 of it). Delays, and the shape of
the correlation, keep what filters do to them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph

from heimdall.signal.arrival import Arrivals, Observation

Float64 = npt.NDArray[np.float64]

_PARTS = 2  # tilt, and the spread's real part
_LEAST = 8  # transmitters that must tell of a receiver
_ROUNDS = 20
_TO_SIGMA = 1.4826  # of a normal variable's median magnitude
_LEAST_SCALE = 0.1  # of residuals, in standard deviations: equal sessions would leave none
_BELIEVED = 9.0  # variances of its error at which half of a filter's part is believed
_LEFT = 0.7  # of what is taken off, a standard deviation
# Of a channel's shape, beside noise: as in light multipath.
_TILT_SIGMA_S, _SPREAD_SIGMA_S2 = 1e-7, 1e-12


@dataclass(frozen=True)
class Filters:
    """By receiver, for those that enough transmitters tell of.

    Attributes:
        websdr_id: The receivers.
        tilt_s: What their filters add to the tilt, seconds.
        spread_s2: To the spread's real part, seconds squared.
    """

    websdr_id: tuple[int, ...] = ()
    tilt_s: tuple[float, ...] = ()
    spread_s2: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Filters:
        """What `dataclasses.asdict` made, also of JSON."""
        return cls(
            tuple(int(value) for value in values["websdr_id"]),
            *(tuple(float(value) for value in values[name]) for name in ("tilt_s", "spread_s2")),
        )

    def taken_off(self, observation: Observation) -> Arrivals:
        """The arrivals of a session with shapes as if all known receivers had one filter.

        The standard deviation of a spread says how much of what is taken off may be left.
        """
        arrivals, number = observation.arrivals, _numbers(self.websdr_id, observation)
        best = _best(observation)
        if best is None or number[best] < 0:
            return arrivals
        added = np.array([self.tilt_s, self.spread_s2]).T  # (n, 2)
        shaped = _shaped(arrivals) & (number >= 0)
        tilt_s, spread_s2 = np.where(shaped[:, None], added[number] - added[number[best]], 0.0).T
        return replace(
            arrivals,
            tilt_s=arrivals.tilt_s - tilt_s,
            spread_s2=arrivals.spread_s2 - spread_s2,
            spread_sigma_s2=np.hypot(arrivals.spread_sigma_s2, _LEFT * spread_s2),
        )


NO_FILTERS = Filters()


def fit(
    observations: Iterable[Observation], transmitter: Sequence[str], websdr_id: npt.NDArray[np.int32]
) -> Filters:
    """The filters of a network's receivers.

    Each transmitter counts once for two receivers, for its echoes stay the same. Differences between
    receivers are fitted by least squares that large residuals weigh less in (Cauchy's weights; P. J. Holland
    and R. E. Welsch, Comm. Stat. A6, 1977), and what may be chance is left out, as the scatter over
    transmitters tells (P. J. Huber, Proc. Fifth Berkeley Symp. 1, 1967). Receivers that no chain of
    comparisons connects to most others are left out, too.

    Args:
        observations: n sessions; where the transmitters are does not matter.
        transmitter: A name for the transmitter of each, n of them.
        websdr_id: The receivers of the network, shape (R,).
    """
    known = tuple(websdr_id.tolist())
    sender, first, second, measured, sigma = _differences(observations, transmitter, known)
    kept = np.ones(len(first), np.bool_)
    while True:  # a receiver may lose those that it was compared with
        told = np.zeros((len(known), len(set(transmitter))), np.bool_)
        told[first[kept], sender[kept]] = told[second[kept], sender[kept]] = True
        enough = told.sum(axis=1) >= _LEAST
        fewer = kept & enough[first] & enough[second]
        if fewer.sum() == kept.sum():
            break
        kept = fewer
    if not kept.any():
        return NO_FILTERS
    linked = np.zeros((len(known), len(known)), np.bool_)
    linked[first[kept], second[kept]] = True
    _, group = scipy.sparse.csgraph.connected_components(linked, directed=False)
    fitted = np.flatnonzero(group == np.bincount(group[enough]).argmax())
    kept &= np.isin(first, fitted)
    design = (first[kept, None] == fitted) * 1.0 - (second[kept, None] == fitted)
    parts = [_robust(design, measured[kept, k], sigma[kept, k], sender[kept]) for k in range(_PARTS)]
    return Filters(tuple(known[number] for number in fitted), *(tuple(part.tolist()) for part in parts))


def _differences(
    observations: Iterable[Observation], transmitter: Sequence[str], known: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], npt.NDArray[np.intp], Float64, Float64]:
    """By transmitter who is measured against whom, three numbers (n,); parts and sigmas (n, 2)."""
    senders = {name: number for number, name in enumerate(sorted(set(transmitter)))}
    found: dict[tuple[int, int, int], list[tuple[Float64, Float64]]] = {}
    for item, name in zip(observations, transmitter, strict=True):
        best, number, arrivals = _best(item), _numbers(known, item), item.arrivals
        if best is None or number[best] < 0:
            continue
        for row in np.flatnonzero(_shaped(arrivals) & (number >= 0)).tolist():
            part = np.array([arrivals.tilt_s[row], arrivals.spread_s2[row].real])
            noise = np.array(
                [
                    np.hypot(*(arrivals.information_s2[[row, best]] ** -0.5)),
                    np.hypot(*arrivals.spread_sigma_s2[[row, best]]),
                ]
            )
            sigma = np.hypot(noise, [_TILT_SIGMA_S, _SPREAD_SIGMA_S2])
            key = senders[name], int(number[row]), int(number[best])
            found.setdefault(key, []).append((part, sigma))
    keys = np.array(sorted(found), np.intp).reshape(-1, 3)
    means, sigmas = np.zeros((2, len(keys), _PARTS))
    for row, key in enumerate(sorted(found)):
        parts, noises = (np.array(values) for values in zip(*found[key], strict=True))
        means[row], sigmas[row] = parts.mean(axis=0), np.sqrt((noises**2).mean(axis=0))
    return keys[:, 0], keys[:, 1], keys[:, 2], means, sigmas


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
    scores = np.zeros((int(sender.max()) + 1, design.shape[1]))
    np.add.at(scores, sender, (weight * residual)[:, None] * design)
    chance = (inverse @ (scores.T @ scores) @ inverse).diagonal()
    squared = value * value
    believed = squared / np.maximum(squared + _BELIEVED * chance, np.finfo(np.float64).tiny)
    return np.asarray(value * believed, np.float64)


def _numbers(known: tuple[int, ...], observation: Observation) -> npt.NDArray[np.intp]:
    """The places of a session's receivers among those known, -1 for others, shape (R,)."""
    place = {name: number for number, name in enumerate(known)}
    return np.array([place.get(name, -1) for name in observation.session.websdr_id.tolist()], np.intp)


def _shaped(arrivals: Arrivals) -> npt.NDArray[np.bool_]:
    """Whose channel has a shape over that of the receiver that hears best, shape (R,)."""
    return np.asarray((arrivals.tilt_s != 0) | (arrivals.spread_s2 != 0), np.bool_)


def _best(observation: Observation) -> int | None:
    """Row of the receiver that shapes are relative to; None where there are none."""
    if not _shaped(observation.arrivals).any():
        return None
    timed = observation.arrivals.information_s2 > 0
    level = 10.0 ** (observation.session.snr_db.astype(np.float64) / 10)
    return int(np.argmax(np.where(timed, level, -np.inf)))
