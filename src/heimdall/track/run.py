"""A run: all that MLflow is told of one training, or of what a pipeline made; no secret is in it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import git
from heimdall.reproduce.paths import LOCK_FILE
from heimdall.track.mlflow_store import without_secrets

# Tags by which a run is found again.
RECORD, LOCALIZER, OUTPUTS = "heimdall.record", "heimdall.localizer", "heimdall.outputs"


EXPERIMENT_NAME = "dvc_experiment"
STAGES = ("train", "evaluate", "export")  # whose outputs are recorded
# What the pipeline itself changes is no change of its making.
WRITTEN = (LOCK_FILE, "metrics", "plots")


@dataclass(frozen=True)
class Run:
    """What is recorded of one training, or of all that a pipeline made.

    Attributes:
        id: 32 hexadecimal digits: of this training, or of these outputs.
        name: What the user calls it; None for one of MLflow's names.
        time_ms: When it was made, milliseconds since 1970.
        params: Parameters of the training, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch`.
        metrics: By the name in MLflow; those that are no numbers become tags.
        tags: What else identifies the run.
        files: Content by path below the run's artifacts.
        onnx: The exported model, None where there is none yet.
    """

    id: str
    name: str | None
    time_ms: int
    params: Mapping[str, Any]
    epochs: list[Mapping[str, float]]
    metrics: Mapping[str, Any]
    tags: Mapping[str, str]
    files: Mapping[str, bytes]
    onnx: bytes | None = None


def hash_tags(hashes: Mapping[str, str]) -> dict[str, str]:
    """Tags of a run that name outputs by their MD5."""
    return {f"md5 {path}": md5 for path, md5 in hashes.items()}


def clean(value: Any) -> Any:  # noqa: ANN401 - any JSON value
    """The same without secrets in any text."""
    if isinstance(value, str):
        return without_secrets(value)
    if isinstance(value, Mapping):
        return {name: clean(item) for name, item in value.items()}
    return [clean(item) for item in value] if isinstance(value, list | tuple) else value


def final_metrics(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics of a training by their names in MLflow: `final_` before those that are numbers."""
    return {name if isinstance(value, str) else f"final_{name}": value for name, value in metrics.items()}


def revision_tags(tree: Path) -> dict[str, str]:
    """The git revision, and whether what is not the pipeline's own output differs; nothing outside of git."""
    try:
        commit = git.commit_of(tree, "HEAD")
    except (HeimdallError, OSError):
        return {}
    left_out = [f":(exclude){path}" for path in WRITTEN]
    changes = git.run(tree, "status", "--porcelain", "--untracked-files=no", "--", ".", *left_out).stdout
    return {"git_revision": commit, "git_dirty": str(bool(changes)).lower()}
