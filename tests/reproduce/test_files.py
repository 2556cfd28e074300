"""One reader of a file of a version, wherever it is held."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import git, paths
from heimdall.reproduce.files import Files
from tests import REPOSITORY
from tests.reproduce.running_git import run_git


def test_a_file_of_git_is_read_from_its_commit_and_one_of_the_workspace_from_there(repository: Path) -> None:
    former = Files(repository, git.commit_of(repository, "HEAD"))
    (repository / "params.yaml").write_text("lr: 7\n")
    assert former.read("params.yaml").startswith(b"lr: 1e-3")
    assert former.source("nothing") is None
    assert Files(repository).read("params.yaml") == b"lr: 7\n"
    assert Files(repository).source("nothing") is None
    assert list(former.lock) == list(Files(repository).lock)


def test_an_output_is_the_one_that_the_lock_names(repository: Path) -> None:
    path = "metrics/train.json"
    assert Files(repository).read(path) == b"{}\n"
    (repository / path).write_text('{"mae_m": 12}\n')
    with pytest.raises(HeimdallError, match=r"metrics/train\.json: \w{32}, and dvc\.lock says \w{32}"):
        Files(repository).read(path)
    run_git(repository, "commit", "--quiet", "--all", "--message", "Edited")
    with pytest.raises(HeimdallError, match=r"metrics/train\.json of \w{12}: \w{32}, and dvc\.lock says"):
        Files(repository, git.commit_of(repository, "HEAD")).read(path)
    (repository / path).unlink()
    with pytest.raises(HeimdallError, match=r"metrics/train\.json: it is missing"):
        Files(repository).read(path)


def test_what_no_stage_makes_and_git_does_not_hold_is_named(repository: Path) -> None:
    with pytest.raises(HeimdallError, match=r"models/x of \w{12}: neither git has it, nor does a stage"):
        Files(repository, git.commit_of(repository, "HEAD")).read("models/x")
    with pytest.raises(HeimdallError, match=r"params\.yaml: no stage in its dvc\.lock makes it"):
        Files(repository).output("params.yaml")


def test_the_named_paths_are_outputs_of_the_pipeline() -> None:

    stages = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text())["stages"].values()
    items = [
        item for stage in stages for kind in ("outs", "metrics", "plots") for item in stage.get(kind, [])
    ]
    made = {item if isinstance(item, str) else next(iter(item)) for item in items}
    named = {value for name, value in vars(paths).items() if name.isupper() and name != "LOCK_FILE"}
    assert {
        path for path in named if not any(path == out or path.startswith(f"{out}/") for out in made)
    } == set()
