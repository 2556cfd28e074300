"""Training: the same bytes however it is interrupted, and clear errors."""

from __future__ import annotations

import itertools
import math
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
import pandas as pd
import pytest
import torch
import yaml

from heimdall.core import artifacts, determinism, params
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.network import localization_net
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.loss import GaussianNLLLoss
from heimdall.pipeline.train import checkpoints, lightning_module, training
from heimdall.pipeline.train.learners import SingleLearner
from heimdall.pipeline.train.lightning_module import EpochSampler
from heimdall.pipeline.train.training import TrainingPipeline, TrainingResult
from tests import REPOSITORY, tiny_features

STAGE = REPOSITORY / "stages" / "train.py"
OUTPUTS = (
    "models/localizer.safetensors",
    "models/localizer.json",
    "plots/training.csv",
    "metrics/train.json",
)


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


def values(**changes: Any) -> dict[str, Any]:  # noqa: ANN401
    loaded: dict[str, Any] = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    # One thread: two wait for each other longer than they compute, on batches as small as these.
    quick = {"epochs": 3, "batch_size": 8, "lr": 1e-3, "warmup_epochs": 1, "backbone": "atto", "threads": 1}
    single = {"model": loaded["model"] | {"name": "single"}}
    return loaded | quick | single | changes


def settings(**changes: Any) -> Params:  # noqa: ANN401
    return params.check(values(**changes), "test")


def digests(folder: Path) -> dict[str, str]:
    return {name: artifacts.sha256_file(folder / name) for name in OUTPUTS}


