"""Training: data/features/ -> models/localizer.safetensors, the same bytes however often it is interrupted.

What an epoch does depends on the seed, the epoch's number and the state before it alone: the order of
the recordings, their augmentation and dropout are drawn anew for each epoch, never carried over. So
training goes on from its last checkpoint bit for bit, with any number of loader workers.

Checkpoints lie in `<work_dir>/<fingerprint of all inputs>/` and are removed when the outputs are written.
Of one that the user names the content decides, wherever it lies: one of the same inputs is gone on from as
if nothing had happened; from one of others a new training starts, and its record says so.
"""

from __future__ import annotations

import logging
import math
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, fields
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Any, Literal, cast

import numpy as np
import pandas as pd
import torch
from lightning.pytorch import LightningModule, Trainer, seed_everything
from lightning.pytorch.callbacks import Callback, EarlyStopping, LearningRateMonitor
from lightning.pytorch.loggers.logger import DummyLogger
from torch.utils.data import DataLoader, Dataset, Sampler
from tqdm import tqdm

from heimdall import (
    artifacts,
    checkpoints,
    dataset,
    determinism,
    errors,
    features,
    geo,
    loss,
    model,
    params,
    provenance,
    randomness,
    sessions,
)
from heimdall.checkpoints import LAST, OURS, AtomicCheckpointIO, MovableCheckpoints
from heimdall.dataset import DatasetConfig, HeimdallDataset
from heimdall.errors import HeimdallError
from heimdall.loss import GaussianNLLLoss
from heimdall.model import LocalizationNet
from heimdall.params import Params

Batch = tuple[torch.Tensor, torch.Tensor]
Tracker = Callable[[Mapping[str, Any], Sequence[Mapping[str, float]], Mapping[str, Any]], str | None]
Exporter = Callable[[LocalizationNet, Path, dict[str, Any]], None]

# Everything of ours that can change a trained weight; their hashes identify the making of a model.
# This one is among them: a checkpoint of another optimizer or schedule must never be gone on from.
MODULES: tuple[ModuleType, ...] = (
    sys.modules[__name__],
    artifacts,
    checkpoints,
    dataset,
    determinism,
    errors,
    features,
    geo,
    loss,
    model,
    params,
    provenance,
    randomness,
    sessions,
)
# The likelihood's slope grows as 1 / sigma^3: one surprising recording may not undo an epoch.
GRADIENT_CLIP_NORM = 10.0
MIN_DELTA = 1e-4
KEPT_CHECKPOINTS = 3
RESUMED_FROM = "resumed_from_sha256"  # in the record: the checkpoint of another training


@dataclass(frozen=True)
class Epoch:
    """One row of plots/training.csv.

    Attributes:
        epoch: Number, from 1.
        train_loss: Mean negative log-likelihood of the augmented training recordings, nats, local units.
        val_loss: The same of the validation recordings after the epoch, without augmentation and dropout.
        val_mae_m: Mean geodesic error of the validation recordings, metres.
        learning_rate: Of this epoch.
        gradient_norm: Mean over the steps, before clipping.
    """

    epoch: int
    train_loss: float
    val_loss: float
    val_mae_m: float
    learning_rate: float
    gradient_norm: float


@dataclass(frozen=True)
class TrainingResult:
    """What a training leaves.

    Attributes:
        checkpoint_path: The weights of the epoch with the lowest validation loss (safetensors).
        onnx_path: The exported network, None unless an export was asked for.
        mlflow_run_id: The run that records it, None where there is no tracker.
        final_metrics: As in metrics/train.json.
        checkpoint_dir: The Lightning checkpoints, None unless they were to be kept.
    """

    checkpoint_path: Path
    onnx_path: Path | None
    mlflow_run_id: str | None
    final_metrics: dict[str, Any]
    checkpoint_dir: Path | None


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
        size: Number of recordings.
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


class AugmentedItems(Dataset[Batch]):
    """Training items, varied anew in each epoch.

    Args:
        recordings: The training split.
        seed: The user's seed.
    """

    def __init__(self, recordings: HeimdallDataset, seed: int) -> None:
        self.recordings, self.seed = recordings, seed

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, key: tuple[int, int]) -> Batch:
        epoch, position = key
        plain = self.recordings.features(position)
        varied = features.augment_features(plain, seed=self.seed, epoch=epoch, index=position)
        return torch.from_numpy(varied), self.recordings.label(position)


