"""Each simulated world has filters of its own, and where its receivers are others, levels of its own."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from heimdall.geometry.area import Receivers
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.network import dataset
from heimdall.network.dataset import Sessions
from heimdall.network.filters import Filters
from heimdall.network.tokens import Tokenizer
from heimdall.pipeline.train import token_file, world_networks
from heimdall.pipeline.train.task import Scratch
from heimdall.pipeline.train.token_file import Recipe
from heimdall.pipeline.train.world_networks import Measured
from heimdall.position import radio_map, received_power
from heimdall.position.received_power import Levels
from heimdall.signal.arrival import Observation
from tests import known_sessions
from tests.position.test_receiver_delays import OWN_S, heard
from tests.synthetic_sessions import FEATURES, PLANE, RECEIVERS

EACH = 30
OWN_OF = {"sim-1000": OWN_S, "sim-1001": -OWN_S}
HOME: Tokenizer = replace(known_sessions.TOKENIZER, plane=PLANE, receivers=RECEIVERS)
# Where the receivers of the second world have other numbers, and one more of them hears nothing at all.
OTHERS = Receivers(
    np.append(RECEIVERS.websdr_id + 100_100, 100_190).astype(np.int32),
    np.concatenate([RECEIVERS.position_m, [[10e3, -20e3, 300.0]]]),
)


def worlds(*, elsewhere: bool = False) -> Sessions:
    """Two worlds of unlike receivers, a transmitter a session."""
    random, seen, rows = np.random.default_rng(6), [], []
    for world, own_s in OWN_OF.items():
        for number in range(EACH):
            observation, at_m = heard(random, own_s)
            other = of_others(observation, random) if elsewhere and world == "sim-1001" else observation
            seen.append(other)
            latitude_deg, longitude_deg = (float(value) for value in PLANE.to_degrees(*at_m))
            count = len(observation.session.websdr_id)
            rows.append((f"{world}-s{number}", f"{world}-{number:03d}", latitude_deg, longitude_deg, count))
    columns = ["session_id", "source_id", "latitude_deg", "longitude_deg", "recordings"]
    return Sessions(seen, pd.DataFrame(rows, columns=columns))


def of_others(observation: Observation, random: np.random.Generator) -> Observation:
    """The same session of receivers with other numbers, at levels that tell how far they are."""
    session = observation.session
    far_km = session.delay_s * SPEED_OF_LIGHT_M_S / 1e3
    level_db = 5 - 30 * np.log10(far_km / 30) + random.normal(0, 6, len(far_km))
    numbers = session.websdr_id + np.int32(100_100)
    session = replace(session, websdr_id=numbers, snr_db=level_db.astype(np.float32))
    return replace(observation, session=session)


def measured(sessions: Sessions, elsewhere: Mapping[str, Receivers] | None = None) -> Sequence[Measured]:
    return world_networks.measured(sessions, HOME, FEATURES, elsewhere or {})


def filters(sessions: Sessions) -> list[Filters]:
    return [one.filters for one in measured(sessions)]


def test_each_world_has_its_own() -> None:
    found = filters(worlds())
    assert len(found) == 2 * EACH
    for number, own_s in ((0, OWN_S), (EACH, -OWN_S)):
        off_s = found[number].delays.delay_s - own_s
        np.testing.assert_allclose(off_s - off_s.mean(), 0, atol=120e-9)


def test_a_sessions_own_transmitter_does_not_tell() -> None:
    sessions, number = worlds(), 7
    seen = list(sessions.observations)
    late_s = seen[number].arrivals.delay_s + np.arange(len(seen[number].arrivals.delay_s)) * 1e-7
    seen[number] = replace(seen[number], arrivals=replace(seen[number].arrivals, delay_s=late_s))
    before, after = filters(sessions), filters(replace(sessions, observations=seen))
    assert after[number] == before[number]
    assert after[number + 1] != before[number + 1]


def test_a_sessions_own_levels_do_not_tell() -> None:
    sessions, number = worlds(elsewhere=True), EACH + 7
    seen = list(sessions.observations)
    louder = replace(seen[number].session, snr_db=seen[number].session.snr_db + np.float32(10))
    seen[number] = replace(seen[number], session=louder)
    before, after = (
        [one.tokenizer.power for one in measured(some, {"sim-1001": OTHERS})]
        for some in (sessions, replace(sessions, observations=seen))
    )
    assert after[number] == before[number]
    assert after[number + 1] != before[number + 1]


def test_a_world_elsewhere_has_receivers_levels_and_filters_of_its_own() -> None:
    sessions = worlds(elsewhere=True)
    found = measured(sessions, {"sim-1001": OTHERS})
    assert all(one.tokenizer is HOME for one in found[:EACH])
    there = found[EACH].tokenizer
    own = sessions.rows(np.array([EACH + k for k in range(EACH) if k % world_networks.PARTS]))
    given = own.observations, own.truth_m(PLANE), OTHERS, PLANE
    law = received_power.fit(*given)
    assert (there.plane, there.area, there.power) == (PLANE, HOME.area, law)
    known = HOME.radio.of_others(law, OTHERS)
    assert there.radio == radio_map.fit(*given, law=law, area=HOME.area, known=known)
    silent = [Levels.of(one, there.receivers).silent.sum() for one in own.observations]
    assert silent == [8 - len(one.session.websdr_id) for one in own.observations]
    for one in found[EACH:]:
        assert one.tokenizer.receivers is OTHERS
        assert set(one.filters.delays.websdr_id) <= set(OTHERS.websdr_id.tolist())
    off_s = np.array(found[EACH].filters.delays.delay_s) + OWN_S
    np.testing.assert_allclose(off_s - off_s.mean(), 0, atol=120e-9)


def test_the_only_transmitter_of_a_world_elsewhere_tells_nothing_of_its_receivers() -> None:
    (alone,) = measured(worlds(elsewhere=True).rows(np.array([EACH])), {"sim-1001": OTHERS})
    assert alone.tokenizer.receivers is OTHERS
    assert (alone.tokenizer.power, alone.tokenizer.radio) == (HOME.power, HOME.radio)


def test_worlds_elsewhere_are_not_of_the_network() -> None:
    sessions = worlds(elsewhere=True)
    home = world_networks.at_home(sessions, {"sim-1001": OTHERS})
    assert home.table["source_id"].tolist() == sessions.table["source_id"].tolist()[:EACH]
    assert list(home.observations) == list(sessions.observations)[:EACH]
    assert len(world_networks.at_home(sessions, {}).table) == 2 * EACH


def test_tokens_of_a_world_elsewhere_are_those_of_its_network(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sessions = worlds(elsewhere=True).rows(np.arange(EACH - 2, 2 * EACH))
    elsewhere = {"sim-1001": OTHERS}
    recipe = Recipe(HOME, FEATURES, 3, varied=True, threads=1, elsewhere=elsewhere)
    stored = token_file.made(recipe, sessions, Scratch(tmp_path, alone=True), "train")
    by = world_networks.measured(sessions, HOME, FEATURES, elsewhere)
    for number in (0, 5):  # of home, and of the other world
        expected = by[number].tokenizer.tokens(sessions.observations[number], by[number].filters)
        np.testing.assert_array_equal(stored[number][0].log_power, expected.log_power)
        np.testing.assert_array_equal(stored[number][0].physical, expected.physical)
    as_if_home = HOME.tokens(sessions.observations[5], by[5].filters)
    assert not np.array_equal(stored[5][0].physical, as_if_home.physical)  # gains of its own
    assert not np.array_equal(stored[5][0].log_power, as_if_home.log_power)  # silence of its own

    monkeypatch.setattr(world_networks, "measured", lambda *_: pytest.fail("measured again"))
    assert len(token_file.made(recipe, sessions, Scratch(tmp_path, alone=True), "train")) == EACH + 2


def test_receivers_elsewhere_are_read_by_world(tmp_path: Path) -> None:
    east_m, north_m, up_m = OTHERS.position_m.T
    table = pd.DataFrame(
        {"websdr_id": OTHERS.websdr_id, "east_m": east_m, "north_m": north_m, "up_m": up_m, "world": "sim-1"}
    )
    config = dataset.DatasetConfig(tmp_path)
    pd.concat([table.assign(world="sim-2")[3:], table]).to_parquet(config.elsewhere_file)
    found = dataset.read_elsewhere(config)
    assert set(found) == {"sim-1", "sim-2"}
    np.testing.assert_array_equal(found["sim-1"].websdr_id, OTHERS.websdr_id)
    np.testing.assert_array_equal(found["sim-2"].position_m, OTHERS.position_m[3:])
    table[:0].to_parquet(config.elsewhere_file)
    assert dataset.read_elsewhere(config) == {}
