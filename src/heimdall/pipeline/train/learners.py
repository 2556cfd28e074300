"""What is learned from: recordings one by one (`single`) or whole sessions (`fusion`), for `learning.fit`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import Dataset
from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.geometry.area import Area
from heimdall.network import dataset, fusion_net, localization_net, tokens
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, Sessions
from heimdall.network.fusion_net import PRETRAINED_HASH, FusionNet
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.loss import GaussianNLLLoss
from heimdall.network.tokens import Tokenizer, Tokens
from heimdall.pipeline.train import lightning_module
from heimdall.pipeline.train.lightning_module import Judged
from heimdall.position import radio_map, received_power
from heimdall.signal import log_mel

Recording = tuple[torch.Tensor, torch.Tensor]
Session = tuple[Tokens, npt.NDArray[np.float64], npt.NDArray[np.float64]]
Weights = Mapping[str, torch.Tensor]

PRETRAINED = Path("models/pretrained.safetensors")
# The likelihood's slope grows as 1 / sigma^3: one surprising recording may not undo an epoch.
SINGLE_CLIP_NORM = 10.0
FUSION_CLIP_NORM = 1.0
_VALIDATION_EPOCH = 2**32  # its variations are no training epoch's
_SAME_PLACE_M = 100.0  # of a receiver whose terrain is known
_BATCH_SIZE = 64  # of embeddings, fixed: kernels are chosen by shape, so it is part of the result


class PipelineLearner(lightning_module.Learner, Protocol):
    """A learner that makes its own network: `network` and items are there from `start` or `resume` on."""

    @property
    def index(self) -> pd.DataFrame:
        """The training and the validation split; the column `simulated` is used."""

    def origin(self) -> dict[str, str]:
        """SHA-256 of the weights that `start` starts from, by the name that the record has for them."""

    def first(self) -> PipelineLearner | None:
        """What is to be trained before `start`, which builds on its network."""

    def start(self) -> None:
        """Make the network that training starts from."""

    def resume(self, config: dict[str, Any], weights: Weights) -> None:
        """Make the network of a checkpoint.

        Args:
            config: The network's configuration.
            weights: Its state.
        """

    def finish(self) -> dict[str, Any]:
        """What follows the last epoch, with the best weights in place; figures for metrics/train.json."""


class SingleLearner:
    """One recording, one answer: a LocalizationNet.

    Args:
        parameters: Training parameters and `model`.
        config: Where the features are.

    Raises:
        HeimdallError: The data are missing or damaged, or a split is empty.
    """

    network: LocalizationNet
    collate = None
    clip_norm = SINGLE_CLIP_NORM

    def __init__(self, parameters: Params, config: DatasetConfig) -> None:
        self.parameters, self.config = parameters, config
        self._recordings = HeimdallDataset(config, "train", None, parameters.validation_split)
        self.training: Dataset[Any] = AugmentedRecordings(self._recordings, parameters.seed)
        self.validation = HeimdallDataset(config, "val", None, parameters.validation_split)
        self.index = pd.concat([self._recordings.index, self.validation.index])

    def origin(self) -> dict[str, str]:
        """As of `PipelineLearner`: ImageNet weights, if any."""
        if not self.parameters.model.pretrained:
            return {}
        return {"pretrained_sha256": localization_net.pretrained_sha256(self.parameters.backbone)}

    def first(self) -> None:
        """As of `PipelineLearner`: nothing."""

    def start(self) -> None:
        """A new network, with frame, scale and normalisation of the training recordings."""
        part, chosen = self._recordings, self.parameters.model
        frame = dataset.read_network(self.config).frame
        east_m, north_m = frame.to_local(part.index["latitude_deg"], part.index["longitude_deg"])
        mean_square = math.fsum((east_m**2 + north_m**2).tolist()) / (2 * len(part))
        mean, std = log_mel.feature_statistics(part.features(k) for k in range(len(part)))
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

    def resume(self, config: dict[str, Any], weights: Weights) -> None:
        """As of `PipelineLearner`; frame, scale and normalisation are the checkpoint's."""
        self.network = localization_net.from_config(config | {"dropout_rate": self.parameters.dropout_rate})
        self.network.load_state_dict(weights)

    def loss(self, batch: Recording) -> tuple[torch.Tensor, int]:
        """As of `learning.Learner`, in local units."""
        return recording_loss(self.network, self.network.forward_local(batch[0]), batch[1]), len(batch[1])

    def judge(self, batch: Recording) -> Judged:
        """As of `learning.Learner`, in local units."""
        recordings, degrees = batch
        found = self.network.forward_local(recordings)
        value = float(recording_loss(self.network, found, degrees))
        return Judged(value, self.network.to_degrees(found)[:, :2], degrees)

    def finish(self) -> dict[str, Any]:
        """As of `PipelineLearner`: the counts alone."""
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
    value: torch.Tensor = GaussianNLLLoss()(found, network.to_local(degrees))
    return value


