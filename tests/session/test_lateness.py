"""Residuals: what is right shows as nothing, and what is wrong as itself."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.session import lateness
from heimdall.signal.arrival import Observation, stamped_late
from tests import known_sessions
from tests.known_sessions import PLANE


def _late_s(observation: Observation, truth_m: np.ndarray) -> np.ndarray:
    latitude_deg, longitude_deg = PLANE.to_degrees(*truth_m)
    travelled_s = lateness.travel_s(observation, float(latitude_deg), float(longitude_deg), PLANE)
    return lateness.late_s(observation, travelled_s)


@pytest.mark.parametrize("late_s", [20e-6, -3e-6])
def test_a_single_wrong_time_stands_out_and_does_not_spread(late_s: float) -> None:
    observation, truth_m = known_sessions.observation(1, 5)
    right_s = _late_s(observation, truth_m)
    assert np.abs(right_s).max() < 5e-7  # the clocks err by 0.1 us
    wrong_s = _late_s(stamped_late(observation, 2, late_s), truth_m)
    assert wrong_s[2] == pytest.approx(late_s, abs=5e-7)
    others = np.arange(5) != 2
    np.testing.assert_allclose(wrong_s[others], right_s[others], atol=1e-7)


def test_another_time_of_sending_changes_nothing() -> None:
    observation, truth_m = known_sessions.observation(2, 4)
    latitude_deg, longitude_deg = map(float, PLANE.to_degrees(*truth_m))
    travelled_s = lateness.travel_s(observation, latitude_deg, longitude_deg, PLANE)
    np.testing.assert_allclose(
        lateness.late_s(observation, travelled_s),
        lateness.late_s(observation, travelled_s + 1e-3),
        atol=1e-12,
    )


def test_who_has_no_time_has_no_residual() -> None:
    observation, truth_m = known_sessions.observation(3, 3)
    observation.arrivals.information_s2[1] = 0
    late_s, sigma_s = _late_s(observation, truth_m), lateness.sigma_s(observation)
    assert np.isnan(late_s).tolist() == np.isnan(sigma_s).tolist() == [False, True, False]
    observation.arrivals.information_s2[:] = 0
    assert np.isnan(_late_s(observation, truth_m)).all()


def test_sigma_is_noise_and_clock_together() -> None:
    observation, _ = known_sessions.observation(4, 3)
    observation.arrivals.information_s2[:] = 1 / 3e-8**2
    observation.session.timing_sigma_s[:] = 4e-8
    np.testing.assert_allclose(lateness.sigma_s(observation), 5e-8)


@pytest.mark.parametrize("wrong", [0, 1])
def test_of_two_times_neither_is_blamed(wrong: int) -> None:
    observation, truth_m = known_sessions.observation(5, 2)
    observation.session.timing_sigma_s[:] = (1e-7, 4e-7)
    late_s = _late_s(stamped_late(observation, wrong, 1e-3), truth_m)
    assert late_s[wrong] - late_s[1 - wrong] == pytest.approx(1e-3, abs=5e-7)
    sigmas = late_s / lateness.sigma_s(observation)
    assert sigmas[wrong] == pytest.approx(-sigmas[1 - wrong])
