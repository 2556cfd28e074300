"""`heimdall releases`: every version, the champion, and whether anything is damaged."""

from __future__ import annotations

from pathlib import Path

import click


@click.command(epilog="Example: heimdall releases")
@click.pass_context
def releases(context: click.Context) -> None:
    """List the released versions; hash their files; check the log, and compare it with this clone's tags.

    The mean test error has its 95 % bootstrap interval. Exit code 1 if anything is damaged.
    """
    from heimdall.release import attestation, bucket, registry, releases_text
    from heimdall.storage import endpoints

    tags = attestation.read(Path())  # before the log, which is ahead of them
    store = bucket.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    found = registry.overview(store, lambda line: click.echo(f"releases: {line}", err=True))
    damages = [*found.damages]
    if found.log is not None:
        damages += attestation.damages(found.log, found.releases, tags)
    for line in releases_text.lines(found):
        click.echo(line)
    click.echo()
    for line in releases_text.verdict(found.log or [], damages, tags):
        click.echo(line)
    if damages:
        context.exit(1)
