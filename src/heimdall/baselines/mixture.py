"""A posterior on a grid as a mixture of a few Gaussians."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heimdall.baselines.cells import Cells
from heimdall.position.posterior import Posterior

Float64 = npt.NDArray[np.float64]

_MOST = 16  # Gaussians
_LOSS_NATS = 0.05  # of information by which the mixture may differ from the grid
_STEPS = 5  # of expectation and maximization for each number of Gaussians
_SPLIT = 0.01  # the weight from which a Gaussian is split
_LEAST = 1e-6  # the weight below which one is given up
_WHOLE = 0.05  # weight of the Gaussian of the whole posterior
_MEDIAN_STEPS = 200
_CONVERGED = 1e-6  # of the least spread


def of_cells(cells: Cells) -> Posterior:
    """A mixture that differs little from a posterior on a grid.

    Gaussians are split along their longer axes, all at once, and fitted by expectation and maximization
    (A. P. Dempster, N. M. Laird and D. B. Rubin, J. Royal Statistical Society B 39, 1977) until the
    Kullback-Leibler divergence from the grid is small or there are sixteen. One more Gaussian, of little
    weight, has the second moments of the whole posterior about its spatial median. It is a tail beyond the
    grid, and as the medoid it is the answer: the point of the least expected distance, with the spread of the
    whole posterior.

    Args:
        cells: The grid.

    Returns:
        One posterior, of at most 17 Gaussians.
    """
    centre_m = (cells.mass[:, None] * cells.position_m).sum(axis=0)
    points = _monomials(cells.position_m - centre_m)
    within_m2 = cells.side_m**2 / 12
    moments = points + np.stack([0 * within_m2] * 3 + [within_m2, 0 * within_m2, within_m2])
    log_grid = np.log(cells.mass) - 2 * np.log(cells.side_m)
    mean_m, covariance_m2, weight = _maximized(cells.mass[None], moments)
    joint = _joint(mean_m, covariance_m2, weight, points)
    total = _log_sum(joint)
    while float((cells.mass * (log_grid - total)).sum()) > _LOSS_NATS and 2 * len(weight) <= _MOST:
        mean_m, covariance_m2, weight = _split(mean_m, covariance_m2, weight)
        joint = _joint(mean_m, covariance_m2, weight, points)
        total = _log_sum(joint)
        for _ in range(_STEPS):
            mean_m, covariance_m2, weight = _maximized(np.exp(joint - total) * cells.mass, moments)
            joint = _joint(mean_m, covariance_m2, weight, points)
            total = _log_sum(joint)
    return _with_whole(mean_m + centre_m, covariance_m2, weight)


def _with_whole(mean_m: Float64, covariance_m2: Float64, weight: Float64) -> Posterior:
    """A mixture of Gaussians (K, 2), (K, 2, 2), (K,), and the Gaussian of all of it."""
    if len(weight) > 1:
        median_m = _spatial_median(mean_m, covariance_m2[:, 0, 0] + covariance_m2[:, 1, 1], weight)
        offset = mean_m - median_m
        spread_m2 = covariance_m2 + offset[:, :, None] * offset[:, None, :]
        mean_m = np.concatenate([median_m[None], mean_m])
        whole_m2 = (weight[:, None, None] * spread_m2).sum(axis=0)
        covariance_m2 = np.concatenate([whole_m2[None], covariance_m2])
        weight = np.concatenate([[_WHOLE], (1 - _WHOLE) * weight])
    return Posterior(mean_m[None], covariance_m2[None], weight[None])


def _monomials(offset_m: Float64) -> Float64:
    """1, e, n, e^2, e n, n^2 of offsets (N, 2), shape (6, N)."""
    east, north = offset_m.T
    return np.stack([np.ones_like(east), east, north, east * east, east * north, north * north])


def _maximized(mass: Float64, moments: Float64) -> tuple[Float64, Float64, Float64]:
    """Means (K, 2), covariances (K, 2, 2) and weights (K,) of parts (K, N) of the cells' probability."""
    sums = np.einsum("kn,fn->kf", mass, moments)
    sums = sums[sums[:, 0] > _LEAST]
    weight, mean = sums[:, 0], sums[:, 1:3] / sums[:, :1]
    east2, cross, north2 = (sums[:, 3:] / sums[:, :1]).T
    variance, other = east2 - mean[:, 0] ** 2, north2 - mean[:, 1] ** 2
    cross = cross - mean[:, 0] * mean[:, 1]
    covariance = np.stack([variance, cross, cross, other], axis=-1).reshape(-1, 2, 2)
    return mean, covariance, weight / weight.sum()


def _joint(mean_m: Float64, covariance_m2: Float64, weight: Float64, points: Float64) -> Float64:
    """Log of weight times density of each Gaussian at the centre of each cell, shape (K, N)."""
    variance, cross, other = covariance_m2[:, 0, 0], covariance_m2[:, 0, 1], covariance_m2[:, 1, 1]
    determinant = variance * other - cross * cross
    a, b, c = other / determinant, -cross / determinant, variance / determinant  # of the inverse
    east, north = mean_m.T
    constant = np.log(weight) - 0.5 * np.log(determinant) - math.log(2 * math.pi)
    constant = constant - 0.5 * (a * east * east + 2 * b * east * north + c * north * north)
    linear = [a * east + b * north, b * east + c * north]
    coefficients = np.stack([constant, *linear, -0.5 * a, -b, -0.5 * c], axis=-1)
    return np.asarray(np.einsum("kf,fn->kn", coefficients, points), np.float64)


def _log_sum(joint: Float64) -> Float64:
    largest = joint.max(axis=0)
    return np.asarray(largest + np.log(np.exp(joint - largest).sum(axis=0)), np.float64)


def _split(mean_m: Float64, covariance_m2: Float64, weight: Float64) -> tuple[Float64, Float64, Float64]:
    """Two Gaussians for each heavy one, with the moments of its halves along the longer axis."""
    variance, cross, other = covariance_m2[:, 0, 0], covariance_m2[:, 0, 1], covariance_m2[:, 1, 1]
    root = np.hypot((variance - other) / 2, cross)
    angle = 0.5 * np.arctan2(2 * cross, variance - other)
    longer = np.sqrt((variance + other) / 2 + root)
    axis = longer[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=-1)
    heavy = weight > _SPLIT
    shift = math.sqrt(2 / math.pi) * axis[heavy]
    half = covariance_m2[heavy] - shift[:, :, None] * shift[:, None, :]
    return (
        np.concatenate([mean_m[~heavy], mean_m[heavy] - shift, mean_m[heavy] + shift]),
        np.concatenate([covariance_m2[~heavy], half, half]),
        np.concatenate([weight[~heavy], weight[heavy] / 2, weight[heavy] / 2]),
    )


def _spatial_median(mean_m: Float64, trace_m2: Float64, weight: Float64) -> Float64:
    """The point from which a mixture lies least far, as `Posterior.medoid` measures it.

    E. Weiszfeld, Tohoku Mathematical Journal 43, 1937.
    """
    median = (weight[:, None] * mean_m).sum(axis=0)
    for _ in range(_MEDIAN_STEPS):
        offset = mean_m - median
        far = np.sqrt((offset * offset).sum(axis=1) + trace_m2)
        pull = weight / far
        step = (pull[:, None] * offset).sum(axis=0) / pull.sum()
        median = median + step
        if float(np.hypot(*step)) < _CONVERGED * math.sqrt(float(trace_m2.min())):
            break
    return np.asarray(median, np.float64)