class LocalizationLightningModule(LightningModule):
    """How a LocalizationNet is trained.

    Args:
        network: The network.
        settings: Learning rate, schedule, weight decay and seed are used.
        inputs: All that decides the bytes; it travels in the checkpoints.
    """

    def __init__(self, network: LocalizationNet, settings: Params, inputs: dict[str, Any]) -> None:
        super().__init__()
        self.network = network
        self.settings = settings
        self.inputs = inputs
        self.loss = GaussianNLLLoss()
        self.history: list[Epoch] = []
        self.first_candidate = 0  # epochs before it belong to a checkpoint that was resumed from
        self._train: list[tuple[float, int]] = []
        self._validation: list[tuple[float, int]] = []
        self._errors_m: list[float] = []
        self._gradient_norms: list[float] = []
        self._learning_rate = settings.lr

    def forward(self, recordings: torch.Tensor) -> torch.Tensor:
        """As `LocalizationNet.forward`."""
        degrees: torch.Tensor = self.network(recordings)
        return degrees

    def on_train_epoch_start(self) -> None:
        """Start dropout from the seed and the epoch, so that an epoch is the same after a resumption."""
        dropout_seed = randomness.generator(self.settings.seed, "dropout", self.current_epoch)
        torch.manual_seed(int(dropout_seed.integers(2**63)))
        # Taken here, because Lightning steps the schedule before it validates.
        self._learning_rate = float(self.trainer.optimizers[0].param_groups[0]["lr"])
        self._train.clear()
        self._gradient_norms.clear()

    def training_step(self, batch: Batch, batch_index: int) -> torch.Tensor:
        """Loss of one batch.

        Raises:
            HeimdallError: The loss is not finite.
        """
        recordings, degrees = batch
        value: torch.Tensor = self.loss(
            self.network.forward_local(recordings), self.network.to_local(degrees)
        )
        self._train.append((self._finite(float(value.detach())), len(degrees)))
        return value

    def on_before_optimizer_step(self, optimizer: torch.optim.Optimizer) -> None:
        """Measure and clip the gradient, in float64 with a root that is correctly rounded everywhere."""
        gradients = [value.grad for value in self.network.parameters() if value.grad is not None]
        norm = math.sqrt(math.fsum(float(gradient.double().square().sum()) for gradient in gradients))
        self._gradient_norms.append(norm)
        if norm > GRADIENT_CLIP_NORM:
            for gradient in gradients:
                gradient.mul_(GRADIENT_CLIP_NORM / norm)

    def on_validation_epoch_start(self) -> None:
        """Forget the former epoch."""
        self._validation.clear()
        self._errors_m.clear()

    def validation_step(self, batch: Batch, batch_index: int) -> None:
        """Loss and geodesic errors of one batch."""
        recordings, degrees = batch
        local = self.network.forward_local(recordings)
        self._validation.append((float(self.loss(local, self.network.to_local(degrees))), len(degrees)))
        found = self.network.to_degrees(local)[:, :2].cpu().numpy()
        truth = degrees.cpu().numpy()
        self._errors_m += geo.distance_m(truth[:, 0], truth[:, 1], found[:, 0], found[:, 1]).tolist()

    def on_validation_epoch_end(self) -> None:
        """Close the epoch's row: validation runs when its training steps are done.

        Raises:
            HeimdallError: The validation loss is not finite.
        """
        # Lightning keeps metrics in float32; the same number here means that both call the same epoch best.
        val_loss = float(np.float32(self._finite(_mean(self._validation))))
        row = Epoch(
            epoch=self.current_epoch + 1,
            train_loss=_mean(self._train),
            val_loss=val_loss,
            val_mae_m=math.fsum(self._errors_m) / len(self._errors_m),
            learning_rate=self._learning_rate,
            gradient_norm=math.fsum(self._gradient_norms) / len(self._gradient_norms),
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
        return [optimizer], [torch.optim.lr_scheduler.LambdaLR(optimizer, partial(_rate_factor, chosen))]

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


@dataclass(frozen=True)
class TrainingPipeline:
    """All steps from the seed to the final metrics.

    Attributes:
        parameters: All of params.yaml; training parameters and `model` are used, the rest is recorded.
        data_dir: The featurize stage's output.
        work_dir: Where checkpoints are kept while it runs.
    """

    parameters: Params
    data_dir: Path
    work_dir: Path

    def run(
        self,
        output_dir: Path,
        *,
        resume_from: Path | None = None,
        keep_checkpoints: bool = False,
        tracker: Tracker | None = None,
        exporter: Exporter | None = None,
    ) -> TrainingResult:
        """Train and write models/localizer.{safetensors,json}, plots/training.csv and metrics/train.json.

        Nothing is written below `output_dir` before the training is done.

        Args:
            output_dir: Where the outputs go, the repository's root for `dvc repro`.
            resume_from: A Lightning checkpoint to go on from. One of this very training (equal inputs) leaves
                no trace in the outputs. From one of another training a new one starts, with the parameters
                given now, and records the checkpoint's hash. A line on stderr says which of the two it is.
            keep_checkpoints: Move the checkpoints to `output_dir`/checkpoints instead of removing them.
            tracker: Called with parameters, epochs and final metrics when all is written.
            exporter: Called with the network, the ONNX file's path and the record when all is written.

        Returns:
            Where things are, and the final metrics.

        Raises:
            HeimdallError: The device is not there, the data are missing or damaged, a split is empty, the
                checkpoint does not fit, another process does this training, or the loss is not finite.
        """
        determinism.warn(self.parameters.threads)
        device = choose_device(self.parameters)
        seed_everything(self.parameters.seed, workers=True, verbose=False)
        torch.set_num_threads(self.parameters.threads)

        config = DatasetConfig(self.data_dir)
        share = self.parameters.validation_split
        training = HeimdallDataset(config, "train", None, share)
        validation = HeimdallDataset(config, "val", None, share)
        inputs = self._inputs(config, pd.concat([training.index, validation.index]), device)
        if resume_from is not None:
            inputs = _inputs_when_resumed(inputs, resume_from)
        record = inputs["record"]

        work = self.work_dir / artifacts.fingerprint(inputs)
        with artifacts.alone(work):
            state = checkpoints.resumable(work, inputs)
            if state is None and resume_from is not None:
                state = _start_from(resume_from, work, inputs, self.parameters)
            elif state is None:
                checkpoints.clear(work)
            network = self._network(training) if state is None else self._resumed(state)
            module = LocalizationLightningModule(network, self.parameters, inputs)
            self._fit(module, training, validation, device=device, work=work, state=state)

            best = best_epoch(module.history, module.first_candidate)
            network.load_state_dict(
                checkpoints.weights(checkpoints.read(work / checkpoints.file_of(best.epoch)))
            )
            metrics = {
                "data": record["data"],
                "best_epoch": best.epoch,
                "epochs": len(module.history),
                "train_loss": best.train_loss,
                "val_loss": best.val_loss,
                "val_mae_m": best.val_mae_m,
                "training_recordings": len(training),
                "validation_recordings": len(validation),
                "parameters": sum(value.numel() for value in network.parameters()),
            }
            weights = output_dir / "models" / "localizer.safetensors"
            model.save(network, weights, weights.with_suffix(".json"), record)
            artifacts.write_bytes(output_dir / "plots" / "training.csv", _csv(module.history).encode("utf-8"))
            artifacts.write_json(output_dir / "metrics" / "train.json", metrics)

            onnx_path = output_dir / "models" / "localizer.onnx" if exporter else None
            if exporter and onnx_path:
                exporter(network, onnx_path, record)
            run_id = (
                tracker(record["params"], [asdict(row) for row in module.history], metrics)
                if tracker
                else None
            )
            kept = checkpoints.keep(work, output_dir / "checkpoints") if keep_checkpoints else None
            checkpoints.clear(work)
            shutil.rmtree(work, ignore_errors=True)
        return TrainingResult(weights, onnx_path, run_id, metrics, kept)

    def _inputs(self, config: DatasetConfig, index: pd.DataFrame, device: str) -> dict[str, Any]:
        """All that decides the bytes. `record` in it stands in every file that is made of the model."""
        chosen = asdict(self.parameters)
        # The number of loader workers changes no bit; what other stages read is not this stage's.
        for name in ("num_workers", "snapshot", "features", "split", "evaluate", "export", "verify"):
            del chosen[name]
        network = dataset.read_network(config)
        record = {
            "data": provenance.provenance(index["simulated"]),
            "data_fingerprint": network.data_fingerprint,
            "params": chosen | {"features": network.features, "split": network.split},
            "validation_split": self.parameters.validation_split,
            "modules": artifacts.module_hashes(MODULES),
        }
        if self.parameters.model.pretrained:
            record["pretrained_sha256"] = model.pretrained_sha256(self.parameters.backbone)
        return {
            "record": record,
            "index": artifacts.sha256_file(config.index_file),  # it names its shards by their content
            "network": artifacts.sha256_file(config.network_file),
            "versions": determinism.installed_versions(),
            "device": torch.cuda.get_device_name() if device == "cuda" else device,
            "environment": {
                setting.name: os.environ.get(setting.name)
                for setting in determinism.settings(self.parameters.threads)
            },
        }

    def _network(self, training: HeimdallDataset) -> LocalizationNet:
        """A new network, with frame, scale and normalisation of the training recordings."""
        frame = dataset.read_network(training.config).frame
        east_m, north_m = frame.to_local(training.index["latitude_deg"], training.index["longitude_deg"])
        mean_square = math.fsum((east_m**2 + north_m**2).tolist()) / (2 * len(training))
        mean, std = features.feature_statistics(training.features(k) for k in range(len(training)))
        chosen = self.parameters.model
        return LocalizationNet(
            chosen.pretrained,
            chosen.freeze_backbone,
            chosen.uncertainty_min_m,
            chosen.uncertainty_max_m,
            self.parameters.backbone,
            dropout_rate=self.parameters.dropout_rate,
            frame=frame,
            scale_m=max(math.sqrt(mean_square), chosen.uncertainty_min_m),
            feature_mean=mean.tolist(),
            feature_std=std.tolist(),
        )

    def _resumed(self, state: Mapping[str, Any]) -> LocalizationNet:
        """The network of a checkpoint, with its own frame, scale and normalisation."""
        return model.from_config(state[OURS]["network"] | {"dropout_rate": self.parameters.dropout_rate})

    def _fit(
        self,
        module: LocalizationLightningModule,
        training: HeimdallDataset,
        validation: HeimdallDataset,
        *,
        device: str,
        work: Path,
        state: Mapping[str, Any] | None,
    ) -> None:
        """Train until the last epoch or until validation no longer improves, from `state` if there is one."""
        chosen = self.parameters
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
                return
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
        }
        # A generator of their own: the loaders draw their workers' seeds, and dropout must not notice.
        loaders = (
            DataLoader(
                AugmentedItems(training, chosen.seed),
                sampler=EpochSampler(len(training), chosen.seed, done),
                generator=torch.Generator().manual_seed(chosen.seed),
                **loading,
            ),
            DataLoader(validation, generator=torch.Generator().manual_seed(chosen.seed), **loading),
        )
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


