"""The task of the model `fusion`: from all recordings of a session to a position, with FusionNet."""

from __future__ import annotations

import itertools
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import torch
from torch.utils.data import Dataset

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FeatureParams, Params
from heimdall.geometry import transmitters
from heimdall.geometry.area import Area
from heimdall.network import dataset, filters, fusion_net, model_file, temperature_scaling, tokens
from heimdall.network.dataset import DatasetConfig, Sessions
from heimdall.network.filters import NO_FILTERS
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.network.loss import robust
from heimdall.network.model_file import PRETRAINED_HASH
from heimdall.network.tokens import Tokenizer, Tokens
from heimdall.pipeline.train import token_file, world_networks
from heimdall.pipeline.train.task import Judged, Scratch, Weights
from heimdall.pipeline.train.token_file import Recipe, TokenFile
from heimdall.position import radio_map, received_power
from heimdall.position.radio_map import RadioMap
from heimdall.position.received_power import PowerModel
from heimdall.position.solver import KM

Float64 = npt.NDArray[np.float64]
Session = tuple[Tokens, Float64, Float64]

PRETRAINED = Path("models/pretrained.safetensors")
# The likelihood's slope grows as 1 / sigma^3: one surprising session may not undo an epoch.
CLIP_NORM = 1.0
CALIBRATED = 500  # sessions at most tell how sure the network may be before it is trained on them
_VALIDATION_EPOCH = 2**32  # its variations are no training epoch's
# A terrain that is fitted to fewer misleads (docs/physics.md, section 6).
_TERRAIN_SESSIONS = 120
_SAME_PLACE_M = 100.0  # of a receiver whose terrain is known
_FEW_TIMED = 0.1  # of the sessions: from fewer nothing is learned of arrival times


