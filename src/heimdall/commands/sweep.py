"""`heimdall sweep`: a study that any number of machines work on."""

from __future__ import annotations

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
Example: heimdall sweep --trials 40 \\
           --space lr=1e-5:1e-2:log --space dropout_rate=0.1,0.2,0.3
"""
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
@click.option("--plots", type=click.Path(path_type=Path), help="Folder.  [default: .heimdall/sweeps/NAME]")
def sweep(
    *,
    trials: int | None,
    study: str,
    words: Sequence[str],
    remote: str | None,
    heartbeat_s: int,
    report: bool,
    plots: Path | None,
) -> None:
    """Search for the parameters with the lowest validation loss, with Optuna, as DVC experiments.

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
    if report == (trials is not None):
        raise click.UsageError("Give --trials N to work on the study, or --report to see it")
    from heimdall.reproduce import dvc_lock, git

    root = Path().resolve()
    git.require_root(root, "heimdall sweep")
    from heimdall.storage import endpoints
    from heimdall.sweep import space as spaces
    from heimdall.sweep import study as studies
    from heimdall.sweep import study_text
    from heimdall.sweep import trials as sweeping

    if trials is None:
        found = studies.load_study(endpoints.resolve(root), study)
    else:
        space = spaces.parse(words or spaces.GRID, dvc_lock.read_yaml(root / PARAMS_FILE))
        worker = studies.Worker(root, study, trials, space, heartbeat_s, remote)
        found = sweeping.work(worker, lambda line: click.echo(f"sweep: {line}", err=True))
    for line in study_text.lines(studies.rows(found)):
        click.echo(line)
    from heimdall.sweep import results

    for line in results.write(found, plots or sweeping.FOLDER / study):
        click.echo(line)
