"""Simulated sessions for pretraining: the form of data/features/, whole worlds validate, same bytes."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall import simulate
from heimdall.core import artifacts, determinism, params, paths
from heimdall.core.errors import HeimdallError
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.pipeline.featurize import tables
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.simulate.simulated import WorldTask
from tests import tiny_features

PARAMS = params.load(tiny_features.PARAMS)
FEATURES = dataclasses.replace(PARAMS.features, n_mels=16)
# Worlds of 2, 2 and 1; the receivers of all are those of the network.
CHOSEN = dataclasses.replace(PARAMS.pretrain, sessions=5, sessions_per_world=2, elsewhere_share=0.0)
OTHER = 1001  # the seed of the one whose receivers are others with a share of a quarter


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    artifacts.write_bytes(tmp_path / determinism.LOCK_FILE, b"numpy==1\n")
    return tmp_path


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("simulated")
    artifacts.write_bytes(folder / determinism.LOCK_FILE, b"numpy==1\n")
    simulated.run(CHOSEN, FEATURES, folder)
    return folder


def outputs(root: Path) -> dict[str, bytes]:
    paths = [path for path in (root / simulated.SIMULATED).rglob("*") if path.is_file()]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths}


def test_it_has_the_form_of_the_features(built: Path) -> None:
    config = DatasetConfig(built / simulated.SIMULATED)
    everything = HeimdallDataset(config, "all", None, 0.5)
    list(everything)  # refuses an index that does not fit its shards
    index = everything.index
    assert list(index.columns) == tables.INDEX_SCHEMA.names
    assert index["session_id"].nunique() == 5
    assert index["measurement_id"].is_unique
    assert index["simulated"].all()
    network = pd.read_parquet(config.data_dir / "receivers.parquet")
    assert list(network.columns) == tables.NETWORK_SCHEMA.names
    world = simulate.make_world(1000, 1, "light", clock_sigma_ns=0.0)
    np.testing.assert_allclose(network[["east_m", "north_m", "up_m"]], world.receiver_position_m, atol=1e-6)
    assert dataset.read_network(config).features == FEATURES.record()


def test_positions_and_kinds_are_those_of_the_worlds(built: Path) -> None:
    index = dataset.read_index(DatasetConfig(built / simulated.SIMULATED))
    world = simulate.make_world(1001, 1, "light", clock_sigma_ns=0.0)
    plan = simulate.sessions(world, 2)[1]
    rows = index[index["session_id"] == plan.session_id]
    assert rows["websdr_id"].tolist() == [reception.websdr_id for reception in plan.receptions]
    assert set(rows["latitude_deg"]) == {world.transmitters[0].latitude_deg}
    assert set(rows["source_id"]) == {"sim-1001-000"}
    assert set(rows["modulation"]) == {world.transmitters[0].modulation}


def test_whole_worlds_validate(built: Path) -> None:
    index = dataset.read_index(DatasetConfig(built / simulated.SIMULATED))
    validates = dataset.members(index, "val", 0.3)
    assert index[validates]["source_id"].unique().tolist() == ["sim-1000-000"]
    assert index[~validates]["source_id"].unique().tolist() == ["sim-1001-000", "sim-1002-000"]
    assert not dataset.members(index, "test", 0.3).any()


def test_clocks_are_exact(built: Path) -> None:
    """Their error is drawn in training; only a receiver without GPS time has none to draw."""
    everything = HeimdallDataset(DatasetConfig(built / simulated.SIMULATED), "all", None, 0.5)
    found = [everything.session(number) for number in range(5)]
    sigma_s = np.concatenate([session.timing_sigma_s for session in found])
    assert set(sigma_s) <= {0.0, np.inf}
    assert (sigma_s == 0).sum() >= 5


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with a world of other receivers."""
    folder = tmp_path_factory.mktemp("mixed")
    artifacts.write_bytes(folder / determinism.LOCK_FILE, b"numpy==1\n")
    simulated.run(dataclasses.replace(CHOSEN, elsewhere_share=0.25), FEATURES, folder)
    return folder


def test_worlds_of_other_receivers_leave_the_rest_as_it_is(built: Path, mixed: Path) -> None:
    before, after = outputs(built), outputs(mixed)
    changed = {name for name in before | after if before.get(name) != after.get(name)}
    shards = {name for name in changed if "shards" in name}
    assert len(shards) == 2  # that of one world, before and after
    assert {Path(name).name for name in changed - shards} == {
        "index.parquet",
        "network.json",
        paths.ELSEWHERE,
    }
    configs = [DatasetConfig(folder / simulated.SIMULATED) for folder in (built, mixed)]
    assert dataset.read_elsewhere(configs[0]) == {}
    assert dataset.read_network(configs[1]).frame == dataset.read_network(configs[0]).frame
    one, other = (dataset.read_index(config) for config in configs)
    own = other["source_id"].str.startswith(f"sim-{OTHER}-")
    pd.testing.assert_frame_equal(
        other[~own].reset_index(drop=True),
        one[~one["source_id"].str.startswith(f"sim-{OTHER}-")].reset_index(drop=True),
    )


