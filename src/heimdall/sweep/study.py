"""The study of Optuna in PostgreSQL (the snapshot's database, schema `optuna`): opened, locked, read."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna
import psycopg2
import sqlalchemy
from optuna.distributions import distribution_to_json
from optuna.trial import FrozenTrial, TrialState

from heimdall.core import params, variables
from heimdall.core.determinism import PARAMS_FILE
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock, git
from heimdall.services import process
from heimdall.storage import connection, database_errors, database_url, roles
from heimdall.storage.endpoints import Database
from heimdall.sweep import heartbeat
from heimdall.sweep.space import Space

SCHEMA = roles.STUDIES
_OPTUNAS_RECORD = "version_info"  # the table in which Optuna says which version made the others
SET_UP_S = 60.0  # within which DVC has set up an experiment, on a busy machine, too
LOCK = 417_203  # any number that no other program on the server uses
METRIC = "val_loss"  # of metrics/train.json: what the training itself chooses its best epoch by
# User attributes of a study and of a trial.
REVISION, SPACE, GRID, PRUNING = "revision", "space", "grid", "pruning"
EXPERIMENT, COMMIT, DATA, COMBINATION = "experiment", "commit", "data", "combination"

STARTUP_TRIALS = 5  # complete ones, before any is pruned


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
        grid: Whether every combination of `space` is tried once, and none is suggested.
        prune: Whether a training is given up that is worse than half of the others at the same epoch.
    """

    root: Path
    study: str
    trials: int
    space: Space
    heartbeat_s: int
    remote: str | None
    grid: bool = False
    prune: bool = True


def parameters(root: Path) -> dict[str, Any]:
    """The parameters of the commit that every trial starts from.

    While DVC sets up the experiment of another worker in this clone, params.yaml has that one's, or is half
    written.
    """
    return dvc_lock.parse_yaml(git.blob(root, "HEAD", str(PARAMS_FILE)) or b"")


def open_study(worker: Worker, found: Database) -> optuna.Study:
    """The study, made if it is missing.

    Raises:
        HeimdallError: The study was begun on another revision or with another space, the working tree has
            changes that are not committed, or PostgreSQL refuses.
    """
    given = params.check(parameters(worker.root), str(PARAMS_FILE))
    with _turn(found, SCHEMA):
        storage = _storage(found, worker.heartbeat_s)
    pruner: optuna.pruners.BasePruner = optuna.pruners.NopPruner()
    if worker.prune:
        pruner = optuna.pruners.MedianPruner(STARTUP_TRIALS, n_warmup_steps=given.warmup_epochs + 1)
    with _turn(found, worker.study):
        study = optuna.create_study(
            storage=storage, study_name=worker.study, pruner=pruner, direction="minimize", load_if_exists=True
        )
        for name, value in _attributes(worker).items():
            if name not in study.user_attrs:
                study.set_user_attr(name, value)
    require_same(study, worker)
    return study


def load_study(found: Database, name: str) -> optuna.Study:
    """A study that is there, to be read.

    Raises:
        HeimdallError: There is none of that name, or PostgreSQL refuses.
    """
    with messages(found):
        with _turn(found, SCHEMA):
            storage = _storage(found, None)
        names = optuna.get_all_study_names(storage)
        if name not in names:
            cause = f"there is none of that name, only: {', '.join(names) or 'none at all'}"
            raise HeimdallError(f"study {name}", cause, "Name another with --study, or begin it by --trials")
        return optuna.load_study(study_name=name, storage=storage)


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
    revision = git.commit_of(worker.root, "HEAD")
    return {REVISION: revision, SPACE: space, GRID: worker.grid, PRUNING: worker.prune}


def require_same(study: optuna.Study, worker: Worker) -> None:
    """Raise a `HeimdallError` unless this clone is where the study's trials start from."""
    for name, value in _attributes(worker).items():
        recorded = study.user_attrs[name]
        if recorded != value:
            cause = f"it was begun with another {name}: {json.dumps(recorded)}"
            remedy = "Give the same (`git switch --detach` to the revision), or another --study"
            raise HeimdallError(f"study {worker.study}", cause, remedy)
    # While DVC sets up the experiment of another worker in this clone, params.yaml is changed.
    others = any(trial.state is TrialState.RUNNING for trial in study.get_trials(deepcopy=False))
    if not process.wait_until(lambda: _is_clean(worker.root), SET_UP_S if others else 0.0):
        cause = "the working tree has changes, and every trial starts from the same commit"
        raise HeimdallError("heimdall sweep", cause, "Commit them, or `git stash`")


