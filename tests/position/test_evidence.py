"""The evidence of a solution is the integral that it stands for, computed here by brute force on a grid."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from heimdall.geometry import propagation
from heimdall.position import solver
from heimdall.position.solver import ANYWHERE, KM, US, US_PER_KM, WRONG
from tests.position.test_solver import PLANE, RECEIVER_M, TRUTH_M

Float64 = npt.NDArray[np.float64]

RANGE_US = 1200.0
# Of Student's distribution Laplace's approximation has too little, by log(pi / sqrt(2 pi)) for each of the
# three unknowns that times resolve, and no more where they do not.
LAPLACE_NATS = 3 * math.log(math.pi / math.sqrt(2 * math.pi))


def wrong_per_us(size_us: Float64, sigma_us: Float64 | float = 0.0) -> Float64:
    """Density of a wrong time by its error: some anywhere, the others of any size from 1 us or sigma on."""
    least_us = np.maximum(sigma_us, 1.0)
    by_size = (1 - ANYWHERE) / 2 / np.log(1 + RANGE_US / 2 / least_us) / (least_us + size_us)
    return np.asarray(ANYWHERE / RANGE_US + by_size, np.float64)


def problem(count: int, centre_km: list[list[float]], sigma_km: list[float]) -> solver.Problem:
    """Delays from `TRUTH_M` at the first receivers, and tiles."""
    distance_m = propagation.distances_m(TRUTH_M, RECEIVER_M[:count], PLANE)
    return solver.Problem(
        delay_us=torch.tensor(distance_m / propagation.SPEED_OF_LIGHT_M_S / US)[None],
        receiver_km=torch.tensor(RECEIVER_M[:count] / KM)[None],
        centre_km=torch.tensor(centre_km, dtype=torch.float64)[None],
        prior=torch.tensor([[s**-2, 0.0, s**-2] for s in sigma_km], dtype=torch.float64)[None],
        plane=PLANE,
        range_us=RANGE_US,
    )


def by_brute_force(
    posed: solver.Problem, weight: Float64, number: int, wrong_one: int | None = None
) -> float:
    """Logarithm of the integral over position and emission time, over that of as many wrong arrival times.

    The grid is as fine as a third of what a time resolves, around where the tile and the times are. Any time
    may be wrong, and one of them is, if it is named.
    """
    centre_km = posed.centre_km[0, number].numpy()
    sigma_km = float(posed.prior[0, number, 0]) ** -0.5
    least_km = 1 / (US_PER_KM * math.sqrt(weight.max()))
    axis_km = np.arange(-4 * sigma_km, 4 * sigma_km, least_km / 3)
    total = 0.0
    for east_km in axis_km:
        position_km = np.stack([np.full_like(axis_km, east_km), axis_km], axis=-1) + centre_km
        distance_m = propagation.distances_m(position_km * KM, posed.receiver_km[0].numpy() * KM, PLANE)
        late_us = posed.delay_us[0].numpy() - distance_m / propagation.SPEED_OF_LIGHT_M_S / US  # (G, R)
        prior = np.exp(-0.5 * ((position_km - centre_km) ** 2).sum(-1) / sigma_km**2)
        likely = prior > 1e-7
        late_us = late_us[likely]
        sure = 1 if wrong_one == 0 else 0
        emitted_us = late_us[:, sure : sure + 1] + np.arange(-60, 61) / (
            3 * math.sqrt(weight.max())
        )  # (G', E)
        squared = weight * (late_us[:, None] - emitted_us[..., None]) ** 2
        right = (1 - WRONG) * np.sqrt(weight) / math.pi / (1 + squared / 4) ** 2
        wrong = WRONG * wrong_per_us(np.abs(late_us[:, None] - emitted_us[..., None]), 1 / np.sqrt(weight))
        if wrong_one is not None:
            right[..., wrong_one] = 0.0
        density = (right + wrong).prod(-1).sum(-1) / (3 * math.sqrt(weight.max()))
        total += float((prior[likely] * density).sum()) / (2 * math.pi * sigma_km**2)
    total *= (axis_km[1] - axis_km[0]) ** 2 / RANGE_US
    return math.log(total) + len(weight) * math.log(RANGE_US)


def evidence(posed: solver.Problem, weight: Float64) -> tuple[Float64, solver.Solution]:
    """Of each tile by the solver."""
    weights = torch.tensor(weight)[None]
    by_tile = weights[:, None].expand(-1, posed.centre_km.shape[1], -1)
    found = solver.solve(posed, by_tile, posed.centre_km)
    return solver.log_evidence(posed, found, weights[:, None])[0].numpy(), found


@pytest.mark.parametrize("count", [2, pytest.param(3, marks=pytest.mark.series), 5])
def test_the_evidence_of_a_tile_is_the_integral_over_it(count: int) -> None:
    """A wide tile and a narrow one, and one beside the truth: by two times it is a ridge through them."""
    truth_km = (TRUTH_M / KM).tolist()
    beside_km = [truth_km[0] + 1.5, truth_km[1]]
    posed = problem(count, [truth_km, truth_km, beside_km], [1.0, 3.0, 1.0])
    weight = np.full(count, 1 / 0.3**2)
    found, _ = evidence(posed, weight)
    exact = np.array([by_brute_force(posed, weight, number) for number in range(3)])
    assert np.all(exact - found > -0.1)
    assert np.all(exact - found < LAPLACE_NATS + 0.1)
    # What decides between tiles is their difference, and a ridge has it almost exactly.
    np.testing.assert_allclose(found - found[0], exact - exact[0], atol=0.1)


@pytest.mark.parametrize(("late_us", "sigma_us"), [(0.0, 0.3), (10.0, 0.3), (0.0, 30.0)])
@pytest.mark.parametrize("wrong_one", [0, 4])
def test_the_evidence_without_a_time_is_the_integral_if_that_one_is_wrong(
    wrong_one: int, late_us: float, sigma_us: float
) -> None:
    """Also of a coarse clock, whose wrong time is no better known than a right one."""
    posed = problem(5, [(TRUTH_M / KM).tolist()], [1.0])
    posed = replace(posed, delay_us=posed.delay_us + late_us * torch.eye(5, dtype=torch.float64)[wrong_one])
    weight = np.full(5, 1 / 0.3**2)
    weight[wrong_one] = 1 / sigma_us**2
    left_out = torch.eye(5, dtype=torch.float64)[wrong_one, None]
    weights = torch.tensor(weight)[None, None]
    kept = weights * (1 - left_out[None])
    found = solver.refine(posed, kept, posed.centre_km)
    reached = solver.log_evidence(posed, found, kept)
    reached = reached + solver.log_wrong(posed, found, weights, left_out[None])
    exact = by_brute_force(posed, weight, 0, wrong_one)
    assert -0.3 < exact - float(reached[0, 0]) < LAPLACE_NATS + 0.3


def test_without_information_a_tile_has_the_evidence_of_nothing() -> None:
    """A time that resolves 3000 km: wide and narrow tiles are as likely. With a wrong sign they were not."""
    posed = problem(3, [[0.0, 0.0], [0.0, 0.0]], [4.0, 40.0])
    found, _ = evidence(posed, np.full(3, 1e-8))
    assert abs(found[0] - found[1]) < 1e-3


def test_wrong_times_are_all_there_are_and_of_any_size() -> None:
    size_us = np.concatenate([[0.0], np.geomspace(1e-3, RANGE_US / 2, 20_001)])
    for sigma_us in (0.05, 1.0, 30.0, 1e5):
        found = solver.wrong_per_us(torch.tensor(size_us), torch.tensor(sigma_us), RANGE_US).numpy()
        assert 2 * np.trapezoid(found, size_us) == pytest.approx(1.0, rel=1e-3)
    sharp = solver.wrong_per_us(torch.tensor(size_us), torch.tensor(0.05, dtype=torch.float64), RANGE_US)
    np.testing.assert_allclose(sharp, wrong_per_us(size_us))


def test_a_coarse_clock_is_no_better_known_when_it_is_wrong() -> None:
    off_us = torch.tensor([0.0, 10.0, 100.0], dtype=torch.float64)
    chi2 = solver.cost(off_us[:, None], torch.full((3, 1), 1 / 577.0**2, dtype=torch.float64), RANGE_US)[0]
    assert float(chi2.max() - chi2.min()) < 0.1


@pytest.mark.parametrize("late_us", [10.0, -300.0, 3000.0, 20_000.0])
def test_a_wrong_time_costs_what_its_probability_says_and_no_more(late_us: float) -> None:
    """However wrong, it is one of `WRONG`: 2 log of its density, and the others keep their weights."""
    posed = problem(5, [(TRUTH_M / KM).tolist()], [4.0])
    weight = np.full(5, 1 / 0.05**2)
    wrong_us = posed.delay_us + torch.nn.functional.one_hot(torch.tensor([2]), 5) * late_us
    _, found = evidence(
        solver.Problem(wrong_us, posed.receiver_km, posed.centre_km, posed.prior, PLANE, RANGE_US), weight
    )
    floor = WRONG / (1 - WRONG) * math.pi * 0.05 * float(wrong_per_us(np.abs(np.array(late_us))))
    tail = (1 + (late_us / 0.05) ** 2 / 4) ** -2
    np.testing.assert_allclose(float(found.chi2), -2 * math.log(floor + tail), rtol=0.05)
    assert np.hypot(*(found.position_km[0, 0].numpy() * KM - TRUTH_M)) < 30.0
    assert (found.trusted / torch.tensor(weight))[0, 0, [0, 1, 3, 4]].min() > 0.9
