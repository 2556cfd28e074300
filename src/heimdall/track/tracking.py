"""What MLflow is told of a training, and of what the pipeline made of it.

When a training is over its record is written to .heimdall/tracking/ (the spool) of the main repository, whole
or not at all, and a process of its own sends what waits there: a tracker that is down, slow, full or not
installed costs a line on stderr and a bounded time, and changes nothing. What could not be sent waits for the
next training or for `heimdall track`, which also adds what exists only later: evaluation, plots, the ONNX
model, dvc.lock. HEIMDALL_TRACKING=off turns the recording of trainings off.
"""

from __future__ import annotations

import base64
import csv
import hashlib
import io
import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import yaml

from heimdall.core import artifacts, locks, variables
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import history, revision
from heimdall.reproduce.revision import LOCK_FILE, Lock
from heimdall.track import mlflow_store
from heimdall.track.mlflow_store import EXPERIMENT_NAME, LOCALIZER, MLflowTracker, Run, Store, without_secrets

SPOOL = Path(mlflow_store.SCRATCH) / "tracking"
# The first run creates the database's tables, 7 s on an idle machine; each run imports MLflow, 3 s.
TIMEOUT_S = 90.0
PARAMS_FILE = "params.yaml"
MODEL, MODEL_RECORD = "models/localizer.onnx", "models/localizer.json"
TRAIN_METRICS, CURVE = "metrics/train.json", "plots/training.csv"
LATER_METRICS = {"metrics/eval.json": "", "metrics/export.json": "export."}  # prefix of the names in MLflow
CARD = "models/README.md"
STAGES = ("train", "evaluate", "export")  # whose outputs are recorded
# What the pipeline itself changes is no change of its making.
WRITTEN = (LOCK_FILE, "metrics", "plots")


@dataclass(frozen=True)
class Sent:
    """What a sender did.

    Attributes:
        runs: MLflow's identifier of each run that was sent, by the record's.
        problems: Why others were not, a sentence each.
        waiting: Records that are still in the spool.
    """

    runs: Mapping[str, str]
    problems: Sequence[str]
    waiting: int


@dataclass(frozen=True)
class Outputs:
    """Outputs of a pipeline, in the workspace or in an experiment of DVC.

    Attributes:
        experiment: The experiment's name; None for the workspace.
        lock: Its dvc.lock.
        read: The content of a file by its path.
        tags: Which revision it is.
        time_ms: When it was made, milliseconds since 1970.
    """

    experiment: str | None
    lock: Lock
    read: Callable[[str], bytes]
    tags: Mapping[str, str]
    time_ms: int

    @property
    def hashes(self) -> dict[str, str]:
        """MD5 of every output by path."""
        return {path: md5 for stage in self.lock.values() for path, md5 in stage.outs.items()}

    @property
    def id(self) -> str:
        """32 digits of the outputs of `STAGES`."""
        named = {path: md5 for name in STAGES for path, md5 in self.lock[name].outs.items()}
        return artifacts.fingerprint(named)[:32]


def track(
    params: Mapping[str, Any],
    epochs: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    timeout_s: float = TIMEOUT_S,
) -> str | None:
    """Record a finished training: put it into the spool, and send what waits there.

    Args:
        params: Parameters, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: Final metrics.
        timeout_s: After this long the training goes on; the record stays in the spool.

    Returns:
        The MLflow run's identifier; None where tracking is off or it was not sent, which a line on stderr
        says.
    """
    if variables.TRACKING.is_off():
        return None
    root = mlflow_store.main_repository()
    try:
        run = training_run(Path(), params, epochs, metrics)
        spool(root, run)
    except Exception as error:  # a tracker must not end a training, whatever it meets
        _warn(str(root / SPOOL), f"{error}; this training is not recorded")
        return None
    return _send_apart(root, run.id, timeout_s)


