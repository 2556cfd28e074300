"""The specification's TrainingPipeline: a training with its ONNX file and its run in MLflow, in one call."""

from __future__ import annotations

import contextlib
import sys
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import torch

from heimdall.api.settings import Settings
from heimdall.core import artifacts, determinism, params, paths
from heimdall.core.params import Params
from heimdall.network.dataset import DatasetConfig
from heimdall.network.model_file import Network
from heimdall.pipeline.export import export
from heimdall.pipeline.train import training
from heimdall.pipeline.train.ranks import ONE, Ranks
from heimdall.track import tracking

RUNS = Path(".heimdall/runs")


class TrainingOutcome(TypedDict):
    """What a training leaves.

    `checkpoint_path`: the weights of the epoch with the lowest validation loss, safetensors; of an export the
    checkpoint that was given. `onnx_path`: the exported network. `mlflow_run_id`: the run that records the
    training, None where there is none. `final_metrics`: as in metrics/train.json; empty of an export.
    `checkpoint_dir`: Lightning's checkpoints of the last and of the best epochs; None of an export.
    """

    checkpoint_path: Path
    onnx_path: Path
    mlflow_run_id: str | None
    final_metrics: dict[str, Any]
    checkpoint_dir: Path | None


@dataclass(frozen=True)
class TrainingPipeline:
    """Trains a localizer by hand, beside what `dvc repro` makes, and writes it as ONNX.

    Outputs go to a folder of their own, and nothing that is committed is overwritten.

    Attributes:
        epochs: At most; early stopping may end the training before.
        batch_size: Items of one step of the optimizer.
        learning_rate: The highest, after the warm-up.
        validation_split: Share of the development data that validate.
        accelerator: "cpu"; "gpu", or the CPU where there is none, which a line on stderr says; "cuda", a GPU
            or an error; "auto".
        devices: 1: a call trains on one device, unless it is the first of as many ranks.
        parameters: All other parameters; None for the clone's params.yaml.
        root: The repository, in whose .heimdall/ checkpoints and outputs go.
        ranks: The processes that train together; this is the first of them.
    """

    epochs: int = 100
    batch_size: int = 32
    learning_rate: float = 1e-3
    validation_split: float = 0.2
    accelerator: str = "gpu"
    devices: int = 1
    parameters: Params | None = field(default=None, kw_only=True, repr=False)
    root: Path = field(default=paths.CLONE, kw_only=True)
    ranks: Ranks = field(default=ONE, kw_only=True, repr=False)

    @classmethod
    def of(cls, parameters: Params, root: Path, ranks: Ranks = ONE) -> TrainingPipeline:
        """The pipeline whose parameters are all given."""
        return cls(
            epochs=parameters.epochs,
            batch_size=parameters.batch_size,
            learning_rate=parameters.lr,
            validation_split=parameters.validation_split,
            accelerator=parameters.accelerator,
            devices=parameters.devices,
            parameters=parameters,
            root=root,
            ranks=ranks,
        )

    def run(
        self,
        data_dir: Path | str | None = None,
        export_only: bool = False,
        *,
        checkpoint: Path | str | None = None,
        resume_training: bool = False,
        output_dir: Path | str | None = None,
    ) -> TrainingOutcome:
        """Train and export; or export a checkpoint alone.

        Args:
            data_dir: The featurize stage's output; None for data/features/ of the clone. A folder without
                features gets a snapshot of the configured database and bucket, and its features.
            export_only: Write `checkpoint` as ONNX, train nothing.
            checkpoint: A .ckpt file that a training kept, or a .safetensors file with its .json beside it. Of
                an export None is models/localizer.safetensors of the clone.
            resume_training: Go on from `checkpoint`, a .ckpt file; see `Training.run`.
            output_dir: Where models/, plots/, metrics/ and checkpoints/ go; None for a folder below
                .heimdall/runs/ of the clone that is named by the inputs.

        Returns:
            Where things are, and the final metrics.

        Raises:
            HeimdallError: A parameter is out of range, the device is not there, data or checkpoint are
                missing or damaged, or the training fails.
            ValueError: `resume_training` has no checkpoint or comes with `export_only`, or a checkpoint comes
                with neither.
        """
        if resume_training and (export_only or checkpoint is None):
            raise ValueError("resume_training needs a checkpoint, and goes without export_only")
        if checkpoint is not None and not (resume_training or export_only):
            raise ValueError("a checkpoint goes with resume_training or export_only")
        chosen = self._chosen()
        if data_dir is None:
            config = DatasetConfig((self.root / paths.FEATURES).absolute())
            artifacts.require(config.network_file)
        else:
            config = Settings(Path(data_dir).absolute()).features()
        given = None if checkpoint is None else Path(checkpoint).absolute()
        output = None if output_dir is None else Path(output_dir).absolute()
        # Weights to start from, the revision and the tracker's store are found from the repository's root.
        with contextlib.chdir(self.root):
            if export_only:
                return self._exported(chosen, config, given or paths.WEIGHTS.absolute(), output)
            return self._trained(chosen, config, given, output)

    def _trained(
        self, chosen: Params, config: DatasetConfig, checkpoint: Path | None, output_dir: Path | None
    ) -> TrainingOutcome:
        """A training, from a checkpoint if one is given."""
        if checkpoint is not None:
            artifacts.require(checkpoint, remedy="Name a checkpoint that a training kept")
        inputs = [config.index_file, config.network_file, *filter(None, [checkpoint])]
        named = artifacts.fingerprint([repr(chosen), *map(artifacts.sha256_file, inputs)])[:12]
        folder = output_dir or (RUNS / named).absolute()

        def write_onnx(network: Network, path: Path, record: dict[str, Any]) -> None:
            export.export_onnx(network, path, record, chosen.export.opset, config)

        trained = training.Training(chosen, config.data_dir, training.WORK, alone=True, ranks=self.ranks)
        result = trained.run(
            folder,
            resume_from=checkpoint,
            keep_checkpoints=True,
            tracker=tracking.track,
            exporter=write_onnx,
        )
        return TrainingOutcome(
            checkpoint_path=result.checkpoint_path,
            onnx_path=result.checkpoint_path.with_suffix(paths.ONNX.suffix),
            mlflow_run_id=result.mlflow_run_id,
            final_metrics=result.final_metrics,
            checkpoint_dir=result.checkpoint_dir,
        )

    def _chosen(self) -> Params:
        """All parameters, checked, on a device that is there."""
        others = self.parameters or params.load(paths.CLONE / determinism.PARAMS_FILE)
        accelerator = self.accelerator
        if accelerator == "gpu" and not torch.cuda.is_available():
            print(
                "accelerator='gpu': torch sees no CUDA device here; training runs on the CPU", file=sys.stderr
            )
            accelerator = "cpu"
        ours = {
            "epochs": self.epochs,
            "batch_size": self.batch_size,
            "lr": self.learning_rate,
            "validation_split": self.validation_split,
            "accelerator": accelerator,
            "devices": self.devices,
        }
        return params.check(asdict(others) | ours, "TrainingPipeline")

    def _exported(
        self, chosen: Params, config: DatasetConfig, checkpoint: Path, output_dir: Path | None
    ) -> TrainingOutcome:
        """The network of a checkpoint as ONNX."""
        artifacts.require(checkpoint, remedy="Name a checkpoint that a training kept")
        network, record = training.load_network(checkpoint)
        folder = output_dir or (RUNS / artifacts.sha256_file(checkpoint)[:12]).absolute()
        file = folder / paths.ONNX
        export.export_onnx(network, file, record, chosen.export.opset, config)
        return TrainingOutcome(
            checkpoint_path=checkpoint,
            onnx_path=file,
            mlflow_run_id=None,
            final_metrics={},
            checkpoint_dir=None,
        )
