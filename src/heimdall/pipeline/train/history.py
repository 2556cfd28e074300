"""What a training went through, a row an epoch: which epoch was the best, and whether it converged."""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

# The specification's convergence criteria.
GRADIENT_NORMS = (0.01, 10.0)  # reasonable ones lie between
STABLE_NATS, STABLE_EPOCHS = 0.01, 10  # a change of the validation loss below it, in each of so many epochs


@dataclass(frozen=True)
class Epoch:
    """One row of plots/training.csv.

    Attributes:
        epoch: Number, from 1.
        train_loss: Mean loss of the augmented training items, nats.
        val_loss: Of the validation items after the epoch, without augmentation and dropout; of fusion the
            likelihood of the position alone, where the training loss has that of the residuals, too.
        val_median_m: Median geodesic error of the validation items, metres.
        val_mae_m: Its mean, metres.
        learning_rate: Of this epoch.
        gradient_norm: Mean over the steps that were taken, before clipping; infinite if none was.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_median_m: float
    val_mae_m: float
    learning_rate: float
    gradient_norm: float


def epoch_of(row: Mapping[str, Any]) -> Epoch:
    """A row of a checkpoint; one that was kept before the median was recorded has none."""
    return Epoch(**{"val_median_m": math.nan, **row})


@dataclass(frozen=True)
class Timeline:
    """When a training ran, in milliseconds since 1970; for the tracker alone, in no output of a stage.

    Attributes:
        started_ms: When its first epoch began.
        ended_ms: When each epoch ended, not before the former one.
    """

    started_ms: int
    ended_ms: tuple[int, ...] = ()

    def then(self, now_ms: int) -> Timeline:
        """With one more epoch, which ended now."""
        return Timeline(self.started_ms, (*self.ended_ms, max(now_ms, *self.ended_ms, self.started_ms)))

    def after(self, epochs: int) -> Timeline:
        """As of that many epochs, where a killed process noted more or fewer than its checkpoint has."""
        known = (*self.ended_ms[:epochs], *(self.ended_ms[-1:] or (self.started_ms,)) * epochs)
        return Timeline(self.started_ms, known[:epochs])


@dataclass(frozen=True)
class Convergence:
    """How a training stands to the specification's convergence criteria.

    Attributes:
        epochs: How many there were.
        decreases: In how many of them the training loss was below the former epoch's.
        largest_change_nats: The largest change of the validation loss in the last `STABLE_EPOCHS` epochs;
            None if there were not so many after the first.
        finite: Whether every figure of every epoch is finite.
        gradient_norms: The lowest and the highest of all epochs.
    """

    epochs: int
    decreases: int
    largest_change_nats: float | None
    finite: bool
    gradient_norms: tuple[float, float]

    @property
    def criteria(self) -> dict[str, bool]:
        """Which of the four criteria are met."""
        change = self.largest_change_nats
        return {
            "training_loss_decreases": 0 < self.decreases == self.epochs - 1,
            "validation_loss_stable": change is not None and change < STABLE_NATS,
            "all_finite": self.finite,
            "gradient_norms_reasonable": all(is_reasonable(norm) for norm in self.gradient_norms),
        }

    @property
    def reached(self) -> bool:
        """Whether all are."""
        return all(self.criteria.values())

    @property
    def sentence(self) -> str:
        """The verdict and each criterion beside what there was, for a person."""
        low, high = self.gradient_norms
        change = self.largest_change_nats
        stable = (
            f"There are fewer than {STABLE_EPOCHS + 1} epochs, too few to judge the validation loss"
            if change is None
            else f"The validation loss changed by at most {change:.4f} an epoch in the last {STABLE_EPOCHS} "
            f"(needed: below {STABLE_NATS:g})"
        )
        return (
            f"convergence: {'reached' if self.reached else 'not reached'}. "
            f"The training loss fell in {self.decreases} of {self.epochs - 1} epochs (needed: all). "
            f"{stable}. "
            f"{'Every figure is finite' if self.finite else 'Some figures are not finite'}. "
            f"The gradient norm was {low:.3g} to {high:.3g} "
            f"(needed: between {GRADIENT_NORMS[0]:g} and {GRADIENT_NORMS[1]:g})"
        )


def is_reasonable(gradient_norm: float) -> bool:
    """Whether a gradient norm lies in the range that the specification calls reasonable."""
    low, high = GRADIENT_NORMS
    return low < gradient_norm < high


def convergence(history: Sequence[Epoch]) -> Convergence:
    """How a training stands to the specification's convergence criteria.

    Args:
        history: All epochs, at least one.
    """
    pairs = list(itertools.pairwise(history))
    changes = [abs(after.val_loss - before.val_loss) for before, after in pairs][-STABLE_EPOCHS:]
    norms = [row.gradient_norm for row in history]
    return Convergence(
        epochs=len(history),
        decreases=sum(after.train_loss < before.train_loss for before, after in pairs),
        largest_change_nats=max(changes) if len(changes) == STABLE_EPOCHS else None,
        finite=all(math.isfinite(value) for row in history for value in asdict(row).values()),
        gradient_norms=(min(norms), max(norms)),
    )


def timed_rows(history: Sequence[Epoch], timeline: Timeline) -> list[dict[str, float]]:
    """What a tracker is told of each epoch.

    Args:
        history: All epochs.
        timeline: Theirs.

    Returns:
        A mapping an epoch: its number as `epoch`, its end as `time_ms`, and its figures.
    """
    return [
        asdict(row) | {"time_ms": ended_ms} for row, ended_ms in zip(history, timeline.ended_ms, strict=True)
    ]


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
