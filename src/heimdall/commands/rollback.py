"""`heimdall rollback`: the former champion becomes the champion again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: heimdall rollback")
def rollback() -> None:
    """Make the former champion the champion again. `latest`, MLflow's alias and GTO's stage then name it.

    A second rollback goes back by one more champion. If a rollback was interrupted, the next one completes
    it and does nothing else. The log is compared and attested as by `heimdall promote`.
    """
    from heimdall.release import attestation, bucket, promotion
    from heimdall.storage import endpoints
    from heimdall.storage.identities import Identity

    store = bucket.ConditionalStore(endpoints.s3(identity=Identity.RELEASER), endpoints.MODELS_BUCKET)
    entry = promotion.rollback(Path(), store)
    click.echo(
        f"The champion is {entry.version} now. Before, it was {entry.former} (log entry {entry.number})."
    )
    click.echo(f"Next: {attestation.push(attestation.tags(entry))}")