def training_run(
    tree: Path,
    params: Mapping[str, Any],
    epochs: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
) -> Run:
    """What is recorded of a training when it ends.

    Args:
        tree: The working tree; if this training's outputs are there, the run gets the hashes of its inputs.
        params: Parameters, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: Final metrics.
    """
    from heimdall.core import machine  # noqa: PLC0415 - torch, which the trainer has and the sender need not have

    chosen: dict[str, Any] = _clean(params)
    resolved = revision.read_yaml(tree / PARAMS_FILE) | chosen
    tags = revision_tags(tree) | experiment_tags()
    written = (_read_json(tree / TRAIN_METRICS), _read_json(tree / MODEL_RECORD).get("params"))
    if written == (metrics, chosen):
        tags |= {LOCALIZER: revision.md5(tree / MODEL_RECORD)} | _input_tags(tree)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(epochs[0]) if epochs else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(epochs)
    files = {
        PARAMS_FILE: yaml.safe_dump(resolved, sort_keys=False),
        CURVE: table.getvalue(),
        "machine.json": artifacts.json_text(asdict(machine.here(int(chosen.get("threads", 1))))),
    }
    return Run(
        id=uuid.uuid4().hex,
        name=tags.get(EXPERIMENT_NAME),
        time_ms=time.time_ns() // 1_000_000,
        params=chosen,
        epochs=list(epochs),
        metrics={
            name if isinstance(value, str) else f"final_{name}": value for name, value in metrics.items()
        },
        tags=_clean(tags),
        files={name: without_secrets(text).encode() for name, text in files.items()},
    )


def revision_tags(tree: Path) -> dict[str, str]:
    """The git revision, and whether what is not the pipeline's own output differs; nothing outside of git."""
    try:
        commit = revision.commit_of(tree, "HEAD")
    except (HeimdallError, OSError):
        return {}
    left_out = [f":(exclude){path}" for path in WRITTEN]
    changes = revision.git(tree, "status", "--porcelain", "--untracked-files=no", "--", ".", *left_out).stdout
    return {"git_revision": commit, "git_dirty": str(bool(changes)).lower()}


def experiment_tags() -> dict[str, str]:
    """The experiment of DVC in which this process runs, and the commit that it starts from."""
    named = {EXPERIMENT_NAME: variables.DVC_EXP_NAME, "dvc_baseline": variables.DVC_EXP_BASELINE_REV}
    return {tag: variable.read() for tag, variable in named.items() if variable.read()}


def spool(root: Path, run: Run) -> Path:
    """Write a run to the spool of a repository, whole or not at all.

    Raises:
        OSError: The disk is full, or the folder is not writable.
        ValueError: A metric is no finite number.
    """
    content = asdict(run) | {
        "files": {name: base64.b64encode(file).decode() for name, file in run.files.items()}
    }
    path = root / SPOOL / f"{run.time_ms}-{run.id}.json"
    artifacts.write_json(path, content)
    return path


def spooled(root: Path) -> list[Path]:
    """The records that wait to be sent, the oldest first."""
    return sorted((root / SPOOL).glob("[0-9]*.json"))


def read_spooled(path: Path) -> Run:
    """Read a record of the spool.

    Raises:
        HeimdallError: It is damaged.
    """
    try:
        content = artifacts.read_json(path)
        run = Run(**content)
        files = {name: base64.b64decode(file, validate=True) for name, file in run.files.items()}
        if not re.fullmatch("[0-9a-f]{32}", run.id):
            raise ValueError("its id is no id")
    except (HeimdallError, ValueError, TypeError, AttributeError) as error:
        cause = f"not a record of a training ({getattr(error, 'cause', error)})"
        raise HeimdallError(str(path), cause, "Delete it") from None
    return replace(run, files=files)


def send(root: Path, store: Store, say: Callable[[str, str], object], first: str | None = None) -> Sent:
    """Send what waits in the spool. A record leaves it when all of it is in MLflow, and not before.

    One sender works at a time, the others wait: a run is looked for by its record's identifier before it is
    made, so that one which was killed in the middle is completed and none is sent twice.

    Args:
        root: The repository that has the spool.
        store: Where to send; its environment must be this process's.
        say: Called with the record's identifier and the run's when one was sent.
        first: Identifier of the record that is sent before all others. If it cannot be, they are not tried.
    """
    runs: dict[str, str] = {}
    problems: list[str] = []
    with locks.in_turn(root / SPOOL / "lock"):
        artifacts.remove_partial(root / SPOOL)
        waiting = sorted(spooled(root), key=lambda path: first is None or first not in path.name)
        try:
            tracker = MLflowTracker(store) if waiting or first else None
        except Exception as error:  # SQLAlchemy's, MLflow's, requests': no common base
            return Sent(runs, [_reason(error, store)], len(waiting))
        if tracker is not None and first is not None and not any(first in path.name for path in waiting):
            run_id = tracker.recorded(first)  # another sender was faster
            if run_id is not None:
                runs[first] = run_id
                say(first, run_id)
        for path in waiting:
            assert tracker is not None  # noqa: S101 - made above
            try:
                run = read_spooled(path)
                runs[run.id] = tracker.record(run)
                path.unlink()
                say(run.id, runs[run.id])
            except Exception as error:  # as above; the next one may be better
                problems.append(_reason(error, store))
                if first is not None and first in path.name:
                    break
    return Sent(runs, problems, len(spooled(root)))


