"""The smallest regions that hold a transmitter with 68 and with 95 %."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt

from heimdall.multilateration import rays
from heimdall.multilateration.fix import Place, Region

Float64 = npt.NDArray[np.float64]
_Filled = tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.int64]]]
Ring = tuple[tuple[float, float], ...]

PROBABILITIES = (0.68, 0.95)
_POINTS = 1000  # of each Gaussian, by which the density that bounds a region is found
_CORNERS = 72
_GOLDEN = math.pi * (3 - math.sqrt(5))


def of_places(places: Sequence[Place]) -> tuple[Region, ...]:
    """Regions of a mixture of Gaussians far enough apart that no two ellipses overlap.

    The bounding density is that which so much of the mass exceeds, by points that divide each Gaussian into
    equal parts (a spiral of the golden angle).

    Args:
        places: At least one.
    """
    radius = np.sqrt(-2 * np.log1p(-(np.arange(_POINTS) + 0.5) / _POINTS))
    circle = radius[:, None] * np.stack(
        [np.cos(_GOLDEN * np.arange(_POINTS)), np.sin(_GOLDEN * np.arange(_POINTS))], axis=-1
    )
    share = np.array([place.probability for place in places])
    share = share / share.sum()
    height = [math.log(weight) - 0.5 * _log_det(place) for weight, place in zip(share, places, strict=True)]
    density = np.concatenate([top - 0.5 * (circle * circle).sum(axis=-1) for top in height])
    mass = np.repeat(share / _POINTS, _POINTS)
    order = np.argsort(-density, kind="stable")
    held = np.cumsum(mass[order])
    found = []
    for probability in PROBABILITIES:
        level = density[order][min(int(np.searchsorted(held, probability)), len(held) - 1)]
        rings, area_m2 = [], 0.0
        for place, top in zip(places, height, strict=True):
            if top > level:
                square = 2 * (top - level)
                rings.append(_ellipse(place, math.sqrt(square)))
                area_m2 += math.pi * square * math.exp(0.5 * _log_det(place))
        found.append(Region(probability, tuple(rings), float(area_m2) * 1e-6))
    return tuple(found)


def of_grid(
    latitude_deg: Float64, longitude_deg: Float64, log_density: Float64, area_m2: Float64
) -> tuple[Region, ...]:
    """Regions of a density over a grid.

    Args:
        latitude_deg: Of the cells' middles, degrees, shape (m, n).
        longitude_deg: Degrees, shape (m, n).
        log_density: Up to a constant, shape (m, n).
        area_m2: Of each cell, square metres, shape (m, n).
    """
    mass = np.exp(log_density - log_density.max()) * area_m2
    order = np.argsort(-log_density, axis=None, kind="stable")
    held = np.cumsum(mass.ravel()[order]) / mass.sum()
    # A frame of nothing closes every outline; a density of zero has no logarithm to interpolate to.
    lowest = float(log_density.max()) - 60.0
    framed = np.pad(np.maximum(log_density, lowest), 1, constant_values=lowest)
    outlines = contourpy.contour_generator(z=framed, fill_type=contourpy.FillType.OuterOffset)
    found = []
    for probability in PROBABILITIES:
        last = min(int(np.searchsorted(held, probability)), len(held) - 1)
        inside = order[: last + 1]
        level = max(float(log_density.ravel()[order[last]]), lowest + 1.0)
        rings = []
        points, offsets = cast(_Filled, outlines.filled(level, math.inf))
        for polygon, offset in zip(points, offsets, strict=True):
            pieces = [polygon[a:b] for a, b in itertools.pairwise(offset)]
            rings += [_on_earth(piece, latitude_deg, longitude_deg) for piece in pieces]
        found.append(Region(probability, tuple(rings), float(area_m2.ravel()[inside].sum()) * 1e-6))
    return tuple(found)


def _log_det(place: Place) -> float:
    return float(np.log(max(np.linalg.det(place.covariance_m2), np.finfo(np.float64).tiny)))


def _ellipse(place: Place, radius: float) -> Ring:
    """Counterclockwise outline of a Gaussian's ellipse of so many standard deviations."""
    angle = np.arange(_CORNERS + 1) % _CORNERS * (2 * math.pi / _CORNERS)
    root = np.linalg.cholesky(place.covariance_m2 + 1e-12 * np.eye(2))
    east, north = radius * root @ np.stack([np.cos(angle), np.sin(angle)])
    latitude, longitude = rays.destination(place.latitude_deg, place.longitude_deg, east, north)
    return tuple(zip(longitude.tolist(), latitude.tolist(), strict=True))


def _on_earth(piece: npt.NDArray[np.float64], latitude_deg: Float64, longitude_deg: Float64) -> Ring:
    """An outline in places of the framed grid (column, row) as longitude and latitude."""
    column = np.clip(piece[:, 0] - 1, 0, latitude_deg.shape[1] - 1)
    row = np.clip(piece[:, 1] - 1, 0, latitude_deg.shape[0] - 1)
    top, left = np.floor(row).astype(int), np.floor(column).astype(int)
    below, right = (
        np.minimum(top + 1, latitude_deg.shape[0] - 1),
        np.minimum(left + 1, latitude_deg.shape[1] - 1),
    )
    down, along = row - top, column - left

    def between(values: Float64) -> Float64:
        upper = values[top, left] * (1 - along) + values[top, right] * along
        lower = values[below, left] * (1 - along) + values[below, right] * along
        return np.asarray(upper * (1 - down) + lower * down, np.float64)

    base = float(longitude_deg[0, 0])
    turned = (longitude_deg - base + 180.0) % 360.0 - 180.0  # steady across the date line
    longitude = (between(turned) + base + 180.0) % 360.0 - 180.0
    latitude = between(latitude_deg)
    ring = list(zip(longitude.tolist(), latitude.tolist(), strict=True))
    ring[-1] = ring[0]
    return tuple(ring)
