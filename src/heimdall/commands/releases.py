"""`heimdall releases`: every version, the champion, and whether anything is damaged."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from heimdall.release import attestation, registry
from heimdall.release.attestation import Tag
from heimdall.release.registry import Damage, Entry, Overview
from heimdall.storage import endpoints

HEADINGS = ("version", "", "mean test error, m", "data", "released", "commit", "remarks")


@click.command(epilog="Example: heimdall releases")
@click.pass_context
def releases(context: click.Context) -> None:
    """List the released versions; hash their files; check the log, and compare it with this clone's tags.

    The mean test error has its 95 % bootstrap interval. Exit code 1 if anything is damaged.
    """
    tags = attestation.read(Path())  # before the log, which is ahead of them
    store = registry.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    found = registry.overview(store, lambda line: click.echo(f"releases: {line}", err=True))
    damages = [*found.damages]
    if found.log is not None:
        damages += attestation.damages(found.log, found.releases, tags)
    for line in lines(found):
        click.echo(line)
    click.echo()
    for line in verdict(found.log or [], damages, tags):
        click.echo(line)
    if damages:
        context.exit(1)


def lines(found: Overview) -> list[str]:
    """The versions as text."""
    rows = [
        (
            made.version,
            "champion" if made.version == found.champion else "",
            f"{made.mae_m:.0f} [{made.mae_m_low:.0f}, {made.mae_m_high:.0f}]",
            made.data,
            made.released_at[:10],
            made.commit[:12],
            remarks(made.verified, made.accepted_worse_than),
        )
        for made in found.releases
    ]
    shown = _table([HEADINGS, *rows]) if rows else ["nothing is released yet"]
    return shown + [f"{version}: begun, not released" for version in found.unfinished]


def verdict(log: Sequence[Entry], damages: Sequence[Damage], tags: Sequence[Tag]) -> list[str]:
    """What is damaged; if nothing is, how much of the log the tags attest."""
    if damages:
        return ["DAMAGED:", *(f"  {damage.subject}: {damage.cause}" for damage in damages)]
    missing = attestation.unattested(log, tags)
    attested = f"{len(log) - len(missing)} attested by this clone's tags"
    shown = [f"every file as released; {len(log)} log entries, unbroken, {attested}"]
    shown += [f"not attested: entry {entry.number}, {entry.action} {entry.version}" for entry in missing]
    if missing:
        shown.append("`git fetch --tags` brings their tags, if they were pushed")
    return shown


def remarks(verified: bool, accepted_worse_than: str | None) -> str:
    """What was not as it should be at the release."""
    parts = [] if verified else ["not verified"]
    parts += [f"accepted as worse than {accepted_worse_than}"] if accepted_worse_than else []
    return ", ".join(parts)


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return [
        "  ".join(f"{cell:<{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
