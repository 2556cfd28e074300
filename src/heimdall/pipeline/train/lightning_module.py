"""How a network is trained: epochs in Lightning, the same bytes however often they are interrupted.

What an epoch does depends on the seed, the epoch's number and the state before it alone: the order of the
items, their augmentation and dropout are drawn anew for each epoch, never carried over. So training goes on
from its last checkpoint bit for bit, with any number of loader workers. What depends on the kind of model is
in a `Learner`.
"""

from __future__ import annotations

import logging
import math
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from typing import Any, Literal, Protocol, cast

import numpy as np
import torch
from lightning.pytorch import LightningModule, Trainer
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from heimdall.core import randomness
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.geometry import geo
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.train import checkpoints
from heimdall.pipeline.train.checkpoints import LAST, OURS, AtomicCheckpointIO, MovableCheckpoints

Network = LocalizationNet | FusionNet

MIN_DELTA = 1e-4
KEPT_CHECKPOINTS = 3


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


class Learner(Protocol):
    """What a training asks of one kind of model and its data."""

    @property
    def network(self) -> Network:
        """What is trained; parameters that need no gradient stay as they are."""

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
    def clip_norm(self) -> float:
        """No gradient is longer: one surprising item may not undo an epoch."""

    def loss(self, batch: Any) -> tuple[torch.Tensor, int]:  # noqa: ANN401 - as `collate` makes it
        """Mean loss of a batch of training items, a scalar with its gradient, and their number."""

    def judge(self, batch: Any) -> Judged:  # noqa: ANN401 - as above
        """Loss and positions of a batch of validation items."""


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
        A number in (0, 1].
    """
    if epoch < warmup_epochs:
        return (epoch + 1) / warmup_epochs
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / max(epochs - warmup_epochs, 1)))


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


class LocalizationLightningModule(LightningModule):
    """How a network is trained.

    Args:
        learner: The network and its data.
        settings: Learning rate, schedule, weight decay and seed are used.
        inputs: All that decides the bytes; it travels in the checkpoints.
    """

    def __init__(self, learner: Learner, settings: Params, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.learner = learner
        self.network = learner.network  # so it is in the checkpoints, and moves to the device
        self.settings = settings
        self.inputs = inputs
        self.history: list[Epoch] = []
        self.first_candidate = 0  # epochs before it belong to a checkpoint that was resumed from
        self._train: list[tuple[float, int]] = []
        self._validation: list[tuple[float, int]] = []
        self._errors_m: list[float] = []
        self._gradient_norms: list[float] = []
        self._learning_rate = settings.lr

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
        value, count = self.learner.loss(batch)
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
        if norm > self.learner.clip_norm:
            for gradient in gradients:
                gradient.mul_(self.learner.clip_norm / norm)

    def on_validation_epoch_start(self) -> None:
        """Forget the former epoch."""
        self._validation.clear()
        self._errors_m.clear()

    def validation_step(self, batch: Any, batch_index: int) -> None:  # noqa: ANN401
        """Loss and geodesic errors of one batch."""
        judged = self.learner.judge(batch)
        found, truth = judged.found_deg.cpu().numpy(), judged.truth_deg.cpu().numpy()
        self._validation.append((judged.loss, len(truth)))
        self._errors_m += geo.distance_m(truth[:, 0], truth[:, 1], found[:, 0], found[:, 1]).tolist()

    def on_validation_epoch_end(self) -> None:
        """Close the epoch's row: validation runs when its training steps are done.

        Raises:
            HeimdallError: The validation loss is not finite.
        """
        # Lightning keeps metrics in float32; the same number here means that both call the same epoch best.
        val_loss = float(np.float32(self._finite(_mean(self._validation))))
        norms = self._gradient_norms
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_loss=_mean(self._train),
            val_loss=val_loss,
            val_mae_m=math.fsum(self._errors_m) / len(self._errors_m),
            learning_rate=self._learning_rate,
            gradient_norm=math.fsum(norms) / len(norms) if norms else math.inf,
        )
        self.history.append(row)
        for name in ("train_loss", "val_loss", "val_mae_m", "gradient_norm"):
            self.log(name, getattr(row, name), batch_size=1)

    def configure_optimizers(self) -> Any:  # noqa: ANN401 - one of many forms that Lightning takes
        """AdamW, fused: the only form whose square root is the same on every CPU.

        Not so in float16, which needs CUDA: there the fused form divides by the loss's scale inside its
        step, and norm and clipping before it would see scaled gradients. Biases and scales do not decay.
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
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, partial(rate_factor, chosen))]

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Add what Lightning does not know: the history and what the network is."""
        checkpoint[OURS] = {
            "history": [asdict(row) for row in self.history],
            "first_candidate": self.first_candidate,
            "best_epoch": best_epoch(self.history, self.first_candidate).epoch,
            "network": self.network.config,
            "inputs": self.inputs,
        }

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Take the history back."""
        self.history = [Epoch(**row) for row in checkpoint[OURS]["history"]]
        self.first_candidate = checkpoint[OURS]["first_candidate"]

    def _finite(self, value: float) -> float:
        if not math.isfinite(value):
            cause = f"the loss is {value} in epoch {self.current_epoch + 1} at lr={self.settings.lr:g}"
            remedy = f"Lower lr, for example to {self.settings.lr / 10:g}; nothing was overwritten"
            raise HeimdallError("train", cause, remedy)
        return value


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


