"""Where the receivers stand, and the area around them in which a transmitter is looked for."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.spatial import ConvexHull, QhullError

Float64 = npt.NDArray[np.float64]

MARGIN_M = 20_000.0
REACH_M = 10_000.0
RARER = 2.0  # power of the distance beyond the hull, in reaches, with which transmitters become rarer
_FURTHER, _HELD = 1.25, 0.99  # margin over the distance within which so many transmitters are
_REACHES = 2.0 ** -np.arange(2, 10)  # of the extent
_ACROSS = 40  # squares along the extent, by which space outside the hull is measured


@dataclass(frozen=True, eq=False)
class Receivers:
    """All receivers of the network, those of no recording too.

    Attributes:
        websdr_id: Receivers, shape (R,), int32.
        position_m: East, north and up around the network's origin, metres, shape (R, 3), float64.
    """

    websdr_id: npt.NDArray[np.int32]
    position_m: Float64


@dataclass(frozen=True)
class Area:
    """The convex hull of the receivers and a margin around it.

    Attributes:
        half_planes: The hull as (a, b, c), one for each edge: a east + b north + c <= 0 inside, in metres,
            with a^2 + b^2 = 1.
        box_m: Smallest and largest east, smallest and largest north of the hull, metres.
        margin_m: How far beyond the hull a transmitter is looked for, metres.
        reach_m: How far beyond the hull transmitters become rarer by a factor of four, metres.
    """

    half_planes: tuple[tuple[float, float, float], ...]
    box_m: tuple[float, float, float, float]
    margin_m: float = MARGIN_M
    reach_m: float = REACH_M

    @classmethod
    def around(cls, receivers: Receivers) -> Area:
        """The area of a network; a box where the receivers span no area (fewer than three, or in line)."""
        points = receivers.position_m[:, :2]
        (west, south), (east, north) = points.min(axis=0).tolist(), points.max(axis=0).tolist()
        try:
            planes = ConvexHull(points).equations.tolist()
        except QhullError:
            planes = [[1.0, 0.0, -east], [-1.0, 0.0, west], [0.0, 1.0, -north], [0.0, -1.0, south]]
        return cls(tuple((a, b, c) for a, b, c in planes), (west, east, south, north))

    @classmethod
    def of_transmitters(cls, receivers: Receivers, truth_m: Float64) -> Area:
        """The area of a network whose transmitters are known to be at some places (n, 2), metres.

        The margin holds nearly all of them, but is no larger than the hull: a coordinate may be wrong. The
        reach is that under which they, and one at `REACH_M`, are most probable.
        """
        hull = cls.around(receivers)
        outside_m = np.append(np.maximum(hull.outside_m(truth_m), 0.0), REACH_M)
        most_m = max(MARGIN_M, hull.extent_m - 2 * hull.margin_m)
        margin_m = max(MARGIN_M, _FURTHER * float(np.quantile(outside_m, _HELD)))
        area = replace(hull, margin_m=min(margin_m, most_m))
        grid_m = area.grid_m(area.extent_m / _ACROSS)

        def log_likelihood(reach_m: float) -> float:
            law = replace(area, reach_m=reach_m)
            everywhere = math.log(float(np.exp(law.log_prior(grid_m)).sum()))
            return float(law._rarer(outside_m).mean()) - everywhere

        return replace(area, reach_m=max((_REACHES * area.extent_m).tolist(), key=log_likelihood))

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Area:
        """The area whose `dataclasses.asdict` went through JSON."""
        half_planes = tuple((float(a), float(b), float(c)) for a, b, c in values["half_planes"])
        west, east, south, north = map(float, values["box_m"])
        return cls(half_planes, (west, east, south, north), values["margin_m"], values["reach_m"])

    def log_prior(self, position_m: Float64) -> Float64:
        """Log density of transmitters at positions (..., 2), up to a constant: even within the hull.

        Outside it falls as a power (K. S. Lomax, J. American Statistical Association 49, 1954): that none of
        the known transmitters is far outside does not make it impossible.
        """
        return self._rarer(np.maximum(self.outside_m(position_m), 0.0))

    def _rarer(self, outside_m: Float64) -> Float64:
        return np.asarray(-RARER * np.log1p(outside_m / self.reach_m), np.float64)

    @property
    def extent_m(self) -> float:
        """The longer side of the box around hull and margin, metres."""
        west, east, south, north = self.box_m
        return max(east - west, north - south) + 2 * self.margin_m

    def outside_m(self, position_m: Float64) -> Float64:
        """How far positions (..., 2) lie beyond the hull (without its margin), metres, shape (...).

        The largest distance over the edges' half planes: negative inside, and beyond a corner a little less
        than the distance from it.
        """
        planes = np.array(self.half_planes)
        east, north = position_m[..., 0, None], position_m[..., 1, None]
        beyond = east * planes[:, 0] + north * planes[:, 1] + planes[:, 2]
        return np.asarray(beyond.max(axis=-1), np.float64)

    def grid_m(self, spacing_m: float) -> Float64:
        """Points (G, 2) of a square grid over hull and margin, metres; read-only."""
        return _grid_m(self, spacing_m)


@cache
def _grid_m(area: Area, spacing_m: float) -> Float64:
    west, east, south, north = area.box_m
    axes = [
        spacing_m
        * np.arange(
            np.floor((low - area.margin_m) / spacing_m), np.ceil((high + area.margin_m) / spacing_m) + 1
        )
        for low, high in ((west, east), (south, north))
    ]
    points = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1).reshape(-1, 2)
    inside = np.ascontiguousarray(points[area.outside_m(points) <= area.margin_m])
    inside.flags.writeable = False
    return inside
