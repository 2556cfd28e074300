"""Going on from a checkpoint: of this training without a trace, of another one as a new training."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
import torch

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.network import model_file
from heimdall.pipeline.train import checkpoints, training
from heimdall.pipeline.train.training import Training, TrainingResult
from tests.single_training import digests, every_digest, killed_at_call, settings

# The loss leaps after the first epoch, which stays the best: the fourth is the last.
UNSTEADY: dict[str, Any] = {"lr": 0.03, "epochs": 9, "early_stop_patience": 3}


@pytest.fixture(scope="module")
def unsteady(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Outputs and checkpoints of an undisturbed training whose best epoch is long past when it stops."""
    folder = tmp_path_factory.mktemp("unsteady")
    pipeline = Training(settings(**UNSTEADY), data_dir, folder / "work")
    final = pipeline.run(folder / "out", keep_checkpoints=True).final_metrics
    assert (final["best_epoch"], final["epochs"]) == (1, 4)
    names = ["epoch-0000.ckpt", "epoch-0002.ckpt", "epoch-0003.ckpt", "last.ckpt"]
    assert sorted(path.name for path in (folder / "out" / "checkpoints").iterdir()) == names
    return folder / "out"


def interrupted(data_dir: Path, folder: Path) -> tuple[Training, Path]:
    """The unsteady training, killed after its third epoch, and its work folder."""
    pipeline = Training(settings(**UNSTEADY), data_dir, folder / "work")
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
    pipeline = Training(settings(), data_dir, tmp_path / "work")
    with monkeypatch.context() as patch, killed_at_call(1, model_file, "save"):
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
    pipeline = Training(settings(seed=43), data_dir, tmp_path / "work")
    with killed_at_call(1, torch, "save"):
        pipeline.run(tmp_path / "out")
    (work,) = (tmp_path / "work").iterdir()
    shutil.copytree(undisturbed[0] / "checkpoints", work, dirs_exist_ok=True)
    pipeline.run(tmp_path / "out")
    Training(settings(seed=43), data_dir, tmp_path / "w").run(tmp_path / "clean")
    assert digests(tmp_path / "out") == digests(tmp_path / "clean")


MORE: dict[str, Any] = {"epochs": 4, "lr": 1e-4, "lr_scheduler": "constant"}


@pytest.fixture(scope="module")
def more(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """Outputs and checkpoints of a training that starts from the last checkpoint of another one."""
    folder = tmp_path_factory.mktemp("more")
    pipeline = Training(settings(**MORE), data_dir, folder / "work")
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
        other = Training(settings(lr=1e-4), data_dir, tmp_path / "w")
        other.run(tmp_path / "x", resume_from=last)
    assert f"{last}: of another training (other lr); a new one starts from it" in capsys.readouterr().err
    other = Training(settings(epochs=9, backbone="femto"), data_dir, tmp_path / "w")
    with pytest.raises(HeimdallError, match="its backbone is atto, not femto"):
        other.run(tmp_path / "x", resume_from=last)
    with pytest.raises(HeimdallError, match=r"none\.ckpt: the file is missing"):
        other.run(tmp_path / "x", resume_from=tmp_path / "none.ckpt")
    torch.save({"other": 1}, tmp_path / "other.ckpt")
    with pytest.raises(HeimdallError, match="not a checkpoint of the pipeline's training"):
        training.load_network(tmp_path / "other.ckpt")


@pytest.mark.parametrize("call", [1, 3])
def test_resumption_in_place_killed_while_it_keeps_its_checkpoints(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], more: Path, tmp_path: Path, call: int
) -> None:
    """Outputs and kept checkpoints replace those that it started from, one file after the other."""
    shutil.copytree(undisturbed[0], tmp_path / "out")
    pipeline = Training(settings(**MORE), data_dir, tmp_path / "work")
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
    pipeline = Training(settings(**MORE), data_dir, tmp_path / "work")
    with killed_at_call(1, model_file, "save"):
        pipeline.run(tmp_path / "out", resume_from=undisturbed[0] / "checkpoints" / "last.ckpt")
    (work,) = (tmp_path / "work").iterdir()
    pipeline.run(tmp_path / "out", resume_from=work / "last.ckpt", keep_checkpoints=True)
    assert every_digest(tmp_path / "out") == every_digest(more)