def choose_device(parameters: Params) -> str:
    """The accelerator to train on, checked before any work.

    Args:
        parameters: accelerator, devices and precision are used.

    Returns:
        "cpu" or "cuda".

    Raises:
        HeimdallError: There is no such device, or the precision does not run on it.
    """
    available = torch.cuda.is_available()
    if parameters.accelerator == "cuda" and not available:
        raise HeimdallError(
            "accelerator=cuda", "torch sees no CUDA device here", "Use accelerator=cpu or auto"
        )
    if parameters.devices != 1:
        raise HeimdallError(
            f"devices={parameters.devices}",
            "training runs on one device, whose sums have one order",
            "Use devices=1",
        )
    device = "cuda" if available and parameters.accelerator != "cpu" else "cpu"
    if parameters.precision == "16-mixed" and device == "cpu":
        raise HeimdallError("precision=16-mixed", "it needs a CUDA device", "Use 32-true or bf16-mixed")
    return device


def best_epoch(history: Sequence[Epoch], first_candidate: int) -> Epoch:
    """The epoch with the lowest validation loss, the first of equals.

    Args:
        history: All epochs.
        first_candidate: Index of the first one whose weights are still there.
    """
    return min(history[first_candidate:], key=lambda row: row.val_loss)


def load_network(path: Path) -> tuple[LocalizationNet, dict[str, Any]]:
    """The network in a released weights file or in a Lightning checkpoint.

    Args:
        path: A .safetensors file with its .json beside it, or a .ckpt file.

    Returns:
        The network in evaluation mode, and the record of its making.

    Raises:
        HeimdallError: A file is missing, damaged, or of something else.
    """
    if path.suffix == ".safetensors":
        return model.load(path, path.with_suffix(".json"))
    state = checkpoints.read(path)
    network = model.from_config(state[OURS]["network"])
    network.load_state_dict(checkpoints.weights(state))
    return network.eval(), state[OURS]["inputs"]["record"]


