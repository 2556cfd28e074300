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
from heimdall.core import artifacts, determinism, params
from heimdall.core.errors import HeimdallError
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.pipeline.featurize import tables
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.simulate.simulated import WorldTask
from tests import tiny_features

PARAMS = params.load(tiny_features.PARAMS)
FEATURES = dataclasses.replace(PARAMS.features, n_mels=16)
CHOSEN = dataclasses.replace(PARAMS.pretrain, sessions=5, sessions_per_world=2)  # worlds of 2, 2 and 1


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
    def refused(message: str, **changes: int) -> None:
        given = dataclasses.asdict(PARAMS)
        with pytest.raises(HeimdallError, match=message):
            params.check(given | {"pretrain": given["pretrain"] | changes}, "test")

    refused("seed must be at least 1000: the worlds of smaller seeds are those of demos", seed=42)
    refused("must be at least twice sessions_per_world", sessions=60, sessions_per_world=50)


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
