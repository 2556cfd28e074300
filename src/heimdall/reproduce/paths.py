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
PRETRAINED_RECORD, PRETRAIN_METRICS = "models/pretrained.json", "metrics/pretrain.json"
EXPORT_METRICS = "metrics/export.json"
# The headline of the test and of the validation split, and every figure. Commits before 2026-12 have all of
# them in the first.
EVALUATION, EVALUATION_VAL = "metrics/eval.json", "metrics/eval_val.json"
EVALUATION_FULL = "metrics/eval_full.json"
CURVE, PRETRAINING_CURVE = "plots/training.csv", "plots/pretraining.csv"
FEATURES = paths.FEATURES.as_posix()
INDEX = f"{FEATURES}/index.parquet"
