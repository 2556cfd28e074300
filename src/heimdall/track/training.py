"""What is recorded of a training when it ends: parameters, epochs, its revision, what it read."""

from __future__ import annotations

import csv
import io
import json
import time
import uuid
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import yaml

from heimdall.core import artifacts, variables
from heimdall.core.determinism import PARAMS_FILE
from heimdall.pipeline.train import history
from heimdall.reproduce import dvc_lock
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import (
    CURVE,
    LOCK_FILE,
    MODEL_RECORD,
    PRETRAIN_METRICS,
    PRETRAINED_RECORD,
    PRETRAINING_CURVE,
    TRAIN_METRICS,
)
from heimdall.track.mlflow_store import without_secrets
from heimdall.track.run import (
    EXPERIMENT_NAME,
    LOCALIZER,
    PRETRAINED,
    Run,
    clean,
    final_metrics,
    hash_tags,
    revision_name,
    revision_tags,
    source_tags,
)

TRAIN, PRETRAIN = "train", "pretrain"


@dataclass(frozen=True)
class StageFiles:
    """What a stage that trains writes.

    Attributes:
        metrics: Its final metrics.
        record: What its weights were made of.
        curve: A row an epoch.
        tag: Tag of its run for the MD5 of the record.
        inputs: The stages before it.
    """

    metrics: str
    record: str
    curve: str
    tag: str
    inputs: tuple[str, ...]


FILES = {
    TRAIN: StageFiles(
        TRAIN_METRICS, MODEL_RECORD, CURVE, LOCALIZER, ("snapshot", "featurize", "simulate", "pretrain")
    ),
    PRETRAIN: StageFiles(PRETRAIN_METRICS, PRETRAINED_RECORD, PRETRAINING_CURVE, PRETRAINED, ("simulate",)),
}


def training_run(
    tree: Path,
    params: Mapping[str, Any],
    epochs: Sequence[Mapping[str, float]],
    metrics: Mapping[str, Any],
    *,
    started_ms: int,
    stage: str,
) -> Run:
    """What is recorded of a training when it ends.

    Args:
        tree: The working tree; if this training's outputs are there, the run gets the hashes of its inputs.
        params: Parameters, nested as in params.yaml.
        epochs: One mapping an epoch: its number as `epoch`, its end as `time_ms`, and its figures.
        metrics: Final metrics.
        started_ms: When it began, milliseconds since 1970.
        stage: A key of `FILES`.
    """
    from heimdall.core import machine  # noqa: PLC0415 - torch, which the trainer has and the sender need not have

    chosen: dict[str, Any] = clean(params)
    resolved = _changed(dvc_lock.read_yaml(tree / PARAMS_FILE), chosen)
    tags = revision_tags(tree) | experiment_tags()
    name = revision_name(tags, tree)
    own = FILES[stage]
    written = (_json(tree, own.metrics), _json(tree, own.record).get("params"))
    if written == (metrics, chosen):
        tags |= {own.tag: dvc_lock.md5(tree / own.record)} | _input_tags(tree, own.inputs)
    files = {
        str(PARAMS_FILE): yaml.safe_dump(resolved, sort_keys=False),
        own.curve: _csv(epochs),
        "machine.json": artifacts.json_text(asdict(machine.here(int(chosen.get("threads", 1))))),
    }
    return Run(
        id=uuid.uuid4().hex,
        name=name,
        time_ms=time.time_ns() // 1_000_000,
        params=chosen,
        epochs=list(epochs),
        metrics=final_metrics(metrics),
        tags=clean(tags | source_tags(stage, tags) | _convergence_tags(epochs)),
        files={path: without_secrets(text).encode() for path, text in files.items()},
        started_ms=started_ms,
    )


def experiment_tags() -> dict[str, str]:
    """The experiment of DVC in which this process runs, and the commit that it starts from."""
    named = {EXPERIMENT_NAME: variables.DVC_EXP_NAME, "dvc_baseline": variables.DVC_EXP_BASELINE_REV}
    return {tag: variable.read() for tag, variable in named.items() if variable.read()}


def _changed(params: Mapping[str, Any], chosen: Mapping[str, Any]) -> dict[str, Any]:
    """Parameters as in params.yaml, with those that a training chose; of a section it may name a part."""
    sections = {
        name: {**params[name], **value}
        for name, value in chosen.items()
        if isinstance(value, dict) and isinstance(params.get(name), dict)
    }
    return {**params, **chosen, **sections}


def _input_tags(tree: Path, stages: Collection[str]) -> dict[str, str]:
    """The hashes of what earlier stages made, as dvc.lock has them: all before a training ran already."""
    files = Files(tree)
    if files.source(LOCK_FILE) is None:
        return {}
    before = {stage.name: stage for stage in files.lock.values() if stage.name in stages}
    return hash_tags(dvc_lock.outputs(before))


def _convergence_tags(rows: Sequence[Mapping[str, float]]) -> dict[str, str]:
    """How a training stands to the specification's convergence criteria."""
    if not rows:
        return {}
    columns = [column.name for column in fields(history.Epoch)]
    values: list[dict[str, Any]] = [{name: row[name] for name in columns} for row in rows]
    found = history.convergence([history.Epoch(**row) for row in values])
    named = {f"convergence.{name}": str(met).lower() for name, met in found.criteria.items()}
    return {"convergence": "reached" if found.reached else "not reached"} | named


def _csv(rows: Sequence[Mapping[str, float]]) -> str:
    """The epochs as the stage writes them, without their times."""
    table = io.StringIO()
    columns = [name for name in (rows[0] if rows else ("epoch",)) if name != "time_ms"]
    writer = csv.DictWriter(table, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return table.getvalue()


def _json(tree: Path, path: str) -> dict[str, Any]:
    """A JSON object; empty where there is no such file."""
    content = Files(tree).source(path)
    return {} if content is None else dict(json.loads(content))
