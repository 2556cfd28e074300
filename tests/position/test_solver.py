"""The solver finds the position that arrival times say, and learns through it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch

from heimdall.baselines import cramer_rao
from heimdall.geometry import propagation
from heimdall.geometry.geo import TangentPlane
from heimdall.position import solver
from heimdall.position.solver import KM, US, US_PER_KM

PLANE = TangentPlane(45.0, 8.0, 260.0)
RECEIVER_M = np.array(
    [
        [-40e3, 5e3, 300.0],
        [30e3, 30e3, 100.0],
        [50e3, -40e3, 400.0],
        [-10e3, -50e3, 200.0],
        [0.0, 60e3, 250.0],
    ]
)
TRUTH_M = np.array([12_345.0, -6_789.0])


def problem(prior_km: float = 50.0) -> tuple[solver.Problem, torch.Tensor]:
    """Exact delays from `TRUTH_M`, one tile 3 km off with a prior that hardly holds."""
    distance_m = propagation.distances_m(TRUTH_M, RECEIVER_M, PLANE)
    prior = torch.tensor([[[prior_km**-2, 0.0, prior_km**-2]]], dtype=torch.float64)
    posed = solver.Problem(
        delay_us=torch.tensor(distance_m / propagation.SPEED_OF_LIGHT_M_S / US + 7.0)[None],
        receiver_km=torch.tensor(RECEIVER_M / KM)[None],
        centre_km=torch.tensor(TRUTH_M / KM + [2.0, -2.0])[None, None],
        prior=prior,
        plane=PLANE,
        range_us=1200.0,
    )
    return posed, torch.full((1, 1, 5), 1e4, dtype=torch.float64)  # 10 ns each


def test_exact_delays_give_the_exact_position() -> None:
    posed, weight = problem(prior_km=1e5)
    found = solver.solve(posed, weight, posed.centre_km)
    assert np.abs(found.position_km.numpy() * KM - TRUTH_M).max() < 1e-3
    assert float(found.chi2) < 1e-9


def test_one_receiver_that_is_wrong_by_any_amount_moves_the_position_by_less_than_a_metre() -> None:
    for late_us in (1.0, 100.0, -900.0):
        posed, weight = problem(prior_km=4.0)  # as far as a start may be off
        wrong = posed.delay_us + torch.nn.functional.one_hot(torch.tensor([2]), 5) * late_us
        found = solver.solve(replace(posed, delay_us=wrong), weight, posed.centre_km)
        assert np.abs(found.position_km.numpy() * KM - TRUTH_M).max() < 1.0
        trusted = (found.trusted / weight)[0, 0]
        assert trusted[2] < 1e-3
        assert trusted[[0, 1, 3, 4]].min() > 0.95


def test_the_covariance_is_the_bound() -> None:
    posed, weight = problem(prior_km=1e5)
    found = solver.solve(posed, weight, posed.centre_km)
    bound_m2 = cramer_rao.cramer_rao_m2(TRUTH_M, np.full(5, 1e30), np.full(5, 10e-9), RECEIVER_M, PLANE)
    # Of times without a residual a few in a million count as wrong all the same.
    per_us = float(solver.wrong_per_us(torch.zeros(()), torch.tensor(10e-3), 1200.0))
    taken_for_wrong = solver.WRONG / (1 - solver.WRONG) * np.pi * per_us * 10e-3
    exact_m2 = bound_m2 * (1 + taken_for_wrong)
    np.testing.assert_allclose(solver.matrices(found.covariance_km2)[0, 0] * KM**2, exact_m2, rtol=1e-6)


def test_geometry_is_that_of_propagation() -> None:
    distance_m, gradient = propagation.gradients(TRUTH_M, RECEIVER_M, PLANE)
    found = solver.geometry(
        torch.tensor(TRUTH_M / KM)[None, None], torch.tensor(RECEIVER_M / KM)[None], PLANE
    )
    np.testing.assert_allclose(found[0][0, 0] * KM, distance_m, rtol=1e-12)
    np.testing.assert_allclose(found[1][0, 0], gradient, rtol=1e-9, atol=1e-12)


def test_the_gradient_at_the_fixed_point_is_that_of_the_whole_iteration() -> None:
    """By how much the position moves with one receiver's delay, against solving again."""
    posed, weight = problem()
    step_us = 1e-3

    def position(shift_us: torch.Tensor) -> torch.Tensor:
        moved = posed.delay_us + torch.nn.functional.one_hot(torch.tensor([1]), 5) * shift_us
        return solver.solve(replace(posed, delay_us=moved), weight, posed.centre_km).position_km[0, 0]

    shift = torch.zeros((), dtype=torch.float64, requires_grad=True)
    for axis in range(2):
        (slope,) = torch.autograd.grad(position(shift)[axis], shift)
        with torch.no_grad():
            by_hand = (position(shift + step_us) - position(shift - step_us))[axis] / (2 * step_us)
        # Gauss-Newton leaves out the curvature of the residuals, which are a few nanoseconds here.
        np.testing.assert_allclose(slope, by_hand, rtol=1e-3)
    assert float(by_hand.abs()) > 0.1 / US_PER_KM


def test_safe_functions_are_exact() -> None:
    x = torch.tensor([1e-6, 0.3, 1.0, 7.0, 1e5], dtype=torch.float64)
    tiny = torch.tensor([1e-13, 1e-16, 1e-20], dtype=torch.float64)
    np.testing.assert_allclose(solver.log(x), np.log(x.numpy()), rtol=1e-9, atol=1e-14)
    np.testing.assert_allclose(solver.log(tiny), np.log(tiny.numpy()), atol=1e-4)
    np.testing.assert_allclose(solver.exp(x[:4]), np.exp(x[:4].numpy()), rtol=1e-14)
    np.testing.assert_allclose(solver.log_sum_exp(x[:4]), torch.logsumexp(x[:4], -1), rtol=1e-14)


def test_the_square_root_is_that_of_the_processor() -> None:
    """Bit for bit: one by a vector library is another on a CPU of another maker (docs/beware.md)."""
    x = np.concatenate([np.geomspace(1e-12, 1e12, 4099), [0.0, -1e-18]])
    found = solver.root(torch.tensor(x)).numpy()
    np.testing.assert_array_equal(found[:-2], x[:-2] * (1 / np.sqrt(x[:-2])))
    np.testing.assert_allclose(found, np.sqrt(np.maximum(x, 0)), rtol=4e-16, atol=1e-100)
