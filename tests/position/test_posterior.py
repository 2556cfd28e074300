"""The mixture's densities, levels and probabilities against closed forms, SciPy and simulation."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from heimdall.core.randomness import generator
from heimdall.position.posterior import Array, Posterior


def mixture(n: int = 3, components: int = 3, seed: int = 1) -> Posterior:
    """Mixtures of tilted Gaussians whose modes lie some sigmas apart."""
    random = generator(seed, "test posterior")
    factor = random.normal(size=(n, components, 2, 2)) * 500
    covariance = np.einsum("nkij,nklj->nkil", factor, factor) + 300.0**2 * np.eye(2)
    weight = random.uniform(0.2, 1, (n, components))
    mean = random.uniform(-3000, 3000, (n, components, 2))
    return Posterior(mean, covariance, weight / weight.sum(axis=1, keepdims=True))


def draw(posterior: Posterior, row: int, count: int, seed: int) -> Array:
    """Points drawn from one session's mixture, shape (count, 2)."""
    random = generator(seed, "test draw", row)
    chosen = random.choice(posterior.weight.shape[1], size=count, p=posterior.weight[row])
    factor = np.linalg.cholesky(posterior.covariance_m2[row])[chosen]
    spread = np.einsum("sij,sj->si", factor, random.normal(size=(count, 2)))
    return np.asarray(posterior.mean_m[row, chosen] + spread)


def repeated(posterior: Posterior, row: int, count: int) -> Posterior:
    rows = np.full(count, row)
    return Posterior(posterior.mean_m[rows], posterior.covariance_m2[rows], posterior.weight[rows])


def test_log_density_is_scipys() -> None:
    posterior, point = mixture(), generator(2, "test points").uniform(-4000, 4000, (3, 2))
    expected = [
        np.log(
            sum(
                weight * stats.multivariate_normal(mean, covariance).pdf(point[row])
                for weight, mean, covariance in zip(
                    posterior.weight[row], posterior.mean_m[row], posterior.covariance_m2[row], strict=True
                )
            )
        )
        for row in range(3)
    ]
    np.testing.assert_allclose(posterior.log_density(point), expected, rtol=1e-12)


def test_density_far_from_every_component_is_a_finite_number() -> None:
    posterior = Posterior.gaussian(np.zeros((1, 2)), np.eye(2)[np.newaxis])
    assert posterior.log_density(np.array([[1e6, 0.0]]))[0] == pytest.approx(-5e11)


def test_mixture_integrates_to_one() -> None:
    axis = np.arange(-9000, 9000, 60.0)
    points = np.stack(np.meshgrid(axis, axis), axis=-1).reshape(-1, 2)
    density = np.exp(repeated(mixture(), 0, len(points)).log_density(points))
    assert density.sum() * 60.0**2 == pytest.approx(1, abs=1e-4)


def test_level_of_one_gaussian_is_chi_square() -> None:
    posterior, point = mixture(components=1), np.array([[100.0, 900.0], [-2500.0, 0.0], [0.0, 0.0]])
    offset = point - posterior.position_m
    squared = np.einsum("ni,nij,nj->n", offset, np.linalg.inv(posterior.medoid_covariance_m2), offset)
    np.testing.assert_allclose(posterior.level(point), stats.chi2(2).cdf(squared), rtol=1e-12)


def test_level_by_quadrature_agrees_with_chi_square() -> None:
    """Two equal components are one Gaussian, but go the way of a mixture."""
    one = mixture(components=1)
    two = Posterior(
        np.repeat(one.mean_m, 2, axis=1), np.repeat(one.covariance_m2, 2, axis=1), np.full((3, 2), 0.5)
    )
    point = one.position_m + np.array([[300.0, 0.0], [0.0, 900.0], [700.0, -700.0]])
    np.testing.assert_allclose(two.level(point), one.level(point), atol=2e-3)


def test_level_of_a_mixture_is_uniform_where_the_truth_is_drawn_from_it() -> None:
    posterior = mixture(n=1, components=2, seed=5)
    truth = draw(posterior, 0, 3000, 3)
    level = repeated(posterior, 0, len(truth)).level(truth)
    for probability in (0.1, 0.5, 0.68, 0.95):
        assert np.mean(level <= probability) == pytest.approx(probability, abs=0.03)


def test_level_of_a_point_between_two_modes_is_high() -> None:
    covariance = np.full((1, 2, 1, 1), 100.0**2) * np.eye(2)
    posterior = Posterior(np.array([[[-1000.0, 0], [1000, 0]]]), covariance, np.array([[0.6, 0.4]]))
    assert posterior.level(np.array([[0.0, 0.0]]))[0] > 0.999
    assert posterior.level(np.array([[-1000.0, 0.0]]))[0] < 0.01
    assert posterior.level(np.array([[1000.0, 0.0]]))[0] == pytest.approx(0.6 * (1 - 0.4 / 0.6), abs=3e-3)


