"""`heimdall lineage`: from a model file to the rows that made it."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.core import artifacts


@click.command(epilog="Example: heimdall lineage models/localizer.onnx")
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.pass_context
def lineage(context: click.Context, model: Path) -> None:
    """From a model file to the rows that made it, and whether anything on the way is changed.

    MODEL is an .onnx file, or a .safetensors file with its .json beside it, of this workspace or copied from
    anywhere. Shown are what the file says of itself, the git revisions in whose dvc.lock it stands, stages
    and parameters, every recording with the hash of its object, and last whether the file, the outputs, the
    modules and the parameters are the recorded ones. A file of another revision than the workspace's is
    compared with a clean checkout of that, with data from the remote. Exit code 1 if anything is changed.
    """
    artifacts.require(model, remedy="Run `dvc repro` or `dvc pull`, or name another file")
    from heimdall.reproduce import lineage as tracing
    from heimdall.reproduce import lineage_text

    report = tracing.trace(Path(), model, lambda line: click.echo(f"lineage: {line}", err=True))
    for line in lineage_text.lines(report):
        click.echo(line)
    if report.changed:
        context.exit(1)
