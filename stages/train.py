"""Stage train: data/features/ -> models/localizer.safetensors, plots/training.csv, metrics/train.json.

It starts from models/pretrained.safetensors if the model is fusion and model.from_simulated is true. Without
an option it does what `dvc repro train` does. Options override params.yaml for this run only;
then outputs, checkpoints and an ONNX file go to a folder of their own in .heimdall/runs/, which the last
lines name, and nothing that is committed is overwritten. --output_dir chooses another folder.

Killed and typed again, it goes on after the last epoch and ends with the same bytes. --resume_training does
so from a checkpoint that lies anywhere, its siblings beside it, if data, parameters and code are its own;
else a new training starts from it, which records its hash. A line says which of the two it is. In Python:
`from train import TrainingPipeline`, with this folder or the repository's root on the path.

Examples:
    python stages/train.py --epochs 5 --batch_size 8 --accelerator cpu
    python stages/train.py --epochs 5 --resume_training --checkpoint .heimdall/work/train/.../last.ckpt
    python stages/train.py --export_only --checkpoint models/localizer.safetensors
"""

from __future__ import annotations

import argparse
from dataclasses import asdict
from pathlib import Path
from typing import Any

import heimdall
from heimdall.core import artifacts, params, paths, stage

# The specification's options and the parameters they override.
OVERRIDES: dict[str, tuple[str, type]] = {
    "learning_rate": ("lr", float),
    "batch_size": ("batch_size", int),
    "epochs": ("epochs", int),
    "accelerator": ("accelerator", str),
    "devices": ("devices", int),
    "num_workers": ("num_workers", int),
}
PATHS = {
    "data_dir": "the featurize stage's output, or a folder to make it in",
    "output_dir": "where models/, plots/ and metrics/ go",
    "checkpoint": ".ckpt, or .safetensors with its .json beside it",
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
        parser.add_argument(f"--{option}", type=kind, help=f"instead of {name} in params.yaml")
    for option, meaning in PATHS.items():
        parser.add_argument(f"--{option}", type=stage.typed_path, help=meaning)
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--resume_training", action="store_true", help="go on from --checkpoint, a .ckpt file")
    task.add_argument("--export_only", action="store_true", help="write --checkpoint as ONNX, train nothing")
    typed = parser.parse_args()
    if (typed.resume_training or typed.export_only) != bool(typed.checkpoint):
        parser.error("--checkpoint goes with --resume_training or --export_only")
    return typed


def main() -> None:
    """Read the parameters, train or export, say where the outputs are."""
    typed = arguments()
    given = {name: getattr(typed, option) for option, (name, _) in OVERRIDES.items()}
    overrides = {name: value for name, value in given.items() if value is not None}
    settings = params.check(asdict(params.load()) | overrides, "command line")
    artifacts.require(*filter(None, [typed.checkpoint]), remedy="Name a checkpoint that a training kept")
    if typed.data_dir is None:
        artifacts.require(paths.FEATURES / paths.NETWORK)
    from heimdall.pipeline.train import training

    if overrides or typed.data_dir or typed.output_dir or typed.checkpoint:
        from heimdall.api.training_pipeline import TrainingPipeline

        made = TrainingPipeline.of(settings, Path()).run(
            typed.data_dir,
            typed.export_only,
            checkpoint=typed.checkpoint,
            resume_training=typed.resume_training,
            output_dir=typed.output_dir,
        )
        if made["final_metrics"]:
            print(f"train: {training.sentence(made['checkpoint_path'], made['final_metrics'])}")
        print(f"train: {made['onnx_path']}")
        return
    from heimdall.track import tracking

    result = training.Training(settings, paths.FEATURES, training.WORK).run(Path(), tracker=tracking.track)
    print(f"train: {result.sentence}")


if __name__ == "__main__":
    stage.run(main)
