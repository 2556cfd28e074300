"""The loop over epochs in Lightning: order of items, early stopping, checkpoints, the best weights."""

from __future__ import annotations

import logging
import sys
import warnings
from collections.abc import Iterator, Sequence, Sized
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, cast

import torch
from lightning.fabric.plugins.environments.lightning import LightningEnvironment
from lightning.pytorch import Trainer
from lightning.pytorch.callbacks import Callback
from lightning.pytorch.loggers.logger import DummyLogger
from lightning.pytorch.strategies import DDPStrategy
from torch.utils.data import DataLoader, Sampler, default_collate

from heimdall.core import randomness
from heimdall.core.params import Params
from heimdall.pipeline.train import checkpoints, history
from heimdall.pipeline.train.callbacks import EpochClock, EpochLines, early_stopping
from heimdall.pipeline.train.checkpoints import LAST, AtomicCheckpointIO, ReceivedCheckpoint
from heimdall.pipeline.train.history import Epoch, Timeline, best_epoch
from heimdall.pipeline.train.lightning_module import LocalizationLightningModule
from heimdall.pipeline.train.ranks import ONE, Ranks
from heimdall.pipeline.train.shard_loaders import (
    BatchesOfRank,
    CollatedShards,
    ShardSampler,
    as_it_is,
    some,
)
from heimdall.pipeline.train.sharded_module import ShardedLightningModule
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


class GivenRanks(OneProcess):
    """Ranks that are there already and know each other; each counts as a node with one device."""

    creates_processes_externally = True

    def __init__(self, ranks: Ranks) -> None:
        self._ranks = ranks
        super().__init__()

    def node_rank(self) -> int:
        """The number of the rank."""
        return self._ranks.number

    def global_rank(self) -> int:
        """The number of the rank."""
        return self._ranks.number

    def world_size(self) -> int:
        """How many ranks there are."""
        return self._ranks.count


class Ungrouped(DDPStrategy):
    """Lightning's barriers and checkpoints of the first rank, without its way of adding gradients."""

    def configure_ddp(self) -> None:
        """`ShardedLightningModule` adds them."""


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
    state: dict[str, Any] | None,
    ranks: Ranks = ONE,
) -> Fitted | None:
    """Train until the last epoch or until validation no longer improves.

    Args:
        task: Its network is trained, and ends on the CPU in evaluation mode (that of the first rank).
        settings: Training parameters.
        inputs: All that decides the bytes; `work` is of these alone.
        device: As of `training.choose_device`.
        work: Folder of the checkpoints.
        state: The checkpoint to go on from, whose network the task has, and which the first rank has in
            `work`; None to start.
        ranks: Those that train together, this one among them.

    Returns:
        The epochs; None of another rank than the first.

    Raises:
        HeimdallError: The loss is not finite.
    """
    module = _module(task, settings, inputs, work, ranks)
    done = checkpoints.epochs_done(state) if state is not None else 0
    clock = EpochClock(work, done)
    if state is not None:
        stopping = early_stopping(settings.early_stop_patience).state_key
        waited = state["callbacks"].get(stopping, {}).get("wait_count", 0)
        if done >= settings.epochs or waited >= settings.early_stop_patience:
            module.on_load_checkpoint(state)
            return _with_its_best(module, work, clock) if ranks.is_first else None
        if ranks.is_first:
            print(f"going on after epoch {done}", file=sys.stderr, flush=True)
    placed: dict[str, Any] = {"plugins": [AtomicCheckpointIO(), OneProcess()], "devices": 1}
    if ranks.count > 1:
        io = AtomicCheckpointIO() if ranks.is_first else ReceivedCheckpoint(state)
        placed = {
            "plugins": [io, GivenRanks(ranks)],
            "devices": [ranks.local] if device == "cuda" else 1,
            "num_nodes": ranks.count,
            "strategy": Ungrouped(),
            "use_distributed_sampler": False,
        }
    with _quiet_lightning():
        trainer = _trainer(settings, device, work, [clock, EpochLines()] if ranks.is_first else [], placed)
        try:
            trainer.fit(
                module,
                *_loaders(task, settings, done, ranks),
                ckpt_path=work / LAST if state else None,
                weights_only=True,
            )
        except SystemExit:  # what Lightning makes of Ctrl+C
            raise KeyboardInterrupt from None
    if not ranks.is_first:
        return None
    fitted = _with_its_best(module, work, clock)
    print(history.convergence(fitted.history).sentence, file=sys.stderr, flush=True)
    return fitted


def _module(
    task: LearningTask, settings: Params, inputs: dict[str, Any], work: Path, ranks: Ranks
) -> LocalizationLightningModule:
    """With one virtual shard a plain step, whose dropout is drawn on through an epoch."""
    if settings.virtual_shards == 1:
        return LocalizationLightningModule(task, settings, inputs, work)
    return ShardedLightningModule(task, settings, inputs, work, ranks)


def _loaders(
    task: LearningTask, settings: Params, first_epoch: int, ranks: Ranks
) -> tuple[DataLoader[Any], DataLoader[Any]]:
    """Training and validation items in batches, those of this rank."""
    order = EpochSampler(len(cast(Sized, task.training)), settings.seed, first_epoch)
    training: dict[str, Any] = {
        "dataset": task.training,
        "sampler": order,
        "batch_size": settings.batch_size,
        "collate_fn": task.collate,
    }
    collate = task.collate or default_collate
    if settings.virtual_shards > 1:
        training = {
            "dataset": CollatedShards(task.training, collate),
            "sampler": ShardSampler(order, settings.batch_size, settings.virtual_shards, ranks),
            "batch_size": None,
            "collate_fn": as_it_is,
        }
    validation: dict[str, Any] = {
        "dataset": task.validation,
        "batch_sampler": BatchesOfRank(len(cast(Sized, task.validation)), settings.batch_size, ranks),
        "collate_fn": partial(some, collate),
    }
    loading: dict[str, Any] = {
        "num_workers": settings.num_workers,
        "persistent_workers": settings.num_workers > 0,
    }
    # A generator of their own: the loaders draw their workers' seeds, and dropout must not notice.
    first, second = (
        DataLoader(**items, **loading, generator=torch.Generator().manual_seed(settings.seed))
        for items in (training, validation)
    )
    return first, second


def _trainer(
    settings: Params, device: str, work: Path, callbacks: Sequence[Callback], placed: dict[str, Any]
) -> Trainer:
    return Trainer(
        accelerator=device,
        precision=settings.precision,
        max_epochs=settings.epochs,
        deterministic=True,
        callbacks=list(callbacks),
        logger=DummyLogger(),
        default_root_dir=work,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
        **placed,
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
