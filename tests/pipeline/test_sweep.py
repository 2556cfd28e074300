"""Workers of one study, as real processes on the real PostgreSQL, whose trials are real experiments of DVC.

Importing what a training needs takes most of a tiny one: so here a stand-in trains, in a second, except where
a real training is pruned. What comes after the training does not reach the judgement, and is left out.
"""

from __future__ import annotations

import json
import subprocess
import uuid
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from optuna.trial import FrozenTrial, TrialState, create_trial

from heimdall.services.process import wait_until
from heimdall.storage.connection import create_if_missing
from heimdall.storage.endpoints import Database
from heimdall.sweep import space as spaces
from heimdall.sweep import study as studies
from heimdall.sweep import trials as sweep
from tests.conftest import Services
from tests.projects import BIN, Project

SPACE = ("--space", "lr=1e-4:1e-2:log", "--space", "dropout_rate=0.1,0.2,0.3")
EPOCHS = 5
LONG_S = 300  # for what another process does beside other tests
# Prints and writes what the training does. That of a worker that is to be lost stays in its first epoch.
STAND_IN = """
import json, os, pathlib, sys, time, yaml
given = yaml.safe_load(pathlib.Path("params.yaml").read_text())
loss = float(given["lr"]) + float(given["dropout_rate"])
for epoch in range(1, given["epochs"] + 1):
    time.sleep(0.3)
    done = f"epoch {epoch}/{given['epochs']}: train loss 1.000, validation loss {loss:.3f}"
    print(f"{done}, validation MAE 1.00 km", file=sys.stderr, flush=True)
    while "TO_BE_LOST" in os.environ:
        time.sleep(0.1)
for path in ("models/localizer.safetensors", "models/localizer.json", "plots/training.csv"):
    pathlib.Path(path).write_text(f"{loss}")
pathlib.Path("metrics/train.json").write_text(json.dumps({"data": "simulated", "val_loss": loss}))
"""
PNG = b"\x89PNG"


@pytest.fixture
def cut(built: Project, shared_services: Services, tmp_path: Path) -> Project:
    """A built project whose pipeline ends with the training, with a database of its own for the studies."""
    own = shared_services.with_database(f"sweep_{uuid.uuid4().hex[:12]}").endpoints.database
    create_if_missing(own)
    project = replace(built.copy(tmp_path / "heimdall"), env=built.env | {"HEIMDALL_DATABASE_URL": own.url})
    project.run("heimdall", "database", "migrate")
    path = project.root / "dvc.yaml"
    pipeline = yaml.safe_load(path.read_text(encoding="utf-8"))
    for name in ("evaluate", "export"):
        del pipeline["stages"][name]
    del pipeline["plots"]
    path.write_text(yaml.safe_dump(pipeline, sort_keys=False), encoding="utf-8")
    project.commit("Nothing after the training")
    return project


@pytest.fixture
def quick(cut: Project) -> Project:
    """The same with the stand-in."""
    train_by(cut, STAND_IN)
    return cut


def train_by(project: Project, script: str) -> None:
    """Commit another training."""
    (project.root / "stages/train.py").write_text(script, encoding="utf-8")
    project.set_params(epochs=EPOCHS)
    project.commit("Another training")


def database_of(project: Project) -> Database:
    return Database(project.env["HEIMDALL_DATABASE_URL"], embedded=False)


