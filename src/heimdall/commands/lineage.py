"""`heimdall lineage`: from a model file to the rows that made it."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import artifacts


@click.command(
    epilog="\b\nExample: heimdall lineage models/localizer.onnx\n"
    "Example: heimdall lineage models/localizer.onnx --all"
)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option("--all", "everything", is_flag=True, help="Show every parameter, module, row and check.")
@options.as_json
@click.pass_context
def lineage(context: click.Context, model: Path, everything: bool, as_json: bool) -> None:
    """From a model file to the rows that made it, and whether anything on the way is changed.

    MODEL is an .onnx file, or a .safetensors file with its .json beside it, of this workspace or copied from
    anywhere. The first line says whether the file, the outputs, the modules and the parameters are the
    recorded ones, and the next ones what is changed. Then come what the file says of itself, the git
    revisions in whose dvc.lock it stands, the stages, and how many recordings made it; --all adds each of
    them with the hash of its object.

    A file of another revision than the workspace's is compared with a clean checkout of that, with data from
    the remote. Exit code 1 if anything is changed.
    """
    artifacts.require(model, remedy="Run `dvc repro` or `dvc pull`, or name another file")
    from heimdall.reproduce import lineage as tracing
    from heimdall.reproduce import lineage_text

    report = tracing.trace(Path(), model, output.progress("lineage"))
    if as_json:
        output.as_json(lineage_text.as_dict(report))
    else:
        output.lines(lineage_text.lines(report, everything=everything))
    if report.changed:
        context.exit(1)