def catch_up(root: Path, store: Store, say: Callable[[str], object]) -> list[str]:
    """Send what waits in the spool, then complete the runs of all finished pipelines.

    Args:
        root: The repository.
        store: Where to send; its environment must be this process's.
        say: Called with a line for each thing that was sent, or was there already.

    Returns:
        Why something was not sent, a sentence each.

    Raises:
        HeimdallError: This is no repository, or its dvc.lock is damaged.
    """
    found = pipelines(root)
    sent = send(root, store, lambda record, run: say(f"training {record[:8]}: sent as run {run}"))
    problems = list(sent.problems)
    if not found:
        say("no finished pipeline here: `dvc repro`, or `dvc pull`")
        return problems
    try:
        tracker = MLflowTracker(store)
    except Exception as error:  # as in `send`
        return problems or [_reason(error, store)]
    with locks.in_turn(root / SPOOL / "lock"):
        for outputs in found:
            name = f"experiment {outputs.experiment}" if outputs.experiment else "the workspace"
            try:
                if tracker.has_outputs(outputs.id):
                    say(f"{name}: recorded already")
                else:
                    run_id = tracker.complete(pipeline_run(outputs))
                    say(f"{name}: evaluation, plots and model are in run {run_id}")
            except Exception as error:  # as above; the next one may be better
                problems.append(f"{name}: {_reason(error, store)}")
    return problems


def pipelines(root: Path) -> list[Outputs]:
    """Every finished pipeline of a repository: the experiments of DVC, and at last the workspace.

    Args:
        root: Its root.

    Raises:
        HeimdallError: This is no repository, or its dvc.lock is damaged.
    """
    revision.require_root(root, LOCK_FILE)
    found = []
    for name, commit in history.tips(root).items():
        kind, _, label = name.partition(" ")
        text = revision.read(root, commit, LOCK_FILE) if kind == "experiment" else None
        if text is not None:
            lock = revision.parse_lock(text.decode(errors="replace"), f"{LOCK_FILE} of {name}")
            when_s = int(revision.git(root, "show", "--no-patch", "--format=%ct", commit).stdout.split()[0])
            tags = {EXPERIMENT_NAME: label, "git_revision": commit, "git_dirty": "false"}
            found.append(Outputs(label, lock, _reader(root, commit), tags, when_s * 1000))
    if (root / LOCK_FILE).is_file():
        lock = revision.parse_lock((root / LOCK_FILE).read_text(encoding="utf-8"), LOCK_FILE)
        now_ms = time.time_ns() // 1_000_000
        found.append(
            Outputs(None, lock, lambda path: (root / path).read_bytes(), revision_tags(root), now_ms)
        )
    return [outputs for outputs in found if _is_finished(outputs.lock)]


def pipeline_run(outputs: Outputs) -> Run:
    """What is recorded of a finished pipeline: all that its training's run has, and what came later.

    Raises:
        HeimdallError: An output is missing, or not the one that dvc.lock names.
    """
    hashes = outputs.hashes

    def content(path: str) -> bytes:
        try:
            read = outputs.read(path)
        except OSError:
            raise HeimdallError(path, "the output is missing", "Run `dvc repro` or `dvc pull`") from None
        if path in hashes and hashlib.md5(read, usedforsecurity=False).hexdigest() != hashes[path]:
            raise HeimdallError(path, f"not the output that {LOCK_FILE} names", "Run `dvc repro`")
        return read

    train = json.loads(content(TRAIN_METRICS))
    metrics = {name if isinstance(value, str) else f"final_{name}": value for name, value in train.items()}
    for path, prefix in LATER_METRICS.items():
        later = revision.flat(json.loads(content(path)), prefix)
        metrics |= {name: float(value) for name, value in later.items() if isinstance(value, int | float)}
    shown = [
        path for name in STAGES for path in outputs.lock[name].outs if path.startswith(("plots/", "metrics/"))
    ]
    rows = csv.DictReader(io.StringIO(content(CURVE).decode()))
    return Run(
        id=outputs.id,
        name=outputs.experiment,
        time_ms=outputs.time_ms,
        params=_clean(json.loads(content(MODEL_RECORD))["params"]),
        epochs=[{name: float(value) for name, value in row.items()} for row in rows],
        metrics=metrics,
        tags=_clean(outputs.tags) | {LOCALIZER: hashes[MODEL_RECORD]} | _hash_tags(hashes),
        files={path: content(path) for path in (*shown, CARD, PARAMS_FILE, LOCK_FILE)},
        onnx=content(MODEL),
    )


