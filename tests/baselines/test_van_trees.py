"""The bound of van Trees: no estimator is below it, and the posterior mean comes near it (simulated)."""

from __future__ import annotations

import dataclasses

import numpy as np
import numpy.typing as npt
import pytest
from scipy import integrate, special, stats

from heimdall.baselines.cramer_rao import cramer_rao_m2, times_information_m2
from heimdall.baselines.delays import ErrorLaw
from heimdall.baselines.van_trees import (
    bound_m,
    levels_information_m2,
    prior_information_m2,
    seen_share,
    sigma_m,
)
from heimdall.core.randomness import generator
from heimdall.geometry.area import Area
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.position.received_power import Levels, PowerModel, log_likelihood, mean_levels_db
from tests.synthetic_sessions import PLANE, RECEIVERS

Float64 = npt.NDArray[np.float64]

CENTRE_M = np.array([11_000.0, -7_000.0])
FIVE = [0, 1, 2, 4, 6]
MODEL = PowerModel(
    websdr_id=tuple(RECEIVERS.websdr_id.tolist()),
    gain_db=(30.0, 24.0, 28.0, 30.0, 26.0, 20.0, 22.0),
    slope=3.5,
    loss_db_per_km=0.1,
    uhf_offset_db=-4.0,
    shadow_sigma_db=8.0,
    power_sigma_db=5.0,
    squelch_db=-3.0,
)
UNSQUELCHED = dataclasses.replace(MODEL, squelch_db=-1e4)
EVERYONE = Levels(RECEIVERS, np.full(7, 20.0), np.zeros(7, bool), uhf=False)
NOTHING_M2 = np.zeros((2, 2))


def times_m2(at_m: Float64, rows: list[int], sigma_s: float, *, excess_s: float = 0.0) -> Float64:
    """F of times that err by nothing but the receivers' clocks, nearly."""
    count = len(rows)
    sites_m = RECEIVERS.position_m[rows]
    return times_information_m2(
        at_m, np.full(count, 1e30), np.full(count, sigma_s), sites_m, PLANE, excess_s=excess_s
    )


@dataclasses.dataclass(frozen=True)
class Case:
    """Times of some receivers, levels of all or none, and a Gaussian prior around `CENTRE_M`."""

    rows: list[int]
    sigma_s: float
    heard: bool
    prior_sigma_m: float
    spacing_m: float

    def whitened(self, at_m: Float64) -> Float64:
        """The exact data at positions (n, 2), as numbers that err by N(0, 1) each, shape (n, numbers)."""
        centre = np.eye(len(self.rows)) - 1 / len(self.rows)  # the time of emission is unknown
        delay_s = distances_m(at_m, RECEIVERS.position_m[self.rows], PLANE) / SPEED_OF_LIGHT_M_S
        parts = [delay_s @ centre / self.sigma_s]
        if self.heard:
            covariance_db2 = MODEL.shadow_sigma_db**2 * np.eye(7) + MODEL.power_sigma_db**2
            root = np.linalg.cholesky(np.linalg.inv(covariance_db2))
            parts.append(mean_levels_db(MODEL, RECEIVERS, at_m, PLANE) @ root)
        return np.concatenate(parts, axis=1)

    def log_prior(self, at_m: Float64) -> Float64:
        return np.asarray(-0.5 * (((at_m - CENTRE_M) / self.prior_sigma_m) ** 2).sum(axis=-1))

    def grid_m(self) -> Float64:
        axis = np.arange(-4.5 * self.prior_sigma_m, 4.5 * self.prior_sigma_m, self.spacing_m)
        return CENTRE_M + np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)

    def information_m2(self, at_m: Float64) -> Float64:
        found = times_m2(at_m, self.rows, self.sigma_s)
        return found + (levels_information_m2(at_m, UNSQUELCHED, EVERYONE, PLANE) if self.heard else 0.0)

    def error_over_bound(self, count: int) -> float:
        """Root mean squared error of the posterior mean, which no estimator's is below, over the bound."""
        random = generator(1, "test van trees", round(self.prior_sigma_m), len(self.rows))
        grid_m = self.grid_m()
        expected, log_prior = self.whitened(grid_m), self.log_prior(grid_m)
        truth_m = CENTRE_M + self.prior_sigma_m * random.standard_normal((count, 2))
        exact = self.whitened(truth_m)
        noise = random.standard_normal(exact.shape)
        times = noise[:, : len(self.rows)]
        times -= times.mean(axis=1, keepdims=True)
        squared = []
        for at_m, seen in zip(truth_m, exact + noise, strict=True):
            rest = seen - expected
            log_posterior = log_prior - 0.5 * (rest * rest).sum(axis=1)
            weight = np.exp(log_posterior - log_posterior.max())
            mean_m = (weight[:, None] * grid_m).sum(axis=0) / weight.sum()
            squared.append(((mean_m - at_m) ** 2).sum())
        information_m2 = np.array([self.information_m2(at_m) for at_m in truth_m])
        prior_m2 = np.eye(2) / self.prior_sigma_m**2
        return float(np.sqrt(np.mean(squared)) / bound_m(information_m2, prior_m2))


