"""What is recorded of a finished pipeline: its training, and evaluation, plots and model that came later."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heimdall.core import artifacts
from heimdall.core.determinism import PARAMS_FILE
from heimdall.reproduce import dvc_lock, git, history
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import (
    CARD,
    CURVE,
    EVALUATION,
    EVALUATION_VAL,
    EXPORT_METRICS,
    LOCK_FILE,
    MODEL,
    MODEL_RECORD,
    TRAIN_METRICS,
)
from heimdall.track.run import (
    EXPERIMENT_NAME,
    LOCALIZER,
    PIPELINE,
    STAGES,
    Run,
    clean,
    final_metrics,
    hash_tags,
    revision_name,
    revision_tags,
    source_tags,
)

# Prefix of the names in MLflow. Commits before 2026-12 have no `EVALUATION_VAL`, and all in `EVALUATION`.
LATER_METRICS = {EVALUATION: "test.", EVALUATION_VAL: "val.", EXPORT_METRICS: "export."}


@dataclass(frozen=True)
class Outputs:
    """Outputs of a pipeline, in the workspace or in an experiment of DVC.

    Attributes:
        experiment: The experiment's name; None for the workspace.
        files: Those of the experiment's commit, or of the workspace.
        tags: Which revision it is.
        time_ms: When it was made, milliseconds since 1970.
    """

    experiment: str | None
    files: Files
    tags: Mapping[str, str]
    time_ms: int

    @property
    def hashes(self) -> dict[str, str]:
        """MD5 of every output by path."""
        return dvc_lock.outputs(self.files.lock)

    @property
    def id(self) -> str:
        """32 digits of the outputs of `STAGES`."""
        recorded = dvc_lock.outputs({name: self.files.lock[name] for name in STAGES})
        return artifacts.fingerprint(recorded)[:32]


def pipelines(root: Path) -> list[Outputs]:
    """Every finished pipeline of a repository: the experiments of DVC, and at last the workspace.

    Args:
        root: Its root.

    Raises:
        HeimdallError: This is no repository, or its dvc.lock is damaged.
    """
    git.require_root(root, LOCK_FILE)
    found = []
    for name, commit in history.tips(root).items():
        kind, _, label = name.partition(" ")
        files = Files(root, commit)
        if kind == "experiment" and files.source(LOCK_FILE) is not None:
            when_s = int(git.run(root, "show", "--no-patch", "--format=%ct", commit).stdout.split()[0])
            tags = {EXPERIMENT_NAME: label, "git_revision": commit, "git_dirty": "false"}
            found.append(Outputs(label, files, tags, when_s * 1000))
    workspace = Files(root)
    if workspace.source(LOCK_FILE) is not None:
        found.append(Outputs(None, workspace, revision_tags(root), time.time_ns() // 1_000_000))
    return [outputs for outputs in found if _is_finished(outputs.files.lock)]


def pipeline_run(outputs: Outputs) -> Run:
    """What is recorded of a finished pipeline: all that its training's run has, and what came later.

    Raises:
        HeimdallError: An output is missing, or not the one that dvc.lock names.
    """
    hashes, content = outputs.hashes, outputs.files.read
    later = {path: json.loads(content(path)) for path in LATER_METRICS if path in hashes}
    shown = [
        path
        for name in STAGES
        for path in outputs.files.lock[name].outs
        if path.startswith(("plots/", "metrics/"))
    ]
    rows = csv.DictReader(io.StringIO(content(CURVE).decode()))
    return Run(
        id=outputs.id,
        name=revision_name(outputs.tags, outputs.files.root),
        time_ms=outputs.time_ms,
        params=clean(json.loads(content(MODEL_RECORD))["params"]),
        epochs=[{name: float(value) for name, value in row.items()} for row in rows],
        metrics=final_metrics(json.loads(content(TRAIN_METRICS))) | later_metrics(later),
        tags=clean(outputs.tags)
        | source_tags(PIPELINE, outputs.tags)
        | {LOCALIZER: hashes[MODEL_RECORD]}
        | hash_tags(hashes),
        files={path: content(path) for path in (*shown, CARD, str(PARAMS_FILE), LOCK_FILE)},
        onnx=content(MODEL),
    )


def later_metrics(files: Mapping[str, Mapping[str, Any]]) -> dict[str, float]:
    """The numbers that evaluation and export found, by their names in MLflow.

    Args:
        files: Content by path, of those of `LATER_METRICS` that there are.
    """
    found: dict[str, float] = {}
    for path, content in files.items():
        has_all = path == EVALUATION and EVALUATION_VAL not in files
        named = dvc_lock.flat(content, "" if has_all else LATER_METRICS[path])
        found |= {name: float(value) for name, value in named.items() if isinstance(value, int | float)}
    return found


def _is_finished(lock: Lock) -> bool:
    """Whether every output that is recorded stands in a dvc.lock; not so in one of an earlier time."""
    outs = dvc_lock.outputs({name: lock[name] for name in STAGES if name in lock})
    return {MODEL, MODEL_RECORD, TRAIN_METRICS, CURVE, CARD, EVALUATION, EXPORT_METRICS} <= outs.keys()
