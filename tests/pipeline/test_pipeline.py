"""What a user types, on a tiny simulated world, with real DVC, PostgreSQL and S3."""

from __future__ import annotations

import json
import re
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pandas as pd
import pytest
import yaml

from heimdall.reproduce import dvc_lock, git
from heimdall.storage import endpoints
from heimdall.storage.objectstore import ObjectStore
from tests.projects import SEED, SESSIONS, Project, ran

SCREEN = 120  # columns


def test_repro_builds_every_output(built: Project) -> None:
    evaluation = json.loads((built.root / "metrics/eval_full.json").read_text())
    assert evaluation["data"] == "simulated"
    for split in ("val", "test"):
        assert evaluation[split]["localizer"]["n"] > 0
        assert evaluation[split]["localizer"]["mae_m"] > 0
        assert evaluation[split]["mean_position"]["n"] == evaluation[split]["localizer"]["n"]
    for file in ("models/localizer.onnx", "models/localizer.int8.onnx", "models/README.md"):
        assert (built.root / file).stat().st_size > 0
    assert built.run("git", "status", "--porcelain").stdout == ""


def test_a_second_repro_runs_nothing(project: Project) -> None:
    before = project.hashes()
    output = project.run("dvc", "repro").stdout
    assert ran(output) == []
    assert "Data and pipelines are up to date." in output
    assert project.hashes() == before


def test_seeding_again_changes_nothing(built: Project) -> None:
    output = built.run(
        "heimdall", "demo", "seed", "--sessions", str(SESSIONS), "--seed", str(SEED), "--transmitters", "12"
    ).stdout
    assert "Nothing was changed" in output


def test_an_experiment_with_another_learning_rate(slower: Project, tmp_path: Path) -> None:
    project = slower.copy(tmp_path / "heimdall")
    project.run("git", "reset", "--quiet", "--soft", "HEAD~")  # as before it was committed
    record = json.loads((project.root / "models/localizer.json").read_text())
    assert record["params"]["lr"] == 1e-5
    difference = json.loads(project.run("dvc", "metrics", "diff", "--json").stdout)
    assert difference["metrics/eval.json"]["mae_m"]["diff"] != 0
    assert "lr" in project.run("dvc", "params", "diff").stdout
    shown = project.run("dvc", "metrics", "diff").stdout
    assert re.search(r"metrics/eval\.json +mae_m ", shown)
    assert max(len(line) for line in shown.splitlines()) <= SCREEN
    table = project.run("dvc", "metrics", "show").stdout.splitlines()
    assert [line.split()[0] for line in table] == ["Path", "metrics/eval.json", "metrics/eval_val.json"]
    assert max(len(line) for line in table) <= SCREEN


def test_a_queued_experiment_leaves_its_run_in_the_repository_s_store(
    slower: Project, tmp_path: Path
) -> None:
    project = slower.copy(tmp_path / "heimdall")
    project.run("git", "reset", "--quiet", "--hard", "HEAD~")
    project.run("dvc", "checkout")
    assert_recorded(project, "lr", {1e-5})


@pytest.mark.series
def test_queued_experiments_run_in_workspaces_of_their_own(project: Project) -> None:
    project.run("dvc", "exp", "run", "--queue", "-S", "dropout_rate=0.1,0.3")
    before = project.hashes()
    project.run("dvc", "exp", "run", "--run-all", HEIMDALL_TRACKING="on")
    assert project.hashes() == before
    assert_recorded(project, "dropout_rate", {0.1, 0.3})


def assert_recorded(project: Project, parameter: str, queued: set[float]) -> None:
    """The workspaces of experiments are removed; what MLflow has of them stays in the repository's store."""
    shown = json.loads(project.run("dvc", "exp", "show", "--json").stdout)
    experiments = shown[1]["experiments"]
    assert experiments is not None
    assert len(experiments) == len(queued)
    tried = {
        float(experiment["revs"][0]["data"]["params"]["params.yaml"]["data"][parameter])
        for experiment in experiments
    }
    assert tried == queued

    names = {experiment["revs"][0]["name"] for experiment in experiments}
    trained = {experiment_of(name): run_id for run_id, name in mlflow_runs(project)}
    assert trained.keys() == names
    output = project.run("heimdall", "track").stdout
    for name in names:
        assert f"experiment {name}: evaluation, plots and model are in run {trained[name]}\n" in output
    runs = mlflow_runs(project)
    assert {experiment_of(name): run_id for run_id, name in runs if name.startswith("train ")} == trained
    assert len(runs) == len(queued) + 1  # and the workspace's, which was trained without a tracker
    assert project.run("heimdall", "track").stdout.count("recorded already") == len(runs)
    assert mlflow_runs(project) == runs
    for run_id, _ in runs:
        assert_complete(project, run_id)


def experiment_of(name: str) -> str:
    """The experiment in the name of a training's run."""
    match = re.fullmatch(r"train (\S+) [0-9a-f]{7}", name)
    assert match, name
    return match.group(1)


