"""Both networks as the ONNX exporter takes them: example inputs, free axes, names, metadata."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from heimdall.geometry.area import Receivers
from heimdall.inference.onnx_model import RECORDING_INPUT, SESSION_INPUTS, TILE_INPUTS, Kind
from heimdall.network.dataset import DatasetConfig, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.model_file import Network
from heimdall.network.tokens import PHYSICAL, SHAPE, TILES

RECORDING_OUTPUTS = ("positions", "uncertainties")
SESSION_OUTPUTS = (
    *RECORDING_OUTPUTS,
    "covariance",
    "localizable",
    "weights",
    "means_deg",
    "covariances",
)


@dataclass(frozen=True, eq=False)
class Graph:
    """A network as the exporter takes it.

    Attributes:
        kind: Which of the two networks.
        module: Its `forward` takes the inputs in their order and gives the outputs in theirs.
        example: An input of each name. Values do not matter; free axes have two rows, because of a single
            one the exporter may make a constant.
        free: Names of the free leading axes of each input.
        outputs: Names; the first axis of each is the batch.
        metadata: What the file says beside the record of its making.
    """

    kind: Kind
    module: nn.Module
    example: dict[str, torch.Tensor]
    free: dict[str, tuple[str, ...]]
    outputs: tuple[str, ...]
    metadata: dict[str, Any]


class _OnnxInterface(nn.Module):
    """The single-receiver network with the two outputs of the ONNX file."""

    def __init__(self, model: LocalizationNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (B, 2) float64 in degrees and uncertainties (B, 2) float32 in metres."""
        answer = self.model(features)  # (B, 4) float64
        return answer[:, :2], answer[:, 2:].to(torch.float32)


def recording_graph(model: LocalizationNet, mel_shape: tuple[int, int, int]) -> Graph:
    """The single-receiver network: input `features`, outputs `RECORDING_OUTPUTS`, any batch.

    Args:
        model: The trained network; it is put into evaluation mode.
        mel_shape: Shape of one log-mel, (3, n_mels, frames).
    """
    return Graph(
        kind="single",
        module=_OnnxInterface(model).eval(),
        example={RECORDING_INPUT: torch.zeros(2, *mel_shape)},
        free={RECORDING_INPUT: ("batch",)},
        outputs=RECORDING_OUTPUTS,
        metadata={},
    )


def session_graph(network: FusionNet, receivers: Receivers) -> Graph:
    """The fusion network: inputs `SESSION_INPUTS`, outputs `SESSION_OUTPUTS`, any batch, any receivers.

    The file also says what its inputs are made with: tangent plane, area, models of levels and receivers.

    Args:
        network: The trained network; it is put into evaluation mode.
        receivers: All receivers of the network.
    """
    rows = {
        "mask": ((), torch.bool),
        "delay_s": ((), torch.float64),
        "information_s2": ((), torch.float64),
        "timing_sigma_s": ((), torch.float64),
        "receiver_m": ((3,), torch.float64),
        "physical": ((len(PHYSICAL),), torch.float32),
        "shape": ((SHAPE,), torch.float32),
    }
    tiles = {"centre_m": (2,), "prior_m2": (2, 2), "log_power": (), "start_m": (2,)}
    example = {name: torch.zeros(2, 2, *shape, dtype=dtype) for name, (shape, dtype) in rows.items()}
    example |= {name: torch.zeros(2, TILES + 1, *shape, dtype=torch.float64) for name, shape in tiles.items()}
    parts = ("plane", "area", "power", "radio", "filters")
    preprocessing = {name: network.config[name] for name in parts} | {
        "receivers": {
            "websdr_id": receivers.websdr_id.tolist(),
            "position_m": receivers.position_m.tolist(),
        }
    }
    return Graph(
        kind="fusion",
        module=network.eval(),
        example={name: example[name] for name in SESSION_INPUTS},
        free={name: ("batch",) if name in TILE_INPUTS else ("batch", "receivers") for name in SESSION_INPUTS},
        outputs=SESSION_OUTPUTS,
        metadata={"preprocessing": preprocessing},
    )


def of_network(network: Network, record: Mapping[str, Any], config: DatasetConfig) -> Graph:
    """The graph of either network.

    Args:
        network: The trained network.
        record: What it was made of; its features' parameters give the shape of the log-mel.
        config: Where the receivers of a fusion network are.

    Raises:
        HeimdallError: The receivers are missing.
    """
    if isinstance(network, FusionNet):
        return session_graph(network, read_receivers(config))
    chosen = record["params"]["features"]
    mel_shape = (3, int(chosen["n_mels"]), int(chosen["frames"]))
    return recording_graph(network, mel_shape)
