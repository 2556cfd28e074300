"""What is recorded of a training when it ends: parameters, epochs, its revision, what it read."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from heimdall.core import artifacts, variables
from heimdall.core.determinism import PARAMS_FILE
from heimdall.reproduce import dvc_lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import CURVE, LOCK_FILE, MODEL_RECORD, TRAIN_METRICS
from heimdall.track.mlflow_store import without_secrets
from heimdall.track.run import (
    EXPERIMENT_NAME,
    LOCALIZER,
    STAGES,
    Run,
    clean,
    final_metrics,
    hash_tags,
    revision_tags,
)


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

    chosen: dict[str, Any] = clean(params)
    resolved = dvc_lock.read_yaml(tree / PARAMS_FILE) | chosen
    tags = revision_tags(tree) | experiment_tags()
    written = (_json(tree, TRAIN_METRICS), _json(tree, MODEL_RECORD).get("params"))
    if written == (metrics, chosen):
        tags |= {LOCALIZER: dvc_lock.md5(tree / MODEL_RECORD)} | _input_tags(tree)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(epochs[0]) if epochs else ["epoch"], lineterminator="\n")
    writer.writeheader()
    writer.writerows(epochs)
    files = {
        str(PARAMS_FILE): yaml.safe_dump(resolved, sort_keys=False),
        CURVE: table.getvalue(),
        "machine.json": artifacts.json_text(asdict(machine.here(int(chosen.get("threads", 1))))),
    }
    return Run(
        id=uuid.uuid4().hex,
        name=tags.get(EXPERIMENT_NAME),
        time_ms=time.time_ns() // 1_000_000,
        params=chosen,
        epochs=list(epochs),
        metrics=final_metrics(metrics),
        tags=clean(tags),
        files={name: without_secrets(text).encode() for name, text in files.items()},
    )


def experiment_tags() -> dict[str, str]:
    """The experiment of DVC in which this process runs, and the commit that it starts from."""
    named = {EXPERIMENT_NAME: variables.DVC_EXP_NAME, "dvc_baseline": variables.DVC_EXP_BASELINE_REV}
    return {tag: variable.read() for tag, variable in named.items() if variable.read()}


def _input_tags(tree: Path) -> dict[str, str]:
    """The hashes of what the train stage reads, as dvc.lock has them: all before it ran already."""
    files = Files(tree)
    if files.source(LOCK_FILE) is None:
        return {}
    before = {stage.name: stage for stage in files.lock.values() if stage.name not in STAGES}
    return hash_tags(dvc_lock.outputs(before))


def _json(tree: Path, path: str) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    content = Files(tree).source(path)
    return {} if content is None else dict(json.loads(content))
