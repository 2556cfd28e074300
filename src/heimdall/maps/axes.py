"""The base map below what Matplotlib draws: shores, borders, rivers, towns, degrees and a scale.

It shows the same on every machine: it uses neither a network nor the shores that not every installation has.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection
from matplotlib.patches import PathPatch
from matplotlib.path import Path
from mpl_toolkits.axes_grid1.anchored_artists import AnchoredSizeBar

from heimdall.maps import base_map, ellipse, graticule, placement
from heimdall.maps.base_map import BaseMap
from heimdall.maps.placement import Point
from heimdall.maps.projection import Box, Degrees, Projection, middle

Float64 = npt.NDArray[np.float64]
Corner = Literal["lower right", "lower left", "upper left", "upper right"]

SEA, LAND, SHORE, BORDER, RIVER = "#d3e4ee", "#f7f5ec", "#7f929d", "#9a7f9f", "#9dbfd4"
_LINE, _TOWN, _TEXT = "#b4c0c6", "#5a5a5a", "#1a1a1a"
_WIDTH_PX = 900.0
_MARGIN = 0.08  # of the width, on every side
_SMALLEST_M = 2_000.0
_SCALE = 0.22  # of the width, at most
_TOWNS = 14
_NAME_COUNTS = 4
_LABEL_PX, _TOWN_PX = 10.0, 9.0  # heights of letters
_MARK_PX, _DOT_PX = 6.0, 2.0  # half of the width of what is named


@dataclass(frozen=True)
class Named:
    """A position with a name.

    Attributes:
        position: Latitude and longitude, degrees.
        name: What stands beside it.
    """

    position: Degrees
    name: str


def named(receivers: pd.DataFrame) -> list[Named]:
    """The receivers of a table with `name`, `latitude_deg` and `longitude_deg`."""
    columns = (receivers[name].tolist() for name in ("latitude_deg", "longitude_deg", "name"))
    return [
        Named((latitude, longitude), str(name)) for latitude, longitude, name in zip(*columns, strict=True)
    ]


@dataclass(frozen=True)
class Ground:
    """A map that is drawn under axes, in metres.

    Attributes:
        axes: The axes.
        projection: The map.
        box: What they show, metres.
        legend: The corner in which a legend covers least.
    """

    axes: Axes
    projection: Projection
    box: Box
    legend: Corner

    def at(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> tuple[Float64, Float64]:
        """Where positions in degrees, shape (n,), are on the axes."""
        return self.projection.to_m(latitude_deg, longitude_deg)

    def ellipse(
        self, position: Degrees, covariance_m2: npt.NDArray[np.float64], radius: float
    ) -> tuple[Float64, Float64]:
        """The outline of a covariance, (2, 2), `radius` standard deviations wide, on the axes."""
        longitude, latitude = np.array(ellipse.ring(*position, covariance_m2, radius)).T
        return self.at(latitude, longitude)


def draw(axes: Axes, positions: Sequence[Degrees], named: Sequence[Named] = (), *, ratio: float) -> Ground:
    """Draw the base map of a part of the earth.

    Args:
        axes: Empty axes.
        positions: What must be on the map, latitude and longitude in degrees; at least one.
        named: Of these, those whose names stand beside them.
        ratio: Of the width of the axes to their height, about.

    Returns:
        Where positions are on the axes.

    Raises:
        HeimdallError: The data of maps are not installed.
    """
    projection = Projection(*middle(positions))
    box = _box(projection, positions, ratio)
    m_per_px = (box.east_m - box.west_m) / _WIDTH_PX
    base = base_map.read(projection, box, m_per_px, hires=False)
    _draw_earth(axes, base)
    _draw_degrees(axes, projection, box)
    _draw_names(axes, projection, box, base, named)
    length_m, name = graticule.scale_bar(_SCALE * (box.east_m - box.west_m))
    # What has a name counts more: the name must not be covered either.
    counted = [*positions, *_NAME_COUNTS * [one.position for one in named]]
    scale, legend = _corners(box, np.stack(projection.to_m(*zip(*counted, strict=True)), axis=1))
    axes.add_artist(
        AnchoredSizeBar(axes.transData, length_m, name, scale, frameon=False, sep=3, borderpad=0.6)
    )
    source = axes.text(1.005, 0, base_map.SOURCES, transform=axes.transAxes, va="bottom", rotation=90)
    source.set(fontsize=5.5, color=_TOWN)
    axes.set_facecolor(SEA)
    axes.set(xlim=(box.west_m, box.east_m), ylim=(box.south_m, box.north_m), aspect="equal")
    return Ground(axes, projection, box, legend)


def _box(projection: Projection, positions: Sequence[Degrees], ratio: float) -> Box:
    east_m, north_m = projection.to_m(*zip(*positions, strict=True))
    width_m = max(float(np.ptp(east_m)), ratio * float(np.ptp(north_m)), _SMALLEST_M) * (1 + 2 * _MARGIN)
    east, north = (float(one.min() + one.max()) / 2 for one in (east_m, north_m))
    half_m = width_m / 2
    return Box(east - half_m, north - half_m / ratio, east + half_m, north + half_m / ratio)


def _corners(box: Box, points_m: Float64) -> tuple[Corner, Corner]:
    """The corners in which a scale and a legend cover the fewest points, those of the scale first."""
    part = (points_m - [box.west_m, box.south_m]) / [box.east_m - box.west_m, box.north_m - box.south_m]
    names: tuple[Corner, ...] = ("lower right", "lower left", "upper left", "upper right")

    def covered(name: Corner, width: float, height: float) -> int:
        x = part[:, 0] if name.endswith("left") else 1 - part[:, 0]
        y = part[:, 1] if name.startswith("lower") else 1 - part[:, 1]
        return int(((x < width) & (y < height)).sum())

    scale = min(names, key=lambda name: covered(name, _SCALE + 0.05, 0.14))
    rest = (name for name in reversed(names) if name != scale)
    return scale, min(rest, key=lambda name: covered(name, 0.25, 0.3))


def _draw_earth(axes: Axes, base: BaseMap) -> None:
    for patch in base.patches:
        shape = Path(np.concatenate([patch.ring_m, patch.ring_m[:1]]), closed=True)
        colour = LAND if patch.is_land else SEA
        axes.add_patch(PathPatch(shape, facecolor=colour, edgecolor=SHORE, linewidth=0.6, zorder=0.1))
    for lines, colour, width, dashes in (
        (base.seams_m, LAND, 1.5, "-"),
        (base.rivers_m, RIVER, 0.7, "-"),
        (base.borders_m, BORDER, 0.9, (0, (6, 2, 1, 2))),
    ):
        drawn = LineCollection(lines, colors=colour, linewidths=width, linestyles=[dashes], zorder=0.2)
        axes.add_collection(drawn, autolim=False)


def _draw_degrees(axes: Axes, projection: Projection, box: Box) -> None:
    """Meridians and parallels, with their names where they meet the lower side and the left one."""
    lines = graticule.graticule(projection, box)
    drawn = LineCollection([one.points_m for one in lines], colors=_LINE, linewidths=0.5, zorder=0.3)
    axes.add_collection(drawn, autolim=False)
    axes.grid(visible=False)
    meridians, parallels = (
        [(at, one.name) for one in lines if one.is_meridian is kind for at in _meets(one, border_m)]
        for kind, border_m in ((True, box.south_m), (False, box.west_m))
    )
    axes.set_xticks([at for at, _ in meridians], [name for _, name in meridians])
    axes.set_yticks([at for at, _ in parallels], [name for _, name in parallels])


def _meets(line: graticule.Line, border_m: float) -> list[float]:
    """Where a line meets the side of the map."""
    axis = 1 if line.is_meridian else 0
    ahead = line.points_m[:, axis] > border_m
    crossings = np.flatnonzero(ahead[1:] != ahead[:-1])[:1]
    a, b = line.points_m[crossings], line.points_m[crossings + 1]
    part = (border_m - a[:, axis]) / (b[:, axis] - a[:, axis])
    return [float(value) for value in a[:, 1 - axis] + part * (b - a)[:, 1 - axis]]


def _draw_names(axes: Axes, projection: Projection, box: Box, base: BaseMap, named: Sequence[Named]) -> None:
    """Names where they cover nothing; those of towns are left out where there is no room."""
    m_per_px = (box.east_m - box.west_m) / _WIDTH_PX
    towns_m = base.towns_m.tolist()
    inside = [
        (town.name, at)
        for town, at in zip(base.towns, towns_m, strict=True)
        if box.west_m < at[0] < box.east_m and box.south_m < at[1] < box.north_m
    ]
    named_m = [(one.name, np.concatenate(projection.to_m(*one.position)).tolist()) for one in named]
    points = [
        Point(east / m_per_px, -north / m_per_px, radius, name, letter, bold=radius == _MARK_PX)
        for found, radius, letter in ((named_m, _MARK_PX, _LABEL_PX), (inside, _DOT_PX, _TOWN_PX))
        for name, (east, north) in found
    ]
    edges = (box.west_m / m_per_px, -box.north_m / m_per_px, box.east_m / m_per_px, -box.south_m / m_per_px)
    places = placement.places(points, always=len(named), frame=edges)
    left = _TOWNS
    for number, (point, place) in enumerate(zip(points, places, strict=True)):
        of_town = number >= len(named)
        within = placement.inside(placement.label_box(point, place), edges)
        if of_town and (place.level > 0 or not within or not left):
            continue
        left -= of_town
        colour, weight = (_TOWN, "normal") if of_town else (_TEXT, "bold")
        if of_town:
            axes.plot(point.x * m_per_px, -point.y * m_per_px, ".", color=_TOWN, markersize=3, zorder=0.4)
        axes.annotate(
            point.label,
            (point.x * m_per_px, -point.y * m_per_px),
            xytext=(0.72 * place.dx, -0.72 * place.dy),
            textcoords="offset points",
            ha={"start": "left", "middle": "center", "end": "right"}[place.anchor],
            va="baseline",
            fontsize=0.72 * point.letter,
            color=colour,
            fontweight=weight,
            zorder=0.5 if of_town else 6,
        )
