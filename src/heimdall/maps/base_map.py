"""What a map shows beside its subject: land and lakes, borders, rivers and towns, without a network."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.maps import clipping, shores, towns
from heimdall.maps.clipping import Bounds
from heimdall.maps.projection import Box, Projection
from heimdall.maps.shores import Detail, Name
from heimdall.maps.towns import Town

Float64 = npt.NDArray[np.float64]

# Stands beside every map: GeoNames asks for it.
SOURCES = "Map: shores GSHHG, borders and rivers World Data Bank II, towns GeoNames (CC BY 4.0)"
_WHOLE_TURN_DEG = 270.0  # a part that spans more longitudes is not cut by longitude
_BEND = 0.02  # of the part's height: a straight edge in degrees that long is bent on the map
_LEAST_BEND_DEG = 1e-6
_AT_CUT_DEG = 1e-6  # outlines are cut at 180 degrees, Antarctica also at 0
_CONTINENT_M2 = 1e12
_THIN = 0.25  # of a pixel
_ISLAND_PX2, _LAKE_PX2 = 1.0, 12.0  # smaller ones are left out
_RIVER_PX = 24.0  # a shorter river is left out
# The smallest towns of a rectangle, by how wide it is at least, metres.
_TOWNS_OF = dict(zip(towns.SMALLEST, (500_000.0, 100_000.0, 0.0), strict=True))
_LOOKED_FOR, _MARGIN = 41, 0.05
_MOST_TOWNS = 400
_WATER, _NO_WATER = (shores.LAKE, shores.POND), (shores.LAND, shores.ISLAND, shores.ICE)


@dataclass(frozen=True, eq=False)
class Patch:
    """A connected piece of land or of water.

    Attributes:
        is_land: Whether it is land; else it is a lake.
        ring_m: East and north of its corners, metres, shape (n, 2), each once.
    """

    is_land: bool
    ring_m: Float64


@dataclass(frozen=True, eq=False)
class BaseMap:
    """A part of the earth on a flat map.

    Attributes:
        patches: Land and lakes in the order in which they are painted; the rest is sea.
        seams_m: Where a patch is cut at 0 or 180 degrees: no shore is there. Shape (n, 2) each, metres.
        borders_m: Borders of countries, shape (n, 2) each, metres.
        rivers_m: Rivers, shape (n, 2) each, metres.
        towns: Towns, the largest first.
        towns_m: East and north of each town, metres, shape (n, 2).
    """

    patches: tuple[Patch, ...]
    seams_m: tuple[Float64, ...]
    borders_m: tuple[Float64, ...]
    rivers_m: tuple[Float64, ...]
    towns: tuple[Town, ...]
    towns_m: Float64

    def is_land(self, east_m: float, north_m: float) -> bool:
        """Whether a point of the map lies on land."""
        found = False
        for patch in self.patches:
            if _holds(patch.ring_m, east_m, north_m):
                found = patch.is_land
        return found


@dataclass(frozen=True)
class _Part:
    """The part of the earth that a box shows, in degrees.

    Longitudes count from the map's middle and may go beyond 180; they bound nothing if `whole_turn`.
    """

    south: float
    west: float
    north: float
    east: float
    whole_turn: bool

    @classmethod
    def of(cls, projection: Projection, box: Box) -> _Part:
        """With a margin, because it is looked for on a grid."""
        grid = np.meshgrid(
            np.linspace(box.west_m, box.east_m, _LOOKED_FOR),
            np.linspace(box.south_m, box.north_m, _LOOKED_FOR),
        )
        latitude, longitude = projection.to_degrees(*(one.ravel() for one in grid))
        turn = (longitude - projection.longitude_deg + 180) % 360 - 180
        poles_m = np.stack(projection.to_m([90.0, -90.0], 0.0), axis=1)
        north_pole, south_pole = (
            box.west_m <= x <= box.east_m and box.south_m <= y <= box.north_m for x, y in poles_m.tolist()
        )
        high, wide = (_MARGIN * float(np.ptp(one)) for one in (latitude, turn))
        return cls(
            -90.0 if south_pole else max(float(latitude.min()) - high, -90.0),
            projection.longitude_deg + float(turn.min()) - wide,
            90.0 if north_pole else min(float(latitude.max()) + high, 90.0),
            projection.longitude_deg + float(turn.max()) + wide,
            north_pole or south_pole or float(np.ptp(turn)) > _WHOLE_TURN_DEG,
        )

    @property
    def turns(self) -> tuple[float, ...]:
        """By how many degrees outlines are turned to be in the part."""
        return (0.0,) if self.whole_turn else (-360.0, 0.0, 360.0)

    @property
    def bounds(self) -> Bounds:
        """Smallest and largest longitude and latitude as `clipping` takes them."""
        west, east = (-np.inf, np.inf) if self.whole_turn else (self.west, self.east)
        return west, self.south, east, self.north


def read(projection: Projection, box: Box, m_per_px: float, *, hires: bool = True) -> BaseMap:
    """What a rectangle of a map shows.

    Args:
        projection: The map.
        box: The rectangle, metres.
        m_per_px: Metres to a pixel of the picture: what is smaller is left out.
        hires: Whether the finest shores may be used; without them every installation shows the same.

    Raises:
        HeimdallError: The data are not installed.
    """
    part = _Part.of(projection, box)
    view = _View(projection, box, m_per_px, part, shores.detail(m_per_px, hires=hires))
    patches, seams = view.patches()
    found = towns.within(
        part.south,
        -180.0 if part.whole_turn else part.west,
        part.north,
        180.0 if part.whole_turn else part.east,
        smallest=next(most for most, wide_m in _TOWNS_OF.items() if box.wider_m >= wide_m),
        most=_MOST_TOWNS,
    )
    where = projection.to_m([one.latitude_deg for one in found], [one.longitude_deg for one in found])
    return BaseMap(
        tuple(patches),
        tuple(seams),
        tuple(view.lines("countries")),
        tuple(view.lines("rivers", _RIVER_PX * m_per_px)),
        tuple(found),
        np.stack(where, axis=1),
    )


@dataclass(frozen=True)
class _View:
    """What is to be read: the rectangle of a map, the part of the earth in it, and the degree of detail."""

    projection: Projection
    box: Box
    m_per_px: float
    part: _Part
    detail: Detail

    def patches(self) -> tuple[list[Patch], list[Float64]]:
        """Land and lakes, and the seams of the land."""
        step_deg = max(_BEND * (self.part.north - self.part.south), _LEAST_BEND_DEG)
        kinds, rings = [], []
        for kind, degrees in self._outlines("gshhs"):
            clipped = clipping.ring(degrees[:-1], self.part.bounds)
            if len(clipped) > 2:
                kinds.append(kind)
                rings.append(clipping.with_corners(clipped, step_deg))
        first, patches, seams = [], [], []
        for kind, degrees, ring_m in zip(kinds, rings, self._to_m(rings), strict=True):
            shown = clipping.ring(clipping.thinned(ring_m, _THIN * self.m_per_px), self._bounds_m)
            is_land = kind in _NO_WATER
            if self.part.whole_turn and is_land and _is_inside_out(ring_m):
                first += [Patch(True, _corners(self.box)), Patch(False, shown)]
            elif len(shown) > 2:
                patches.append(Patch(is_land, shown))
            cut = np.abs((degrees[:, 0] + 90) % 180 - 90) < _AT_CUT_DEG
            if cut.any():
                seams += clipping.runs(_closed(ring_m), _closed(cut)[1:] & cut)
        return [*first, *patches], seams

    def lines(self, name: Name, shortest_m: float = 0.0) -> list[Float64]:
        """Borders or rivers."""
        runs = [
            run for _, degrees in self._outlines(name) for run in clipping.line(degrees, self.part.bounds)
        ]
        return [
            clipping.thinned(shown, _THIN * self.m_per_px)
            for line_m in self._to_m(runs)
            if float(np.ptp(line_m, axis=0).max()) >= shortest_m
            for shown in clipping.line(line_m, self._bounds_m)
        ]

    def _outlines(self, name: Name) -> Iterator[tuple[int, Float64]]:
        """The outlines that may reach into the part, each turned to its longitudes."""
        px_km2 = (self.m_per_px / 1e3) ** 2
        smallest_km2 = {
            kind: px_km2 * (_LAKE_PX2 if kind in _WATER else _ISLAND_PX2) for kind in (*_WATER, *_NO_WATER)
        }
        found = shores.outlines(name, self.detail, self.part.south, self.part.north, smallest_km2)
        west, _, east, _ = self.part.bounds
        for kind, outline in found:
            begin, end = float(outline[:, 0].min()), float(outline[:, 0].max())
            for turn in self.part.turns:
                if begin + turn <= east and end + turn >= west:
                    yield kind, outline + [turn, 0.0]  # noqa: RUF005 - a sum of numbers

    def _to_m(self, degrees: Sequence[Float64]) -> list[Float64]:
        """Lines on the map, all at once: PROJ is asked once and not for each."""
        if not degrees:
            return []
        every = np.concatenate(degrees)
        points_m = np.stack(self.projection.to_m(every[:, 1], every[:, 0]), axis=1)
        return np.split(points_m, np.cumsum([len(one) for one in degrees])[:-1])

    @property
    def _bounds_m(self) -> Bounds:
        return self.box.west_m, self.box.south_m, self.box.east_m, self.box.north_m


def _closed(ring: npt.NDArray[Any]) -> npt.NDArray[Any]:
    """A ring with its first corner also at its end."""
    return np.concatenate([ring, ring[:1]])


def _is_inside_out(ring_m: Float64) -> bool:
    """Whether the far side of the earth is in a piece of land: its outline, clockwise, then is not."""
    return _area(ring_m) > _CONTINENT_M2


def _corners(box: Box) -> Float64:
    return np.array(
        [
            [box.west_m, box.south_m],
            [box.west_m, box.north_m],
            [box.east_m, box.north_m],
            [box.east_m, box.south_m],
        ]
    )


def _area(ring_m: Float64) -> float:
    """Of a ring, above 0 if it is counterclockwise."""
    x, y = ring_m.T
    return 0.5 * float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y))


def _holds(ring_m: Float64, east_m: float, north_m: float) -> bool:
    """Whether a point is inside a ring."""
    x, y = ring_m.T
    x_then, y_then = np.roll(x, -1), np.roll(y, -1)
    passes = (y > north_m) != (y_then > north_m)
    at = x[passes] + (north_m - y[passes]) * (x_then - x)[passes] / (y_then - y)[passes]
    return bool((at > east_m).sum() % 2)
