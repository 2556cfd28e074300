"""Meridians and parallels of a map at round degrees, and the length of its scale bar."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.maps.projection import Box, Projection, wrapped

Float64 = npt.NDArray[np.float64]

_ACROSS = 5  # lines of the graticule across a map, about
_CORNERS = 48  # of a line of the graticule
_AROUND_POLE_DEG = 270.0  # that many degrees of longitude are only in a picture of a pole
_EARTH_M = 6.371e6


@dataclass(frozen=True, eq=False)
class Line:
    """A line of the graticule.

    Attributes:
        name: Its degrees, as "9°E".
        is_meridian: Whether it is one; else it is a parallel.
        points_m: East and north of its corners, metres, shape (n, 2).
    """

    name: str
    is_meridian: bool
    points_m: Float64


def graticule(projection: Projection, box: Box) -> list[Line]:
    """Meridians and parallels of a rectangle and of as much around it, at round degrees."""
    east, north = np.meshgrid(
        np.linspace(1.5 * box.west_m - 0.5 * box.east_m, 1.5 * box.east_m - 0.5 * box.west_m, 41),
        np.linspace(1.5 * box.south_m - 0.5 * box.north_m, 1.5 * box.north_m - 0.5 * box.south_m, 41),
    )
    latitude, longitude = projection.to_degrees(east.ravel(), north.ravel())
    south, top = float(latitude.min()), float(latitude.max())
    turn = (longitude - projection.longitude_deg + 180) % 360 - 180
    west, right = projection.longitude_deg + float(turn.min()), projection.longitude_deg + float(turn.max())
    if right - west > _AROUND_POLE_DEG:
        west, right = projection.longitude_deg - 180, projection.longitude_deg + 180
    degree_m = math.pi / 180 * _EARTH_M
    step = _round_step(box.wider_m / degree_m / _ACROSS)
    # Meridians come together toward the poles: they are as far apart as parallels in the middle.
    circle = max(math.cos(math.radians(min(abs(south + top) / 2, 90.0))), 0.02)
    across = _round_step(min(box.wider_m / degree_m / _ACROSS / circle, 30.0))
    lines = []
    for number in range(math.ceil(south / step), math.floor(top / step) + 1):
        value = number * step
        if abs(value) < 90:
            points = projection.to_m(value, np.linspace(west, right, 3 * _CORNERS))
            lines.append(Line(_degrees(value, step, "NS"), False, np.stack(points, axis=1)))
    for number in range(math.ceil(west / across), math.floor(min(right, west + 359.999) / across) + 1):
        value = number * across
        points = projection.to_m(np.linspace(south, top, _CORNERS), value)
        lines.append(Line(_degrees(wrapped(value), across, "EW"), True, np.stack(points, axis=1)))
    return lines


def scale_bar(longest_m: float) -> tuple[float, str]:
    """The bar of a scale: its length, which is round and not above a length in metres, and its name."""
    metres = round_below(longest_m)
    return metres, f"{metres / 1e3:g} km" if metres >= 1e3 else f"{metres:g} m"


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
