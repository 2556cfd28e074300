"""`heimdall promote`: a released version becomes the champion."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall import endpoints, model_registry, registry
from heimdall import release as releasing


@click.command(epilog="Example: heimdall promote v0.2.0")
@click.argument("version", metavar="vX.Y.Z")
def promote(version: str) -> None:
    """Make a released version the champion: what `latest` and MLflow's alias name.

    The files of the version are hashed first. The change is in the log before it is made. Promoting the
    champion again completes what was interrupted.
    """
    store = registry.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    entry, is_new = registry.promote(
        store,
        version,
        releasing.identity(Path()),
        lambda made: model_registry.ensure(Path(), releasing.wanted(store, made, is_champion=True)),
    )
    if is_new:
        click.echo(f"champion: {version}, before it {entry.former or 'none'} (log entry {entry.number})")
    else:
        click.echo(f"champion: {version}, since log entry {entry.number}")
