"""From a model file to the rows that made it, and whether every byte between is the recorded one.

A model file says what it was made of, but no git revision: its bytes depend on content alone. The revision
is found from outside: the file's MD5 stands in some dvc.lock, of the workspace or of a commit, and from
there on every output, module, parameter and command is hashed again.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import Any

import onnx
import pandas as pd
import pyarrow as pa

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.provenance import provenance
from heimdall.network import dataset
from heimdall.network.dataset import DatasetConfig, Split
from heimdall.recordings import archive
from heimdall.recordings.archive import RecordingKey
from heimdall.reproduce import history, revision
from heimdall.reproduce.history import Commit
from heimdall.reproduce.revision import LOCK_FILE, MISSING, Lock, StageLock

WORK = Path(".heimdall/lineage")
FEATURES = Path("data/features")
FINGERPRINT_FILE = "metrics/snapshot.json"  # the data fingerprint as git holds it
WEIGHTS_SUFFIX, ONNX_SUFFIX = ".safetensors", ".onnx"
SPLITS: tuple[Split, ...] = ("train", "val", "test")
UNUSED = "none"  # in the snapshot, in no split

# What reading a damaged file may raise besides our own error.
_DAMAGE = (HeimdallError, ValueError, LookupError, TypeError, pa.ArrowException)

Say = Callable[[str], object]


@dataclass(frozen=True)
class Statement:
    """What a model file says of its own making.

    Attributes:
        data: "simulated", "recorded" or "mixed".
        data_fingerprint: Of the snapshot.
        validation_split: Share of the development recordings that validated.
        params: Parameters by dotted name.
        modules: SHA-256 of each module's source, by the module's name.
        weights_sha256: Of the .safetensors file beside which it stood; None in an ONNX file.
        others: Further hashes by name: pretrained weights, a checkpoint that was gone on from.
    """

    data: str
    data_fingerprint: str
    validation_split: float
    params: Mapping[str, Any]
    modules: Mapping[str, str]
    weights_sha256: str | None
    others: Mapping[str, str]


@dataclass(frozen=True)
class Model:
    """A model file.

    Attributes:
        path: As it was named.
        sha256: Of its bytes.
        md5: Of its bytes, as dvc.lock names it.
        says: What it says of its making; None where that cannot be read.
        damage: Why not, else "".
    """

    path: Path
    sha256: str
    md5: str
    says: Statement | None
    damage: str


@dataclass(frozen=True)
class Check:
    """One thing that was compared with what is recorded of it.

    Attributes:
        what: The thing.
        problem: What was found and what is recorded; "" where they are the same.
    """

    what: str
    problem: str = ""


@dataclass(frozen=True)
class Row:
    """One recording that the model was made of or judged by.

    Attributes:
        measurement_id: Of the database's row.
        session_id: Lower-case UUID.
        websdr_id: Receiver.
        split: "train" changed the weights, "val" chose the epoch, "test" only judged; "none" did nothing.
        object_key: In the bucket of raw recordings.
        object_sha256: Of that object.
    """

    measurement_id: str
    session_id: str
    websdr_id: int
    split: str
    object_key: str
    object_sha256: str


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
        return upstream(self.lock, self.output)


@dataclass(frozen=True)
class Report:
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


def trace(repository: Path, file: Path, say: Say) -> Report:
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
    revision.require_root(repository, str(file))
    model = read_model(file)
    say(f"{LOCK_FILE} of every commit")
    commits, tips = _standing(repository, model.md5)
    workspace = _workspace_lock(repository)
    here = _output(workspace, model.md5)
    kin = [] if here or commits else _kin(repository, model)
    in_place = next((path for path in _outs(workspace) if _same_file(repository / path, file)), None)
    nearest = here or (None if commits else in_place)

    checks = [Check(f"{file}: what it says of itself", model.damage)] if model.damage else []
    origin: Origin | None = None
    rows: list[Row] = []
    if nearest is not None:
        origin = Origin("the workspace", repository, workspace, nearest, _recorder(repository, commits))
        _require_outputs(origin)
        found, rows = _inspect(repository, origin, model, say)
        checks += found
    elif commits or kin:
        # An experiment has a commit of its own, of the same second as the one that took it over.
        commit = _recorder(repository, commits) or (commits or kin)[0]
        tree = repository / WORK / commit.hash[:12]
        try:
            origin = _checked_out(repository, commit, model, tree, say)
            found, rows = _inspect(repository, origin, model, say)
        finally:
            shutil.rmtree(tree, ignore_errors=True)
        checks += found
        if in_place is not None:
            what = f"{LOCK_FILE} of the workspace: MD5 of {in_place}"
            checks.append(_compared(what, model.md5, _outs(workspace)[in_place]))
    else:
        checks.append(Check(f"{file}: MD5", f"found {model.md5}, which stands in no {LOCK_FILE}"))
    return Report(model, here is not None, commits, tips, kin, origin, rows, checks)


def read_model(file: Path) -> Model:
    """A model file's hashes, and what it says of itself.

    Raises:
        HeimdallError: It cannot be read, is of another kind, or its .json is missing.
    """
    if file.suffix not in (ONNX_SUFFIX, WEIGHTS_SUFFIX):
        remedy = f"Name one that ends with {ONNX_SUFFIX} or {WEIGHTS_SUFFIX}"
        raise HeimdallError(str(file), "not a model file", remedy)
    try:
        sha256, md5 = artifacts.sha256_file(file), revision.md5(file)
    except OSError as error:
        cause = f"it cannot be read ({error.strerror})"
        raise HeimdallError(str(file), cause, "Run `dvc pull`, or name another file") from None
    beside = file.with_suffix(".json")
    if file.suffix == WEIGHTS_SUFFIX and not beside.is_file():
        cause = f"what {file.name} was made of stands in it, and it is missing"
        raise HeimdallError(str(beside), cause, f"Put {beside.name} beside the weights (`dvc pull`)")
    try:
        record = _onnx_record(file) if file.suffix == ONNX_SUFFIX else artifacts.read_json(beside)
        says, damage = statement(record), ""
    except Exception as error:  # protobuf's own exceptions share no other base class
        says, damage = None, _unreadable(error)
    return Model(file, sha256, md5, says, damage)


def statement(record: Mapping[str, Any]) -> Statement:
    """What the record in a model file says.

    Args:
        record: As the train stage wrote it.

    Raises:
        KeyError: A field is missing.
    """
    known = ("data", "data_fingerprint", "validation_split", "params", "modules", "weights_sha256")
    return Statement(
        data=str(record["data"]),
        data_fingerprint=str(record["data_fingerprint"]),
        validation_split=float(record["validation_split"]),
        params=revision.flat(record["params"]),
        modules=dict(record["modules"]),
        weights_sha256=record.get("weights_sha256"),
        others={
            name: value for name, value in record.items() if name not in known and name.endswith("sha256")
        },
    )


def upstream(lock: Lock, output: str) -> list[StageLock]:
    """The stage that makes an output and all before it, in the order of dvc.lock.

    That order is no order of dependence: DVC appends a new stage at the end.
    """
    found: set[str] = set()
    new = {stage.name for stage in lock.values() if output in stage.outs}
    while new:
        found |= new
        makers = [revision.source_of(path, lock) for name in sorted(new) for path in lock[name].deps]
        new = {maker.name for maker in makers if maker is not None} - found
    return [stage for stage in lock.values() if stage.name in found]


def params_of(stages: Iterable[StageLock]) -> dict[str, Any]:
    """Every parameter of these stages by dotted name; where two have it, the first one's."""
    merged: dict[str, Any] = {}
    for stage in stages:
        merged = revision.flat(stage.params) | merged
    return merged