@pytest.mark.parametrize(
    ("case", "most"),
    [
        (Case(FIVE, 3e-7, heard=False, prior_sigma_m=1_000.0, spacing_m=50.0), 1.1),
        (Case(FIVE, 3e-5, heard=False, prior_sigma_m=10_000.0, spacing_m=900.0), 1.3),
        (Case([0, 4], 1e-6, heard=True, prior_sigma_m=3_000.0, spacing_m=150.0), 1.1),
        (Case([0, 4], 1e-5, heard=True, prior_sigma_m=10_000.0, spacing_m=500.0), 1.3),
    ],
    ids=["five times", "five bad times", "two times and levels", "two bad times and levels"],
)
def test_the_posterior_mean_is_not_below_the_bound_and_comes_near_it(case: Case, most: float) -> None:
    assert 0.95 < case.error_over_bound(600) < most  # the scatter of 600 errors is 2 to 3 %


def test_without_data_the_bound_is_the_priors_and_with_perfect_data_that_of_cramer_and_rao() -> None:
    prior_m2 = np.diag([1 / 3e3**2, 1 / 4e3**2])
    assert bound_m(np.zeros((5, 2, 2)), prior_m2) == pytest.approx(5e3)
    information_m2 = times_m2(CENTRE_M, FIVE, 1e-9)
    sites_m = RECEIVERS.position_m[FIVE]
    covariance_m2 = cramer_rao_m2(CENTRE_M, np.full(5, 1e30), np.full(5, 1e-9), sites_m, PLANE)
    assert sigma_m(information_m2 + prior_m2) == pytest.approx(np.sqrt(np.trace(covariance_m2)), rel=1e-3)
    assert sigma_m(information_m2) == pytest.approx(np.sqrt(np.trace(covariance_m2)), rel=1e-9)
    assert np.isinf(sigma_m(NOTHING_M2))


def test_two_times_tell_of_one_direction_and_one_of_none() -> None:
    information_m2 = times_m2(CENTRE_M, [0, 4], 5e-8)
    assert np.linalg.matrix_rank(information_m2, rtol=1e-9) == 1
    assert np.isinf(sigma_m(information_m2))
    prior_m2 = np.eye(2) / 2e3**2
    assert 2e3 < sigma_m(information_m2 + prior_m2) < 2.01e3  # the prior's, along the hyperbola
    np.testing.assert_array_equal(times_m2(CENTRE_M, [0], 5e-8), NOTHING_M2)


def test_the_excess_is_one_more_error_of_each_time() -> None:
    found = times_m2(CENTRE_M, FIVE, 5e-8, excess_s=1.2e-7)
    np.testing.assert_allclose(found, times_m2(CENTRE_M, FIVE, 1.3e-7), rtol=1e-12)


def test_the_mean_of_unequal_sessions_is_bounded_below_their_own_bounds() -> None:
    each_m2 = np.array([np.eye(2) / 10.0**2, np.eye(2) / 1e3**2])
    own_m = sigma_m(each_m2)
    np.testing.assert_allclose(own_m, np.sqrt(2) * np.array([10.0, 1e3]))
    assert bound_m(each_m2, NOTHING_M2) == pytest.approx(20.0, rel=1e-3)
    assert bound_m(each_m2, NOTHING_M2) < np.sqrt(np.mean(own_m**2))


@pytest.mark.parametrize("under", [-6.0, -1.0, 0.0, 0.7, 3.0])
def test_what_a_squelch_leaves_is_the_curvature_of_the_divergence(under: float) -> None:
    """Twice the Kullback-Leibler divergence to a mean that is a little higher, over the step squared."""
    step = 1e-3

    def of_levels(level: float) -> float:
        return float(stats.norm.pdf(level) * (stats.norm.logpdf(level) - stats.norm.logpdf(level - step)))

    heard = integrate.quad(of_levels, under, under + 30, points=[0.0] if under < 0 else None, epsabs=1e-14)[0]
    silent = special.ndtr(under) * (special.log_ndtr(under) - special.log_ndtr(under - step))
    assert seen_share(np.array(under)) == pytest.approx(2 * (heard + silent) / step**2, rel=1e-2, abs=1e-4)


def test_a_level_far_above_the_squelch_counts_in_full_and_one_far_below_not_at_all() -> None:
    share = seen_share(np.array([-50.0, -2.0, 0.0, 2.0, 50.0]))
    assert share[0] == 1.0
    assert share[-1] == pytest.approx(0.0, abs=1e-12)
    assert (np.diff(share) < 0).all()


