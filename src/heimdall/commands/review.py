"""`heimdall review`: what changed against a baseline, for a pull request."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.core import params


@click.command(epilog="\b\nExample: heimdall review > review.md\nExample: heimdall review v0.1.0")
@click.argument("base", required=False, metavar="[BASE]")
@click.pass_context
def review(context: click.Context, base: str | None) -> None:
    """Markdown of what the working tree changes: parameters, metrics, and its model against the former one.

    BASE is a git revision; unless named, the commit at which this branch left origin/main (or main, where
    there is no such remote). The models answer the test sessions of data/features, as with `heimdall
    compare`. Exit code 1 if they could not be compared, after the rest was printed.
    """
    settings = params.load()
    from heimdall.compare import review as reviewing
    from heimdall.reproduce.git import commit_of

    commit = reviewing.baseline(Path()) if base is None else commit_of(Path(), base)
    text, whole = reviewing.markdown(Path(), commit, settings)
    click.echo(text, nl=False)
    if not whole:
        context.exit(1)