def start(project: Project, *arguments: str, to_be_lost: bool = False) -> subprocess.Popen[str]:
    """A worker, as a user starts it."""
    return subprocess.Popen(
        [str(BIN / "heimdall"), "sweep", "--heartbeat-s", "1", *SPACE, *arguments],
        cwd=project.root,
        env=project.env | ({"TO_BE_LOST": "1"} if to_be_lost else {}),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said_until_now(worker: subprocess.Popen[str]) -> str:
    """What a worker printed, which ends it."""
    worker.kill()
    return worker.communicate()[0]


def below(folder: Path) -> list[int]:
    """Processes that work below a folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                if (entry / "cwd").readlink().is_relative_to(folder):
                    found.append(int(entry.name))
            except OSError:
                continue
    return found


def test_two_workers_one_killed(quick: Project, shared_services: Services) -> None:
    """Every trial is accounted for, none twice; the killed one's is done again with its parameters."""
    project, logs = quick, quick.root / sweep.FOLDER / "duel"
    lost = start(project, "--study", "duel", "--trials", "3", to_be_lost=True)
    first, second = logs / "duel-0.log", logs / "duel-1.log"

    def both_train() -> bool:
        return second.is_file() and "epoch 1/" in first.read_text()

    try:
        assert wait_until(first.is_file, LONG_S)
        other = start(project, "--study", "duel", "--trials", "3")
        wait_until(lambda: both_train() or other.poll() is not None, LONG_S)
        assert both_train(), first.read_text() + said_until_now(lost) + said_until_now(other)
    finally:
        lost.kill()
    workspaces = project.root / ".dvc/tmp/exps/standalone"
    abandoned = {
        json.loads(file.read_text())["root_dir"]
        for file in (project.root / ".dvc/tmp/exps/run").glob("*/*.run")
        if json.loads(file.read_text())["name"] == "duel-0"
    }
    assert len(abandoned) == 1
    (workspace,) = (Path(path) for path in abandoned)
    assert workspace.parent == workspaces
    assert wait_until(lambda: not below(workspace), 10), "what the killed worker had started goes on"
    said, _ = other.communicate(timeout=LONG_S)
    assert other.returncode == 0, said
    assert not workspace.exists()  # the next worker of this clone removed it

    trials = studies.load_study(database_of(project), "duel").get_trials()
    states = Counter(trial.state for trial in trials)
    assert states == {TrialState.COMPLETE: 3, TrialState.FAIL: 1}
    assert trials[0].state is TrialState.FAIL
    (again,) = (trial for trial in trials if studies.retried(trial) is not None)
    assert studies.retried(again) == 0
    assert again.params == trials[0].params
    complete = [trial for trial in trials if trial.state is TrialState.COMPLETE]
    assert len({json.dumps(trial.params) for trial in complete}) == 3
    for trial in complete:
        assert_is_experiment(project, trial)
    listed = project.run("dvc", "exp", "list", "--name-only").stdout.split()
    assert sorted(listed) == sorted(trial.user_attrs["experiment"] for trial in complete)

    # The same command again: nothing is left to do, and the report is there.
    output = start(project, "--study", "duel", "--trials", "3").communicate(timeout=LONG_S)[0]
    assert "epoch" not in output
    best = min(complete, key=lambda trial: float(trial.value or 0))
    assert f"best: {best.user_attrs['experiment']}, val_loss" in output
    for picture in ("parallel_coordinates.png", "importance.png"):
        assert (logs / picture).read_bytes().startswith(PNG)
    assert (logs / "trials.csv").read_text().count("\n") == 5
    report = "".join(line for line in output.splitlines(keepends=True) if not line.startswith("sweep: "))
    assert project.run("heimdall", "sweep", "--report", "--study", "duel").stdout == report

    # One trial by itself: its outputs are in the cache, and its commit is all that is needed.
    project.run("dvc", "exp", "apply", best.user_attrs["experiment"])
    assert "Running stage" not in project.run("dvc", "repro").stdout
    recorded = json.loads((project.root / "metrics/train.json").read_text())
    assert recorded["val_loss"] == best.value
    refused = project.run("heimdall", "sweep", "--study", "duel", "--trials", "4", *SPACE, check=False)
    assert refused.returncode == 1
    assert "the working tree has changes" in refused.stdout


@pytest.mark.series
def test_a_grid_in_one_command(quick: Project) -> None:
    """Two workers, every combination once; JSON says what came of it."""
    project = quick
    command = [str(BIN / "heimdall"), "sweep", "--grid", "--study", "grid"]
    lists = ["--space", "lr=1e-4,1e-3", "--space", "dropout_rate=0.1,0.2"]
    with (project.root.parent / "said").open("w+") as said:
        workers = [
            subprocess.Popen([*command, *lists], cwd=project.root, env=project.env, stdout=said, stderr=said)
            for _ in range(2)
        ]
        assert [worker.wait(timeout=300) for worker in workers] == [0, 0], said.seek(0) or said.read()
    report = project.run("bash", "-c", "heimdall sweep --report --study grid --json 2>/dev/null").stdout
    found = json.loads(report)
    assert (found["study"], found["grid"], found["pruning"]) == ("grid", True, False)
    assert [row["state"] for row in found["trials"]] == ["COMPLETE"] * 4
    tried = [(row["lr"], row["dropout_rate"]) for row in found["trials"]]
    assert sorted(tried) == [(1e-4, 0.1), (1e-4, 0.2), (1e-3, 0.1), (1e-3, 0.2)]
    best = min(found["trials"], key=lambda row: float(row["val_loss"]))
    assert found["best"] == best["experiment"]
    both = project.run(*command, *lists, "--trials", "3", check=False)
    assert both.returncode == 2
    assert "Give --trials N or --grid" in both.stdout


def assert_is_experiment(project: Project, trial: FrozenTrial) -> None:
    """The trial's commit has its parameters, and the metric that it was judged by."""
    commit, name = trial.user_attrs["commit"], trial.user_attrs["experiment"]
    assert name == f"duel-{trial.number}"
    reference = project.run("git", "for-each-ref", "--format=%(objectname)", f"refs/exps/*/*/{name}")
    assert reference.stdout.strip() == commit
    metrics = json.loads(project.run("git", "show", f"{commit}:metrics/train.json").stdout)
    assert metrics["val_loss"] == trial.value
    given = yaml.safe_load(project.run("git", "show", f"{commit}:params.yaml").stdout)
    assert {key: float(given[key]) for key in trial.params} == trial.params


@pytest.mark.series
def test_a_real_training_is_pruned(cut: Project, shared_services: Services) -> None:
    """Five trials that were better at every epoch are put into the study before."""
    project = cut
    project.set_params(epochs=30, warmup_epochs=0)
    project.commit("Long enough to be pruned")
    space = spaces.parse(SPACE[1::2], yaml.safe_load((project.root / "params.yaml").read_text()))
    worker = studies.Worker(project.root, "pruned", 6, space, heartbeat_s=1, remote=None)
    study = studies.open_study(worker, database_of(project))
    for _ in range(studies.STARTUP_TRIALS):
        study.add_trial(
            create_trial(
                value=-100.0,
                params={"lr": 1e-3, "dropout_rate": 0.1},
                distributions=dict(space),
                intermediate_values=dict.fromkeys(range(1, 31), -100.0),
            )
        )
    done = project.run("heimdall", "sweep", "--study", "pruned", "--trials", "6", *SPACE)
    assert "pruned-5: pruned" in done.stdout
    trial = study.get_trials()[5]
    assert trial.state is TrialState.PRUNED
    last = max(trial.intermediate_values)
    assert trial.value == trial.intermediate_values[last]
    assert last < 30
    assert "pruned-5" not in project.run("dvc", "exp", "list", "--name-only").stdout
    assert not below(project.root / ".dvc/tmp/exps")
    assert not list((project.root / ".dvc/tmp/exps/standalone").glob("tmp*"))
    # The figure that trials are judged by is one that the real training writes.
    assert isinstance(json.loads((project.root / "metrics/train.json").read_text())[studies.METRIC], float)


@pytest.mark.series
def test_what_fails_what_diverges_and_what_is_pushed(
    quick: Project, shared_services: Services, tmp_path: Path
) -> None:
    """A failure stops the worker and does not count; a loss that is not finite is the trial's own result."""
    project, found = quick, database_of(quick)
    command = ("heimdall", "sweep", "--trials", "1", *SPACE, "--study")
    project.run("git", "init", "--quiet", "--bare", str(tmp_path / "origin.git"))
    project.run("git", "remote", "add", "team", str(tmp_path / "origin.git"))
    project.run(*command, "pushed", "--push", "team")
    assert "pushed-0" in project.run("dvc", "exp", "list", "--name-only", "team").stdout

    train_by(project, "raise SystemExit('train.py: broken on purpose')")
    refused = project.run(*command, "pushed", check=False)
    assert refused.returncode == 1
    assert "it was begun with another revision" in refused.stdout
    failed = project.run(*command, "broken", check=False)
    assert failed.returncode == 1
    assert "experiment broken-0: it failed: train.py: broken on purpose. See .heimdall" in failed.stdout
    assert "Traceback" not in failed.stdout
    assert [trial.state for trial in studies.load_study(found, "broken").get_trials()] == [TrialState.FAIL]

    train_by(project, "raise SystemExit('train.py: train: the loss is nan in epoch 1 at lr=1. Lower lr')")
    assert "not finite" in project.run(*command, "diverging").stdout
    assert [trial.state for trial in studies.load_study(found, "diverging").get_trials()] == [
        TrialState.PRUNED
    ]
