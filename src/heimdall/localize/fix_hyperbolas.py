"""Where pairs of receivers hear a signal with the difference of arrival times that they had."""

from __future__ import annotations

import math
from itertools import combinations
from typing import cast

import numpy as np
import numpy.typing as npt
from contourpy import contour_generator

from heimdall.maps.projection import Box, Projection
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix
from heimdall.pages.vector_map import Line

Float64 = npt.NDArray[np.float64]

_GRID = 128  # cells along the wider side, in which hyperbolas are sought
_ALL_PAIRS = 5  # of that many receivers every pair has a hyperbola,
_MOST_PAIRS = 12  # of more those of the surest one with the surest others
_EARTH_M = 6.371e6
_LIGHT_M_S = 299_792_458.0


def hyperbolas(fix: Fix, receivers: dict[str, Position], projection: Projection, box: Box) -> list[Line]:
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
    grid = projection.to_degrees(*(one.ravel() for one in np.meshgrid(east, north)))
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
            latitude, longitude = projection.to_degrees(*points_m.T)
            lines.append(Line(np.stack([latitude, longitude], axis=1), "hyperbola", name))
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