def _is_clean(root: Path) -> bool:
    """Whether every file that git tracks is as committed."""
    return not git.run(root, "status", "--porcelain", "--untracked-files=no").stdout


@contextmanager
def _turn(found: Database, name: str) -> Iterator[None]:
    """One process at a time, of all that use this database and this name."""
    with closing(lock(found, name)):
        yield


def lock(found: Database, name: str) -> psycopg2.extensions.connection:
    """A connection that has the lock of a name, and gives it back when it is closed or its process dies."""
    opened = connection.connect(found)
    opened.autocommit = True
    with opened.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (LOCK, name))
    return opened


def _storage(found: Database, heartbeat_s: int | None) -> optuna.storages.RDBStorage:
    """Optuna's tables, made if they are missing. To be called in the turn of `SCHEMA`.

    Raises:
        HeimdallError: Neither the schema nor Heimdall's own tables are in the database, which is somebody
            else's then, or the schema has tables and none of Optuna's.
    """
    with closing(connection.connect(found)) as opened, opened, opened.cursor() as cursor:
        _make_schema(found, cursor)
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)  # heartbeats are one since 2.8
    given = database_url.parse(found.url).parameters
    options = f"{given.get('options', '')} -csearch_path={SCHEMA}".strip()
    return optuna.storages.RDBStorage(
        "postgresql+psycopg2://",  # without parts: SQLAlchemy's URLs know neither services nor several ports
        engine_kwargs={
            "pool_pre_ping": True,
            "connect_args": given | connection.OPTIONS | {"options": options},
        },
        heartbeat_interval=heartbeat_s,
        grace_period=None if heartbeat_s is None else heartbeat.GRACE * heartbeat_s,
        heartbeat_stale_trial_callback=optuna.storages.RetryHeartbeatStaleTrialCallback(),
    )


def _make_schema(found: Database, cursor: connection.Cursor) -> None:
    """Make `SCHEMA` in a database that has Heimdall's tables; in one that others made it must be there."""
    cursor.execute("SELECT FROM pg_namespace WHERE nspname = %s", (SCHEMA,))
    is_there = cursor.rowcount > 0
    cursor.execute(
        "SELECT relname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE (nspname = %s AND relkind = 'r') OR (nspname = %s AND relname = %s)",
        (SCHEMA, variables.DATABASE_SCHEMA.read(), connection.OWN_RECORD),
    )
    tables = {name for (name,) in cursor.fetchall()}
    ours = connection.OWN_RECORD in tables
    others = tables - {connection.OWN_RECORD}
    if others and _OPTUNAS_RECORD not in others:
        cause = f"its schema {SCHEMA} has tables that Optuna did not make; nothing was changed"
        remedy = f"Name another database in {variables.DATABASE_URL_SWEEPER.name}"
        raise HeimdallError(f"PostgreSQL {found.name}", cause, remedy)
    if not is_there and not ours:
        cause = f"it has no schema {SCHEMA} and no tables of Heimdall, so nothing is made there unasked"
        remedy = (
            "Let its owner run what `heimdall database roles sweeper` prints, or name another database in "
            f"{variables.DATABASE_URL_SWEEPER.name}"
        )
        raise HeimdallError(f"PostgreSQL {found.name}", cause, remedy)
    if not is_there:
        cursor.execute(f"CREATE SCHEMA {SCHEMA}")


@contextmanager
def messages(found: Database) -> Iterator[None]:
    """What PostgreSQL refuses becomes a HeimdallError, without the address's password."""
    try:
        yield
    except (psycopg2.Error, sqlalchemy.exc.SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        name, address = found.name, database_url.parse(found.url)
        inner = error if isinstance(error, sqlalchemy.exc.SQLAlchemyError) else error.__cause__ or error
        inner = getattr(inner, "orig", None) or inner
        if isinstance(inner, psycopg2.Error):
            raise database_errors.explained(
                name,
                inner,
                user=address.parameters.get("user", ""),
                password=address.password,
                embedded=found.embedded,
                variable=found.variable,
            ) from None
        remedy = "Run the same command again, which goes on with the study"
        raise HeimdallError(f"PostgreSQL {name}", " ".join(str(inner).split()), remedy) from None
