"""Positions on the WGS84 ellipsoid: distances, the local frame of training, the tangent plane of rays."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyproj import Geod

Array = npt.NDArray[np.float64]

SEMI_MAJOR_AXIS_M = 6378137.0
FLATTENING = 1 / 298.257223563
ECCENTRICITY_SQUARED = FLATTENING * (2 - FLATTENING)
_ALTITUDE_STEPS = 4  # each leaves 5e-4 of the error at 200 km; the first is off by under a metre
_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True)
class LocalFrame:
    """Metres east and north of an origin, linear in degrees (equirectangular on the ellipsoid).

    Linear, so that a model can leave it in float64 with one multiplication and come back exactly. It
    is a chart for training, not for measuring: 60 km from the origin its east metre is about 1 % off.
    Errors are always measured by `distance_m`.

    Attributes:
        latitude_deg: Latitude of the origin, degrees.
        longitude_deg: Longitude of the origin, degrees.
    """

    latitude_deg: float
    longitude_deg: float

    def __post_init__(self) -> None:
        if not (-90 < self.latitude_deg < 90 and -180 <= self.longitude_deg <= 180):
            raise ValueError(f"no origin on Earth: {self.latitude_deg}, {self.longitude_deg}")

    @property
    def metres_per_degree(self) -> tuple[float, float]:
        """Length of one degree of latitude and of longitude at the origin (meridian and normal radius)."""
        sin_latitude = math.sin(math.radians(self.latitude_deg))
        w_squared = 1 - ECCENTRICITY_SQUARED * sin_latitude**2
        meridian_m = SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED) / w_squared**1.5
        normal_m = SEMI_MAJOR_AXIS_M / math.sqrt(w_squared)
        degree = math.pi / 180
        return meridian_m * degree, normal_m * math.cos(math.radians(self.latitude_deg)) * degree

    def to_local(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> tuple[Array, Array]:
        """East and north in metres, float64, of positions in degrees (any shape)."""
        north_m, east_m = self.metres_per_degree
        east = (np.asarray(longitude_deg, np.float64) - self.longitude_deg) * east_m
        return east, (np.asarray(latitude_deg, np.float64) - self.latitude_deg) * north_m

    def to_degrees(self, east_m: npt.ArrayLike, north_m: npt.ArrayLike) -> tuple[Array, Array]:
        """Latitude and longitude in degrees, float64, of local positions in metres (any shape)."""
        degree_north_m, degree_east_m = self.metres_per_degree
        latitude = self.latitude_deg + np.asarray(north_m, np.float64) / degree_north_m
        return latitude, self.longitude_deg + np.asarray(east_m, np.float64) / degree_east_m


@dataclass(frozen=True)
class TangentPlane:
    """East and north of points at one altitude, in the plane that touches the ellipsoid at an origin.

    East and north are the components of the straight line in space (`enu_m`), so that distances between
    points of the plane with their `up_m` are lengths of rays.

    Attributes:
        latitude_deg: Latitude of the origin, degrees.
        longitude_deg: Longitude of the origin, degrees.
        altitude_m: Altitude above the ellipsoid of every point that is brought to the plane, metres. The
            origin itself is at altitude 0.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float

    def __post_init__(self) -> None:
        if not (-90 < self.latitude_deg < 90 and -180 <= self.longitude_deg <= 180):
            raise ValueError(f"no origin on Earth: {self.latitude_deg}, {self.longitude_deg}")

    @property
    def east_radius_m(self) -> float:
        """Radius of curvature at the origin to the east (N, prime vertical), metres."""
        return SEMI_MAJOR_AXIS_M / math.sqrt(self._w_squared)

    @property
    def north_radius_m(self) -> float:
        """Radius of curvature at the origin to the north (M, meridian), metres."""
        return SEMI_MAJOR_AXIS_M * (1 - ECCENTRICITY_SQUARED) / math.pow(self._w_squared, 1.5)

    @property
    def _w_squared(self) -> float:
        return 1 - ECCENTRICITY_SQUARED * math.sin(math.radians(self.latitude_deg)) ** 2

    def up_m(self, east_m: npt.ArrayLike, north_m: npt.ArrayLike) -> Array:
        """Height over the plane, metres, float64, of points at the plane's altitude (any shape).

        altitude - east^2 / (2 N) - north^2 / (2 M): the ellipsoid to second order, 5 cm off 100 km away.
        """
        east, north = np.asarray(east_m, np.float64), np.asarray(north_m, np.float64)
        fall_m = east * east / (2 * self.east_radius_m) + north * north / (2 * self.north_radius_m)
        return np.asarray(self.altitude_m - fall_m, np.float64)

    def to_local(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> tuple[Array, Array]:
        """East and north in metres, float64, of positions in degrees at the plane's altitude (any shape)."""
        latitude = np.radians(np.asarray(latitude_deg, np.float64))
        turn = np.radians(np.asarray(longitude_deg, np.float64) - self.longitude_deg)
        sin_lat = np.sin(latitude)
        normal_m = SEMI_MAJOR_AXIS_M / np.sqrt(1 - ECCENTRICITY_SQUARED * sin_lat * sin_lat)
        ring_m = (normal_m + self.altitude_m) * np.cos(latitude)
        axis_m = (normal_m * (1 - ECCENTRICITY_SQUARED) + self.altitude_m) * sin_lat
        sin_0, cos_0, ring_0_m, axis_0_m = self._origin
        east = ring_m * np.sin(turn)
        north = cos_0 * (axis_m - axis_0_m) - sin_0 * (ring_m * np.cos(turn) - ring_0_m)
        return np.asarray(east, np.float64), np.asarray(north, np.float64)

    def to_degrees(self, east_m: npt.ArrayLike, north_m: npt.ArrayLike) -> tuple[Array, Array]:
        """Latitude and longitude in degrees, float64, of points at the plane's altitude (any shape).

        The inverse of `to_local`, within 1 mm up to 200 km from the origin. The height over the plane is
        corrected by the altitude that it leads to; each turn leaves a share of 1 - cos of the angle to the
        origin. Geodetic latitude by Bowring (1976), Survey Review 23(181), exact to nanometres on the ground.
        """
        east, north = np.asarray(east_m, np.float64), np.asarray(north_m, np.float64)
        sin_0, cos_0, ring_0_m, axis_0_m = self._origin
        polar_m = SEMI_MAJOR_AXIS_M * (1 - FLATTENING)
        up = self.up_m(east, north)
        for _ in range(_ALTITUDE_STEPS):
            along_m = ring_0_m + cos_0 * up - sin_0 * north  # from the axis, in the origin's meridian
            axis_m = axis_0_m + sin_0 * up + cos_0 * north
            ring_m = np.sqrt(along_m * along_m + east * east)
            # Sine and cosine of the reduced latitude, up to a common factor.
            sin_u, cos_u = axis_m / (1 - FLATTENING), ring_m
            length = np.sqrt(sin_u * sin_u + cos_u * cos_u)
            sin_u, cos_u = sin_u / length, cos_u / length
            second = ECCENTRICITY_SQUARED / (1 - ECCENTRICITY_SQUARED)
            rise = axis_m + second * polar_m * sin_u * sin_u * sin_u
            run = ring_m - ECCENTRICITY_SQUARED * SEMI_MAJOR_AXIS_M * cos_u * cos_u * cos_u
            length = np.sqrt(rise * rise + run * run)
            sin_lat, cos_lat = rise / length, run / length
            w = np.sqrt(1 - ECCENTRICITY_SQUARED * sin_lat * sin_lat)
            up = up + self.altitude_m - (ring_m * cos_lat + axis_m * sin_lat - SEMI_MAJOR_AXIS_M * w)
        latitude = np.degrees(np.arctan2(sin_lat, cos_lat))
        longitude = self.longitude_deg + np.degrees(np.arctan2(east, along_m))
        return np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)

    @property
    def _origin(self) -> tuple[float, float, float, float]:
        """Sine and cosine of the origin's latitude; its distance from the axis and along it, metres."""
        latitude = math.radians(self.latitude_deg)
        sin_lat, cos_lat = math.sin(latitude), math.cos(latitude)
        normal_m = self.east_radius_m
        return sin_lat, cos_lat, normal_m * cos_lat, normal_m * (1 - ECCENTRICITY_SQUARED) * sin_lat


