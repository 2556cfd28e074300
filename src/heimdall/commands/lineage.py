"""`heimdall lineage`: from a model file to the rows that made it."""

from __future__ import annotations

from pathlib import Path

import click

from heimdall.commands import options, output
from heimdall.core import artifacts, remedies


@click.command(
    epilog="\b\nExample: heimdall lineage models/localizer.onnx\n"
    "Example: heimdall lineage models/localizer.onnx --all"
)
@click.argument("model", type=click.Path(path_type=Path), metavar="MODEL")
@click.option("--all", "everything", is_flag=True, help="Show every parameter, module, row and check.")
@options.as_json
@click.pass_context
def lineage(context: click.Context, model: Path, everything: bool, as_json: bool) -> None:
    """Trace a model file to the recordings that made it, and check that nothing has changed.

    MODEL is an .onnx file, or a .safetensors file with its .json beside it. It may be a file of this
    workspace or a copy from anywhere. The first line says whether the file, the outputs, the modules and the
    parameters are as recorded. The next lines say what has changed. Then the report shows what the file says
    about itself, the git revisions whose dvc.lock has the file, the stages, and how many recordings made it.
    With --all it also shows each recording with the hash of its object.

    If the file comes from another revision than the workspace, it is compared with a clean checkout of that
    revision, with data from the remote. The exit code is 1 if anything has changed.
    """
    artifacts.require(model, remedy=f"{remedies.BRING}; or name another file")
    from heimdall.reproduce import lineage as tracing
    from heimdall.reproduce import lineage_text

    report = tracing.trace(Path(), model, output.progress("lineage"))
    if as_json:
        output.as_json(lineage_text.as_dict(report))
    else:
        output.lines(lineage_text.lines(report, everything=everything))
    if report.changed:
        context.exit(1)
