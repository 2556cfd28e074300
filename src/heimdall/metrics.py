"""Figures of merit of positions with uncertainties, in metres, with bootstrap intervals.

NumPy in float64 without BLAS: a matrix product splits its sums by the machine, these do not.
Lengths are metres, shares lie in [0, 1], and every array has one row a position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.geo import LocalFrame, distance_m
from heimdall.randomness import generator

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

ACCURACY_WITHIN_M = (30, 50, 100)
COVERAGE_PROBABILITIES = (0.68, 0.95)
# The specification's targets, by the key of `summary` that they speak of.
TARGETS = {"mae_m": 30.0, "accuracy_30m": 0.9, "calibration_error_m": 5.0}
_INTERVAL = (0.025, 0.975)
_QUINTILES = (0.2, 0.4, 0.6, 0.8)


@dataclass(frozen=True)
class Estimates:
    """Estimated positions, each with the standard deviations of an axis-parallel Gaussian.

    Attributes:
        latitude_deg: Degrees, float64, shape (n,).
        longitude_deg: Degrees, float64, shape (n,).
        sigma_east_m: Metres, above 0, float64, shape (n,).
        sigma_north_m: Metres, above 0, float64, shape (n,).
    """

    latitude_deg: Array
    longitude_deg: Array
    sigma_east_m: Array
    sigma_north_m: Array

    def __post_init__(self) -> None:
        _check_columns(self)
        if len(self) and not min(self.sigma_east_m.min(), self.sigma_north_m.min()) > 0:
            raise ValueError("a standard deviation must be above 0 m")

    def __len__(self) -> int:
        return len(self.latitude_deg)


@dataclass(frozen=True)
class Errors:
    """What estimates are wrong by, beside what they said of it.

    Attributes:
        distance_m: Geodesic distance from the truth, metres, shape (n,).
        east_m: Estimate minus truth to the east, metres, shape (n,).
        north_m: Estimate minus truth to the north, metres, shape (n,).
        sigma_east_m: Predicted standard deviation to the east, metres, shape (n,).
        sigma_north_m: Predicted standard deviation to the north, metres, shape (n,).
    """

    distance_m: Array
    east_m: Array
    north_m: Array
    sigma_east_m: Array
    sigma_north_m: Array

    def __post_init__(self) -> None:
        _check_columns(self)

    def __len__(self) -> int:
        return len(self.distance_m)

    @property
    def sigma_m(self) -> Array:
        """The predicted RMS of the two-dimensional error, sqrt(sigma_east^2 + sigma_north^2), shape (n,)."""
        return np.sqrt(self.sigma_east_m**2 + self.sigma_north_m**2)


def errors(estimates: Estimates, latitude_deg: Array, longitude_deg: Array, frame: LocalFrame) -> Errors:
    """Compare estimates with the truth.

    Args:
        estimates: n positions.
        latitude_deg: True latitudes, degrees, shape (n,).
        longitude_deg: True longitudes, degrees, shape (n,).
        frame: The chart in which the errors' east and north parts are taken. The distance is geodesic.

    Returns:
        The n errors.
    """
    east_m, north_m = frame.to_local(estimates.latitude_deg, estimates.longitude_deg)
    true_east_m, true_north_m = frame.to_local(latitude_deg, longitude_deg)
    return Errors(
        distance_m=distance_m(estimates.latitude_deg, estimates.longitude_deg, latitude_deg, longitude_deg),
        east_m=east_m - true_east_m,
        north_m=north_m - true_north_m,
        sigma_east_m=estimates.sigma_east_m,
        sigma_north_m=estimates.sigma_north_m,
    )


def calibration_error_m(error: Errors) -> float:
    """Count-weighted mean of |RMS error - RMS predicted sigma| over quintiles of predicted sigma.

    The error is the two-dimensional distance, so sigma is `Errors.sigma_m`, the RMS of that distance
    if the prediction were true. Equal sigmas share a bin: a constant sigma is one bin, not five.

    Args:
        error: At least one error.

    Returns:
        Metres.
    """
    sigma_m = error.sigma_m
    quintile = np.searchsorted(np.quantile(sigma_m, _QUINTILES), sigma_m, side="left")
    total = 0.0
    for number in range(len(_QUINTILES) + 1):
        member = quintile == number
        if member.any():
            total += int(member.sum()) * abs(_rms(error.distance_m[member]) - _rms(sigma_m[member]))
    return total / len(error)


def nll_nats(error: Errors) -> float:
    """Mean negative log density of the truth under the predicted Gaussian, in nats for densities per m^2.

    -log N = log(2 pi) + log(sigma_east sigma_north) + (east^2/sigma_east^2 + north^2/sigma_north^2) / 2.
    """
    log_area = np.log(error.sigma_east_m) + np.log(error.sigma_north_m)
    return math.log(2 * math.pi) + float(np.mean(log_area + _squared_deviation(error) / 2))


def coverage(error: Errors, probability: float) -> float:
    """Share of truths within the predicted ellipse that should hold `probability` of them."""
    return float(np.mean(_squared_deviation(error) <= chi_square_2(probability)))


def sharpness_m(error: Errors) -> float:
    """Median radius in metres of the circle as large as the predicted 95 % ellipse."""
    return float(np.median(np.sqrt(error.sigma_east_m * error.sigma_north_m * chi_square_2(0.95))))


def chi_square_2(probability: float) -> float:
    """The chi-square quantile with two degrees of freedom, in closed form: -2 log(1 - probability)."""
    return -2 * math.log1p(-probability)


def cluster_weights(clusters: Sequence[str], resamples: int, seed: int) -> Counts:
    """How often each row stands in each bootstrap resample of whole clusters, drawn with replacement.

    A transmitter's recordings fail together, so resampling single recordings would give intervals that
    are too narrow. The draw depends on the clusters' number and names alone: two predictors on the same
    rows, or on recordings and on sessions of the same transmitters, meet the same resamples.

    Args:
        clusters: Name of each row's cluster, length n.
        resamples: Number of resamples B.
        seed: The user's seed.

    Returns:
        Counts, int64, shape (B, n).
    """
    names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    drawn = generator(seed, "bootstrap").integers(len(names), size=(resamples, len(names)))
    # One bincount over all resamples: resample b counts in the block of bins from b * len(names) on.
    block = np.arange(resamples)[:, np.newaxis] * len(names)
    counts = np.bincount((drawn + block).ravel(), minlength=resamples * len(names))
    return counts.reshape(resamples, len(names))[:, member]  # (B, n)


def weighted_mean(values: Array, weights: Counts) -> Array:
    """Mean of `values` (n,) in each resample of `weights` (B, n), shape (B,)."""
    return np.asarray((weights * values).sum(axis=1) / weights.sum(axis=1), np.float64)


def weighted_median(values: Array, weights: Counts) -> Array:
    """Median of `values` (n,) in each resample of `weights` (B, n), shape (B,)."""
    order = np.argsort(values, kind="stable")
    cumulated = weights[:, order].cumsum(axis=1)  # (B, n)
    total = cumulated[:, -1:]
    lower = (cumulated > (total - 1) // 2).argmax(axis=1)
    upper = (cumulated > total // 2).argmax(axis=1)
    return np.asarray((values[order[lower]] + values[order[upper]]) / 2, np.float64)


def summary(error: Errors, weights: Counts | None) -> dict[str, Any]:
    """Every figure of merit.

    Args:
        error: n errors.
        weights: From `cluster_weights`, shape (B, n); None leaves the intervals null, as one cluster must.

    Returns:
        `n` and, where n is above 0: `mae_m`, `median_m`, `rmse_m`, `p90_m`, `p95_m`, `accuracy_30m` and
        so on, `calibration_error_m`, `nll_nats`, `coverage_68`, `coverage_95`, `sharpness_m`; mean,
        median and accuracies with the bounds of their 95 % interval, `mae_m_low`, `mae_m_high`.
    """
    figures: dict[str, Any] = {"n": len(error)}
    if not len(error):
        return figures
    distance = error.distance_m
    figures["mae_m"] = float(np.mean(distance))
    figures |= _interval("mae_m", distance, weights, weighted_mean)
    figures["median_m"] = float(np.median(distance))
    figures |= _interval("median_m", distance, weights, weighted_median)
    figures["rmse_m"] = _rms(distance)
    figures["p90_m"] = float(np.quantile(distance, 0.9))
    figures["p95_m"] = float(np.quantile(distance, 0.95))
    for within_m in ACCURACY_WITHIN_M:
        hit = (distance <= within_m).astype(np.float64)
        figures[f"accuracy_{within_m}m"] = float(np.mean(hit))
        figures |= _interval(f"accuracy_{within_m}m", hit, weights, weighted_mean)
    figures["calibration_error_m"] = calibration_error_m(error)
    figures["nll_nats"] = nll_nats(error)
    for probability in COVERAGE_PROBABILITIES:
        figures[f"coverage_{round(probability * 100)}"] = coverage(error, probability)
    figures["sharpness_m"] = sharpness_m(error)
    return figures


def mae_difference(error: Errors, other: Errors, weights: Counts | None, key: str) -> dict[str, float | None]:
    """How much larger `error`'s mean distance is than `other`'s on the same rows, with a paired interval.

    Args:
        error: n errors of one predictor.
        other: n errors of another predictor, row by row of the same targets.
        weights: As for `summary`.
        key: Name of the figure.

    Returns:
        `key`, `key_low` and `key_high` in metres; below 0 where the first predictor is the better one.
    """
    difference_m = error.distance_m - other.distance_m
    return {key: float(np.mean(difference_m))} | _interval(key, difference_m, weights, weighted_mean)


def _interval(
    key: str, values: Array, weights: Counts | None, statistic: Callable[[Array, Counts], Array]
) -> dict[str, float | None]:
    """The bounds of the 95 % percentile interval of a statistic under resampling."""
    if weights is None:
        return {f"{key}_low": None, f"{key}_high": None}
    low, high = np.quantile(statistic(values, weights), _INTERVAL)
    return {f"{key}_low": float(low), f"{key}_high": float(high)}


def _squared_deviation(error: Errors) -> Array:
    """Squared Mahalanobis distance of each truth from its estimate, shape (n,)."""
    return (error.east_m / error.sigma_east_m) ** 2 + (error.north_m / error.sigma_north_m) ** 2


def _rms(values: Array) -> float:
    return math.sqrt(float(np.mean(values**2)))


def _check_columns(columns: Estimates | Errors) -> None:
    """Refuse columns of different lengths and values that are no numbers."""
    arrays = [getattr(columns, field.name) for field in fields(columns)]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"columns of one length expected, not {[array.shape for array in arrays]}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a position or uncertainty is not a finite number")
