"""The radio map: it recovers terrain and blocked paths from levels, and its gradient is the true one."""

from __future__ import annotations

import dataclasses
import json
import math
from functools import cache

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from heimdall.core.randomness import generator
from heimdall.geometry.area import Area
from heimdall.position import radio_map, received_power
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import Levels, mean_levels_db
from heimdall.signal.arrival import Observation
from tests.position.test_received_power import MODEL, PLANE, RECEIVERS, observation

AREA = Area.around(RECEIVERS)
HILL_M = np.array([15e3, 5e3])
HILL_DB = -15.0  # what it costs the first receiver
BLOCKED_SHARE, BLOCKED_LOSS_DB = 0.25, 20.0
SCALE = 0.8  # of the t distribution that is nearest to a normal one of sigma 1


@cache
def sessions(
    count: int = 1200, seed: int = 1, power_sigma_db: float = MODEL.power_sigma_db
) -> tuple[list[Observation], np.ndarray]:
    """Levels by the law of `MODEL`, less those of blocked paths, and less behind a hill at one receiver."""
    random = generator(seed, "test radio map")
    truth_m = random.uniform(-45e3, 45e3, (count, 2))
    behind = np.exp(-0.5 * ((truth_m - HILL_M) ** 2).sum(-1) / 15e3**2)
    level_db = mean_levels_db(MODEL, RECEIVERS, truth_m, PLANE) + 6.0 * random.normal(size=(count, 5))
    level_db += power_sigma_db * random.normal(size=(count, 1))
    level_db -= BLOCKED_LOSS_DB * (random.random((count, 5)) < BLOCKED_SHARE)
    level_db[:, 0] += HILL_DB * behind
    heard = np.where(level_db > MODEL.squelch_db, level_db, np.nan)
    return [observation(row) for row in heard], truth_m


def louder(item: Observation, gain_db: float) -> Observation:
    """The same session, heard better by all its receivers."""
    session = dataclasses.replace(item.session, snr_db=item.session.snr_db + np.float32(gain_db))
    return dataclasses.replace(item, session=session)


@cache
def fitted() -> RadioMap:
    found, truth_m = sessions()
    return radio_map.fit(found, truth_m, RECEIVERS, PLANE, law=MODEL, area=AREA)


def test_the_hill_is_found_where_it_is_and_at_whose_receiver() -> None:
    here_m = np.stack([HILL_M, [-35e3, -30e3]])
    over_db = fitted().mean_db(RECEIVERS, here_m, PLANE) - mean_levels_db(MODEL, RECEIVERS, here_m, PLANE)
    assert over_db[0, 0] - over_db[1, 0] == pytest.approx(HILL_DB, abs=4)
    assert np.abs(over_db[0, 1:] - over_db[1, 1:]).max() < 5


def test_blocked_paths_are_told_from_clear_ones() -> None:
    found = fitted()
    assert found.clear_sigma_db == pytest.approx(6.0, abs=1)
    assert found.blocked_loss_db == pytest.approx(BLOCKED_LOSS_DB, abs=4)
    assert found.blocked_share == pytest.approx(BLOCKED_SHARE, abs=0.08)
    assert found.power_scale_db == pytest.approx(SCALE * MODEL.power_sigma_db, abs=1)


@pytest.mark.parametrize("power_sigma_db", [0.5, 10.0])
def test_transmitters_may_be_all_alike_or_very_different(power_sigma_db: float) -> None:
    found, truth_m = sessions(1200, 4, power_sigma_db)
    model = radio_map.fit(found, truth_m, RECEIVERS, PLANE, law=MODEL, area=AREA)
    assert model.power_scale_db == pytest.approx(SCALE * power_sigma_db, abs=1.5)
    assert model.clear_sigma_db == pytest.approx(6.0, abs=1)


def test_a_transmitter_of_another_class_is_not_taken_for_one_elsewhere() -> None:
    """All receivers hear it 25 dB better: what levels say of its place is nearly what they said before."""
    grid_m = AREA.grid_m(4e3)
    mean_db = fitted().mean_db(RECEIVERS, grid_m, PLANE)
    found, _ = sessions()
    moved_m = []
    for item in [item for item in found if item.session.detected.all() and len(item.session.detected) == 5][
        :20
    ]:
        both = [Levels.of(one, RECEIVERS) for one in (item, louder(item, 25))]
        places = [
            received_power.moments(radio_map.log_likelihood(fitted(), one, mean_db), grid_m, 4e3)[0]
            for one in both
        ]
        moved_m.append(math.dist(*places))
    assert len(moved_m) == 20
    assert np.mean(moved_m) < 4e3


def test_transmitters_that_are_louder_than_the_maps_are_learned() -> None:
    found, truth_m = sessions(100, seed=3)
    after = radio_map.fit(
        [louder(item, 40) for item in found], truth_m, RECEIVERS, PLANE, law=MODEL, area=AREA, known=fitted()
    )
    assert np.mean(np.array(after.offset_db) - np.array(fitted().offset_db)) > 30