def file_checks(origin: Origin, model: Model) -> list[Check]:
    """Compare the bytes of a model file, and of what stands beside it, with the dvc.lock of its origin."""
    outs, where = _outs(origin.lock), f"MD5 in {LOCK_FILE} of {origin.name}"
    checks = [_compared(f"{model.path}: {where}", model.md5, outs[origin.output])]
    if model.path.suffix == WEIGHTS_SUFFIX:
        beside = model.path.with_suffix(".json")
        recorded = outs.get(str(PurePosixPath(origin.output).with_suffix(".json")), MISSING)
        checks.append(_compared(f"{beside}: {where}", revision.md5(beside), recorded))
    if model.says is not None and model.says.weights_sha256 is not None:
        what = f"{model.path}: SHA-256 in the .json beside it"
        checks.append(_compared(what, model.sha256, model.says.weights_sha256))
    return checks


def data_checks(tree: Path, says: Statement) -> tuple[list[Check], list[Row]]:
    """Compare the data of a tree with what a model file says of them.

    Args:
        tree: It has data/snapshot/ and data/features/.
        says: What the file says.

    Returns:
        The checks; and the rows, in the snapshot's order, if the snapshot is the one that the file names.
    """
    try:
        measurements, receivers = archive.read_measurements(tree), archive.read_receivers(tree)
        fingerprint = archive.data_fingerprint(measurements, receivers)
    except _DAMAGE as error:
        return [Check(f"{archive.SNAPSHOT}: its rows", _unreadable(error))], []
    what = f"{archive.SNAPSHOT}: data fingerprint of its rows"
    checks = [_compared(what, fingerprint, says.data_fingerprint)]
    config = DatasetConfig(tree / FEATURES)
    try:
        network, index = dataset.read_network(config), dataset.read_index(config)
        split = {
            key: name
            for name in SPLITS
            for key in _keys(index[dataset.members(index, name, says.validation_split)])
        }
        learned = provenance(index.loc[~dataset.members(index, "test", says.validation_split), "simulated"])
    except _DAMAGE as error:
        return [*checks, Check(f"{FEATURES}: its index and network", _unreadable(error))], []
    checks += [
        _compared(
            f"{FEATURES}/network.json: data fingerprint", network.data_fingerprint, says.data_fingerprint
        ),
        _compared(f"{FEATURES}: where the recordings that it learned from come from", learned, says.data),
    ]
    if fingerprint != says.data_fingerprint:
        return checks, []
    columns = [measurements[name].tolist() for name in ("measurement_id", "object_key", "object_sha256")]
    return checks, [
        Row(measurement_id, session_id, websdr_id, split.get((session_id, websdr_id), UNUSED), key, sha256)
        for (session_id, websdr_id), measurement_id, key, sha256 in zip(
            _keys(measurements), *columns, strict=True
        )
    ]


