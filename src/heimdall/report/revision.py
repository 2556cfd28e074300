"""Which version a report is about, and what changed since the run before it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock, git, history
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.history import Commit
from heimdall.reproduce.paths import LOCK_FILE

_CODE = ("src/", "stages/", "requirements/", "sql")
_DATA = "data/snapshot"


@dataclass(frozen=True)
class Change:
    """A parameter that had another value in the run before.

    Attributes:
        name: Dotted, as in params.yaml.
        now: Its value; None where this run has no such parameter.
        before: Its value in the run before; None where that had no such parameter.
    """

    name: str
    now: Any
    before: Any


@dataclass(frozen=True)
class Former:
    """The run before: the last commit whose dvc.lock is another one.

    Attributes:
        commit: It.
        params: The parameters that differ.
        code: The paths of code and locked libraries that differ, as stages depend on them.
        same_data: Whether both runs have the same snapshot, byte for byte.
    """

    commit: Commit
    params: tuple[Change, ...]
    code: tuple[str, ...]
    same_data: bool


@dataclass(frozen=True)
class Revision:
    """A version of the repository.

    Attributes:
        commit: The commit; of a working tree with changes the one that it began from.
        changed: Paths in git whose content differs from the commit, and code of stages that is not in git;
            none of a commit or a clean working tree.
        former: The run before; None if there is none in the history that is here.
    """

    commit: Commit
    changed: tuple[str, ...]
    former: Former | None


def find(repository: Path, typed: str | None, lock: Lock) -> Revision:
    """What is known of a version.

    Args:
        repository: A clone's root.
        typed: A commit, branch or tag; None for the working tree.
        lock: Its dvc.lock.

    Raises:
        HeimdallError: git knows no such revision, or there is no commit.
    """
    commit = git.commit_of(repository, typed or "HEAD")
    changed = () if typed else _changed(repository)
    return Revision(history.one(repository, commit), changed, _former(repository, commit, lock))


def _changed(repository: Path) -> tuple[str, ...]:
    """The files of git that the working tree has in another version than HEAD, and new code of stages."""
    changed = _paths(repository, "diff", "--name-only", "-z", "HEAD", "--")
    # A pathspec without a match is no error here; DVC hashes the folders whole, with new files in them.
    new = _paths(repository, "ls-files", "--others", "--exclude-standard", "-z", "--", *_CODE)
    return tuple(sorted({*changed, *new}))


def _paths(repository: Path, *arguments: str) -> list[str]:
    """The paths that a command of git prints, each with a zero byte behind it."""
    done = git.run(repository, *arguments)
    if done.returncode != 0:
        raise git.refused("git", done, f"`git {arguments[0]}` failed", "Run from the root of a clone")
    return list(filter(None, done.stdout.decode(errors="replace").split("\0")))


def _former(repository: Path, commit: str, lock: Lock) -> Former | None:
    for earlier in history.before(repository, commit, LOCK_FILE):
        try:
            former = Files(repository, earlier.hash).lock
        except HeimdallError:
            continue  # it was removed there, or cannot be read
        if _content(former) != _content(lock):
            return Former(
                earlier,
                _changes(_params(former), _params(lock)),
                _code(former, lock),
                _outputs(former).get(_DATA) == _outputs(lock).get(_DATA),
            )
    return None


def _content(lock: Lock) -> dict[str, str]:
    return {name: stage.sha256 for name, stage in lock.items()}


def _params(lock: Lock) -> dict[str, Any]:
    return dvc_lock.params_of(lock.values())


def _outputs(lock: Lock) -> dict[str, str]:
    return dvc_lock.outputs(lock)


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> tuple[Change, ...]:
    names = list(dict.fromkeys([*now, *before]))
    return tuple(
        Change(name, now.get(name), before.get(name))
        for name in names
        if (name in now, now.get(name)) != (name in before, before.get(name))
    )


def _code(former: Lock, lock: Lock) -> tuple[str, ...]:
    before, now = (
        {path: md5 for stage in one.values() for path, md5 in stage.deps.items()} for one in (former, lock)
    )
    paths = sorted({*before, *now})
    return tuple(path for path in paths if path.startswith(_CODE) and before.get(path) != now.get(path))
