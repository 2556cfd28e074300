"""Fusion is learned in two steps, on simulated sessions and then on others: same bytes, and what goes on."""

from __future__ import annotations

import dataclasses
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

from heimdall.core import artifacts, determinism, params
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FeatureParams, Params
from heimdall.geometry.area import Area
from heimdall.network import dataset, model_file
from heimdall.network.dataset import DatasetConfig
from heimdall.network.fusion_net import FusionNet
from heimdall.pipeline.simulate import simulated
from heimdall.pipeline.train import checkpoints, session_task, training, world_networks
from heimdall.pipeline.train.session_task import SessionTask
from heimdall.pipeline.train.task import Scratch
from heimdall.pipeline.train.training import Training
from heimdall.position import radio_map, received_power
from heimdall.signal.arrival import without_gps
from tests import tiny_features
from tests.single_training import killed_at_call

LOADED = params.load(tiny_features.PARAMS)
# Small log-mels: what is tested is what surrounds the networks.
FEATURES = dataclasses.replace(LOADED.features, n_mels=32)
PRETRAIN: dict[str, Any] = {
    "sessions": 6,
    "sessions_per_world": 2,
    "elsewhere_share": 0.0,
    "epochs": 2,
    "lr": 3e-3,
    "warmup_epochs": 1,
}
OUTPUTS = ("models/pretrained.safetensors", "models/pretrained.json", "plots/pretraining.csv",
           "metrics/pretrain.json")  # fmt: skip


def settings(**changes: Any) -> Params:  # noqa: ANN401
    quick: dict[str, Any] = {
        "epochs": 2,
        "batch_size": 2,
        "warmup_epochs": 1,
        "threads": 1,
        "validation_split": 0.4,
    }
    pretrain = dataclasses.replace(LOADED.pretrain, validation_split=0.3, **PRETRAIN)
    return dataclasses.replace(LOADED, **quick | {"pretrain": pretrain} | changes)


