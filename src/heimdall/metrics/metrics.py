"""Figures of merit of positions with their posteriors, in metres, with bootstrap intervals.

NumPy in float64 without BLAS: a matrix product splits its sums by the machine, these do not.
Lengths are metres, shares lie in [0, 1], and every array has one row a position.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.geometry.geo import TangentPlane, distance_m
from heimdall.position.posterior import Posterior

Array = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int16]

ACCURACY_WITHIN_M = (30, 50, 100)
COVERAGE_PROBABILITIES = (0.68, 0.95)
LOCALIZABLE_M = 1000.0
# The specification's targets, by the key of `summary` that they speak of.
TARGETS = {"mae_m": 30.0, "accuracy_30m": 0.9, "calibration_error_m": 5.0}
_INTERVAL = (0.025, 0.975)
_RESAMPLES = 100  # at a time
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
    """What posteriors are wrong by, beside what they said of it.

    Attributes:
        distance_m: Geodesic distance of the answer, the medoid's mean, from the truth, metres,
            shape (n,).
        sigma_m: RMS distance that the medoid predicts, sqrt(sigma_east^2 + sigma_north^2), metres,
            shape (n,).
        rms_m: RMS distance from the answer that the whole mixture predicts, metres, shape (n,).
        ellipse_m: Radius of the circle as large as the medoid's 95 % ellipse, metres, shape (n,).
        level: Smallest probability of a region of highest density that contains the truth, shape (n,).
        log_density: Log density of the truth under the mixture, nats for densities per m^2, shape (n,).
        within_1km: Predicted probability that the truth lies within 1 km of the answer, shape (n,).
    """

    distance_m: Array
    sigma_m: Array
    rms_m: Array
    ellipse_m: Array
    level: Array
    log_density: Array
    within_1km: Array

    def __post_init__(self) -> None:
        _check_columns(self)

    def __len__(self) -> int:
        return len(self.distance_m)


def errors(posterior: Posterior, latitude_deg: Array, longitude_deg: Array, plane: TangentPlane) -> Errors:
    """Compare posteriors with the truth.

    Args:
        posterior: Of n sessions.
        latitude_deg: True latitudes, degrees, shape (n,).
        longitude_deg: True longitudes, degrees, shape (n,).
        plane: In which the posteriors are given. The distance is geodesic.

    Returns:
        The n errors.
    """
    truth_m = np.stack(plane.to_local(latitude_deg, longitude_deg), axis=-1)  # (n, 2)
    answer_deg = plane.to_degrees(posterior.position_m[:, 0], posterior.position_m[:, 1])
    covariance = posterior.medoid_covariance_m2
    determinant = covariance[:, 0, 0] * covariance[:, 1, 1] - covariance[:, 0, 1] ** 2
    return Errors(
        distance_m=distance_m(*answer_deg, latitude_deg, longitude_deg),
        sigma_m=np.sqrt((posterior.sigma_m**2).sum(axis=1)),
        rms_m=posterior.rms_m,
        ellipse_m=np.sqrt(np.sqrt(determinant) * chi_square_2(0.95)),
        level=posterior.level(truth_m),
        log_density=posterior.log_density(truth_m),
        within_1km=posterior.within(LOCALIZABLE_M),
    )


def calibration_error_m(error_m: Array, predicted_m: Array) -> float:
    """Count-weighted mean of |RMS error - RMS prediction| over quintiles of the prediction.

    Equal predictions share a bin: a constant one is one bin, not five.

    Args:
        error_m: Two-dimensional distances from the truth, metres, shape (n,), n > 0.
        predicted_m: The RMS of that distance if the prediction were true, metres, shape (n,).

    Returns:
        Metres.
    """
    quintile = np.searchsorted(np.quantile(predicted_m, _QUINTILES), predicted_m, side="left")
    total = 0.0
    for number in range(len(_QUINTILES) + 1):
        member = quintile == number
        if member.any():
            total += int(member.sum()) * abs(_rms(error_m[member]) - _rms(predicted_m[member]))
    return total / len(error_m)


def coverage(error: Errors, probability: float) -> float:
    """Share of truths within the region of highest density that should hold `probability` of them."""
    return float(np.mean(error.level <= probability))


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
        Counts, int16, shape (B, n).
    """
    names, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    random, counts = generator(seed, "bootstrap"), np.empty((resamples, len(member)), np.int16)
    for row in counts:
        drawn = random.integers(len(names), size=len(names))
        row[:] = np.bincount(drawn, minlength=len(names))[member]
    return counts


