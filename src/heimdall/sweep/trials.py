"""A study of Optuna in PostgreSQL that any number of workers share; its trials are experiments of DVC.

The study is in the schema `optuna` of the snapshot's database. What decides who does what (counting, asking
for a trial, giving back a lost worker's) happens under an advisory lock of PostgreSQL, one worker at a time:
so a study of N trials ends with N that are complete or pruned, however many workers there were and whatever
killed them.

Trials are judged by the validation split, never by the test split: the best of many would be the one that
fits the test sessions by chance, and its figures there would claim too much.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from enum import Enum
from pathlib import Path
from typing import Any

import optuna
import psycopg2
from optuna.trial import FrozenTrial, Trial, TrialState

from heimdall.core import randomness
from heimdall.core.errors import HeimdallError
from heimdall.storage import endpoints, roles
from heimdall.sweep import experiments
from heimdall.sweep.space import combinations, suggest
from heimdall.sweep.study import (
    COMBINATION,
    COMMIT,
    DATA,
    EXPERIMENT,
    METRIC,
    REVISION,
    Worker,
    lock,
    messages,
    open_study,
    parameters,
    require_same,
    retried,
)

FOLDER = Path(".heimdall/sweeps")
POLL_S = 0.2


class Step(Enum):
    """What a worker does next."""

    START = "start"
    WAIT = "wait"  # for the trials of others, which may come back
    END = "end"


def next_step(states: Sequence[TrialState], trials: int) -> Step:
    """What is to be done, from the states of all trials.

    Failed ones do not count: their experiment is done again, or their worker was lost. Waiting ones do not
    either, because whoever asks for a trial gets one of them first.
    """
    count = Counter(states)
    if count[TrialState.COMPLETE] + count[TrialState.PRUNED] + count[TrialState.RUNNING] < trials:
        return Step.START
    return Step.WAIT if count[TrialState.RUNNING] else Step.END


def next_combination(trials: Sequence[FrozenTrial], count: int) -> int | None:
    """The first combination of a grid that no trial stands for; None where each has one, or one waits.

    A failed trial stands for none. That of a lost worker is failed, and another waits in its place. What
    failed least often comes first, so that one that always fails keeps nobody from the others.
    """
    if any(trial.state is TrialState.WAITING for trial in trials):
        return None
    failed = Counter(trial.user_attrs[COMBINATION] for trial in trials if trial.state is TrialState.FAIL)
    taken = {trial.user_attrs[COMBINATION] for trial in trials if trial.state is not TrialState.FAIL}
    left = [number for number in range(count) if number not in taken]
    return min(left, key=lambda number: (failed[number], number), default=None)


def work(worker: Worker, say: Callable[[str], object]) -> optuna.Study:
    """Run trials until the study has as many as were asked for; those of other workers count.

    Args:
        worker: What was asked for.
        say: Called with a line for everything that happens.

    Returns:
        The study.

    Raises:
        HeimdallError: As `open_study`, or an experiment failed: its trial is failed, and does not count.
    """
    found = endpoints.database(worker.root, roles.SWEEPER)
    with messages(found):
        study = open_study(worker, found)
        say(f"study {worker.study} is in {found.name} and has {worker.trials} trials in all")
        waited = False
        while True:
            with closing(lock(found, worker.study)) as turn:
                optuna.storages.fail_stale_trials(study)  # each then waits to be done again
                trials = study.get_trials(deepcopy=False)
                step = next_step([trial.state for trial in trials], worker.trials)
                if step is Step.START:
                    require_same(study, worker)
                    lost = [
                        trial.user_attrs.get(EXPERIMENT, "") for trial in trials if trial.state.is_finished()
                    ]
                    experiments.discard(worker.root, lost)
                    if worker.grid:
                        _enqueue(study, worker, trials)
                    study.sampler = _sampler(worker.root, len(trials))
                    _start(study, worker, turn, say)
            if step is Step.END:
                return study
            if step is Step.WAIT:
                if not waited:
                    say("every trial is done or has a worker; waiting, in case a worker is lost")
                time.sleep(worker.heartbeat_s)
            waited = step is Step.WAIT


def _enqueue(study: optuna.Study, worker: Worker, trials: Sequence[FrozenTrial]) -> None:
    """Let the next combination of the grid wait, so that it is what the study proposes.

    To be called in the study's turn. (Optuna's GridSampler may give one combination to two workers.)
    """
    grid = combinations(worker.space)
    number = next_combination(trials, len(grid))
    if number is not None:
        study.enqueue_trial(grid[number], user_attrs={COMBINATION: number})


def _start(
    study: optuna.Study,
    worker: Worker,
    turn: psycopg2.extensions.connection,
    say: Callable[[str], object],
) -> None:
    """Ask for a trial, end the turn, and run the trial."""

    def objective(trial: Trial) -> float:
        name = f"{worker.study}-{trial.number}"
        try:
            settings = {key: suggest(trial, key, item) for key, item in worker.space.items()}
            trial.set_user_attr(EXPERIMENT, name)
        finally:
            turn.close()
        chosen = ", ".join(f"{key}={value}" for key, value in settings.items())
        again = retried(study.get_trials(deepcopy=False)[trial.number])
        say(
            f"{name}: {chosen}"
            + (f" (again: {worker.study}-{again} lost its worker)" if again is not None else "")
        )
        try:
            return _run(trial, name, settings, worker=worker, baseline=study.user_attrs[REVISION], say=say)
        except KeyboardInterrupt:
            # Not a failure of the trial: it stays as it is, and comes back as that of a lost worker does.
            raise SystemExit(130) from None

    try:
        study.optimize(objective, n_trials=1)
    except (optuna.exceptions.UpdateFinishedTrialError, ValueError) as error:
        # Optuna has no name of its own for the second: telling the value of a trial that is finished.
        if isinstance(error, ValueError) and "Cannot tell a" not in str(error):
            raise
        say("this trial counts as lost, because its signs of life did not arrive; its result is left out")


def _run(
    trial: Trial,
    name: str,
    settings: Mapping[str, Any],
    *,
    worker: Worker,
    baseline: str,
    say: Callable[[str], object],
) -> float:
    """The value of a trial, from the metrics of its experiment.

    Raises:
        TrialPruned: It was no better than half of the others at the same epoch, or diverged.
        HeimdallError: The experiment failed.
    """
    log = worker.root / FOLDER / worker.study / f"{name}.log"
    with experiments.running(worker.root, name, settings, log) as experiment:
        ended = False
        while not ended:
            time.sleep(POLL_S)
            ended = not experiment.running  # before reading: then all is read
            for epoch in experiment.epochs():
                trial.report(epoch.val_loss, epoch.number)
                say(f"{name}: epoch {epoch.number}, validation loss {epoch.val_loss:.4f}")
                if not ended and trial.should_prune():
                    say(f"{name}: pruned")
                    raise optuna.TrialPruned
        if experiment.diverged:
            say(f"{name}: pruned, because its loss was not finite")
            raise optuna.TrialPruned
        if experiment.process.returncode != 0:
            remedy = f"See {log.relative_to(worker.root)}; the same command continues the study"
            raise HeimdallError(f"experiment {name}", f"it failed: {experiment.problem()}", remedy)
    commit = experiments.commit_of(worker.root, name, baseline)
    metrics = experiments.train_metrics(worker.root, commit)
    trial.set_user_attr(COMMIT, commit)
    trial.set_user_attr(DATA, metrics["data"])
    problem = experiments.push(worker.root, worker.remote, name) if worker.remote else None
    if problem is not None:
        say(f"{name}: not pushed ({problem}); `dvc exp push {worker.remote} {name}` pushes it")
    say(f"{name}: {METRIC} {metrics[METRIC]:.4f} ({metrics['data']} data), commit {commit[:12]}")
    return float(metrics[METRIC])


def _sampler(root: Path, number: int) -> optuna.samplers.TPESampler:
    """The sampler of trial `number`: its randomness is the seed's and the number's, whoever runs it."""
    seed = int(parameters(root)["seed"])
    return optuna.samplers.TPESampler(seed=int(randomness.generator(seed, "sweep", number).integers(2**32)))
