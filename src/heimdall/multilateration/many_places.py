"""Places of many transmitters at once, coarsely, however wrong some of the times are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heimdall.multilateration import rays
from heimdall.multilateration.arrivals import OF_EVENT, Arrivals, belief, of_cells, stepped, ways
from heimdall.multilateration.rays import Propagation, Sites

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]
Index = npt.NDArray[np.intp]

_CANDIDATES = 4  # minima of the grid that are followed
_GRID, _BEND = 33, 2.5  # places across the search, dense at the middle; it reaches to six times the size
_SOFT = 0.05  # of the size: how well a time fits a place of the grid
_ROUNDS, _STEPS = 4, 8
_EXACT_M = 1.0  # how well times fit that have nothing to spare


def search(table: Arrivals, sites: Sites) -> tuple[Float64, float]:
    """The best of some minima of a grid.

    Args:
        table: The times.
        sites: The receivers.

    Returns:
        Latitude, longitude, altitude of each transmitter, shape (M, 3); how badly times fit there, metres.
    """
    place = np.zeros((len(table.cell), _CANDIDATES, 3))
    place[..., 2] = table.altitude_m[:, None]
    softness = np.zeros(len(table.cell))
    alike: dict[tuple[Propagation, bytes], list[int]] = {}
    for k, row in enumerate(table.cell):
        alike.setdefault((table.propagation[k], row.tobytes()), []).append(k)
    for (kind, _), rows in alike.items():
        there = table.there[rows[0]]
        mine = Sites.at(*table.stated[table.cell[rows[0], there]].T)
        middle = rays.geodetic(np.median(mine.ecef_m, axis=0))
        size = max(float(np.median(rays.arc_m(mine.latitude_deg, mine.longitude_deg, *middle))), 100.0)
        reach = np.sinh(np.linspace(-_BEND, _BEND, _GRID)) * size
        east, north = (axis.ravel() for axis in np.meshgrid(reach, reach))
        latitude, longitude = rays.destination(*middle, east, north)
        altitude = np.full(len(latitude), np.median(table.altitude_m[rows]))
        length = rays.paths(latitude, longitude, altitude, mine, kind).length_m
        softness[rows] = _SOFT * size
        for k in rows:
            rest = table.range_m[k, there] - length
            rest -= np.median(rest, axis=1, keepdims=True)
            best = _minima(np.log1p((rest / softness[k]) ** 2).sum(axis=1).reshape(_GRID, _GRID))
            place[k, :, 0], place[k, :, 1] = latitude[best], longitude[best]
    told = np.isfinite(table.known[:, 0])
    place[told, :, :2] = table.known[told, None]
    zero, every = np.zeros(len(table.receiver)), np.arange(len(place))
    for _ in range(_ROUNDS):
        place, residual = descended(table, place, sites, zero, softness[:, None, None])
        there = np.broadcast_to(table.there[:, None], residual.shape)
        cost = (np.log1p((residual / softness[:, None, None]) ** 2) * there).sum(axis=-1)
        best = cost.argmin(axis=1)
        # Of few times all fit after all; the factor stands for the unknowns that they have to give.
        usual = max(3 * float(np.median(np.abs(residual[every, best][table.there]))), _EXACT_M)
        softness = np.minimum(softness, usual)
    return place[every, best], usual


def _minima(cost: Float64) -> Index:
    """Flat indices of the lowest local minima of a grid, (`_CANDIDATES`,); the best again for want of one."""
    padded = np.pad(cost, 1, constant_values=np.inf)
    around = np.lib.stride_tricks.sliding_window_view(padded, (3, 3)).min(axis=(2, 3))
    found = np.flatnonzero((cost <= around).ravel())
    found = found[np.argsort(cost.ravel()[found], kind="stable")][:_CANDIDATES]
    return np.concatenate([found, np.full(_CANDIDATES - len(found), found[0])])


def descended(
    table: Arrivals,
    place: Float64,
    sites: Sites,
    offset_m: Float64,
    softness_m: Float64 | float,
) -> tuple[Float64, Float64]:
    """Places (M, ..., 3) after some robust Gauss-Newton steps, and the residuals there, shape (M, ..., S)."""
    wide = (slice(None), *(None,) * (place.ndim - 2))
    cell, there = table.cell[wide], table.there[wide]
    target = (table.range_m - of_cells(offset_m, table.cell))[wide]
    longest = 0.5 * max(float(np.abs(table.range_m[table.there]).max()), 1e3)
    residual = np.zeros((*place.shape[:-1], cell.shape[-1]))
    for _ in range(_STEPS):
        expected = ways(table, place, sites)
        variance = softness_m**2 + expected.spread_m**2 + table.noise_m[wide] ** 2 + 1e-6
        rest = target - expected.length_m
        moment = _median(rest, there)
        weight = there / (variance + (rest - moment) ** 2)  # Cauchy's
        precision, aim = belief(table, place, math.inf, None)
        information = np.einsum("...si,...s,...sj->...ij", expected.by_event, weight, expected.by_event)
        information += np.eye(OF_EVENT) * precision[..., None, :]
        right_side = np.einsum("...si,...s->...i", expected.by_event, weight * rest) + precision * aim
        step = np.linalg.solve(information, right_side[..., None])[..., 0]
        residual = np.where(there, rest - (expected.by_event[..., 3:] @ step[..., 3:, None])[..., 0], 0.0)
        place = stepped(place, step, longest)
    return place, residual


def _median(value: Float64, there: Bool) -> Float64:
    """Median over the last axis of what is there, with that axis kept."""
    return np.nanmedian(np.where(there, value, np.nan), axis=-1, keepdims=True)
