"""Echoes by standards: the spreads that the standards state, and biases of the size that these mean."""

from __future__ import annotations

import dataclasses
import math
from typing import get_args

import numpy as np
import pytest

from heimdall import simulate
from heimdall.core import params
from heimdall.core.randomness import generator
from heimdall.pipeline.simulate.simulated import world_tasks
from heimdall.simulate import channel, profiles
from heimdall.simulate.budget import Environment
from heimdall.simulate.profiles import Profile, Standard
from heimdall.simulate.world import MULTIPATHS, Multipath
from tests import REPOSITORY


@pytest.mark.parametrize(
    ("profile", "taps", "rms"),
    [
        # Multiples of the spread that a link draws: 1, by TR 38.901, section 7.7.
        (profiles.TDL_A, 23, 1.0),
        (profiles.TDL_C, 24, 1.0),
        (profiles.TDL_D, 13, 1.0),
        (profiles.TDL_E, 14, 1.0),
        # Microseconds, of the continuous profiles of COST 207 that the taps stand for.
        (profiles.RURAL_AREA, 6, 0.1),
        (profiles.TYPICAL_URBAN, 12, 1.0),
        (profiles.BAD_URBAN, 12, 2.5),
        (profiles.HILLY_TERRAIN, 12, 5.0),
    ],
)
def test_a_profile_has_the_delay_spread_of_its_standard(profile: Profile, taps: int, rms: float) -> None:
    assert len(profile.delay) == len(profile.power_db) == taps
    assert profile.rms_delay(profile.rice_k) == pytest.approx(rms, rel=0.03)
    assert math.fsum(profile.scattered(3.0)) == pytest.approx(1 / 4)


def test_first_taps_have_the_rice_factor_of_their_standard() -> None:
    """13.3 and 22 dB (TR 38.901), and 0.83 of the first tap (TS 45.005)."""

    def first_db(profile: Profile) -> float:
        return profile.direct_db - profile.power_db[0]

    assert first_db(profiles.TDL_D) == pytest.approx(13.3)
    assert first_db(profiles.TDL_E) == pytest.approx(22.0)
    assert first_db(profiles.RURAL_AREA) == pytest.approx(10 * math.log10(0.83 / 0.17))


@pytest.mark.parametrize(
    ("kind", "low_ns", "high_ns"),
    [
        ("rma", 11, 22),
        ("uma", 35, 70),
        ("cost207", 300, 640),
        ("cost207_ra", 50, 100),
        ("cost207_tu", 750, 1_250),
        ("cost207_bu", 2_000, 3_300),
        ("cost207_ht", 2_800, 4_400),
    ],
)
def test_median_delay_bias_of_heard_links(kind: Multipath, low_ns: float, high_ns: float) -> None:
    world = simulate.make_world(3, 100, kind)
    bias_ns = [
        abs(channel.paths(world, plan.transmitter, r.receiver, plan.frequency_hz).bias_s) * 1e9
        for plan in simulate.sessions(world, 200)
        for r in plan.receptions
        if r.has_signal
    ]
    assert low_ns <= np.median(bias_ns) <= high_ns


@pytest.mark.parametrize(
    ("standard", "blocked", "median_ns", "sigma_lg"),
    [
        ("rma", False, 32.4, 0.55),
        ("rma", True, 37.2, 0.48),
        ("uma", False, 93.3, 0.66),  # 38.901, table 7.7.3-2: UMa 93 ns with line of sight at 6 GHz
        ("uma", True, 363.9, 0.39),  # and 363 ns without
    ],
)
def test_spread_of_a_link_is_log_normal_by_38901(
    standard: Standard, blocked: bool, median_ns: float, sigma_lg: float
) -> None:
    scenario = profiles.SCENARIOS[standard]
    profile = scenario.blocked if blocked else scenario.clear
    lg_ns = []
    for number in range(600):
        drawn = profiles.taps(standard, "rural", blocked, generator(1, "test", number))
        rice_k = drawn.direct**2 / (1 - drawn.direct**2)
        unit_s = drawn.excess_s[-1] / profile.delay[-1]
        lg_ns.append(math.log10(profile.rms_delay(rice_k) * unit_s * 1e9))
        assert (drawn.direct == 0) == blocked
    assert np.mean(lg_ns) == pytest.approx(math.log10(median_ns), abs=4 * sigma_lg / math.sqrt(600))
    assert np.std(lg_ns) == pytest.approx(sigma_lg, rel=0.1)


def test_taps_fade_by_rayleigh_and_their_mean_power_is_the_profile() -> None:
    """The power of each tap is exponential: its standard deviation is its mean."""
    drawn = [profiles.taps("cost207_tu", "urban", True, generator(2, "test", n)) for n in range(1_500)]
    gain = np.array([link.gain for link in drawn]).reshape(1_500, 12, profiles.RAYS).sum(axis=2)
    power = np.abs(gain) ** 2
    np.testing.assert_allclose(power.mean(axis=0), profiles.TYPICAL_URBAN.scattered(0.0), rtol=0.12)
    np.testing.assert_allclose(power.std(axis=0), power.mean(axis=0), rtol=0.15)
    assert np.abs(np.corrcoef(gain.real.T) - np.eye(12)).max() < 0.12  # taps are independent


def test_rays_turn_with_the_carrier() -> None:
    world = simulate.make_world(11, 2, "cost207_ht")
    one, two = (channel.paths(world, 0, 0, hz) for hz in (145e6, 145.0125e6))
    assert (one.delay_s - one.delay_s[0]).max() == pytest.approx(20e-6)
    heard = np.abs(one.gain) > 0  # hilly terrain has no direct path
    turned = np.angle(
        (two.gain[heard] / one.gain[heard]) * np.exp(2j * np.pi * 12_500.0 * one.delay_s[heard])
    )
    assert np.abs(turned).max() < 1e-6


def test_a_world_of_another_kind_differs_in_its_echoes_alone() -> None:
    light, hilly, again = (simulate.make_world(5, 4, kind) for kind in ("light", "cost207_ht", "cost207_ht"))
    assert hilly.links == again.links
    for mine, other in zip(light.transmitters, hilly.transmitters, strict=True):
        np.testing.assert_array_equal(mine.position_m, other.position_m)
    assert [[link.excess_loss_db for link in row] for row in light.links] == [
        [link.excess_loss_db for link in row] for row in hilly.links
    ]
    gains = {link.taps.gain[0] for row in hilly.links for link in row if link.taps is not None}
    assert len(gains) == 4 * 7  # the scatter of each link is its own


def test_cost207_goes_by_the_environment() -> None:
    def longest_us(environment: Environment) -> set[float]:
        return {
            round(profiles.taps("cost207", environment, False, generator(3, "test", n)).excess_s[-1] * 1e6, 1)
            for n in range(40)
        }

    assert longest_us("rural") == {0.5, 5.0}  # rural area, typical urban
    assert longest_us("urban") == {5.0, 10.0}  # typical urban, bad urban
    assert longest_us("mountain") == {0.5, 20.0}  # rural area, hilly terrain


def test_the_parameter_knows_every_kind_of_multipath() -> None:
    assert get_args(params.Multipath) == MULTIPATHS
    settings = params.load(REPOSITORY / "params.yaml")
    mixed = dataclasses.replace(settings.pretrain, multipath=["light", "cost207_ht"])
    found = [task.world().multipath for task in world_tasks(mixed, settings.features)[:3]]
    assert found == ["light", "cost207_ht", "light"]  # in turn
