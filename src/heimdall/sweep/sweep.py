"""A study of Optuna in PostgreSQL that any number of workers share; its trials are experiments of DVC.

The study is in the schema `optuna` of the snapshot's database. What decides who does what (counting, asking
for a trial, giving back a lost worker's) happens under an advisory lock of PostgreSQL, one worker at a time:
so a study of N trials ends with N that are complete or pruned, however many workers there were and whatever
killed them.

Trials are judged by the validation split, never by the test split: the best of many would be the one that
fits the test sessions by chance, and its figures there would claim too much.
"""

from __future__ import annotations

import json
import time
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any

import optuna
import psycopg2
import sqlalchemy
from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
    distribution_to_json,
)
from optuna.trial import FrozenTrial, Trial, TrialState

from heimdall.core import params, randomness
from heimdall.core.determinism import PARAMS_FILE
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import revision
from heimdall.storage import database, endpoints
from heimdall.storage.endpoints import Endpoints
from heimdall.sweep import experiments, heartbeat

SCHEMA = "optuna"
FOLDER = Path(".heimdall/sweeps")
LOCK = 417_203  # any number that no other program on the server uses
METRIC = "val_loss"  # of metrics/train.json: what the training itself chooses its best epoch by
# User attributes of a study and of a trial.
REVISION, SPACE = "revision", "space"
EXPERIMENT, COMMIT, DATA = "experiment", "commit", "data"

STARTUP_TRIALS = 5  # complete ones, before any is pruned
POLL_S = 0.2
# What judges the trials must be the same for all; what comes after the training does not reach the judgement.
FIXED = ("snapshot", "split", "validation_split", "model.name", "evaluate", "export", "verify", "seed")

Space = Mapping[str, BaseDistribution]
# The specification's grid.
GRID = (
    "lr=1e-4,1e-3,1e-2",
    "batch_size=16,32,64",
    "dropout_rate=0.1,0.2,0.3",
    "weight_decay=1e-5,1e-4,1e-3",
)


class Step(Enum):
    """What a worker does next."""

    START = "start"
    WAIT = "wait"  # for the trials of others, which may come back
    END = "end"


@dataclass(frozen=True)
class Worker:
    """What a worker was asked for.

    Attributes:
        root: The repository.
        study: Name of the study.
        trials: How many are to be complete or pruned in the end, of all workers.
        space: What is tried.
        heartbeat_s: Seconds between the signs of life of a running trial.
        remote: Git remote to push each experiment to; None to leave it in this clone.
    """

    root: Path
    study: str
    trials: int
    space: Space
    heartbeat_s: int
    remote: str | None


def next_step(states: Sequence[TrialState], trials: int) -> Step:
    """What is to be done, from the states of all trials.

    Failed ones do not count: their experiment is done again, or their worker was lost. Waiting ones do not
    either, because whoever asks for a trial gets one of them first.
    """
    count = Counter(states)
    if count[TrialState.COMPLETE] + count[TrialState.PRUNED] + count[TrialState.RUNNING] < trials:
        return Step.START
    return Step.WAIT if count[TrialState.RUNNING] else Step.END


def parse_space(given: Sequence[str], parameters: Mapping[str, Any]) -> dict[str, BaseDistribution]:
    """What is tried, from the words of the command line.

    Args:
        given: Each `name=a,b,c` (one of these), `name=low:high` or `name=low:high:log` (whole numbers, if
            both ends are).
        parameters: All of params.yaml, nested.

    Returns:
        A distribution by parameter.

    Raises:
        HeimdallError: One is malformed, names no parameter or one that trials cannot differ in, or is out of
            the parameter's range.
    """
    space: dict[str, BaseDistribution] = {}
    known = revision.flat(parameters)
    for word in given:
        name, _, text = word.partition("=")
        subject = f"--space {word}"
        if name not in known:
            raise HeimdallError(subject, f"params.yaml has no {name!r}", "Name one of its parameters")
        if any(name == fixed or name.startswith(f"{fixed}.") for fixed in FIXED):
            cause = f"trials that differ in {name} could not be compared, or would not differ"
            raise HeimdallError(subject, cause, "Choose a parameter of the training")
        if name in space:
            raise HeimdallError(subject, f"{name} is there twice", "Name each parameter once")
        try:
            space[name] = _distribution(text)
        except ValueError as error:
            cause = f"not a list or a range ({error})"
            remedy = "Write name=0.1,0.2,0.3, name=16:64 or name=1e-5:1e-3:log"
            raise HeimdallError(subject, cause, remedy) from None
        for value in _ends(space[name]):
            params.check(_with(parameters, name, value), subject)
    return space


