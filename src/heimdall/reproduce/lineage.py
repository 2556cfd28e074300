"""From a model file to the rows that made it, and whether every byte between is the recorded one.

A model file says what it was made of, but no git revision: its bytes depend on content alone. The revision
is found from outside: the file's MD5 stands in some dvc.lock, of the workspace or of a commit, and from
there on every output, module, parameter and command is hashed again.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock, git, history, model_file
from heimdall.reproduce.checks import (
    Check,
    compared,
    file_checks,
    lock_checks,
    module_checks,
    output_checks,
    param_checks,
)
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.history import Commit
from heimdall.reproduce.model_file import Model
from heimdall.reproduce.origin import (
    WORK,
    Origin,
    Say,
    checked_out,
    named,
    output_of,
    recorder,
    require_outputs,
)
from heimdall.reproduce.paths import LOCK_FILE, SNAPSHOT_METRICS
from heimdall.reproduce.rows import Row


@dataclass(frozen=True)
class Lineage:
    """What is known of a model file.

    Attributes:
        model: The file.
        in_workspace: Whether it stands in the workspace's dvc.lock.
        commits: Those that recorded a dvc.lock in which it stands, the newest first.
        tips: Branches, tags and experiments at whose tip it stands.
        kin: Where it stands nowhere: commits whose file of that name was made of the same data with the
            same parameters.
        origin: The tree that it was compared with; None where there is none. Gone by now if of a commit.
        rows: Empty where the data that the file names were not found.
        checks: All comparisons.
    """

    model: Model
    in_workspace: bool
    commits: Sequence[Commit]
    tips: Sequence[str]
    kin: Sequence[Commit]
    origin: Origin | None
    rows: Sequence[Row]
    checks: Sequence[Check]

    @property
    def changed(self) -> list[Check]:
        """The comparisons that failed."""
        return [check for check in self.checks if check.problem]


def trace(repository: Path, file: Path, say: Say) -> Lineage:
    """Find where a model file comes from, and compare everything on the way with what is recorded.

    Args:
        repository: A clone of the repository that made it.
        file: An .onnx file, or a .safetensors file with its .json beside it; it may lie anywhere.
        say: Called with a line of progress.

    Returns:
        What was found. If the file is not that of the workspace, a checkout was made and removed.

    Raises:
        HeimdallError: The file cannot be read or is of another kind, this is no clone, or outputs are
            neither here nor, as recorded, in the remote.
    """
    git.require_root(repository, str(file))
    model = model_file.read(file)
    say(f"reading {LOCK_FILE} of every commit")
    commits, tips = _standing(repository, model.md5)
    workspace = Files(repository).lock if (repository / LOCK_FILE).is_file() else {}
    here = output_of(workspace, model.md5)
    kin = [] if here or commits else _kin(repository, model)
    outputs = dvc_lock.outputs(workspace)
    in_place = next((path for path in outputs if _same_file(repository / path, file)), None)
    nearest = here or (None if commits else in_place)

    checks = [Check(f"{file}: what it says of itself", model.damage)] if model.damage else []
    origin: Origin | None = None
    rows: list[Row] = []
    if nearest is not None:
        origin = Origin("the workspace", repository, workspace, nearest, recorder(repository, commits))
        require_outputs(origin)
        found, rows = _inspect(repository, origin, model, say)
        checks += found
    elif commits or kin:
        # An experiment has a commit of its own, of the same second as the one that took it over.
        commit = recorder(repository, commits) or (commits or kin)[0]
        tree = repository / WORK / commit.hash[:12]
        try:
            origin = checked_out(repository, commit, model, tree, say)
            found, rows = _inspect(repository, origin, model, say)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        checks += found
        if in_place is not None:
            what = f"{LOCK_FILE} of the workspace: MD5 of {in_place}"
            checks.append(compared(what, model.md5, outputs[in_place]))
    else:
        checks.append(Check(f"{file}: MD5", f"found {model.md5}, which stands in no {LOCK_FILE}"))
    return Lineage(model, here is not None, commits, tips, kin, origin, rows, checks)


def _inspect(repository: Path, origin: Origin, model: Model, say: Say) -> tuple[list[Check], list[Row]]:
    """Every comparison with one tree, and the rows."""
    checks = file_checks(origin, model)
    rows: list[Row] = []
    if model.says is not None:
        from heimdall.reproduce.data_checks import data_checks  # noqa: PLC0415 - pandas and torch

        say(f"reading the rows of {origin.name}")
        found, rows = data_checks(origin.tree, model.says)
        checks += found
        checks += param_checks(model.says.params, dvc_lock.params_of(origin.stages))
        checks += module_checks(model.says.modules, origin.name, Files(origin.tree).source)
        commit = origin.commit
        if commit is not None and origin.tree == repository:
            committed = Files(repository, commit.hash).source
            checks += module_checks(model.says.modules, f"commit {commit.hash[:12]}", committed)
    for stage in origin.stages:
        say(f"hashing the outputs of {stage.name}")
        for output, recorded in stage.outs.items():
            checks += output_checks(origin.tree, output, recorded)
    return checks + lock_checks(repository, origin), rows


def _standing(repository: Path, md5: str) -> tuple[list[Commit], list[str]]:
    """The commits that recorded a dvc.lock with this output, and the references at whose tip it stands."""
    changing, tips = history.changing(repository, LOCK_FILE), history.tips(repository)
    searched = [*(commit.hash for commit in changing), *tips.values()]
    blob_of = history.holding(repository, searched, LOCK_FILE, md5)
    commit_of = {blob: commit for commit, blob in blob_of.items()}
    outputs = {blob for blob, commit in commit_of.items() if output_of(_lock_of(repository, commit), md5)}
    held = {commit for commit, blob in blob_of.items() if blob in outputs}
    return (
        [commit for commit in changing if commit.hash in held],
        [name for name, commit in tips.items() if commit in held],
    )


def _kin(repository: Path, model: Model) -> list[Commit]:
    """The commits whose file of the same name was made of the same data with the same parameters."""
    if model.says is None:
        return []
    changing = history.changing(repository, LOCK_FILE)
    hashes = [commit.hash for commit in changing]
    same_data = history.holding(repository, hashes, SNAPSHOT_METRICS, model.says.data_fingerprint)
    found = []
    for commit in changing:
        lock = _lock_of(repository, commit.hash) if commit.hash in same_data else {}
        output = named(lock, model.path.name)
        if output is not None:
            recorded = dvc_lock.params_of(dvc_lock.upstream(lock, output))
            if not any(check.problem for check in param_checks(model.says.params, recorded)):
                found.append(commit)
    return found


def _lock_of(repository: Path, commit: str) -> Lock:
    """The dvc.lock of a commit; empty where it cannot be read: then nothing stands in it."""
    try:
        return dvc_lock.read(repository, commit)
    except HeimdallError:
        return {}


def _same_file(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()