def test_information_of_levels_without_a_squelch_is_that_of_correlated_gaussians() -> None:
    slope_db_per_m = (
        np.stack(
            [
                mean_levels_db(MODEL, RECEIVERS, CENTRE_M + step, PLANE)
                - mean_levels_db(MODEL, RECEIVERS, CENTRE_M - step, PLANE)
                for step in 10.0 * np.eye(2)
            ],
            axis=-1,
        )
        / 20.0
    )
    covariance_db2 = MODEL.shadow_sigma_db**2 * np.eye(7) + MODEL.power_sigma_db**2
    expected = slope_db_per_m.T @ np.linalg.solve(covariance_db2, slope_db_per_m)
    found = levels_information_m2(CENTRE_M, UNSQUELCHED, EVERYONE, PLANE)
    np.testing.assert_allclose(found, expected, rtol=1e-6)
    absent = dataclasses.replace(EVERYONE, snr_db=np.where(np.arange(7) == 2, np.nan, 20.0))
    without = np.delete(np.arange(7), 2)
    fewer = slope_db_per_m[without].T @ np.linalg.solve(
        covariance_db2[np.ix_(without, without)], slope_db_per_m[without]
    )
    np.testing.assert_allclose(levels_information_m2(CENTRE_M, UNSQUELCHED, absent, PLANE), fewer, rtol=1e-6)
    at_receiver_m = RECEIVERS.position_m[1, :2]
    assert np.isfinite(levels_information_m2(at_receiver_m, MODEL, EVERYONE, PLANE)).all()


def test_information_of_levels_with_a_squelch_is_the_scatter_of_the_score() -> None:
    """The likelihood that locates has the power integrated out, so it may hold a little less."""
    random = generator(1, "test van trees score")
    mean_db = mean_levels_db(MODEL, RECEIVERS, CENTRE_M, PLANE) + MODEL.uhf_offset_db
    step_m = 50.0
    around_m = CENTRE_M + step_m * np.array([[1, 0], [-1, 0], [0, 1], [0, -1.0]])
    scores = []
    for _ in range(3000):
        level_db = mean_db + MODEL.power_sigma_db * random.normal()
        level_db += MODEL.shadow_sigma_db * random.normal(size=7)
        silent = level_db < MODEL.squelch_db
        levels = Levels(RECEIVERS, np.where(silent, np.nan, level_db), silent, uhf=True)
        told = log_likelihood(MODEL, levels, around_m, PLANE)
        scores.append([told[0] - told[1], told[2] - told[3]])
    score = np.array(scores) / (2 * step_m)
    found = levels_information_m2(CENTRE_M, MODEL, dataclasses.replace(EVERYONE, uhf=True), PLANE)
    share = np.linalg.eigvals(np.linalg.solve(found, score.T @ score / len(score)))
    assert (share > 0.85).all()
    assert (share < 1.08).all()  # a variance of 3000 scatters by 3 %


def test_information_of_a_prior() -> None:
    axis_m = np.arange(-20e3, 20e3, 200.0)
    grid_m = np.stack(np.meshgrid(axis_m, axis_m), axis=-1).reshape(-1, 2)

    def log_gaussian(at_m: Float64) -> Float64:
        return np.asarray(-0.5 * (at_m[..., 0] ** 2 / 2e3**2 + at_m[..., 1] ** 2 / 3e3**2))

    found = prior_information_m2(log_gaussian, grid_m)
    np.testing.assert_allclose(found, np.diag([1 / 2e3**2, 1 / 3e3**2]), rtol=1e-3, atol=1e-12)
    flat = prior_information_m2(lambda at_m: np.zeros(at_m.shape[:-1]), grid_m)
    np.testing.assert_array_equal(flat, NOTHING_M2)


def test_a_prior_that_goes_on_beyond_the_margin_has_less_information() -> None:
    area = Area.around(RECEIVERS)
    near, far = (
        np.trace(prior_information_m2(one.log_prior, one.grid_m(1e3)))
        for one in (area, dataclasses.replace(area, margin_m=4 * area.margin_m))
    )
    assert 0 < far < near


@pytest.mark.parametrize("rare", [1e-9, 0.1, 0.4])
def test_what_heavy_tails_leave_of_the_information(rare: float) -> None:
    """The same by another quadrature and library."""
    share = rare ** np.arange(3) / (rare ** np.arange(3)).sum()
    wider = np.array([1.0, 6.0, 36.0])

    def density(error: float) -> float:
        return float((share * stats.t.pdf(error / wider, 7) / wider).sum())

    def each(error: float) -> float:
        step = 1e-4
        slope = (density(error + step) - density(error - step)) / (2 * step)
        return slope**2 / density(error)

    parts = [integrate.quad(each, low, high)[0] for low, high in ((0, 3), (3, 20), (20, 100), (100, 1000))]
    assert ErrorLaw(1e-7, rare, 4e5).information == pytest.approx(0.99 * 2 * sum(parts), rel=1e-3)
    assert ErrorLaw(1e-7, 1e-9, 4e5).information == pytest.approx(0.99 * 0.8, rel=1e-4)
