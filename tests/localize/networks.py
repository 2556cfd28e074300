"""Networks of receivers on the ellipsoid, and exact delays to them by formulas of their own."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from pyproj import Geod

from heimdall.multilateration.event import Position

Float64 = npt.NDArray[np.float64]
Way = Literal["line of sight", "ground", "sky"]

SPEED_OF_LIGHT_M_S = 299_792_458.0
REFRACTIVITY = 315e-6  # of air at sea level (ITU-R P.453), falling by 1 / e in 7350 m
SCALE_HEIGHT_M = 7_350.0
_GEOD = Geod(ellps="WGS84")
LAYER_M, LAYER_SIGMA_M = 300e3, 60e3  # virtual height of the F layer
SKY_SPREAD_S = 20e-6  # of one way by it against another
_MEAN_RADIUS_M = 6_371_008.8
_MAJOR_M, _MINOR_M = 6378137.0, 6356752.314245


@dataclass(frozen=True, eq=False)
class Network:
    """Receivers and one transmitter.

    Attributes:
        name: What a person calls it.
        receiver: Places of the receivers.
        transmitter: Place of the transmitter, with its altitude.
        frequency_hz: Carrier.
        way: How the signal travels.
        third_sigma_m: Standard deviation of what nobody says of the third coordinate of `delays_from`; 0 if
            it is known.
    """

    name: str
    receiver: tuple[Position, ...]
    transmitter: Position
    frequency_hz: float
    way: Way = "line of sight"
    third_sigma_m: float = 0.0

    @property
    def names(self) -> tuple[str, ...]:
        """Of the receivers."""
        return tuple(f"rx{number:02d}" for number in range(1, len(self.receiver) + 1))

    @property
    def receivers_csv(self) -> str:
        """Its receivers as `heimdall` reads them, their clocks good to 10 ns."""
        lines = [
            f"{name},{one.latitude_deg:.9f},{one.longitude_deg:.9f},{one.altitude_m or 0.0:.3f},10"
            for name, one in zip(self.names, self.receiver, strict=True)
        ]
        return "\n".join(["name,latitude,longitude,altitude_m,timing_sigma_ns", *lines, ""])

    @property
    def position_m(self) -> Float64:
        """Of the receivers, earth-centred, metres, shape (R, 3)."""
        return np.array([earth_centred_m(one) for one in self.receiver])

    @property
    def delays_s(self) -> Float64:
        """From the transmitter to each receiver, shape (R,)."""
        return self.delays_from(np.zeros(2))

    def delays_from(self, offset_m: Float64) -> Float64:
        """From a point east and north of the transmitter, and above it, shape (R,).

        By the sky, the third coordinate is the layer's height over `LAYER_M`, and not the transmitter's.
        """
        east_m, north_m, up_m = np.pad(offset_m, (0, 3 - len(offset_m))).tolist()
        if self.way == "line of sight":
            place = moved(self.transmitter, east_m, north_m, up_m)
            return np.array([line_of_sight_delay_s(place, one) for one in self.receiver])
        place = moved(self.transmitter, east_m, north_m)
        if self.way == "ground":
            return np.array([ground_delay_s(place, one) for one in self.receiver])
        return np.array([sky_delay_s(place, one, LAYER_M + up_m) for one in self.receiver])

    def error_m(self, latitude_deg: float, longitude_deg: float) -> Float64:
        """East and north of an answer from the truth, metres, shape (2,)."""
        truth = self.transmitter
        azimuth, _, distance_m = _GEOD.inv(
            truth.longitude_deg, truth.latitude_deg, longitude_deg, latitude_deg
        )
        return distance_m * np.array([math.sin(math.radians(azimuth)), math.cos(math.radians(azimuth))])


def earth_centred_m(place: Position) -> Float64:
    """Earth-centred coordinates, shape (3,)."""
    latitude, longitude = math.radians(place.latitude_deg), math.radians(place.longitude_deg)
    normal_m = _MAJOR_M**2 / math.hypot(_MAJOR_M * math.cos(latitude), _MINOR_M * math.sin(latitude))
    height_m = place.altitude_m or 0.0
    ring_m = (normal_m + height_m) * math.cos(latitude)
    axis_m = (normal_m * (_MINOR_M / _MAJOR_M) ** 2 + height_m) * math.sin(latitude)
    return np.array([ring_m * math.cos(longitude), ring_m * math.sin(longitude), axis_m])


def moved(place: Position, east_m: float, north_m: float, up_m: float = 0.0) -> Position:
    """A place so far away along a geodesic."""
    azimuth = math.degrees(math.atan2(east_m, north_m))
    longitude_deg, latitude_deg, _ = _GEOD.fwd(
        place.longitude_deg, place.latitude_deg, azimuth, math.hypot(east_m, north_m)
    )
    return Position(latitude_deg, longitude_deg, (place.altitude_m or 0.0) + up_m)


def ground_delay_s(one: Position, other: Position) -> float:
    """Along the ground, in the air there."""
    length_m = _GEOD.inv(one.longitude_deg, one.latitude_deg, other.longitude_deg, other.latitude_deg)[2]
    return float(length_m * (1 + REFRACTIVITY) / SPEED_OF_LIGHT_M_S)


def sky_delay_s(one: Position, other: Position, layer_m: float) -> float:
    """By one reflection in the middle of the way, at a virtual height over the sphere, in vacuum."""
    ground_m = _GEOD.inv(one.longitude_deg, one.latitude_deg, other.longitude_deg, other.latitude_deg)[2]
    angle = ground_m / (2 * _MEAN_RADIUS_M)
    across_m = _MEAN_RADIUS_M * math.sin(angle)
    rise_m = layer_m + _MEAN_RADIUS_M * (1 - math.cos(angle))
    return 2 * math.hypot(across_m, rise_m) / SPEED_OF_LIGHT_M_S


def line_of_sight_delay_s(one: Position, other: Position) -> float:
    """Along the straight line, in air that thins out with the height over the ellipsoid (Gauss-Legendre)."""
    first, last = earth_centred_m(one), earth_centred_m(other)
    nodes, weights = np.polynomial.legendre.leggauss(12)
    along = (1 + nodes)[:, None] / 2
    radius_m = np.linalg.norm((1 - along) * first + along * last, axis=1)
    ends_m = np.array([[np.linalg.norm(first), np.linalg.norm(last)]])
    # Over the ellipsoid: the ends' own heights, and the sagitta between them.
    sea_m = (ends_m - np.array([[one.altitude_m or 0.0, other.altitude_m or 0.0]]))[0]
    level_m = (1 - along[:, 0]) * sea_m[0] + along[:, 0] * sea_m[1]
    excess = REFRACTIVITY * float(weights @ np.exp(-(radius_m - level_m) / SCALE_HEIGHT_M)) / 2
    return float(np.linalg.norm(last - first) * (1 + excess) / SPEED_OF_LIGHT_M_S)


def around(
    name: str,
    centre: Position,
    count: int,
    radius_m: float,
    random: np.random.Generator,
    *,
    frequency_hz: float,
    altitude_m: Callable[[], float],
    offset_m: tuple[float, float],
) -> Network:
    """Receivers spread over a disc, the transmitter at an offset from its centre and at its altitude."""
    turn = random.uniform(0, 2 * math.pi)
    golden = math.pi * (3 - math.sqrt(5))
    receiver = []
    for number in range(count):
        away_m = radius_m * math.sqrt((number + 0.5) / count) * random.uniform(0.9, 1.1)
        angle = turn + number * golden + random.uniform(-0.2, 0.2)
        there = moved(centre, away_m * math.sin(angle), away_m * math.cos(angle))
        receiver.append(Position(there.latitude_deg, there.longitude_deg, altitude_m()))
    return Network(name, tuple(receiver), moved(centre, *offset_m), frequency_hz)
