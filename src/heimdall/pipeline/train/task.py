"""What a training asks of one kind of model and its data: items, loss, and what comes before and after."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import pandas as pd
import torch
from torch.utils.data import Dataset

from heimdall.network.model_file import Network

Weights = Mapping[str, torch.Tensor]


@dataclass(frozen=True)
class Judged:
    """What a network says of a batch of B validation items.

    Attributes:
        loss: Mean over the items, nats.
        found_deg: Latitude and longitude, (B, 2) float64.
        truth_deg: The same of the truth.
    """

    loss: float
    found_deg: torch.Tensor
    truth_deg: torch.Tensor


@dataclass(frozen=True)
class Scratch:
    """Where a training keeps what it computes once, as long as it runs.

    Attributes:
        folder: Of this training alone, and removed at its end.
        alone: Whether it must compute that without other processes. A program of somebody else may not be
            one that processes can be started from.
    """

    folder: Path
    alone: bool = False


class Learner(Protocol):
    """What one step of a training needs."""

    @property
    def network(self) -> Network:
        """What is trained; parameters that need no gradient stay as they are."""

    @property
    def clip_norm(self) -> float:
        """No gradient is longer: one surprising item may not undo an epoch."""

    def loss(self, batch: Any) -> tuple[torch.Tensor, int]:  # noqa: ANN401 - as `collate` makes it
        """Mean loss of a batch of training items, a scalar with its gradient, and their number."""

    def judge(self, batch: Any) -> Judged:  # noqa: ANN401 - as above
        """Loss and positions of a batch of validation items."""


class LearningTask(Learner, Protocol):
    """What a training asks of one kind of model and its data.

    `network` and the items are there from `start` or `resume` on.
    """

    @property
    def training(self) -> Dataset[Any]:
        """Items by (epoch, position), varied anew in each epoch."""

    @property
    def validation(self) -> Dataset[Any]:
        """Items by position."""

    @property
    def collate(self) -> Callable[[list[Any]], Any] | None:
        """Items to a batch; None for PyTorch's own."""

    @property
    def index(self) -> pd.DataFrame:
        """The training and the validation split; the column `simulated` is used."""

    def origin(self) -> dict[str, str]:
        """SHA-256 of the weights that `start` starts from, by the name that the record has for them."""

    def start(self, scratch: Scratch) -> None:
        """Make the network that training starts from.

        Args:
            scratch: Where to keep what is computed of the items once.
        """

    def resume(self, config: dict[str, Any], weights: Weights, scratch: Scratch) -> None:
        """Make the network of a checkpoint.

        Args:
            config: The network's configuration.
            weights: Its state.
            scratch: As of `start`.
        """

    def finish(self) -> dict[str, Any]:
        """What follows the last epoch, with the best weights in place; figures for metrics/train.json."""
