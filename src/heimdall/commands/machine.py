"""`heimdall machine`: the fingerprint of this machine, and the recorded one."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import determinism, table
from heimdall.core import machine as machines
from heimdall.core.errors import HeimdallError


@click.command(epilog="Example: heimdall machine")
@click.option(
    "--record",
    is_flag=True,
    help=f"Write what is printed to {machines.REFERENCE}. Commit that with the dvc.lock made here.",
)
@options.as_json
def machine(record: bool, as_json: bool) -> None:
    """Show the machine that computes: CPU, instruction sets, threads and versions of the libraries.

    reference.json describes the machine on which dvc.lock was made. Where the two machines differ, the
    recorded value is printed, too.
    """
    found = machines.here(determinism.read_threads())
    if record:
        if not Path("dvc.yaml").is_file():
            cause = "there is no dvc.yaml beside it"
            raise HeimdallError(str(machines.REFERENCE), cause, "Run this inside a clone of the repository")
        machines.write(machines.REFERENCE, found)
    recorded = machines.read(machines.REFERENCE) if machines.REFERENCE.is_file() else None
    if as_json:
        output.as_json({"machine": asdict(found), "recorded": asdict(recorded) if recorded else None})
        return
    others = {name: other for name, other, _ in machines.differences(recorded, found)} if recorded else {}
    rows = found.rows()
    cells = []
    for name in [*rows, *(name for name in others if name not in rows)]:
        beside = f"  (recorded: {others[name]})" if name in others else ""
        cells.append((name, f"{rows.get(name, 'none')}{beside}"))
    for line in table.lines(("", ""), cells):
        click.echo(line)
    if recorded and not others:
        click.echo(f"This machine is as recorded in {machines.REFERENCE}.")
