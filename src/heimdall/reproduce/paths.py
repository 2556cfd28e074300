"""Where the pipeline's files lie, as dvc.lock and git name them: text, from the repository's root.

dvc.yaml says who makes them; `core/paths` has those that stages and commands read.
"""

from __future__ import annotations

from heimdall.core import paths

LOCK_FILE = "dvc.lock"
MODEL, WEIGHTS = paths.ONNX.as_posix(), paths.WEIGHTS.as_posix()
MODEL_RECORD = paths.WEIGHTS.with_suffix(".json").as_posix()
CARD = "models/README.md"
SNAPSHOT_METRICS, TRAIN_METRICS = "metrics/snapshot.json", "metrics/train.json"
EVALUATION, EXPORT_METRICS = "metrics/eval.json", "metrics/export.json"
CURVE = "plots/training.csv"
FEATURES = paths.FEATURES.as_posix()
INDEX = f"{FEATURES}/index.parquet"