def param_checks(stated: Mapping[str, Any], recorded: Mapping[str, Any]) -> list[Check]:
    """Compare the parameters that a file states with those of dvc.lock, both by dotted name."""
    return _summed(
        f"{len(stated)} parameters stated in the file: in {LOCK_FILE}",
        [
            _compared(f"parameter {name}", json.dumps(value), json.dumps(recorded.get(name)))
            for name, value in stated.items()
            if name not in recorded or value != recorded[name]
        ],
    )


def module_checks(modules: Mapping[str, str], where: str, read: Callable[[str], bytes | None]) -> list[Check]:
    """Compare the hashes of modules that a file states with the modules' sources.

    Args:
        modules: SHA-256 by name.
        where: Whose sources, for the reader.
        read: The content of a source by its path in the repository; None where there is none.
    """
    found = {}
    for name in modules:
        stem = f"src/{name.replace('.', '/')}"
        contents = (read(f"{stem}.py"), read(f"{stem}/__init__.py"))
        found[name] = next((artifacts.sha256_bytes(one) for one in contents if one is not None), MISSING)
    return _summed(
        f"{len(modules)} modules stated in the file: SHA-256 of {where}",
        [
            _compared(f"module {name}: SHA-256 of {where}", found[name], recorded)
            for name, recorded in modules.items()
            if found[name] != recorded
        ],
    )


def output_checks(tree: Path, output: str, recorded: str) -> list[Check]:
    """Hash an output again, byte for byte; of a folder that changed, name the files.

    Args:
        tree: Where it lies.
        output: Its path there.
        recorded: Its MD5 in dvc.lock.
    """
    found = revision.md5(tree / output)
    whole = _compared(output, found, recorded)
    listing = _listing(tree, recorded) if whole.problem and recorded.endswith(".dir") else None
    if listing is None:
        return [whole]
    present = {
        path.removeprefix(f"{output}/"): file for path, file in revision.files_below(tree, [output]).items()
    }
    return [
        _compared(f"{output}/{path}", revision.md5(tree / output / path), listing.get(path, "no such file"))
        for path in sorted(listing.keys() | present.keys())
        if path not in present or revision.md5(present[path]) != listing.get(path)
    ]


def lock_checks(repository: Path, origin: Origin) -> list[Check]:
    """Compare the dvc.lock of a tree with the tree's own files, and with the commit that recorded it."""
    stages = {stage.name: stage for stage in origin.stages}
    sentences = [one.partition(": ") for one in revision.contradictions(origin.tree, origin.lock)]
    checks = _summed(
        f"{LOCK_FILE}: against dvc.yaml, params.yaml and the dependencies in {origin.name}",
        [Check(f"{LOCK_FILE} ({name})", rest) for name, _, rest in sentences if name in stages],
    )
    if origin.commit is None or origin.tree != repository:
        return checks
    commit = origin.commit.hash
    committed = revision.read_lock(repository, commit)
    recorded = {name: committed[name].sha256 if name in committed else MISSING for name in stages}
    return checks + _summed(
        f"{LOCK_FILE}: against commit {commit[:12]}, stage by stage",
        [
            _compared(f"{LOCK_FILE} ({name}): SHA-256 in commit {commit[:12]}", stage.sha256, recorded[name])
            for name, stage in stages.items()
            if stage.sha256 != recorded[name]
        ],
    )


def _keys(rows: pd.DataFrame) -> list[RecordingKey]:
    return list(zip(rows["session_id"].tolist(), rows["websdr_id"].tolist(), strict=True))