def distance_m(
    latitude_a: npt.ArrayLike,
    longitude_a: npt.ArrayLike,
    latitude_b: npt.ArrayLike,
    longitude_b: npt.ArrayLike,
) -> Array:
    """Geodesic distance on WGS84 in metres, float64, between positions in degrees (Karney 2013, by PROJ).

    Args:
        latitude_a: Latitudes of the first positions, degrees, shape (n,).
        longitude_a: Longitudes of the first positions, degrees, shape (n,).
        latitude_b: Latitudes of the second positions, degrees, shape (n,).
        longitude_b: Longitudes of the second positions, degrees, shape (n,).

    Returns:
        Distances in metres, shape (n,).
    """
    arrays = np.broadcast_arrays(longitude_a, latitude_a, longitude_b, latitude_b)
    lon_a, lat_a, lon_b, lat_b = (np.array(value, np.float64, ndmin=1) for value in arrays)
    return np.asarray(_GEOD.inv(lon_a, lat_a, lon_b, lat_b)[2], np.float64)


def ecef_m(latitude_deg: float, longitude_deg: float, altitude_m: float) -> Array:
    """Earth-centred, earth-fixed coordinates in metres, shape (3,), of a geodetic position."""
    latitude, longitude = math.radians(latitude_deg), math.radians(longitude_deg)
    normal_m = SEMI_MAJOR_AXIS_M / math.sqrt(1 - ECCENTRICITY_SQUARED * math.sin(latitude) ** 2)
    ring_m = (normal_m + altitude_m) * math.cos(latitude)
    z_m = (normal_m * (1 - ECCENTRICITY_SQUARED) + altitude_m) * math.sin(latitude)
    return np.array([ring_m * math.cos(longitude), ring_m * math.sin(longitude), z_m])


def enu_m(
    latitude_deg: float,
    longitude_deg: float,
    altitude_m: float,
    origin_latitude_deg: float,
    origin_longitude_deg: float,
) -> Array:
    """East, north and up in metres, shape (3,), of a position seen from an origin at altitude 0 (exact)."""
    delta = ecef_m(latitude_deg, longitude_deg, altitude_m) - ecef_m(
        origin_latitude_deg, origin_longitude_deg, 0.0
    )
    latitude, longitude = math.radians(origin_latitude_deg), math.radians(origin_longitude_deg)
    sin_lat, cos_lat = math.sin(latitude), math.cos(latitude)
    sin_lon, cos_lon = math.sin(longitude), math.cos(longitude)
    dx, dy, dz = (float(value) for value in delta)
    east = -sin_lon * dx + cos_lon * dy
    north = -sin_lat * cos_lon * dx - sin_lat * sin_lon * dy + cos_lat * dz
    up = cos_lat * cos_lon * dx + cos_lat * sin_lon * dy + sin_lat * dz
    return np.array([east, north, up])
