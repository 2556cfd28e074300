"""The fusion network: a set of receivers in, an honest mixture out."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import fields, replace

import numpy as np
import torch

from heimdall.network.fusion_net import LOCALIZABLE_M, FusionNet
from heimdall.network.localize import localize
from heimdall.network.mixture import Mixture
from heimdall.network.temperature_scaling import calibrate
from heimdall.network.tokens import PHYSICAL, SPREAD_SHARE, Tokens, collate
from heimdall.position import radio_map, received_power
from heimdall.position.posterior import Posterior
from heimdall.position.received_power import Levels
from heimdall.position.solver import KM
from heimdall.signal.arrival import without_gps
from tests.fusion_world import FEATURES, untrained, world

PER_RECEIVER = [field.name for field in fields(Tokens)[:6]]


def answer(network: FusionNet, sessions: list[Tokens], receivers: int | None = None) -> Mixture:
    with torch.inference_mode():
        return network.mixture(collate(sessions, receivers))


def training_batch() -> dict[str, torch.Tensor]:
    return collate(world().tokens) | {"truth_m": torch.tensor(world().truth_m)}


def assert_close(one: Mixture, other: Mixture) -> None:
    """The same answer but for the order of sums in float32: a decimetre, and a thousandth of a weight."""
    np.testing.assert_allclose(one.mean_km, other.mean_km, atol=1e-4)
    np.testing.assert_allclose(one.log_weight, other.log_weight, atol=1e-3)
    np.testing.assert_allclose(one.covariance_km2, other.covariance_km2, rtol=1e-3, atol=1e-9)


def test_the_order_of_receivers_does_not_matter() -> None:
    network, sessions = untrained(), world().tokens
    turned = [
        replace(item, **{name: getattr(item, name)[::-1].copy() for name in PER_RECEIVER})
        for item in sessions
    ]
    assert_close(answer(network, sessions), answer(network, turned))


def test_receivers_that_are_not_there_do_not_matter() -> None:
    network, sessions = untrained(), world().tokens
    assert_close(answer(network, sessions), answer(network, sessions, receivers=12))


def test_one_receiver_alone_still_gets_an_answer() -> None:
    lone = [
        replace(item, **{name: getattr(item, name)[:1] for name in PER_RECEIVER}) for item in world().tokens
    ]
    found = answer(untrained(), lone)
    assert torch.isfinite(found.mean_km).all()
    np.testing.assert_allclose(torch.exp(found.log_weight).sum(1), 1.0, rtol=1e-9)


def test_an_arrival_time_whose_channel_is_tilted_counts_less() -> None:
    tilted = [copy.deepcopy(item) for item in world().tokens]
    for item in tilted:
        item.physical[0, PHYSICAL.index("log_tilt")] = -5.5  # 3 us
    network = untrained()
    torch.nn.init.zeros_(network.receiver_head.weight)
    plain, found = answer(network, world().tokens), answer(network, tilted)
    timed = plain.weight[:, 0] > 0
    assert timed.any()
    assert (found.weight[timed, 0] < torch.clamp(plain.weight[timed, 0], max=1 / 2**2)).all()
    np.testing.assert_allclose(found.weight[:, 1:], plain.weight[:, 1:], rtol=1e-6)


def test_a_time_that_echoes_in_phase_made_late_is_moved_back() -> None:
    """Untrained, by the share of the spread's root that simulated channels have."""
    spread = []
    for item in world().observations:
        spread_s2 = np.zeros_like(item.arrivals.spread_s2)
        spread_s2[0] = 4e-12
        exact = np.zeros_like(item.arrivals.spread_sigma_s2)
        times = replace(item.arrivals, spread_s2=spread_s2, spread_sigma_s2=exact)
        spread.append(replace(item, arrivals=times))
    network = untrained()
    torch.nn.init.zeros_(network.receiver_head.weight)
    found = answer(network, [world().tokenizer.tokens(item) for item in spread])
    timed = found.weight[:, 0] > 0
    assert timed.any()
    np.testing.assert_allclose(found.bias_us[timed, 0], 2.0 * SPREAD_SHARE, rtol=1e-3)
    assert not found.bias_us[:, 1:].any()


def test_the_likelihood_is_that_of_the_posterior() -> None:
    network = untrained()
    posterior = localize(network, world().observations, world().receivers)
    nll = answer(network, world().tokens).nll(torch.tensor(world().truth_m) / 1e3)
    np.testing.assert_allclose(nll, -posterior.log_density(world().truth_m) - np.log(1e6), rtol=1e-6)


def test_gradients_reach_everything() -> None:
    network = untrained().train()
    network.loss(training_batch()).mean().backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert torch.isfinite(value.grad).all(), name
        assert value.grad.abs().sum() > 0, name


def test_the_log_mel_has_no_say() -> None:
    seen = world()
    loud = [
        replace(item, session=replace(item.session, mel=item.session.mel + 20)) for item in seen.observations
    ]
    plain, found = (
        localize(untrained(), sessions, seen.receivers).log_density(seen.truth_m)
        for sessions in (seen.observations, loud)
    )
    np.testing.assert_array_equal(plain, found)