def _inputs_when_resumed(inputs: dict[str, Any], path: Path) -> dict[str, Any]:
    """The inputs of a training that goes on from a checkpoint which the user named; a line says how.

    Of this very training: the checkpoint's own, which may tell what that training had started from. Of
    another one: those given now, and the checkpoint's hash.
    """
    theirs: dict[str, Any] = checkpoints.read(path)[OURS]["inputs"]
    record = {name: value for name, value in theirs["record"].items() if name != RESUMED_FROM}
    if checkpoints.same(theirs | {"record": record}, inputs):
        print(f"{path}: of this very training, which goes on as if undisturbed", file=sys.stderr)
        return theirs
    given, former = inputs["record"]["params"], record["params"]
    changed = [name for name in given if given[name] != former.get(name)] or ["data, code or machine"]
    why = f"of another training (other {', '.join(changed)})"
    print(f"{path}: {why}; a new one starts from it and records its hash", file=sys.stderr)
    return inputs | {"record": inputs["record"] | {RESUMED_FROM: artifacts.sha256_file(path)}}


def _start_from(path: Path, work: Path, inputs: Mapping[str, Any], given: Params) -> dict[str, Any]:
    """Make the checkpoint that the user named the last one in the work folder.

    From one of another training the optimizer's state goes on; learning rate, weight decay and patience are
    those given now.
    """
    state = checkpoints.read(path)
    if checkpoints.same(state[OURS]["inputs"], inputs):
        checkpoints.bring(state, path, work)
        return state
    ours, done = state[OURS], checkpoints.epochs_done(state)
    if ours["network"]["backbone_size"] != given.backbone:
        cause = f"its backbone is {ours['network']['backbone_size']}, not {given.backbone}"
        raise HeimdallError(str(path), cause, "Set backbone to the checkpoint's")
    if done >= given.epochs:
        cause = f"it has {done} epochs already"
        raise HeimdallError(str(path), cause, f"Ask for more: --epochs {done + 1}")
    ours |= {"first_candidate": done - 1, "best_epoch": done, "inputs": dict(inputs)}
    state["callbacks"] = {}
    for scheduler in state["lr_schedulers"]:
        scheduler["base_lrs"] = [given.lr] * len(scheduler["base_lrs"])
    for group in state["optimizer_states"][0]["param_groups"]:
        group["initial_lr"], group["lr"] = given.lr, given.lr * _rate_factor(given, done)
        group["weight_decay"] = given.weight_decay if group["weight_decay"] else 0.0
    for name in (checkpoints.file_of(done), LAST):
        AtomicCheckpointIO().save_checkpoint(state, work / name)
    return state


def _rate_factor(parameters: Params, epoch: int) -> float:
    """`learning_rate_factor` with the schedule of the parameters."""
    return learning_rate_factor(
        epoch,
        epochs=parameters.epochs,
        warmup_epochs=parameters.warmup_epochs,
        schedule=parameters.lr_scheduler,
    )


def _mean(sums: Sequence[tuple[float, int]]) -> float:
    """Mean over recordings of (mean of a batch, recordings in it), exactly summed."""
    return math.fsum(value * count for value, count in sums) / sum(count for _, count in sums)


def _csv(history: Sequence[Epoch]) -> str:
    """plots/training.csv, numbers in full precision."""
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
