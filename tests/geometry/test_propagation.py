"""Rays from transmitters of the plane to receivers, against geometry in space and finite differences."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.geometry import geo
from heimdall.geometry.propagation import GROUND_ALTITUDE_M, SPEED_OF_LIGHT_M_S, distances_m, gradients

PLANE = geo.TangentPlane(44.97, 8.16, GROUND_ALTITUDE_M)
RECEIVERS_DEG = ((45.02, 7.29, 600.0), (44.395, 8.956, 100.0), (45.478, 9.123, 120.0))
RECEIVER_M = np.array(
    [geo.enu_m(*site, PLANE.latitude_deg, PLANE.longitude_deg) for site in RECEIVERS_DEG], np.float64
)
PLACES_DEG = ((45.9, 8.9), (44.2, 7.4), (45.05, 7.7), (44.6, 9.5))


@pytest.mark.parametrize("place_deg", PLACES_DEG)
def test_delay_is_that_of_the_straight_line(place_deg: tuple[float, float]) -> None:
    position = np.stack(PLANE.to_local(*place_deg))
    delay_ns = 1e9 * distances_m(position, RECEIVER_M, PLANE) / SPEED_OF_LIGHT_M_S
    start = geo.ecef_m(*place_deg, GROUND_ALTITUDE_M)
    exact_m = [float(np.sqrt(((geo.ecef_m(*site) - start) ** 2).sum())) for site in RECEIVERS_DEG]
    assert delay_ns == pytest.approx(1e9 * np.array(exact_m) / SPEED_OF_LIGHT_M_S, abs=0.2)


def test_gradient_is_the_change_of_distance() -> None:
    position = np.array([[10e3, -70e3], [-60e3, 40e3], [95e3, 99e3]])
    distance, slope = gradients(position, RECEIVER_M, PLANE)
    np.testing.assert_array_equal(distance, distances_m(position, RECEIVER_M, PLANE))
    for axis in (0, 1):
        step = np.zeros(2)
        step[axis] = 1.0
        ahead = distances_m(position + step, RECEIVER_M, PLANE)
        behind = distances_m(position - step, RECEIVER_M, PLANE)
        np.testing.assert_allclose(slope[..., axis], (ahead - behind) / 2, rtol=0, atol=1e-8)


def test_any_number_of_places_at_once() -> None:
    position = np.arange(24.0).reshape(3, 4, 2) * 1000
    distance, slope = gradients(position, RECEIVER_M, PLANE)
    assert (distance.shape, slope.shape) == ((3, 4, 3), (3, 4, 3, 2))
    one, one_slope = gradients(position[1, 2], RECEIVER_M, PLANE)
    np.testing.assert_array_equal(one, distance[1, 2])
    np.testing.assert_array_equal(one_slope, slope[1, 2])


def test_a_transmitter_at_a_receiver_has_a_finite_gradient() -> None:
    position = np.array([1000.0, 2000.0])
    receiver = np.array([[1000.0, 2000.0, float(PLANE.up_m(1000.0, 2000.0))]])
    distance, slope = gradients(position, receiver, PLANE)
    assert distance.tolist() == [0.0]
    assert slope.tolist() == [[0.0, 0.0]]
