"""Options that several commands have."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.network.dataset import DatasetConfig

data_dir = click.option(
    "--data-dir",
    type=click.Path(path_type=Path),
    default=DatasetConfig().data_dir,
    show_default=True,
    help="The features.",
)
