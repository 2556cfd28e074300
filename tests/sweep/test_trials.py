"""Many workers run as many trials as were asked for."""

from __future__ import annotations

import subprocess
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from threading import Timer
from typing import Any

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState, create_trial

from heimdall.core.errors import HeimdallError
from heimdall.sweep import space as spaces
from heimdall.sweep import trials
from heimdall.sweep.study import COMBINATION, Worker, open_study, parameters
from heimdall.sweep.trials import Step, next_step
from tests import REPOSITORY
from tests.conftest import Services

PARAMS = REPOSITORY / "params.yaml"
PARAMETERS: dict[str, Any] = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))
COMPLETE, PRUNED, RUNNING = TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING
FAIL, WAITING = TrialState.FAIL, TrialState.WAITING


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


def without_experiments(database: Services, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the experiment itself is left out: each worker counts, asks and tells on the real PostgreSQL."""
    (root / "params.yaml").write_bytes(PARAMS.read_bytes())
    for command in (["init", "--quiet"], ["add", "."], ["commit", "--quiet", "--message", "Parameters"]):
        identity = ["-c", "user.name=Test", "-c", "user.email=test@localhost"]
        subprocess.run(["git", *identity, *command], cwd=root, check=True)
    for name, value in database.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(trials, "_run", lambda trial, *_, **__: float(trial.params["lr"]))


def trial_of(combination: int, state: TrialState) -> FrozenTrial:
    value = 1.0 if state is COMPLETE else None
    return create_trial(state=state, value=value, user_attrs={COMBINATION: combination})


@pytest.mark.parametrize(
    ("trials_so_far", "following"),
    [
        ([], 0),
        ([trial_of(0, COMPLETE), trial_of(1, RUNNING)], 2),
        ([trial_of(0, COMPLETE), trial_of(1, FAIL), trial_of(2, RUNNING)], 1),  # its experiment failed
        ([trial_of(0, FAIL), trial_of(0, FAIL)], 1),  # one that always fails keeps nobody from the others
        ([trial_of(0, FAIL), trial_of(1, COMPLETE), trial_of(2, COMPLETE)], 0),
        ([trial_of(0, FAIL), trial_of(0, WAITING)], None),  # its worker was lost: it waits to be done again
        ([trial_of(0, COMPLETE), trial_of(1, PRUNED), trial_of(2, COMPLETE)], None),
    ],
)
def test_which_of_three_combinations_follows(trials_so_far: list[FrozenTrial], following: int | None) -> None:
    assert trials.next_combination(trials_so_far, 3) == following


def test_many_workers_run_exactly_as_many_trials_as_were_asked_for(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_experiments(database, tmp_path, monkeypatch)
    space = spaces.parse(spaces.GRID, PARAMETERS)
    wanted = 7
    worker = Worker(tmp_path, "crowd", wanted, space, heartbeat_s=1, remote=None)
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda _: trials.work(worker, lambda line: None), range(4)))
    found = studies[0].get_trials()
    assert Counter(trial.state for trial in found) == {COMPLETE: wanted}
    assert [trial.user_attrs["experiment"] for trial in found] == [f"crowd-{k}" for k in range(wanted)]

    # The first suggestions are the seed's and the number's alone, whoever asked.
    again = Worker(tmp_path, "alone", wanted, space, heartbeat_s=1, remote=None)
    assert [trial.params for trial in trials.work(again, lambda line: None).get_trials()] == [
        trial.params for trial in found
    ]

    other = Worker(tmp_path, "crowd", wanted, spaces.parse(["lr=0.1,0.2"], PARAMETERS), 1, None)
    with pytest.raises(HeimdallError, match="begun with another space"):
        trials.work(other, lambda line: None)
    (tmp_path / "params.yaml").write_bytes(PARAMS.read_bytes() + b"# not committed\n")
    with pytest.raises(HeimdallError, match="the working tree has changes"):
        trials.work(worker, lambda line: None)


def test_many_workers_run_every_combination_of_the_grid_once(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_experiments(database, tmp_path, monkeypatch)
    space = spaces.parse(spaces.GRID[:2], PARAMETERS)
    grid = spaces.combinations(space)
    worker = Worker(tmp_path, "grid", len(grid), space, heartbeat_s=1, remote=None, grid=True, prune=False)
    with ThreadPoolExecutor(4) as pool:
        studies = list(pool.map(lambda _: trials.work(worker, lambda line: None), range(4)))
    found = studies[0].get_trials()
    assert Counter(trial.state for trial in found) == {COMPLETE: 9}
    assert [trial.params for trial in found] == grid

    with pytest.raises(HeimdallError, match="begun with another grid: true"):
        trials.work(replace(worker, grid=False), lambda line: None)


def test_a_combination_that_failed_or_whose_worker_was_lost_is_done_again(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_experiments(database, tmp_path, monkeypatch)
    space = spaces.parse(["lr=0.1,0.2,0.3"], PARAMETERS)
    worker = Worker(tmp_path, "again", 3, space, heartbeat_s=1, remote=None, grid=True, prune=False)
    study = open_study(worker, database.endpoints.database)
    study.enqueue_trial({"lr": 0.1}, user_attrs={COMBINATION: 0})
    study.tell(study.ask(), state=FAIL)  # as a failed experiment ends
    study.enqueue_trial({"lr": 0.2}, user_attrs={COMBINATION: 1})
    lost = study.ask()
    assert lost.suggest_categorical("lr", (0.1, 0.2, 0.3)) == 0.2
    study._storage.record_heartbeat(lost._trial_id)  # type: ignore[attr-defined]
    found = trials.work(worker, lambda line: None).get_trials()
    assert Counter(trial.state for trial in found) == {COMPLETE: 3, FAIL: 2}
    assert sorted(trial.params["lr"] for trial in found if trial.state is COMPLETE) == [0.1, 0.2, 0.3]


def test_parameters_that_another_experiments_set_up_is_writing_are_not_read(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    without_experiments(database, tmp_path, monkeypatch)
    space = spaces.parse(["lr=0.1,0.2"], parameters(tmp_path))
    worker = Worker(tmp_path, "beside", 2, space, heartbeat_s=1, remote=None)
    open_study(worker, database.endpoints.database).ask()
    file = tmp_path / "params.yaml"
    file.write_bytes(b"")  # as DVC has it for a moment
    restored = Timer(1.0, file.write_bytes, [PARAMS.read_bytes()])
    restored.start()
    assert parameters(tmp_path) == PARAMETERS
    assert open_study(worker, database.endpoints.database).user_attrs["space"]
    restored.join()
