"""How far the signal travels from a transmitter to each receiver, in metres of vacuum, at its frequency.

Line of sight (above 30 MHz): the straight line in space times the mean refractive index along it. Air of
exponential refractivity (ITU-R P.453-14: 315 N-units at the sea, scale height 7.35 km) slows a ray to an
aircraft by 20 to 90 m in 400 km.

Ground wave: the geodesic in air at the ground, and nothing else.

Ground and sky wave (below 1.6 MHz): the sky wave comes with it, later by what the way by the D layer is
longer, and the delay of both is anywhere between.

Sky wave (1.6 to 30 MHz): hops between ground and a layer of a virtual height that is the same for all
receivers, but unknown, on the sphere (K. Davies, Ionospheric Radio, 1990, section 6.2).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import ECCENTRICITY_SQUARED, SEMI_MAJOR_AXIS_M

Float64 = npt.NDArray[np.float64]
Propagation = Literal["line-of-sight", "ground-wave", "ground-and-sky-wave", "sky-wave"]

REFRACTIVITY = 315e-6
SCALE_HEIGHT_M = 7_350.0
EARTH_RADIUS_M = 6_371_008.8

_LONGEST_RAY_M = 450_000.0  # beyond it a ray would run through the earth
_GROUND_BELOW_HZ = 1.6e6  # of medium waves; above it the ground wave ends after 100 km
_LINE_OF_SIGHT_ABOVE_HZ = 30e6
D_LAYER_M = 75_000.0  # 70 km by day, 90 km at night
# The sky wave's share of the delay: anything from none to all far away, none near the transmitter, where the
# ground wave is strong and the way up is in the null of a mast.
_NEAR_M = 200_000.0
_DRAW, _DRAW_SIGMA = 1 / 2, 1 / math.sqrt(12)
F_LAYER_M, F_LAYER_SIGMA_M = 300_000.0, 60_000.0
_SKY_SPREAD_M = 6_000.0  # tilts and waves of the layer, of one path against another: 20 us


@dataclass(frozen=True, eq=False)
class Paths:
    """Ways from points (...) to R receivers.

    Attributes:
        length_m: Metres of vacuum, shape (..., R).
        slope: Derivatives by east, north and up of the transmitter, shape (..., R, 3).
        common_m: Derivative by the number that all receivers share, in its standard deviations, shape
            (..., R); 0 where there is none.
        spread_m: Standard deviation of what each path has of its own, shape (..., R).
    """

    length_m: Float64
    slope: Float64
    common_m: Float64
    spread_m: Float64


@dataclass(frozen=True, eq=False)
class Sites:
    """R receivers.

    Attributes:
        latitude_deg: Degrees, shape (R,).
        longitude_deg: Degrees, shape (R,).
        altitude_m: Above the ellipsoid, metres, shape (R,).
        ecef_m: Earth-centred coordinates, shape (R, 3).
        ground_ecef_m: Those of the points of the ellipsoid below them, shape (R, 3).
        doubt_m2: Covariance of their offsets in time (by the speed of light) and earth-centred coordinates,
            square metres, shape (R, 4, R, 4); None if there is no doubt.
    """

    latitude_deg: Float64
    longitude_deg: Float64
    altitude_m: Float64
    ecef_m: Float64
    ground_ecef_m: Float64
    doubt_m2: Float64 | None = None

    @classmethod
    def at(
        cls,
        latitude_deg: Float64,
        longitude_deg: Float64,
        altitude_m: Float64,
        doubt_m2: Float64 | None = None,
    ) -> Sites:
        """Receivers at these positions, with doubts of offset, east, north and up."""
        there = ecef(latitude_deg, longitude_deg, altitude_m)
        if doubt_m2 is not None:
            turn = np.zeros((len(there), 4, 4))
            turn[:, 0, 0], turn[:, 1:, 1:] = 1.0, axes(latitude_deg, longitude_deg)
            doubt_m2 = np.einsum("rai,rasb,sbj->risj", turn, doubt_m2, turn)
        ground = ecef(latitude_deg, longitude_deg, 0 * altitude_m)
        return cls(latitude_deg, longitude_deg, altitude_m, there, ground, doubt_m2)

    def diameter_m(self) -> float:
        """The largest distance between two receivers, metres."""
        offset = self.ecef_m[:, None] - self.ecef_m
        return float(np.sqrt((offset * offset).sum(axis=-1)).max())


def by_frequency(frequency_hz: float) -> Propagation:
    """What carries most signals of a frequency over a network's distances; a line of sight by default."""
    if frequency_hz < _GROUND_BELOW_HZ:
        return "ground-and-sky-wave"
    return "sky-wave" if frequency_hz < _LINE_OF_SIGHT_ABOVE_HZ else "line-of-sight"


