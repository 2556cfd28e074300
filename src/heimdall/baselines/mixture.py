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
_LEAST = 1e-6
_SPLIT = 0.01  # the weight from which a Gaussian is split
_WHOLE = 0.05  # weight of the Gaussian of the whole posterior
_MEDIAN_STEPS = 200
_CONVERGED = 1e-6  # of the distances


def of_cells(cells: Cells) -> Posterior:
    centre_m = (cells.mass[:, None] * cells.position_m).sum(axis=0)
    east, north = (cells.position_m - centre_m).T
    square_m2 = cells.side_m**2 / 12
    terms = np.stack([np.ones_like(east), east, north, east * east + square_m2, east * north, north * north + square_m2])
    points = np.stack([np.ones_like(east), east, north, east * east, east * north, north * north])
    log_grid = np.log(cells.mass) - 2 * np.log(cells.side_m)
    mean_m, covariance_m2, weight = _moments(cells.mass[None], terms)
    joint = _joint(mean_m, covariance_m2, weight, points)
    total = _log_sum(joint)
    while float((cells.mass * (log_grid - total)).sum()) > _LOSS_NATS and 2 * len(weight) <= _MOST:
        mean_m, covariance_m2, weight = _split(mean_m, covariance_m2, weight)
        joint = _joint(mean_m, covariance_m2, weight, points)
        total = _log_sum(joint)
        for _ in range(_STEPS):
            mean_m, covariance_m2, weight = _moments(np.exp(joint - total) * cells.mass, terms)
            joint = _joint(mean_m, covariance_m2, weight, points)
            total = _log_sum(joint)
    return with_whole(mean_m + centre_m, covariance_m2, weight)


def with_whole(mean_m: Float64, covariance_m2: Float64, weight: Float64) -> Posterior:
    """A mixture of Gaussians (K, 2), (K, 2, 2), (K,), and the Gaussian of all of it."""
    if len(weight) > 1:
        trace_m2 = covariance_m2[:, 0, 0] + covariance_m2[:, 1, 1]
        median_m = _spatial_median(mean_m, trace_m2, weight)
        offset = mean_m - median_m
        spread = covariance_m2 + offset[:, :, None] * offset[:, None, :]
        mean_m = np.concatenate([median_m[None], mean_m])
        covariance_m2 = np.concatenate([(weight[:, None, None] * spread).sum(axis=0)[None], covariance_m2])
        weight = np.concatenate([[_WHOLE], (1 - _WHOLE) * weight])
    return Posterior(mean_m[None], covariance_m2[None], weight[None])


def _moments(mass: Float64, terms: Float64) -> tuple[Float64, Float64, Float64]:
    """Means (K, 2), covariances (K, 2, 2) and weights (K,) of parts (K, N) of the probability of the cells."""
    sums = np.einsum("kn,fn->kf", mass, terms)
    sums = sums[sums[:, 0] > _LEAST]
    weight = sums[:, 0]
    mean = sums[:, 1:3] / weight[:, None]
    east2, cross, north2 = (sums[:, 3:] / weight[:, None]).T
    a = east2 - mean[:, 0] ** 2
    b = cross - mean[:, 0] * mean[:, 1]
    c = north2 - mean[:, 1] ** 2
    return mean, np.stack([np.stack([a, b], -1), np.stack([b, c], -1)], -2), weight / weight.sum()


def _joint(mean_m: Float64, covariance_m2: Float64, weight: Float64, points: Float64) -> Float64:
    """Log of weight times density of each Gaussian at the centre of each cell, shape (K, N)."""
    a, b, c = covariance_m2[:, 0, 0], covariance_m2[:, 0, 1], covariance_m2[:, 1, 1]
    determinant = a * c - b * b
    p, q, r = c / determinant, -b / determinant, a / determinant
    x, y = mean_m.T
    scale = np.log(weight) - 0.5 * np.log(determinant) - math.log(2 * math.pi)
    scale = scale - 0.5 * (p * x * x + 2 * q * x * y + r * y * y)
    coefficients = np.stack([scale, p * x + q * y, q * x + r * y, -0.5 * p, -q, -0.5 * r], axis=-1)
    return np.einsum("kf,fn->kn", coefficients, points)


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
    """The point from which a mixture lies least far, as `Posterior.medoid` measures it (Weiszfeld 1937)."""
    median = (weight[:, None] * mean_m).sum(axis=0)
    for _ in range(_MEDIAN_STEPS):
        offset = mean_m - median
        far = np.sqrt((offset * offset).sum(axis=1) + trace_m2)
        step = (weight / far) @ offset / (weight / far).sum()
        median = median + step
        if float((step * step).sum()) < (_CONVERGED**2) * float(far.min()) ** 2:
            break
    return np.asarray(median, np.float64)
