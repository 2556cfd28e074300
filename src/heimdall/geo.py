"""Positions on the WGS84 ellipsoid: distances, and the local frame in which a model is trained."""

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
