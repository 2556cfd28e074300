"""`heimdall promote`: a released version becomes the champion."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: heimdall promote v0.2.0")
@click.argument("version", metavar="vX.Y.Z")
def promote(version: str) -> None:
    """Make a released version the champion: what `latest`, MLflow's alias and GTO's stage name.

    The files of the version are hashed first, and this clone's tags compared with the log. The change is in
    the log before it is made, and attested by a tag at the version's commit, which this clone must have.
    Promoting the champion again completes what was interrupted.
    """
    from heimdall.release import attestation, bucket, promotion, versions
    from heimdall.storage import endpoints

    versions.check(version)
    store = bucket.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    entry, is_new = promotion.promote(Path(), store, version)
    if is_new:
        click.echo(f"champion: {version}, before it {entry.former or 'none'} (log entry {entry.number})")
    else:
        click.echo(f"champion: {version}, since log entry {entry.number}")
    click.echo(f"Next: {attestation.push(attestation.tags(entry))}")
