"""`heimdall rollback`: the former champion becomes the champion again."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: heimdall rollback")
def rollback() -> None:
    """Make the former champion the champion again, in `latest`, MLflow and GTO's stage.

    A second rollback goes one further back. One that was interrupted is completed, and no more. The log is
    compared and attested as by `heimdall promote`.
    """
    from heimdall.release import attestation, bucket, promotion
    from heimdall.storage import endpoints

    store = bucket.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    entry = promotion.rollback(Path(), store)
    click.echo(f"champion: {entry.version}, no longer {entry.former} (log entry {entry.number})")
    click.echo(f"Next: {attestation.push(attestation.tags(entry))}")
