"""`heimdall releases`: every version, the champion, and whether anything is damaged."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output


@click.command(epilog="Example: heimdall releases")
@options.as_json
@click.pass_context
def releases(context: click.Context, as_json: bool) -> None:
    """List the released versions, and check them for damage.

    The files of each version are hashed. The log is checked and compared with the tags of this clone. The
    interval beside the mean test error is the 95 % bootstrap interval. The exit code is 1 if anything is
    damaged.
    """
    from heimdall.release import attestation, bucket, registry, releases_text
    from heimdall.storage import endpoints

    tags = attestation.read(Path())  # before the log, which is ahead of them
    store = bucket.ConditionalStore(endpoints.s3(), endpoints.MODELS_BUCKET)
    found = registry.overview(store, output.progress("releases"))
    damages = [*found.damages]
    if found.log is not None:
        damages += attestation.damages(found.log, found.releases, tags)
    if as_json:
        output.as_json(releases_text.as_dict(found, damages, tags))
    else:
        verdict = releases_text.verdict(found.log or [], damages, tags)
        output.lines([*releases_text.lines(found), "", *verdict])
    if damages:
        context.exit(1)
