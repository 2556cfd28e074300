"""Regions of a mixture: they hold what they say, as the evaluation judges it."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heimdall.geometry.geo import TangentPlane
from heimdall.position.posterior import Posterior
from heimdall.session import credible

PLANE = TangentPlane(45.0, 8.0, 260.0)


def test_of_one_gaussian_they_are_its_ellipses() -> None:
    covariance_m2 = np.array([[[400.0**2, 0.3 * 400 * 150], [0.3 * 400 * 150, 150.0**2]]])
    found = credible.regions(Posterior.gaussian(np.array([[3e3, -2e3]]), covariance_m2), PLANE)
    assert found is not None
    for region in found:
        square = -2 * math.log(1 - region.probability)
        area_m2 = math.pi * square * math.sqrt(np.linalg.det(covariance_m2[0]))
        assert region.area_km2 * 1e6 == pytest.approx(area_m2, rel=0.01)
        assert len(region.rings) == 1


def test_where_gaussians_overlap_or_lie_apart_they_hold_what_the_level_says() -> None:
    posterior = Posterior(
        np.array([[[0.0, 0.0], [300.0, 0.0], [9e3, 4e3]]]),
        np.array([[np.eye(2) * 400.0**2, np.eye(2) * 500.0**2, np.diag([600.0**2, 900.0**2])]]),
        np.array([[0.5, 0.3, 0.2]]),
    )
    found = credible.regions(posterior, PLANE)
    assert found is not None
    assert [len(region.rings) for region in found] == [1, 2]
    random = np.random.default_rng(1)
    points_m = np.concatenate([random.normal(0, 900, (150, 2)), random.normal((9e3, 4e3), 1200, (150, 2))])
    latitude_deg, longitude_deg = PLANE.to_degrees(*points_m.T)
    compared = 0
    for point_m, *degrees in zip(points_m, latitude_deg.tolist(), longitude_deg.tolist(), strict=True):
        level = float(posterior.level(point_m[np.newaxis])[0])
        for region in found:
            if abs(level - region.probability) > 0.01:  # the contour is that fine
                compared += 1
                assert region.holds(*degrees) == (level < region.probability)
    assert compared > 550


def test_what_is_too_narrow_for_a_grid_is_left_to_others() -> None:
    posterior = Posterior(
        np.array([[[0.0, 0.0], [40e3, 0.0], [0.0, 40e3]]]),
        np.array([[np.eye(2) * 5.0**2] * 3]),
        np.array([[0.4, 0.3, 0.3]]),
    )
    assert credible.regions(posterior, PLANE) is None
