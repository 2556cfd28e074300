"""Stage train: data/features/ -> models/localizer.safetensors, plots/training.csv, metrics/train.json.

It starts from models/pretrained.safetensors if the model is fusion and model.from_simulated is true. Without
an option it does what `dvc repro train` does. Options override params.yaml for this run only;
then outputs, checkpoints and an ONNX file go to a folder of their own in .heimdall/runs/, which the
last line names, and nothing that is committed is overwritten. --output_dir chooses another folder.

Killed and typed again, it goes on after the last epoch and ends with the same bytes. --resume_training does
so from a checkpoint that lies anywhere, its siblings beside it, if data, parameters and code are its own;
else a new training starts from it, which records its hash. A line says which of the two it is.

Examples:
    python stages/train.py
    python stages/train.py --epochs 5 --batch_size 8 --accelerator cpu
    python stages/train.py --epochs 5 --resume_training --checkpoint .heimdall/work/train/.../last.ckpt
    python stages/train.py --export_only --checkpoint models/localizer.safetensors
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from heimdall.core import determinism

if __name__ == "__main__":
    determinism.ensure()

from heimdall.core import artifacts, params, stage
from heimdall.network import dataset, model_file
from heimdall.pipeline.train import training_pipeline

SCRATCH = Path(".heimdall")
# The specification's options and the parameters they override.
OVERRIDES: dict[str, tuple[str, Callable[[str], object]]] = {
    "learning_rate": ("lr", float),
    "batch_size": ("batch_size", int),
    "epochs": ("epochs", int),
    "accelerator": ("accelerator", str),
    "devices": ("devices", int),
}


def arguments() -> argparse.Namespace:
    """What the user typed."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for option, (name, kind) in OVERRIDES.items():
        parser.add_argument(f"--{option}", type=kind, help=f"instead of {name} in params.yaml")
    parser.add_argument("--data_dir", type=Path, help="the featurize stage's output")
    parser.add_argument("--output_dir", type=Path, help="where models/, plots/ and metrics/ go")
    parser.add_argument("--checkpoint", type=Path, help=".ckpt, or .safetensors with its .json beside it")
    task = parser.add_mutually_exclusive_group()
    task.add_argument("--resume_training", action="store_true", help="go on from --checkpoint, a .ckpt file")
    task.add_argument("--export_only", action="store_true", help="write --checkpoint as ONNX, train nothing")
    typed = parser.parse_args()
    if (typed.resume_training or typed.export_only) != (typed.checkpoint is not None):
        parser.error("--checkpoint goes with --resume_training or --export_only")
    return typed


def main() -> None:
    """Read the parameters, train or export, say where the outputs are."""
    typed = arguments()
    overrides = {name: getattr(typed, option) for option, (name, _) in OVERRIDES.items()}
    overrides = {name: value for name, value in overrides.items() if value is not None}
    settings = params.check(asdict(params.load()) | overrides, "command line")
    data_dir = typed.data_dir or dataset.DatasetConfig().data_dir

    def write_onnx(network: model_file.Network, path: Path, record: dict[str, Any]) -> None:
        from heimdall.pipeline.export import export

        export.export_onnx(network, path, record, settings.export.opset, dataset.DatasetConfig(data_dir))

    if typed.export_only:
        network, record = training_pipeline.load_network(typed.checkpoint)
        folder = typed.output_dir or SCRATCH / "runs" / artifacts.sha256_file(typed.checkpoint)[:12]
        write_onnx(network, folder / "models" / "localizer.onnx", record)
        print(f"train: {folder / 'models' / 'localizer.onnx'}")
        return

    by_hand = bool(overrides or typed.data_dir or typed.output_dir or typed.resume_training)
    what = [overrides, str(data_dir), str(typed.checkpoint)]
    folder = typed.output_dir or (SCRATCH / "runs" / artifacts.fingerprint(what)[:12] if by_hand else Path())
    from heimdall.track import tracking

    pipeline = training_pipeline.TrainingPipeline(settings, data_dir, SCRATCH / "work" / "train")
    result = pipeline.run(
        folder,
        resume_from=typed.checkpoint,
        keep_checkpoints=by_hand,
        tracker=tracking.track,
        exporter=write_onnx if by_hand else None,
    )
    best = result.final_metrics
    figures = f"validation MAE {best['val_mae_m'] / 1000:.2f} km ({best['data']} data)"
    print(f"train: {result.checkpoint_path}: epoch {best['best_epoch']} of {best['epochs']}, {figures}")


if __name__ == "__main__":
    stage.run(main)
