"""What accompanies a training: early stopping, checkpoints, and what is told of it while it runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import Any, cast

from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping
from lightning.pytorch.utilities import rank_zero_only
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.train.checkpoints import MovableCheckpoints
from heimdall.pipeline.train.history import GRADIENT_NORMS, Epoch, Timeline, is_reasonable

MIN_DELTA = 1e-4
KEPT_CHECKPOINTS = 3
TIMES = "epoch_times.json"  # beside the checkpoints: these hold no time, so that their bytes repeat


def early_stopping(patience: int) -> EarlyStopping:
    """Ends a training whose validation loss has not improved by `MIN_DELTA` for so many epochs."""
    return EarlyStopping("val_loss", min_delta=MIN_DELTA, patience=patience, check_on_train_epoch_end=True)


def best_checkpoints(folder: Path | None) -> MovableCheckpoints:
    """Keeps the last checkpoint and the best few by their validation loss.

    Args:
        folder: Where; None for Lightning's own.
    """
    return MovableCheckpoints(
        dirpath=folder,
        filename="epoch-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor="val_loss",
        save_top_k=KEPT_CHECKPOINTS,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )


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
        row = _history(pl_module)[-1]
        _say(
            f"epoch {row.epoch}/{trainer.max_epochs}: train loss {row.train_loss:.4f}, validation loss "
            f"{row.val_loss:.4f}, validation error {row.val_median_m:.1f} m in the median, "
            f"{row.val_mae_m:.1f} m in the mean, lr {row.learning_rate:.2e}, "
            f"gradient norm {row.gradient_norm:.3g}"
        )


class GradientNormMonitor(Callback):
    """A line on stderr when an epoch's gradient norm leaves the reasonable range, and when it comes back.

    The range is the specification's, 0.01 to 10. The norm is that before clipping.
    """

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Compare the epoch with the one before it."""
        rows = _history(pl_module)  # none without validation
        line = gradient_line(rows) if rows else None
        if line is not None:
            _say(line)


class EpochClock(Callback):
    """Notes when each epoch ended, in a file beside the checkpoints.

    Args:
        folder: Of the checkpoints.
        done: How many epochs the checkpoint has that training goes on from.
    """

    def __init__(self, folder: Path, done: int) -> None:
        self._file = folder / TIMES
        former = noted(folder) if done else None
        self.timeline = (former or Timeline(_now_ms())).after(done)

    def on_train_epoch_end(self, trainer: Trainer, pl_module: LightningModule) -> None:
        """Note the time."""
        self.timeline = self.timeline.then(_now_ms())
        content = {"started_ms": self.timeline.started_ms, "ended_ms": self.timeline.ended_ms}
        artifacts.write_json(self._file, content)


def gradient_line(history: list[Epoch]) -> str | None:
    """What is to be said of the last epoch's gradient norm; None where nothing changed.

    Args:
        history: All epochs so far, at least one.
    """
    now = history[-1]
    was = len(history) == 1 or is_reasonable(history[-2].gradient_norm)
    low, high = GRADIENT_NORMS
    if is_reasonable(now.gradient_norm) == was:
        return None
    if was:
        state = f"is not between {low:g} and {high:g}"
        remedy = (
            "a lower lr may help" if now.gradient_norm >= high else "the network may have stopped learning"
        )
        return f"gradient norm: {now.gradient_norm:.3g} in epoch {now.epoch} {state}; {remedy}"
    return (
        f"gradient norm: {now.gradient_norm:.3g} in epoch {now.epoch} is between {low:g} and {high:g} again"
    )


def noted(folder: Path) -> Timeline | None:
    """The times that an `EpochClock` noted beside checkpoints; None where they cannot be read."""
    try:
        content = artifacts.read_json(folder / TIMES)
        return Timeline(int(content["started_ms"]), tuple(int(value) for value in content["ended_ms"]))
    except (HeimdallError, KeyError, TypeError, ValueError):
        return None


def _history(module: LightningModule) -> list[Epoch]:
    return cast(list[Epoch], module.history)  # of a LocalizationLightningModule


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


@rank_zero_only
def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
