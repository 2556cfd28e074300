"""`heimdall rollback`: the former champion becomes the champion again."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall import endpoints, model_registry, registry
from heimdall import release as releasing


@click.command(epilog="Example: heimdall rollback")
def rollback() -> None:
    """Make the former champion the champion again, in `latest` and MLflow.

    A second rollback goes one further back. One that was interrupted is completed, and no more.
    """
    store = registry.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    entry = registry.rollback(
        store,
        releasing.identity(Path()),
        lambda made: model_registry.ensure(Path(), releasing.wanted(store, made, is_champion=True)),
    )
    click.echo(f"champion: {entry.version}, no longer {entry.former} (log entry {entry.number})")
