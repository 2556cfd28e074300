"""Direct position: the place at whose delays the correlations themselves are large.

No delay is decided on before (A. J. Weiss, "Direct position determination of narrowband radio frequency
transmitters", IEEE Signal Processing Letters 11, 2004).
"""

from __future__ import annotations

import math
from functools import lru_cache

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
    shared_weight,
    starts,
)
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m, gradients
from heimdall.position.arrival import Observation
from heimdall.position.interpolation import interpolate

Float64 = npt.NDArray[np.float64]

_FINE = 16  # lags a sample at which the direct method interpolates the correlations


def direct_position(observation: Observation, baselines: Baselines, excess_s: float) -> Fixes | None:
    """The pairs' |r|^2, each over its largest value, summed with the weight that the pair has in time.

    Near a peak |r|^2 falls by the squared bandwidth times the squared error of the delay, so that the sum
    over all pairs is the cost of the weighted least squares; far from it the pair has nothing more to say.
    """
    timed = Timed.of(observation)
    if timed is None:
        return None
    prior = Prior.of(baselines)
    excess_m = SPEED_OF_LIGHT_M_S * excess_s
    first, second = np.triu_indices(len(timed.row), 1)
    numbers = {pair: number for number, pair in enumerate(map(tuple, observation.session.pair.tolist()))}
    rows = timed.row.tolist()
    chosen = [numbers[rows[a], rows[b]] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    fine = _relative_power(observation.session.xcorr[chosen])  # (pairs, fine lags)
    middle = fine.shape[1] // 2
    lags_m = baselines.rate_hz * _FINE / SPEED_OF_LIGHT_M_S  # fine lags a metre
    fall_m2 = (2 * math.pi * observation.arrivals.rms_bandwidth_hz / SPEED_OF_LIGHT_M_S) ** 2
    pair = np.arange(len(chosen))

    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    distance = distances_m(grid_m, timed.position_m, baselines.plane)
    place = np.rint((distance[:, first] - distance[:, second]) * lags_m).astype(np.int64) + middle
    coarse = timed.weight(math.hypot(excess_m, GRID_SPACING_M / 2))
    loss = 1 - fine[pair, np.clip(place, 0, fine.shape[1] - 1)]
    score = (shared_weight(coarse, first, second) / fall_m2 * loss).sum(axis=-1) + prior.cost(grid_m)
    shared = shared_weight(timed.weight(excess_m), first, second)

    def evaluate(state: Float64) -> Normal:
        distance, slope = gradients(state, timed.position_m, baselines.plane)
        value, derivative = _cubic(fine, (distance[:, first] - distance[:, second]) * lags_m + middle)
        jacobian = slope[:, first] - slope[:, second]  # (K, pairs, 2)
        pull = 0.5 * shared / fall_m2 * derivative * lags_m
        right = (pull[..., None] * jacobian).sum(axis=-2) - prior.gradient(state)
        cost = (shared / fall_m2 * (1 - value)).sum(axis=-1) + prior.cost(state)
        matrix = (shared[:, None, None] * jacobian[..., :, None] * jacobian[..., None, :]).sum(axis=-3)
        return Normal(cost, right, matrix + prior.information_m2)

    found = descend(starts(score, grid_m), evaluate)
    _, slope = gradients(found, timed.position_m, baselines.plane)
    information = fisher_information(slope, timed.weight(excess_m))
    return distinct(found, evaluate(found).cost, information)


@lru_cache(maxsize=4)
def _fine_weights(lags: int) -> Float64:
    """Weight of each lag at the fine lags, shape (lags, _FINE (lags - 1) + 1)."""
    half = lags // 2
    fine = np.arange(-half * _FINE, half * _FINE + 1) / _FINE
    return np.ascontiguousarray(interpolate(np.eye(lags, dtype=np.complex128), fine[None]).real)


def _relative_power(series: npt.NDArray[np.complex64]) -> Float64:
    """|r|^2 of correlations (pairs, lags) at the fine lags, over its largest value, (pairs, fine lags)."""
    table = _fine_weights(series.shape[1])
    real = np.einsum("pl,lf->pf", series.real.astype(np.float64), table)
    imaginary = np.einsum("pl,lf->pf", series.imag.astype(np.float64), table)
    square = real * real + imaginary * imaginary
    return np.asarray(square / square.max(axis=1, keepdims=True), np.float64)


def _cubic(table: Float64, place: Float64) -> tuple[Float64, Float64]:
    """Value and derivative at places (K, P) of P rows by the cubic through four neighbours, each (K, P)."""
    whole = np.clip(np.floor(place).astype(np.int64), 1, table.shape[1] - 3)
    x = np.clip(place - whole, -1.0, 2.0)
    row = np.arange(len(table))
    a, b, c, d = (table[row, whole + step] for step in (-1, 0, 1, 2))
    # Newton's form over the nodes -1, 0, 1, 2.
    first, second, third = b - a, (c - 2 * b + a) / 2, (d - 3 * c + 3 * b - a) / 6
    value = a + (x + 1) * (first + x * (second + (x - 1) * third))
    derivative = first + (2 * x + 1) * second + (3 * x * x - 1) * third
    return value, derivative
