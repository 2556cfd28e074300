"""Figures of merit against hand-computed and closed-form values."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import numpy.typing as npt
import pytest

from heimdall.core.randomness import generator
from heimdall.geometry.geo import TangentPlane, distance_m
from heimdall.metrics import metrics
from heimdall.metrics.metrics import Errors, Estimates
from heimdall.position.posterior import Posterior

PLANE = TangentPlane(45.0, 8.0, 260.0)


def errors_of(distance_m: npt.ArrayLike, sigma_m: npt.ArrayLike = 1.0) -> Errors:
    """Errors of so many metres by answers that predict an RMS of `sigma_m`, the truth in the north."""
    distance, sigma = np.broadcast_arrays(np.atleast_1d(distance_m), np.atleast_1d(sigma_m))
    level = 1 - np.exp(-((distance / sigma) ** 2))
    zero = np.zeros(len(distance))
    return Errors(distance * 1.0, sigma * 1.0, sigma * 1.0, sigma * 1.0, level, zero, zero)


def simulated(n: int, true_over_predicted: float) -> Errors:
    """Errors of n Gaussians whose real spread is `true_over_predicted` times the predicted one."""
    random = generator(7, "test metrics")
    sigma_m = np.stack([random.uniform(20, 60, n), random.uniform(100, 900, n)], axis=-1)
    position_m = random.normal(size=(n, 2)) * sigma_m * true_over_predicted
    covariance_m2 = sigma_m[:, :, np.newaxis] ** 2 * np.eye(2)
    truth_deg = PLANE.to_degrees(np.zeros(n), np.zeros(n))
    return metrics.errors(Posterior.gaussian(position_m, covariance_m2), *truth_deg, PLANE)


def test_errors_are_geodesic_metres_of_the_heaviest_gaussian() -> None:
    mean_m = np.array([[[9e4, 0.0], [3e3, 4e3]], [[300.0, 0.0], [9e4, 9e4]]])
    covariance_m2 = np.array([[9.0, 4.0], [4.0, 16.0]]) * np.ones((2, 2, 1, 1))
    posterior = Posterior(mean_m, covariance_m2, np.array([[0.25, 0.75], [1.0, 0.0]]))
    truth_deg = PLANE.to_degrees(np.zeros(2), np.zeros(2))
    error = metrics.errors(posterior, *truth_deg, PLANE)
    answer_deg = PLANE.to_degrees(np.array([3e3, 300.0]), np.array([4e3, 0.0]))
    np.testing.assert_allclose(error.distance_m, distance_m(*answer_deg, *truth_deg))
    np.testing.assert_allclose(error.distance_m, [5000, 300], rtol=1e-4)
    np.testing.assert_allclose(error.sigma_m, 5)
    np.testing.assert_allclose(error.rms_m, [math.sqrt(25 + 0.25 * (8.7e4**2 + 4e3**2)), 5])
    np.testing.assert_allclose(error.ellipse_m, math.sqrt(math.sqrt(9 * 16 - 16) * -2 * math.log(0.05)))
    np.testing.assert_allclose(error.within_1km, [0.75, 1])
    np.testing.assert_allclose(error.level, [1, 1], atol=1e-3)
    np.testing.assert_allclose(error.log_density, posterior.log_density(np.zeros((2, 2))), rtol=1e-6)


def test_summary_by_hand() -> None:
    error = errors_of([5, 40, 30, 100, 200], [50, 60, 70, 80, 90])
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
    assert figures["sharpness_m"] == 70
    assert figures["mae_m_low"] is None


def test_summary_of_nothing_has_no_figures() -> None:
    assert metrics.summary(errors_of([]), None) == {"n": 0}


def test_localizable_by_hand() -> None:
    error = dataclasses.replace(errors_of([10, 999, 1001, 5000]), within_1km=np.array([1, 0.5, 0.5, 0]))
    figures = metrics.summary(error, None)
    assert figures["localizable_1km_predicted"] == 0.5
    assert figures["localizable_1km_observed"] == 0.5
    assert figures["localizable_1km_brier"] == 0.125


def test_calibration_error_of_five_bins_by_hand() -> None:
    predicted_m = np.repeat([10.0, 20.0, 30.0, 40.0, 50.0], 2)
    error_m = np.array([10, 10, 20, 20, 30, 30, 40, 40, 60, 60.0])  # only the last quintile is wrong, by 10 m
    assert metrics.calibration_error_m(error_m, predicted_m) == pytest.approx(2)


def test_calibration_error_of_a_constant_prediction_does_not_depend_on_the_order_of_rows() -> None:
    error_m, predicted_m = np.repeat([0.0, 20.0], 5), np.full(10, 10.0)
    expected = pytest.approx(math.sqrt(200) - 10)
    assert metrics.calibration_error_m(error_m, predicted_m) == expected
    assert metrics.calibration_error_m(error_m[[0, 5, 1, 6, 2, 7, 3, 8, 4, 9]], predicted_m) == expected


def test_each_calibration_error_speaks_of_its_own_prediction() -> None:
    error = dataclasses.replace(errors_of([10, 10], [10, 10]), rms_m=np.array([30.0, 30.0]))
    figures = metrics.calibration(error)
    assert figures["calibration_error_m"] == 0
    assert figures["posterior_rms_calibration_m"] == 20


def test_calibrated_gaussian_covers_what_it_says() -> None:
    figures = metrics.calibration(simulated(20_000, 1.0))
    assert figures["coverage_68"] == pytest.approx(0.68, abs=0.01)
    assert figures["coverage_95"] == pytest.approx(0.95, abs=0.005)
    assert figures["calibration_error_m"] < 10
    assert figures["posterior_rms_calibration_m"] == pytest.approx(figures["calibration_error_m"])
    sigma_m = generator(7, "test metrics")
    log_area = np.log(sigma_m.uniform(20, 60, 20_000) * sigma_m.uniform(100, 900, 20_000))
    entropy = math.log(2 * math.pi) + float(log_area.mean()) + 1
    assert figures["nll_nats"] == pytest.approx(entropy, abs=0.03)


def test_overconfident_gaussian_is_found_out() -> None:
    overconfident = metrics.calibration(simulated(20_000, 2.0))
    honest = metrics.calibration(simulated(20_000, 1.0))
    # P(chi-square_2 > q / 4) = (1 - p)^(1/4)
    assert overconfident["coverage_95"] == pytest.approx(1 - 0.05**0.25, abs=0.01)
    assert overconfident["calibration_error_m"] > 20 * honest["calibration_error_m"]
    assert overconfident["nll_nats"] > honest["nll_nats"] + 2


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
    error = errors_of(np.repeat(effect_m, 10), 1000)
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
    better, worse = errors_of(base_m), errors_of(base_m + 10)
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
