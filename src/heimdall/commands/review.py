"""`heimdall review`: what changed against a baseline, for a pull request."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.core import params


@click.command(epilog="\b\nExample: heimdall review > review.md\nExample: heimdall review v0.1.0")
@click.argument("base", required=False, metavar="[BASE]")
@click.pass_context
def review(context: click.Context, base: str | None) -> None:
    """Print what the working tree changes against a baseline, as Markdown.

    The report compares the parameters, the metrics and the models. BASE is a git revision. Without it the
    baseline is the commit at which this branch left origin/main, or main if there is no such remote. Both
    models locate the test sessions of data/features, as in `heimdall compare`. The exit code is 1 if the
    models could not be compared; the rest is printed all the same.
    """
    settings = params.load()
    from heimdall.compare import review as reviewing
    from heimdall.reproduce.git import commit_of

    commit = reviewing.baseline(Path()) if base is None else commit_of(Path(), base)
    text, whole = reviewing.markdown(Path(), commit, settings)
    click.echo(text, nl=False)
    if not whole:
        context.exit(1)
