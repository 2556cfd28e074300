"""The simulated terrain: ridges, what stands near them, and which links they are likely to block."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull

from heimdall.geometry import geo

HULL_MARGIN_M = 10_000.0

Array = npt.NDArray[np.float64]

MOUNTAIN_M = 12_000.0  # nearer to a ridge than this is mountain
PASS_M = 3_000.0  # a receiver as near as this to a ridge stands on it and sees both sides
# Crests as (latitude, longitude), coarse on purpose: they decide which links are likely to be blocked.
RIDGES_DEG = (
    ((44.40, 8.30), (44.50, 8.60), (44.555, 8.95), (44.52, 9.20), (44.48, 9.40)),  # Ligurian Apennines
    ((44.70, 7.15), (44.95, 7.22), (45.15, 7.22), (45.30, 7.45), (45.45, 7.80)),  # Cottian and Graian Alps
)


@dataclass(frozen=True)
class Terrain:
    """The plane of the map: origin, hull of the receivers and ridges, all in metres."""

    frame: geo.LocalFrame
    hull: tuple[tuple[float, float], ...]
    ridges: tuple[tuple[tuple[float, float], ...], ...]

    @classmethod
    def of(cls, places_deg: Sequence[tuple[float, float]]) -> Terrain:
        """The terrain around receivers at these latitudes and longitudes, degrees."""
        count = len(places_deg)
        frame = geo.LocalFrame(
            math.fsum(latitude for latitude, _ in places_deg) / count,
            math.fsum(longitude for _, longitude in places_deg) / count,
        )
        points = [local_m(frame, *place) for place in places_deg]
        hull = tuple(points[int(i)] for i in ConvexHull(np.array(points)).vertices)
        ridges = tuple(tuple(local_m(frame, lat, lon) for lat, lon in ridge) for ridge in RIDGES_DEG)
        return cls(frame, hull, ridges)

    def position_m(self, latitude_deg: float, longitude_deg: float, altitude_m: float) -> Array:
        """East, north, up of a place, metres, shape (3,)."""
        return geo.enu_m(
            latitude_deg, longitude_deg, altitude_m, self.frame.latitude_deg, self.frame.longitude_deg
        )

    def inside(self, point: tuple[float, float]) -> bool:
        """Whether a point is in the hull (counter-clockwise) or within the margin around it."""
        edges = list(zip(self.hull, self.hull[1:] + self.hull[:1], strict=True))
        if all(_left_of(a, b, point) >= 0 for a, b in edges):
            return True
        return min(_segment_distance_m(a, b, point) for a, b in edges) <= HULL_MARGIN_M

    def random_point(self, random: np.random.Generator) -> tuple[float, float]:
        """East and north in metres, uniform over the hull and the margin around it."""
        east = [p[0] for p in self.hull]
        north = [p[1] for p in self.hull]
        while True:
            point = (
                float(random.uniform(min(east) - HULL_MARGIN_M, max(east) + HULL_MARGIN_M)),
                float(random.uniform(min(north) - HULL_MARGIN_M, max(north) + HULL_MARGIN_M)),
            )
            if self.inside(point):
                return point

    def ridge_distance_m(self, point: tuple[float, float]) -> float:
        """Distance of a point to the nearest ridge, metres."""
        return min(_segment_distance_m(a, b, point) for r in self.ridges for a, b in itertools.pairwise(r))

    def crosses_ridge(self, a: tuple[float, float], b: tuple[float, float]) -> bool:
        """Whether the straight line between two points crosses a ridge."""
        return any(_intersect(a, b, c, d) for r in self.ridges for c, d in itertools.pairwise(r))


def local_m(frame: geo.LocalFrame, latitude_deg: float, longitude_deg: float) -> tuple[float, float]:
    """East and north of a place in the frame, metres."""
    east, north = frame.to_local(latitude_deg, longitude_deg)
    return float(east), float(north)


def _left_of(a: tuple[float, float], b: tuple[float, float], p: tuple[float, float]) -> float:
    """Positive if `p` lies to the left of the line from `a` to `b`."""
    return (b[0] - a[0]) * (p[1] - a[1]) - (b[1] - a[1]) * (p[0] - a[0])


def _segment_distance_m(a: tuple[float, float], b: tuple[float, float], p: tuple[float, float]) -> float:
    along = ((p[0] - a[0]) * (b[0] - a[0]) + (p[1] - a[1]) * (b[1] - a[1])) / math.dist(a, b) ** 2
    nearest = min(1.0, max(0.0, along))
    return math.dist(p, (a[0] + nearest * (b[0] - a[0]), a[1] + nearest * (b[1] - a[1])))


def _intersect(
    a: tuple[float, float], b: tuple[float, float], c: tuple[float, float], d: tuple[float, float]
) -> bool:
    return _left_of(a, b, c) * _left_of(a, b, d) < 0 and _left_of(c, d, a) * _left_of(c, d, b) < 0
