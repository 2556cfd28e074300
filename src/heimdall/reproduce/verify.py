"""Rebuild a revision from its inputs, without any cache, and compare every output with its dvc.lock."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import child, determinism, locks, machine
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.core.machine import Machine
from heimdall.reproduce import checkout, differences, dvc_lock, git
from heimdall.reproduce.differences import Difference
from heimdall.reproduce.dvc_lock import Lock, StageLock
from heimdall.reproduce.paths import LOCK_FILE
from heimdall.services import dvc_remote
from heimdall.storage import endpoints
from heimdall.storage.identities import Identity

SNAPSHOT = "snapshot"  # the stage that reads the world: its inputs are no part of a revision
WORK = Path(".heimdall/verify")


@dataclass(frozen=True)
class Row:
    """One output of a revision.

    Attributes:
        stage: Whose output it is.
        output: Its path.
        recorded: Its MD5 in dvc.lock.
        rebuilt: What was found: of the rebuilt output, or of the bytes in the remote.
        is_input: Whether it was taken from the remote, to rebuild others from.
    """

    stage: str
    output: str
    recorded: str
    rebuilt: str
    is_input: bool

    @property
    def equal(self) -> bool:
        """Whether the bytes are those that dvc.lock names."""
        return self.recorded == self.rebuilt


@dataclass(frozen=True)
class Verification:
    """What a verification found.

    Attributes:
        commit: Full hash.
        rows: Every output that was rebuilt or used.
        contradictions: Where the commit's own files contradict its dvc.lock.
        stage: The first stage whose rebuilt output differs, None where none does.
        differences: What differs in that stage's outputs, as far as the recorded bytes are there.
        obstacles: Outputs of that stage whose recorded bytes are not there, and why.
        here: The machine that rebuilt it.
        reference: The recorded machine on which the revision's dvc.lock was made, None if none is recorded.
        tolerance: Declared in the revision's params.yaml: the share of an array's largest magnitude by which
            its values may differ elsewhere than on the recorded machine. None where none is declared.
        kept: Where the rebuilt files are (rebuilt/) and the recorded ones (tree/), if any differ.
    """

    commit: str
    rows: Sequence[Row]
    contradictions: Sequence[str]
    stage: str | None
    differences: Sequence[Difference]
    obstacles: Sequence[str]
    here: Machine
    reference: Machine | None
    tolerance: float | None
    kept: Path | None

    @property
    def proven(self) -> bool:
        """Whether every output is equal and nothing contradicts dvc.lock."""
        return not self.contradictions and all(row.equal for row in self.rows)


def verify(
    repository: Path, name: str, first: str | None, source: bool, say: Callable[[str], object]
) -> Verification:
    """Rebuild a revision in a clean checkout from what the remote and git hold, and compare.

    Args:
        repository: A clone that has the revision, with access to its remote.
        name: Commit, branch or tag.
        first: The first stage to rebuild, with all that follow from it; its inputs come from the remote. None
            for every stage but the snapshot.
        source: Rebuild the snapshot, too, from the database and the bucket.
        say: Called with a line of progress.

    Returns:
        What was found. The checkout is removed unless an output differs.

    Raises:
        HeimdallError: This is no clone's root, there is no such revision or stage, an input is not in the
            remote as recorded, a stage fails.
    """
    git.require_root(repository, name)
    commit = git.commit_of(repository, name)
    if git.run(repository, "status", "--porcelain", "--untracked-files=no").stdout:
        say("changes that are not committed here are left out")
    lock = dvc_lock.read(repository, commit)
    stages = chosen(lock, first, source)
    folder = repository / WORK / commit[:12]
    snapshot_env = {}
    if source:
        found = endpoints.resolve(repository, identity=Identity.SNAPSHOT).as_environment()
        snapshot_env = child.settled(
            checkout.environment_of_code(Service.LIBPQ, Service.S3, Service.CLUSTER) | found
        )
    made = None
    with locks.alone(folder):
        try:
            made = _verification(
                repository, commit, lock, stages, folder=folder, snapshot_env=snapshot_env, say=say
            )
        finally:
            if made is None or made.kept is None:
                shutil.rmtree(folder, ignore_errors=True)
            else:
                checkout.forget_credentials(folder / "tree")
    return made


def chosen(lock: Lock, first: str | None, source: bool) -> list[StageLock]:
    """The stages to rebuild, in order.

    Raises:
        HeimdallError: There is no such stage, or none with an output, or it is the snapshot and the source
            was not asked for.
    """
    if first is None:
        stages = [stage for stage in lock.values() if source or stage.name != SNAPSHOT]
        if not any(stage.outs for stage in stages):
            cause = "it names no output that could be rebuilt"
            raise HeimdallError(LOCK_FILE, cause, "Run `dvc repro` there and commit dvc.lock")
        return stages
    if first not in lock:
        raise HeimdallError(f"--from {first}", "no such stage in dvc.lock", f"Name one of {', '.join(lock)}")
    if first == SNAPSHOT and not source:
        cause = "the snapshot is rebuilt from the database and the bucket"
        raise HeimdallError(f"--from {SNAPSHOT}", cause, "Ask for that with --source")
    if first != SNAPSHOT and source:
        raise HeimdallError(
            "--source", f"the snapshot is not rebuilt from {first} on", "Give only one of them"
        )
    names = {first}
    for stage in lock.values():
        makers = (dvc_lock.source_of(path, lock) for path in stage.deps)
        if any(maker is not None and maker.name in names for maker in makers):
            names.add(stage.name)
    return [stage for stage in lock.values() if stage.name in names]


def inputs(lock: Lock, stages: Sequence[StageLock]) -> list[str]:
    """All outputs of every stage that is not rebuilt and gives an input to one that is."""
    rebuilt = {stage.name for stage in stages}
    makers = [dvc_lock.source_of(path, lock) for stage in stages for path in stage.deps]
    givers = {maker.name for maker in makers if maker is not None} - rebuilt
    return [path for stage in lock.values() if stage.name in givers for path in stage.outs]


def _verification(
    repository: Path,
    commit: str,
    lock: Lock,
    stages: Sequence[StageLock],
    *,
    folder: Path,
    snapshot_env: Mapping[str, str],
    say: Callable[[str], object],
) -> Verification:
    """The verification in a folder of its own, which what a former one kept leaves."""
    tree, rebuilt = folder / "tree", folder / "rebuilt"
    shutil.rmtree(rebuilt, ignore_errors=True)
    say(f"making a clean checkout of {commit[:12]} in {tree}")
    checkout.make(repository, commit, tree)
    contradictions = [*dvc_lock.contradictions(tree, lock), *dvc_lock.committed_outputs(tree, lock)]
    taken = inputs(lock, stages)
    if taken:
        say(f"bringing {', '.join(taken)} from the remote")
        checkout.pull(tree, lock, taken)
    rows = [_input_row(lock, path) for path in taken]
    rows += _rebuild(tree, stages, snapshot_env, say)
    differing = next((row.stage for row in rows if not row.equal), None)
    differences: list[Difference] = []
    obstacles: list[str] = []
    if differing is not None:
        own = [row for row in rows if row.stage == differing]
        differences, obstacles = _differences(tree, rebuilt, lock, own)
    return Verification(
        commit,
        rows,
        contradictions,
        differing,
        differences,
        obstacles,
        machine.here(determinism.read_threads(tree / determinism.PARAMS_FILE)),
        _reference(tree, say),
        _tolerance(tree),
        folder if differing else None,
    )


def _rebuild(
    tree: Path, stages: Sequence[StageLock], snapshot_env: Mapping[str, str], say: Callable[[str], object]
) -> list[Row]:
    """Remove the outputs of these stages, run the stages, and hash what they made."""
    for stage in stages:
        for output in stage.outs:
            _remove(tree / output)
    rows = []
    for number, stage in enumerate(stages, 1):
        label = f"[{number}/{len(stages)}] {stage.name}"
        say(label)
        begin_s = time.monotonic()
        # --single-item: what is in the workspace is what it reads; --no-commit: nothing is cached.
        options = ("--single-item", "--force", "--no-run-cache", "--no-commit", "--quiet")
        told = snapshot_env if stage.name == SNAPSHOT else checkout.environment_of_code(Service.CLUSTER)
        with dvc_remote.withheld(tree):
            code = checkout.dvc(tree, "repro", *options, stage.name, env=told)
        if code != 0:
            cause = "the stage failed; its message is above"
            remedy = "A revision is rebuilt with its own libraries: `make setup` in a checkout of it"
            raise HeimdallError(stage.name, cause, remedy)
        say(f"{label}: {time.monotonic() - begin_s:.0f} s")
        for output, recorded in stage.outs.items():
            rows.append(Row(stage.name, output, recorded, dvc_lock.md5(tree / output), is_input=False))
    return rows


def _input_row(lock: Lock, path: str) -> Row:
    """The row of an input, whose bytes `revision.pull` has checked."""
    stage = dvc_lock.source_of(path, lock)
    assert stage is not None  # noqa: S101 - inputs are outputs of stages
    return Row(stage.name, path, stage.outs[path], stage.outs[path], is_input=True)


def _differences(
    tree: Path, rebuilt: Path, lock: Lock, rows: Sequence[Row]
) -> tuple[list[Difference], list[str]]:
    """What differs in a stage's outputs, and which could not be compared and why. Moves them to `rebuilt`."""
    for row in rows:
        if (tree / row.output).exists():
            (rebuilt / row.output).parent.mkdir(parents=True, exist_ok=True)
            shutil.move(tree / row.output, rebuilt / row.output)
    checkout.restore(tree)
    obstacles = []
    recorded: dict[str, Path] = {}
    found: dict[str, Path] = {}
    for row in rows:
        try:
            if not row.equal:
                checkout.pull(tree, lock, [row.output])
        except HeimdallError as error:
            obstacles.append(str(error))
            continue
        # Equal ones, too: other outputs may name their files.
        recorded |= dvc_lock.files_below(rebuilt if row.equal else tree, [row.output])
        found |= dvc_lock.files_below(rebuilt, [row.output])
    return differences.compare(recorded, found), obstacles


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def _reference(tree: Path, say: Callable[[str], object]) -> Machine | None:
    """The machine recorded at the revision; None where there is none, or one in a form of another time."""
    path = tree / machine.REFERENCE
    if not path.is_file():
        return None
    try:
        return machine.read(path)
    except HeimdallError as error:
        say(f"{machine.REFERENCE} of this revision: {error.cause}")
        return None


def _tolerance(tree: Path) -> float | None:
    """`verify.tolerance` of the revision's params.yaml; None where it is no number."""
    section = dvc_lock.read_yaml(tree / determinism.PARAMS_FILE).get("verify")
    tolerance = section.get("tolerance") if isinstance(section, dict) else None
    return float(tolerance) if isinstance(tolerance, int | float) else None