def ecef(latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64) -> Float64:
    """Earth-centred, earth-fixed coordinates in metres, shape (..., 3), of geodetic positions (...)."""
    latitude, longitude = np.radians(latitude_deg), np.radians(longitude_deg)
    sin_lat, cos_lat = np.sin(latitude), np.cos(latitude)
    normal = SEMI_MAJOR_AXIS_M / np.sqrt(1 - ECCENTRICITY_SQUARED * sin_lat * sin_lat)
    ring = (normal + altitude_m) * cos_lat
    up = (normal * (1 - ECCENTRICITY_SQUARED) + altitude_m) * sin_lat
    return np.stack([ring * np.cos(longitude), ring * np.sin(longitude), up], axis=-1)


def geodetic(ecef_m: Float64) -> tuple[float, float]:
    """Latitude and longitude of a point (3,): of the ellipsoid, or to metres of a network's middle."""
    ring = math.hypot(ecef_m[0], ecef_m[1]) * (1 - ECCENTRICITY_SQUARED)
    return math.degrees(math.atan2(ecef_m[2], ring)), math.degrees(math.atan2(ecef_m[1], ecef_m[0]))


def axes(latitude_deg: Float64, longitude_deg: Float64) -> Float64:
    """Unit vectors to the east, north and up at positions (...), in ECEF, shape (..., 3, 3) by rows."""
    latitude, longitude = np.radians(latitude_deg), np.radians(longitude_deg)
    sin_lat, cos_lat = np.sin(latitude), np.cos(latitude)
    sin_lon, cos_lon = np.sin(longitude), np.cos(longitude)
    east = np.stack([-sin_lon, cos_lon, np.zeros_like(latitude)], axis=-1)
    north = np.stack([-sin_lat * cos_lon, -sin_lat * sin_lon, cos_lat], axis=-1)
    up = np.stack([cos_lat * cos_lon, cos_lat * sin_lon, sin_lat], axis=-1)
    return np.stack([east, north, up], axis=-2)


def moved(
    latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64, east_m: Float64, north_m: Float64
) -> tuple[Float64, Float64]:
    """Positions a little to the east and north, by the radii of curvature; any shape."""
    latitude = np.radians(latitude_deg)
    w_squared = 1 - ECCENTRICITY_SQUARED * np.sin(latitude) ** 2
    meridian = SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED) / w_squared**1.5
    normal = SEMI_MAJOR_AXIS_M / np.sqrt(w_squared)
    ring = np.maximum((normal + altitude_m) * np.cos(latitude), 1.0)
    north = latitude_deg + np.degrees(north_m / (meridian + altitude_m))
    east = longitude_deg + np.degrees(east_m / ring)
    return np.clip(north, -90.0, 90.0), (east + 180.0) % 360.0 - 180.0


def destination(
    latitude_deg: float, longitude_deg: float, east_m: Float64, north_m: Float64
) -> tuple[Float64, Float64]:
    """Positions at a distance and azimuth from one, on the sphere, any shape: for a search, not a measure."""
    angle = np.sqrt(east_m * east_m + north_m * north_m) / EARTH_RADIUS_M
    azimuth = np.arctan2(east_m, north_m)
    latitude = math.radians(latitude_deg)
    sin_lat = math.sin(latitude) * np.cos(angle) + math.cos(latitude) * np.sin(angle) * np.cos(azimuth)
    there = np.arcsin(np.clip(sin_lat, -1.0, 1.0))
    turn = np.arctan2(
        np.sin(azimuth) * np.sin(angle),
        math.cos(latitude) * np.cos(angle) - math.sin(latitude) * np.sin(angle) * np.cos(azimuth),
    )
    return np.degrees(there), (longitude_deg + np.degrees(turn) + 180.0) % 360.0 - 180.0