def test_within_agrees_with_sampling() -> None:
    posterior = mixture(seed=8)
    for radius_m in (200.0, 1000.0, 5000.0):
        probability = posterior.within(radius_m)
        for row in range(3):
            points = draw(posterior, row, 100_000, 4) - posterior.position_m[row]
            sampled = np.mean(np.hypot(points[:, 0], points[:, 1]) <= radius_m)
            assert probability[row] == pytest.approx(sampled, abs=0.005)


@pytest.mark.parametrize("sigma_m", [1e-2, 300.0, 1000.0, 1e6])
def test_within_of_a_round_gaussian_is_closed_form(sigma_m: float) -> None:
    posterior = Posterior.gaussian(np.full((1, 2), 5e4), sigma_m**2 * np.eye(2)[np.newaxis])
    expected = -np.expm1(-(1000.0**2) / (2 * sigma_m**2))
    assert posterior.within(1000.0)[0] == pytest.approx(expected, rel=1e-6)


def test_within_of_a_ridge_is_that_of_its_axis() -> None:
    axis = np.array([3.0, 4.0]) / 5
    covariance = 1e4**2 * np.outer(axis, axis) + 1.0**2 * (np.eye(2) - np.outer(axis, axis))
    posterior = Posterior.gaussian(np.zeros((1, 2)), covariance[np.newaxis])
    assert posterior.within(1000.0)[0] == pytest.approx(2 * stats.norm.cdf(0.1) - 1, rel=1e-5)


def test_rms_distance_agrees_with_sampling() -> None:
    posterior = mixture(seed=9)
    for row in range(3):
        points = draw(posterior, row, 100_000, 6) - posterior.position_m[row]
        assert posterior.rms_m[row] == pytest.approx(np.sqrt((points**2).sum(axis=1).mean()), rel=0.01)


def test_the_component_answers_that_the_mixture_lies_nearest_to() -> None:
    """The heaviest one, 20 km away, stands against two that agree; the heavier of them answers."""
    mean_m = np.array([[[20e3, 0.0], [0.0, 0.0], [-50.0, 0.0]]])
    covariance = np.broadcast_to(np.eye(2) * 100.0**2, (1, 3, 2, 2))
    posterior = Posterior(mean_m, covariance, np.array([[0.4, 0.31, 0.29]]))
    assert posterior.medoid.tolist() == [1]


def test_the_answer_is_the_medoid() -> None:
    weight = np.array([[0.1, 0.8, 0.1], [0.9, 0.05, 0.05]])
    covariance = np.array([[9.0, 2.0], [2.0, 16.0]]) * np.ones((2, 3, 1, 1))
    posterior = Posterior(np.arange(12.0).reshape(2, 3, 2), covariance, weight)
    assert posterior.medoid.tolist() == [1, 0]
    assert posterior.position_m.tolist() == [[2, 3], [6, 7]]
    assert posterior.sigma_m.tolist() == [[3, 4], [3, 4]]
    assert posterior.medoid_covariance_m2[0].tolist() == [[9, 2], [2, 16]]


def test_posteriors_of_different_sizes_stand_one_after_the_other() -> None:
    small, large, point = mixture(n=2, components=1), mixture(n=1, components=3), np.zeros((3, 2))
    both = Posterior.concatenate([small, large])
    assert both.weight.shape == (3, 3)
    for given in (Posterior.log_density, Posterior.level):
        np.testing.assert_array_equal(
            given(both, point), np.concatenate([given(small, point[:2]), given(large, point[:1])])
        )
    np.testing.assert_allclose(both.rms_m, np.concatenate([small.rms_m, large.rms_m]))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"weight": np.array([[0.5, 0.4]])}, "sum to 1"),
        ({"weight": np.array([[1.5, -0.5]])}, "sum to 1"),
        ({"mean_m": np.full((1, 2, 2), np.nan)}, "finite"),
        ({"mean_m": np.zeros((1, 3, 2))}, "shapes"),
        ({"covariance_m2": np.array([[1.0, 2.0], [2.0, 1.0]]) * np.ones((1, 2, 1, 1))}, "positive definite"),
    ],
)
def test_bad_mixtures_are_refused(change: dict[str, Array], message: str) -> None:
    given = {
        "mean_m": np.zeros((1, 2, 2)),
        "covariance_m2": np.ones((1, 2, 1, 1)) * np.eye(2),
        "weight": np.array([[0.5, 0.5]]),
    }
    with pytest.raises(ValueError, match=message):
        Posterior(**(given | change))
