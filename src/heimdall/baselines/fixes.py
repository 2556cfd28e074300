"""Places that explain a session's delays: how they are found from a grid, and what they say together."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.baselines.fitted import Baselines
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.position.arrival import Observation

Float64 = npt.NDArray[np.float64]

GRID_SPACING_M = 4_000.0
LEAST_TIMED = 3  # two delays differ by one number, and a position has two
_MOST_STARTS = 4  # places on the grid that are refined, this far apart:
_APART_M = 12_000.0
_SAME_M = 300.0  # two refined places nearer than this are one
_STEPS = 40
_CONVERGED_M = 0.01


@dataclass(frozen=True, eq=False)
class Fixes:
    """Places that explain one session's delays, the best first.

    Attributes:
        position_m: East and north, metres, shape (K, 2).
        cost: Twice the negative log posterior, up to a constant, shape (K,).
        information_m2: Of the delays about the position, 1/m^2, shape (K, 2, 2).
    """

    position_m: Float64
    cost: Float64
    information_m2: Float64

    def moments(self, inflation: Float64, prior_m2: Float64) -> tuple[Float64, Float64]:
        """The best place, and the second moment about it of all of them, for each of I inflations, (I, 2, 2).

        Each place is weighted by its share of the posterior (Laplace's approximation).
        """
        factor = inflation[:, None]
        covariance = np.linalg.inv(self.information_m2 / factor[..., None, None] + prior_m2)  # (I, K, 2, 2)
        log_weight = 0.5 * (np.log(determinant(covariance)) - self.cost / factor)
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight = weight / weight.sum(axis=1, keepdims=True)
        offset = self.position_m - self.position_m[0]
        spread = covariance + offset[:, :, None] * offset[:, None, :]
        return self.position_m[0], (weight[..., None, None] * spread).sum(axis=1)


@dataclass(frozen=True, eq=False)
class Timed:
    """The T receivers of a session that know when the signal came."""

    row: npt.NDArray[np.intp]  # in the session
    position_m: Float64  # (T, 3)
    range_m: Float64  # delay times the speed of light, (T,)
    variance_m2: Float64  # of noise and clock, (T,)

    @classmethod
    def of(cls, observation: Observation) -> Timed | None:
        """None where fewer than three know it."""
        arrivals, session = observation.arrivals, observation.session
        row = np.flatnonzero(arrivals.information_s2 > 0)
        if len(row) < LEAST_TIMED:
            return None
        variance_s2 = 1 / arrivals.information_s2[row] + session.timing_sigma_s[row] ** 2
        return cls(
            row,
            session.position_enu_m[row],
            SPEED_OF_LIGHT_M_S * arrivals.delay_s[row],
            SPEED_OF_LIGHT_M_S**2 * variance_s2,
        )

    def weight(self, excess_m: float) -> Float64:
        """Inverse variances, 1/m^2, shape (T,)."""
        return np.asarray(1 / (self.variance_m2 + excess_m**2), np.float64)


@dataclass(frozen=True, eq=False)
class Prior:
    """The Gaussian of the training transmitters."""

    mean_m: Float64  # (2,)
    information_m2: Float64  # (2, 2)

    @classmethod
    def of(cls, baselines: Baselines) -> Prior:
        """That of the baselines."""
        return cls(np.array(baselines.mean_m), np.linalg.inv(np.array(baselines.covariance_m2)))

    def gradient(self, position_m: Float64) -> Float64:
        """Half the gradient of the cost, 1/m, shape (..., 2)."""
        offset = position_m - self.mean_m
        return np.asarray((offset[..., None, :] * self.information_m2).sum(axis=-1), np.float64)

    def cost(self, position_m: Float64) -> Float64:
        """Squared deviation, shape (...)."""
        return np.asarray(((position_m - self.mean_m) * self.gradient(position_m)).sum(axis=-1), np.float64)


@dataclass(frozen=True, eq=False)
class Normal:
    """Normal equations at K states: a step x costs `cost` - 2 `right` x + x `matrix` x."""

    cost: Float64  # (K,)
    right: Float64  # (K, S)
    matrix: Float64  # (K, S, S)


def descend(state: Float64, evaluate: Callable[[Float64], Normal]) -> Float64:
    """Levenberg's and Marquardt's descent of K states (K, S) at once; position comes first in a state."""
    damping = np.full(len(state), 1e-3)
    now = evaluate(state)
    diagonal = np.eye(state.shape[1])
    for _ in range(_STEPS):
        damped = now.matrix * (1 + damping[:, None, None] * diagonal)
        step = np.linalg.solve(damped, now.right[..., None])[..., 0]
        then = evaluate(state + step)
        better = then.cost < now.cost
        state = np.where(better[:, None], state + step, state)
        now = Normal(
            np.where(better, then.cost, now.cost),
            np.where(better[:, None], then.right, now.right),
            np.where(better[:, None, None], then.matrix, now.matrix),
        )
        damping = np.where(better, damping / 10, damping * 10)
        if (np.abs(step[:, :2]) < _CONVERGED_M).all():
            break
    return state


def starts(score: Float64, grid_m: Float64) -> Float64:
    """The points of the grid with the lowest score, far enough apart, shape (at most `_MOST_STARTS`, 2)."""
    score, chosen = score.copy(), []
    for _ in range(_MOST_STARTS):
        best = int(np.argmin(score))
        if not np.isfinite(score[best]):
            break
        chosen.append(best)
        offset = grid_m - grid_m[best]
        score[(offset * offset).sum(axis=-1) < _APART_M**2] = np.inf
    return np.asarray(grid_m[chosen], np.float64)


def distinct(position_m: Float64, cost: Float64, information_m2: Float64) -> Fixes:
    """Places by rising cost, each once."""
    kept: list[int] = []
    for number in np.argsort(cost, kind="stable").tolist():
        offset = position_m[kept] - position_m[number]
        if not ((offset * offset).sum(axis=-1) < _SAME_M**2).any():
            kept.append(number)
    return Fixes(position_m[kept], cost[kept], information_m2[kept])


def fisher_information(slope: Float64, weight: Float64) -> Float64:
    """F = sum w (h - h_mean)(h - h_mean)^T about positions, 1/m^2, shape (K, 2, 2), from slopes (K, T, 2)."""
    mean = (weight[:, None] * slope).sum(axis=-2, keepdims=True) / weight.sum()
    offset = slope - mean
    outer = offset[..., :, None] * offset[..., None, :]
    return np.asarray((weight[:, None, None] * outer).sum(axis=-3), np.float64)


def shared_weight(weight: Float64, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> Float64:
    """Weights of pairs whose squared differences sum to the weighted squares about the weighted mean."""
    return np.asarray(weight[first] * weight[second] / weight.sum(), np.float64)


def weighted_mean(values: Float64, weight: Float64) -> Float64:
    """Weighted mean over the last axis, which stays, of length 1."""
    return np.asarray(
        (weight * values).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True), np.float64
    )


def determinant(matrix: npt.NDArray[np.floating[Any]]) -> Float64:
    """Of symmetric matrices (..., 2, 2)."""
    return np.asarray(matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] ** 2, np.float64)
