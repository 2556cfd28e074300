"""Simulated networks and what they receive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.fix import Fix
from heimdall.multilateration.rays import Propagation, Sites

CENTRE_DEG = 45.0, 8.0
ALTITUDE_M = 200.0


@dataclass(frozen=True)
class Transmission:
    """One transmission over a line of sight to receivers on a square; see `Event` for the rest.

    Attributes:
        receivers: Their number.
        size_m: Side of the square.
        sigma_s: Of the arrival times.
        place_m: East and north of the transmitter from the middle.
        speed_m_s: Of it, to the east and north.
        wrong_s: Errors of single receivers' times, by row.
        offset_sigma_hz: Of the carriers' offsets; 0 for none.
        altitude_m: Of the transmitter, which is known.
    """

    receivers: int = 6
    size_m: float = 100_000.0
    sigma_s: float = 1e-7
    place_m: tuple[float, float] = (12_000.0, -7_000.0)
    speed_m_s: tuple[float, float] = (0.0, 0.0)
    wrong_s: Mapping[int, float] | None = None
    offset_sigma_hz: float = 0.0
    frequency_hz: float = 145e6
    propagation: Propagation = "line-of-sight"
    altitude_m: float = ALTITUDE_M

    def truth_deg(self, time_s: float = 0.0) -> tuple[float, float]:
        """Latitude and longitude of the transmitter."""
        east, north = (np.array(a + b * time_s) for a, b in zip(self.place_m, self.speed_m_s, strict=True))
        latitude, longitude = rays.destination(*CENTRE_DEG, east, north)
        return float(latitude), float(longitude)

    def sites(self) -> Sites:
        """Receivers, the same for each number and size."""
        generator = np.random.default_rng([self.receivers, int(self.size_m)])
        angle = (
            2
            * np.pi
            * (np.arange(self.receivers) + generator.uniform(0, 0.6, self.receivers))
            / self.receivers
        )
        radius = self.size_m / 2 * generator.uniform(0.6, 1.0, self.receivers)
        latitude, longitude = rays.destination(*CENTRE_DEG, radius * np.cos(angle), radius * np.sin(angle))
        return Sites.at(latitude, longitude, np.full(self.receivers, ALTITUDE_M))

    def event(self, seed: int, time_s: float = 0.0) -> Event:
        """What the receivers have of it."""
        generator = np.random.default_rng(seed)
        sites = self.sites()
        latitude, longitude = (np.array(value) for value in self.truth_deg(time_s))
        ways = rays.paths(latitude, longitude, np.array(self.altitude_m), sites, self.propagation)
        arrival = ways.length_m / SPEED_OF_LIGHT_M_S + generator.normal(0, self.sigma_s, self.receivers)
        for row, error in (self.wrong_s or {}).items():
            arrival[row] += error
        names = [f"rx{row:02d}" for row in range(self.receivers)]
        places = [
            Position(*where)
            for where in zip(sites.latitude_deg, sites.longitude_deg, sites.altitude_m, strict=True)
        ]
        event = Event.of_times(
            f"{time_s:g} s",
            names,
            places,
            arrival.tolist(),
            self.sigma_s,
            frequency_hz=self.frequency_hz,
            altitude_known_m=self.altitude_m,
        )
        if self.offset_sigma_hz > 0:
            closing = ways.slope[:, :2] @ np.array(self.speed_m_s)
            noise = generator.normal(0, self.offset_sigma_hz, self.receivers)
            event = replace(
                event,
                offset_hz=3.0 - self.frequency_hz / SPEED_OF_LIGHT_M_S * closing + noise,
                offset_sigma_hz=np.full(self.receivers, self.offset_sigma_hz),
            )
        return replace(event, time_s=time_s)


def error_m(fix: Fix, truth_deg: tuple[float, float]) -> float:
    """Distance of the answer from the truth."""
    place = fix.places[0]
    return float(np.hypot(*rays.offset_m(place.latitude_deg, place.longitude_deg, *truth_deg)))


def square_of(fix: Fix, truth_deg: tuple[float, float]) -> float:
    """The error in standard deviations of the claim, squared; two degrees of freedom."""
    place = fix.places[0]
    offset = np.array(rays.offset_m(place.latitude_deg, place.longitude_deg, *truth_deg))
    return float(offset @ np.linalg.solve(place.covariance_m2, offset))
