"""A checkout is clean, and nothing else is touched."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import checkout, dvc_lock, git
from tests.reproduce.running_git import run_git

PARAMS = {"lr": 0.001, "split": {"by": "session"}}


def test_a_checkout_is_clean_and_changes_nothing_in_the_repository(repository: Path, tmp_path: Path) -> None:
    commit = git.commit_of(repository, "HEAD")
    (repository / "params.yaml").write_text("lr: 7\n")
    (repository / "stray").write_text("")
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config.local").write_text("[cache]\ndir = /elsewhere\n[core]\nremote = mine\n")
    before = sorted(path for path in (repository / ".git").rglob("*"))
    tree = tmp_path / "a folder" / "tree"
    checkout.make(repository, commit, tree)
    assert dvc_lock.read_yaml(tree / "params.yaml") == PARAMS
    assert not (tree / "stray").exists()
    local = (tree / ".dvc" / "config.local").read_text()
    assert "/elsewhere" not in local
    assert str(tree / ".dvc" / "cache") in local
    assert "remote = mine" in local
    assert sorted(path for path in (repository / ".git").rglob("*")) == before


def test_damaged_settings_of_dvc_are_named(repository: Path, tmp_path: Path) -> None:
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config.local").write_text("remote = s3\n")
    with pytest.raises(HeimdallError, match=r"config\.local: not a DVC configuration"):
        checkout.make(repository, git.commit_of(repository, "HEAD"), tmp_path / "tree")


def test_the_repository_of_a_hook_is_left_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells hooks of a linked worktree by GIT_DIR where they work; a checkout must not go there."""
    commit = git.commit_of(repository, "HEAD")
    run_git(repository, "commit", "--quiet", "--allow-empty", "--message", "Second")
    before = (repository / ".git/HEAD").read_text()
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(repository / ".git"))
        hook.setenv("GIT_INDEX_FILE", str(repository / ".git/index"))
        checkout.make(repository, commit, tmp_path / "tree")
    assert (repository / ".git/HEAD").read_text() == before
    assert (tmp_path / "tree/.git/HEAD").read_text().strip() == commit
