"""Training: data/features/ -> models/localizer.safetensors, the same bytes however often it is interrupted.

Checkpoints lie in `<work_dir>/<fingerprint of all inputs>/` and are removed when the outputs are written.
Of one that the user names the content decides, wherever it lies: one of the same inputs is gone on from as
if nothing had happened; from one of others a new training starts, and its record says so.

Pretraining is the same on data/simulated/, from random weights.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning.pytorch import seed_everything

from heimdall.core import artifacts, determinism, locks, paths, provenance, rooms
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.network import dataset, model_file
from heimdall.network.dataset import DatasetConfig
from heimdall.network.model_file import Network
from heimdall.pipeline.train import (
    checkpoints,
    exchange,
    fit_loop,
    history,
    ranks,
    resumption,
    session_task,
)
from heimdall.pipeline.train.checkpoints import OURS
from heimdall.pipeline.train.fit_loop import Fitted
from heimdall.pipeline.train.ranks import ONE, Ranks
from heimdall.pipeline.train.recording_task import RecordingTask
from heimdall.pipeline.train.session_task import SessionTask
from heimdall.pipeline.train.task import LearningTask, Scratch, Weights

Tracker = Callable[[Mapping[str, Any], Sequence[Mapping[str, float]], Mapping[str, Any], int], str | None]
Exporter = Callable[[Network, Path, dict[str, Any]], None]

TASKS: dict[str, Callable[[Params, DatasetConfig], LearningTask]] = {
    "single": RecordingTask,
    "fusion": SessionTask,
}
WORK = Path(".heimdall/work/train")  # of the stage and of trainings by hand
# What decides nothing in fusion: the names of parameters, and those in `model`.
OF_SINGLE = ("backbone", "augment")
MODEL_OF_SINGLE = ("pretrained", "freeze_backbone", "uncertainty_min_m", "uncertainty_max_m")


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

    @property
    def sentence(self) -> str:
        """The weights and how good they are, for a person."""
        return sentence(self.checkpoint_path, self.final_metrics)


def sentence(weights: Path, metrics: Mapping[str, Any]) -> str:
    """The weights and how good they are, for a person."""
    return (
        f"{weights}: epoch {metrics['best_epoch']} of {metrics['epochs']}, "
        f"validation MAE {metrics['val_mae_m'] / 1000:.2f} km ({metrics['data']} data)"
    )


@dataclass(frozen=True)
class Outputs:
    """Where a training writes, relative to its output folder.

    Attributes:
        stage: The stage of dvc.yaml that makes them; its rooms are the code that the record names.
        weights: The weights; the configuration lies beside them.
        curve: A row an epoch.
        metrics: The final metrics.
    """

    stage: str
    weights: Path
    curve: Path
    metrics: Path


LOCALIZER = Outputs(
    "train", Path("models/localizer.safetensors"), Path("plots/training.csv"), Path("metrics/train.json")
)
PRETRAINED = Outputs(
    "pretrain", session_task.PRETRAINED, Path("plots/pretraining.csv"), Path("metrics/pretrain.json")
)


@dataclass(frozen=True)
class Begun:
    """What the first rank tells the others when a training begins or goes on.

    Attributes:
        inputs: All that decides the bytes.
        state: The checkpoint to go on from; None where the training starts.
        config: The network's configuration.
        weights: Its state.
    """

    inputs: dict[str, Any]
    state: dict[str, Any] | None
    config: dict[str, Any]
    weights: Weights


@dataclass(frozen=True)
class Training:
    """All steps from the seed to the final metrics.

    Attributes:
        parameters: All of params.yaml; training parameters and `model` are used, the rest is recorded.
        data_dir: The featurize stage's output, or the simulate stage's; for ranks but the first also a folder
            in which the first one makes it.
        work_dir: Where checkpoints are kept while it runs.
        outputs: The files that it writes.
        alone: As of `Scratch`.
        ranks: The processes that train together, this one among them. No byte depends on their number.
    """

    parameters: Params
    data_dir: Path
    work_dir: Path
    outputs: Outputs = LOCALIZER
    alone: bool = False
    ranks: Ranks = ONE

    def run(
        self,
        output_dir: Path,
        *,
        resume_from: Path | None = None,
        keep_checkpoints: bool = False,
        tracker: Tracker | None = None,
        exporter: Exporter | None = None,
    ) -> TrainingResult:
        """Train and write `outputs`.

        Nothing is written below `output_dir` before the training is done.

        Args:
            output_dir: Where the outputs go, the repository's root for `dvc repro`.
            resume_from: A Lightning checkpoint to go on from. One of this very training (equal inputs) leaves
                no trace in the outputs. From one of another training a new one starts, with the parameters
                given now, and records the checkpoint's hash. A line on stderr says which of the two it is.
            keep_checkpoints: Move the checkpoints to `output_dir`/checkpoints instead of removing them.
            tracker: Called when all is written, with parameters, epochs (as of `history.timed_rows`), final
                metrics, and the training's start in milliseconds since 1970.
            exporter: Called with the network, the ONNX file's path and the record when all is written.

        Returns:
            Where things are, and the final metrics.

        Raises:
            HeimdallError: The device is not there, the data are missing or damaged, a split is empty, the
                checkpoint does not fit, another process does this training, or the loss is not finite.
        """
        device = self._device()
        if self._is_of_fusion and self.outputs is LOCALIZER:
            unused = ", ".join((*OF_SINGLE, *(f"model.{name}" for name in MODEL_OF_SINGLE)))
            print(f"train: model.name is fusion, which does not use {unused}", file=sys.stderr, flush=True)
        with exchange.joined(self.ranks, device):
            task, inputs = self._task(device)
            if resume_from is not None:
                inputs = resumption.inputs_when_resumed(inputs, resume_from)
            work = self.work_dir / artifacts.fingerprint(inputs)
            with locks.alone(work):
                if resume_from is not None and checkpoints.resumable(work, inputs) is None:
                    resumption.start_from(resume_from, work, inputs, self.parameters)
                fitted = self._fit(task, inputs, device, work)
                assert fitted is not None  # noqa: S101 - of the first rank
                with exchange.in_its_time(self.ranks):
                    weights, metrics = self._write(output_dir, task, fitted, inputs["record"])
                    onnx_path = weights.with_suffix(".onnx") if exporter else None
                    if exporter and onnx_path:
                        exporter(task.network, onnx_path, inputs["record"])
                    run_id = None
                    if tracker:
                        rows = history.timed_rows(fitted.history, fitted.timeline)
                        run_id = tracker(
                            inputs["record"]["params"], rows, metrics, fitted.timeline.started_ms
                        )
                    kept = checkpoints.keep(work, output_dir / "checkpoints") if keep_checkpoints else None
                checkpoints.clear(work)  # when nobody was lost: then all is done again from the last epoch
                shutil.rmtree(work, ignore_errors=True)
        return TrainingResult(weights, onnx_path, run_id, metrics, kept)

    def follow(self) -> None:
        """Compute this rank's share of a training that the first rank runs; no output is written.

        The network and the checkpoint to go on from, if any, come from the first rank. On the first rank's
        machine the others find what it has computed of the items.

        Raises:
            HeimdallError: As of `run`, or another rank was lost.
        """
        device = self._device()
        with exchange.joined(self.ranks, device):
            task, _ = self._task(device)
            with exchange.in_its_time(self.ranks):
                pass  # the first makes the network
            begun: Begun = exchange.of_the_first(self.ranks, None)
            work = self.work_dir / artifacts.fingerprint(begun.inputs)
            with exchange.in_its_time(self.ranks):
                task.resume(begun.config, begun.weights, Scratch(work, self.alone))
            fit_loop.fit(
                task,
                self.parameters,
                begun.inputs,
                device=device,
                work=work,
                state=begun.state,
                ranks=self.ranks,
            )
            with exchange.in_its_time(self.ranks):
                pass  # the first writes the outputs, and may read what lies in the folder
            if self.ranks.local == 0:  # on another machine nobody else does
                shutil.rmtree(work, ignore_errors=True)

    def _device(self) -> str:
        """The device, when everything that decides the bits of this process is set."""
        determinism.warn(self.parameters.threads)
        ranks.refuse_idle(self.ranks.count, self.parameters.virtual_shards)
        device = choose_device(self.parameters, self.ranks)
        torch.set_num_threads(self.parameters.threads)
        # By default a GPU rounds what it convolves to the 10 bits of TF32, and 32-true means float32.
        torch.backends.cudnn.allow_tf32 = False
        return device

    def _task(self, device: str) -> tuple[LearningTask, dict[str, Any]]:
        """The task and all that decides the bytes, which is the same for all ranks."""
        made = self.data_dir if (self.data_dir / paths.NETWORK).is_file() else self.data_dir / paths.FEATURES
        config = DatasetConfig(self.data_dir if self.ranks.is_first else made)
        task = TASKS[self.parameters.model.name](self.parameters, config)
        inputs = self._inputs(config, task, device)
        exchange.require_same(self.ranks, inputs["record"] | {**inputs, "record": None})
        return task, inputs

    def _write(
        self, output_dir: Path, task: LearningTask, fitted: Fitted, record: dict[str, Any]
    ) -> tuple[Path, dict[str, Any]]:
        """Write the outputs. The weights' file, and the content of the metrics'."""
        best, network = fitted.best, task.network
        metrics = {
            "data": record["data"],
            "best_epoch": best.epoch,
            "epochs": len(fitted.history),
            "train_loss": best.train_loss,
            "val_loss": best.val_loss,
            "val_median_m": best.val_median_m,
            "val_mae_m": best.val_mae_m,
            **task.finish(),
            "parameters": sum(value.numel() for value in network.parameters()),
        }
        weights = output_dir / self.outputs.weights
        model_file.save(network, weights, weights.with_suffix(".json"), record)
        curve = history.csv(fitted.history).encode("utf-8")
        artifacts.write_bytes(output_dir / self.outputs.curve, curve)
        artifacts.write_json(output_dir / self.outputs.metrics, metrics)
        return weights, metrics

    @property
    def _is_of_fusion(self) -> bool:
        return self.parameters.model.name == "fusion"

    def _fit(self, task: LearningTask, inputs: dict[str, Any], device: str, work: Path) -> Fitted | None:
        """Train from the last checkpoint in `work`, or else from the start."""
        scratch = Scratch(work, self.alone)
        with exchange.in_its_time(self.ranks):
            state = checkpoints.resumable(work, inputs)
            if state is not None:
                task.resume(state[OURS]["network"], checkpoints.weights(state), scratch)
            else:
                checkpoints.clear(work)
                seed_everything(self.parameters.seed, workers=True, verbose=False)
                task.start(scratch)
        begun = Begun(inputs, state, task.network.config, task.network.state_dict())
        exchange.of_the_first(self.ranks, begun)
        with exchange.in_its_time(self.ranks):
            pass  # the others make theirs
        return fit_loop.fit(
            task, self.parameters, inputs, device=device, work=work, state=state, ranks=self.ranks
        )

    def _inputs(self, config: DatasetConfig, task: LearningTask, device: str) -> dict[str, Any]:
        """All that decides the bytes. `record` in it stands in every file that is made of the model."""
        chosen = asdict(self.parameters)
        # The number of loader workers changes no bit; what other stages read is not this stage's.
        for name in (
            "num_workers",
            "snapshot",
            "features",
            "split",
            "pretrain",
            "evaluate",
            "export",
            "verify",
        ):
            del chosen[name]
        if self._is_of_fusion:
            for name in OF_SINGLE:
                del chosen[name]
            for name in MODEL_OF_SINGLE:
                del chosen["model"][name]
        network = dataset.read_network(config)
        record = {
            "data": provenance.provenance(task.index["simulated"]),
            "data_fingerprint": network.data_fingerprint,
            "params": chosen
            | {
                "features": network.features,
                "split": network.split,
                "calibration": network.calibration,
            },
            "validation_split": self.parameters.validation_split,
            "modules": rooms.hashes(*rooms.of_stage(self.outputs.stage)),
            **task.origin(),
        }
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


def pretraining(parameters: Params, data_dir: Path, work_dir: Path, ranks: Ranks = ONE) -> Training:
    """The training on simulated sessions that fusion starts from.

    Args:
        parameters: All of params.yaml; those of `pretrain` take the places of the training parameters.
        data_dir: The simulate stage's output.
        work_dir: Where checkpoints are kept while it runs.
        ranks: As of `Training`.

    Returns:
        The pipeline; it writes models/pretrained.{safetensors,json}, plots/pretraining.csv and
        metrics/pretrain.json.
    """
    given = parameters.pretrain
    settings = replace(
        parameters,
        lr=given.lr,
        batch_size=given.batch_size,
        epochs=given.epochs,
        weight_decay=given.weight_decay,
        dropout_rate=given.dropout_rate,
        early_stop_patience=given.early_stop_patience,
        warmup_epochs=given.warmup_epochs,
        validation_split=given.validation_split,
        model=replace(parameters.model, name="fusion", from_simulated=False),
    )
    return Training(settings, data_dir, work_dir, PRETRAINED, ranks=ranks)


def choose_device(parameters: Params, ranks: Ranks = ONE) -> str:
    """The accelerator to train on, checked before any work.

    Args:
        parameters: accelerator, devices and precision are used.
        ranks: Those that train together, each on a device of its own.

    Returns:
        "cpu" or "cuda".

    Raises:
        HeimdallError: There is no such device, or the precision does not run on it.
    """
    available = torch.cuda.is_available()
    if parameters.accelerator == "cuda" and not available:
        raise HeimdallError(
            "accelerator=gpu",
            "torch sees no CUDA device here",
            "Set accelerator to auto, which takes what is there, or to cpu (`--accelerator auto`)",
        )
    device = "cuda" if available and parameters.accelerator != "cpu" else "cpu"
    if parameters.devices != 1 and (device == "cpu" or parameters.devices != ranks.count):
        cause = (
            "a CPU is one device; workers are no parameter"
            if device == "cpu"
            else "there is a worker for each GPU, which only stages/train.py and `heimdall train` start"
        )
        remedy = "Set devices to 1 (`--devices 1`), and use `--workers N` for N workers"
        raise HeimdallError(f"devices={parameters.devices}", cause, remedy)
    if parameters.precision == "16-mixed" and device == "cpu":
        raise HeimdallError(
            "precision=16-mixed",
            "it needs a CUDA device",
            "Set precision to 32-true or bf16-mixed in params.yaml",
        )
    return device


def load_network(path: Path) -> tuple[Network, dict[str, Any]]:
    """The network in a released weights file or in a Lightning checkpoint.

    Args:
        path: A .safetensors file with its .json beside it, or a .ckpt file.

    Returns:
        The network in evaluation mode, and the record of its making.

    Raises:
        HeimdallError: A file is missing, damaged, or of something else.
    """
    if path.suffix == ".safetensors":
        return model_file.load(path, path.with_suffix(".json"))
    state = checkpoints.read(path)
    described = state[OURS]["network"]
    network = model_file.from_config(described)
    network.load_state_dict(checkpoints.weights(state))
    return network.eval(), state[OURS]["inputs"]["record"]
