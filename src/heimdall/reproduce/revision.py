"""A git revision of this pipeline: what its dvc.lock says, and a clean checkout of it.

A checkout holds what git holds. What DVC holds comes from the remote on request, never from this
machine's cache, and every byte of it is hashed against dvc.lock: DVC itself trusts a remote's names.
"""

from __future__ import annotations

import graphlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from heimdall.core import artifacts, variables
from heimdall.core.errors import HeimdallError
from heimdall.services import dvc_remote

LOCK_FILE = "dvc.lock"
MISSING = "missing"
# As `git rev-parse --local-env-vars` lists them, without those that only carry configuration.
_TIES = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES",
        "COMMON_DIR",
        "DIR",
        "GRAFT_FILE",
        "IMPLICIT_WORK_TREE",
        "INDEX_FILE",
        "OBJECT_DIRECTORY",
        "PREFIX",
        "SHALLOW_FILE",
        "WORK_TREE",
    )
)


@dataclass(frozen=True)
class StageLock:
    """One stage of a dvc.lock.

    Attributes:
        name: The stage.
        cmd: Its command.
        deps: MD5 of every dependency by path; a folder's ends with ".dir".
        outs: The same of every output.
        params: Parameters by name, as DVC wrote them.
        sha256: Of the whole entry.
    """

    name: str
    cmd: str
    deps: Mapping[str, str]
    outs: Mapping[str, str]
    params: Mapping[str, Any]
    sha256: str


Lock = Mapping[str, StageLock]


