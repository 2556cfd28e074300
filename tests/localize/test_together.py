"""Sessions of one transmitter together, against sums over a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.geometry.area import Area
from heimdall.localize.together import log_odds, together
from heimdall.position.posterior import Posterior
from tests.synthetic_sessions import RECEIVERS

AREA = Area.around(RECEIVERS)
TRUTH_M = np.array([[9_000.0, -4_000.0]])


def crossed(sigma_m: float = 400.0) -> Posterior:
    """Two sessions that know one direction each: ridges that cross near the truth."""
    east, north = np.diag([1.0, 0.0]), np.diag([0.0, 1.0])
    covariances = [4e4**2 * east + sigma_m**2 * north, 4e4**2 * north + sigma_m**2 * east]
    means = TRUTH_M + np.array([[0.0, 150.0], [-150.0, 0.0]])
    wide = np.broadcast_to(6e4**2 * np.eye(2), (2, 2, 2))
    return Posterior(
        np.stack([means, np.zeros((2, 2))], axis=1),
        np.stack([np.array(covariances), wide], axis=1),
        np.full((2, 2), (0.9, 0.1)),
    )


def summed(sessions: Posterior, shared: float, at_m: np.ndarray) -> np.ndarray:
    """Log density at points, by a sum over squares of 200 m."""
    worth = 1 / (1 + (len(sessions) - 1) * shared)

    def log_product(points_m: np.ndarray) -> np.ndarray:
        prior = AREA.log_prior(points_m)
        return prior + worth * sum(sessions.log_density_of(n, points_m) - prior for n in range(len(sessions)))

    ticks_m = np.arange(-100_000 + 100, 100_000, 200)
    rows = (TRUTH_M + np.stack([ticks_m, np.full_like(ticks_m, north_m)], axis=-1) for north_m in ticks_m)
    total = sum(np.exp(log_product(row)).sum() for row in rows)
    return log_product(at_m) - np.log(total * 200**2)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_two_ridges_become_the_place_where_they_cross(shared: float) -> None:
    found = together(crossed(), AREA, shared)
    assert np.hypot(*(found.position_m - TRUTH_M)[0]) < 500
    at_m = TRUTH_M + np.array([[0.0, 0.0], [-150.0, 150.0], [300.0, -250.0]])
    assert found.log_density_of(0, at_m) == pytest.approx(
        summed(crossed(), shared, at_m), abs=0.2
    )  # of 16 Gaussians


def test_what_is_shared_counts_once() -> None:
    """Two sessions that say the same are one where all is shared, and narrower by sqrt 2 where nothing is."""
    one = Posterior.gaussian(TRUTH_M, 500.0**2 * np.eye(2)[np.newaxis])
    twice = Posterior.concatenate([one, one])
    for shared in (0.0, 0.5, 1.0):
        variance_m2 = 500.0**2 * (1 + shared) / 2
        peak = float(together(twice, AREA, shared).log_density(TRUTH_M)[0])
        assert peak == pytest.approx(
            -np.log(2 * np.pi * variance_m2), abs=0.15
        )  # of the grid and its 17 Gaussians


@pytest.mark.parametrize("apart", [1.0, 3.0, 5.0])
def test_sessions_that_are_apart_meet_where_their_product_is(apart: float) -> None:
    """Two Gaussians of 50 and 200 m, so many standard deviations apart: their product has a closed form."""
    sigma_m = np.array([50.0, 200.0])
    mean_m = TRUTH_M + np.array([[0.0, 0.0], [apart * np.hypot(*sigma_m), 0.0]])
    found = together(Posterior.gaussian(mean_m, sigma_m[:, None, None] ** 2 * np.eye(2)), AREA, 0.2)
    variance_m2 = 1.2 / (1 / sigma_m**2).sum()
    middle_m = (mean_m / sigma_m[:, None] ** 2).sum(axis=0) / (1 / sigma_m**2).sum()
    assert found.position_m[0] == pytest.approx(middle_m, abs=0.4 * np.sqrt(variance_m2))
    assert found.log_density(middle_m[None])[0] == pytest.approx(-np.log(2 * np.pi * variance_m2), abs=0.15)


def test_odds_of_one_place_are_the_integral_over_a_grid() -> None:
    sessions = crossed()
    ticks_m = np.arange(-150_000 + 100, 150_000, 200)
    rows = [TRUTH_M + np.stack([ticks_m, np.full_like(ticks_m, north_m)], axis=-1) for north_m in ticks_m]
    log_whole = np.log(sum(np.exp(AREA.log_prior(row)).sum() for row in rows) * 200**2)

    def product(points_m: np.ndarray) -> np.ndarray:
        log_each = [sessions.log_density_of(n, points_m) for n in range(2)]
        return np.exp(sum(log_each) - AREA.log_prior(points_m) + log_whole)

    whole = sum(product(row).sum() for row in rows) * 200**2
    assert log_odds(sessions, AREA)[0, 1] == pytest.approx(np.log(whole), abs=0.3)
    mean_m = TRUTH_M + np.array([[0.0, 0.0], [3_000.0, 0.0]])
    far = Posterior.gaussian(mean_m, np.full((2, 1, 1), 1e4) * np.eye(2))
    assert log_odds(far, AREA)[0, 1] < -100


def test_one_session_is_itself_and_nonsense_is_refused() -> None:
    one = Posterior.gaussian(TRUTH_M, 500.0**2 * np.eye(2)[np.newaxis])
    assert together(one, AREA, 0.2) is one
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        together(one, AREA, 1.5)