def best_epoch(history: Sequence[Epoch], first_candidate: int) -> Epoch:
    """The epoch with the lowest validation loss, the first of equals.

    Args:
        history: All epochs.
        first_candidate: Index of the first one whose weights are still there.
    """
    return min(history[first_candidate:], key=lambda row: row.val_loss)


@dataclass(frozen=True)
class Fitted:
    """A training that is over; its learner's network has the weights of the best epoch.

    Attributes:
        history: All epochs.
        best: The one with the lowest validation loss of those whose weights are there.
    """

    history: tuple[Epoch, ...]
    best: Epoch


def fit(
    learner: Learner,
    settings: Params,
    inputs: dict[str, Any],
    *,
    device: str,
    work: Path,
    state: Mapping[str, Any] | None,
) -> Fitted:
    """Train until the last epoch or until validation no longer improves.

    Args:
        learner: Its network is trained, and ends on the CPU in evaluation mode.
        settings: Training parameters.
        inputs: All that decides the bytes; `work` is of these alone.
        device: As of `training.choose_device`.
        work: Folder of the checkpoints.
        state: The checkpoint in `work` to go on from, whose network the learner has; None to start.

    Returns:
        The epochs.

    Raises:
        HeimdallError: The loss is not finite.
    """
    chosen = settings
    module = LocalizationLightningModule(learner, settings, inputs)
    stopping = EarlyStopping(
        "val_loss",
        min_delta=MIN_DELTA,
        patience=chosen.early_stop_patience,
        check_on_train_epoch_end=True,
    )
    done = checkpoints.epochs_done(state) if state is not None else 0
    if state is not None:
        waited = state["callbacks"].get(stopping.state_key, {}).get("wait_count", 0)
        if done >= chosen.epochs or waited >= chosen.early_stop_patience:
            module.on_load_checkpoint(dict(state))
            return _with_its_best(module, work)
        print(f"going on after epoch {done}", file=sys.stderr, flush=True)
    keeping = MovableCheckpoints(
        dirpath=work,
        filename="epoch-{epoch:04d}",
        auto_insert_metric_name=False,
        monitor="val_loss",
        save_top_k=KEPT_CHECKPOINTS,
        save_last=True,
        save_on_train_epoch_end=True,
        enable_version_counter=False,
    )
    loading: dict[str, Any] = {
        "batch_size": chosen.batch_size,
        "num_workers": chosen.num_workers,
        "persistent_workers": chosen.num_workers > 0,
        "collate_fn": learner.collate,
    }
    # A generator of their own: the loaders draw their workers' seeds, and dropout must not notice.
    loaders = (
        DataLoader(
            learner.training,
            sampler=EpochSampler(_size(learner.training), chosen.seed, done),
            generator=torch.Generator().manual_seed(chosen.seed),
            **loading,
        ),
        DataLoader(learner.validation, generator=torch.Generator().manual_seed(chosen.seed), **loading),
    )
    module.train()  # Lightning keeps the mode that it finds, and fusion embeds sessions in evaluation mode
    with _quiet_lightning():
        trainer = Trainer(
            accelerator=device,
            devices=chosen.devices,
            precision=chosen.precision,
            max_epochs=chosen.epochs,
            deterministic=True,
            callbacks=[stopping, keeping, LearningRateMonitor("epoch"), EpochLines()],
            plugins=[AtomicCheckpointIO()],
            logger=DummyLogger(),
            default_root_dir=work,
            num_sanity_val_steps=0,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        try:
            trainer.fit(module, *loaders, ckpt_path=work / LAST if state else None, weights_only=True)
        except SystemExit:  # what Lightning makes of Ctrl+C
            raise KeyboardInterrupt from None
    return _with_its_best(module, work)


def _with_its_best(module: LocalizationLightningModule, work: Path) -> Fitted:
    best = best_epoch(module.history, module.first_candidate)
    state = checkpoints.read(work / checkpoints.file_of(best.epoch))
    module.network.cpu().load_state_dict(checkpoints.weights(state))
    module.network.eval()
    return Fitted(tuple(module.history), best)


def _size(items: Dataset[Any]) -> int:
    return len(cast(Sized, items))


def rate_factor(parameters: Params, epoch: int) -> float:
    """`learning_rate_factor` of an epoch, from 0, with the schedule of the parameters."""
    return learning_rate_factor(
        epoch,
        epochs=parameters.epochs,
        warmup_epochs=parameters.warmup_epochs,
        schedule=parameters.lr_scheduler,
    )


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    """Mean over items of (mean of a batch, items in it), exactly summed."""
    return math.fsum(value * count for value, count in sums) / sum(count for _, count in sums)


def csv(history: Sequence[Epoch]) -> str:
    """The epochs as a table with a header, numbers in full precision."""
    lines = [",".join(column.name for column in fields(Epoch))]
    lines += [",".join(repr(value) for value in asdict(row).values()) for row in history]
    return "\n".join(lines) + "\n"


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