def _is_finished(lock: Lock) -> bool:
    """Whether every output that is recorded stands in a dvc.lock; not so in one of an earlier time."""
    outs = {path for name in STAGES if name in lock for path in lock[name].outs}
    return {MODEL, MODEL_RECORD, TRAIN_METRICS, CURVE, CARD, *LATER_METRICS} <= outs


def _reader(root: Path, commit: str) -> Callable[[str], bytes]:
    """Reads files of a commit: what git holds from there, the rest from DVC's cache or remote."""

    def read(path: str) -> bytes:
        held = revision.read(root, commit, path)
        if held is not None:
            return held
        import dvc.api  # noqa: PLC0415 - it takes a second
        from dvc.exceptions import DvcException  # noqa: PLC0415

        try:
            return bytes(dvc.api.read(path, repo=str(root), rev=commit, mode="rb"))
        except DvcException as error:
            cause = f"neither DVC's cache nor its remote has it ({without_secrets(str(error))})"
            raise HeimdallError(f"{path} of {commit[:12]}", cause, "Run the experiment again") from None

    return read


def _hash_tags(hashes: Mapping[str, str]) -> dict[str, str]:
    return {f"md5 {path}": md5 for path, md5 in hashes.items()}


def _input_tags(tree: Path) -> dict[str, str]:
    """The hashes of what the train stage reads, as dvc.lock has them: all before it ran already."""
    if not (tree / LOCK_FILE).is_file():
        return {}
    lock = revision.parse_lock((tree / LOCK_FILE).read_text(encoding="utf-8"), LOCK_FILE)
    before = {stage.name: stage for stage in lock.values() if stage.name not in STAGES}
    return _hash_tags({path: md5 for stage in before.values() for path, md5 in stage.outs.items()})


def _read_json(path: Path) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    return dict(json.loads(path.read_text(encoding="utf-8"))) if path.is_file() else {}


def _clean(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same without secrets in any text."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {name: _clean(item) for name, item in value.items()}
    return [_clean(item) for item in value] if isinstance(value, list | tuple) else value


def _reason(error: Exception, store: Store) -> str:
    """One line that names the store and what is wrong, without secrets."""
    text = without_secrets(" ".join(str(error).split())) or type(error).__name__
    return text if store.name in text else f"{store.name}: {text}"


def _send_apart(root: Path, run_id: str, timeout_s: float) -> str | None:
    """Send in a process of its own, ended after `timeout_s`; a line on stderr says what went wrong."""
    try:
        # DVC gives a stage the path `src`, which is another one elsewhere.
        paths = [str(Path(__file__).resolve().parents[2]), variables.PYTHONPATH.read()]
        done = subprocess.run(
            [sys.executable, "-m", "heimdall.track.tracking", run_id],
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
            env=os.environ
            | {"PYTHONPATH": os.pathsep.join(filter(None, paths)), variables.DVC_ROOT.name: str(root)},
            cwd=root / mlflow_store.SCRATCH,  # MLflow makes folders where it runs
        )
        said, problems = done.stdout, done.stderr.strip().splitlines() if done.returncode else []
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        problems = [f"{mlflow_store.address(root)}: no answer within {timeout_s:g} s"]
    except OSError as error:
        said, problems = "", [str(error)]
    sent = dict(line.split() for line in said.splitlines() if re.fullmatch("[0-9a-f]{32} [0-9a-f]{32}", line))
    if problems:
        waiting = len(spooled(root))
        later = f"{waiting} wait in {SPOOL} for the next training or `heimdall track`; " if waiting else ""
        _warn(problems[-1], f"{later}the training is not affected, HEIMDALL_TRACKING=off turns this off")
    return sent.get(run_id)


def _warn(subject: str, cause: str) -> None:
    """One line on stderr, without secrets."""
    print(without_secrets(" ".join(f"tracking: {subject}. {cause}".split())), file=sys.stderr)


def main() -> None:
    """Send what waits, the named record first; print record and run, and a line for each problem."""
    root = mlflow_store.main_repository()
    store = mlflow_store.resolve(root)
    os.environ.update(store.environment)
    sent = send(root, store, lambda record, run: print(record, run, flush=True), first=sys.argv[1])
    # The first problem is the named record's, if that was not sent; its line is the last.
    for problem in reversed(sent.problems):
        print(problem, file=sys.stderr)
    sys.exit(1 if sent.problems else 0)


if __name__ == "__main__":
    main()