def open_study(worker: Worker, found: Endpoints) -> optuna.Study:
    """The study, made if it is missing.

    Raises:
        HeimdallError: The study was begun on another revision or with another space, the working tree has
            changes that are not committed, or PostgreSQL refuses.
    """
    parameters = params.load(worker.root / PARAMS_FILE)
    with _turn(found, SCHEMA):
        storage = _storage(found, worker.heartbeat_s)
    pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=parameters.warmup_epochs + 1)
    with _turn(found, worker.study):
        study = optuna.create_study(
            storage=storage, study_name=worker.study, pruner=pruner, direction="minimize", load_if_exists=True
        )
        for name, value in _attributes(worker).items():
            if name not in study.user_attrs:
                study.set_user_attr(name, value)
    _require_same(study, worker)
    return study


def load_study(found: Endpoints, name: str) -> optuna.Study:
    """A study that is there, to be read.

    Raises:
        HeimdallError: There is none of that name, or PostgreSQL refuses.
    """
    with _messages(found):
        with _turn(found, SCHEMA):
            storage = _storage(found, None)
        names = optuna.get_all_study_names(storage)
        if name not in names:
            cause = f"there is none of that name, only: {', '.join(names) or 'none at all'}"
            raise HeimdallError(f"study {name}", cause, "Name another with --study, or begin it by --trials")
        return optuna.load_study(study_name=name, storage=storage)


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
    found = endpoints.resolve(worker.root)
    with _messages(found):
        study = open_study(worker, found)
        say(f"study {worker.study} in {found.database_name}, {worker.trials} trials in all")
        waited = False
        while True:
            with closing(_lock(found, worker.study)) as turn:
                optuna.storages.fail_stale_trials(study)  # each then waits to be done again
                trials = study.get_trials(deepcopy=False)
                step = next_step([trial.state for trial in trials], worker.trials)
                if step is Step.START:
                    _require_same(study, worker)
                    lost = [
                        trial.user_attrs.get(EXPERIMENT, "") for trial in trials if trial.state.is_finished()
                    ]
                    experiments.discard(worker.root, lost)
                    study.sampler = _sampler(worker.root, len(trials))
                    _start(study, worker, turn, say)
            if step is Step.END:
                return study
            if step is Step.WAIT:
                if not waited:
                    say("every trial is done or has its worker; waiting, in case one of them is lost")
                time.sleep(worker.heartbeat_s)
            waited = step is Step.WAIT


def rows(study: optuna.Study) -> list[dict[str, Any]]:
    """Every trial as a row: number, state, value, parameters, experiment, commit, what it retries."""
    names = sorted({name for trial in study.get_trials(deepcopy=False) for name in trial.params})
    return [
        {
            "trial": trial.number,
            "state": trial.state.name,
            METRIC: trial.value,
            **{name: trial.params.get(name) for name in names},
            EXPERIMENT: trial.user_attrs.get(EXPERIMENT),
            COMMIT: trial.user_attrs.get(COMMIT),
            "retries": retried(trial),
        }
        for trial in study.get_trials(deepcopy=False)
    ]


def retried(trial: FrozenTrial) -> int | None:
    """The number of the lost trial that this one does again; None where it is the first."""
    number: int | None = optuna.storages.RetryHeartbeatStaleTrialCallback.retried_trial_number(trial)
    return number


def _attributes(worker: Worker) -> dict[str, Any]:
    """What must be the same for all trials of a study."""
    space = {name: json.loads(distribution_to_json(item)) for name, item in worker.space.items()}
    return {REVISION: revision.commit_of(worker.root, "HEAD"), SPACE: space}


def _require_same(study: optuna.Study, worker: Worker) -> None:
    """Raise a `HeimdallError` unless this clone is where the study's trials start from."""
    for name, value in _attributes(worker).items():
        recorded = study.user_attrs[name]
        if recorded != value:
            cause = f"it was begun with another {name}: {json.dumps(recorded)}"
            remedy = "Give the same (`git switch --detach` to the revision), or another --study"
            raise HeimdallError(f"study {worker.study}", cause, remedy)
    if revision.git(worker.root, "status", "--porcelain", "--untracked-files=no").stdout:
        cause = "the working tree has changes, and every trial starts from the same commit"
        raise HeimdallError("heimdall sweep", cause, "Commit them, or `git stash`")


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
            settings = {key: _suggest(trial, key, item) for key, item in worker.space.items()}
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
        say("this trial was taken for lost, as its signs of life did not arrive: its result is not counted")


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
                say(f"{name}: epoch {epoch.number}, validation loss {epoch.val_loss:.3f}")
                if not ended and trial.should_prune():
                    say(f"{name}: pruned")
                    raise optuna.TrialPruned
        if experiment.diverged:
            say(f"{name}: pruned, because its loss was not finite")
            raise optuna.TrialPruned
        if experiment.process.returncode != 0:
            remedy = f"See {log.relative_to(worker.root)}; the same command goes on with the study"
            raise HeimdallError(f"experiment {name}", f"it failed: {experiment.problem()}", remedy)
    commit = experiments.commit_of(worker.root, name, baseline)
    metrics = experiments.train_metrics(worker.root, commit)
    trial.set_user_attr(COMMIT, commit)
    trial.set_user_attr(DATA, metrics["data"])
    problem = experiments.push(worker.root, worker.remote, name) if worker.remote else None
    if problem is not None:
        say(f"{name}: not pushed ({problem}); `dvc exp push {worker.remote} {name}` does it")
    say(f"{name}: {METRIC} {metrics[METRIC]:.4f} ({metrics['data']} data), commit {commit[:12]}")
    return float(metrics[METRIC])