def model_params(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    return {"model": dataclasses.replace(LOADED.model, **changes)}


def digests(folder: Path, names: tuple[str, ...] = OUTPUTS) -> dict[str, str]:
    return {name: artifacts.sha256_file(folder / name) for name in names}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository whose simulate stage has run: three worlds of two sessions."""
    return made(tmp_path_factory.mktemp("repository"), settings())


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, but that the second world, the first of two that train, has other receivers."""
    pretrain = dataclasses.replace(settings().pretrain, elsewhere_share=0.25)
    return made(tmp_path_factory.mktemp("mixed"), settings(pretrain=pretrain))


def made(folder: Path, by: Params) -> Path:
    artifacts.write_bytes(folder / determinism.LOCK_FILE, b"numpy==1\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "sched_getaffinity", lambda _: {0})
        simulated.run(by.pretrain, FEATURES, folder)
    return folder


@pytest.fixture(scope="module")
def pretrained(root: Path) -> Path:
    """What the pretrain stage wrote, undisturbed."""
    pretraining(root, root / "work").run(root / "out")
    return root / "out"


@pytest.fixture
def fine_tuning(root: Path, pretrained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the train stage finds the pretrained weights."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").symlink_to(pretrained / "models")
    return tmp_path


def pretraining(root: Path, work: Path) -> Training:
    return training.pretraining(settings(), root / simulated.SIMULATED, work)


def train(root: Path, folder: Path, **changes: Any) -> dict[str, Any]:  # noqa: ANN401
    """Run the train stage on the same sessions; the record of the model."""
    pipeline = Training(settings(**changes), root / simulated.SIMULATED, folder / "work")
    pipeline.run(folder / "out")
    record: dict[str, Any] = artifacts.read_json(folder / "out" / "models" / "localizer.json")
    return record


def fusion_net(path: Path) -> FusionNet:
    network, _ = training.load_network(path)
    assert isinstance(network, FusionNet)
    return network


def test_pretraining_says_what_it_did(pretrained: Path) -> None:
    final = artifacts.read_json(pretrained / "metrics" / "pretrain.json")
    assert (final["data"], final["epochs"]) == ("simulated", 2)
    assert (final["training_sessions"], final["validation_sessions"]) == (4, 2)
    curve = pd.read_csv(pretrained / "plots" / "pretraining.csv")
    assert list(curve["learning_rate"]) == [3e-3, 3e-3]
    record = artifacts.read_json(pretrained / "models" / "pretrained.json")
    assert record["params"]["lr"] == 3e-3
    assert record["params"]["model"] == {"name": "fusion", "from_simulated": False}
    assert not {"backbone", "augment"} & set(record["params"])  # they decide nothing
    network = fusion_net(pretrained / "models" / "pretrained.safetensors")
    assert (final["temperature"], final["floor_m"]) == (float(network.temperature), float(network.floor_m))


@pytest.mark.parametrize(
    ("owner", "number"),
    [(torch, 1), (torch, 3), (model_file, 1)],
    ids=["in the first epoch", "in the second", "before the outputs"],
)
def test_a_killed_pretraining_ends_with_the_same_bytes(
    root: Path, pretrained: Path, tmp_path: Path, owner: object, number: int
) -> None:
    with killed_at_call(number, owner, "save"):
        pretraining(root, tmp_path / "work").run(tmp_path / "out")
    assert not (tmp_path / "out").exists()
    pretraining(root, tmp_path / "work").run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(pretrained)
    assert not list((tmp_path / "work").iterdir())


def test_worlds_of_other_receivers_are_learned_from_and_leave_the_network_as_it_is(
    mixed: Path, tmp_path: Path
) -> None:
    pretraining(mixed, tmp_path / "work").run(tmp_path / "out")
    with killed_at_call(1, torch, "save"):
        pretraining(mixed, tmp_path / "killed").run(tmp_path / "again")
    pretraining(mixed, tmp_path / "killed").run(tmp_path / "again")
    assert digests(tmp_path / "again") == digests(tmp_path / "out")

    config = DatasetConfig(mixed / simulated.SIMULATED)
    elsewhere, home = dataset.read_elsewhere(config), dataset.read_receivers(config)
    assert set(elsewhere) == {"sim-1001"}
    part = dataset.observations(config, "train", settings().pretrain.validation_split)
    assert part.table["source_id"].str[:8].tolist() == ["sim-1001"] * 2 + ["sim-1002"] * 2
    network = fusion_net(tmp_path / "out" / "models" / "pretrained.safetensors")
    at_home = world_networks.at_home(part, elsewhere)
    truth_m = at_home.truth_m(network.plane)
    assert network.power == received_power.fit(at_home.observations, truth_m, home, network.plane)
    assert network.power.websdr_id == network.radio.law.websdr_id == tuple(home.websdr_id.tolist())
    assert network.area == Area.of_transmitters(home, truth_m)

    task = SessionTask(settings(validation_split=0.3, **model_params(from_simulated=False)), config)
    task.start(Scratch(tmp_path / "tokens", alone=True))
    here = task.network.tokenizer(home)
    found = [task.training.sessions[number][0] for number in range(2)]
    for one, seen in zip(found, part.observations, strict=False):
        # One transmitter tells nothing of its receivers, but those that are silent are of its world.
        expected = dataclasses.replace(here, receivers=elsewhere["sim-1001"]).tokens(seen)
        np.testing.assert_array_equal(one.log_power, expected.log_power)
        assert not np.array_equal(one.log_power, here.tokens(seen).log_power)


def test_a_training_without_a_world_of_the_network_is_refused(mixed: Path, tmp_path: Path) -> None:
    shutil.copytree(mixed / simulated.SIMULATED, tmp_path / "data")
    config = DatasetConfig(tmp_path / "data")
    table = pd.read_parquet(config.elsewhere_file)
    pd.concat([table, table.assign(world="sim-1002")]).to_parquet(config.elsewhere_file)
    with pytest.raises(
        HeimdallError, match=r"no world of the training split.*Lower pretrain.elsewhere_share"
    ):
        SessionTask(settings(validation_split=0.3), config)
    config.elsewhere_file.unlink()
    with pytest.raises(HeimdallError, match=r"elsewhere\.parquet: the file is missing"):
        SessionTask(settings(), config)


def test_fine_tuning_goes_on_from_the_simulated_weights(
    root: Path, pretrained: Path, fine_tuning: Path
) -> None:
    record = train(root, fine_tuning)
    weights = pretrained / "models" / "pretrained.safetensors"
    assert record["pretrained_weights_sha256"] == artifacts.sha256_file(weights)
    before, after = fusion_net(weights), fusion_net(fine_tuning / "out" / "models" / "localizer.safetensors")
    assert after.power != before.power  # levels are the snapshot's own
    assert after.radio.offset_db != before.radio.offset_db
    assert after.radio.terrain_db == before.radio.terrain_db  # ridges do not move
    assert after.config["physical_mean"] == before.config["physical_mean"]
    assert not torch.equal(before.token.weight, after.token.weight)
    np.testing.assert_allclose(before.token.weight.detach(), after.token.weight.detach(), atol=0.02)


def test_levels_are_fitted_to_the_training_split(root: Path, pretrained: Path, fine_tuning: Path) -> None:
    config = DatasetConfig(root / simulated.SIMULATED)
    task = SessionTask(settings(), config)
    task.start(Scratch(fine_tuning))
    part, plane = dataset.observations(config, "train", 0.4), dataset.read_network(config).plane
    receivers = dataset.read_receivers(config)
    truth_m = part.truth_m(plane)
    sessions = part.observations, truth_m, receivers, plane
    assert task.network.power == received_power.fit(*sessions)
    given = {"law": task.network.power, "area": Area.of_transmitters(receivers, truth_m)}
    known = fusion_net(pretrained / "models" / "pretrained.safetensors").radio
    assert task.network.radio == radio_map.fit(*sessions, **given, known=known)


def test_training_says_if_no_session_has_arrival_times(
    root: Path, fine_tuning: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = DatasetConfig(root / simulated.SIMULATED)
    SessionTask(settings(), config)
    assert capsys.readouterr().err == ""
    observations, features = dataset.observations, FeatureParams(**dataset.read_network(config).features)

    def timeless(*given: Any) -> dataset.Sessions:  # noqa: ANN401
        found = observations(*given)
        return dataclasses.replace(
            found, observations=[without_gps(item, features) for item in found.observations]
        )

    monkeypatch.setattr(dataset, "observations", timeless)
    SessionTask(settings(), config)
    said = capsys.readouterr().err
    assert said.startswith("Warning: in 0 of 2 training sessions three receivers know GPS time.")
    assert "start_gps_ns and timing_sigma_ns" in said


def test_terrain_is_forgotten_where_receivers_of_the_same_numbers_are_elsewhere(
    root: Path, pretrained: Path, fine_tuning: Path
) -> None:
    task = SessionTask(settings(), DatasetConfig(root / simulated.SIMULATED))
    known = fusion_net(pretrained / "models" / "pretrained.safetensors")
    assert task._is_network_of(known)
    task._receivers.position_m[[0, 1]] = task._receivers.position_m[[1, 0]]  # of the same mean
    assert not task._is_network_of(known)
    task.start(Scratch(fine_tuning))
    here = task.network.radio
    assert not np.any(here.terrain_db)  # two sessions tell of none
    assert np.any(known.radio.terrain_db)
    assert here.clear_sigma_db == known.radio.clear_sigma_db
    assert here.receiver_m == tuple(map(tuple, task._receivers.position_m.tolist()))


def test_many_sessions_elsewhere_tell_of_their_own_terrain(
    root: Path, pretrained: Path, fine_tuning: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    task = SessionTask(settings(), DatasetConfig(root / simulated.SIMULATED))
    task._receivers.position_m[[0, 1]] = task._receivers.position_m[[1, 0]]
    monkeypatch.setattr(session_task, "_TERRAIN_SESSIONS", 2)
    task.start(Scratch(fine_tuning))
    assert np.any(task.network.radio.terrain_db)


def test_loader_workers_change_no_byte(root: Path, fine_tuning: Path) -> None:
    names = ("models/localizer.safetensors", "plots/training.csv", "metrics/train.json")
    found = []
    for workers in (0, 2):
        train(root, fine_tuning / str(workers), num_workers=workers)
        found.append(digests(fine_tuning / str(workers) / "out", names))
    assert found[0] == found[1]


def test_dropout_is_on_while_fusion_learns(root: Path, fine_tuning: Path) -> None:
    found = []
    for rate in (0.1, 0.3):
        train(root, fine_tuning / str(rate), dropout_rate=rate)
        found.append(digests(fine_tuning / str(rate) / "out", ("models/localizer.safetensors",)))
    assert found[0] != found[1]


def test_without_simulated_weights_it_learns_from_the_snapshot_alone(root: Path, tmp_path: Path) -> None:
    record = train(root, tmp_path, **model_params(from_simulated=False))
    assert "pretrained_weights_sha256" not in record
    network = fusion_net(tmp_path / "out" / "models" / "localizer.safetensors")
    assert network.plane == dataset.read_network(DatasetConfig(root / simulated.SIMULATED)).plane


def test_plane_and_area_are_those_of_the_snapshot(
    root: Path, fine_tuning: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The simulated network's receivers need not be the snapshot's: positions are inputs."""
    config = DatasetConfig(root / simulated.SIMULATED)
    fewer = dataset.read_receivers(config)
    fewer = dataclasses.replace(fewer, websdr_id=fewer.websdr_id[:4], position_m=fewer.position_m[:4])
    monkeypatch.setattr(dataset, "read_receivers", lambda _: fewer)
    task = SessionTask(settings(), config)
    task.start(Scratch(fine_tuning))
    assert task.network.area.box_m[:2] == (fewer.position_m[:, 0].min(), fewer.position_m[:, 0].max())
    assert len(task.network.edges) == len(task.network.area.half_planes) < 6


def test_wrong_weights_are_refused(root: Path, pretrained: Path, fine_tuning: Path) -> None:
    models = fine_tuning / "models"
    models.unlink()
    shutil.copytree(pretrained / "models", models)
    record = artifacts.read_json(models / "pretrained.json")
    record["params"]["features"]["n_fft"] = 2048
    artifacts.write_json(models / "pretrained.json", record)
    with pytest.raises(
        HeimdallError, match=r"trained on features with n_fft 2048, not 4096.*Run `dvc repro pretrain`"
    ):
        train(root, fine_tuning)
    shutil.rmtree(models)
    with pytest.raises(HeimdallError, match=r"pretrained\.json: the file is missing"):
        train(root, fine_tuning)
    assert not (fine_tuning / "out").exists()


def test_what_only_the_other_model_uses_changes_no_byte_and_training_says_so(
    root: Path, fine_tuning: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    names = (
        "models/localizer.safetensors",
        "models/localizer.json",
        "plots/training.csv",
        "metrics/train.json",
    )
    augment = dataclasses.replace(LOADED.augment, shift_max=0)
    single = {"backbone": "tiny", "augment": augment, **model_params(freeze_backbone=True)}
    found = []
    for number, changes in enumerate(({}, single)):
        capsys.readouterr()
        train(root, fine_tuning / str(number), **changes)
        said = capsys.readouterr().err
        assert said.count("model.name is fusion, which does not use backbone, augment, model.pretrained") == 1
        found.append(digests(fine_tuning / str(number) / "out", names))
    assert found[0] == found[1]


def test_a_checkpoint_of_the_other_model_is_refused(root: Path, fine_tuning: Path) -> None:
    data_dir = root / simulated.SIMULATED
    single = Training(settings(**model_params(name="single")), data_dir, fine_tuning / "work")
    single.run(fine_tuning / "single", keep_checkpoints=True)
    last = fine_tuning / "single" / "checkpoints" / "last.ckpt"
    assert checkpoints.epochs_done(checkpoints.read(last)) == 2
    with pytest.raises(HeimdallError, match="its model is single, not fusion"):
        Training(settings(epochs=3), data_dir, fine_tuning / "w").run(fine_tuning / "x", resume_from=last)