def test_the_map_says_more_of_new_sessions_than_the_law_of_distance() -> None:
    new, truth_m = sessions(200, seed=2)
    known, true_m = sessions()
    law = received_power.fit(known, true_m, RECEIVERS, PLANE)
    grid_m = AREA.grid_m(4e3)
    mean_db = fitted().mean_db(RECEIVERS, grid_m, PLANE)
    gained = []
    for item, place_m in zip(new, truth_m, strict=True):
        levels = Levels.of(item, RECEIVERS)
        cell = int(((grid_m - place_m) ** 2).sum(-1).argmin())
        by_map = radio_map.log_likelihood(fitted(), levels, mean_db)
        by_law = received_power.log_likelihood(law, levels, grid_m, PLANE)
        gained.append(
            (by_map[cell] - np.logaddexp.reduce(by_map)) - (by_law[cell] - np.logaddexp.reduce(by_law))
        )
    assert np.mean(gained) > 3 * np.std(gained) / math.sqrt(len(gained))


def test_likelihood_is_the_integral_over_the_transmitters_power() -> None:
    model, place_m = fitted(), np.array([[10e3, 5e3]])
    silent = np.array([False, True, False, False, False])  # the fourth receiver is absent: it says nothing
    levels = Levels(RECEIVERS, np.array([20.0, np.nan, 12.0, np.nan, 30.0]), silent, uhf=True)
    mean_db = model.mean_db(RECEIVERS, place_m, PLANE)

    def joint(power_db: float) -> float:
        total = stats.t(4, 0, model.power_scale_db).pdf(power_db)
        means_db = mean_db[0] + model.law.uhf_offset_db
        for level, mean in zip(np.delete(levels.snr_db, 3), np.delete(means_db, 3), strict=True):
            clear = stats.norm(mean + power_db, model.clear_sigma_db)
            blocked = stats.norm(mean + power_db - model.blocked_loss_db, model.blocked_sigma_db)
            both = [
                one.cdf(model.law.squelch_db) if np.isnan(level) else one.pdf(level)
                for one in (clear, blocked)
            ]
            total *= (1 - model.blocked_share) * both[0] + model.blocked_share * both[1]
        return float(total)

    exact, _ = integrate.quad(joint, -50, 50, points=[0], epsabs=0, epsrel=1e-10)
    elsewhere = model.mean_db(RECEIVERS, np.array([[-20e3, 0.0]]), PLANE)
    at, other = (float(radio_map.log_likelihood(model, levels, one)[0]) for one in (mean_db, elsewhere))
    mean_db = elsewhere
    expected = math.log(exact) - math.log(
        integrate.quad(joint, -50, 50, points=[0], epsabs=0, epsrel=1e-10)[0]
    )
    assert at - other == pytest.approx(expected, abs=0.02)  # up to a constant


def test_the_gradient_is_that_of_the_likelihood() -> None:
    found, truth_m = sessions()
    model, snr_db = fitted(), np.stack([Levels.of(item, RECEIVERS).snr_db for item in found[:30]])
    bumps = radio_map._bumps(truth_m[:30], np.array(model.centre_m), model.width_m)
    law_db = mean_levels_db(MODEL, RECEIVERS, truth_m[:30], PLANE)
    silent = np.isnan(snr_db) & (np.arange(30) % 3 > 0)[:, np.newaxis]  # absent in every third session
    assert (np.isnan(snr_db) & ~silent).any()
    given = radio_map._Sessions(snr_db, np.isfinite(snr_db), silent, law_db, bumps, MODEL.squelch_db)
    values = radio_map._packed(model)
    _, gradient = radio_map._log_probability(values, given)
    numeric = optimize.approx_fprime(values, lambda at: radio_map._log_probability(at, given)[0], 1e-6)
    np.testing.assert_allclose(gradient, numeric, rtol=1e-4, atol=1e-4)


def test_a_map_that_was_fitted_before_keeps_its_terrain_and_learns_the_receivers() -> None:
    found, truth_m = sessions(100, seed=3)
    after = radio_map.fit(
        [louder(item, 5) for item in found], truth_m, RECEIVERS, PLANE, law=MODEL, area=AREA, known=fitted()
    )
    assert after.terrain_db == fitted().terrain_db
    assert after.blocked_share == pytest.approx(fitted().blocked_share)
    assert np.mean(np.array(after.offset_db) - np.array(fitted().offset_db)) > 2


def test_a_map_survives_json_and_no_session_is_refused() -> None:
    assert RadioMap.from_dict(json.loads(json.dumps(dataclasses.asdict(fitted())))) == fitted()
    with pytest.raises(ValueError, match="no session"):
        radio_map.fit([], np.zeros((0, 2)), RECEIVERS, PLANE, law=MODEL, area=AREA)
