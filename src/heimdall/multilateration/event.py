"""What is known of one transmission when its transmitter is to be found, whatever network heard it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Position:
    """A position on the earth.

    Attributes:
        latitude_deg: Geodetic latitude, WGS84, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Altitude above the ellipsoid, metres; None if it is not known.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float | None = None


@dataclass(frozen=True, eq=False)
class Doubt:
    """What is left of receivers' own errors where these were taken off.

    Attributes:
        receiver: Names, K of them.
        covariance_m2: Of each one's offset in time (by the speed of light) and its place to the east, north
            and up, square metres, shape (K, 4, K, 4). What many events say of them is correlated: of one
            receiver, and between all that had events in common.
    """

    receiver: tuple[str, ...]
    covariance_m2: Float64

    def of(self, receiver: Sequence[str]) -> Float64:
        """The covariance of R receivers, shape (R, 4, R, 4); 0 of those that it does not know."""
        number = {name: k for k, name in enumerate(self.receiver)}
        known = [row for row, name in enumerate(receiver) if name in number]
        of = [number[receiver[row]] for row in known]
        found = np.zeros((len(receiver), 4, len(receiver), 4))
        found[np.ix_(known, range(4), known, range(4))] = self.covariance_m2[
            np.ix_(of, range(4), of, range(4))
        ]
        return found


@dataclass(frozen=True, eq=False)
class Event:
    """One transmission (a second of it, a message) as R receivers had it.

    Attributes:
        name: What a person calls it: the time of a second in UTC, the identifier of a row of a table.
        receiver: Names of the receivers, R of them, each once.
        latitude_deg: Of the receivers, degrees, shape (R,).
        longitude_deg: Of the receivers, degrees, shape (R,).
        altitude_m: Of the receivers above the ellipsoid, metres, shape (R,).
        arrival_s: When the signal came, seconds from any origin that all receivers of the event share, shape
            (R,); NaN where nothing says it.
        sigma_s: Standard deviation of the arrival time, noise and clock together, seconds, shape (R,); NaN
            where it is not known: then it is found from the residuals.
        level_db: Received power in any unit that all receivers share, dB, shape (R,); NaN if unknown.
        heard: Whether the receiver hears the signal, shape (R,).
        offset_hz: Carrier frequency less the tuned one, by a clock that GPS disciplines, Hz, shape (R,); NaN
            where no such clock is.
        offset_sigma_hz: Standard deviation of that, Hz, shape (R,); NaN where it is.
        frequency_hz: Carrier, Hz; NaN if unknown.
        altitude_known_m: Altitude of the transmitter above the ellipsoid, if the event itself says it
            (an aircraft's message does), metres.
        truth: Where the transmitter was, if known. No method reads it.
        time_s: When the event was, seconds from an origin that all events of an answer share; NaN if unknown.
        transmitter: Name of the transmitter, by which events of one are told; "" if unknown.
        remarks: What a person should know of its receivers' times, sentences without a full stop: why a
            receiver has none.
        doubt: What is left of the receivers' own errors, beside `sigma_s`; None if none was taken off.
    """

    name: str
    receiver: tuple[str, ...]
    latitude_deg: Float64
    longitude_deg: Float64
    altitude_m: Float64
    arrival_s: Float64
    sigma_s: Float64
    level_db: Float64
    heard: Bool
    offset_hz: Float64
    offset_sigma_hz: Float64
    frequency_hz: float
    altitude_known_m: float | None = None
    truth: Position | None = None
    time_s: float = float("nan")
    transmitter: str = ""
    remarks: tuple[str, ...] = ()
    doubt: Doubt | None = None

    @classmethod
    def of_times(
        cls,
        name: str,
        receiver: Sequence[str],
        position: Sequence[Position],
        arrival_s: Sequence[float],
        sigma_s: float | Sequence[float] = float("nan"),
        *,
        frequency_hz: float = float("nan"),
        altitude_known_m: float | None = None,
    ) -> Event:
        """An event of arrival times alone; a receiver whose altitude is not known stands at 0 m."""
        count = len(receiver)
        unknown = np.full(count, np.nan)
        arrival = np.array(arrival_s, np.float64)
        return cls(
            name,
            tuple(receiver),
            np.array([one.latitude_deg for one in position], np.float64),
            np.array([one.longitude_deg for one in position], np.float64),
            np.array([one.altitude_m or 0.0 for one in position], np.float64),
            arrival,
            np.broadcast_to(np.asarray(sigma_s, np.float64), count).copy(),
            unknown,
            np.isfinite(arrival),
            unknown,
            unknown,
            frequency_hz,
            altitude_known_m,
        )