def _inspect(repository: Path, origin: Origin, model: Model, say: Say) -> tuple[list[Check], list[Row]]:
    """Every comparison with one tree, and the rows."""
    checks = file_checks(origin, model)
    rows: list[Row] = []
    if model.says is not None:
        say(f"rows of {origin.name}")
        found, rows = data_checks(origin.tree, model.says)
        checks += found
        checks += param_checks(model.says.params, params_of(origin.stages))
        checks += module_checks(model.says.modules, origin.name, lambda path: _content(origin.tree / path))
        commit = origin.commit
        if commit is not None and origin.tree == repository:
            read = partial(revision.read, repository, commit.hash)
            checks += module_checks(model.says.modules, f"commit {commit.hash[:12]}", read)
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
    outputs = {blob for blob, commit in commit_of.items() if _output(_lock_of(repository, commit), md5)}
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
    same_data = history.holding(repository, hashes, FINGERPRINT_FILE, model.says.data_fingerprint)
    found = []
    for commit in changing:
        lock = _lock_of(repository, commit.hash) if commit.hash in same_data else {}
        output = _named(lock, model.path.name)
        if output is not None:
            recorded = params_of(upstream(lock, output))
            if not any(check.problem for check in param_checks(model.says.params, recorded)):
                found.append(commit)
    return found


def _checked_out(repository: Path, commit: Commit, model: Model, tree: Path, say: Say) -> Origin:
    """A clean checkout of a commit with every output of the stages that led to the model."""
    name = f"commit {commit.hash[:12]}"
    say(f"{name}: a clean checkout in {tree}")
    revision.checkout(repository, commit.hash, tree)
    lock = revision.read_lock(repository, commit.hash)
    output = _output(lock, model.md5) or str(_named(lock, model.path.name))
    origin = Origin(name, tree, lock, output, commit)
    outputs = [path for stage in origin.stages for path in stage.outs]
    say(f"{len(outputs)} outputs from git and the remote")
    revision.pull(tree, lock, outputs)
    return origin


def _recorder(repository: Path, commits: Sequence[Commit]) -> Commit | None:
    """The commit from which HEAD has its dvc.lock, if the model stands there."""
    latest = history.latest(repository, LOCK_FILE)
    return latest if latest in commits else None


def _require_outputs(origin: Origin) -> None:
    """Raise if outputs that DVC holds are not in the tree: absent is not changed."""
    absent = [path for stage in origin.stages for path in stage.outs if not (origin.tree / path).exists()]
    missing = [path for path in absent if not revision.is_in_git(origin.tree, path)]
    if missing:
        cause = "not in the workspace, so that nothing can be compared with it"
        raise HeimdallError(", ".join(missing), cause, "Run `dvc pull`")


def _workspace_lock(repository: Path) -> Lock:
    """The workspace's dvc.lock; empty where it has none."""
    content = _content(repository / LOCK_FILE)
    return {} if content is None else revision.parse_lock(content.decode(errors="replace"), LOCK_FILE)


def _lock_of(repository: Path, commit: str) -> Lock:
    """The dvc.lock of a commit; empty where it cannot be read: then nothing stands in it."""
    try:
        return revision.read_lock(repository, commit)
    except HeimdallError:
        return {}


def _outs(lock: Lock) -> dict[str, str]:
    return {path: md5 for stage in lock.values() for path, md5 in stage.outs.items()}


def _output(lock: Lock, md5: str) -> str | None:
    """The path of the output with this MD5."""
    return next((path for path, recorded in _outs(lock).items() if recorded == md5), None)


def _named(lock: Lock, name: str) -> str | None:
    """The path of the output with this file name."""
    return next((path for path in _outs(lock) if PurePosixPath(path).name == name), None)


def _listing(tree: Path, recorded: str) -> dict[str, str] | None:
    """MD5 of every file of a folder by its path in it, from DVC's cache; None if the cache has it not."""
    command = [sys.executable, "-m", "dvc", "cache", "dir"]
    shown = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False).stdout.strip()
    file = tree / shown / "files" / "md5" / recorded[:2] / recorded[2:]
    if not file.is_file() or f"{revision.md5(file)}.dir" != recorded:
        return None
    return {entry["relpath"]: entry["md5"] for entry in artifacts.read_json(file)}


def _summed(what: str, failures: Sequence[Check]) -> list[Check]:
    """The failures, or one check that says that there is none."""
    return list(failures) or [Check(what)]


def _compared(what: str, found: str, recorded: str) -> Check:
    return Check(what, "" if found == recorded else f"found {found}, recorded {recorded}")


def _unreadable(error: Exception) -> str:
    problem = str(error) if isinstance(error, HeimdallError) else repr(error)
    return f"unreadable ({' '.join(problem.split())[:200]})"


def _onnx_record(file: Path) -> dict[str, Any]:
    graph = onnx.load_model(file, load_external_data=False)
    return {entry.key: json.loads(entry.value) for entry in graph.metadata_props}


def _content(path: Path) -> bytes | None:
    return path.read_bytes() if path.is_file() else None


def _same_file(path: Path, other: Path) -> bool:
    return path.resolve() == other.resolve()