def test_the_table_says_which_receivers_a_world_elsewhere_has(mixed: Path) -> None:
    config = DatasetConfig(mixed / simulated.SIMULATED)
    found = dataset.read_elsewhere(config)
    sites = simulate.drawn_receivers(OTHER)
    assert set(found) == {f"sim-{OTHER}"}
    there = found[f"sim-{OTHER}"]
    assert there.websdr_id.tolist() == [site.websdr_id for site in sites]
    world = simulate.make_world(OTHER, 1, receivers=sites)
    np.testing.assert_allclose(there.position_m, world.receiver_position_m, atol=1e-6)
    everything = dataset.observations(config, "all", 0.5)
    home = dataset.read_receivers(config)
    for source, item in zip(everything.table["source_id"], everything.observations, strict=True):
        network = found.get(source.rsplit("-", 1)[0], home)
        place = dict(zip(network.websdr_id.tolist(), network.position_m, strict=True))
        for websdr_id, at_m in zip(item.session.websdr_id.tolist(), item.session.position_enu_m, strict=True):
            np.testing.assert_array_equal(at_m, place[websdr_id])
    index = dataset.read_index(config)
    regions = set(index[index["source_id"].str.startswith(f"sim-{OTHER}-")]["region"])
    assert regions <= {site.name for site in sites}


def test_a_killed_run_ends_with_the_same_bytes_and_renders_nothing_twice(
    built: Path, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[int] = []

    def dying(task: WorldTask, make: Callable[[WorldTask], bytes] = simulated.simulate_shard) -> bytes:
        if len(done) == 1:
            done.append(-1)
            raise KeyboardInterrupt
        done.append(task.seed)
        return make(task)

    monkeypatch.setattr(simulated, "simulate_shard", dying)
    with pytest.raises(KeyboardInterrupt):
        simulated.run(CHOSEN, FEATURES, root)
    assert outputs(root) == {}
    simulated.run(CHOSEN, FEATURES, root)
    assert done == [1000, -1, 1001, 1002]
    assert outputs(root) == outputs(built)

    more = dataclasses.replace(CHOSEN, sessions=6, lr=1.0)  # of the training, and one session more
    simulated.run(more, FEATURES, root)
    assert done[4:] == [1002]
    shards = {name for name in outputs(root) if "shards" in name}
    assert len(shards) == 3
    assert len(shards & set(outputs(built))) == 2


@pytest.mark.parametrize("changes", [{"n_fft": 400_000}, {"f_max": 100_000.0}])
def test_parameters_that_do_not_fit_leave_the_former_features(root: Path, changes: dict[str, Any]) -> None:
    artifacts.write_bytes(root / simulated.SIMULATED / "index.parquet", b"former")
    with pytest.raises(HeimdallError):
        simulated.run(CHOSEN, dataclasses.replace(FEATURES, **changes), root)
    assert outputs(root) == {"data/simulated/index.parquet": b"former"}


def test_worlds_that_are_evaluated_on_are_refused() -> None:
    def refused(message: str, **changes: float) -> None:
        given = dataclasses.asdict(PARAMS)
        with pytest.raises(HeimdallError, match=message):
            params.check(given | {"pretrain": given["pretrain"] | changes}, "test")

    refused("seed must be at least 1000: the worlds of smaller seeds are those of demos", seed=42)
    refused("must be at least twice sessions_per_world", sessions=60, sessions_per_world=50)
    refused("seed .* must be smaller", seed=params.LAST_OTHER_WORLD)
    refused("elsewhere_share: Input should be less than 1", elsewhere_share=1)


def test_a_share_of_the_worlds_has_faults() -> None:
    chosen = dataclasses.replace(
        PARAMS.pretrain,
        sessions=400,
        sessions_per_world=2,
        multipath=["light", "strong", "rma"],
        faulty_share=0.3,
    )
    tasks = simulated.world_tasks(chosen, FEATURES)
    assert [task.multipath for task in tasks[:4]] == ["light", "strong", "rma", "light"]
    faulty = [task for task in tasks if task.faults != simulate.NO_FAULTS]
    assert 45 < len(faulty) < 75
    for task in faulty:
        assert task.faults == task.world().faults == simulate.Faults.drawn(task.seed)
    more = simulated.world_tasks(dataclasses.replace(chosen, faulty_share=0.6), FEATURES)
    for one, other in zip(tasks, more, strict=True):  # what was faulty stays so, and has the same faults
        assert one.faults in {simulate.NO_FAULTS, other.faults}
    none, every = (
        simulated.world_tasks(dataclasses.replace(chosen, faulty_share=share), FEATURES)
        for share in (0.0, 1.0)
    )
    assert {task.faults for task in none} == {simulate.NO_FAULTS}
    assert simulate.NO_FAULTS not in {task.faults for task in every}


def test_a_share_of_the_worlds_has_other_receivers() -> None:
    chosen = dataclasses.replace(PARAMS.pretrain, sessions=400, sessions_per_world=2)
    none, some, more = (
        simulated.world_tasks(dataclasses.replace(chosen, elsewhere_share=share), FEATURES)
        for share in (0.0, 0.25, 0.5)
    )
    assert not any(task.elsewhere for task in none)
    assert 35 < sum(task.elsewhere for task in some) < 65
    for home, one, other in zip(none, some, more, strict=True):
        assert dataclasses.replace(one, elsewhere=False) == home  # as faulty as before
        assert other.elsewhere or not one.elsewhere
    both = [(task.elsewhere, task.faults != simulate.NO_FAULTS) for task in more]
    assert len(set(both)) == 4  # neither decides the other
    for task in some[:12]:
        expected = simulate.drawn_receivers(task.seed) if task.elsewhere else simulate.RECEIVERS
        assert task.world().receivers == expected
