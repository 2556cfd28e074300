"""Sessions of one transmitter together, against sums over a fine grid."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.geometry.area import Area
from heimdall.localize.together import together
from heimdall.position.posterior import Posterior
from tests.synthetic_sessions import RECEIVERS

AREA = Area.around(RECEIVERS)
TRUTH_M = np.array([[9_000.0, -4_000.0]])


def crossed(sigma_m: float = 100.0) -> Posterior:
    """Two sessions of three hundred kilometres of doubt each: ridges that cross in one place near the truth."""
    along = np.array([[1.0, 0.0], [0.0, 1.0]])
    across = along[::-1]
    covariances = [
        4e4**2 * np.outer(one, one) + sigma_m**2 * np.outer(other, other)
        for one, other in zip(along, across, strict=True)
    ]
    means = TRUTH_M + np.array([[0.0, 150.0], [-150.0, 0.0]])
    wide = np.broadcast_to(6e4**2 * np.eye(2), (2, 2, 2))
    return Posterior(
        np.stack([means, np.zeros((2, 2))], axis=1),
        np.stack([np.array(covariances), wide], axis=1),
        np.full((2, 2), (0.9, 0.1)),
    )


def summed(sessions: Posterior, shared: float, at_m: np.ndarray) -> np.ndarray:
    """Log density at points, by a sum over squares of 2 km, and of 25 m around the truth."""
    worth = 1 / (1 + (len(sessions) - 1) * shared)

    def log_product(points_m: np.ndarray) -> np.ndarray:
        prior = AREA.log_prior(points_m)
        return prior + worth * sum(sessions.log_density_of(n, points_m) - prior for n in range(len(sessions)))

    def squares(half_m: float, side_m: float) -> np.ndarray:
        ticks = np.arange(-half_m + side_m / 2, half_m, side_m)
        return TRUTH_M + np.stack(np.meshgrid(ticks, ticks), axis=-1).reshape(-1, 2)

    fine, coarse = squares(2_000, 25), squares(100_000, 2_000)
    coarse = coarse[np.abs(coarse - TRUTH_M).max(axis=1) > 2_000]
    inside = np.exp(log_product(fine)).sum() * 25**2
    return log_product(at_m) - np.log(inside + np.exp(log_product(coarse)).sum() * 2_000**2)


@pytest.mark.parametrize("shared", [0.0, 0.3])
def test_two_ridges_become_the_place_where_they_cross(shared: float) -> None:
    found = together(crossed(), AREA, shared)
    assert np.hypot(*(found.position_m - TRUTH_M)[0]) < 300
    at_m = TRUTH_M + np.array([[0.0, 0.0], [-150.0, 150.0], [100.0, -50.0]])
    assert found.log_density_of(0, at_m) == pytest.approx(summed(crossed(), shared, at_m), abs=0.35)


def test_what_is_shared_counts_once() -> None:
    """Two sessions that say the same are one where all is shared, and narrower by sqrt 2 where nothing is."""
    one = Posterior.gaussian(TRUTH_M, 500.0**2 * np.eye(2)[np.newaxis])
    twice = Posterior.concatenate([one, one])
    sigma_m = {
        shared: float(together(twice, AREA, shared).rms_m[0]) / np.sqrt(2) for shared in (0.0, 0.5, 1.0)
    }
    assert sigma_m[0.0] == pytest.approx(500 / np.sqrt(2), rel=0.05)
    assert sigma_m[0.5] == pytest.approx(500 * np.sqrt(1.5 / 2), rel=0.05)
    assert sigma_m[1.0] == pytest.approx(500, rel=0.05)


def test_one_session_is_itself_and_nonsense_is_refused() -> None:
    one = Posterior.gaussian(TRUTH_M, 500.0**2 * np.eye(2)[np.newaxis])
    assert together(one, AREA, 0.2) is one
    with pytest.raises(ValueError, match=r"\[0, 1\]"):
        together(one, AREA, 1.5)
