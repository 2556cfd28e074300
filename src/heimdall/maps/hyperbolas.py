"""Where two receivers hear a signal with the difference of arrival times that they had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.maps.projection import Box, Degrees, Projection

Float64 = npt.NDArray[np.float64]

_GRID = 192  # cells along the wider side, in which hyperbolas are sought
_ALL_PAIRS = 5  # of that many receivers every pair has a hyperbola,
_MOST_PAIRS = 12  # of more those of the surest one with the surest others
_EARTH_M = 6.371e6


@dataclass(frozen=True, eq=False)
class Hyperbola:
    """A line of equal difference of arrival times.

    Attributes:
        first: The number of one receiver.
        second: The number of the other.
        positions: Latitude and longitude of its corners, degrees, shape (n, 2).
    """

    first: int
    second: int
    positions: Float64


@dataclass(frozen=True)
class Timed:
    """A receiver with an arrival time.

    Attributes:
        position: Latitude and longitude, degrees.
        late_s: By how much the signal came later than it would have from a place, seconds; of all receivers
            from the same place, and from one time of sending, whichever that is.
        sigma_s: Standard deviation of the arrival time, seconds.
    """

    position: Degrees
    late_s: float
    sigma_s: float


def lines(receivers: Sequence[Timed], at: Degrees, projection: Projection, box: Box) -> list[Hyperbola]:
    """The lines in a rectangle of a map, of every pair of few receivers and of the surest pairs of many.

    The earth is a sphere here, on which distances are some 0.3 % off. What the signal travels from `at` is
    therefore no part of it: whoever knows the ellipsoid, the altitudes and the way of the rays has subtracted
    it. So a line runs through `at` if both times fit to it, and is exact around it.

    Args:
        receivers: Those that have an arrival time.
        at: Latitude and longitude of the place from which they are expected, degrees.
        projection: The map.
        box: The rectangle, metres.
    """
    order = sorted(range(len(receivers)), key=lambda number: (receivers[number].sigma_s, number))
    pairs = (
        list(combinations(range(len(receivers)), 2))
        if len(receivers) <= _ALL_PAIRS
        else [(order[0], number) for number in order[1 : _MOST_PAIRS + 1]]
    )
    cell_m = box.wider_m / _GRID
    east = np.arange(box.west_m, box.east_m + cell_m, cell_m)
    north = np.arange(box.south_m, box.north_m + cell_m, cell_m)
    grid = projection.to_degrees(*(one.ravel() for one in np.meshgrid(east, north)))
    beyond_m = [
        _arc_m(one.position, *grid).reshape(len(north), len(east))
        - _arc_m(one.position, *at)
        - SPEED_OF_LIGHT_M_S * one.late_s
        for one in receivers
    ]
    found = []
    for first, second in pairs:
        differ_m = beyond_m[first] - beyond_m[second]
        for points in cast("list[Float64]", contour_generator(z=differ_m).lines(0.0)):
            points_m = np.array([box.west_m, box.south_m]) + points * cell_m
            positions = np.stack(projection.to_degrees(*points_m.T), axis=1)
            found.append(Hyperbola(first, second, positions))
    return found


def _arc_m(where: Degrees, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> Float64:
    """Distance on a sphere, metres, of positions in degrees from one, shape (n,).

    A picture shows no more, and PROJ would take a hundred times as long.
    """
    latitude, longitude = np.radians(latitude_deg), np.radians(longitude_deg)
    here, there = (math.radians(one) for one in where)
    half = (
        np.sin((latitude - here) / 2) ** 2
        + math.cos(here) * np.cos(latitude) * np.sin((longitude - there) / 2) ** 2
    )
    return np.asarray(2 * _EARTH_M * np.arcsin(np.sqrt(half)), np.float64)
