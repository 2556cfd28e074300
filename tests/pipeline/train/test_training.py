"""A training from the seed to its outputs: what they say, hooks, clear errors, and the stage killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch
import yaml

from heimdall.core import artifacts, rooms
from heimdall.core.errors import HeimdallError
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.loss import GaussianNLLLoss
from heimdall.pipeline.train import training
from heimdall.pipeline.train.training import Training, TrainingResult
from tests import REPOSITORY
from tests.single_training import digests, settings, values

STAGE = REPOSITORY / "stages" / "train.py"


def test_outputs_say_what_was_trained(undisturbed: tuple[Path, TrainingResult], data_dir: Path) -> None:
    folder, result = undisturbed
    curve = pd.read_csv(folder / "plots" / "training.csv")
    figures = ["train_loss", "val_loss", "val_median_m", "val_mae_m"]
    columns = ["epoch", *figures, "learning_rate", "gradient_norm"]
    assert list(curve) == columns
    assert list(curve["epoch"]) == [1, 2, 3]
    assert list(curve["learning_rate"]) == pytest.approx([1e-3, 1e-3, 5e-4])
    assert (curve["gradient_norm"] > 0).all()

    final = artifacts.read_json(folder / "metrics" / "train.json")
    assert final == result.final_metrics
    best = curve.loc[curve["val_loss"].idxmin()]
    assert final["best_epoch"] == best["epoch"]
    names = ["val_loss", "val_median_m", "val_mae_m"]
    assert [final[name] for name in names] == list(best[names])
    assert (final["data"], final["epochs"]) == ("simulated", 3)
    assert (final["training_recordings"], final["validation_recordings"]) == (12, 4)

    record = artifacts.read_json(folder / "models" / "localizer.json")
    assert record["data_fingerprint"] == "tiny-1"
    assert record["params"]["lr"] == 0.001
    assert "num_workers" not in record["params"]
    assert record["modules"]["heimdall.network.loss"] == artifacts.sha256_file(
        REPOSITORY / "src" / "heimdall" / "network" / "loss.py"
    )
    # All that dvc.yaml says the stage is made of: another byte there makes another model.
    assert record["modules"] == rooms.hashes(*rooms.of_stage("train"))


def test_the_saved_weights_are_the_best_epochs(
    undisturbed: tuple[Path, TrainingResult], data_dir: Path
) -> None:
    _, result = undisturbed
    network, _ = training.load_network(result.checkpoint_path)
    assert isinstance(network, LocalizationNet)
    part = HeimdallDataset(DatasetConfig(data_dir), "val", None, 0.2)
    items = [part[position] for position in range(len(part))]
    truth = torch.stack([label for _, label in items])
    with torch.no_grad():
        local = network.forward_local(torch.stack([features for features, _ in items]))
    loss = float(GaussianNLLLoss()(local, network.to_local(truth)))
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

    pipeline = Training(settings(epochs=1), data_dir, tmp_path / "work")
    result = pipeline.run(tmp_path / "out", tracker=tracker, exporter=exporter)
    assert result.mlflow_run_id == "run"
    assert result.onnx_path == tmp_path / "out" / "models" / "localizer.onnx"
    assert artifacts.read_json(result.onnx_path)["data_fingerprint"] == "tiny-1"
    given_params, epochs, metrics, started_ms = seen
    assert given_params["epochs"] == 1
    assert [row["epoch"] for row in epochs] == [1]
    assert started_ms < epochs[0]["time_ms"]
    assert metrics == result.final_metrics


def test_loss_that_is_no_number_overwrites_nothing(data_dir: Path, tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "models" / "localizer.safetensors").write_bytes(b"former")
    pipeline = Training(settings(lr=1e30), data_dir, tmp_path / "work")
    with pytest.raises(HeimdallError, match=r"the loss is (nan|inf) in epoch \d at lr=1e\+30.* Lower lr"):
        pipeline.run(tmp_path)
    assert (tmp_path / "models" / "localizer.safetensors").read_bytes() == b"former"
    assert not (tmp_path / "metrics").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"accelerator": "cuda"}, "torch sees no CUDA device"),
        ({"devices": 2}, "Set devices to 1"),
        ({"precision": "16-mixed"}, "it needs a CUDA device"),
    ],
)
def test_impossible_devices(changes: dict[str, Any], message: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(HeimdallError, match=message):
        training.choose_device(settings(**changes))
    assert training.choose_device(settings(accelerator="auto")) == "cpu"


def test_pretrained_weights_are_part_of_the_record(data_dir: Path, tmp_path: Path) -> None:
    chosen = settings(model=values()["model"] | {"pretrained": True})
    with pytest.raises(HeimdallError, match="no SHA-256 pins them"):
        Training(chosen, data_dir, tmp_path / "work").run(tmp_path / "out")


def start_stage(folder: Path, *options: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, str(STAGE), *options],
        cwd=folder,
        env=os.environ | {"HEIMDALL_TRACKING": "off"},
        stderr=subprocess.PIPE,
        text=True,
    )


def repository(folder: Path, data_dir: Path, **changes: Any) -> Path:  # noqa: ANN401
    """A folder that the stage can run in."""
    (folder / "data").mkdir(parents=True)
    (folder / "data" / "features").symlink_to(data_dir)
    (folder / "params.yaml").write_text(yaml.safe_dump(values(**changes)))
    return folder


def test_sigkill(data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path) -> None:
    """The stage typed by hand, killed after an epoch, typed again: it ends as if nothing had disturbed it."""
    again = repository(tmp_path / "again", data_dir, epochs=9)
    typed = ("--epochs", "3", "--output_dir", "out")
    killed = start_stage(again, *typed)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("epoch 2/3"):  # the first is saved when the second has begun
            break
    killed.send_signal(signal.SIGSTOP)
    second = Training(settings(), data_dir, again / ".heimdall" / "work" / "train")
    with pytest.raises(HeimdallError, match="another process is doing the same work"):
        second.run(tmp_path / "second")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (again / "out").exists()

    (last,) = (again / ".heimdall" / "work" / "train").glob("*/last.ckpt")
    process = start_stage(again, *typed)
    _, complaint = process.communicate(timeout=300)
    assert process.returncode == 0, complaint
    assert digests(again / "out") == digests(undisturbed[0])
    assert not last.exists()
