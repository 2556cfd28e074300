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
PRETRAINED = "heimdall.pretrained"  # a run of stage pretrain


EXPERIMENT_NAME, STAGE = "dvc_experiment", "stage"
# MLflow's own tags, which its pages show.
SOURCE_NAME, SOURCE_COMMIT = "mlflow.source.name", "mlflow.source.git.commit"
PIPELINE = "pipeline"  # instead of a stage: a run of which MLflow was not told when it was trained
SHORT = 7  # digits of a revision in a run's name, as git abbreviates it
STAGES = ("train", "evaluate", "export")  # whose outputs are recorded
# What the pipeline itself changes is no change of its making.
WRITTEN = (LOCK_FILE, "metrics", "plots")


@dataclass(frozen=True)
class Run:
    """What is recorded of one training, or of all that a pipeline made.

    Attributes:
        id: 32 hexadecimal digits: of this training, or of these outputs.
        name: Of what it is, as of `revision_name`.
        time_ms: When it ended, milliseconds since 1970.
        params: Parameters of the training, nested as in params.yaml.
        epochs: One mapping an epoch, with its number as `epoch` and, where it is known, its end as `time_ms`.
        metrics: By the name in MLflow; those that are no numbers become tags.
        tags: What else identifies the run.
        files: Content by path below the run's artifacts.
        onnx: The exported model, None where there is none yet.
        started_ms: When it began; None where nobody noted it.
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
    started_ms: int | None = None

    @property
    def title(self) -> str | None:
        """Its name in MLflow, which invents one for None."""
        return titled(self.tags.get(STAGE), self.name)


def titled(stage: str | None, name: str | None) -> str | None:
    """A run's name in MLflow: stage, experiment or branch, and short revision, as in "train main 1a2b3c4"."""
    return " ".join(filter(None, (stage, name))) or None


def revision_name(tags: Mapping[str, str], tree: Path) -> str | None:
    """Of what a run is: experiment or branch, and short revision, such as "main 1a2b3c4".

    Args:
        tags: As of `revision_tags`, with `EXPERIMENT_NAME` where it is an experiment of DVC.
        tree: The working tree, whose branch it is otherwise. There, "-dirty" says as in `git describe` that
            more than the revision went into it.
    """
    revision = tags.get("git_revision", "")[:SHORT]
    experiment = tags.get(EXPERIMENT_NAME)
    if experiment is None and tags.get("git_dirty") == "true":
        revision += "-dirty"
    return " ".join(filter(None, (experiment or _branch(tree), revision))) or None


def source_tags(stage: str, tags: Mapping[str, str]) -> dict[str, str]:
    """Which stage a run is of and, as MLflow's pages show it, of which script and commit."""
    script = "dvc repro" if stage == PIPELINE else f"stages/{stage}.py"
    commit = {SOURCE_COMMIT: tags["git_revision"]} if "git_revision" in tags else {}
    return {STAGE: stage, SOURCE_NAME: script} | commit


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


def _branch(tree: Path) -> str:
    """The branch of a working tree; empty where there is none."""
    try:
        return git.run(tree, "symbolic-ref", "--quiet", "--short", "HEAD").stdout.decode().strip()
    except OSError:
        return ""
