"""`heimdall report`: the last run, or that of a revision, as a page."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import artifacts


@click.command(epilog="\b\nExample: heimdall report\nExample: heimdall report v1.2.0 --output v1.2.0.html")
@click.argument("revision", required=False, metavar="[REV]")
@click.option(
    "--output",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    default="report.html",
    show_default=True,
    callback=options.in_a_folder,
    help="The page is written to this file (HTML).",
)
def report(revision: str | None, file: Path) -> None:
    """Write the last run, or that of a revision, as one page that needs no network.

    REV is a commit, branch or tag; without it the working tree is reported. The page answers how good the
    model is, where it fails and whether its ellipses can be trusted. It has all figures with their intervals,
    the test sessions on a map, the slices, the training, the data, and the commands that make it again.

    Nothing is checked out. What git does not hold is read from DVC's cache or, if it is not there, from the
    remote. What is in neither is named on the page, with what brings it.
    """
    say = output.progress("report")
    from heimdall.report import report as page
    from heimdall.report import run

    found = run.read(Path(), revision, say)
    say("drawing charts and maps")
    artifacts.write_bytes(file, page.text(found).encode("utf-8"))
    click.echo(f"{file}: open it in a browser")