def git(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run git on the repository of a folder, whatever repository a hook's environment names.

    `more` are environment variables.
    """
    env = _of_no_repository() | more
    return subprocess.run(["git", *arguments], cwd=folder, env=env, capture_output=True, check=False)


def require_root(repository: Path, subject: str) -> None:
    """Raise a `HeimdallError` about `subject` unless a folder is the root of a clone."""
    if not (repository / ".git").exists():
        raise HeimdallError(subject, "this folder is no clone's root", "Run from the repository's root")


def commit_of(repository: Path, revision: str) -> str:
    """The full hash of the commit that `revision` names.

    Raises:
        HeimdallError: There is none, or git refuses.
    """
    done = git(repository, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode != 0:
        cause = _said(done) or "git knows no such revision here"
        remedy = "Name a commit, branch or tag of this repository (git log --oneline)"
        raise HeimdallError(repr(revision), cause, remedy)
    return done.stdout.decode().strip()


def read(repository: Path, commit: str, path: str) -> bytes | None:
    """The content of a file in a commit; None where the commit has no such file."""
    done = git(repository, "cat-file", "blob", f"{commit}:{path}")
    return done.stdout if done.returncode == 0 else None


def read_lock(repository: Path, commit: str) -> Lock:
    """The dvc.lock of a commit.

    Raises:
        HeimdallError: It has none, or none that can be read.
    """
    content = read(repository, commit, LOCK_FILE)
    if content is None:
        cause = f"commit {commit[:12]} has none"
        raise HeimdallError(LOCK_FILE, cause, "Run `dvc repro` there and commit dvc.lock")
    return parse_lock(content.decode("utf-8", errors="replace"), f"{LOCK_FILE} of {commit[:12]}")


def parse_lock(text: str, subject: str) -> Lock:
    """The stages in a dvc.lock, each after those whose outputs it reads.

    Args:
        text: The file's content.
        subject: What to call it in messages.

    Raises:
        HeimdallError: It is no dvc.lock, or an output lies outside the repository: it would be overwritten.
    """
    try:
        stages = {
            name: StageLock(
                name=name,
                cmd=entry["cmd"],
                deps={item["path"]: item["md5"] for item in entry.get("deps", ())},
                outs={item["path"]: item["md5"] for item in entry.get("outs", ())},
                params=dict(entry.get("params", {}).get("params.yaml", {})),
                sha256=artifacts.fingerprint(entry),
            )
            for name, entry in YAML(typ="safe").load(text)["stages"].items()
        }
        outside = [path for stage in stages.values() for path in stage.outs if _leaves(path)]
        if outside:
            raise ValueError(f"{outside[0]} is outside the repository")
        before = {
            name: [other.name for other in stages.values() if _reads(stage, other)]
            for name, stage in stages.items()
        }
        return {name: stages[name] for name in graphlib.TopologicalSorter(before).static_order()}
    except (YAMLError, KeyError, TypeError, AttributeError, ValueError) as error:
        problem = " ".join(str(error).split())
        raise HeimdallError(subject, f"not a dvc.lock ({problem})", "Restore it from git") from None


def source_of(path: str, lock: Lock) -> StageLock | None:
    """The stage that makes `path`: it is one of its outputs, or lies in one. None for a file of git."""
    return next((stage for stage in lock.values() if _holder(path, stage.outs) is not None), None)


def contradictions(tree: Path, lock: Lock) -> list[str]:
    """Where a checkout's own files contradict its dvc.lock, a sentence each, the stage's name first.

    Commands, parameters and dependencies are compared with dvc.yaml, params.yaml and the files of git;
    a dependency that a stage made, with what the lock says of that stage. Of outputs only the names.
    """
    stages = {name: stage or {} for name, stage in (read_yaml(tree / "dvc.yaml").get("stages") or {}).items()}
    params = read_yaml(tree / "params.yaml")
    found = [f"{name}: in dvc.yaml, not in {LOCK_FILE}" for name in stages if name not in lock]
    for stage in lock.values():
        if stage.name not in stages:
            found.append(f"{stage.name}: in {LOCK_FILE}, not in dvc.yaml")
        elif stages[stage.name].get("cmd") != stage.cmd:
            found.append(f"{stage.name}: another command in dvc.yaml than in {LOCK_FILE}")
        for path in _declared(stages.get(stage.name, {})):
            if path not in stage.deps and path not in stage.outs:
                found.append(f"{stage.name}: {path} is in dvc.yaml, not in {LOCK_FILE}")
        for name, recorded in stage.params.items():
            if _at(params, name) != recorded:
                found.append(
                    f"{stage.name}: {name} is {_at(params, name)} in params.yaml, {recorded} in the lock"
                )
        for path, recorded in stage.deps.items():
            maker = source_of(path, lock)
            now = md5(tree / path) if maker is None else maker.outs.get(path, recorded)
            if now != recorded:
                whose = "in git" if maker is None else f"as {maker.name}'s output"
                found.append(f"{stage.name}: {path} is {now} {whose}, {recorded} as a dependency in the lock")
    return found


def committed_outputs(tree: Path, lock: Lock) -> list[str]:
    """Where outputs that git holds are not those of dvc.lock, a sentence each, the stage's name first.

    Args:
        tree: A checkout to which nothing was pulled yet, so that what is there is git's.
        lock: Its dvc.lock.
    """
    return [
        f"{stage.name}: {path} is {now} in git, {recorded} as an output in the lock"
        for stage in lock.values()
        for path, recorded in stage.outs.items()
        if (now := md5(tree / path)) not in (MISSING, recorded)
    ]


def md5(path: Path) -> str:
    """The hash by which DVC knows a file or a folder (https://dvc.org/doc/user-guide/project-structure).

    A folder's is that of the JSON list of its files' hashes and relative paths, and ends with ".dir"; what
    is not there is "missing".
    """
    if not path.exists():
        return MISSING
    if not path.is_dir():
        with path.open("rb") as stream:
            return hashlib.file_digest(stream, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()
    listing = [{"md5": md5(file), "relpath": file.relative_to(path).as_posix()} for file in _files(path)]
    text = json.dumps(sorted(listing, key=lambda entry: entry["relpath"]))
    return hashlib.md5(text.encode(), usedforsecurity=False).hexdigest() + ".dir"


def files_below(root: Path, outputs: Sequence[str]) -> dict[str, Path]:
    """Every file of these outputs below `root`, by its path in the repository."""
    found = {}
    for output in outputs:
        path = root / output
        files = _files(path) if path.is_dir() else [path] if path.is_file() else []
        found.update({file.relative_to(root).as_posix(): file for file in files})
    return found


def checkout(repository: Path, commit: str, folder: Path) -> None:
    """Make `folder` a clean checkout of `commit`, with the remote's settings and an empty cache.

    Args:
        repository: A clone that has the commit. Nothing in it is changed.
        commit: Full hash.
        folder: Replaced if it exists.

    Raises:
        HeimdallError: git refuses, or .dvc/config.local is damaged.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = str(repository.resolve())
    for arguments in (
        ("clone", "--quiet", "--shared", "--no-checkout", "--", source, str(folder.resolve())),
        ("-C", str(folder.resolve()), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit),
    ):
        done = git(repository, *arguments)
        if done.returncode != 0:
            cause = f"git made no checkout of it ({_said(done)})"
            raise HeimdallError(commit[:12], cause, "Look at `git fsck` and at the free disk space")
    dvc_remote.copy(repository, folder)


def pull(tree: Path, lock: Lock, paths: Sequence[str]) -> None:
    """Bring outputs from the remote into a checkout, and hash every byte of them.

    Args:
        tree: A checkout.
        lock: Its dvc.lock.
        paths: Outputs that stand in the lock; those that git holds are only hashed.

    Raises:
        HeimdallError: The remote does not answer or lacks something, or holds other bytes under the name.
    """
    wanted = [path for path in paths if not is_in_git(tree, path)]
    if wanted and dvc(tree, "pull", "--quiet", *wanted, env=environment()) != 0:
        cause = "the remote did not give it as dvc.lock names it"
        remedy = "See DVC's message above; `dvc push` from the clone that made it, or mend dvc.lock"
        raise HeimdallError(", ".join(f"{path} ({_recorded(lock, path)})" for path in wanted), cause, remedy)
    for path in paths:
        recorded, found = _recorded(lock, path), md5(tree / path)
        if found != recorded:
            stage = source_of(path, lock)
            subject = f"{stage.name if stage else 'git'}: {path}"
            where = "git holds" if path not in wanted else "the remote holds"
            remedy = "dvc.lock and the stored bytes do not belong together: restore either"
            raise HeimdallError(subject, f"{where} {found}, dvc.lock says {recorded}", remedy)


def is_in_git(tree: Path, path: str) -> bool:
    """Whether git, not DVC, holds an output."""
    return bool(git(tree, "ls-files", "--", path).stdout)


def restore(tree: Path) -> None:
    """Give every file that git holds its committed content again."""
    git(tree, "checkout", "--quiet", "--", ".")


def forget_credentials(tree: Path) -> None:
    """Remove the remote's settings from a checkout that is kept for looking at."""
    (tree / dvc_remote.LOCAL).unlink(missing_ok=True)


def environment() -> dict[str, str]:
    """The environment of a command in a checkout: this interpreter's programs first, no tracker."""
    inherited = _of_no_repository()
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return inherited | {"PATH": path, variables.TRACKING.name: "off"}


def dvc(tree: Path, *arguments: str, env: Mapping[str, str]) -> int:
    """Run DVC in a checkout; what it says goes to stderr. Returns its exit code."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=tree, env=env, stdout=sys.stderr.fileno(), check=False).returncode


def _files(folder: Path) -> list[Path]:
    """The files of a folder, in order, without those that .dvcignore leaves out: half written ones."""
    return sorted(
        path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".partial-")
    )


def _of_no_repository() -> dict[str, str]:
    """This process's environment without what ties git to one repository: hooks inherit it."""
    return {name: value for name, value in os.environ.items() if name not in _TIES}


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said on stderr, on one line."""
    return " ".join(done.stderr.decode(errors="replace").split())


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as DVC reads it, to which `1e-3` is a number; empty where it is missing or no mapping."""
    try:
        loaded = YAML(typ="safe").load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, YAMLError):
        loaded = None
    return loaded if isinstance(loaded, dict) else {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted name, in their order."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _declared(stage: Mapping[str, Any]) -> list[str]:
    """The paths of a stage's dependencies and outputs in dvc.yaml, where each may carry options."""
    items = [item for kind in ("deps", "outs", "metrics", "plots") for item in stage.get(kind) or ()]
    paths = [path for item in items for path in ([item] if isinstance(item, str) else item)]
    return [PurePosixPath(path).as_posix() for path in paths]


def _at(params: Mapping[str, Any], name: str) -> Any:  # noqa: ANN401 - any parameter
    """A parameter by its dotted name; None where it is missing."""
    value: Any = params
    for part in name.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    return value


def _leaves(path: str) -> bool:
    return PurePosixPath(path).is_absolute() or ".." in PurePosixPath(path).parts


def _holder(path: str, outs: Mapping[str, str]) -> str | None:
    return next((out for out in outs if path == out or path.startswith(f"{out}/")), None)


def _reads(stage: StageLock, other: StageLock) -> bool:
    return any(_holder(path, other.outs) is not None for path in stage.deps)


def _recorded(lock: Lock, path: str) -> str:
    return next(stage.outs[path] for stage in lock.values() if path in stage.outs)
