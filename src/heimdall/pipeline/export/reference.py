"""The test set, and what PyTorch says of it: what exported files are measured on."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

from heimdall.inference.onnx_model import RECORDING_INPUT, Arrays, joined, session_inputs
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, observations, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.network.model_file import Network
from heimdall.network.tokens import Tokens
from heimdall.pipeline.export.graphs import Graph


@dataclass(frozen=True, eq=False)
class Reference:
    """The test set, and what PyTorch says of it.

    Attributes:
        batch: The inputs of the cases from a first to before a last, with as many unused rows of receivers
            as the third argument says (a recording alone has none).
        truth_deg: True latitude and longitude, degrees, shape (n, 2), n > 0.
        answers: PyTorch's outputs by name, each of n rows.
    """

    batch: Callable[[int, int, int], Arrays]
    truth_deg: npt.NDArray[np.float64]
    answers: Arrays

    def batches(self, size: int, spare: int = 0) -> Iterator[Arrays]:
        """Inputs of all cases, `size` at a time."""
        for start in range(0, len(self.truth_deg), size):
            yield self.batch(start, min(start + size, len(self.truth_deg)), spare)


def held_out(network: Network, graph: Graph, config: DatasetConfig, validation_split: float) -> Reference:
    """What the exported files are measured on.

    Args:
        network: The trained network.
        graph: As of `graphs.of_network`.
        config: Where the features are.
        validation_split: Share of the development rows that validates.

    Returns:
        All recordings of the test split, or all of its sessions.

    Raises:
        HeimdallError: The features are missing, or the test split has no members.
    """
    if isinstance(network, FusionNet):
        found = observations(config, "test", validation_split)
        make = network.tokenizer(read_receivers(config))
        truth_deg = found.table[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
        return sessions(graph, [make.tokens(item) for item in found.observations], truth_deg)
    dataset = HeimdallDataset(config, "test", validation_split=validation_split)
    features = np.stack([dataset.features(position) for position in range(len(dataset))])
    return recordings(graph, features, dataset.index[["latitude_deg", "longitude_deg"]].to_numpy(np.float64))


def recordings(
    graph: Graph, features: npt.NDArray[np.float32], truth_deg: npt.NDArray[np.float64]
) -> Reference:
    """Recordings with their log-mels (n, 3, n_mels, frames) and true positions (n, 2) as a reference."""
    return _reference(graph, lambda start, stop, _: {RECORDING_INPUT: features[start:stop]}, truth_deg)


def sessions(graph: Graph, tokens: Sequence[Tokens], truth_deg: npt.NDArray[np.float64]) -> Reference:
    """Sessions (n) and their true positions (n, 2) as a reference."""
    return _reference(graph, lambda start, stop, spare: session_inputs(tokens[start:stop], spare), truth_deg)


def _reference(
    graph: Graph, batch: Callable[[int, int, int], Arrays], truth_deg: npt.NDArray[np.float64]
) -> Reference:
    unanswered = Reference(batch, truth_deg, {})
    with torch.inference_mode():
        answers = [
            graph.module(*(torch.from_numpy(inputs[name]) for name in graph.example))
            for inputs in unanswered.batches(INFERENCE_BATCH)
        ]
    named = [dict(zip(graph.outputs, (value.numpy() for value in one), strict=True)) for one in answers]
    return Reference(batch, truth_deg, joined(named))
