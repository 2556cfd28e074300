"""What receivers' own filters add to the shapes of channels, as sessions of one network show it.

Tilt and spread of a channel are relative to the receiver that hears best (`heimdall.signal.arrival`). What a
receiver's filter adds is there in all sessions; what echoes add has no sign that stays, for their phases turn
within metres. So the part that stays is the filter's, and is taken off. A filter's ripple is no parabola: how
it looks depends on the signal's spectrum, so as much as half of what is taken off may be left.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse.csgraph

from heimdall.signal.arrival import Arrivals, Observation

Float64 = npt.NDArray[np.float64]

_PARTS = 3  # tilt, and the spread's real and imaginary part
_LEAST = 8  # sessions that a receiver must have a shape in
_ROUNDS = 20
_TO_SIGMA = 1.4826  # of a normal variable's median magnitude
_BELIEVED = 9.0  # variances of its error at which half of a filter's part is believed
_LEFT = 0.5  # of what is taken off, a standard deviation
# Of a channel's shape, beside noise: as in light multipath.
_TILT_SIGMA_S, _SPREAD_SIGMA_S2 = 1e-7, 1e-12
_TINY = 1e-30


@dataclass(frozen=True)
class Filters:
    """By receiver.

    Attributes:
        websdr_id: The receivers.
        tilt_s: What their filters add to the tilt, seconds.
        spread_s2: To the spread: real parts, seconds squared.
        turned_s2: To the spread: imaginary parts, seconds squared.
    """

    websdr_id: tuple[int, ...] = ()
    tilt_s: tuple[float, ...] = ()
    spread_s2: tuple[float, ...] = ()
    turned_s2: tuple[float, ...] = ()

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Filters:
        """What `dataclasses.asdict` made, also of JSON."""
        parts = (values[name] for name in ("tilt_s", "spread_s2", "turned_s2"))
        return cls(
            tuple(int(value) for value in values["websdr_id"]),
            *(tuple(float(value) for value in part) for part in parts),
        )

    def taken_off(self, observation: Observation) -> Arrivals:
        """The arrivals of a session, had all receivers the filter of the one that hears best."""
        arrivals, number = observation.arrivals, _numbers(self.websdr_id, observation)
        best = _best(observation)
        if best is None or not self.websdr_id or number[best] < 0:
            return arrivals
        added = np.array([self.tilt_s, self.spread_s2, self.turned_s2]).T  # (n, 3)
        shaped = _shaped(arrivals) & (number >= 0)
        tilt_s, spread_s2, turned_s2 = np.where(shaped[:, None], added[number] - added[number[best]], 0.0).T
        return replace(
            arrivals,
            tilt_s=arrivals.tilt_s - tilt_s,
            spread_s2=arrivals.spread_s2 - (spread_s2 + 1j * turned_s2),
            spread_sigma_s2=np.hypot(arrivals.spread_sigma_s2, _LEFT * spread_s2),
        )


NO_FILTERS = Filters()


def fit(observations: Iterable[Observation], websdr_id: npt.NDArray[np.int32]) -> Filters:
    """The filters of a network's receivers.

    Differences between receivers are fitted by least squares that large residuals weigh less in (Cauchy's
    weights; P. J. Holland and R. E. Welsch, Comm. Stat. A6, 1977). What may be chance is left out.

    Args:
        observations: Sessions of these receivers; where the transmitters are does not matter.
        websdr_id: The receivers, shape (R,).
    """
    known = tuple(websdr_id.tolist())
    first, second, measured, sigma = _differences(observations, known)
    count = np.bincount(np.concatenate([first, second]), minlength=len(known))
    fitted = np.flatnonzero(count >= _LEAST)
    used = np.isin(first, fitted) & np.isin(second, fitted)
    if not used.any():
        return NO_FILTERS
    place = np.searchsorted(fitted, np.stack([first[used], second[used]]))
    numbers = np.arange(len(fitted))
    design = (place[0][:, None] == numbers) * 1.0 - (place[1][:, None] == numbers)
    parts = [_robust(design, measured[used, part], sigma[used, part]) for part in range(_PARTS)]
    return Filters(tuple(known[number] for number in fitted), *(tuple(part.tolist()) for part in parts))


def _differences(
    observations: Iterable[Observation], known: tuple[int, ...]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], Float64, Float64]:
    """Who was measured against whom, as numbers, (n,) each, and the parts and their sigmas, (n, 3) each."""
    first, second, measured, sigma = [], [], [np.zeros((0, _PARTS))], [np.zeros((0, _PARTS))]
    for item in observations:
        best, number, arrivals = _best(item), _numbers(known, item), item.arrivals
        if best is None:
            continue
        rows = np.flatnonzero(_shaped(arrivals))
        first += number[rows].tolist()
        second += [number[best]] * len(rows)
        spread = arrivals.spread_s2[rows]
        measured.append(np.stack([arrivals.tilt_s[rows], spread.real, spread.imag], axis=-1))
        tilt_s = np.sqrt(1 / arrivals.information_s2[rows] + 1 / arrivals.information_s2[best])
        of_noise = np.hypot(arrivals.spread_sigma_s2[rows], arrivals.spread_sigma_s2[best])
        spread_s2 = np.hypot(of_noise, _SPREAD_SIGMA_S2)
        sigma.append(np.stack([np.hypot(tilt_s, _TILT_SIGMA_S), spread_s2, spread_s2], axis=-1))
    return (
        np.array(first, np.intp),
        np.array(second, np.intp),
        np.concatenate(measured),
        np.concatenate(sigma),
    )


def _robust(design: Float64, measured: Float64, sigma: Float64) -> Float64:
    """Numbers x of R receivers, less what may be chance, shape (R,).

    Args:
        design: Which differences of x were measured, shape (n, R).
        measured: Those, shape (n,).
        sigma: How their standard deviations are to each other, shape (n,).
    """
    weight, scale = np.ones(len(measured)), 1.0
    # Differences leave open the mean of each group of receivers that measurements connect.
    _, group = scipy.sparse.csgraph.connected_components(design.T @ design, directed=False)
    alike = group[:, None] == group
    for _ in range(_ROUNDS):
        normal = np.einsum("n,ni,nj->ij", weight / sigma**2, design, design)
        normal += normal.diagonal().mean() * alike
        value = np.linalg.solve(normal, np.einsum("n,ni,n->i", weight / sigma**2, design, measured))
        residual = (measured - np.einsum("ni,i->n", design, value)) / sigma
        scale = max(float(np.median(np.abs(residual))) * _TO_SIGMA, _TINY)
        weight = 1 / (1 + (residual / (2 * scale)) ** 2)
    chance = scale**2 * np.linalg.inv(normal).diagonal()
    squared = value * value
    return np.asarray(value * squared / (squared + _BELIEVED * chance), np.float64)


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
