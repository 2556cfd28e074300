"""`heimdall verify`: rebuild a revision and compare it with what it recorded."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output


@click.command(epilog="\b\nExample: heimdall verify v1.2.0\nExample: heimdall verify HEAD --from train")
@click.argument("revision", default="HEAD", metavar="[REV]")
@click.option("--from", "first", metavar="STAGE", help="Rebuild this stage and the stages that depend on it.")
@click.option("--source", is_flag=True, help="Also rebuild the snapshot, from the database and the bucket.")
@options.as_json
@click.pass_context
def verify(context: click.Context, revision: str, first: str | None, source: bool, as_json: bool) -> None:
    """Rebuild a revision from its inputs and compare every output with its dvc.lock.

    REV is a git revision; without it HEAD is rebuilt. Every stage but the snapshot is run in a clean checkout
    of the revision, with inputs from the remote and without any cache. Only git and the remote are read. The
    exit code is 0 if every output is equal byte for byte. If an output differs, the report names the first
    stage that differs and says what differs in it and by how much. Both versions are then kept below
    .heimdall/verify/.
    """
    from heimdall.reproduce import verify as verification
    from heimdall.reproduce import verify_text

    report = verification.verify(Path(), revision, first, source, output.progress("verify"))
    if as_json:
        output.as_json(verify_text.as_dict(report))
    else:
        output.lines(verify_text.lines(report))
    if not report.proven:
        context.exit(1)
