"""`heimdall sweep`: a study that any number of machines work on."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Sequence
from pathlib import Path

import click

from heimdall.core.determinism import PARAMS_FILE
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
    "--grid", is_flag=True, help="Every combination once, instead of suggestions: 81 without --space."
)
@click.option("--trials", type=click.IntRange(min=1), help="Of the whole study, of all workers together.")
@click.option(
    "--study", default="sweep", show_default=True, help="Its name; trial 7 is the experiment NAME-7."
)
@click.option(
    "--space",
    "words",
    multiple=True,
    metavar="NAME=VALUES",
    help="A list (0.1,0.2), or a range (low:high or low:high:log). Without one the specification's grid.",
)
@click.option(
    "--prune/--no-prune",
    default=None,
    help="Give up a training that is worse than half of the others.  [default: yes, but not with --grid]",
)
@click.option(
    "--push", "remote", metavar="GIT_REMOTE", help="Push each experiment there, and its outputs to DVC's."
)
@click.option(
    "--heartbeat-s",
    type=click.IntRange(min=1),
    default=heartbeat.INTERVAL_S,
    show_default=True,
    help=f"Signs of life; a worker that misses {heartbeat.GRACE} is lost, and its trial is done again.",
)
@click.option("--report", is_flag=True, help="Run nothing, only show and draw the study.")
@click.option("--json", "as_json", is_flag=True, help="Print the trials as JSON instead of a table.")
@click.option("--plots", type=click.Path(path_type=Path), help="Folder.  [default: .heimdall/sweeps/NAME]")
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

    With --grid every combination of the listed values is trained once; without --space these are the 81 of
    the specification: lr 1e-4, 1e-3, 1e-2, batch_size 16, 32, 64, dropout_rate 0.1, 0.2, 0.3 and weight_decay
    1e-5, 1e-4, 1e-3.

    The study is in the database (schema optuna). The same command on another clone of the same commit, with
    the same database, joins it; typed again after a kill it goes on. It ends when the study has so many
    trials, complete or pruned. `dvc exp apply NAME-7` brings a trial to the workspace.

    The first suggestions come from params.yaml's `seed` and the trial's number. Later ones learn from what
    is known by then: with several workers that depends on who was faster, and the order of results, hence
    the suggestions, is not reproducible. Each trial by itself is.
    """
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    if not NAME.fullmatch(study):
        remedy = "Use at most 40 small letters, digits and dashes, a letter or digit first"
        raise HeimdallError(f"--study {study}", "not a name for a study", remedy)
    if report + grid + (trials is not None) != 1:
        raise click.UsageError("Give --trials N or --grid to work on the study, or --report to see it")
    from heimdall.reproduce import dvc_lock, git

    root = Path().resolve()
    git.require_root(root, "heimdall sweep")
    from heimdall.storage import endpoints
    from heimdall.sweep import space as spaces
    from heimdall.sweep import study as studies
    from heimdall.sweep import study_text
    from heimdall.sweep import trials as sweeping

    if report:
        found = studies.load_study(endpoints.resolve(root), study)
    else:
        space = spaces.parse(words or spaces.GRID, dvc_lock.read_yaml(root / PARAMS_FILE))
        wanted = len(spaces.combinations(space)) if trials is None else trials
        pruning = not grid if prune is None else prune
        worker = studies.Worker(root, study, wanted, space, heartbeat_s, remote, grid, pruning)
        found = sweeping.work(worker, lambda line: click.echo(f"sweep: {line}", err=True))
    if as_json:
        click.echo(json.dumps(study_text.content(found), indent=2))
    else:
        for line in study_text.lines(studies.rows(found)):
            click.echo(line)
    from heimdall.sweep import results

    for line in results.write(found, plots or sweeping.FOLDER / study):
        click.echo(line, err=as_json)
