"""The loop over epochs: order of items, and the same bytes however it is interrupted."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from lightning.pytorch.utilities import rank_zero_only
from safetensors.torch import load_file

from heimdall.network import model_file
from heimdall.pipeline.train import lightning_module, training
from heimdall.pipeline.train.fit_loop import EpochSampler
from heimdall.pipeline.train.recording_task import RecordingTask
from heimdall.pipeline.train.task import Scratch
from heimdall.pipeline.train.training import Training, TrainingResult
from tests.single_training import dies, digests, every_digest, killed_at_call, settings


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


# Trainings without workers are killed in test_training.py and tests/pipeline/test_kills.py, too.
@pytest.mark.parametrize("workers", [pytest.param(0, marks=pytest.mark.series), 2])
def test_interrupted_training_ends_with_the_same_bytes(
    data_dir: Path,
    undisturbed: tuple[Path, TrainingResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    workers: int,
) -> None:
    """Killed between the checkpoints of the second epoch, then when all is trained and nothing written."""
    pipeline = Training(settings(num_workers=workers), data_dir, tmp_path / "work")
    with killed_at_call(4, torch, "save") as saved:
        pipeline.run(tmp_path / "out")
    assert "last" in saved[3][1].name
    assert not (tmp_path / "out").exists()

    with killed_at_call(1, model_file, "save"):
        pipeline.run(tmp_path / "out")
    assert not (tmp_path / "out").exists()

    with monkeypatch.context() as patch:
        patch.setattr(
            lightning_module.LocalizationLightningModule, "training_step", dies
        )  # nothing is left to train
        pipeline.run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(undisturbed[0])
    assert not list((tmp_path / "work").iterdir())


def test_a_job_of_a_cluster_leaves_a_training_as_it_is(
    data_dir: Path,
    undisturbed: tuple[Path, TrainingResult],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    job = dict.fromkeys(("SLURM_PROCID", "SLURM_NODEID", "SLURM_LOCALID", "SLURM_JOB_ID"), "0")
    job |= {"SLURM_NTASKS": "2", "SLURM_JOB_NAME": "radio", "SLURM_NODELIST": "node[1-2]"}
    job |= dict.fromkeys(("RANK", "LOCAL_RANK", "GROUP_RANK", "NODE_RANK"), "1")
    job |= {"WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2", "MASTER_ADDR": "node1.invalid", "MASTER_PORT": "1"}
    job |= {"TORCHELASTIC_RUN_ID": "radio"}
    for name, value in job.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(rank_zero_only, "rank", 1)  # as when Lightning is imported there
    Training(settings(), data_dir, tmp_path / "work").run(tmp_path / "out")
    assert digests(tmp_path / "out") == digests(undisturbed[0])
    assert rank_zero_only.rank == 0
    assert {name: os.environ.get(name) for name in job} == job


class WithUnused(RecordingTask):
    """Its network has a parameter on which nothing depends."""

    def start(self, scratch: Scratch) -> None:
        super().start(scratch)
        self.network.unused = torch.nn.Parameter(torch.ones(2, 2))


@pytest.mark.parametrize("virtual_shards", [1, 2])
def test_a_parameter_without_a_gradient_is_left_alone(
    data_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, virtual_shards: int
) -> None:
    """Not even its weights decay, in however many shards the batches are cut."""
    monkeypatch.setitem(training.TASKS, "single", WithUnused)
    chosen = settings(epochs=1, weight_decay=0.5, virtual_shards=virtual_shards)
    made = Training(chosen, data_dir, tmp_path / "work").run(tmp_path / "out")
    assert load_file(made.checkpoint_path)["unused"].tolist() == [[1, 1], [1, 1]]


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def flip_a_bit_of_a_weight(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def remove_the_last(path: Path) -> None:
    """What a kill between the outputs and the end of the clearing leaves, and no more: the rest is stale."""
    path.with_name("last.ckpt").unlink()


@pytest.mark.parametrize(
    "damage", [pytest.param(cut_off, marks=pytest.mark.series), flip_a_bit_of_a_weight, remove_the_last]
)
def test_a_damaged_checkpoint_is_not_gone_on_from(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    pipeline = Training(settings(), data_dir, tmp_path / "work")
    with killed_at_call(1, model_file, "save"):
        pipeline.run(tmp_path / "out")
    (work,) = (tmp_path / "work").iterdir()
    best = undisturbed[1].final_metrics["best_epoch"]
    damage(work / f"epoch-{best - 1:04d}.ckpt")
    pipeline.run(tmp_path / "out", keep_checkpoints=True)
    assert every_digest(tmp_path / "out") == every_digest(undisturbed[0])
