"""What a step, an epoch and a checkpoint of a training are, for Lightning.

What an epoch does depends on the seed, the epoch's number and the state before it alone: the order of the
items, their augmentation and dropout are drawn anew for each epoch, never carried over. So training goes on
from its last checkpoint bit for bit, with any number of loader workers. What depends on the kind of model is
in a `LearningTask`.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from lightning.pytorch import LightningModule
from lightning.pytorch.callbacks import Callback, LearningRateMonitor
from lightning.pytorch.trainer.states import TrainerFn

from heimdall.core import determinism, params, paths, randomness
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.geometry import geo
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.train import callbacks
from heimdall.pipeline.train.checkpoints import OURS
from heimdall.pipeline.train.history import Epoch, best_epoch, epoch_of
from heimdall.pipeline.train.recording_task import NetworkTask
from heimdall.pipeline.train.task import Learner


def learning_rate_factor(
    epoch: int, *, epochs: int, warmup_epochs: int, schedule: Literal["cosine", "constant"]
) -> float:
    """What the learning rate is multiplied by.

    Args:
        epoch: Number of the epoch, from 0.
        epochs: Epochs in all.
        warmup_epochs: Epochs of a linear rise; the last of them has the full rate.
        schedule: After the rise half a cosine (Loshchilov and Hutter 2017, without restarts) or a constant.

    Returns:
        A number in [0, 1]; 0 only beyond the last epoch of a cosine.
    """
    if epoch < warmup_epochs:
        return (epoch + 1) / warmup_epochs
    if schedule == "constant":
        return 1.0
    done = min(epoch - warmup_epochs, max(epochs - warmup_epochs, 1))
    return 0.5 * (1 + math.cos(math.pi * done / max(epochs - warmup_epochs, 1)))


def rate_factor(parameters: Params, epoch: int) -> float:
    """`learning_rate_factor` of an epoch, from 0, with the schedule of the parameters."""
    return learning_rate_factor(
        epoch,
        epochs=parameters.epochs,
        warmup_epochs=parameters.warmup_epochs,
        schedule=parameters.lr_scheduler,
    )


class LocalizationLightningModule(LightningModule):
    """How a network is trained.

    A LocalizationNet by itself learns from batches of (features, labels) as `HeimdallDataset` gives them:
    `Trainer(max_epochs=5).fit(LocalizationLightningModule(network), train_loader, validation_loader)`.

    Args:
        task: A network, or what a training of the pipeline asks of one and its data.
        settings: Learning rate, schedule, weight decay and seed are used; None for those of params.yaml.
        inputs: All that decides the bytes; it travels in the checkpoints.
        work: Folder of the checkpoints; None for Lightning's own.

    Raises:
        HeimdallError: There are no settings, and params.yaml is missing or wrong.
    """

    def __init__(
        self,
        task: Learner | LocalizationNet,
        settings: Params | None = None,
        inputs: dict[str, Any] | None = None,
        work: Path | None = None,
    ) -> None:
        super().__init__()
        self.task = NetworkTask(task) if isinstance(task, LocalizationNet) else task
        self.network = self.task.network  # so it is in the checkpoints, and moves to the device
        self.settings = settings or params.load(paths.CLONE / determinism.PARAMS_FILE)
        self._has_place = not (isinstance(self.network, LocalizationNet) and self.network.frame is None)
        self.inputs = inputs or {}
        self.work = work
        self.history: list[Epoch] = []
        self.first_candidate = 0  # epochs before it belong to a checkpoint that was resumed from
        self._train: list[tuple[float, int]] = []
        self._validation: list[tuple[float, int]] = []
        self._errors_m: list[float] = []
        self._gradient_norms: list[float] = []
        self._learning_rate = self.settings.lr

    def forward(self, *given: torch.Tensor) -> Any:  # noqa: ANN401 - what the network gives
        """As of the network."""
        return self.network(*given)

    def on_train_epoch_start(self) -> None:
        """Start dropout from the seed and the epoch, so that an epoch is the same after a resumption."""
        dropout_seed = randomness.generator(self.settings.seed, "dropout", self.current_epoch)
        torch.manual_seed(int(dropout_seed.integers(2**63)))
        # Taken here, because Lightning steps the schedule before it validates.
        self._learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._train.clear()
        self._gradient_norms.clear()

    def training_step(self, batch: Any, batch_index: int) -> torch.Tensor:  # noqa: ANN401
        """Loss of one batch.

        Raises:
            HeimdallError: The loss is not finite.
        """
        value, count = self.task.loss(batch)
        self._train.append((self._finite(float(value.detach())), count))
        return value

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure and clip the gradient, in float64 with a root that is correctly rounded everywhere.

        A step whose gradient overflows float16 is none: the loss's scale is lowered, and the next one counts.
        """
        gradients = [value.grad for value in self.network.parameters() if value.grad is not None]
        squares = torch.stack([gradient.double().square().sum() for gradient in gradients])
        norm = math.sqrt(math.fsum(squares.tolist()))  # a list at once: a GPU waits for each transfer
        if not math.isfinite(norm):
            return
        self._gradient_norms.append(norm)
        if norm > self.task.clip_norm:
            for gradient in gradients:
                gradient.mul_(self.task.clip_norm / norm)

    def on_validation_epoch_start(self) -> None:
        """Forget the former epoch."""
        self._validation.clear()
        self._errors_m.clear()

    def validation_step(self, batch: Any, batch_index: int) -> torch.Tensor:  # noqa: ANN401
        """Loss of one batch; its geodesic errors are kept for the epoch's row."""
        judged = self.task.judge(batch)
        found, truth = judged.found_deg.detach().cpu().numpy(), judged.truth_deg.cpu().numpy()
        self._validation.append((judged.loss, len(truth)))
        if self._has_place:
            self._errors_m += geo.distance_m(truth[:, 0], truth[:, 1], found[:, 0], found[:, 1]).tolist()
        return torch.tensor(judged.loss)

    def on_validation_epoch_end(self) -> None:
        """Log the validation, and close the epoch's row if its training steps are done.

        Errors of a network without a frame are in the unit of its labels and left out: they are no metres.

        Raises:
            HeimdallError: The validation loss is not finite.
        """
        trainer = self.trainer
        if trainer.sanity_checking:  # Lightning's first look at the validation, before any training
            return
        # Lightning keeps metrics in float32; the same number here means that both call the same epoch best.
        val_loss = float(np.float32(self._finite(_mean(self._validation))))
        errors_m = self._errors_m
        median_m = statistics.median(errors_m) if errors_m else math.nan
        mean_m = math.fsum(errors_m) / len(errors_m) if errors_m else math.nan
        validation = {"val_loss": val_loss, "val_median_m": median_m, "val_mae_m": mean_m}
        for name, value in validation.items():
            if not math.isnan(value):
                self.log(name, value, batch_size=1)
        if trainer.state.fn != TrainerFn.FITTING:
            return
        norms = self._gradient_norms
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_loss=_mean(self._train),
            **validation,
            learning_rate=self._learning_rate,
            gradient_norm=math.fsum(norms) / len(norms) if norms else math.inf,
        )
        self.history.append(row)
        for name in ("train_loss", "gradient_norm"):
            self.log(name, getattr(row, name), batch_size=1)

    def configure_callbacks(self) -> list[Callback]:
        """Early stopping, best checkpoints, gradient norm, and the learning rate where a logger takes it.

        Of a kind that the Trainer has already, or that it was told to do without, there is no second one.
        """
        trainer = self.trainer
        ours: list[Callback] = [callbacks.GradientNormMonitor()]
        if not trainer.early_stopping_callbacks:
            ours.append(callbacks.early_stopping(self.settings.early_stop_patience))
        # One that monitors nothing is what a Trainer brings by itself.
        if any(getattr(each, "monitor", True) is None for each in trainer.checkpoint_callbacks):
            ours.append(callbacks.best_checkpoints(self.work))
        if trainer.loggers:
            ours.append(LearningRateMonitor("epoch"))
        return ours

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - Lightning's type is of this and of other forms
        """Optimizer and schedule, by Lightning's names for them.

        AdamW, fused: the only form whose square root is the same on every CPU. Not so in float16, which needs
        CUDA: there the fused form divides by the loss's scale inside its step, and norm and clipping before
        it would see scaled gradients. Biases and scales do not decay.
        """
        trained = [value for value in self.network.parameters() if value.requires_grad]
        groups: list[dict[str, Any]] = [
            {"params": [value for value in trained if value.ndim > 1]},
            {"params": [value for value in trained if value.ndim <= 1], "weight_decay": 0.0},
        ]
        chosen = self.settings
        optimizer = torch.optim.AdamW(
            groups, lr=chosen.lr, weight_decay=chosen.weight_decay, fused=chosen.precision != "16-mixed"
        )
        # The Trainer's epochs are those of the settings in the pipeline; a user's Trainer has its own.
        epochs = self.trainer.max_epochs if self._trainer is not None else None
        scheduled = replace(chosen, epochs=epochs) if epochs and epochs > 0 else chosen
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_factor, scheduled))
        return {"optimizer": optimizer, "lr_scheduler": schedule}

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know: the history and what the network is."""
        checkpoint[OURS] = {
            "history": [asdict(row) for row in self.history],
            "first_candidate": self.first_candidate,
            "best_epoch": best_epoch(self.history, self.first_candidate).epoch if self.history else None,
            "network": self.network.config,
            "inputs": self.inputs,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history back."""
        self.history = [epoch_of(row) for row in checkpoint[OURS]["history"]]
        self.first_candidate = checkpoint[OURS]["first_candidate"]

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            cause = f"the loss is {value} in epoch {self.current_epoch + 1} at lr={self.settings.lr:g}"
            remedy = f"Lower lr, for example to {self.settings.lr / 10:g}; nothing was overwritten"
            raise HeimdallError("train", cause, remedy)
        return value


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    """Mean over items of (mean of a batch, items in it), exactly summed."""
    return math.fsum(value * count for value, count in sums) / sum(count for _, count in sums)
