"""`heimdall train`: the stage train by hand, from any folder of a clone."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

import click

from heimdall.commands import place
from heimdall.core import child
from heimdall.core.child import Service


@click.command(
    context_settings={"ignore_unknown_options": True},
    options_metavar="[OPTION OF stages/train.py]...",
    epilog="""\b
Example: heimdall train --workers 2
Example: heimdall train --workers 4 --epochs 50 --output_dir runs/long
""",
)
@click.argument("given", nargs=-1, type=click.UNPROCESSED, metavar="")
def train(given: Sequence[str]) -> None:
    """Train a model on data/features/, as `python stages/train.py` does.

    The command takes the options of that script; `python stages/train.py --help` lists them. --workers N
    trains with N processes on this machine. N is at most virtual_shards of params.yaml. The bytes are the
    same for any N. HEIMDALL_TRAIN_WORKERS sets N for `dvc repro`, for both stages that train.
    """
    script = str(Path.cwd() / "stages" / "train.py")
    os.chdir(place.as_typed("."))  # where paths among the options are meant
    environment = child.environment(Service.S3, Service.LIBPQ, Service.MLFLOW)  # as the stage by itself
    os.execve(sys.executable, [sys.executable, script, *given], environment)  # noqa: S606
