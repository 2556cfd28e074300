"""An arrival time that is wrong by any amount does not move the answer, or the answer says so."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
import torch

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.network import fusion_net
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localize import localize
from heimdall.network.tokens import collate
from heimdall.signal.arrival import Arrivals, Observation, stamped_late
from tests.fusion_world import world


def untaught() -> FusionNet:
    """The network before it learns anything."""
    return fusion_net.create(world().tokenizer, world().tokens, dropout_rate=0.1).eval()


def redundant() -> tuple[list[Observation], npt.NDArray[np.float64]]:
    """Sessions of five recordings or more, as if all knew the time to 50 ns; and where they were."""
    made, truth_m = [], []
    random = np.random.default_rng(7)
    for item, at_m in zip(world().observations, world().truth_m, strict=True):
        count = len(item.session.websdr_id)
        if count < 5:
            continue
        distance_m = distances_m(at_m, item.session.position_enu_m, world().tokenizer.plane)
        delay_s = distance_m / SPEED_OF_LIGHT_M_S + 50e-9 * random.standard_normal(count)
        known = Arrivals.without_echoes(delay_s, np.full(count, 50e-9**-2), 2e3, item.arrivals.shape)
        session = replace(item.session, timing_sigma_s=np.zeros(count))
        made.append(replace(item, session=session, arrivals=known))
        truth_m.append(at_m)
    return made, np.array(truth_m)


@pytest.mark.parametrize(
    "late_s",
    [100e-6, *(pytest.param(one, marks=pytest.mark.series) for one in (3e-3, 20e-3)), -300e-6],
)
def test_any_one_time_of_five_may_be_wrong(late_s: float) -> None:
    plain, truth_m = redundant()
    assert len(plain) > 1
    network = untaught()
    undisturbed_m = np.hypot(*(localize(network, plain, world().receivers).position_m - truth_m).T)
    assert undisturbed_m.max() < 500
    for number, item in enumerate(plain):
        count = len(item.session.websdr_id)
        wrong = [stamped_late(item, row, late_s) for row in range(count)]
        found = localize(network, wrong, world().receivers)
        error_m = np.hypot(*(found.position_m - truth_m[number]).T)
        # Without one of them the others say less, and how much less depends on which.
        assert np.median(error_m) < 3 * max(undisturbed_m[number], 100.0)
        assert np.mean(found.level(np.repeat(truth_m[number : number + 1], count, axis=0)) < 0.95) >= 0.8


def test_it_does_not_matter_by_how_much_a_time_is_wrong() -> None:
    plain, _ = redundant()
    late = [stamped_late(plain[0], 1, late_s) for late_s in (1.0, 0.1)]
    by_second, by_tenth = localize(untaught(), late, world().receivers).position_m
    np.testing.assert_allclose(by_second, by_tenth, atol=5.0)


def test_calibration_widens_what_is_stated_and_leaves_the_choice() -> None:
    network = untaught()
    with torch.inference_mode():
        before = network.uncalibrated(collate(world().tokens))
        network.temperature.fill_(4.0)
        after = network.calibrated(before)
    timed = (before.weight > 0).sum(1) >= 2
    np.testing.assert_array_equal(after.log_weight, before.log_weight)
    np.testing.assert_allclose(after.covariance_km2[timed], 4 * before.covariance_km2[timed], rtol=1e-12)
    np.testing.assert_array_equal(after.covariance_km2[~timed], before.covariance_km2[~timed])
