"""Time of arrival: robust least squares on the delays of the receivers that know the time.

The emission time is unknown, the weights are Cauchy's (D. H. Foy, "Position-location solutions by
Taylor-series estimation", IEEE Trans. AES 12, 1976; P. J. Holland and R. E. Welsch, "Robust regression using
iteratively reweighted least-squares", Comm. Stat. A6, 1977).
"""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heimdall.baselines.fitted import Baselines
from heimdall.baselines.fixes import (
    GRID_SPACING_M,
    Fixes,
    Normal,
    Prior,
    Timed,
    descend,
    distinct,
    fisher_information,
    starts,
    weighted_mean,
)
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m, gradients
from heimdall.position.arrival import Observation

Float64 = npt.NDArray[np.float64]

_TAIL = 4.0  # errors of delays follow Student's t with one degree of freedom less, z^2 has half weight here


def time_of_arrival(observation: Observation, baselines: Baselines, excess_s: float) -> Fixes | None:
    """Places that explain the delays, with errors of `excess_s` beyond noise and clocks; None without three.

    Args:
        observation: The session.
        baselines: Receivers, plane, area and prior.
        excess_s: Standard deviation of the delays' further errors, seconds.
    """
    timed = Timed.of(observation)
    if timed is None:
        return None
    excess_m = SPEED_OF_LIGHT_M_S * excess_s
    prior = Prior.of(baselines)
    weight = timed.weight(excess_m)
    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    # Next to the right place a delay is off by up to half of the spacing.
    coarse = timed.weight(math.hypot(excess_m, GRID_SPACING_M / 2))
    residual = timed.range_m - distances_m(grid_m, timed.position_m, baselines.plane)
    residual = residual - weighted_mean(residual, coarse)
    score = (coarse * residual * residual).sum(axis=-1) + prior.cost(grid_m)
    position = starts(score, grid_m)
    distance, slope = gradients(position, timed.position_m, baselines.plane)
    start = weighted_mean(timed.range_m - distance, weight)

    def evaluate(state: Float64) -> Normal:
        distance, slope = gradients(state[:, :2], timed.position_m, baselines.plane)
        residual = timed.range_m - distance - state[:, 2:]
        square = residual * residual * weight
        robust = weight / (1 + square / _TAIL)
        jacobian = np.concatenate([slope, np.ones((*slope.shape[:-1], 1))], axis=-1)
        matrix = (robust[..., None, None] * jacobian[..., :, None] * jacobian[..., None, :]).sum(axis=-3)
        right = ((robust * residual)[..., None] * jacobian).sum(axis=-2)
        matrix[:, :2, :2] += prior.information_m2
        right[:, :2] -= prior.gradient(state[:, :2])
        cost = _TAIL * np.log1p(square / _TAIL).sum(axis=-1) + prior.cost(state[:, :2])
        return Normal(cost, right, matrix)

    found = descend(np.concatenate([position, start], axis=1), evaluate)
    _, slope = gradients(found[:, :2], timed.position_m, baselines.plane)
    return distinct(found[:, :2], evaluate(found).cost, fisher_information(slope, weight))
