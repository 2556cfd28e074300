"""A tiny data/features/ with slices, and an untrained network, for the tests of evaluation and export."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
import torch

from heimdall.geometry.geo import LocalFrame
from heimdall.network.localization_net import LocalizationNet
from tests import tiny_features

FRAME = LocalFrame(tiny_features.LATITUDE_DEG, tiny_features.LONGITUDE_DEG)
SESSIONS = 20  # 12 train, 4 validate, 4 test
VALIDATION_SPLIT = 0.2
RECORD: dict[str, Any] = {
    "data": "simulated",
    "data_fingerprint": "f" * 64,
    "params": {"lr": 0.001, "backbone": "atto", "features": tiny_features.FEATURES},
    "validation_split": VALIDATION_SPLIT,
    "modules": {"heimdall.network.localization_net": "0" * 64},
}


def write_features(folder: Path) -> None:
    """Write the features: test and val hold 8 recordings in 4 sessions of 2 transmitters each."""
    index = tiny_features.write(folder, SESSIONS)
    number = index.index // tiny_features.RECEIVERS  # of the session
    index["source_id"] = [f"tx{n % 5}-{n % 2}" for n in number]
    index["receivers_heard"] = [(2, 4, 7)[n % 3] for n in number]
    index["modulation"] = [("nfm", "dmr")[n % 2] for n in number]
    index["snr_db"] = [(5.0, 30.0, 31.0)[row % 3] for row in range(len(index))]
    index.to_parquet(folder / "index.parquet")
    latitude_deg, longitude_deg = FRAME.to_degrees([-30_000, 0, 30_000], [0, 20_000, -10_000])
    receivers = {"name": ["A", "B", "C"], "latitude_deg": latitude_deg, "longitude_deg": longitude_deg}
    pd.DataFrame(receivers).to_parquet(folder / "receivers.parquet")


def untrained() -> LocalizationNet:
    """An atto network whose random heads spread its answers."""
    torch.manual_seed(1)
    model = LocalizationNet(
        pretrained=False,
        freeze_backbone=False,
        uncertainty_min=10.0,
        uncertainty_max=200_000.0,
        backbone_size="atto",
        frame=FRAME,
        scale_m=30_000.0,
        feature_mean=[-70.0] * 3,
        feature_std=[6.0] * 3,
    )
    for head in (model.position_head, model.uncertainty_head):
        torch.nn.init.normal_(head[-1].weight, std=0.3)
    return model.eval()
