"""What receivers' own filters add to arrival times and to the shapes of channels, as sessions show it.

Tilt and spread of a channel are relative to the receiver that hears best (`heimdall.signal.arrival`). What a
receiver's filter adds is there for all transmitters; what echoes add has another sign from one transmitter to
the next, for their phases turn within metres. So the part that stays over many transmitters is the filter's,
and is taken off. A filter's ripple is no parabola: how it looks depends on the signal's spectrum, and most
of what is taken off may be left (of a simulated ripple of 0.5 dB, 0.6 to 0.8 of it). The shape of the
correlation keeps what filters do to it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import TangentPlane
from heimdall.position import receiver_delays
from heimdall.position.receiver_delays import NO_DELAYS, Delays, Difference
from heimdall.signal.arrival import Arrivals, Observation

Float64 = npt.NDArray[np.float64]

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
        delays: To arrival times.
        unlike_tilt_s: How much receivers differ in the tilt, standard deviation, seconds; also those that too
            few transmitters tell of.
        unlike_spread_s2: The same of the spread's real part, seconds squared.
    """

    websdr_id: tuple[int, ...] = ()
    tilt_s: tuple[float, ...] = ()
    spread_s2: tuple[float, ...] = ()
    delays: Delays = NO_DELAYS
    unlike_tilt_s: float = 0.0
    unlike_spread_s2: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Filters:
        """What `dataclasses.asdict` made, also of JSON."""
        return cls(
            tuple(int(value) for value in values["websdr_id"]),
            tuple(float(value) for value in values["tilt_s"]),
            tuple(float(value) for value in values["spread_s2"]),
            Delays.from_dict(values["delays"]),
            float(values["unlike_tilt_s"]),
            float(values["unlike_spread_s2"]),
        )

    def taken_off(self, observation: Observation) -> Arrivals:
        """The arrivals of a session as if all known receivers had one filter.

        Of tilt and spread remains what is more than filters may have left. Echoes hide in the rest, so the
        standard deviation of the spread says how much that is.
        """
        arrivals, number = observation.arrivals, _numbers(self.websdr_id, observation)
        if self.delays != NO_DELAYS:
            arrivals = replace(arrivals, delay_s=self.delays.taken_off(observation))
        best = _best(observation)
        if best is None or not self.websdr_id:
            return arrivals
        added = np.array([self.tilt_s, self.spread_s2]).T  # (n, 2)
        shaped = _shaped(arrivals)
        known = shaped & (number >= 0) & (number[best] >= 0)
        taken = np.where(known[:, None], added[number] - added[number[best]], 0.0)  # (R, 2)
        unlike = math.sqrt(2) * np.array([self.unlike_tilt_s, self.unlike_spread_s2])
        left = _LEFT * np.maximum(np.abs(taken), unlike) * shaped[:, None]
        real = _more_than(arrivals.spread_s2.real - taken[:, 1], left[:, 1])
        return replace(
            arrivals,
            tilt_s=_more_than(arrivals.tilt_s - taken[:, 0], left[:, 0]),
            spread_s2=real + 1j * arrivals.spread_s2.imag,
            spread_sigma_s2=np.hypot(arrivals.spread_sigma_s2, left[:, 1]),
        )


NO_FILTERS = Filters()


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    plane: TangentPlane,
    *,
    transmitter: Sequence[str],
    websdr_id: npt.NDArray[np.int32],
) -> Filters:
    """The filters of a network's receivers, as of `receiver_delays.that_stay`.

    Args:
        observations: n sessions of known transmitters, which are read twice.
        truth_m: Where these are, east and north, metres, shape (n, 2).
        plane: Of the positions.
        transmitter: A name for the transmitter of each.
        websdr_id: The receivers of the network, shape (R,).
    """
    known = tuple(websdr_id.tolist())
    found: list[Difference] = []
    for item, sender in zip(observations, transmitter, strict=True):
        best, number, arrivals = _best(item), _numbers(known, item), item.arrivals
        if best is None or number[best] < 0:
            continue
        for row in np.flatnonzero(_shaped(arrivals) & (number >= 0)).tolist():
            value = [float(arrivals.tilt_s[row]), float(arrivals.spread_s2[row].real)]
            noise = [
                np.hypot(*(arrivals.information_s2[[row, best]] ** -0.5)),
                np.hypot(*arrivals.spread_sigma_s2[[row, best]]),
            ]
            sigma = np.hypot(noise, [_TILT_SIGMA_S, _SPREAD_SIGMA_S2]).tolist()
            found.append(Difference(sender, int(number[row]), int(number[best]), value, sigma))
    rows, values, unlike = receiver_delays.that_stay(found, len(known))
    delays = receiver_delays.fit(observations, truth_m, plane, transmitter=transmitter, websdr_id=websdr_id)
    if not len(rows):
        return Filters(delays=delays)
    tilt_s, spread_s2 = values.T.tolist()
    names = tuple(known[row] for row in rows)
    return Filters(names, tuple(tilt_s), tuple(spread_s2), delays, *unlike.tolist())


def _more_than(value: Float64, left: Float64) -> Float64:
    """Values whose squares are less by those of what filters may have left, with the same signs."""
    return np.asarray(np.sign(value) * np.sqrt(np.maximum(value * value - left * left, 0.0)), np.float64)


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
