"""What a training went through, a row an epoch, and which epoch was the best."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields


@dataclass(frozen=True)
class Epoch:
    """One row of plots/training.csv.

    Attributes:
        epoch: Number, from 1.
        train_loss: Mean loss of the augmented training items, nats.
        val_loss: Of the validation items after the epoch, without augmentation and dropout; of fusion the
            likelihood of the position alone, where the training loss has that of the residuals, too.
        val_mae_m: Mean geodesic error of the validation items, metres.
        learning_rate: Of this epoch.
        gradient_norm: Mean over the steps that were taken, before clipping; infinite if none was.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_mae_m: float
    learning_rate: float
    gradient_norm: float


def best_epoch(history: Sequence[Epoch], first_candidate: int) -> Epoch:
    """The epoch with the lowest validation loss, the first of equals.

    Args:
        history: All epochs.
        first_candidate: Index of the first one whose weights are still there.
    """
    return min(history[first_candidate:], key=lambda row: row.val_loss)


def csv(history: Sequence[Epoch]) -> str:
    """The epochs as a table with a header, numbers in full precision."""
    lines = [",".join(column.name for column in fields(Epoch))]
    lines += [",".join(repr(value) for value in asdict(row).values()) for row in history]
    return "\n".join(lines) + "\n"
