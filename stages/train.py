"""Train on data/features/, and write models/localizer.safetensors.

Without options this does what `dvc repro train` does. A fusion model starts
from models/pretrained.safetensors if model.from_simulated is true. Options
override params.yaml for this run only. Outputs, checkpoints and an ONNX file
then go to a folder in .heimdall/runs/, which is printed, or to --output_dir.

After a kill, the same command continues after the last epoch and ends with the
same bytes. --resume_training continues from a checkpoint, with the files beside
it, if data, parameters and code are the same. Otherwise a new training starts
from it and records its hash. A line says which of the two happens.

Examples:
  python stages/train.py --epochs 5 --batch_size 8 --workers 2
  python stages/train.py --epochs 5 --resume_training --checkpoint last.ckpt
  python stages/train.py --export_only --checkpoint models/localizer.safetensors
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import heimdall
from heimdall.core import artifacts, child, params, paths, stage
from heimdall.pipeline.train import ranks

# The specification's options and the parameters they override.
OVERRIDES: dict[str, tuple[str, type]] = {
    "learning_rate": ("lr", float),
    "accelerator": ("accelerator", str),
    **{name: (name, int) for name in ("batch_size", "epochs", "devices", "num_workers")},
}
PATHS = {
    "data_dir": "Folder of the features, or for making them.",
    "output_dir": "Folder for models/, plots/ and metrics/.",
    "checkpoint": "A .ckpt file, or .safetensors with its .json.",
}


def __getattr__(name: str) -> Any:  # noqa: ANN401
    """`TrainingPipeline`, which takes seconds to import, for those who ask for it."""
    if name != "TrainingPipeline":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return heimdall.TrainingPipeline


def arguments() -> argparse.Namespace:
    """What the user typed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    for option, (name, kind) in OVERRIDES.items():
        parser.add_argument(f"--{option}", dest=name, type=kind, help=f"Value of {name} for this run.")
    for option, meaning in PATHS.items():
        parser.add_argument(f"--{option}", type=stage.typed_path, help=meaning)
    parser.add_argument("--workers", type=int, help="Processes that train together, to the same bytes.")
    parser.add_argument(*stage.QUIET, action="store_true", help="Print only the result and errors.")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--resume_training", action="store_true", help="Continue from --checkpoint (.ckpt).")
    task.add_argument("--export_only", action="store_true", help="Only write --checkpoint as ONNX.")
    typed = parser.parse_args()
    if (typed.resume_training or typed.export_only) != bool(typed.checkpoint):
        parser.error("--checkpoint goes with --resume_training or --export_only: give both, or neither")
    stage.silence(typed.quiet)
    return typed


def main() -> None:
    """Read the parameters, train or export, say where the outputs are."""
    typed = arguments()
    overrides = {name: value for name, _ in OVERRIDES.values() if (value := getattr(typed, name)) is not None}
    settings = params.check(asdict(params.load()) | overrides, "command line")
    artifacts.require(*filter(None, [typed.checkpoint]), remedy="Name a checkpoint that a training kept")
    part = ranks.ONE if typed.export_only else ranks.here(typed.workers, settings)
    if typed.data_dir is None and part == ranks.ONE:  # other ranks meet first, so that each hears of it
        artifacts.require(paths.FEATURES / paths.NETWORK)
    from heimdall.pipeline.train import training

    trained = training.Training(settings, typed.data_dir or paths.FEATURES, training.WORK, ranks=part)
    if not part.is_first:
        trained.follow()
    elif overrides or typed.data_dir or typed.output_dir or typed.checkpoint:
        from heimdall.api.training_pipeline import TrainingPipeline

        chosen = {name: getattr(typed, name) for name in (*PATHS, "export_only", "resume_training")}
        made = TrainingPipeline.of(settings, Path(), part).run(**chosen)
        if made["final_metrics"]:
            print(f"train: {training.sentence(made['checkpoint_path'], made['final_metrics'])}")
        print(f"train: {made['onnx_path']}")
    else:
        from heimdall.track import tracking

        print(f"train: {trained.run(Path(), tracker=tracking.track).sentence}")


if __name__ == "__main__":
    stage.run(main, child.Service.S3, child.Service.LIBPQ, child.Service.MLFLOW)