class AugmentedRecordings(Dataset[Recording]):
    """Training items, varied anew in each epoch.

    Args:
        recordings: The training split.
        seed: The user's seed.
    """

    def __init__(self, recordings: HeimdallDataset, seed: int) -> None:
        self.recordings, self.seed = recordings, seed

    def __len__(self) -> int:
        return len(self.recordings)

    def __getitem__(self, key: tuple[int, int]) -> Recording:
        epoch, position = key
        plain = self.recordings.features(position)
        varied = log_mel.augment_features(plain, seed=self.seed, epoch=epoch, index=position)
        return torch.from_numpy(varied), self.recordings.label(position)


class FusionLearner:
    """One session, one answer: a FusionNet on an encoder that is trained before, and not further.

    Args:
        parameters: Training parameters and `model`.
        config: Where the features are.
        pretrained: Weights that `start` starts from, their .json beside them, if `model.from_simulated`.

    Raises:
        HeimdallError: The data or the weights are missing or damaged, a split is empty, or the weights have
            another backbone or were trained on features of other parameters.
    """

    network: FusionNet
    clip_norm = FUSION_CLIP_NORM

    def __init__(self, parameters: Params, config: DatasetConfig, pretrained: Path = PRETRAINED) -> None:
        self.parameters, self.config = parameters, config
        described = dataset.read_network(config)
        self._plane, self._receivers = described.plane, dataset.read_receivers(config)
        self._parts = {
            split: dataset.observations(config, split, parameters.validation_split)
            for split in ("train", "val")
        }
        self.index = pd.concat([part.table for part in self._parts.values()])
        self._origin: dict[str, str] = {}
        if parameters.model.from_simulated:
            self._pretrained, self._origin = _pretrained(pretrained, parameters.backbone, described.features)

    def origin(self) -> dict[str, str]:
        """As of `PipelineLearner`: the weights of the simulated sessions, if any."""
        return self._origin

    def first(self) -> SingleLearner | None:
        """As of `PipelineLearner`: the encoder on the same data, unless there are weights to start from."""
        self._encoder = None if self._origin else SingleLearner(self.parameters, self.config)
        return self._encoder

    def start(self) -> None:
        """The network of the simulated sessions in the plane of these ones, or a new one on a new encoder."""
        area, dropout_rate = Area.around(self._receivers), self.parameters.dropout_rate
        part = self._parts["train"]
        sessions = part.observations, part.truth_m(self._plane), self._receivers, self._plane
        levels = received_power.fit(*sessions)
        if self._encoder is None:
            trained = self._pretrained
            known = trained.radio if self._is_network_of(trained) else None
            here = {
                "plane": asdict(self._plane),
                "area": asdict(area),
                "power": asdict(levels),
                "radio": asdict(radio_map.fit(*sessions, law=levels, area=area, known=known)),
                "dropout_rate": dropout_rate,
            }
            self.network = fusion_net.from_config(trained.config | here)
            # Without its other buffers: plane, area and levels are not the simulation's.
            self.network.load_state_dict(dict(trained.named_parameters()), strict=False)
            self.network.temperature.copy_(trained.temperature)
            self.network.floor_m.copy_(trained.floor_m)
            self._prepare(self._tokens(self._tokenizer()))
            return
        radio = radio_map.fit(*sessions, law=levels, area=area)
        tokenizer = Tokenizer(self._plane, area, levels, radio, self._receivers)
        made = self._tokens(tokenizer)
        self.network = fusion_net.create(self._encoder.network, tokenizer, made["train"], dropout_rate)
        self._prepare(made)

    def resume(self, config: dict[str, Any], weights: Weights) -> None:
        """As of `PipelineLearner`; plane, area, levels and normalisation are the checkpoint's."""
        self.network = fusion_net.from_config(config | {"dropout_rate": self.parameters.dropout_rate})
        self.network.load_state_dict(weights)
        self._prepare(self._tokens(self._tokenizer()))

    def collate(self, items: list[Session]) -> dict[str, torch.Tensor]:
        """Sessions to a batch: as of `tokens.collate`, with `truth_m` and `truth_deg`, (B, 2) float64."""
        sessions, truth_m, truth_deg = zip(*items, strict=True)
        truth = {"truth_m": np.stack(truth_m), "truth_deg": np.stack(truth_deg)}
        return tokens.collate(sessions) | {name: torch.from_numpy(value) for name, value in truth.items()}

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """As of `learning.Learner`, for densities per square kilometre."""
        return self.network.loss(batch).mean(), len(batch["mask"])

    def judge(self, batch: dict[str, torch.Tensor]) -> Judged:
        """As of `learning.Learner`: likelihood before calibration, bounded as in training."""
        mixture = self.network.uncalibrated(batch)
        surprise = fusion_net.bounded(self.network.nll(mixture, batch["truth_m"]))
        return Judged(float(surprise.mean()), self.network.position_deg(mixture), batch["truth_deg"])

    def finish(self) -> dict[str, Any]:
        """Calibrate on the validation sessions alone."""
        fusion_net.calibrate(self.network, self.collate(self.validation.sessions))
        return {
            "temperature": float(self.network.temperature),
            "floor_m": float(self.network.floor_m),
            "training_sessions": len(self.index) - len(self.validation),
            "validation_sessions": len(self.validation),
        }

    def _is_network_of(self, trained: FusionNet) -> bool:
        """Whether a network was trained on these receivers, where they are."""
        known, here = trained.radio, self._receivers
        return known.law.websdr_id == tuple(here.websdr_id.tolist()) and np.allclose(
            known.receiver_m, here.position_m, rtol=0, atol=_SAME_PLACE_M
        )

    def _tokenizer(self) -> Tokenizer:
        return self.network.tokenizer(self._receivers)

    def _tokens(self, tokenizer: Tokenizer) -> dict[str, list[Tokens]]:
        """Tokens of all sessions by split."""
        total = sum(len(part.observations) for part in self._parts.values())
        with tqdm(total=total, desc="tokens", unit="session", leave=False, disable=None) as progress:

            def tokens_of(part: Sessions) -> list[Tokens]:
                made = []
                for observation in part.observations:
                    made.append(tokenizer.tokens(observation))
                    progress.update()
                return made

            return {split: tokens_of(part) for split, part in self._parts.items()}

    def _prepare(self, made: Mapping[str, Sequence[Tokens]]) -> None:
        """The items: tokens with the encoder's embedding for the log-mel, and the truth."""
        items = {}
        for split, part in self._parts.items():
            truth_m = part.truth_m(self.network.plane)
            truth_deg = part.table[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
            items[split] = list(zip(_embedded(self.network, made[split]), truth_m, truth_deg, strict=True))
        self.training = AugmentedSessions(items["train"], self.parameters.seed)
        seed = self.parameters.seed
        self.validation = PlainSessions(
            [(_timed(plain, seed, number), *truth) for number, (plain, *truth) in enumerate(items["val"])]
        )


class PlainSessions(Dataset[Session]):
    """Validation items.

    Args:
        sessions: Tokens, and the transmitter's place in metres and in degrees, (2,) each.
    """

    def __init__(self, sessions: list[Session]) -> None:
        self.sessions = sessions

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, position: int) -> Session:
        return self.sessions[position]


