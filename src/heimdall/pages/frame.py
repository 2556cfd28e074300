"""The part of a flat map that a picture shows: metres to the picture's units and back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.maps.projection import Box, Degrees, Projection

Float64 = npt.NDArray[np.float64]

WIDTH_PX = 960.0
_HEIGHTS_PX = (480.0, 760.0)
_MARGIN_PX = 90.0  # on every side
_LARGEST_M = 9e6  # from the middle to a side
_SMALLEST_M = 10.0


@dataclass(frozen=True)
class Frame:
    """A part of a map as a picture, x to the right and y down.

    Attributes:
        projection: The map.
        west_m: East of the left side, metres.
        north_m: North of the upper side, metres.
        m_per_px: Metres to one of the picture's units.
        height_px: Of the picture, which is `WIDTH_PX` wide.
    """

    projection: Projection
    west_m: float
    north_m: float
    m_per_px: float
    height_px: float

    @classmethod
    def around(cls, projection: Projection, positions: Iterable[Degrees]) -> Frame:
        """The picture in which positions are, with a margin around them."""
        east_m, north_m = (
            np.clip(one, -_LARGEST_M, _LARGEST_M) for one in projection.to_m(*zip(*positions, strict=True))
        )
        (west, south), (east, north) = (
            (float(east_m.min()), float(north_m.min())),
            (float(east_m.max()), float(north_m.max())),
        )
        inner_px = WIDTH_PX - 2 * _MARGIN_PX
        lowest_px, highest_px = (height - 2 * _MARGIN_PX for height in _HEIGHTS_PX)
        m_per_px = max((east - west) / inner_px, (north - south) / highest_px, _SMALLEST_M / inner_px)
        height_px = max((north - south) / m_per_px, lowest_px) + 2 * _MARGIN_PX
        return cls(
            projection,
            (west + east - WIDTH_PX * m_per_px) / 2,
            (south + north + height_px * m_per_px) / 2,
            m_per_px,
            height_px,
        )

    @property
    def box(self) -> Box:
        """What the picture shows."""
        east_m = self.west_m + WIDTH_PX * self.m_per_px
        return Box(self.west_m, self.north_m - self.height_px * self.m_per_px, east_m, self.north_m)

    def px(self, points_m: Float64) -> Float64:
        """Points of the map, shape (n, 2), in the picture."""
        return (points_m - [self.west_m, self.north_m]) * [1, -1] / self.m_per_px

    def holds(self, points: Float64) -> bool:
        """Whether any of the points of the picture, shape (n, 2), is in it."""
        return bool(((points >= 0) & (points <= [WIDTH_PX, self.height_px])).all(axis=1).any())

    def at(self, positions: Iterable[Degrees]) -> Float64:
        """Positions, latitude and longitude in degrees, in the picture, shape (n, 2)."""
        return self.px(np.stack(self.projection.to_m(*zip(*positions, strict=True)), axis=1))
