"""`heimdall train`: the stage train by hand, from any folder of a clone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

import click

from heimdall.commands import output
from heimdall.core import child, stage
from heimdall.core.child import Service


@click.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[OPTION OF stages/train.py]...",
    epilog="""\b
Example: heimdall train --workers 2
Example: heimdall train --workers 4 --epochs 50 --output_dir runs/long
""",
)
@click.option("--workers", type=click.IntRange(min=1), help="Processes that train together on this machine.")
@click.option("--data_dir", type=click.Path(), help="Folder of the features, or for making them.")
@click.option("--output_dir", type=click.Path(), help="Folder for models/, plots/ and metrics/.")
@click.option("--checkpoint", type=click.Path(), help="A .ckpt file, or .safetensors with its .json.")
@click.argument("others", nargs=-1, type=click.UNPROCESSED, metavar="")
def train(others: Sequence[str], **given: object) -> None:
    """Train a model on data/features/, as `python stages/train.py` does.

    The command takes all options of that script; `python stages/train.py --help` lists them. --workers N
    trains with N processes on this machine. N is at most virtual_shards of params.yaml. The bytes are the
    same for any N. HEIMDALL_TRAIN_WORKERS sets N for `dvc repro`, for both stages that train.
    """
    options = [f"--{name}={value}" for name, value in given.items() if value is not None]
    if output.is_quiet(click.get_current_context()):
        options += stage.QUIET[-1:]
    environment = child.environment(Service.S3, Service.LIBPQ, Service.MLFLOW)  # as the stage by itself
    os.execve(sys.executable, [sys.executable, "stages/train.py", *options, *others], environment)  # noqa: S606
