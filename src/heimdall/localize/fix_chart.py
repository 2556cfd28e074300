"""A flat map of the ellipsoid around a point: distances and directions from there are true."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from pyproj import Geod

from heimdall.localize.error_ellipse import RADIUS_95
from heimdall.localize.fix_shapes import wrapped
from heimdall.multilateration.fix import Place, Region

Array = npt.NDArray[np.float64]

_GEOD = Geod(ellps="WGS84")
_CORNERS = 72  # of an ellipse


@dataclass(frozen=True)
class Chart:
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


def ellipse(place: Place) -> Region:
    """The 95 % ellipse of a place's covariance as a region."""
    values, vectors = np.linalg.eigh(place.covariance_m2)
    axes_m = RADIUS_95 * np.sqrt(np.maximum(values, 0))
    turn = np.linspace(0, 2 * np.pi, _CORNERS, endpoint=False)
    # Counterclockwise, whichever hand the eigenvectors have.
    turn = turn if np.linalg.det(vectors) > 0 else -turn
    east_m, north_m = vectors @ (axes_m[:, np.newaxis] * np.stack([np.cos(turn), np.sin(turn)]))
    latitude, longitude = Chart(place.latitude_deg, place.longitude_deg).to_degrees(east_m, north_m)
    corners = [(wrapped(x), y) for x, y in zip(longitude.tolist(), latitude.tolist(), strict=True)]
    return Region(0.95, ((*corners, corners[0]),), math.pi * float(axes_m[0] * axes_m[1]) / 1e6)


def _columns(first: npt.ArrayLike, second: npt.ArrayLike) -> tuple[Array, Array]:
    """Two arrays of one shape (n,), copies that PROJ may write over."""
    one, other = np.broadcast_arrays(np.atleast_1d(first), np.atleast_1d(second))
    return one.astype(np.float64), other.astype(np.float64)
