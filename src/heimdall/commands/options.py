"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.core import artifacts, paths

REMEDY = "Run `dvc repro` or `dvc pull`, or name an .onnx file or a git revision that is there"

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=paths.FEATURES,
    show_default=True,
    help="The features.",
)

as_json = click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of text.")


def require_features(folder: Path) -> None:
    """Say before anything slow that there are no features.

    Raises:
        HeimdallError: As the readers of the features say it.
    """
    artifacts.require(folder / paths.NETWORK)


def require_models(*names: str) -> None:
    """Say before anything slow that a model is not there; what is no .onnx file is a git revision.

    Raises:
        HeimdallError: The first that is missing.
    """
    files = (Path(name) for name in names if name.endswith(paths.ONNX.suffix))
    artifacts.require(*files, remedy=REMEDY)
