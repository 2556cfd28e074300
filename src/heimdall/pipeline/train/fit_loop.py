"""The loop over epochs in Lightning: order of items, early stopping, checkpoints, the best weights."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Sampler

from heimdall.core import randomness
from heimdall.core.params import Params
from heimdall.pipeline.train import checkpoints, history
from heimdall.pipeline.train.callbacks import EpochClock, EpochLines, early_stopping
from heimdall.pipeline.train.checkpoints import LAST, AtomicCheckpointIO
from heimdall.pipeline.train.history import Epoch, Timeline, best_epoch
from heimdall.pipeline.train.lightning_module import LocalizationLightningModule
from heimdall.pipeline.train.task import LearningTask


class EpochSampler(Sampler[tuple[int, int]]):
    """A new order for each epoch; its items carry the epoch, so that workers need no state.

    Args:
        size: Number of items.
        seed: The user's seed.
        epoch: The first epoch. A resumed training must give it: Lightning calls `set_epoch` only after
            loaders with workers have drawn their first items.
    """

    def __init__(self, size: int, seed: int, epoch: int) -> None:
        self.size, self.seed, self.epoch = size, seed, epoch

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch of the next iteration; Lightning calls it."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size

    def __iter__(self) -> Iterator[tuple[int, int]]:
        epoch = self.epoch
        order = randomness.generator(self.seed, "order", epoch).permutation(self.size)
        return ((epoch, position) for position in order.tolist())


class OneProcess(LightningEnvironment):
    """A training is one process, also where a cluster's job set SLURM_*, RANK or LOCAL_RANK for another.

    Lightning would take those for its own: refuse them, wait for others, or leave out what rank 0 does.
    """

    creates_processes_externally = False
    main_address = "127.0.0.1"

    def __init__(self) -> None:
        super().__init__()
        self.set_global_rank(0)  # Lightning took the environment's when it was imported

    def local_rank(self) -> int:
        """Always the first."""
        return 0

    def node_rank(self) -> int:
        """Always the first."""
        return 0

    def teardown(self) -> None:
        """The environment stays as it was."""


@dataclass(frozen=True)
class Fitted:
    """A training that is over; its task's network has the weights of the best epoch.

    Attributes:
        history: All epochs.
        best: The one with the lowest validation loss of those whose weights are there.
        timeline: When they were.
    """

    history: tuple[Epoch, ...]
    best: Epoch
    timeline: Timeline


def fit(
    task: LearningTask,
    settings: Params,
    inputs: dict[str, Any],
    *,
    device: str,
    work: Path,
    state: Mapping[str, Any] | None,
) -> Fitted:
    """Train until the last epoch or until validation no longer improves.

    Args:
        task: Its network is trained, and ends on the CPU in evaluation mode.
        settings: Training parameters.
        inputs: All that decides the bytes; `work` is of these alone.
        device: As of `training.choose_device`.
        work: Folder of the checkpoints.
        state: The checkpoint in `work` to go on from, whose network the task has; None to start.

    Returns:
        The epochs.

    Raises:
        HeimdallError: The loss is not finite.
    """
    module = LocalizationLightningModule(task, settings, inputs, work)
    done = checkpoints.epochs_done(state) if state is not None else 0
    clock = EpochClock(work, done)
    if state is not None:
        stopping = early_stopping(settings.early_stop_patience).state_key
        waited = state["callbacks"].get(stopping, {}).get("wait_count", 0)
        if done >= settings.epochs or waited >= settings.early_stop_patience:
            module.on_load_checkpoint(dict(state))
            return _with_its_best(module, work, clock)
        print(f"going on after epoch {done}", file=sys.stderr, flush=True)
    loaders = _loaders(task, settings, done)
    with _quiet_lightning():
        trainer = _trainer(settings, device, work, [clock, EpochLines()])
        try:
            trainer.fit(module, *loaders, ckpt_path=work / LAST if state else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl+C
            raise KeyboardInterrupt from None
    fitted = _with_its_best(module, work, clock)
    print(history.convergence(fitted.history).sentence, file=sys.stderr, flush=True)
    return fitted


def _loaders(
    task: LearningTask, settings: Params, first_epoch: int
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation items in batches."""
    loading: dict[str, Any] = {
        "batch_size": settings.batch_size,
        "num_workers": settings.num_workers,
        "persistent_workers": settings.num_workers > 0,
        "collate_fn": task.collate,
    }
    # A generator of their own: the loaders draw their workers' seeds, and dropout must not notice.
    return (
        DataLoader(
            task.training,
            sampler=EpochSampler(len(cast(Sized, task.training)), settings.seed, first_epoch),
            generator=torch.Generator().manual_seed(settings.seed),
            **loading,
        ),
        DataLoader(task.validation, generator=torch.Generator().manual_seed(settings.seed), **loading),
    )


def _trainer(settings: Params, device: str, work: Path, callbacks: Sequence[Callback]) -> Trainer:
    return Trainer(
        accelerator=device,
        devices=settings.devices,
        precision=settings.precision,
        max_epochs=settings.epochs,
        deterministic=True,
        callbacks=list(callbacks),
        plugins=[AtomicCheckpointIO(), OneProcess()],
        logger=DummyLogger(),
        default_root_dir=work,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _with_its_best(module: LocalizationLightningModule, work: Path, clock: EpochClock) -> Fitted:
    best = best_epoch(module.history, module.first_candidate)
    state = checkpoints.read(work / checkpoints.file_of(best.epoch))
    module.network.cpu().load_state_dict(checkpoints.weights(state))
    module.network.eval()
    return Fitted(tuple(module.history), best, clock.timeline)


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Leave out Lightning's banners and its advice on logging, folders and workers; errors stay."""
    logger = logging.getLogger("lightning.pytorch")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        logger.setLevel(level)
