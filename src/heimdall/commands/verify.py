"""`heimdall verify`: rebuild a revision and compare it with what it recorded."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output


@click.command(epilog="\b\nExample: heimdall verify v1.2.0\nExample: heimdall verify HEAD --from train")
@click.argument("revision", default="HEAD", metavar="[REV]")
@click.option("--from", "first", metavar="STAGE", help="Rebuild this stage and those that follow from it.")
@click.option("--source", is_flag=True, help="Rebuild the snapshot, too, from the database and the bucket.")
@options.as_json
@click.pass_context
def verify(context: click.Context, revision: str, first: str | None, source: bool, as_json: bool) -> None:
    """Rebuild a revision from its inputs and compare every output with its dvc.lock.

    In a clean checkout of REV (HEAD unless named), with inputs from the remote, without any cache, every
    stage but the snapshot is run. Only git and the remote are read. Exit code 0 if every output is equal
    byte for byte. If one differs, the first stage that differs is named, with what differs in it and by how
    much, and both versions are kept below .heimdall/verify/.
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
