"""What can be done without learning: four ways to a position and its covariance, tuned on the training split.

- Mean position: the mean of the training transmitters and their covariance, whatever is heard.
- Received power: mean and covariance of the posterior that levels and silent receivers leave (`power`). The
  mean, not the maximum: on simulated sessions of other worlds its MAE is a fifth lower.
- Time of arrival: weighted least squares on the delays of the receivers that know the time, the emission
  time unknown, with Cauchy's robust weights (D. H. Foy, "Position-location solutions by Taylor-series
  estimation", IEEE Trans. AES 12, 1976; P. J. Holland and R. E. Welsch, "Robust regression using iteratively
  reweighted least-squares", Comm. Stat. A6, 1977).
- Direct position: the place at whose delays the correlations themselves are large, without a decision on any
  delay before (A. J. Weiss, "Direct position determination of narrowband radio frequency transmitters", IEEE
  Signal Processing Letters 11, 2004).

The last two look for the place that is most probable with the mean position's Gaussian as prior, so that an
open ridge of three receivers has an end. Their covariance is the inverse of the information there, times a
factor, and the spread of the other places that explain the delays as well: three receivers' hyperbolas cross
twice. With fewer than three receivers that know the time they answer as received power does.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m, gradients
from heimdall.position import received_power
from heimdall.position.arrival import Observation, interpolate
from heimdall.position.posterior import Posterior
from heimdall.position.received_power import Levels, PowerModel

Float64 = npt.NDArray[np.float64]

Method = Literal["mean_position", "received_power", "time_of_arrival", "direct_position"]
METHODS: tuple[Method, ...] = get_args(Method)

GRID_SPACING_M = 4_000.0
LEAST_TIMED = 3  # two delays differ by one number, and a position has two
TUNE_SESSIONS = 200
_TAIL = 4.0  # errors of delays follow Student's t with one degree of freedom less, z^2 has half weight here
_STARTS = 4  # places on the grid that are refined, this far apart:
_APART_M = 12_000.0
_SAME_M = 300.0  # two refined places nearer than this are one
_STEPS = 40
_CONVERGED_M = 0.01
_FINE = 16  # lags a sample at which the direct method interpolates the correlations
_PRIOR_SIGMA_M = 60_000.0  # of the training transmitters' scatter, worth one of them
_EXCESS_S = np.array([5e-8, 1e-7, 2e-7, 4e-7, 8e-7, 1.6e-6, 3.2e-6])
_INFLATION = 10.0 ** np.linspace(-1.0, 4.0, 101)


@dataclass(frozen=True)
class Timing:
    """How far the delays of a method are to be trusted.

    Attributes:
        excess_sigma_s: Standard deviation of the delays beyond noise and clock (multipath), seconds.
        inflation: By what the covariance that follows is multiplied.
    """

    excess_sigma_s: float
    inflation: float


@dataclass(frozen=True)
class Baselines:
    """Everything that the baselines know, from the training split.

    Attributes:
        receivers: All receivers of the network.
        plane: Of the positions.
        area: Where a transmitter is looked for.
        rate_hz: Lags a second of the correlations, Hz.
        mean_m: Mean position of the training transmitters, metres.
        covariance_m2: Their covariance, square metres, by rows.
        levels: The received-power model.
        arrival: Tuning of the time of arrival.
        direct: Tuning of the direct position.
    """

    receivers: Receivers
    plane: TangentPlane
    area: Area
    rate_hz: float
    mean_m: tuple[float, float]
    covariance_m2: tuple[tuple[float, float], tuple[float, float]]
    levels: PowerModel
    arrival: Timing
    direct: Timing


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    receivers: Receivers,
    plane: TangentPlane,
    rate_hz: float,
) -> Baselines:
    """Tune every baseline on sessions whose transmitters are known.

    Excess and inflation of the time of arrival maximise the mean log density at the true positions, over a
    fixed grid and the first 200 sessions with three receivers that know the time. The direct position takes
    over the excess, which is the channel's, and has an inflation of its own.

    Args:
        observations: At least one session, of the training split.
        truth_m: East and north of their transmitters, metres, shape (n, 2).
        receivers: All receivers of the network.
        plane: Of the positions.
        rate_hz: Lags a second of the correlations (`correlation_rate_hz` of the features), Hz.

    Returns:
        The baselines. Where no session has three receivers that know the time, excess and inflation are the
        least of their grids.

    Raises:
        ValueError: There is no session.
    """
    truth_m = np.asarray(truth_m, np.float64)
    mean_m, covariance_m2 = _scatter(truth_m)
    untuned = Baselines(
        receivers=receivers,
        plane=plane,
        area=Area.around(receivers),
        rate_hz=rate_hz,
        mean_m=mean_m,
        covariance_m2=covariance_m2,
        levels=received_power.fit(observations, truth_m, receivers, plane),
        arrival=Timing(0.0, 1.0),
        direct=Timing(0.0, 1.0),
    )
    timed = [number for number, one in enumerate(observations) if _Timed.of(one)][:TUNE_SESSIONS]
    known = [(observations[number], truth_m[number]) for number in timed]
    arrival = _tuned(known, untuned, _time_of_arrival, _EXCESS_S)
    direct = _tuned(known, untuned, _direct_position, np.array([arrival.excess_sigma_s]))
    return replace(untuned, arrival=arrival, direct=direct)


def locate(method: Method, observation: Observation, baselines: Baselines) -> Posterior:
    """Where one session's transmitter is.

    "time_of_arrival" and "direct_position" answer as "received_power" does where fewer than three receivers
    know the time.

    Args:
        method: One of `METHODS`.
        observation: The session.
        baselines: What `fit` returned.

    Returns:
        One Gaussian for the one session.
    """
    if method == "mean_position":
        return _gaussian(np.array(baselines.mean_m), np.array(baselines.covariance_m2))
    fixes = None
    if method == "time_of_arrival":
        timing = baselines.arrival
        fixes = _time_of_arrival(observation, baselines, timing.excess_sigma_s)
    elif method == "direct_position":
        timing = baselines.direct
        fixes = _direct_position(observation, baselines, timing.excess_sigma_s)
    if fixes is None:
        return _gaussian(*_received_power(observation, baselines))
    position_m, covariance_m2 = fixes.moments(
        np.array([timing.inflation]), _Prior.of(baselines).information_m2
    )
    return _gaussian(position_m, covariance_m2[0])


_Method = Callable[[Observation, Baselines, float], "_Fixes | None"]


@dataclass(frozen=True, eq=False)
class _Fixes:
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
        log_weight = 0.5 * (np.log(_determinant(covariance)) - self.cost / factor)
        weight = np.exp(log_weight - log_weight.max(axis=1, keepdims=True))
        weight = weight / weight.sum(axis=1, keepdims=True)
        offset = self.position_m - self.position_m[0]
        spread = covariance + offset[:, :, None] * offset[:, None, :]
        return self.position_m[0], (weight[..., None, None] * spread).sum(axis=1)


@dataclass(frozen=True, eq=False)
class _Timed:
    """The T receivers of a session that know when the signal came."""

    row: npt.NDArray[np.intp]  # in the session
    position_m: Float64  # (T, 3)
    range_m: Float64  # delay times the speed of light, (T,)
    variance_m2: Float64  # of noise and clock, (T,)

    @classmethod
    def of(cls, observation: Observation) -> _Timed | None:
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


def _received_power(observation: Observation, baselines: Baselines) -> tuple[Float64, Float64]:
    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    levels = Levels.of(observation, baselines.receivers)
    log_likelihood = received_power.log_likelihood(baselines.levels, levels, grid_m, baselines.plane)
    return received_power.moments(log_likelihood, grid_m, GRID_SPACING_M)


def _time_of_arrival(observation: Observation, baselines: Baselines, excess_s: float) -> _Fixes | None:
    timed = _Timed.of(observation)
    if timed is None:
        return None
    excess_m = SPEED_OF_LIGHT_M_S * excess_s
    prior = _Prior.of(baselines)
    weight = timed.weight(excess_m)
    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    # Next to the right place a delay is off by up to half of the spacing.
    coarse = timed.weight(math.hypot(excess_m, GRID_SPACING_M / 2))
    residual = timed.range_m - distances_m(grid_m, timed.position_m, baselines.plane)
    residual = residual - _mean(residual, coarse)
    score = (coarse * residual * residual).sum(axis=-1) + prior.cost(grid_m)
    position = _starts(score, grid_m)
    distance, slope = gradients(position, timed.position_m, baselines.plane)
    start = _mean(timed.range_m - distance, weight)

    def evaluate(state: Float64) -> _Normal:
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
        return _Normal(cost, right, matrix)

    found = _descend(np.concatenate([position, start], axis=1), evaluate)
    _, slope = gradients(found[:, :2], timed.position_m, baselines.plane)
    return _distinct(found[:, :2], evaluate(found).cost, _information(slope, weight))


def _direct_position(observation: Observation, baselines: Baselines, excess_s: float) -> _Fixes | None:
    """The pairs' |r|^2, each over its largest value, summed with the weight that the pair has in time.

    Near a peak |r|^2 falls by the squared bandwidth times the squared error of the delay, so that the sum
    over all pairs is the cost of the weighted least squares; far from it the pair has nothing more to say.
    """
    timed = _Timed.of(observation)
    if timed is None:
        return None
    prior = _Prior.of(baselines)
    excess_m = SPEED_OF_LIGHT_M_S * excess_s
    first, second = np.triu_indices(len(timed.row), 1)
    numbers = {pair: number for number, pair in enumerate(map(tuple, observation.session.pair.tolist()))}
    rows = timed.row.tolist()
    chosen = [numbers[rows[a], rows[b]] for a, b in zip(first.tolist(), second.tolist(), strict=True)]
    fine = _power(observation.session.xcorr[chosen])  # (pairs, fine lags)
    middle = fine.shape[1] // 2
    lags_m = baselines.rate_hz * _FINE / SPEED_OF_LIGHT_M_S  # fine lags a metre
    fall_m2 = (2 * math.pi * observation.arrivals.rms_bandwidth_hz / SPEED_OF_LIGHT_M_S) ** 2
    pair = np.arange(len(chosen))

    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    distance = distances_m(grid_m, timed.position_m, baselines.plane)
    place = np.rint((distance[:, first] - distance[:, second]) * lags_m).astype(np.int64) + middle
    coarse = timed.weight(math.hypot(excess_m, GRID_SPACING_M / 2))
    loss = 1 - fine[pair, np.clip(place, 0, fine.shape[1] - 1)]
    score = (_shared(coarse, first, second) / fall_m2 * loss).sum(axis=-1) + prior.cost(grid_m)
    shared = _shared(timed.weight(excess_m), first, second)

    def evaluate(state: Float64) -> _Normal:
        distance, slope = gradients(state, timed.position_m, baselines.plane)
        value, derivative = _cubic(fine, (distance[:, first] - distance[:, second]) * lags_m + middle)
        jacobian = slope[:, first] - slope[:, second]  # (K, pairs, 2)
        pull = 0.5 * shared / fall_m2 * derivative * lags_m
        right = (pull[..., None] * jacobian).sum(axis=-2) - prior.gradient(state)
        cost = (shared / fall_m2 * (1 - value)).sum(axis=-1) + prior.cost(state)
        matrix = (shared[:, None, None] * jacobian[..., :, None] * jacobian[..., None, :]).sum(axis=-3)
        return _Normal(cost, right, matrix + prior.information_m2)

    found = _descend(_starts(score, grid_m), evaluate)
    _, slope = gradients(found, timed.position_m, baselines.plane)
    information = _information(slope, timed.weight(excess_m))
    return _distinct(found, evaluate(found).cost, information)


@dataclass(frozen=True, eq=False)
class _Prior:
    """The Gaussian of the training transmitters."""

    mean_m: Float64  # (2,)
    information_m2: Float64  # (2, 2)

    @classmethod
    def of(cls, baselines: Baselines) -> _Prior:
        return cls(np.array(baselines.mean_m), np.linalg.inv(np.array(baselines.covariance_m2)))

    def gradient(self, position_m: Float64) -> Float64:
        """Half the gradient of the cost, 1/m, shape (..., 2)."""
        offset = position_m - self.mean_m
        return np.asarray((offset[..., None, :] * self.information_m2).sum(axis=-1), np.float64)

    def cost(self, position_m: Float64) -> Float64:
        """Squared deviation, shape (...)."""
        return np.asarray(((position_m - self.mean_m) * self.gradient(position_m)).sum(axis=-1), np.float64)


@dataclass(frozen=True, eq=False)
class _Normal:
    """Normal equations at K states: a step x costs `cost` - 2 `right` x + x `matrix` x."""

    cost: Float64  # (K,)
    right: Float64  # (K, S)
    matrix: Float64  # (K, S, S)


def _descend(state: Float64, evaluate: Callable[[Float64], _Normal]) -> Float64:
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
        now = _Normal(
            np.where(better, then.cost, now.cost),
            np.where(better[:, None], then.right, now.right),
            np.where(better[:, None, None], then.matrix, now.matrix),
        )
        damping = np.where(better, damping / 10, damping * 10)
        if (np.abs(step[:, :2]) < _CONVERGED_M).all():
            break
    return state


def _starts(score: Float64, grid_m: Float64) -> Float64:
    """The points of the grid with the lowest score, far enough apart, shape (at most `_STARTS`, 2)."""
    score, chosen = score.copy(), []
    for _ in range(_STARTS):
        best = int(np.argmin(score))
        if not np.isfinite(score[best]):
            break
        chosen.append(best)
        offset = grid_m - grid_m[best]
        score[(offset * offset).sum(axis=-1) < _APART_M**2] = np.inf
    return np.asarray(grid_m[chosen], np.float64)


def _distinct(position_m: Float64, cost: Float64, information_m2: Float64) -> _Fixes:
    """Places by rising cost, each once."""
    kept: list[int] = []
    for number in np.argsort(cost, kind="stable").tolist():
        offset = position_m[kept] - position_m[number]
        if not ((offset * offset).sum(axis=-1) < _SAME_M**2).any():
            kept.append(number)
    return _Fixes(position_m[kept], cost[kept], information_m2[kept])


def _information(slope: Float64, weight: Float64) -> Float64:
    """F = sum w (h - h_mean)(h - h_mean)^T about positions, 1/m^2, shape (K, 2, 2), from slopes (K, T, 2)."""
    mean = (weight[:, None] * slope).sum(axis=-2, keepdims=True) / weight.sum()
    offset = slope - mean
    outer = offset[..., :, None] * offset[..., None, :]
    return np.asarray((weight[:, None, None] * outer).sum(axis=-3), np.float64)


def _shared(weight: Float64, first: npt.NDArray[np.intp], second: npt.NDArray[np.intp]) -> Float64:
    """Weights of pairs whose squared differences sum to the weighted squares about the weighted mean."""
    return np.asarray(weight[first] * weight[second] / weight.sum(), np.float64)


def _mean(values: Float64, weight: Float64) -> Float64:
    """Weighted mean over the last axis, which stays, of length 1."""
    return np.asarray(
        (weight * values).sum(axis=-1, keepdims=True) / weight.sum(axis=-1, keepdims=True), np.float64
    )


@lru_cache(maxsize=4)
def _table(lags: int) -> Float64:
    """Weight of each lag at the fine lags, shape (lags, _FINE (lags - 1) + 1)."""
    half = lags // 2
    fine = np.arange(-half * _FINE, half * _FINE + 1) / _FINE
    return np.ascontiguousarray(interpolate(np.eye(lags, dtype=np.complex128), fine[None]).real)


def _power(series: npt.NDArray[np.complex64]) -> Float64:
    """|r|^2 of correlations (pairs, lags) at the fine lags, over its largest value, (pairs, fine lags)."""
    table = _table(series.shape[1])
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


def _determinant(matrix: npt.NDArray[np.floating[Any]]) -> Float64:
    """Of symmetric matrices (..., 2, 2)."""
    return np.asarray(matrix[..., 0, 0] * matrix[..., 1, 1] - matrix[..., 0, 1] ** 2, np.float64)


def _gaussian(position_m: Float64, covariance_m2: Float64) -> Posterior:
    return Posterior.gaussian(position_m[None], covariance_m2[None])


def _scatter(truth_m: Float64) -> tuple[tuple[float, float], tuple[tuple[float, float], tuple[float, float]]]:
    """Mean and covariance of positions (n, 2); the covariance as if one more lay 60 km away each way."""
    count = len(truth_m)
    mean = truth_m.sum(axis=0) / count
    offset = truth_m - mean
    total = (offset[:, :, None] * offset[:, None, :]).sum(axis=0) + np.eye(2) * _PRIOR_SIGMA_M**2
    (east, cross), (_, north) = (total / (count + 1)).tolist()
    return (float(mean[0]), float(mean[1])), ((east, cross), (cross, north))


def _tuned(
    known: Sequence[tuple[Observation, Float64]], baselines: Baselines, method: _Method, excess_s: Float64
) -> Timing:
    """The excess, of those given, and the inflation that make the true positions most likely."""
    prior_m2 = _Prior.of(baselines).information_m2
    total = np.zeros((len(excess_s), len(_INFLATION)))
    work = [(row, session) for row in range(len(excess_s)) for session in known]
    for row, (observation, truth_m) in tqdm(work, "tune baselines", unit="fix", disable=None, delay=1):
        fixes = method(observation, baselines, float(excess_s[row]))
        if fixes is not None:
            total[row] += _log_density(*fixes.moments(_INFLATION, prior_m2), truth_m)
    excess, inflation = np.unravel_index(np.argmax(total), total.shape)
    return Timing(float(excess_s[excess]), float(_INFLATION[inflation]))


def _log_density(position_m: Float64, covariance_m2: Float64, truth_m: Float64) -> Float64:
    """Of Gaussians about one position with covariances (I, 2, 2) at the truth, up to a constant, (I,)."""
    east, north = (truth_m - position_m).tolist()
    determinant = _determinant(covariance_m2)
    square = covariance_m2[:, 1, 1] * east**2 + covariance_m2[:, 0, 0] * north**2
    square = (square - 2 * covariance_m2[:, 0, 1] * east * north) / determinant
    return np.asarray(-0.5 * (np.log(determinant) + square), np.float64)
