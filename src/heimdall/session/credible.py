"""The smallest regions that hold a transmitter with 68 and 95 %, by a mixture of Gaussians.

They are bounded by the density that `Posterior.level` compares the truth with, so that what is drawn is what
the coverage of the evaluation judges: where Gaussians overlap, their densities add up.
"""

from __future__ import annotations

import itertools
import math
from typing import cast

import contourpy
import numpy as np
import numpy.typing as npt

from heimdall.geometry.geo import TangentPlane
from heimdall.multilateration.fix import Region
from heimdall.position.posterior import Posterior

Float64 = npt.NDArray[np.float64]
_Filled = tuple[list[Float64], list[npt.NDArray[np.int64]]]

PROBABILITIES = (0.68, 0.95)
_NODES = 1024  # of each Gaussian, equally probable
_GOLDEN = math.pi * (3 - math.sqrt(5))
_GRID = 120_000  # points
_AROUND = 0.15  # of the region's size, on every side
_LEAST_WEIGHT = 1e-6
_SHAPING = 0.01  # weight of a Gaussian that must be resolved


def regions(posterior: Posterior, plane: TangentPlane) -> tuple[Region, ...] | None:
    """The regions of one session; None where a Gaussian is too narrow for a grid around all of them.

    The bounding densities are quantiles over nodes that divide each Gaussian into equal parts (radii at
    mid-quantiles, turned by the golden angle); the outlines are contours on a grid around all of the region.

    Args:
        posterior: Of one session.
        plane: Of its positions.
    """
    used = posterior.weight[0] > _LEAST_WEIGHT
    mean_m, covariance_m2, weight = (
        posterior.mean_m[0, used],
        posterior.covariance_m2[0, used],
        posterior.weight[0, used],
    )
    number = np.arange(_NODES)
    radius = np.sqrt(-2 * np.log1p(-(number + 0.5) / _NODES))
    circle = radius * np.stack([np.cos(_GOLDEN * number), np.sin(_GOLDEN * number)])
    node_m = mean_m[:, None] + (np.linalg.cholesky(covariance_m2) @ circle).transpose(0, 2, 1)
    node_m = node_m.reshape(-1, 2)
    log_density = _log_density(node_m, mean_m, covariance_m2, weight)
    order = np.argsort(-log_density, kind="stable")
    held = np.cumsum(np.repeat(weight / weight.sum() / _NODES, _NODES)[order])
    last = [min(int(np.searchsorted(held, probability)), len(order) - 1) for probability in PROBABILITIES]
    inside_m = node_m[order[: last[-1] + 1]]
    # Along the axes of what is inside: a long region, as of two arrival times, lies aslant.
    centre_m = inside_m.mean(axis=0)
    axes = np.linalg.eigh(np.cov((inside_m - centre_m).T))[1]
    axes[:, 0] *= np.sign(np.linalg.det(axes))  # what is counterclockwise stays so
    along_m = (inside_m - centre_m) @ axes
    low_m, high_m = along_m.min(axis=0), along_m.max(axis=0)
    around_m = _AROUND * (high_m - low_m)
    cell_m = math.sqrt(float(np.prod(high_m - low_m + 2 * around_m)) / _GRID)
    if cell_m > math.sqrt(float(np.linalg.eigvalsh(covariance_m2[weight > _SHAPING]).min())):
        return None
    x_m, y_m = (
        np.arange(low_m[axis] - around_m[axis], high_m[axis] + around_m[axis] + cell_m, cell_m)
        for axis in (0, 1)
    )
    grid_m = np.stack(np.meshgrid(x_m, y_m), axis=-1) @ axes.T + centre_m
    values = _log_density(grid_m.reshape(-1, 2), mean_m, covariance_m2, weight).reshape(grid_m.shape[:2])
    outlines = contourpy.contour_generator(x=x_m, y=y_m, z=values, fill_type=contourpy.FillType.OuterOffset)
    found = []
    for probability, row in zip(PROBABILITIES, last, strict=True):
        polygons, offsets = cast(_Filled, outlines.filled(float(log_density[order[row]]), math.inf))
        turned = [polygon @ axes.T + centre_m for polygon in polygons]
        found.append(_region(probability, (turned, offsets), plane))
    return tuple(found)


def _region(probability: float, filled: _Filled, plane: TangentPlane) -> Region:
    rings, area_m2 = [], 0.0
    for points_m, offsets in zip(*filled, strict=True):
        for start, end in itertools.pairwise(offsets.tolist()):
            east, north = points_m[start:end].T
            area_m2 += 0.5 * float((east[:-1] * north[1:] - east[1:] * north[:-1]).sum())
            latitude_deg, longitude_deg = plane.to_degrees(east, north)
            rings.append(tuple(zip(longitude_deg.tolist(), latitude_deg.tolist(), strict=True)))
    return Region(probability, tuple(rings), area_m2 * 1e-6)


def _log_density(point_m: Float64, mean_m: Float64, covariance_m2: Float64, weight: Float64) -> Float64:
    """Natural logarithm of the density per m^2 at points (n, 2), shape (n,)."""
    factor = np.linalg.inv(np.linalg.cholesky(covariance_m2))
    height = np.log(weight) + np.log(factor[:, 0, 0] * factor[:, 1, 1]) - math.log(2 * math.pi)
    total = np.zeros(len(point_m))
    for middle_m, whitening, top in zip(mean_m, factor, height.tolist(), strict=True):
        deviation = (point_m - middle_m) @ whitening.T
        total += np.exp(top - 0.5 * (deviation * deviation).sum(axis=1))
    return np.log(np.maximum(total, np.finfo(np.float64).tiny))
