"""Lines of a map: the graticule, and where receivers hear a signal with the difference that they had."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator

from heimdall.localize.fix_chart import Chart
from heimdall.localize.fix_shapes import wrapped
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix

Float64 = npt.NDArray[np.float64]

_ACROSS = 5  # lines of the graticule across a map, about
_CORNERS = 48  # of a line of the graticule
_AROUND_POLE_DEG = 270.0  # that many degrees of longitude are only in a picture of a pole
_GRID = 128  # cells along the wider side, in which hyperbolas are sought
_ALL_PAIRS = 5  # of that many receivers every pair has a hyperbola,
_MOST_PAIRS = 12  # of more those of the surest one with the surest others
_EARTH_M = 6.371e6
_LIGHT_M_S = 299_792_458.0


@dataclass(frozen=True, eq=False)
class Line:
    """A line on a chart.

    Attributes:
        name: What it is, for a person.
        is_meridian: Whether it is one; of other lines it says nothing.
        points_m: East and north of its corners, metres, shape (n, 2).
    """

    name: str
    is_meridian: bool
    points_m: Float64


@dataclass(frozen=True)
class Box:
    """A rectangle of a chart, metres."""

    west_m: float
    south_m: float
    east_m: float
    north_m: float

    @property
    def wider_m(self) -> float:
        """Length of its longer side, metres."""
        return max(self.east_m - self.west_m, self.north_m - self.south_m)


def graticule(chart: Chart, box: Box) -> list[Line]:
    """Meridians and parallels of a rectangle and of as much around it, at round degrees."""
    east, north = np.meshgrid(
        np.linspace(1.5 * box.west_m - 0.5 * box.east_m, 1.5 * box.east_m - 0.5 * box.west_m, 41),
        np.linspace(1.5 * box.south_m - 0.5 * box.north_m, 1.5 * box.north_m - 0.5 * box.south_m, 41),
    )
    latitude, longitude = chart.to_degrees(east.ravel(), north.ravel())
    south, top = float(latitude.min()), float(latitude.max())
    turn = (longitude - chart.longitude_deg + 180) % 360 - 180
    west, right = chart.longitude_deg + float(turn.min()), chart.longitude_deg + float(turn.max())
    if right - west > _AROUND_POLE_DEG:
        west, right = chart.longitude_deg - 180, chart.longitude_deg + 180
    degree_m = math.pi / 180 * _EARTH_M
    step = _round_step(box.wider_m / degree_m / _ACROSS)
    # Meridians come together toward the poles: they are as far apart as parallels in the middle.
    circle = max(math.cos(math.radians(min(abs(south + top) / 2, 90.0))), 0.02)
    across = _round_step(min(box.wider_m / degree_m / _ACROSS / circle, 30.0))
    lines = []
    for number in range(math.ceil(south / step), math.floor(top / step) + 1):
        value = number * step
        if abs(value) < 90:
            points = chart.to_m(value, np.linspace(west, right, 3 * _CORNERS))
            lines.append(Line(_degrees(value, step, "NS"), False, np.stack(points, axis=1)))
    for number in range(math.ceil(west / across), math.floor(min(right, west + 359.999) / across) + 1):
        value = number * across
        points = chart.to_m(np.linspace(south, top, _CORNERS), value)
        lines.append(Line(_degrees(wrapped(value), across, "EW"), True, np.stack(points, axis=1)))
    return lines


def round_below(value: float) -> float:
    """The largest of 1, 2 and 5 times a power of ten that is not above a value."""
    power = 10.0 ** math.floor(math.log10(value))
    return max(factor * power for factor in (1, 2, 5) if factor * power <= value or factor == 1)


def _round_step(degrees: float) -> float:
    for large in (30.0, 10.0):
        if degrees >= large:
            return large
    return round_below(degrees)


def _degrees(value: float, step: float, letters: str) -> str:
    decimals = max(0, -math.floor(math.log10(step)))
    text = f"{abs(value):.{decimals}f}°"
    return text if float(f"{abs(value):.{decimals}f}") in (0, 180) else text + letters[value < 0]


def hyperbolas(fix: Fix, receivers: dict[str, Position], chart: Chart, box: Box) -> list[Line]:
    """Where pairs of receivers have the difference of arrival times that they had.

    The lines are those of the likeliest place, off it by what the residuals of the pair say: whatever the
    rays are made of, it is in the residuals.
    """
    used = [
        one for one in fix.residuals if one.used and np.isfinite(one.residual_s) and one.receiver in receivers
    ]
    if not fix.places or len(used) < 2:
        return []
    order = sorted(range(len(used)), key=lambda number: (used[number].sigma_s, number))
    pairs = (
        list(combinations(range(len(used)), 2))
        if len(used) <= _ALL_PAIRS
        else [(order[0], number) for number in order[1 : _MOST_PAIRS + 1]]
    )
    cell_m = box.wider_m / _GRID
    east = np.arange(box.west_m, box.east_m + cell_m, cell_m)
    north = np.arange(box.south_m, box.north_m + cell_m, cell_m)
    grid = chart.to_degrees(*(one.ravel() for one in np.meshgrid(east, north)))
    best = fix.places[0]
    here = (np.array([best.latitude_deg]), np.array([best.longitude_deg]))
    beyond_m = [
        (_arc_m(receivers[one.receiver], *grid) - _arc_m(receivers[one.receiver], *here)).reshape(
            len(north), len(east)
        )
        - _LIGHT_M_S * one.residual_s
        for one in used
    ]
    lines = []
    for first, second in pairs:
        name = f"{used[first].receiver} and {used[second].receiver}"
        differ_m = beyond_m[first] - beyond_m[second]
        for points in cast("list[Float64]", contour_generator(z=differ_m).lines(0.0)):
            points_m = np.array([box.west_m, box.south_m]) + points * cell_m
            lines.append(Line(name, False, points_m))
    return lines


def _arc_m(receiver: Position, latitude_deg: Float64, longitude_deg: Float64) -> Float64:
    """Distance on a sphere, metres: a picture shows no more, and PROJ would take a hundred times as long."""
    latitude, longitude = np.radians(latitude_deg), np.radians(longitude_deg)
    here, there = math.radians(receiver.latitude_deg), math.radians(receiver.longitude_deg)
    half = (
        np.sin((latitude - here) / 2) ** 2
        + math.cos(here) * np.cos(latitude) * np.sin((longitude - there) / 2) ** 2
    )
    return np.asarray(2 * _EARTH_M * np.arcsin(np.sqrt(half)), np.float64)
