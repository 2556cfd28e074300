"""What a training went through: convergence, and when its epochs ended."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import pytest

from heimdall.pipeline.train import history
from heimdall.pipeline.train.history import Epoch, Timeline

EPOCH = Epoch(1, 1.0, 1.0, 700.0, 2000.0, 1e-3, 1.0)


def epochs(train_loss: Sequence[float], val_loss: Sequence[float]) -> list[Epoch]:
    return [
        replace(EPOCH, epoch=number, train_loss=train, val_loss=val)
        for number, (train, val) in enumerate(zip(train_loss, val_loss, strict=True), start=1)
    ]


FALLING = [5.0 - 0.1 * number for number in range(11)]
STABLE = [2.0 + 0.009 * (number % 2) for number in range(11)]


def test_a_training_that_meets_all_four_criteria_has_converged() -> None:
    found = history.convergence(epochs(FALLING, STABLE))
    assert found.reached
    assert found.sentence.startswith("convergence: reached. ")


BAD = replace(EPOCH, train_loss=6.0, val_loss=2.0)


@pytest.mark.parametrize(
    ("changed", "criterion"),
    [
        (epochs([*FALLING[:-1], FALLING[-2]], STABLE), "training_loss_decreases"),
        (epochs(FALLING, [*STABLE[:-1], STABLE[-1] + 0.02]), "validation_loss_stable"),
        (epochs(FALLING[:10], STABLE[:10]), "validation_loss_stable"),  # nine changes, not ten
        ([replace(BAD, val_mae_m=math.inf), *epochs(FALLING, STABLE)], "all_finite"),
        ([replace(BAD, gradient_norm=10.0), *epochs(FALLING, STABLE)], "gradient_norms_reasonable"),
        ([replace(BAD, gradient_norm=0.01), *epochs(FALLING, STABLE)], "gradient_norms_reasonable"),
    ],
)
def test_one_criterion_that_is_missed_is_named(changed: list[Epoch], criterion: str) -> None:
    found = history.convergence(changed)
    assert [name for name, met in found.criteria.items() if not met] == [criterion]
    assert not found.reached
    assert found.sentence.startswith("convergence: not reached. ")


def test_only_the_last_ten_changes_of_the_validation_loss_count() -> None:
    early = epochs([9.0, *FALLING], [7.0, *STABLE])
    assert history.convergence(early).criteria["validation_loss_stable"]


def test_one_epoch_converges_nothing() -> None:
    found = history.convergence([EPOCH])
    assert found.criteria == {
        "training_loss_decreases": False,
        "validation_loss_stable": False,
        "all_finite": True,
        "gradient_norms_reasonable": True,
    }


def test_the_times_of_a_killed_training_fit_the_epochs_that_its_checkpoint_has() -> None:
    noted = Timeline(100).then(200).then(300)
    assert noted == Timeline(100, (200, 300))
    assert noted.then(250).ended_ms == (200, 300, 300)  # the machine's clock was set back
    assert noted.after(1) == Timeline(100, (200,))
    assert noted.after(3) == Timeline(100, (200, 300, 300))
    assert Timeline(100).after(2) == Timeline(100, (100, 100))


def test_a_row_of_a_checkpoint_that_has_no_median_is_read() -> None:
    row = {"epoch": 1, "train_loss": 2.0, "val_loss": 1.0, "val_mae_m": 5.0, "learning_rate": 1e-3}
    read = history.epoch_of(row | {"gradient_norm": 1.0})
    assert (read.epoch, read.val_mae_m) == (1, 5.0)
    assert math.isnan(read.val_median_m)
