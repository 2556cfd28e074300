"""Where the pipeline's files are, relative to the repository's root; commands and rooms share the names."""

from __future__ import annotations

from pathlib import Path

CLONE = Path(__file__).resolve().parents[3]  # the one whose code runs
FEATURES = Path("data/features")
NETWORK = "network.json"  # in the features
ELSEWHERE = "elsewhere.parquet"  # in the simulated ones
QUARANTINE = Path("data/quarantine.parquet")
WEIGHTS = Path("models/localizer.safetensors")
BASELINES = Path("data/baselines.json")
ONNX = Path("models/localizer.onnx")