def mlflow_runs(project: Project) -> list[tuple[str, str]]:
    """Identifier and name of the runs in the embedded store."""
    with sqlite3.connect(project.root / ".heimdall" / "mlflow.db") as store:
        return store.execute("SELECT run_uuid, name FROM runs ORDER BY run_uuid").fetchall()


def assert_complete(project: Project, run_id: str) -> None:
    """A run has evaluation, hashes, and in S3 its plots and a model with its signature."""
    with sqlite3.connect(project.root / ".heimdall" / "mlflow.db") as store:
        tags = dict(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)))
        metrics = dict(store.execute("SELECT key, value FROM latest_metrics WHERE run_uuid = ?", (run_id,)))
        (location,) = store.execute("SELECT artifact_uri FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    assert metrics["test.mae_m"] > 0
    assert metrics["val.mae_m"] > 0
    assert metrics["gradient_norm"] > 0
    snapshot = dvc_lock.read(project.root, git.commit_of(project.root, "HEAD"))["snapshot"]
    assert tags["md5 data/snapshot"] == snapshot.outs["data/snapshot"]
    assert tags["git_dirty"] == "false"
    bucket = project.env["HEIMDALL_MLFLOW_BUCKET"]
    with pytest.MonkeyPatch.context() as patch:
        for variable, value in project.env.items():
            patch.setenv(variable, value)
        store_of_files = ObjectStore(endpoints.s3(), bucket)
    prefix = f"{location.removeprefix(f's3://{bucket}/')}/"
    files = {key.removeprefix(prefix) for key in store_of_files.head_all(prefix)}
    assert {
        "params.yaml",
        "dvc.lock",
        "metrics/eval_full.json",
        "plots/evaluation.png",
        "model/model.onnx",
    } <= files
    described = yaml.safe_load(store_of_files.get(f"{prefix}model/MLmodel", 1_000_000))
    outputs = {output["name"] for output in json.loads(described["signature"]["outputs"])}
    assert {"positions", "uncertainties"} <= outputs


def test_a_colleague_pulls_what_was_pushed(built: Project, tmp_path: Path) -> None:
    colleague = built.clone(tmp_path / "heimdall")
    colleague.run("dvc", "pull")
    assert colleague.hashes() == built.hashes()
    assert ran(colleague.run("dvc", "repro").stdout) == []


def test_a_bad_parameter_is_refused_before_any_work(project: Project) -> None:
    """A value of no such kind; tests/pipeline/test_stages.py has misspelt names and numbers out of range."""
    before = project.hashes()
    project.set_params(backbone="huge")
    done = project.run("python", "stages/train.py", check=False)
    assert done.returncode == 1
    assert re.fullmatch(r"train\.py: params\.yaml: .*backbone.*\n", done.stdout)
    assert project.hashes() == before


def test_a_misspelt_override_is_refused(project: Project) -> None:
    done = project.run("dvc", "exp", "run", "-S", "lrr=1", check=False)
    assert done.returncode != 0
    assert "lrr" in done.stdout


@pytest.mark.series
def test_a_random_split_is_one_parameter_away(project: Project) -> None:
    project.run("dvc", "exp", "run", "-S", "split.by=session")
    index = pd.read_parquet(project.root / "data/features/index.parquet")
    assert (index.groupby("session_id")["split"].nunique() == 1).all()
    assert (index.dropna(subset="source_id").groupby("source_id")["split"].nunique() == 2).any()
    assert json.loads((project.root / "metrics/eval_full.json").read_text())["split_by"] == "session"


# One more session is of tests/pipeline/snapshot/test_collector.py, another shard of featurize/test_reuse.py.
@pytest.mark.series
def test_more_sessions_cost_only_their_own_shards(make_project: Callable[[], Project]) -> None:
    project = make_project()
    seed = ("heimdall", "demo", "seed", "--seed", "9", "--transmitters", "6", "--bad", "none")
    project.run(*seed, "--sessions", "12")
    early = "2026-01-15T00:00:00Z"
    project.set_params(snapshot={"as_of": early, "shard_sessions": 1})
    project.run("dvc", "repro", "featurize")
    shards = {
        path.name
        for folder in ("snapshot/iq", "features/shards")
        for path in (project.root / "data" / folder).iterdir()
    }
    sessions = json.loads((project.root / "metrics/snapshot.json").read_text())["sessions"]
    project.set_params(snapshot={"as_of": "2026-11-01T00:00:00Z"})
    project.run("dvc", "repro", "featurize")
    after = {
        path.name
        for folder in ("snapshot/iq", "features/shards")
        for path in (project.root / "data" / folder).iterdir()
    }
    added = json.loads((project.root / "metrics/snapshot.json").read_text())["sessions"] - sessions
    assert added > 0
    assert shards < after
    assert len(after - shards) == 2 * added
