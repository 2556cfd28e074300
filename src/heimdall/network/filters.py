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
        unlike_s2: How much receivers differ in that part of the spread, standard deviation, seconds squared;
            also those that too few transmitters tell of.
    """

    websdr_id: tuple[int, ...] = ()
    tilt_s: tuple[float, ...] = ()
    spread_s2: tuple[float, ...] = ()
    delays: Delays = NO_DELAYS
    unlike_s2: float = 0.0

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Filters:
        """What `dataclasses.asdict` made, also of JSON."""
        return cls(
            tuple(int(value) for value in values["websdr_id"]),
            tuple(float(value) for value in values["tilt_s"]),
            tuple(float(value) for value in values["spread_s2"]),
            Delays.from_dict(values["delays"]),
            float(values["unlike_s2"]),
        )

    def taken_off(self, observation: Observation) -> Arrivals:
        """The arrivals of a session as if all known receivers had one filter.

        The standard deviation of a spread says how much of a filter may be left.
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
        tilt_s, spread_s2 = np.where(known[:, None], added[number] - added[number[best]], 0.0).T
        left_s2 = _LEFT * np.maximum(np.abs(spread_s2), math.sqrt(2) * self.unlike_s2) * shaped
        return replace(
            arrivals,
            tilt_s=arrivals.tilt_s - tilt_s,
            spread_s2=arrivals.spread_s2 - spread_s2,
            spread_sigma_s2=np.hypot(arrivals.spread_sigma_s2, left_s2),
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
    return Filters(names, tuple(tilt_s), tuple(spread_s2), delays, float(unlike[1]))


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