class SessionTask:
    """One session, one answer: a FusionNet.

    Args:
        parameters: Training parameters and `model`.
        config: Where the features are.
        pretrained: Weights that `start` starts from, their .json beside them, if `model.from_simulated`.

    Raises:
        HeimdallError: The data or the weights are missing or damaged, a split is empty, or the weights were
            trained on features of other parameters; or no training session is of the network's receivers.
    """

    network: FusionNet
    clip_norm = CLIP_NORM

    def __init__(self, parameters: Params, config: DatasetConfig, pretrained: Path = PRETRAINED) -> None:
        self.parameters, self.config = parameters, config
        described = dataset.read_network(config)
        self._plane, self._receivers = described.plane, dataset.read_receivers(config)
        self._features = FeatureParams(**described.features)
        # Each simulated world has filters of its own, and some have receivers of their own.
        self._elsewhere = dataset.read_elsewhere(config) if described.split["by"] == "world" else None
        self._parts = {
            split: dataset.observations(config, split, parameters.validation_split)
            for split in ("train", "val")
        }
        self.index = pd.concat([part.table for part in self._parts.values()])
        self._at_home = self._parts["train"]
        if self._elsewhere is not None:
            self._at_home = world_networks.at_home(self._at_home, self._elsewhere)
        if not len(self._at_home.observations):
            raise HeimdallError(
                str(config.elsewhere_file),
                "no world of the training split has the network's own receivers",
                "Lower pretrain.elsewhere_share, or raise pretrain.sessions",
            )
        _say_without_times(self._parts["train"])
        self._origin: dict[str, str] = {}
        if parameters.model.from_simulated:
            self._pretrained, self._origin = _pretrained(pretrained, described.features)

    def origin(self) -> dict[str, str]:
        """As of `LearningTask`: the weights of the simulated sessions, if any."""
        return self._origin

    def start(self, scratch: Scratch) -> None:
        """The network of the simulated sessions in the plane of these ones, or a new one."""
        part, dropout_rate = self._at_home, self.parameters.dropout_rate
        truth_m = part.truth_m(self._plane)
        area = Area.of_transmitters(self._receivers, truth_m)
        sessions = part.observations, truth_m, self._receivers, self._plane
        levels = received_power.fit(*sessions)
        filtered = NO_FILTERS
        if self._elsewhere is None:
            filtered = filters.fit(
                part.observations,
                truth_m,
                self._plane,
                self._features,
                transmitter=list(transmitters.by_place(part.table)),
                websdr_id=self._receivers.websdr_id,
            )
        if self._origin:
            trained = self._pretrained
            known = self._known_map(trained, levels, len(part.observations))
            here = {
                "plane": asdict(self._plane),
                "area": asdict(area),
                "power": asdict(levels),
                "radio": asdict(radio_map.fit(*sessions, law=levels, area=area, known=known)),
                "filters": asdict(filtered),
                "dropout_rate": dropout_rate,
            }
            self.network = fusion_net.from_config(trained.config | here)
            # Without its other buffers: plane, area and levels are not the simulation's.
            self.network.load_state_dict(dict(trained.named_parameters()), strict=False)
            self.network.temperature.copy_(trained.temperature)
            self.network.floor_m.copy_(trained.floor_m)
            made = self._tokens(self.network.tokenizer(self._receivers), scratch)
            self._prepare(made)
            # This network has seen none of these sessions, so they tell whether it is too sure here: the few
            # that validate start from that. If it is not sure enough, training on them makes it surer.
            unseen = PlainSessions(made["train"], *self._truth("train"), self.parameters.seed)
            self._calibrate(unseen, range(0, len(unseen), 1 + (len(unseen) - 1) // CALIBRATED))
            self.network.temperature.clamp_(min=trained.temperature)
            self.network.floor_m.clamp_(min=trained.floor_m)
            self.network.train()
            return
        radio = radio_map.fit(*sessions, law=levels, area=area)
        tokenizer = Tokenizer(self._plane, area, levels, radio, self._receivers, filtered)
        made = self._tokens(tokenizer, scratch)
        self.network = fusion_net.create(tokenizer, PlainTokens(made["train"]), dropout_rate)
        self._prepare(made)

    def resume(self, config: dict[str, Any], weights: Weights, scratch: Scratch) -> None:
        """As of `LearningTask`; plane, area, levels and normalisation are the checkpoint's."""
        self.network = fusion_net.from_config(config | {"dropout_rate": self.parameters.dropout_rate})
        self.network.load_state_dict(weights)
        self._prepare(self._tokens(self.network.tokenizer(self._receivers), scratch))

    def collate(self, items: list[Session]) -> dict[str, torch.Tensor]:
        """Sessions to a batch: as of `tokens.collate`, with `truth_m` and `truth_deg`, (B, 2) float64."""
        sessions, truth_m, truth_deg = zip(*items, strict=True)
        truth = {"truth_m": np.stack(truth_m), "truth_deg": np.stack(truth_deg)}
        return tokens.collate(sessions) | {name: torch.from_numpy(value) for name, value in truth.items()}

    def loss(self, batch: dict[str, torch.Tensor]) -> tuple[torch.Tensor, int]:
        """As of `LearningTask`, for densities per square kilometre."""
        return self.network.loss(batch).mean(), len(batch["mask"])

    def judge(self, batch: dict[str, torch.Tensor]) -> Judged:
        """As of `LearningTask`: likelihood before calibration, bounded as in training."""
        mixture = self.network.uncalibrated(batch)
        nll = robust(mixture.nll(batch["truth_m"] / KM))
        return Judged(float(nll.mean()), self.network.position_deg(mixture), batch["truth_deg"])

    def finish(self) -> dict[str, Any]:
        """Calibrate on the validation sessions alone."""
        self._calibrate(self.validation, range(len(self.validation)))
        return {
            "temperature": float(self.network.temperature),
            "floor_m": float(self.network.floor_m),
            "training_sessions": len(self.index) - len(self.validation),
            "validation_sessions": len(self.validation),
        }

    def _calibrate(self, plain: PlainSessions, numbers: Iterable[int]) -> None:
        """Set temperature and floor by some sessions that the network has not learned from."""
        sessions = (plain[number] for number in numbers)
        batches = (
            self.collate(batch)
            for batch in iter(lambda: list(itertools.islice(sessions, INFERENCE_BATCH)), [])
        )
        temperature_scaling.calibrate(self.network, batches)

    def _truth(self, split: str) -> tuple[Float64, Float64]:
        """Where a split's transmitters are, as of `PlainSessions`."""
        part = self._parts[split]
        truth_deg = part.table[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
        return part.truth_m(self.network.plane), truth_deg

    def _known_map(self, trained: FusionNet, levels: PowerModel, sessions: int) -> RadioMap | None:
        """What is known of the levels here before the sessions; None where they tell of the terrain."""
        if self._is_network_of(trained):
            return trained.radio
        return trained.radio.of_others(levels, self._receivers) if sessions < _TERRAIN_SESSIONS else None

    def _is_network_of(self, trained: FusionNet) -> bool:
        """Whether a network was trained on these receivers, where they are."""
        known, here = trained.radio, self._receivers
        return known.law.websdr_id == tuple(here.websdr_id.tolist()) and np.allclose(
            known.receiver_m, here.position_m, rtol=0, atol=_SAME_PLACE_M
        )

    def _tokens(self, tokenizer: Tokenizer, scratch: Scratch) -> dict[str, TokenFile]:
        """Tokens of all sessions by split, those of the training with their variants."""
        made = {}
        for split, part in self._parts.items():
            recipe = Recipe(
                tokenizer,
                self._features,
                self.parameters.seed,
                varied=split == "train",
                threads=self.parameters.threads,
                elsewhere=self._elsewhere,
            )
            made[split] = token_file.made(recipe, part, scratch, split)
        return made

    def _prepare(self, made: Mapping[str, TokenFile]) -> None:
        """The items: tokens and the truth."""
        seed = self.parameters.seed
        self.training = AugmentedSessions(made["train"], *self._truth("train"), seed)
        self.validation = PlainSessions(made["val"], *self._truth("val"), seed)


def _say_without_times(training: Sessions) -> None:
    """Say on stderr if the sessions have no arrival times, which the network is made for."""
    timed = int((training.arrival_times() > 2).sum())
    if timed < _FEW_TIMED * len(training.observations):
        print(
            f"Warning: in {timed} of {len(training.observations)} training sessions three receivers know GPS "
            "time. Without it the localizer learns little, and received power can be much better: compare "
            "the two by `python stages/evaluate.py --show`. The columns start_gps_ns and timing_sigma_ns "
            "bring GPS time: see Time in docs/recordings.md.",
            file=sys.stderr,
            flush=True,
        )


@dataclass(frozen=True, eq=False)
class PlainTokens(Sequence[Tokens]):
    """Sessions as they are, without their variants.

    Attributes:
        sessions: In their variants.
    """

    sessions: TokenFile

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, number: Any) -> Any:  # noqa: ANN401 - an index or a slice, as of Sequence
        if isinstance(number, slice):
            return [self[one] for one in range(len(self))[number]]
        return self.sessions[number][0]


@dataclass(frozen=True, eq=False)
class PlainSessions(Dataset[Session]):
    """Sessions as they are, as those that validate.

    Attributes:
        sessions: Their tokens, the first of each.
        truth_m: The transmitters' places, east and north in metres, (n, 2).
        truth_deg: The same in degrees, (n, 2).
        seed: The user's seed.
    """

    sessions: TokenFile
    truth_m: Float64
    truth_deg: Float64
    seed: int

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, position: int) -> Session:
        return (
            _timed(self.sessions[position][0], self.seed, position),
            self.truth_m[position],
            self.truth_deg[position],
        )


@dataclass(frozen=True, eq=False)
class AugmentedSessions(Dataset[Session]):
    """Training items, varied anew in each epoch; attributes as of `PlainSessions`."""

    sessions: TokenFile
    truth_m: Float64
    truth_deg: Float64
    seed: int

    def __len__(self) -> int:
        return len(self.sessions)

    def __getitem__(self, key: tuple[int, int]) -> Session:
        epoch, position = key
        chosen = tokens.chosen(self.sessions[position], self.seed, epoch, position)
        varied = tokens.augment(chosen, self.seed, epoch, position)
        return varied, self.truth_m[position], self.truth_deg[position]


def _pretrained(weights: Path, features: Mapping[str, Any]) -> tuple[FusionNet, dict[str, str]]:
    """The network of the simulated sessions, and the hash of its weights for the record."""
    config = weights.with_suffix(".json")
    network, record = model_file.load(weights, config)
    cause = ""
    if not isinstance(network, FusionNet):
        cause = "no weights of fusion"
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
