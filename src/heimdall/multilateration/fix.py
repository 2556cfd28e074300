"""The answer: where a transmitter is, how sure that is, and what each receiver says of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

# What the times and levels leave of the unknown place.
Kind = Literal["position", "ambiguous", "region", "nothing"]


@dataclass(frozen=True, eq=False)
class Place:
    """One place that explains what was received.

    Attributes:
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Altitude above the ellipsoid, metres.
        altitude_sigma_m: Its standard deviation, metres; 0 where it was given.
        covariance_m2: Of east and north, square metres, shape (2, 2).
        probability: That the transmitter is there, of all places of the answer.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    altitude_sigma_m: float
    covariance_m2: Float64
    probability: float


@dataclass(frozen=True)
class Region:
    """The smallest region that holds the transmitter with a probability.

    Attributes:
        probability: 0.68 or 0.95.
        rings: Outlines as (longitude, latitude) in degrees, closed (the last is the first), counterclockwise;
            a hole is a ring of its own, clockwise. No two of them cross, and no outline lies in another,
            but for one in a hole of it.
        area_km2: Area, square kilometres.
    """

    probability: float
    rings: tuple[tuple[tuple[float, float], ...], ...]
    area_km2: float

    def holds(self, latitude_deg: float, longitude_deg: float) -> bool:
        """Whether a position lies inside of any outline, and not in a hole of it.

        Counted is how often outlines pass north of it, to the west less to the east. Edges are straight in
        degrees, and of less than 180 of longitude: rings may cross the date line and go around a pole.
        """
        around, inside_of = (-np.inf, 0), 0
        for ring in self.rings:
            x, y = np.array(ring).T
            east = (np.diff(x) + 180.0) % 360.0 - 180.0
            begin = (x[:-1] - longitude_deg + 180.0) % 360.0 - 180.0
            passes = (begin > 0) != (begin + east > 0)
            at = y[:-1][passes] - begin[passes] * np.diff(y)[passes] / east[passes]
            inside_of -= int(np.sign(east[passes])[at > latitude_deg].sum())
            turns = round(float(east.sum()) / 360.0)
            if turns:
                around = max(around, (float(y.max()), turns))
        # Of rings around the north pole, the one nearest to it tells whether the pole is inside.
        return inside_of + (around[1] > 0) > 0


@dataclass(frozen=True)
class Residual:
    """What one receiver's arrival time says of the best place.

    Attributes:
        receiver: Its name.
        residual_s: Arrival time less the expected one, seconds; NaN without a time.
        sigma_s: Standard deviation of the arrival time as it was weighted, seconds; NaN without a time.
        used: Whether the answer rests on it.
        reason: Why it is not used, or ""; a sentence without a full stop.
    """

    receiver: str
    residual_s: float
    sigma_s: float
    used: bool
    reason: str = ""


@dataclass(frozen=True, eq=False)
class Velocity:
    """How the transmitter moves, where the carriers' offsets (FDOA) or several events say it.

    Attributes:
        east_m_s: To the east, m/s.
        north_m_s: To the north, m/s.
        covariance_m2_s2: Of both, shape (2, 2).
    """

    east_m_s: float
    north_m_s: float
    covariance_m2_s2: Float64


@dataclass(frozen=True, eq=False)
class Fix:
    """The answer for one event, or for several together.

    Attributes:
        name: Of the event; "all" for all events together.
        kind: "position" if one place is far more probable than any other; "ambiguous" if several are probable
            (`places`); "region" if the times leave a line or a wide area; "nothing" if nothing can be said.
        places: Most probable first; the first is the answer. Empty if kind is "nothing".
        regions: For 68 and for 95 %; empty if kind is "nothing".
        residuals: Of the first place, one for each receiver of the event, in its order.
        consistent: Whether all times that are used fit together within their standard deviations.
        remarks: What is known and what is not: sentences without a full stop, the most important first.
        events: How many events it rests on.
        velocity: If known.
    """

    name: str
    kind: Kind
    places: tuple[Place, ...]
    regions: tuple[Region, ...]
    residuals: tuple[Residual, ...]
    consistent: bool
    remarks: tuple[str, ...]
    events: int = 1
    velocity: Velocity | None = None

    @property
    def flagged(self) -> bool:
        """Whether the answer itself says that it may be wrong: ambiguous, inconsistent, or no position."""
        return self.kind != "position" or not self.consistent
