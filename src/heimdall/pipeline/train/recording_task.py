"""The task of the model `single`: from one recording to its transmitter's position, with LocalizationNet."""

from __future__ import annotations

import math
import warnings
from dataclasses import asdict
from typing import Any

import pandas as pd
import torch
from torch.utils.data import Dataset

from heimdall.core.params import AugmentParams, Params
from heimdall.network import dataset, localization_net
from heimdall.network.dataset import DatasetConfig, HeimdallDataset
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.loss import GaussianNLLLoss
from heimdall.pipeline.train.task import Judged, Scratch, Weights
from heimdall.signal import features

Recording = tuple[torch.Tensor, torch.Tensor]

# The likelihood's slope grows as 1 / sigma^3: one surprising recording may not undo an epoch.
CLIP_NORM = 10.0
NORMALISED = 10.0  # labels of a network without a frame are of the size of 1
NO_FRAME = (
    "the labels look like degrees, and the network has no local frame, so it will hardly learn: give it one, "
    "such as LocalizationNet(frame=LocalFrame(45.0, 8.0), scale_m=50_000.0, uncertainty_min=10.0, "
    "uncertainty_max=200_000.0)"
)


class NetworkTask:
    """How any LocalizationNet learns: the loss of recordings with their labels, in local units.

    Args:
        network: The network.
    """

    network: LocalizationNet
    collate = None
    clip_norm = CLIP_NORM

    def __init__(self, network: LocalizationNet) -> None:
        self.network = network

    def loss(self, batch: Recording) -> tuple[torch.Tensor, int]:
        """As of `LearningTask`, in local units."""
        return recording_loss(self.network, self.network.forward_local(batch[0]), batch[1]), len(batch[1])

    def judge(self, batch: Recording) -> Judged:
        """As of `LearningTask`, in local units."""
        recordings, degrees = batch
        found = self.network.forward_local(recordings)
        value = float(recording_loss(self.network, found, degrees))
        return Judged(value, self.network.to_degrees(found)[:, :2], degrees)


class RecordingTask(NetworkTask):
    """One recording, one answer: a LocalizationNet.

    Args:
        parameters: Training parameters and `model`.
        config: Where the features are.

    Raises:
        HeimdallError: The data are missing or damaged, or a split is empty.
    """

    def __init__(self, parameters: Params, config: DatasetConfig) -> None:
        self.parameters, self.config = parameters, config
        self._recordings = HeimdallDataset(config, "train", validation_split=parameters.validation_split)
        self.training: Dataset[Any] = AugmentedRecordings(
            self._recordings, parameters.augment, parameters.seed
        )
        self.validation = HeimdallDataset(config, "val", validation_split=parameters.validation_split)
        self.index = pd.concat([self._recordings.index, self.validation.index])

    def origin(self) -> dict[str, str]:
        """As of `LearningTask`: ImageNet weights, if any."""
        if not self.parameters.model.pretrained:
            return {}
        return {"pretrained_sha256": localization_net.pretrained_sha256(self.parameters.backbone)}

    def start(self, scratch: Scratch) -> None:
        """A new network, with frame, scale and normalisation of the training recordings."""
        part, chosen = self._recordings, self.parameters.model
        frame = dataset.read_network(self.config).frame
        east_m, north_m = frame.to_local(part.index["latitude_deg"], part.index["longitude_deg"])
        mean_square = math.fsum((east_m**2 + north_m**2).tolist()) / (2 * len(part))
        mean, std = features.feature_statistics(part.features(k) for k in range(len(part)))
        self.network = LocalizationNet(
            chosen.pretrained,
            chosen.freeze_backbone,
            chosen.uncertainty_min_m,
            chosen.uncertainty_max_m,
            self.parameters.backbone,
            dropout_rate=self.parameters.dropout_rate,
            frame=frame,
            scale_m=max(math.sqrt(mean_square), chosen.uncertainty_min_m),
            feature_mean=mean.tolist(),
            feature_std=std.tolist(),
        )

    def resume(self, config: dict[str, Any], weights: Weights, scratch: Scratch) -> None:
        """As of `LearningTask`; frame, scale and normalisation are the checkpoint's."""
        self.network = localization_net.from_config(config | {"dropout_rate": self.parameters.dropout_rate})
        self.network.load_state_dict(weights)

    def finish(self) -> dict[str, Any]:
        """As of `LearningTask`: the counts alone."""
        return {
            "training_recordings": len(self._recordings),
            "validation_recordings": len(self.validation),
        }


def recording_loss(network: LocalizationNet, found: torch.Tensor, degrees: torch.Tensor) -> torch.Tensor:
    """The specification's loss.

    Args:
        network: What found them.
        found: (B, 4) as of `LocalizationNet.forward_local`.
        degrees: Latitude and longitude of the truth, (B, 2) float64.

    Returns:
        A scalar, nats in local units.
    """
    if network.frame is None and float(degrees.abs().max()) > NORMALISED:
        warnings.warn(NO_FRAME, UserWarning, stacklevel=2)
    value: torch.Tensor = GaussianNLLLoss()(found, network.to_local(degrees))
    return value


class AugmentedRecordings(Dataset[Recording]):
    """Training items, varied anew in each epoch.

    Args:
        recordings: The training split.
        augment: How they vary.
        seed: The user's seed.
    """

    def __init__(self, recordings: HeimdallDataset, augment: AugmentParams, seed: int) -> None:
        self.recordings, self.augment, self.seed = recordings, augment, seed

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, key: tuple[int, int]) -> Recording:
        epoch, position = key
        plain = self.recordings.features(position)
        varied = features.augment_features(
            plain, **asdict(self.augment), seed=self.seed, epoch=epoch, index=position
        )
        return torch.from_numpy(varied), self.recordings.label(position)
