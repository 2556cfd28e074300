"""The history of a file in a real repository: every branch, tag and experiment counts."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import history

FILE = "dvc.lock"


class Repository:
    """A git repository whose commits are a second apart."""

    def __init__(self, root: Path) -> None:
        self.root, self.time_s = root, 1_700_000_000
        self.git("init", "--quiet", "--initial-branch", "main")

    def git(self, *arguments: str) -> str:
        self.time_s += 1
        who = {f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
        when = {f"GIT_{role}_DATE": f"{self.time_s} +0000" for role in ("AUTHOR", "COMMITTER")}
        env = os.environ | who | when | {"GIT_CONFIG_GLOBAL": os.devnull}
        return subprocess.run(
            ["git", *arguments], cwd=self.root, env=env, capture_output=True, text=True, check=True
        ).stdout.strip()

    def commit(self, content: str, subject: str) -> str:
        (self.root / FILE).write_text(content)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message", subject)
        return self.git("rev-parse", "HEAD")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path)


def test_a_branch_that_a_merge_undid_is_found(repository: Repository) -> None:
    first = repository.commit("a\n", "First")
    repository.git("checkout", "--quiet", "-b", "side")
    side = repository.commit("b\n", "Side: with a tab\tin it")
    repository.git("checkout", "--quiet", "main")
    repository.git("merge", "--quiet", "--strategy", "ours", "--no-edit", "side")
    repository.git("branch", "--delete", "--force", "side")
    merge = repository.git("rev-parse", "HEAD")
    found = history.changing(repository.root, FILE)
    assert [commit.hash for commit in found] == [merge, side, first]
    assert found[1].subject == "Side: with a tab\tin it"
    assert found[1].date == "2023-11-14"
    assert history.latest(repository.root, FILE) == found[2]


def test_tips_have_the_names_that_a_reader_knows(repository: Repository) -> None:
    first = repository.commit("a\n", "First")
    repository.git("tag", "--annotate", "v1.0.0", "--message", "Release")
    second = repository.commit("b\n", "Second")
    repository.git("update-ref", f"refs/exps/{first[:2]}/{first[2:]}/slow-dawn", first)
    repository.git("update-ref", "refs/exps/exec/EXEC_HEAD", first)
    repository.git("update-ref", "refs/remotes/origin/main", second)
    repository.git("symbolic-ref", "refs/remotes/origin/HEAD", "refs/remotes/origin/main")
    repository.git("tag", "a-blob", repository.git("rev-parse", f"HEAD:{FILE}"))
    assert history.tips(repository.root) == {
        "branch main": second,
        "branch origin/main": second,
        "tag v1.0.0": first,
        "experiment slow-dawn": first,
    }


def test_only_commits_that_hold_the_text_are_named(repository: Repository) -> None:
    first = repository.commit("md5: 1.0\n", "First")
    second = repository.commit("md5: 110\n", "Second")
    again = repository.commit("md5: 1.0\n", "Again")
    found = history.holding(repository.root, [first, second, again, first], FILE, "1.0")
    assert found.keys() == {first, again}
    assert found[first] == found[again] == repository.git("rev-parse", f"HEAD:{FILE}")
    assert history.holding(repository.root, [first], "no such file", "1.0") == {}
    assert history.holding(repository.root, [], FILE, "1.0") == {}


def test_elsewhere_than_in_a_repository_the_error_says_so(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="not a git repository"):
        history.changing(tmp_path, FILE)
