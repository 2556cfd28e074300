"""Where a model file was made: a tree of files with its dvc.lock, of the workspace or of a commit."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import checkout, dvc_lock, history
from heimdall.reproduce.dvc_lock import Lock, StageLock
from heimdall.reproduce.history import Commit
from heimdall.reproduce.model_file import Model
from heimdall.reproduce.paths import LOCK_FILE

WORK = Path(".heimdall/lineage")


Say = Callable[[str], object]


@dataclass(frozen=True)
class Origin:
    """Where a model was made: a tree of files with its dvc.lock.

    Attributes:
        name: "the workspace" or "commit ...".
        tree: The files.
        lock: Its dvc.lock.
        output: The model's path there.
        commit: The one that recorded that dvc.lock; None where it is not committed.
    """

    name: str
    tree: Path
    lock: Lock
    output: str
    commit: Commit | None

    @property
    def stages(self) -> list[StageLock]:
        """The stage that makes the model and all before it, in order."""
        return dvc_lock.upstream(self.lock, self.output)


def checked_out(repository: Path, commit: Commit, model: Model, tree: Path, say: Say) -> Origin:
    """A clean checkout of a commit with every output of the stages that led to the model."""
    name = f"commit {commit.hash[:12]}"
    say(f"making a clean checkout of {name} in {tree}")
    checkout.make(repository, commit.hash, tree)
    lock = dvc_lock.read(repository, commit.hash)
    output = output_of(lock, model.md5) or str(named(lock, model.path.name))
    origin = Origin(name, tree, lock, output, commit)
    outputs = [path for stage in origin.stages for path in stage.outs]
    say(f"bringing {len(outputs)} outputs from git and the remote")
    checkout.pull(tree, lock, outputs)
    return origin


def recorder(repository: Path, commits: Sequence[Commit]) -> Commit | None:
    """The commit from which HEAD has its dvc.lock, if the model stands there."""
    latest = history.latest(repository, LOCK_FILE)
    return latest if latest in commits else None


def require_outputs(origin: Origin) -> None:
    """Raise if outputs that DVC holds are not in the tree: absent is not changed."""
    absent = [path for stage in origin.stages for path in stage.outs if not (origin.tree / path).exists()]
    missing = [path for path in absent if not checkout.is_in_git(origin.tree, path)]
    if missing:
        cause = "not in the workspace, so that nothing can be compared with it"
        raise HeimdallError(", ".join(missing), cause, remedies.BRING)


def output_of(lock: Lock, md5: str) -> str | None:
    """The path of the output with this MD5."""
    return next((path for path, recorded in dvc_lock.outputs(lock).items() if recorded == md5), None)


def named(lock: Lock, name: str) -> str | None:
    """The path of the output with this file name."""
    return next((path for path in dvc_lock.outputs(lock) if PurePosixPath(path).name == name), None)
