"""`heimdall sweep`: a study that any number of machines work on."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import click

from heimdall.commands import output
from heimdall.core.errors import HeimdallError
from heimdall.sweep import heartbeat

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")  # it becomes part of git references and of paths


@click.command(
    epilog="""\b
Example: heimdall sweep --grid --study grid
Example: heimdall sweep --trials 40 \\
           --space lr=1e-5:1e-2:log --space dropout_rate=0.1,0.2,0.3
"""
)
@click.option(
    "--grid",
    is_flag=True,
    help="Train every combination once, without suggestions. Without --space there are 81.",
)
@click.option(
    "--trials",
    type=click.IntRange(min=1),
    help="Number of trials of the whole study, of all workers together.",
)
@click.option(
    "--study", default="sweep", show_default=True, help="Name of the study. Trial 7 is the experiment NAME-7."
)
@click.option(
    "--space",
    "words",
    multiple=True,
    metavar="NAME=VALUES",
    help="A parameter, and a list (0.1,0.2) or a range (low:high or low:high:log) of its values. Give this "
    "option once for each parameter. Without it the study has the specification's grid.",
)
@click.option(
    "--prune/--no-prune",
    default=None,
    help="End a training early if it is worse than half of the others.  [default: yes, but not with --grid]",
)
@click.option(
    "--push",
    "remote",
    metavar="GIT_REMOTE",
    help="Push each experiment to this git remote, and its outputs to DVC's remote.",
)
@click.option(
    "--heartbeat-s",
    type=click.IntRange(min=1),
    default=heartbeat.INTERVAL_S,
    show_default=True,
    help="Seconds between two signs of life of a worker. A worker that misses "
    f"{heartbeat.GRACE} of them is lost, and its trial is done again.",
)
@click.option("--report", is_flag=True, help="Run nothing. Only show and draw the study.")
@click.option("--json", "as_json", is_flag=True, help="Print the trials as JSON instead of a table.")
@click.option(
    "--plots",
    type=click.Path(path_type=Path),
    help="Folder for the table and the pictures.  [default: .heimdall/sweeps/NAME]",
)
def sweep(
    *,
    grid: bool,
    trials: int | None,
    study: str,
    words: Sequence[str],
    prune: bool | None,
    remote: str | None,
    heartbeat_s: int,
    report: bool,
    as_json: bool,
    plots: Path | None,
) -> None:
    """Search for the parameters with the lowest validation loss, with Optuna, as DVC experiments.

    With --grid every combination of the listed values is trained once. Without --space these are the 81
    combinations of the specification: lr 1e-4, 1e-3, 1e-2; batch_size 16, 32, 64; dropout_rate 0.1, 0.2, 0.3;
    weight_decay 1e-5, 1e-4, 1e-3.

    The study is in the database (schema optuna). The same command in another clone of the same commit, with
    the same database, joins the study. After a kill, the same command continues it. The command ends when
    the study has its number of complete or pruned trials. `dvc exp apply NAME-7` brings a trial to the
    workspace.

    The first suggestions depend only on `seed` in params.yaml and the number of the trial. Later suggestions
    also depend on earlier results. With several workers the order of the results depends on their speed, so
    these suggestions are not reproducible. Each single trial is reproducible.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not NAME.fullmatch(study):
        remedy = "Use at most 40 small letters, digits and dashes, and begin with a letter or digit"
        raise HeimdallError(f"--study {study}", "it is not a valid name of a study", remedy)
    if report + grid + (trials is not None) != 1:
        raise click.UsageError("Give --trials N or --grid to work on the study, or --report to see it")
    from heimdall.reproduce import git

    root = Path().resolve()
    git.require_root(root, "heimdall sweep")
    from heimdall.storage import endpoints, roles
    from heimdall.sweep import space as spaces
    from heimdall.sweep import study as studies
    from heimdall.sweep import study_text
    from heimdall.sweep import trials as sweeping

    if report:
        found = studies.load_study(endpoints.database(root, roles.SWEEPER), study)
    else:
        space = spaces.parse(words or spaces.GRID, studies.parameters(root))
        wanted = len(spaces.combinations(space)) if trials is None else trials
        pruning = not grid if prune is None else prune
        worker = studies.Worker(root, study, wanted, space, heartbeat_s, remote, grid, pruning)
        found = sweeping.work(worker, output.progress("sweep"))
    if as_json:
        click.echo(json.dumps(study_text.content(found), indent=2))
    else:
        for line in study_text.lines(studies.rows(found)):
            click.echo(line)
    from heimdall.sweep import results

    for line in results.write(found, plots or sweeping.FOLDER / study):
        click.echo(line, err=as_json)
