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
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Sampler
from tqdm import tqdm

from heimdall.core import randomness
from heimdall.core.params import Params
from heimdall.pipeline.train import checkpoints
from heimdall.pipeline.train.checkpoints import LAST, AtomicCheckpointIO, MovableCheckpoints
from heimdall.pipeline.train.history import Epoch, best_epoch
from heimdall.pipeline.train.lightning_module import LocalizationLightningModule
from heimdall.pipeline.train.task import LearningTask

MIN_DELTA = 1e-4
KEPT_CHECKPOINTS = 3


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


class EpochLines(Callback):
    """One line an epoch on stderr, and a bar within the epoch on a terminal."""

    def __init__(self) -> None:
        self._bar: tqdm[Any] = tqdm(disable=True)

    def on_train_epoch_start(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Open the bar."""
        title = f"epoch {trainer.current_epoch + 1}/{trainer.max_epochs}"
        self._bar = tqdm(
            total=int(trainer.num_training_batches), desc=title, unit="batch", leave=False, disable=None
        )

    def on_train_batch_end(self, *args: Any, **kwargs: Any) -> None:  # noqa: ANN401
        """Move the bar."""
        self._bar.update()

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Close the bar and print the line."""
        self._bar.close()
        row = cast(LocalizationLightningModule, pl_module).history[-1]
        print(
            f"epoch {row.epoch}/{trainer.max_epochs}: train loss {row.train_loss:.3f}, validation loss "
            f"{row.val_loss:.3f}, validation MAE {row.val_mae_m / 1000:.2f} km, lr {row.learning_rate:.2e}",
            file=sys.stderr,
            flush=True,
        )


@dataclass(frozen=True)
class Fitted:
    """A training that is over; its task's network has the weights of the best epoch.

    Attributes:
        history: All epochs.
        best: The one with the lowest validation loss of those whose weights are there.
    """

    history: tuple[Epoch, ...]
    best: Epoch


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
    module = LocalizationLightningModule(task, settings, inputs)
    stopping = EarlyStopping(
        "val_loss",
        min_delta=MIN_DELTA,
        patience=settings.early_stop_patience,
        check_on_train_epoch_end=True,
    )
    done = checkpoints.epochs_done(state) if state is not None else 0
    if state is not None:
        waited = state["callbacks"].get(stopping.state_key, {}).get("wait_count", 0)
        if done >= settings.epochs or waited >= settings.early_stop_patience:
            module.on_load_checkpoint(dict(state))
            return _with_its_best(module, work)
        print(f"going on after epoch {done}", file=sys.stderr, flush=True)
    loaders = _loaders(task, settings, done)
    module.train()  # Lightning keeps the mode that it finds, and fusion embeds sessions in evaluation mode
    with _quiet_lightning():
        trainer = _trainer(settings, device, work, [stopping, _keeping(work)])
        try:
            trainer.fit(module, *loaders, ckpt_path=work / LAST if state else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl+C
            raise KeyboardInterrupt from None
    return _with_its_best(module, work)


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


def _keeping(work: Path) -> MovableCheckpoints:
    """Keeps the last checkpoint and the best few."""
    return MovableCheckpoints(
        dirpath=work,
        filename="epoch-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor="val_loss",
        save_top_k=KEPT_CHECKPOINTS,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


def _trainer(settings: Params, device: str, work: Path, callbacks: Sequence[Callback]) -> Trainer:
    return Trainer(
        accelerator=device,
        devices=settings.devices,
        precision=settings.precision,
        max_epochs=settings.epochs,
        deterministic=True,
        callbacks=[*callbacks, LearningRateMonitor("epoch"), EpochLines()],
        plugins=[AtomicCheckpointIO()],
        logger=DummyLogger(),
        default_root_dir=work,
        num_sanity_val_steps=0,
        enable_progress_bar=False,
        enable_model_summary=False,
    )


def _with_its_best(module: LocalizationLightningModule, work: Path) -> Fitted:
    best = best_epoch(module.history, module.first_candidate)
    state = checkpoints.read(work / checkpoints.file_of(best.epoch))
    module.network.cpu().load_state_dict(checkpoints.weights(state))
    module.network.eval()
    return Fitted(tuple(module.history), best)


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
