"""A small LocalizationNet, untrained, and recordings for it."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from heimdall.geometry.geo import LocalFrame
from heimdall.network.localization_net import LocalizationNet

FRAME = LocalFrame(45.0, 8.0)
SCALE_M = 30_000.0


def network(**changes: Any) -> LocalizationNet:  # noqa: ANN401
    torch.manual_seed(3)
    positional: dict[str, Any] = {
        "pretrained": False,
        "freeze_backbone": False,
        "uncertainty_min": 10.0,
        "uncertainty_max": 200_000.0,
        "backbone_size": "atto",
        "frame": FRAME,
        "scale_m": SCALE_M,
        "feature_mean": [-70.0, -60.0, -50.0],
        "feature_std": [5.0, 6.0, 7.0],
    }
    return LocalizationNet(**positional | changes)


@pytest.fixture(scope="session")
def net() -> LocalizationNet:
    return network().eval()


@pytest.fixture(scope="session")
def features() -> torch.Tensor:
    return torch.randn(3, 3, 128, 32, generator=torch.Generator().manual_seed(1)) * 5 - 60
