"""Training: the same bytes however it is interrupted, and clear errors."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from heimdall import artifacts, model, params, training
from heimdall.dataset import DatasetConfig, HeimdallDataset
from heimdall.errors import HeimdallError
from heimdall.params import Params
from heimdall.training import EpochSampler, TrainingPipeline, TrainingResult
from tests import tiny_features

ROOT = Path(__file__).resolve().parents[1]
STAGE = ROOT / "stages" / "train.py"
OUTPUTS = (
    "models/localizer.safetensors",
    "models/localizer.json",
    "plots/training.csv",
    "metrics/train.json",
)


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def values(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    loaded: dict[str, Any] = yaml.safe_load((ROOT / "params.yaml").read_text())
    # One thread: two wait for each other longer than they compute, on batches as small as these.
    quick = {"epochs": 3, "batch_size": 8, "warmup_epochs": 1, "backbone": "atto", "threads": 1}
    return loaded | quick | changes


def settings(**changes: Any) -> Params:  # noqa: ANN401
    return params.check(values(**changes), "test")


def digests(folder: Path) -> dict[str, str]:
    return {name: artifacts.sha256_file(folder / name) for name in OUTPUTS}


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    tiny_features.write(folder, count=10)
    return folder


@pytest.fixture(scope="module")
def undisturbed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    folder = tmp_path_factory.mktemp("undisturbed")
    pipeline = TrainingPipeline(settings(), data_dir, folder / "work")
    return folder / "out", pipeline.run(folder / "out", keep_checkpoints=True)


def test_factor_rises_then_falls() -> None:
    chosen: dict[str, Any] = {"epochs": 10, "warmup_epochs": 4, "schedule": "cosine"}
    factors = [training.learning_rate_factor(epoch, **chosen) for epoch in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[7] == pytest.approx(0.5)  # half way down
    assert all(before > after > 0 for before, after in itertools.pairwise(factors[4:]))
    assert training.learning_rate_factor(9, epochs=10, warmup_epochs=0, schedule="constant") == 1.0


def test_each_epoch_has_its_own_order() -> None:
    sampler = EpochSampler(20, seed=1, epoch=0)
    first, again = list(sampler), list(sampler)
    sampler.set_epoch(1)
    second = list(sampler)
    assert first == again
    assert sorted(position for _, position in second) == list(range(20))
    assert [position for _, position in first] != [position for _, position in second]
    assert {epoch for epoch, _ in second} == {1}
    assert list(EpochSampler(20, seed=1, epoch=1)) == second
    assert list(EpochSampler(20, seed=2, epoch=0)) != first


def test_outputs_say_what_was_trained(undisturbed: tuple[Path, TrainingResult], data_dir: Path) -> None:
    folder, result = undisturbed
    curve = pd.read_csv(folder / "plots" / "training.csv")
    columns = ["epoch", "train_loss", "val_loss", "val_mae_m", "learning_rate", "gradient_norm"]
    assert list(curve) == columns
    assert list(curve["epoch"]) == [1, 2, 3]
    assert list(curve["learning_rate"]) == pytest.approx([1e-3, 1e-3, 5e-4])
    assert (curve["gradient_norm"] > 0).all()

    final = artifacts.read_json(folder / "metrics" / "train.json")
    assert final == result.final_metrics
    best = curve.loc[curve["val_loss"].idxmin()]
    assert final["best_epoch"] == best["epoch"]
    assert (final["val_loss"], final["val_mae_m"]) == (best["val_loss"], best["val_mae_m"])
    assert (final["data"], final["epochs"]) == ("simulated", 3)
    assert (final["training_recordings"], final["validation_recordings"]) == (12, 4)

    record = artifacts.read_json(folder / "models" / "localizer.json")
    assert record["data_fingerprint"] == "tiny-1"
    assert record["params"]["lr"] == 0.001
    assert "num_workers" not in record["params"]
    assert record["modules"]["heimdall.loss"] == artifacts.sha256_file(ROOT / "src" / "heimdall" / "loss.py")


def test_the_saved_weights_are_the_best_epochs(
    undisturbed: tuple[Path, TrainingResult], data_dir: Path
) -> None:
    _, result = undisturbed
    network, _ = training.load_network(result.checkpoint_path)
    part = HeimdallDataset(DatasetConfig(data_dir), "val", None, 0.2)
    items = [part[position] for position in range(len(part))]
    truth = torch.stack([label for _, label in items])
    with torch.no_grad():
        local = network.forward_local(torch.stack([features for features, _ in items]))
    loss = float(training.GaussianNLLLoss()(local, network.to_local(truth)))
    assert loss == pytest.approx(result.final_metrics["val_loss"], rel=1e-5)

    # The kept checkpoint of that epoch is the same network.
    assert result.checkpoint_dir is not None
    best = result.final_metrics["best_epoch"]
    kept, _ = training.load_network(result.checkpoint_dir / f"epoch-{best - 1:04d}.ckpt")
    for name, value in network.state_dict().items():
        assert torch.equal(value, kept.state_dict()[name])


def test_training_learns(data_dir: Path, undisturbed: tuple[Path, TrainingResult]) -> None:
    curve = pd.read_csv(undisturbed[0] / "plots" / "training.csv")
    assert curve["val_loss"].iloc[-1] < curve["val_loss"].iloc[0] - 0.01


@pytest.mark.parametrize("workers", [0, 2])
def test_interrupted_training_ends_with_the_same_bytes(
    data_dir: Path,
    undisturbed: tuple[Path, TrainingResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    """Killed between the checkpoints of the second epoch, then when all is trained and nothing written."""
    pipeline = TrainingPipeline(settings(num_workers=workers), data_dir, tmp_path / "work")
    saved: list[Path] = []
    save = torch.save

    def dying_save(checkpoint: Mapping[str, Any], path: Path) -> None:
        saved.append(path)
        if len(saved) == 4:
            raise Killed
        save(checkpoint, path)

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(torch, "save", dying_save)
        pipeline.run(tmp_path / "out")
    assert "last" in saved[3].name
    assert not (tmp_path / "out").exists()

    def die(*_: object) -> None:
        raise Killed

    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(model, "save", die)
        pipeline.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()

    with monkeypatch.context() as patch:
        patch.setattr(training.LocalizationLightningModule, "training_step", die)  # nothing is left to train
        pipeline.run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(undisturbed[0])
    assert not list((tmp_path / "work").iterdir())


def test_a_damaged_checkpoint_is_not_gone_on_from(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pipeline = TrainingPipeline(settings(), data_dir, tmp_path / "work")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(model, "save", lambda *_: (_ for _ in ()).throw(Killed))
        pipeline.run(tmp_path / "out")
    (work,) = (tmp_path / "work").iterdir()
    best = undisturbed[1].final_metrics["best_epoch"]
    (work / f"epoch-{best - 1:04d}.ckpt").write_bytes(b"cut off")
    pipeline.run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(undisturbed[0])


def test_early_stopping_is_remembered(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # A rate this low improves by less than MIN_DELTA: the second epoch without progress is the last.
    chosen = settings(lr=1e-9, early_stop_patience=2, epochs=9)
    pipeline = TrainingPipeline(chosen, data_dir, tmp_path / "work")
    with monkeypatch.context() as patch, pytest.raises(Killed):
        patch.setattr(model, "save", lambda *_: (_ for _ in ()).throw(Killed))
        pipeline.run(tmp_path / "out")
    assert pipeline.run(tmp_path / "out").final_metrics["epochs"] == 3


def test_resuming_with_more_epochs(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    folder, result = undisturbed
    assert result.checkpoint_dir is not None
    last = result.checkpoint_dir / "last.ckpt"
    more = TrainingPipeline(settings(epochs=4, lr=1e-4, lr_scheduler="constant"), data_dir, tmp_path / "work")
    resumed = more.run(tmp_path / "out", resume_from=last)
    former = (folder / "plots" / "training.csv").read_text()
    curve = (tmp_path / "out" / "plots" / "training.csv").read_text()
    assert curve.startswith(former)
    rows = pd.read_csv(tmp_path / "out" / "plots" / "training.csv")
    assert list(rows["epoch"]) == [1, 2, 3, 4]
    assert rows["learning_rate"].iloc[3] == 1e-4
    assert resumed.final_metrics["best_epoch"] in (3, 4)

    with pytest.raises(HeimdallError, match="3 epochs already"):
        TrainingPipeline(settings(), data_dir, tmp_path / "w").run(tmp_path / "x", resume_from=last)
    other = TrainingPipeline(settings(epochs=9, backbone="femto"), data_dir, tmp_path / "w")
    with pytest.raises(HeimdallError, match="its backbone is atto, not femto"):
        other.run(tmp_path / "x", resume_from=last)
    with pytest.raises(HeimdallError, match=r"none\.ckpt: the file is missing"):
        other.run(tmp_path / "x", resume_from=tmp_path / "none.ckpt")
    torch.save({"other": 1}, tmp_path / "other.ckpt")
    with pytest.raises(HeimdallError, match="not a checkpoint of this training"):
        training.load_network(tmp_path / "other.ckpt")


def test_hooks_get_the_finished_training(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    seen: list[Any] = []

    def tracker(*given: Any) -> str:  # noqa: ANN401
        seen.extend(given)
        assert (tmp_path / "out" / "metrics" / "train.json").exists()
        return "run"

    def exporter(network: Any, path: Path, record: dict[str, Any]) -> None:  # noqa: ANN401
        artifacts.write_json(path, record)

    pipeline = TrainingPipeline(settings(epochs=1), data_dir, tmp_path / "work")
    result = pipeline.run(tmp_path / "out", tracker=tracker, exporter=exporter)
    assert result.mlflow_run_id == "run"
    assert result.onnx_path == tmp_path / "out" / "models" / "localizer.onnx"
    assert artifacts.read_json(result.onnx_path)["data_fingerprint"] == "tiny-1"
    given_params, epochs, metrics = seen
    assert given_params["epochs"] == 1
    assert [row["epoch"] for row in epochs] == [1]
    assert metrics == result.final_metrics


def test_loss_that_is_no_number_overwrites_nothing(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "localizer.safetensors").write_bytes(b"former")
    pipeline = TrainingPipeline(settings(lr=1e30), data_dir, tmp_path / "work")
    with pytest.raises(HeimdallError, match=r"the loss is (nan|inf) in epoch \d at lr=1e\+30.* Lower lr"):
        pipeline.run(tmp_path)
    assert (tmp_path / "models" / "localizer.safetensors").read_bytes() == b"former"
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "cuda"}, "torch sees no CUDA device"),
        ({"devices": 2}, "Use devices=1"),
        ({"precision": "16-mixed"}, "it needs a CUDA device"),
    ],
)
def test_impossible_devices(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HeimdallError, match=message):
        training.choose_device(settings(**changes))
    assert training.choose_device(settings(accelerator="auto")) == "cpu"


@pytest.mark.parametrize(
    ("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)]
)
def test_scaled_gradients_are_not_left_to_the_optimizer(
    undisturbed: tuple[Path, TrainingResult], precision: str, fused: bool
) -> None:
    """Lightning unscales before our norm and clipping only where the optimizer does not do so itself."""
    network, _ = training.load_network(undisturbed[1].checkpoint_path)
    module = training.LocalizationLightningModule(network, settings(precision=precision), {})
    (optimizer,), _ = module.configure_optimizers()
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is fused


def test_pretrained_weights_are_part_of_the_record(data_dir: Path, tmp_path: Path) -> None:
    chosen = settings(model=values()["model"] | {"pretrained": True})
    with pytest.raises(HeimdallError, match="pins the weights"):
        TrainingPipeline(chosen, data_dir, tmp_path / "work").run(tmp_path / "out")


def test_frame_scale_and_normalisation_come_from_the_training_split(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult]
) -> None:
    network, _ = training.load_network(undisturbed[1].checkpoint_path)
    part = HeimdallDataset(DatasetConfig(data_dir), "train", None, 0.2)
    stack = np.stack([part.features(position) for position in range(len(part))]).astype(np.float64)
    np.testing.assert_allclose(network.feature_mean.flatten(), stack.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(network.feature_std.flatten(), stack.std(axis=(0, 2, 3)), rtol=1e-5)
    assert (network.frame.latitude_deg, network.frame.longitude_deg) == (45.0, 8.0)
    east, north = network.frame.to_local(part.index["latitude_deg"], part.index["longitude_deg"])
    assert network.scale_m == pytest.approx(np.sqrt(np.mean(np.concatenate([east, north]) ** 2)))


def start_stage(folder: Path, data_dir: Path) -> subprocess.Popen[str]:
    (folder / "params.yaml").write_text(yaml.safe_dump(values()))
    (folder / "data").mkdir()
    (folder / "data" / "features").symlink_to(data_dir)
    environment = os.environ | {"HEIMDALL_TRACKING": "off"}
    return restart_stage(folder, environment)


def restart_stage(folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(STAGE)], cwd=folder, env=dict(environment), stderr=subprocess.PIPE, text=True
    )


def test_sigkill(data_dir: Path, tmp_path: Path) -> None:
    """The real stage, killed after its first epoch and started again, against an undisturbed one."""
    folders = [tmp_path / name for name in ("quiet", "killed")]
    for folder in folders:
        folder.mkdir()
    quiet, killed = (start_stage(folder, data_dir) for folder in folders)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("epoch 1/3"):
            break
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (folders[1] / "models").exists()
    again = restart_stage(folders[1], os.environ | {"HEIMDALL_TRACKING": "off"})
    for process in (quiet, again):
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    assert digests(folders[0]) == digests(folders[1])


def test_a_change_of_any_module_that_trains_makes_another_model() -> None:
    """The record names them all, and the checkpoints' folder is named by the record."""
    names = {module.__name__ for module in training.MODULES}
    assert "heimdall.training" in names
    listed = yaml.safe_load((STAGE.parents[1] / "dvc.yaml").read_text(encoding="utf-8"))["stages"]["train"][
        "deps"
    ]
    deps = {dep.removeprefix("src/").removesuffix(".py").replace("/", ".") for dep in listed if "src/" in dep}
    # What ends the process and what words the figures cannot change a weight.
    assert deps - names == {"heimdall.__init__", "heimdall.provenance", "heimdall.stage"}
