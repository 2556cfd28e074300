"""The single-receiver network: what it is normalised by."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.train import training
from heimdall.pipeline.train.training import TrainingResult


def test_frame_scale_and_normalisation_come_from_the_training_split(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult]
) -> None:
    network, _ = training.load_network(undisturbed[1].checkpoint_path)
    assert isinstance(network, LocalizationNet)
    part = HeimdallDataset(DatasetConfig(data_dir), "train", None, 0.2)
    stack = np.stack([part.features(position) for position in range(len(part))]).astype(np.float64)
    np.testing.assert_allclose(network.feature_mean.flatten(), stack.mean(axis=(0, 2, 3)), rtol=1e-5)
    np.testing.assert_allclose(network.feature_std.flatten(), stack.std(axis=(0, 2, 3)), rtol=1e-5)
    assert (network.frame.latitude_deg, network.frame.longitude_deg) == (45.0, 8.0)
    east, north = network.frame.to_local(part.index["latitude_deg"], part.index["longitude_deg"])
    assert network.scale_m == pytest.approx(np.sqrt(np.mean(np.concatenate([east, north]) ** 2)))
