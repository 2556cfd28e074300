"""The 95 % ellipse of a covariance."""

from __future__ import annotations

import math

import numpy as np
import pytest

from heimdall.core.randomness import generator
from heimdall.localize.error_ellipse import RADIUS_95, ellipse_95


def test_axes_and_azimuth_are_those_of_the_eigenvectors() -> None:
    random = generator(1, "test error ellipse")
    for _ in range(100):
        root = random.normal(size=(2, 2)) * 1_000.0
        covariance_m2 = root @ root.T
        found = ellipse_95(covariance_m2)
        variance_m2, axes = np.linalg.eigh(covariance_m2)  # ascending
        minor_m, major_m = RADIUS_95 * np.sqrt(variance_m2)
        assert (found.major_m, found.minor_m) == pytest.approx((major_m, minor_m), rel=1e-6)
        azimuth_deg = math.degrees(math.atan2(axes[0, 1], axes[1, 1])) % 180
        apart_deg = abs(found.azimuth_deg - azimuth_deg) % 180
        assert min(apart_deg, 180 - apart_deg) < 1e-6


def test_of_a_circle_no_direction_is_nan() -> None:
    found = ellipse_95(np.eye(2) * 100.0**2)
    assert found.major_m == found.minor_m == pytest.approx(100 * math.sqrt(5.991464547))
    assert found.azimuth_deg == 0
