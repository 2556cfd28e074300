"""`heimdall releases`: every version, the champion, and whether anything is damaged."""

from __future__ import annotations

from collections.abc import Sequence

import click

from heimdall import endpoints, registry
from heimdall.registry import Overview

HEADINGS = ("version", "", "mean test error, m", "data", "released", "commit", "remarks")


@click.command(epilog="Example: heimdall releases")
@click.pass_context
def releases(context: click.Context) -> None:
    """List the released versions; hash their files; check the log.

    The mean test error has its 95 % bootstrap interval. Exit code 1 if anything is damaged.
    """
    store = registry.ConditionalStore(endpoints.resolve(), endpoints.MODELS_BUCKET)
    found = registry.overview(store, lambda line: click.echo(f"releases: {line}", err=True))
    for line in lines(found):
        click.echo(line)
    if found.damages:
        context.exit(1)


def lines(found: Overview) -> list[str]:
    """The registry as text."""
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
    shown += [f"{version}: begun, not released" for version in found.unfinished]
    if not found.damages:
        return [*shown, "", f"every file as released; {len(found.log)} log entries, unbroken"]
    return [*shown, "", "DAMAGED:", *(f"  {damage.subject}: {damage.cause}" for damage in found.damages)]


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
