"""A flat map of the ellipsoid around a point: distances and directions from there are true."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyproj import Geod

Array = npt.NDArray[np.float64]
Degrees = tuple[float, float]  # latitude and longitude

_GEOD = Geod(ellps="WGS84")


@dataclass(frozen=True)
class Projection:
    """The azimuthal equidistant map around a point, which poles and 180 degrees do not disturb.

    Attributes:
        latitude_deg: Of the point, degrees.
        longitude_deg: Of the point, degrees.
    """

    latitude_deg: float
    longitude_deg: float

    def to_m(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> tuple[Array, Array]:
        """East and north on the map, metres, float64, of positions in degrees, shape (n,)."""
        latitude, longitude = _columns(latitude_deg, longitude_deg)
        here_lon, here_lat = (
            np.full(latitude.shape, self.longitude_deg),
            np.full(latitude.shape, self.latitude_deg),
        )
        azimuth_deg, _, distance_m = _GEOD.inv(here_lon, here_lat, longitude, latitude)
        azimuth = np.radians(azimuth_deg)
        return distance_m * np.sin(azimuth), distance_m * np.cos(azimuth)

    def to_degrees(self, east_m: npt.ArrayLike, north_m: npt.ArrayLike) -> tuple[Array, Array]:
        """Latitude and longitude in degrees, float64, of points of the map in metres, shape (n,)."""
        east, north = _columns(east_m, north_m)
        here_lon, here_lat = np.full(east.shape, self.longitude_deg), np.full(east.shape, self.latitude_deg)
        azimuth_deg, distance_m = np.degrees(np.arctan2(east, north)), np.hypot(east, north)
        longitude, latitude, _ = _GEOD.fwd(here_lon, here_lat, azimuth_deg, distance_m)
        return np.asarray(latitude, np.float64), np.asarray(longitude, np.float64)


@dataclass(frozen=True)
class Box:
    """A rectangle of a map, metres."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float

    @property
    def wider_m(self) -> float:
        """Length of its longer side, metres."""
        return max(self.east_m - self.west_m, self.north_m - self.south_m)

    def grown(self, share: float) -> Box:
        """The rectangle with a share of its width and of its height more on every side."""
        east, north = share * (self.east_m - self.west_m), share * (self.north_m - self.south_m)
        return Box(self.west_m - east, self.south_m - north, self.east_m + east, self.north_m + north)


def wrapped(longitude_deg: float) -> float:
    """The same longitude within [-180, 180)."""
    return (longitude_deg + 180) % 360 - 180


def middle(positions: Sequence[Degrees]) -> Degrees:
    """The middle of positions: the direction of the sum of their unit vectors."""
    latitude, longitude = np.radians(np.array(positions)).T
    x = float((np.cos(latitude) * np.cos(longitude)).sum())
    y = float((np.cos(latitude) * np.sin(longitude)).sum())
    z = float(np.sin(latitude).sum())
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))


def _columns(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    """Two arrays of one shape (n,), copies that PROJ may write over."""
    one, other = np.broadcast_arrays(np.atleast_1d(first), np.atleast_1d(second))
    return one.astype(np.float64), other.astype(np.float64)
