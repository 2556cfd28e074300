"""The arithmetic of a sweep: what is tried, and that many workers run as many trials as were asked for."""

from __future__ import annotations

import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import psycopg2
import pytest
import yaml
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.trial import TrialState

from heimdall.core.errors import HeimdallError
from heimdall.sweep import sweep
from heimdall.sweep.sweep import Step, Worker, next_step, parse_space
from tests import REPOSITORY
from tests.conftest import Services

PARAMS = REPOSITORY / "params.yaml"
PARAMETERS: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
FAIL, WAITING = TrialState.FAIL, TrialState.WAITING


def test_lists_and_ranges_are_read() -> None:
    words = ["lr=1e-5:1e-3:log", "dropout_rate=0.0,0.1,0.2", "batch_size=16:64", "pretrain.lr=1e-4:1e-3"]
    assert parse_space(words, PARAMETERS) == {
        "lr": FloatDistribution(1e-5, 1e-3, log=True),
        "dropout_rate": CategoricalDistribution((0.0, 0.1, 0.2)),
        "batch_size": IntDistribution(16, 64),
        "pretrain.lr": FloatDistribution(1e-4, 1e-3),
    }
    assert parse_space(["backbone=atto,femto"], PARAMETERS) == {
        "backbone": CategoricalDistribution(("atto", "femto"))
    }


def test_the_default_is_the_specifications_grid() -> None:
    space = parse_space(sweep.GRID, PARAMETERS)
    sizes = [len(item.choices) for item in space.values() if isinstance(item, CategoricalDistribution)]
    assert sizes == [3, 3, 3, 3]


@pytest.mark.parametrize(
    ("words", "cause"),
    [
        (["learning=1,2"], "params.yaml has no 'learning'"),
        (["lr"], "a value is missing"),
        (["lr=0.1,,0.2"], "a value is missing"),
        (["lr=0.1,0.1"], "a value is there twice"),
        (["lr=1e-3:1e-5"], "the lower one first"),
        (["lr=a:b"], "are numbers"),
        (["lr=1e-5:1e-3:linear"], "only `log`"),
        (["lr=-0.1,0.1"], "lr: "),
        (["dropout_rate=0.1:1.5"], "dropout_rate: "),
        (["lr=0.1,0.2", "lr=0.3,0.4"], "lr is there twice"),
        (["split.seed=1,2"], "could not be compared"),
        (["validation_split=0.1,0.2"], "could not be compared"),
    ],
)
def test_a_space_that_cannot_be_is_refused_before_any_work(words: list[str], cause: str) -> None:
    with pytest.raises(HeimdallError, match=cause):
        parse_space(words, PARAMETERS)


@pytest.mark.parametrize(
    ("states", "step"),
    [
        ([], Step.START),
        ([COMPLETE, PRUNED], Step.START),
        ([COMPLETE, PRUNED, COMPLETE], Step.END),
        ([COMPLETE, COMPLETE, RUNNING], Step.WAIT),
        ([COMPLETE, COMPLETE, FAIL], Step.START),  # a failed one does not count
        ([COMPLETE, COMPLETE, FAIL, WAITING], Step.START),  # a lost one waits to be done again
        ([COMPLETE, RUNNING, RUNNING, FAIL], Step.WAIT),
        ([COMPLETE] * 4, Step.END),
        ([COMPLETE] * 3 + [RUNNING], Step.WAIT),
    ],
)
def test_what_is_done_next_of_three_trials(states: list[TrialState], step: Step) -> None:
    assert next_step(states, 3) is step


def test_many_workers_run_exactly_as_many_trials_as_were_asked_for(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Only the experiment itself is left out: each worker counts, asks and tells on the real PostgreSQL."""
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes())
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Parameters"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, *command], cwd=tmp_path, check=True)
    for name, value in database.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sweep, "_run", lambda trial, *_, **__: float(trial.params["lr"]))
    space = parse_space(sweep.GRID, PARAMETERS)
    trials = 7
    worker = Worker(tmp_path, "crowd", trials, space, heartbeat_s=1, remote=None)
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda _: sweep.work(worker, lambda line: None), range(4)))
    found = studies[0].get_trials()
    assert Counter(trial.state for trial in found) == {COMPLETE: trials}
    assert [trial.user_attrs["experiment"] for trial in found] == [f"crowd-{k}" for k in range(trials)]

    # The first suggestions are the seed's and the number's alone, whoever asked.
    again = Worker(tmp_path, "alone", trials, space, heartbeat_s=1, remote=None)
    assert [trial.params for trial in sweep.work(again, lambda line: None).get_trials()] == [
        trial.params for trial in found
    ]

    other = Worker(tmp_path, "crowd", trials, parse_space(["lr=0.1,0.2"], PARAMETERS), 1, None)
    with pytest.raises(HeimdallError, match="begun with another space"):
        sweep.work(other, lambda line: None)
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes() + b"# not committed\n")
    with pytest.raises(HeimdallError, match="the working tree has changes"):
        sweep.work(worker, lambda line: None)


def test_the_lock_is_given_back_by_the_end_of_its_connection(database: Services) -> None:
    first = sweep._lock(database.endpoints, "study")
    with closing(psycopg2.connect(database.endpoints.database_url)) as other, other.cursor() as cursor:
        take = "SELECT pg_try_advisory_lock(%s, hashtext(%s))"
        cursor.execute(take, (sweep.LOCK, "study"))
        assert cursor.fetchone() == (False,)
        cursor.execute(take, (sweep.LOCK, "another"))
        assert cursor.fetchone() == (True,)
        first.close()
        cursor.execute("SELECT pg_advisory_lock(%s, hashtext(%s))", (sweep.LOCK, "study"))


def test_a_missing_study_is_named(database: Services) -> None:
    with pytest.raises(HeimdallError, match="none of that name"):
        sweep.load_study(database.endpoints, "nothing")
