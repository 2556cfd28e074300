"""Figures of merit against hand-computed and closed-form values."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest

from heimdall import metrics
from heimdall.geo import LocalFrame
from heimdall.metrics import Errors, Estimates
from heimdall.randomness import generator

FRAME = LocalFrame(45.0, 8.0)


def errors_of(
    east_m: npt.ArrayLike, north_m: npt.ArrayLike, sigma_east_m: npt.ArrayLike, sigma_north_m: npt.ArrayLike
) -> Errors:
    columns = np.broadcast_arrays(east_m, north_m, sigma_east_m, sigma_north_m)
    east, north, sigma_east, sigma_north = (np.array(column, np.float64, ndmin=1) for column in columns)
    return Errors(np.hypot(east, north), east, north, sigma_east, sigma_north)


def gaussian(n: int, true_over_predicted: float) -> Errors:
    """Errors of n predictions whose real spread is `true_over_predicted` times the predicted one."""
    random = generator(7, "test metrics")
    sigma_east, sigma_north = random.uniform(20, 60, n), random.uniform(100, 900, n)
    scale = true_over_predicted
    return errors_of(
        random.normal(size=n) * sigma_east * scale,
        random.normal(size=n) * sigma_north * scale,
        sigma_east,
        sigma_north,
    )


def test_errors_are_geodesic_metres() -> None:
    north_m, _ = FRAME.metres_per_degree
    estimates = Estimates(
        np.array([45.0, 45.0]), np.array([8.0, 8.01]), np.array([1.0, 2.0]), np.array([3.0, 4.0])
    )
    error = metrics.errors(estimates, np.array([45.001, 45.0]), np.array([8.0, 8.0]), FRAME)
    assert error.distance_m[0] == pytest.approx(0.001 * north_m, rel=1e-6)
    assert error.north_m[0] == pytest.approx(-0.001 * north_m)  # the estimate lies south of the truth
    assert error.east_m[1] == pytest.approx(error.distance_m[1], rel=1e-6)
    assert error.east_m[0] == 0


def test_summary_by_hand() -> None:
    error = errors_of([3, 0, 30, 0, 200], [4, 40, 0, 100, 0], 30, 40)  # distances 5 40 30 100 200
    figures = metrics.summary(error, None)
    assert figures["n"] == 5
    assert figures["mae_m"] == 75
    assert figures["median_m"] == 40
    assert figures["rmse_m"] == pytest.approx(math.sqrt((25 + 1600 + 900 + 10000 + 40000) / 5))
    assert figures["p90_m"] == pytest.approx(160)
    assert figures["p95_m"] == pytest.approx(180)
    assert figures["accuracy_30m"] == 0.4  # an error of exactly 30 m is within 30 m
    assert figures["accuracy_50m"] == pytest.approx(0.6)
    assert figures["accuracy_100m"] == pytest.approx(0.8)
    assert figures["sharpness_m"] == pytest.approx(math.sqrt(30 * 40 * -2 * math.log(0.05)))
    assert figures["mae_m_low"] is None


def test_summary_of_nothing_has_no_figures() -> None:
    assert metrics.summary(errors_of([], [], [], []), None) == {"n": 0}


def test_calibration_error_of_five_bins_by_hand() -> None:
    # Two rows a quintile; sigma_east = sigma_north, so predicted RMS is sigma * sqrt(2).
    sigma_m = np.repeat([10.0, 20.0, 30.0, 40.0, 50.0], 2) / math.sqrt(2)
    distance_m = [10, 10, 20, 20, 30, 30, 40, 40, 60, 60]  # only the last quintile is wrong, by 10 m
    assert metrics.calibration_error_m(errors_of(distance_m, 0, sigma_m, sigma_m)) == pytest.approx(2)


def test_calibration_error_of_a_constant_sigma_does_not_depend_on_the_order_of_rows() -> None:
    distance_m = np.array([0, 0, 0, 0, 0, 20, 20, 20, 20, 20.0])
    error = errors_of(distance_m, 0, 10 / math.sqrt(2), 10 / math.sqrt(2))
    assert metrics.calibration_error_m(error) == pytest.approx(math.sqrt(200) - 10)
    shuffled = errors_of(distance_m[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]], 0, 10 / math.sqrt(2), 10 / math.sqrt(2))
    assert metrics.calibration_error_m(shuffled) == metrics.calibration_error_m(error)


def test_likelihood_by_hand() -> None:
    error = errors_of([30, 0], [0, 80], 30, 40)  # squared deviations 1 and 4
    assert metrics.nll_nats(error) == pytest.approx(math.log(2 * math.pi * 1200) + (0.5 + 2) / 2)


def test_calibrated_gaussian_covers_what_it_says() -> None:
    error = gaussian(20_000, 1.0)
    assert metrics.coverage(error, 0.68) == pytest.approx(0.68, abs=0.01)
    assert metrics.coverage(error, 0.95) == pytest.approx(0.95, abs=0.005)
    assert metrics.calibration_error_m(error) < 10
    entropy = np.mean(np.log(2 * np.pi * error.sigma_east_m * error.sigma_north_m)) + 1
    assert metrics.nll_nats(error) == pytest.approx(entropy, abs=0.03)


def test_overconfident_gaussian_is_found_out() -> None:
    overconfident, honest = gaussian(20_000, 2.0), gaussian(20_000, 1.0)
    # P(chi-square_2 > q / 4) = (1 - p)^(1/4)
    assert metrics.coverage(overconfident, 0.95) == pytest.approx(1 - 0.05**0.25, abs=0.01)
    assert metrics.calibration_error_m(overconfident) > 20 * metrics.calibration_error_m(honest)
    assert metrics.nll_nats(overconfident) > metrics.nll_nats(honest) + 2


def test_weighted_statistics_equal_those_of_repeated_rows() -> None:
    values = np.array([5.0, 1.0, 9.0, 3.0])
    weights = np.array([[1, 1, 1, 1], [0, 2, 0, 1], [3, 0, 2, 1], [0, 0, 1, 1]])
    repeated = [np.repeat(values, row) for row in weights]
    np.testing.assert_array_equal(metrics.weighted_median(values, weights), [np.median(r) for r in repeated])
    np.testing.assert_allclose(metrics.weighted_mean(values, weights), [np.mean(r) for r in repeated])


def test_resamples_draw_whole_clusters() -> None:
    clusters = ["b", "a", "b", "c", "a"]
    weights = metrics.cluster_weights(clusters, 200, 42)
    assert weights.shape == (200, 5)
    np.testing.assert_array_equal(weights[:, 0], weights[:, 2])
    np.testing.assert_array_equal(weights[:, 1], weights[:, 4])
    assert (weights[:, [0, 1, 3]].sum(axis=1) == 3).all()  # as many clusters drawn as there are
    assert len(np.unique(weights, axis=0)) > 5
    np.testing.assert_array_equal(weights, metrics.cluster_weights(clusters, 200, 42))
    assert (weights != metrics.cluster_weights(clusters, 200, 43)).any()


def test_interval_covers_the_truth_and_clusters_widen_it() -> None:
    # 40 transmitters of 10 recordings each; all spread is between transmitters.
    effect_m = generator(3, "test effect").exponential(1000, 40)
    error = errors_of(np.repeat(effect_m, 10), 0, 1000, 1000)
    names = [f"tx{number}" for number in range(40)]
    by_transmitter = metrics.summary(error, metrics.cluster_weights(list(np.repeat(names, 10)), 2000, 42))
    by_recording = metrics.summary(error, metrics.cluster_weights([str(i) for i in range(400)], 2000, 42))
    assert by_transmitter["mae_m_low"] < 1000 < by_transmitter["mae_m_high"]
    width_m = by_transmitter["mae_m_high"] - by_transmitter["mae_m_low"]
    assert width_m == pytest.approx(2 * 1.96 * effect_m.std() / math.sqrt(40), rel=0.1)
    assert by_recording["mae_m_high"] - by_recording["mae_m_low"] < width_m / 2.5
    assert by_transmitter["median_m_low"] <= by_transmitter["median_m"] <= by_transmitter["median_m_high"]


def test_paired_difference_is_narrower_than_the_figures_themselves() -> None:
    base_m = generator(5, "test paired").exponential(1000, 100)
    better, worse = errors_of(base_m, 0, 1, 1), errors_of(base_m + 10, 0, 1, 1)
    weights = metrics.cluster_weights([str(number) for number in range(100)], 300, 42)
    difference = metrics.mae_difference(better, worse, weights, "d_m")
    assert difference["d_m"] == pytest.approx(-10)
    assert difference["d_m_low"] == pytest.approx(-10)
    assert difference["d_m_high"] == pytest.approx(-10)


@pytest.mark.parametrize(
    ("latitude", "sigma", "message"),
    [([45.0], [0.0], "above 0"), ([math.nan], [1.0], "finite"), ([45.0, 46.0], [1.0], "one length")],
)
def test_bad_estimates_are_refused(latitude: list[float], sigma: list[float], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Estimates(np.array(latitude), np.array([8.0]), np.array(sigma), np.array([1.0]))