class AugmentedSessions(Dataset[Session]):
    """Training items, varied anew in each epoch.

    Args:
        sessions: As of `PlainSessions`.
        seed: The user's seed.
    """

    def __init__(self, sessions: list[Session], seed: int) -> None:
        self.sessions, self.seed = sessions, seed

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, key: tuple[int, int]) -> Session:
        epoch, position = key
        plain, truth_m, truth_deg = self.sessions[position]
        return tokens.augment(plain, self.seed, epoch, position), truth_m, truth_deg


LEARNERS: dict[str, Callable[[Params, DatasetConfig], PipelineLearner]] = {
    "single": SingleLearner,
    "fusion": FusionLearner,
}


def _pretrained(
    weights: Path, backbone: str, features: Mapping[str, Any]
) -> tuple[FusionNet, dict[str, str]]:
    """The network of the simulated sessions, and the hash of its weights for the record."""
    config = weights.with_suffix(".json")
    network, record = fusion_net.load(weights, config)
    cause = ""
    if not isinstance(network, FusionNet):
        cause = "no weights of fusion"
    elif (found := network.encoder.config["backbone_size"]) != backbone:
        cause = f"its backbone is {found}, not {backbone}"
    elif (made := record["params"]["features"]) != features:
        name = next(name for name in sorted(made | features) if made.get(name) != features.get(name))
        cause = f"it was trained on features with {name} {made.get(name)}, not {features.get(name)}"
    if cause or not isinstance(network, FusionNet):
        raise HeimdallError(
            str(config), cause, "Run `dvc repro pretrain`, or set model.from_simulated to false"
        )
    return network, {PRETRAINED_HASH: artifacts.sha256_file(weights)}


def _timed(session: Tokens, seed: int, number: int) -> Tokens:
    """A validation session as it is; one that was simulated with exact clocks once varied as in training."""
    exact = (session.information_s2 > 0) & (session.timing_sigma_s == 0)
    return tokens.augment(session, seed, _VALIDATION_EPOCH, number) if exact.any() else session


def _embedded(network: FusionNet, sessions: Sequence[Tokens]) -> list[Tokens]:
    """The sessions with the encoder's embedding, (R, dim), in place of the log-mel."""
    network.eval()
    mel = np.concatenate([item.picture for item in sessions])  # (N, 3, n_mels, frames)
    with torch.inference_mode():
        parts = [
            network.embed(torch.from_numpy(mel[start : start + _BATCH_SIZE]).float()).numpy()
            for start in range(0, len(mel), _BATCH_SIZE)
        ]
    edges = np.cumsum([len(item.picture) for item in sessions])[:-1]
    return [
        replace(item, picture=embedding)
        for item, embedding in zip(sessions, np.split(np.concatenate(parts), edges), strict=True)
    ]