def weighted_mean(values: Array, weights: Counts) -> Array:
    """Mean of `values` (n,) in each resample of `weights` (B, n), shape (B,)."""
    means = [(part * values).sum(axis=1) / part.sum(axis=1) for part in _parts(weights)]
    return np.asarray(np.concatenate(means), np.float64)


def weighted_median(values: Array, weights: Counts) -> Array:
    """Median of `values` (n,) in each resample of `weights` (B, n), shape (B,)."""
    order = np.argsort(values, kind="stable")
    medians = []
    for part in _parts(weights):
        cumulated = part[:, order].cumsum(axis=1)  # (b, n)
        total = cumulated[:, -1:]
        lower = (cumulated > (total - 1) // 2).argmax(axis=1)
        upper = (cumulated > total // 2).argmax(axis=1)
        medians.append((values[order[lower]] + values[order[upper]]) / 2)
    return np.asarray(np.concatenate(medians), np.float64)


def _parts(weights: Counts) -> Iterator[Counts]:
    """Some resamples at a time, so that what is computed of them needs little memory."""
    return (weights[first : first + _RESAMPLES] for first in range(0, len(weights), _RESAMPLES))


def summary(error: Errors, weights: Counts | None) -> dict[str, Any]:
    """Every figure of merit.

    Args:
        error: n errors.
        weights: From `cluster_weights`, shape (B, n); None leaves the intervals null, as one cluster must.

    Returns:
        `n` and, where n is above 0: `mae_m`, `median_m`, `rmse_m`, `p90_m`, `p95_m`, `accuracy_30m` and
        so on, the figures of `calibration`, and `localizable_1km_predicted` (mean predicted probability of
        an error of at most 1 km), `_observed` (the share of such errors) and `_brier` (mean squared
        difference of the two, case by case); mean, median and accuracies with the bounds of their 95 %
        interval, `mae_m_low`, `mae_m_high`.
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
    figures |= calibration(error)
    localized = (distance <= LOCALIZABLE_M).astype(np.float64)
    figures["localizable_1km_predicted"] = float(np.mean(error.within_1km))
    figures["localizable_1km_observed"] = float(np.mean(localized))
    figures["localizable_1km_brier"] = float(np.mean((error.within_1km - localized) ** 2))
    return figures


def calibration(error: Errors) -> dict[str, float]:
    """What tells whether the uncertainties are true.

    Args:
        error: n errors, n > 0.

    Returns:
        `calibration_error_m`, by the medoid (the specification's dominant Gaussian);
        `posterior_rms_calibration_m`, by the whole mixture; `nll_nats`, the mean negative log density of the
        truth; `coverage_68` and `coverage_95`; `sharpness_m`, the median of `Errors.ellipse_m`.
    """
    covered = {f"coverage_{round(p * 100)}": coverage(error, p) for p in COVERAGE_PROBABILITIES}
    return {
        "calibration_error_m": calibration_error_m(error.distance_m, error.sigma_m),
        "posterior_rms_calibration_m": calibration_error_m(error.distance_m, error.rms_m),
        "nll_nats": -float(np.mean(error.log_density)),
        **covered,
        "sharpness_m": float(np.median(error.ellipse_m)),
    }


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


def _rms(values: Array) -> float:
    return math.sqrt(float(np.mean(values**2)))


def _check_columns(columns: Estimates | Errors) -> None:
    """Refuse columns of different lengths and values that are no numbers."""
    arrays = [getattr(columns, field.name) for field in fields(columns)]
    if len({array.shape for array in arrays}) != 1 or arrays[0].ndim != 1:
        raise ValueError(f"columns of one length expected, not {[array.shape for array in arrays]}")
    if not all(np.isfinite(array).all() for array in arrays):
        raise ValueError("a position or uncertainty is not a finite number")
