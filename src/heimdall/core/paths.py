"""Where the pipeline's files are, relative to the repository's root; commands and rooms share the names."""

from __future__ import annotations

from pathlib import Path

FEATURES = Path("data/features")
NETWORK = "network.json"  # in the features
WEIGHTS = Path("models/localizer.safetensors")
ONNX = Path("models/localizer.onnx")
