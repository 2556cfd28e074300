"""`heimdall promote`: a released version becomes the champion."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: heimdall promote v0.2.0")
@click.argument("version", metavar="vX.Y.Z")
def promote(version: str) -> None:
    """Make a released version the champion. `latest`, MLflow's alias and GTO's stage then name it.

    First the files of the version are hashed, and the tags of this clone are compared with the log. The
    change is written to the log before it is made. A tag at the version's commit attests it, so this clone
    must have that commit. If a promotion was interrupted, promote the same version again to complete it.
    """
    from heimdall.release import attestation, bucket, promotion, versions
    from heimdall.storage import endpoints
    from heimdall.storage.identities import Identity

    versions.check(version)
    store = bucket.ConditionalStore(endpoints.s3(identity=Identity.RELEASER), endpoints.MODELS_BUCKET)
    entry, is_new = promotion.promote(Path(), store, version)
    if is_new:
        before = f"it was {entry.former}" if entry.former else "there was none"
        click.echo(f"The champion is {version} now. Before, {before} (log entry {entry.number}).")
    else:
        click.echo(f"The champion is {version} already, since log entry {entry.number}.")
    click.echo(f"Next: {attestation.push(attestation.tags(entry))}")
