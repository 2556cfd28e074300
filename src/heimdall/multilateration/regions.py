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
    """Regions of a mixture of Gaussians: the union of an ellipse of each.

    The bounding density is that which so much of the mass exceeds, by points that divide each Gaussian into
    equal parts (a spiral of the golden angle). Each is taken alone: where two overlap, one of them is far
    wider than the other, and adds little to its density.

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
        bound = float(density[order][min(int(np.searchsorted(held, probability)), len(held) - 1)])
        ellipses, area_m2 = [], 0.0
        for place, top in zip(places, height, strict=True):
            if top > bound:
                square = 2 * (top - bound)
                ellipses.append(_ellipse(place, math.sqrt(square)))
                area_m2 += math.pi * square * math.exp(0.5 * _log_det(place))
        rings, left = _united(ellipses, places[0])
        found.append(Region(probability, rings, float(area_m2 * left) * 1e-6))
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


def _united(outlines: Sequence[Ring], middle: Place) -> tuple[tuple[Ring, ...], float]:
    """The rings around a union of outlines, and its share of the sum of their areas.

    The union is found on a map about a place.
    """
    flat = []
    for ring in outlines:
        longitude, latitude = np.array(ring).T
        east, north = rays.plane_m(latitude, longitude, middle.latitude_deg, middle.longitude_deg)
        flat.append(np.stack([east, north], axis=-1))
    united = _around_union(flat)
    if united is None:
        return tuple(outlines), 1.0
    share = sum(map(_signed_area, united)) / sum(map(_signed_area, flat))
    rings = []
    for path in united:
        east, north = path.T
        latitude, longitude = rays.destination(middle.latitude_deg, middle.longitude_deg, east, north)
        rings.append(tuple(zip(longitude.tolist(), latitude.tolist(), strict=True)))
    return tuple(rings), share


def _around_union(outlines: Sequence[Float64]) -> list[Float64] | None:
    """The closed rings around a union of closed counterclockwise outlines, shape (n, 2).

    Edges are cut where they cross edges of other outlines, and pieces inside of another outline left out.
    None if no two overlap.
    """
    if len(outlines) < 2:
        return None
    owner = np.repeat(np.arange(len(outlines)), [len(ring) - 1 for ring in outlines])
    begin = np.concatenate([ring[:-1] for ring in outlines])
    way = np.concatenate([np.diff(ring, axis=0) for ring in outlines])
    apart = begin - begin[:, None]
    sine = _cross(way[:, None], way)
    parallel = sine == 0
    sine = np.where(parallel, 1.0, sine)
    along, across = _cross(apart, way) / sine, _cross(apart, way[:, None]) / sine
    within = (along > 0) & (along < 1) & (across > 0) & (across < 1)
    edge, other = np.nonzero(within & ~parallel & (owner[:, None] != owner))
    # Where pieces begin: at corners, which have the number of their edge, and at crossings.
    count = len(begin)
    of = np.concatenate([np.arange(count), edge])
    node = np.concatenate([np.arange(count), count * (1 + np.minimum(edge, other)) + np.maximum(edge, other)])
    order = np.lexsort((np.concatenate([np.zeros(count), along[edge, other]]), of))
    of, node = of[order], node[order]
    start = begin[of] + np.concatenate([np.zeros(count), along[edge, other]])[order, None] * way[of]
    following = np.arange(1, len(of) + 1)
    ends = np.cumsum(np.bincount(owner[of])) - 1
    following[ends] = np.concatenate([[0], ends[:-1] + 1])
    middle = (start + start[following]) / 2
    outside = np.ones(len(of), np.bool_)
    for number, ring in enumerate(outlines):
        outside &= (owner[of] == number) | ~_inside(ring, middle)
    if outside.all():
        return None
    leaving = {int(node[piece]): piece for piece in np.flatnonzero(outside).tolist()}
    rings = []
    while leaving:
        here, path = next(iter(leaving)), []
        while here in leaving:
            piece = leaving.pop(here)
            path.append(start[piece])
            here = int(node[following[piece]])
        rings.append(np.array([*path, path[0]]))
    return rings


def _cross(one: Float64, other: Float64) -> Float64:
    return one[..., 0] * other[..., 1] - one[..., 1] * other[..., 0]


def _signed_area(ring: Float64) -> float:
    return 0.5 * float(_cross(ring[:-1], ring[1:]).sum())


def _inside(ring: Float64, points: Float64) -> npt.NDArray[np.bool_]:
    """Whether points (n, 2) lie inside a closed ring: an odd number of its edges is to their right."""
    (x_a, y_a), (x_b, y_b) = ring[:-1].T, ring[1:].T
    x, y = points[:, :1], points[:, 1:]
    between = (y_a > y) != (y_b > y)
    at = x_a + (x_b - x_a) * (y - y_a) / np.where(y_a == y_b, 1.0, y_b - y_a)
    return np.asarray((between & (at > x)).sum(axis=-1) % 2 == 1, np.bool_)


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