def arc_m(
    latitude_deg: Float64, longitude_deg: Float64, from_latitude_deg: float, from_longitude_deg: float
) -> Float64:
    """Distance along the sphere from one position to others, metres, any shape."""
    a, b = np.radians(latitude_deg), math.radians(from_latitude_deg)
    turn = np.radians(np.asarray(longitude_deg) - from_longitude_deg)
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * math.cos(b) * np.sin(turn / 2) ** 2
    return np.asarray(2 * EARTH_RADIUS_M * np.arcsin(np.sqrt(np.clip(half, 0.0, 1.0))), np.float64)


def plane_m(
    latitude_deg: Float64, longitude_deg: Float64, from_latitude_deg: float, from_longitude_deg: float
) -> tuple[Float64, Float64]:
    """East and north on the azimuthal equidistant map of the sphere, the inverse of `destination`, metres."""
    a, b = np.radians(latitude_deg), math.radians(from_latitude_deg)
    turn = np.radians(np.asarray(longitude_deg) - from_longitude_deg)
    azimuth = np.arctan2(
        np.sin(turn) * np.cos(a), math.cos(b) * np.sin(a) - math.sin(b) * np.cos(a) * np.cos(turn)
    )
    distance = arc_m(latitude_deg, longitude_deg, from_latitude_deg, from_longitude_deg)
    return distance * np.sin(azimuth), distance * np.cos(azimuth)


def offset_m(
    latitude_deg: npt.ArrayLike,
    longitude_deg: npt.ArrayLike,
    from_latitude_deg: npt.ArrayLike,
    from_longitude_deg: npt.ArrayLike,
) -> tuple[Float64, Float64]:
    """East and north in metres of positions near others, the inverse of `moved` at altitude 0."""
    middle = np.radians(from_latitude_deg)
    w_squared = 1 - ECCENTRICITY_SQUARED * np.sin(middle) ** 2
    meridian = SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED) / w_squared**1.5
    ring = SEMI_MAJOR_AXIS_M / np.sqrt(w_squared) * np.cos(middle)
    turn = (
        np.asarray(longitude_deg, np.float64) - np.asarray(from_longitude_deg, np.float64) + 180.0
    ) % 360.0 - 180.0
    return np.radians(turn) * ring, np.radians(np.asarray(latitude_deg) - from_latitude_deg) * meridian


def paths(
    latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64, sites: Sites, propagation: Propagation
) -> Paths:
    """Ways from positions (...) to receivers.

    Args:
        latitude_deg: Of the transmitter, degrees, shape (...).
        longitude_deg: Degrees, shape (...).
        altitude_m: Above the ellipsoid, metres, shape (...).
        sites: The receivers, the doubt about which is a part of the spread.
        propagation: How the signal travels.
    """
    found = _paths(latitude_deg, longitude_deg, altitude_m, sites, propagation)
    if sites.doubt_m2 is None:
        return found
    every = np.arange(len(sites.latitude_deg))
    by = by_receiver(latitude_deg, longitude_deg, altitude_m, sites)
    left = np.einsum("...ri,rij,...rj->...r", by, sites.doubt_m2[every, :, every], by)
    return replace(found, spread_m=np.sqrt(found.spread_m**2 + np.maximum(left, 0.0)))


def by_receiver(latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64, sites: Sites) -> Float64:
    """Derivatives of lengths by each receiver's offset and earth-centred coordinates, shape (..., R, 4)."""
    line = sites.ecef_m - ecef(latitude_deg, longitude_deg, altitude_m)[..., None, :]
    length = np.sqrt((line * line).sum(axis=-1, keepdims=True))
    return np.concatenate([np.ones_like(length), line / np.maximum(length, 1.0)], axis=-1)


