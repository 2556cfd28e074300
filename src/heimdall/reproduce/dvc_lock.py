"""dvc.lock: what it says of each stage, the hashes it is made of, and where files contradict it."""

from __future__ import annotations

import graphlib
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.error import YAMLError

from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import git
from heimdall.reproduce.paths import LOCK_FILE

MISSING = "missing"


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


def read(repository: Path, commit: str) -> Lock:
    """The dvc.lock of a commit.

    Raises:
        HeimdallError: It has none, or none that can be read.
    """
    content = git.blob(repository, commit, LOCK_FILE)
    if content is None:
        cause = f"commit {commit[:12]} has none"
        remedy = "Name a revision that has one: `git log --oneline dvc.lock` lists some"
        raise HeimdallError(LOCK_FILE, cause, remedy)
    return parse(content.decode("utf-8", errors="replace"), f"{LOCK_FILE} of {commit[:12]}")


def parse(text: str, subject: str) -> Lock:
    """The stages in a dvc.lock, each after those whose outputs it reads.

    Args:
        text: The file's content.
        subject: What to call it in messages.

    Raises:
        HeimdallError: It is no dvc.lock, or an output lies outside the repository: it would be overwritten.
    """
    remedies.refuse_conflict(text, LOCK_FILE)
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
        remedy = "Restore it with `git checkout dvc.lock`, or delete it and run `dvc repro`"
        raise HeimdallError(subject, f"not a dvc.lock ({problem})", remedy) from None


def source_of(path: str, lock: Lock) -> StageLock | None:
    """The stage that makes `path`: it is one of its outputs, or lies in one. None for a file of git."""
    return next((stage for stage in lock.values() if _holder(path, stage.outs) is not None), None)


def outputs(lock: Lock) -> dict[str, str]:
    """MD5 of every output by path."""
    return {path: md5 for stage in lock.values() for path, md5 in stage.outs.items()}


def upstream(lock: Lock, output: str) -> list[StageLock]:
    """The stage that makes an output and all before it, in the order of dvc.lock.

    That order is no order of dependence: DVC appends a new stage at the end.
    """
    found: set[str] = set()
    new = {stage.name for stage in lock.values() if output in stage.outs}
    while new:
        found |= new
        makers = [source_of(path, lock) for name in sorted(new) for path in lock[name].deps]
        new = {maker.name for maker in makers if maker is not None} - found
    return [stage for stage in lock.values() if stage.name in found]


def params_of(stages: Iterable[StageLock]) -> dict[str, Any]:
    """Every parameter of these stages by dotted name; where two have it, the first one's."""
    merged: dict[str, Any] = {}
    for stage in stages:
        merged = flat(stage.params) | merged
    return merged


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


def read_yaml(path: Path) -> dict[str, Any]:
    """A YAML file as DVC reads it, to which `1e-3` is a number; empty where it is missing or no mapping."""
    try:
        return parse_yaml(path.read_bytes())
    except OSError:
        return {}


def parse_yaml(content: bytes) -> dict[str, Any]:
    """As `read_yaml`, of what a file holds."""
    try:
        loaded = YAML(typ="safe").load(content.decode("utf-8"))
    except (UnicodeDecodeError, YAMLError):
        loaded = None
    return loaded if isinstance(loaded, dict) else {}


def flat(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested parameters by dotted name, in their order."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {f"{prefix}{name}": value}
    return found


def _files(folder: Path) -> list[Path]:
    """The files of a folder, in order, without those that .dvcignore leaves out: half written, compiled."""
    return sorted(
        path
        for path in folder.rglob("*")
        if path.is_file()
        and not path.name.startswith(".partial-")
        and path.suffix != ".pyc"
        and "__pycache__" not in path.relative_to(folder).parts
    )


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
