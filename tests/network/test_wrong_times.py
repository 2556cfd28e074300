"""An arrival time that is wrong by any amount does not move the answer, or the answer says so."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch

from heimdall.network import fusion_net
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.network.mixture import Mixture
from heimdall.position.arrival import Observation, stamped_late
from tests.fusion_world import world


def untaught() -> FusionNet:
    """The network before it learns anything."""
    return fusion_net.create(world().tokenizer, world().tokens, dropout_rate=0.1).eval()


def redundant() -> list[int]:
    """Sessions with five arrival times or more."""
    return [
        number
        for number, item in enumerate(world().observations)
        if np.count_nonzero(item.arrivals.information_s2) >= 5
    ]


@pytest.mark.parametrize("late_s", [100e-6, -300e-6, 3e-3, 20e-3])
def test_any_one_time_of_five_may_be_wrong(late_s: float) -> None:
    chosen = redundant()
    assert chosen
    plain = [world().observations[number] for number in chosen]
    truth_m = world().truth_m[chosen]
    network = untaught()
    undisturbed_m = np.hypot(*(localize(network, plain, world().receivers).position_m - truth_m).T)
    for number, item in enumerate(plain):
        rows = np.flatnonzero(item.arrivals.information_s2)
        wrong = [stamped_late(item, row, late_s) for row in rows]
        found = localize(network, wrong, world().receivers)
        error_m = np.hypot(*(found.position_m - truth_m[number]).T)
        # Four times are left, of which each counts: not every receiver can be missed as little.
        assert np.median(error_m) < 3 * max(undisturbed_m[number], 100.0)
        assert np.mean(found.level(np.repeat(truth_m[number : number + 1], len(rows), axis=0)) < 0.95) >= 0.8


def test_the_order_of_what_is_wrong_does_not_matter() -> None:
    """A time a second late is one that says nothing: its size moves the answer by nothing."""
    number = redundant()[0]
    item = world().observations[number]
    row = int(np.flatnonzero(item.arrivals.information_s2)[1])

    def answer_m(late_s: float) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
        late: list[Observation] = [stamped_late(item, row, late_s)]
        return localize(untaught(), late, world().receivers).position_m[0]

    np.testing.assert_allclose(answer_m(1.0), answer_m(0.1), atol=5.0)


def test_a_tempered_mixture_is_its_density_to_a_power() -> None:
    """Of two Gaussians far apart: the integral of each one's density to the power of 1 / T is its weight."""
    network = untaught()
    network.temperature.fill_(2.0)
    sigma_km = np.array([0.1, 5.0])
    weight = np.array([0.3, 0.7])
    entries = [[s * s, 0.0, s * s] for s in sigma_km]
    mixture = Mixture(
        torch.tensor([[[0.0, 0.0], [500.0, 0.0]]], dtype=torch.float64),
        torch.tensor([entries], dtype=torch.float64),
        torch.log(torch.tensor(weight))[None],
        torch.ones(1, 3, dtype=torch.float64),
        torch.zeros(1, 3, dtype=torch.float64),
    )
    with torch.inference_mode():
        found = network.calibrated(mixture)
    # The integral over the plane of (w N(x; s^2))^(1/2) is sqrt(w / (2 pi s^2)) 4 pi s^2.
    mass = np.sqrt(weight / (2 * math.pi * sigma_km**2)) * 4 * math.pi * sigma_km**2
    np.testing.assert_allclose(torch.exp(found.log_weight)[0], mass / mass.sum(), rtol=1e-9)
    np.testing.assert_allclose(found.covariance_km2[0, :, 0], 2 * sigma_km**2, rtol=1e-12)