def _paths(
    latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64, sites: Sites, propagation: Propagation
) -> Paths:
    """Those to receivers without doubt."""
    straight = propagation == "line-of-sight"
    altitude = np.broadcast_to(altitude_m, np.shape(latitude_deg)) * straight
    receiver = sites.ecef_m if straight else sites.ground_ecef_m
    line = ecef(latitude_deg, longitude_deg, altitude)[..., None, :] - receiver
    length = np.sqrt((line * line).sum(axis=-1))
    unit = line / np.maximum(length, 1.0)[..., None]
    slope = np.einsum("...ij,...rj->...ri", axes(latitude_deg, longitude_deg), unit)
    if straight:
        index = 1 + mean_refractivity(altitude[..., None], sites.altitude_m, length)
        nothing = np.zeros_like(length)
        return Paths(length * index, slope * index[..., None], nothing, nothing)
    horizontal = np.sqrt((slope[..., :2] ** 2).sum(axis=-1, keepdims=True))
    level = np.concatenate([slope[..., :2] / np.maximum(horizontal, 1e-9), 0 * horizontal], axis=-1)
    ground = _arc_m(length, np.asarray(latitude_deg)[..., None], sites.latitude_deg, level[..., 1])
    if propagation == "ground-wave":
        nothing = np.zeros_like(ground)
        return Paths(ground * (1 + REFRACTIVITY), level * (1 + REFRACTIVITY), nothing, nothing)
    if propagation == "ground-and-sky-wave":
        hop, by_distance, _ = _hops(ground, D_LAYER_M)
        share, tau = -np.expm1(-ground / _NEAR_M), hop - ground
        length = ground * (1 + REFRACTIVITY) + _DRAW * share * tau
        by_ground = _DRAW * (share * (by_distance - 1) + (1 - share) / _NEAR_M * tau)
        slope_by = 1 + REFRACTIVITY + by_ground
        drawn = _DRAW_SIGMA * share * tau
        return Paths(length, level * slope_by[..., None], np.zeros_like(ground), drawn)
    hop, by_distance, by_height = _hops(ground, F_LAYER_M)
    spread = np.full_like(ground, _SKY_SPREAD_M)
    return Paths(hop, level * by_distance[..., None], by_height * F_LAYER_SIGMA_M, spread)


def mean_refractivity(altitude_m: Float64, receiver_m: Float64, length_m: Float64) -> Float64:
    """Mean of the refractive index less 1 along a ray of a length between two altitudes, any shapes.

    The height along it is taken to be linear, less the mean bulge of an earth of 4/3 of the radius, to which
    a ray bends.
    """
    low, high = np.minimum(altitude_m, receiver_m), np.maximum(altitude_m, receiver_m)
    rise = (high - low) / SCALE_HEIGHT_M
    mean = np.where(rise > 1e-6, -np.expm1(-rise) / np.maximum(rise, 1e-6), 1.0)
    bulge = np.minimum(length_m, _LONGEST_RAY_M) ** 2 / (12 * 4 / 3 * EARTH_RADIUS_M)
    return np.asarray(REFRACTIVITY * np.exp((bulge - low) / SCALE_HEIGHT_M) * mean, np.float64)


def _arc_m(chord_m: Float64, latitude_a_deg: Float64, latitude_b_deg: Float64, northward: Float64) -> Float64:
    """Length of the geodesic over a chord: the arc of the ellipsoid's radius in its direction (Euler's).

    Taken at the mean latitude with the azimuth at one end, it is off by 0.5 m at 1000 km, by 40 m at 3000 km.

    Args:
        chord_m: Straight distance between points of the ellipsoid, metres, shape (...).
        latitude_a_deg: Latitude of one end, degrees, any shape that goes with that.
        latitude_b_deg: Of the other.
        northward: Cosine of the azimuth, shape (...).
    """
    sin_squared = np.sin(np.radians((latitude_a_deg + latitude_b_deg) / 2)) ** 2
    w_squared = 1 - ECCENTRICITY_SQUARED * sin_squared
    prime = SEMI_MAJOR_AXIS_M / np.sqrt(w_squared)
    meridian = prime * (1 - ECCENTRICITY_SQUARED) / w_squared
    along = northward * northward
    radius = 1 / (along / meridian + (1 - along) / prime)
    return np.asarray(2 * radius * np.arcsin(np.clip(chord_m / (2 * radius), 0.0, 1.0)), np.float64)


def _hops(ground_m: Float64, height_m: float) -> tuple[Float64, Float64, Float64]:
    """Length of the way by a layer, and its derivatives by the distance along the ground and by the height.

    As few hops as the horizon allows; their number is that of the whole distance.
    """
    top = EARTH_RADIUS_M + height_m
    longest = 2 * EARTH_RADIUS_M * math.acos(EARTH_RADIUS_M / top)
    count = np.maximum(np.ceil(ground_m / longest), 1.0)
    angle = ground_m / (2 * count * EARTH_RADIUS_M)
    leg = np.sqrt(EARTH_RADIUS_M**2 + top**2 - 2 * EARTH_RADIUS_M * top * np.cos(angle))
    by_distance = top * np.sin(angle) / leg
    by_height = 2 * count * (top - EARTH_RADIUS_M * np.cos(angle)) / leg
    return 2 * count * leg, by_distance, by_height
