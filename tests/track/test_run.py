"""Which revision a run is of."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from heimdall.reproduce import git
from heimdall.track import training
from heimdall.track.run import EXPERIMENT_NAME, revision_name, revision_tags, titled
from tests.track.runs import EPOCHS, METRICS, STARTED_MS


def test_what_the_pipeline_writes_is_no_change_of_its_making(tmp_path: Path) -> None:
    assert git.run(tmp_path, "init", "--quiet").returncode == 0
    for name in ("params.yaml", "dvc.lock", "metrics/train.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    assert git.run(tmp_path, "add", "--all").returncode == 0
    assert git.run(tmp_path, *identity, "commit", "--quiet", "--message", "All").returncode == 0
    commit = git.commit_of(tmp_path, "HEAD")
    for name in ("dvc.lock", "metrics/train.json"):
        (tmp_path / name).write_text("after")
    assert revision_tags(tmp_path) == {"git_revision": commit, "git_dirty": "false"}
    (tmp_path / "params.yaml").write_text("after")
    assert revision_tags(tmp_path) == {"git_revision": commit, "git_dirty": "true"}


def test_a_run_is_named_by_stage_experiment_or_branch_and_revision(tmp_path: Path) -> None:
    assert git.run(tmp_path, "init", "--quiet", "--initial-branch", "main").returncode == 0
    of_commit = {"git_revision": "1a2b3c4d5e6f", "git_dirty": "false"}
    assert titled("train", revision_name(of_commit, tmp_path)) == "train main 1a2b3c4"
    changed = of_commit | {"git_dirty": "true"}
    assert titled("train", revision_name(changed, tmp_path)) == "train main 1a2b3c4-dirty"
    # An experiment of DVC differs from its revision by definition.
    experiment = changed | {EXPERIMENT_NAME: "slower"}
    assert titled("pretrain", revision_name(experiment, tmp_path)) == "pretrain slower 1a2b3c4"


def test_revision_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert revision_tags(tmp_path) == {}
    assert titled("train", revision_name({}, tmp_path)) == "train"


def test_the_parameters_that_a_training_did_not_use_stand_in_its_params_yaml_too(tmp_path: Path) -> None:
    """Fusion names a part of the section `model`; who takes the file for params.yaml needs all of it."""
    (tmp_path / "params.yaml").write_text("backbone: atto\nmodel: {name: single, pretrained: false}\n")
    given = {"lr": 1e-3, "model": {"name": "fusion"}}
    run = training.training_run(tmp_path, given, EPOCHS, METRICS, started_ms=STARTED_MS, stage="train")
    assert run.params == given
    assert yaml.safe_load(run.files["params.yaml"]) == {
        "backbone": "atto",
        "lr": 1e-3,
        "model": {"name": "fusion", "pretrained": False},
    }