def every_digest(folder: Path) -> dict[str, str]:
    """Of all files below the folder: kept checkpoints, too, are the same bytes."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): artifacts.sha256_file(path) for path in files}


def dies(*_: object, **__: object) -> NoReturn:
    raise Killed


@contextmanager
def killed_at_call(number: int, owner: Any, name: str) -> Iterator[list[Any]]:  # noqa: ANN401
    """The process ends in this call of a function. Yields the arguments of every call."""
    function, seen = getattr(owner, name), []

    def dying(*given: object) -> object:
        seen.append(given)
        return dies() if len(seen) == number else function(*given)

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(owner, name, dying)
        yield seen


@pytest.fixture(scope="module", autouse=True)
def _recipe() -> Iterator[None]:
    """The environment of a stage; a checkpoint of another one is not gone on from."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in determinism.recipe(threads=1).items():
            patch.setenv(name, value)
        yield


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
    factors = [lightning_module.learning_rate_factor(epoch, **chosen) for epoch in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[7] == pytest.approx(0.5)  # half way down
    assert all(before > after > 0 for before, after in itertools.pairwise(factors[4:]))
    assert lightning_module.learning_rate_factor(9, epochs=10, warmup_epochs=0, schedule="constant") == 1.0


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
    assert record["modules"]["heimdall.network.loss"] == artifacts.sha256_file(
        REPOSITORY / "src" / "heimdall" / "loss.py"
    )


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
    with killed_at_call(4, torch, "save") as saved:
        pipeline.run(tmp_path / "out")
    assert "last" in saved[3][1].name
    assert not (tmp_path / "out").exists()

    with killed_at_call(1, localization_net, "save"):
        pipeline.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()

    with monkeypatch.context() as patch:
        patch.setattr(
            lightning_module.LocalizationLightningModule, "training_step", dies
        )  # nothing is left to train
        pipeline.run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(undisturbed[0])
    assert not list((tmp_path / "work").iterdir())


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit_of_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_the_last(path: Path) -> None:
    """What a kill between the outputs and the end of the clearing leaves, and no more: the rest is stale."""
    path.with_name("last.ckpt").unlink()


@pytest.mark.parametrize("damage", [cut_off, flip_a_bit_of_a_weight, remove_the_last])
def test_a_damaged_checkpoint_is_not_gone_on_from(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    pipeline = TrainingPipeline(settings(), data_dir, tmp_path / "work")
    with killed_at_call(1, localization_net, "save"):
        pipeline.run(tmp_path / "out")
    (work,) = (tmp_path / "work").iterdir()
    best = undisturbed[1].final_metrics["best_epoch"]
    damage(work / f"epoch-{best - 1:04d}.ckpt")
    pipeline.run(tmp_path / "out", keep_checkpoints=True)
    assert every_digest(tmp_path / "out") == every_digest(undisturbed[0])


# The loss leaps after the first epoch, which stays the best: the fourth is the last.
UNSTEADY: dict[str, Any] = {"lr": 0.03, "epochs": 9, "early_stop_patience": 3}


@pytest.fixture(scope="module")
def unsteady(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs and checkpoints of an undisturbed training whose best epoch is long past when it stops."""
    folder = tmp_path_factory.mktemp("unsteady")
    pipeline = TrainingPipeline(settings(**UNSTEADY), data_dir, folder / "work")
    final = pipeline.run(folder / "out", keep_checkpoints=True).final_metrics
    assert (final["best_epoch"], final["epochs"]) == (1, 4)
    names = ["epoch-0000.ckpt", "epoch-0002.ckpt", "epoch-0003.ckpt", "last.ckpt"]
    assert sorted(path.name for path in (folder / "out" / "checkpoints").iterdir()) == names
    return folder / "out"


def interrupted(data_dir: Path, folder: Path) -> tuple[TrainingPipeline, Path]:
    """The unsteady training, killed after its third epoch, and its work folder."""
    pipeline = TrainingPipeline(settings(**UNSTEADY), data_dir, folder / "work")
    with killed_at_call(7, torch, "save"):
        pipeline.run(folder / "out")
    (work,) = (folder / "work").iterdir()
    return pipeline, work


def its_last(work: Path, kept: Path) -> Path:
    return work / "last.ckpt"


def one_of_its_best(work: Path, kept: Path) -> Path:
    (work / "last.ckpt").unlink()
    return work / "epoch-0002.ckpt"


def its_last_elsewhere(work: Path, kept: Path) -> Path:
    return work.rename(work.parents[1] / "another place") / "last.ckpt"


def the_best_one_alone(work: Path, kept: Path) -> Path:
    alone = work.parents[1] / "mine.ckpt"
    (work / "epoch-0000.ckpt").rename(alone)
    shutil.rmtree(work)
    return alone


def the_end(work: Path, kept: Path) -> Path:
    shutil.rmtree(work)
    return kept / "last.ckpt"


@pytest.mark.parametrize(
    "named", [its_last, one_of_its_best, its_last_elsewhere, the_best_one_alone, the_end]
)
def test_going_on_from_a_checkpoint_of_this_training_leaves_no_trace(
    data_dir: Path,
    unsteady: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    named: Callable[[Path, Path], Path],
) -> None:
    """Early stopping and a best epoch in another file go on, too; no byte tells of it."""
    pipeline, work = interrupted(data_dir, tmp_path)
    path = named(work, unsteady / "checkpoints")
    capsys.readouterr()
    pipeline.run(tmp_path / "out", resume_from=path, keep_checkpoints=True)
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith(str(path))]
    assert said == [f"{path}: of this very training, which goes on as if undisturbed"]
    assert every_digest(tmp_path / "out") == every_digest(unsteady)
    assert not list((tmp_path / "work").iterdir())


def test_early_stopping_is_remembered(data_dir: Path, unsteady: Path, tmp_path: Path) -> None:
    pipeline, _ = interrupted(data_dir, tmp_path)
    pipeline.run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(unsteady)
    assert not list((tmp_path / "work").iterdir())


@pytest.mark.parametrize("impostor", [False, True])
def test_a_best_epoch_that_is_not_there_is_said(
    data_dir: Path,
    undisturbed: tuple[Path, TrainingResult],
    tmp_path: Path,
    impostor: bool,
) -> None:
    """Neither another epoch nor the file of another training takes its place."""
    pipeline, work = interrupted(data_dir, tmp_path)
    (work / "epoch-0000.ckpt").unlink()
    if impostor:
        shutil.copy(undisturbed[0] / "checkpoints" / "epoch-0000.ckpt", work)
    with pytest.raises(HeimdallError, match=r"the best epoch so far is 1, and epoch-0000\.ckpt") as caught:
        pipeline.run(tmp_path / "out", resume_from=work / "last.ckpt")
    assert "\n" not in str(caught.value)
    assert (work / "last.ckpt").exists()
    assert not (tmp_path / "out").exists()


def test_checkpoint_of_another_environment_is_not_gone_on_from(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Such as one that was made with HEIMDALL_RECIPE=off: its epochs have other bits."""
    pipeline = TrainingPipeline(settings(), data_dir, tmp_path / "work")
    with monkeypatch.context() as patch, killed_at_call(1, localization_net, "save"):
        patch.setenv("ATEN_CPU_CAPABILITY", "default")
        pipeline.run(tmp_path / "out")
    (foreign,) = (tmp_path / "work").iterdir()
    with killed_at_call(1, torch, "save") as saved:
        pipeline.run(tmp_path / "out")
    assert saved[0][1].name.endswith("epoch-0000.ckpt")  # from the start
    assert foreign not in Path(saved[0][1].name).parents


def test_checkpoints_of_another_training_are_never_taken(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    """Wherever they lie: what is in them decides, not the folder's name."""
    pipeline = TrainingPipeline(settings(seed=43), data_dir, tmp_path / "work")
    with killed_at_call(1, torch, "save"):
        pipeline.run(tmp_path / "out")
    (work,) = (tmp_path / "work").iterdir()
    shutil.copytree(undisturbed[0] / "checkpoints", work, dirs_exist_ok=True)
    pipeline.run(tmp_path / "out")
    TrainingPipeline(settings(seed=43), data_dir, tmp_path / "w").run(tmp_path / "clean")
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")


MORE: dict[str, Any] = {"epochs": 4, "lr": 1e-4, "lr_scheduler": "constant"}


@pytest.fixture(scope="module")
def more(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Outputs and checkpoints of a training that starts from the last checkpoint of another one."""
    folder = tmp_path_factory.mktemp("more")
    pipeline = TrainingPipeline(settings(**MORE), data_dir, folder / "work")
    pipeline.run(
        folder / "out", resume_from=undisturbed[0] / "checkpoints" / "last.ckpt", keep_checkpoints=True
    )
    return folder / "out"


def test_resuming_with_more_epochs(
    data_dir: Path,
    undisturbed: tuple[Path, TrainingResult],
    more: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """A new training, which names the file that it started from."""
    last = undisturbed[0] / "checkpoints" / "last.ckpt"
    assert (
        (more / "plots" / "training.csv")
        .read_text()
        .startswith((undisturbed[0] / "plots" / "training.csv").read_text())
    )
    rows = pd.read_csv(more / "plots" / "training.csv")
    assert list(rows["epoch"]) == [1, 2, 3, 4]
    assert rows["learning_rate"].iloc[3] == 1e-4
    assert artifacts.read_json(more / "metrics" / "train.json")["best_epoch"] in (3, 4)
    record = artifacts.read_json(more / "models" / "localizer.json")
    assert record["resumed_from_sha256"] == artifacts.sha256_file(last)

    with pytest.raises(HeimdallError, match="3 epochs already"):
        other = TrainingPipeline(settings(lr=1e-4), data_dir, tmp_path / "w")
        other.run(tmp_path / "x", resume_from=last)
    assert f"{last}: of another training (other lr); a new one starts from it" in capsys.readouterr().err
    other = TrainingPipeline(settings(epochs=9, backbone="femto"), data_dir, tmp_path / "w")
    with pytest.raises(HeimdallError, match="its backbone is atto, not femto"):
        other.run(tmp_path / "x", resume_from=last)
    with pytest.raises(HeimdallError, match=r"none\.ckpt: the file is missing"):
        other.run(tmp_path / "x", resume_from=tmp_path / "none.ckpt")
    torch.save({"other": 1}, tmp_path / "other.ckpt")
    with pytest.raises(HeimdallError, match="not a checkpoint of this training"):
        training.load_network(tmp_path / "other.ckpt")


@pytest.mark.parametrize("call", [1, 3])
def test_resumption_in_place_killed_while_it_keeps_its_checkpoints(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], more: Path, tmp_path: Path, call: int
) -> None:
    """Outputs and kept checkpoints replace those that it started from, one file after the other."""
    shutil.copytree(undisturbed[0], tmp_path / "out")
    pipeline = TrainingPipeline(settings(**MORE), data_dir, tmp_path / "work")
    last = tmp_path / "out" / "checkpoints" / "last.ckpt"
    with killed_at_call(call, artifacts, "copy"):
        pipeline.run(tmp_path / "out", resume_from=last, keep_checkpoints=True)
    for path in last.parent.glob("*.ckpt"):
        checkpoints.read(path)  # each is whole
    pipeline.run(tmp_path / "out", resume_from=last, keep_checkpoints=True)
    assert every_digest(tmp_path / "out") == every_digest(more)


def test_resumption_that_was_killed_goes_on_from_its_own_checkpoint(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], more: Path, tmp_path: Path
) -> None:
    pipeline = TrainingPipeline(settings(**MORE), data_dir, tmp_path / "work")
    with killed_at_call(1, localization_net, "save"):
        pipeline.run(tmp_path / "out", resume_from=undisturbed[0] / "checkpoints" / "last.ckpt")
    (work,) = (tmp_path / "work").iterdir()
    pipeline.run(tmp_path / "out", resume_from=work / "last.ckpt", keep_checkpoints=True)
    assert every_digest(tmp_path / "out") == every_digest(more)


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
def test_scaled_gradients_are_not_left_to_the_optimizer(data_dir: Path, precision: str, fused: bool) -> None:
    """Lightning unscales before our norm and clipping only where the optimizer does not do so itself."""
    learner = SingleLearner(settings(), DatasetConfig(data_dir))
    learner.start()
    module = lightning_module.LocalizationLightningModule(learner, settings(precision=precision), {})
    (optimizer,), _ = module.configure_optimizers()
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is fused


def test_a_gradient_that_overflows_is_none(data_dir: Path) -> None:
    """In float16 the first steps overflow until the loss's scale is low enough; they are skipped."""
    learner = SingleLearner(settings(), DatasetConfig(data_dir))
    learner.start()
    module = lightning_module.LocalizationLightningModule(learner, settings(), {})
    (optimizer,), _ = module.configure_optimizers()
    values = list(learner.network.parameters())
    for value in values:
        value.grad = torch.full_like(value, math.inf)
    module.on_before_optimizer_step(optimizer)
    assert module._gradient_norms == []
    assert all(torch.isinf(value.grad).all() for value in values if value.grad is not None)
    for value in values:
        value.grad = torch.ones_like(value)
    module.on_before_optimizer_step(optimizer)
    assert module._gradient_norms == [math.sqrt(sum(value.numel() for value in values))]
    clipped = sum(float(value.grad.double().square().sum()) for value in values if value.grad is not None)
    assert math.sqrt(clipped) == pytest.approx(learner.clip_norm, rel=1e-6)


def test_pretrained_weights_are_part_of_the_record(data_dir: Path, tmp_path: Path) -> None:
    chosen = settings(model=values()["model"] | {"pretrained": True})
    with pytest.raises(HeimdallError, match="pins the weights"):
        TrainingPipeline(chosen, data_dir, tmp_path / "work").run(tmp_path / "out")


def test_frame_scale_and_normalisation_come_from_the_training_split(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult]
) -> None:
    network, _ = training.load_network(undisturbed[1].checkpoint_path)
    assert isinstance(network, LocalizationNet)
    part = HeimdallDataset(DatasetConfig(data_dir), "train", None, 0.2)
    stack = np.stack([part.features(position) for position in range(len(part))]).astype(np.float64)
    np.testing.assert_allclose(network.feature_mean.flatten(), stack.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(network.feature_std.flatten(), stack.std(axis=(0, 2, 3)), rtol=1e-5)
    assert (network.frame.latitude_deg, network.frame.longitude_deg) == (45.0, 8.0)
    east, north = network.frame.to_local(part.index["latitude_deg"], part.index["longitude_deg"])
    assert network.scale_m == pytest.approx(np.sqrt(np.mean(np.concatenate([east, north]) ** 2)))


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


def test_sigkill(data_dir: Path, tmp_path: Path) -> None:
    """The stage typed by hand, killed after an epoch, typed again as before or with the checkpoint's name.

    Both end as what `dvc repro` runs with the same parameters.
    """
    quiet = start_stage(repository(tmp_path / "quiet", data_dir))
    again, named = repository(tmp_path / "again", data_dir, epochs=9), tmp_path / "named"
    typed = ("--epochs", "3", "--output_dir", "out")
    killed = start_stage(again, *typed)
    assert killed.stderr is not None
    for line in killed.stderr:
        if line.startswith("epoch 2/3"):  # the first is saved when the second has begun
            break
    killed.send_signal(signal.SIGSTOP)
    second = TrainingPipeline(settings(), data_dir, again / ".heimdall" / "work" / "train")
    with pytest.raises(HeimdallError, match="another process is doing the same work"):
        second.run(tmp_path / "second")
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert not (again / "out").exists()

    shutil.copytree(again, named, symlinks=True)
    (last,) = (named / ".heimdall" / "work" / "train").glob("*/last.ckpt")
    resumption = ("--resume_training", "--checkpoint", str(last.relative_to(named)))
    for process in (quiet, start_stage(again, *typed), start_stage(named, *typed, *resumption)):
        _, complaint = process.communicate(timeout=300)
        assert process.returncode == 0, complaint
    assert digests(again / "out") == digests(tmp_path / "quiet")
    assert every_digest(named / "out") == every_digest(again / "out")
    assert not last.exists()