def test_without_gps_time_the_answer_is_what_the_levels_say() -> None:
    seen, network = world(), untrained()
    network.temperature.fill_(2.0)
    network.floor_m.fill_(500.0)
    tokenizer = seen.tokenizer
    grid_m = tokenizer.area.grid_m(tokenizer.cell_m)
    mean_db = tokenizer.radio.mean_db(seen.receivers, grid_m, tokenizer.plane)
    timeless = [without_gps(item, FEATURES) for item in seen.observations]
    found = localize(network, timeless, seen.receivers)
    for number, item in enumerate(timeless):
        level = radio_map.log_likelihood(tokenizer.radio, Levels.of(item, seen.receivers), mean_db)
        log_prior = tokenizer.area.log_prior(grid_m)
        mean_m, covariance_m2 = received_power.moments(level + log_prior, grid_m, tokenizer.cell_m)
        np.testing.assert_allclose(found.position_m[number], mean_m, atol=1e-6)
        np.testing.assert_allclose(found.medoid_covariance_m2[number], covariance_m2, rtol=1e-9)
    expected = Posterior.gaussian(found.position_m, found.medoid_covariance_m2)
    np.testing.assert_allclose(found.log_density(seen.truth_m), expected.log_density(seen.truth_m), atol=1e-9)


def test_outside_the_hull_transmitters_are_as_rare_as_the_area_says() -> None:
    network, area = untrained(), world().tokenizer.area
    position_m = np.stack(np.meshgrid(*2 * [np.linspace(-150e3, 150e3, 15)]), -1).reshape(1, -1, 2)
    expected = area.log_prior(position_m)
    assert (expected < 0).any()
    assert (expected == 0).any()
    np.testing.assert_allclose(network._log_prior(torch.tensor(position_m / KM)), expected, atol=1e-9)


def test_sessions_without_any_arrival_time_train_too() -> None:
    batch = training_batch()
    batch["information_s2"] = torch.zeros_like(batch["information_s2"])
    network = untrained().train()
    value = network.loss(batch).mean()
    value.backward()
    assert torch.isfinite(value)
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in network.parameters())


def test_what_is_exported_is_the_medoid() -> None:
    network = untrained()
    posterior = localize(network, world().observations, world().receivers)
    batch: Mapping[str, torch.Tensor] = collate(world().tokens)
    with torch.inference_mode():
        positions, sigma_m, covariance, localizable, weights, _, _ = network(**batch)
    latitude, longitude = world().tokenizer.plane.to_degrees(*posterior.position_m.T)
    np.testing.assert_allclose(positions, np.stack([latitude, longitude], -1), atol=1e-8)  # 1 mm
    np.testing.assert_allclose(sigma_m, posterior.sigma_m, rtol=1e-6)
    np.testing.assert_allclose(covariance, posterior.medoid_covariance_m2, rtol=1e-9)
    np.testing.assert_allclose(weights, posterior.weight, rtol=1e-9)
    np.testing.assert_allclose(localizable, posterior.within(LOCALIZABLE_M), atol=0.02)


def test_degrees_are_true_to_a_millimetre_within_200_km() -> None:
    network, plane = untrained(), world().tokenizer.plane
    east_m, north_m = (value.reshape(-1) for value in np.meshgrid(*2 * [np.linspace(-200e3, 200e3, 9)]))
    found = network.to_degrees(torch.tensor(np.stack([east_m, north_m], -1) / 1e3)).numpy()
    back_m = np.stack(plane.to_local(*found.T), -1)
    assert np.abs(back_m - np.stack([east_m, north_m], -1)).max() < 1e-3


def part_of(mixture: Mixture, rows: slice) -> Mixture:
    """Some of the answers, with no more receivers than these have."""
    part = [value[rows] for value in vars(mixture).values()]
    receivers = int((part[3] > 0).nonzero()[:, 1].max()) + 1
    return Mixture(*part[:3], *(value[:, :receivers] for value in part[3:]))


def test_calibration_finds_an_overconfident_network_out() -> None:
    network = untrained()
    batch = training_batch()
    with torch.inference_mode():
        exact = network.uncalibrated(batch)
        # Truths 200 m from where the network is sure to a few metres.
        exact = Mixture(exact.mean_km, exact.covariance_km2 * 1e-4, *list(vars(exact).values())[2:])
        heaviest = exact.mean_km.gather(1, exact.log_weight.argmax(1)[:, None, None].expand(-1, 1, 2))[:, 0]
        batch["truth_m"] = heaviest * 1e3 + 140.0
        network.uncalibrated = lambda _: exact  # type: ignore[method-assign]
        before = network.mixture(batch).nll(batch["truth_m"] / 1e3).mean()
        calibrate(network, [batch])
        after = network.mixture(batch).nll(batch["truth_m"] / 1e3).mean()
        found = float(network.temperature), float(network.floor_m)
        parts = [{name: value[rows] for name, value in batch.items()} for rows in (slice(5), slice(5, None))]
        answers = iter([part_of(exact, slice(5)), part_of(exact, slice(5, None))])
        network.temperature.fill_(1.0)
        network.floor_m.fill_(0.0)
        network.uncalibrated = lambda _: next(answers)  # type: ignore[method-assign]
        calibrate(network, parts)  # in two batches it is the same
    assert (float(network.temperature), float(network.floor_m)) == found
    assert after < before
    assert 65 <= float(network.floor_m) <= 350
