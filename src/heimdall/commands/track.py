"""`heimdall track`: give MLflow what it does not have yet."""

from __future__ import annotations

import os
from pathlib import Path

import click

from heimdall.commands import output


@click.command(epilog="Example: heimdall track")
@click.pass_context
def track(context: click.Context) -> None:
    """Send to MLflow what it does not have yet: trainings, evaluations, plots and models.

    First the command sends the trainings that could not be sent when they ended. Then it adds the evaluation,
    the plots, the ONNX model with its signature, and the hashes of dvc.lock to the run of the workspace and
    to the run of every experiment of DVC. It does not send again what MLflow already has. The store is
    MLFLOW_TRACKING_URI, or .heimdall/mlflow.db if that is not set. The exit code is 1 if something could not
    be sent.
    """
    from heimdall.reproduce import git
    from heimdall.track import mlflow_store, sending

    root = Path().resolve()
    git.require_root(root, "heimdall track")
    store = mlflow_store.resolve(root)
    os.environ.update(store.environment)
    problems = sending.catch_up(root, store, output.step())
    for problem in problems:
        click.echo(f"heimdall: {problem}", err=True)
    if problems:
        context.exit(1)