def _sampler(root: Path, number: int) -> optuna.samplers.TPESampler:
    """The sampler of trial `number`: its randomness is the seed's and the number's, whoever runs it."""
    seed = int(revision.read_yaml(root / PARAMS_FILE)["seed"])
    return optuna.samplers.TPESampler(seed=int(randomness.generator(seed, "sweep", number).integers(2**32)))


def _suggest(trial: Trial, name: str, item: BaseDistribution) -> Any:  # noqa: ANN401 - of the parameter's type
    if isinstance(item, FloatDistribution):
        return trial.suggest_float(name, item.low, item.high, log=item.log)
    if isinstance(item, IntDistribution):
        return trial.suggest_int(name, item.low, item.high, log=item.log)
    assert isinstance(item, CategoricalDistribution)  # noqa: S101 - `_distribution` makes no other
    return trial.suggest_categorical(name, item.choices)


def _distribution(text: str) -> BaseDistribution:
    """A list or a range. Raises ValueError where it is neither."""
    if ":" not in text:
        choices = [_value(part) for part in text.split(",")]
        if len(set(choices)) < len(choices):
            raise ValueError("a value is there twice")
        return CategoricalDistribution(choices)
    low, high, *more = text.split(":")
    if more not in ([], ["log"]):
        raise ValueError("only `log` may follow a range")
    ends = _value(low), _value(high)
    kind = IntDistribution if all(isinstance(end, int) for end in ends) else FloatDistribution
    if not all(isinstance(end, int | float) for end in ends) or not ends[0] < ends[1]:  # type: ignore[operator]
        raise ValueError("the ends of a range are numbers, the lower one first")
    made: BaseDistribution = kind(*ends, log=bool(more))  # type: ignore[arg-type]
    return made


def _value(text: str) -> int | float | bool | str:
    """A number, a truth value or a word."""
    if not text:
        raise ValueError("a value is missing")
    if text in ("true", "false"):
        return text == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _ends(item: BaseDistribution) -> Sequence[Any]:
    """The values that must be in a parameter's range so that all are."""
    if isinstance(item, CategoricalDistribution):
        return item.choices
    assert isinstance(item, FloatDistribution | IntDistribution)  # noqa: S101 - as above
    return (item.low, item.high)


def _with(parameters: Mapping[str, Any], name: str, value: object) -> dict[str, Any]:
    """Nested parameters with another value for one of them."""
    first, _, rest = name.partition(".")
    return {**parameters, first: _with(parameters[first], rest, value) if rest else value}


@contextmanager
def _turn(found: Endpoints, name: str) -> Iterator[None]:
    """One process at a time, of all that use this database and this name."""
    with closing(_lock(found, name)):
        yield


def _lock(found: Endpoints, name: str) -> psycopg2.extensions.connection:
    """A connection that has the lock of a name, and gives it back when it is closed or its process dies."""
    connection = database.connect(found)
    connection.autocommit = True
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (LOCK, name))
    return connection


def _storage(found: Endpoints, heartbeat_s: int | None) -> optuna.storages.RDBStorage:
    """Optuna's tables, made if they are missing. To be called in the turn of `SCHEMA`."""
    with closing(database.connect(found)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SELECT to_regnamespace(%s)", (SCHEMA,))
        if cursor.fetchone() == (None,):
            cursor.execute(f"CREATE SCHEMA {SCHEMA}")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are one since 2.8
    url = sqlalchemy.make_url(found.database_url).set(drivername="postgresql+psycopg2")
    return optuna.storages.RDBStorage(
        url.render_as_string(hide_password=False),
        engine_kwargs={
            "pool_pre_ping": True,
            "connect_args": database.OPTIONS | {"options": f"-csearch_path={SCHEMA}"},
        },
        heartbeat_interval=heartbeat_s,
        grace_period=None if heartbeat_s is None else heartbeat.GRACE * heartbeat_s,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )


@contextmanager
def _messages(found: Endpoints) -> Iterator[None]:
    """What PostgreSQL refuses becomes a HeimdallError, without the address's password."""
    try:
        yield
    except (psycopg2.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = " ".join(str(getattr(error, "orig", None) or error.__cause__ or error).split())
        remedy = "Check it with `heimdall services status`; the same command goes on with the study"
        raise HeimdallError(f"PostgreSQL {found.database_name}", cause, remedy) from None
