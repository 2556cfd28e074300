"""The network as ONNX, float32 and int8, behind a parity gate.

Nothing is written before the gate has passed. The figures are measured in the portable way of
`OnnxLocalizer`, so that another CPU records the same ones; the gate holds for the fast way, too.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import ExportParams
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import distance_m
from heimdall.inference.onnx_model import (
    RECORDING_INPUT,
    SESSION_INPUTS,
    TILE_INPUTS,
    Arrays,
    Kind,
    OnnxLocalizer,
    joined,
    session_inputs,
)
from heimdall.network.dataset import DatasetConfig, HeimdallDataset, observations, read_receivers
from heimdall.network.fusion_net import FusionNet
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.tokens import PHYSICAL, SHAPE, TILES, Tokens

FLOAT32_FILE = "localizer.onnx"
INT8_FILE = "localizer.int8.onnx"
SIZE_TARGET_MB = 100.0  # the specification's
RECORDING_OUTPUTS = ("positions", "uncertainties")
SESSION_OUTPUTS = (
    *RECORDING_OUTPUTS,
    "covariance",
    "localizable",
    "weights",
    "means_deg",
    "covariances",
)
SHOWN_WEIGHT = 0.05  # Gaussians of less are no answer to anyone

_BATCH_SIZE = 64
_INT8_BATCH_SIZE = 1  # as a service asks: int8 scales its activations by the whole batch
_SPARE_RECEIVERS = 3
# Only the pictures' network is quantized: it is nearly all of the file, and the rest is a solver in float64.
_QUANTIZED = "/backbone/"


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


@dataclass(frozen=True)
class Parity:
    """How far an exported network is from the original over the same cases.

    Attributes:
        n: Cases compared.
        max_distance_m: Largest distance between two positions, metres; of a session also between the means
            of Gaussians of at least `SHOWN_WEIGHT`.
        max_sigma_share: Largest difference of a sigma, as a share of it.
        max_probability_change: Largest difference of a session's probabilities: of each Gaussian's weight
            and of lying within 1 km. 0 where the network gives none.
        share: Share of cases within the tolerances; probabilities have that of sigma.
    """

    n: int
    max_distance_m: float
    max_sigma_share: float
    max_probability_change: float
    share: float


@dataclass(frozen=True)
class Exported:
    """What passed the gate, not yet written.

    Attributes:
        kind: Which network it is.
        float32: Bytes of the ONNX file.
        int8: Bytes of its quantized variant.
        parity: Float32 against PyTorch, measured the portable way, as is int8.
        int8_shift_m: Distance of each int8 position from PyTorch's, metres, shape (n,).
        int8_mae_change_m: How much the mean error grows by quantization, metres.
    """

    kind: Kind
    float32: bytes
    int8: bytes
    parity: Parity
    int8_shift_m: npt.NDArray[np.float64]
    int8_mae_change_m: float


class _OnnxInterface(nn.Module):
    """The single-receiver network with the two outputs of the ONNX file."""

    def __init__(self, model: LocalizationNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (B, 2) float64 in degrees and uncertainties (B, 2) float32 in metres."""
        answer = self.model(features)  # (B, 4) float64
        return answer[:, :2], answer[:, 2:].to(torch.float32)


def recording_graph(model: LocalizationNet, picture_shape: tuple[int, int, int]) -> Graph:
    """The single-receiver network: input `features`, outputs `RECORDING_OUTPUTS`, any batch.

    Args:
        model: The trained network; it is put into evaluation mode.
        picture_shape: Shape of one log-mel, (3, n_mels, frames).
    """
    return Graph(
        kind="single",
        module=_OnnxInterface(model).eval(),
        example={RECORDING_INPUT: torch.zeros(2, *picture_shape)},
        free={RECORDING_INPUT: ("batch",)},
        outputs=RECORDING_OUTPUTS,
        metadata={},
    )


def session_graph(network: FusionNet, picture_shape: tuple[int, int, int], receivers: Receivers) -> Graph:
    """The fusion network: inputs `SESSION_INPUTS`, outputs `SESSION_OUTPUTS`, any batch, any receivers.

    The file also says what its inputs are made with: tangent plane, area, models of levels and receivers.

    Args:
        network: The trained network; it is put into evaluation mode.
        picture_shape: Shape of one log-mel, (3, n_mels, frames).
        receivers: All receivers of the network.
    """
    rows = {
        "mel": (picture_shape, torch.float32),
        "mask": ((), torch.bool),
        "delay_s": ((), torch.float64),
        "information_s2": ((), torch.float64),
        "timing_sigma_s": ((), torch.float64),
        "receiver_m": ((3,), torch.float64),
        "physical": ((len(PHYSICAL),), torch.float32),
        "shape": ((SHAPE,), torch.float32),
    }
    tiles = {"centre_m": (2,), "prior_m2": (2, 2), "log_power": ()}
    example = {name: torch.zeros(2, 2, *shape, dtype=dtype) for name, (shape, dtype) in rows.items()}
    example |= {name: torch.zeros(2, TILES + 1, *shape, dtype=torch.float64) for name, shape in tiles.items()}
    preprocessing = {name: network.config[name] for name in ("plane", "area", "power", "radio")} | {
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


def graph(network: LocalizationNet | FusionNet, record: Mapping[str, Any], config: DatasetConfig) -> Graph:
    """The graph of either network.

    Args:
        network: The trained network.
        record: What it was made of; its features' parameters give the shape of the log-mel.
        config: Where the receivers of a fusion network are.

    Raises:
        HeimdallError: The receivers are missing.
    """
    chosen = record["params"]["features"]
    picture_shape = (3, int(chosen["n_mels"]), int(chosen["frames"]))
    if isinstance(network, FusionNet):
        return session_graph(network, picture_shape, read_receivers(config))
    return recording_graph(network, picture_shape)


def held_out(
    network: LocalizationNet | FusionNet, graph: Graph, config: DatasetConfig, validation_split: float
) -> Reference:
    """What the exported files are measured on.

    Args:
        network: The trained network.
        graph: As of `graph`.
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
    dataset = HeimdallDataset(config, "test", None, validation_split)
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
            for inputs in unanswered.batches(_BATCH_SIZE)
        ]
    named = [dict(zip(graph.outputs, (value.numpy() for value in one), strict=True)) for one in answers]
    return Reference(batch, truth_deg, joined(named))


def onnx_bytes(graph: Graph, record: Mapping[str, Any], opset: int) -> bytes:
    """The network as a checked ONNX file.

    Args:
        graph: The network.
        record: What it was made of; stored as the file's metadata, one key each, as JSON.
        opset: ONNX operator set.

    Returns:
        The bytes, which depend on the arguments alone.
    """
    axes = {name: dict(enumerate(free)) for name, free in graph.free.items()}
    axes |= {name: {0: "batch"} for name in graph.outputs}
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The other exporter (dynamo=True) writes this machine's paths into the file; this one does not.
        warnings.simplefilter("ignore")
        target = Path(folder) / FLOAT32_FILE
        torch.onnx.export(
            graph.module,
            tuple(graph.example.values()),
            target,
            dynamo=False,
            opset_version=opset,
            input_names=list(graph.example),
            output_names=list(graph.outputs),
            dynamic_axes=axes,
        )
        made = onnx.load_model(target)
    return _finished(made, dict(record) | graph.metadata)


def export_onnx(
    network: LocalizationNet | FusionNet,
    path: Path,
    record: Mapping[str, Any],
    opset: int,
    config: DatasetConfig,
) -> None:
    """Write the network as ONNX, whole or not at all, without the parity gate.

    Args:
        network: The trained network.
        path: The file to write.
        record: What it was made of; its features' parameters give the input's shape.
        opset: ONNX operator set.
        config: Where the receivers of a fusion network are; another needs none.

    Raises:
        HeimdallError: The receivers are missing.
    """
    artifacts.write_bytes(path, onnx_bytes(graph(network, record, config), record, opset))


def quantized_bytes(content: bytes) -> bytes:
    """The dynamic int8 variant: weights of 7 bits, activations scaled when they are seen.

    It is for small disks and slow links; whether it is also faster depends on backbone and CPU.

    The stem and the depthwise convolutions stay in float32: they hold few weights, ONNX Runtime has no
    fast integer kernel for them, and left alone they cut the error to a third. Seven bits, because eight
    saturate on CPUs without VNNI, and the file would answer differently there.

    Args:
        content: The float32 file.

    Returns:
        The bytes of the quantized file, with the same metadata.
    """
    made = onnx.load_model_from_string(content)
    record = {entry.key: json.loads(entry.value) for entry in made.metadata_props}
    convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
    kept = {node.name for node in convolutions[:1] + [node for node in convolutions if _group(node) > 1]}
    others = {node.name for node in made.graph.node if _QUANTIZED not in node.name}
    kept |= others | {f"{name}_MatMul" for name in others}  # what the quantizer makes of a Gemm
    logging.disable(
        logging.WARNING
    )  # it advises a preparation that folds constants by this machine's kernels
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / INT8_FILE
            quantize_dynamic(
                made,
                target,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QUInt8,
                nodes_to_exclude=sorted(kept),
            )
            quantized = onnx.load_model(target)
    finally:
        logging.disable(logging.NOTSET)
    return _finished(quantized, record)


def compare(reference: Arrays, exported: Arrays, params: ExportParams) -> Parity:
    """Compare an exported network's answers with the original's, row by row.

    Args:
        reference: PyTorch's outputs by name, n > 0 rows.
        exported: The exported network's.
        params: The tolerances.

    Returns:
        The parity.
    """
    shift_m = _shift_m(reference["positions"], exported["positions"])
    sigma_share = np.abs(exported["uncertainties"].astype(np.float64) / reference["uncertainties"] - 1)
    sigma_share = sigma_share.max(-1)
    probability = np.zeros_like(shift_m)
    if "weights" in reference:
        shown = reference["weights"] >= SHOWN_WEIGHT  # (n, K)
        off_m = _shift_m(reference["means_deg"], exported["means_deg"])  # (n, K)
        shift_m = np.maximum(shift_m, np.where(shown, off_m, 0).max(-1))
        own, other = reference["covariances"], exported["covariances"]  # (n, K, 2, 2)
        variance = np.diagonal(own, axis1=-2, axis2=-1)
        scale = np.sqrt(variance[..., :, None] * variance[..., None, :])
        # A variance differs by twice the share that its sigma does.
        covariance_share = (np.abs(other - own) / scale).max((-2, -1)) / 2
        sigma_share = np.maximum(sigma_share, np.where(shown, covariance_share, 0).max(-1))
        probability = np.maximum(
            np.abs(exported["weights"] - reference["weights"]).max(-1),
            np.abs(exported["localizable"] - reference["localizable"]),
        )
    within = (
        (shift_m <= params.parity_tolerance_m)
        & (sigma_share <= params.parity_tolerance_sigma)
        & (probability <= params.parity_tolerance_sigma)
    )
    return Parity(
        n=len(shift_m),
        max_distance_m=float(shift_m.max()),
        max_sigma_share=float(sigma_share.max()),
        max_probability_change=float(probability.max()),
        share=float(within.mean()),
    )


def export(graph: Graph, record: Mapping[str, Any], reference: Reference, params: ExportParams) -> Exported:
    """Make both files and measure them on the test set. Writes nothing.

    Args:
        graph: The trained network.
        record: What it was made of.
        reference: The test set.
        params: Operator set and tolerances.

    Returns:
        The files and what they cost.

    Raises:
        HeimdallError: No more than `parity_min_share` of the cases agree, measured the portable way or
            the fast way, which is this CPU's own and fills sessions up with more unused receivers.
    """
    float32 = onnx_bytes(graph, record, params.opset)
    parity = _gated(float32, reference, params, portable=True)
    _gated(float32, reference, params, portable=False)
    int8 = quantized_bytes(float32)
    quantized = OnnxLocalizer(int8, INT8_FILE, portable=True)
    answers = quantized.answer(reference.batches(_INT8_BATCH_SIZE))
    moved, original = answers["positions"], reference.answers["positions"]
    change_m = float(
        _shift_m(moved, reference.truth_deg).mean() - _shift_m(original, reference.truth_deg).mean()
    )
    return Exported(graph.kind, float32, int8, parity, _shift_m(original, moved), change_m)


def report(exported: Exported, data: str, params: ExportParams) -> dict[str, Any]:
    """The content of metrics/export.json.

    Args:
        exported: What was made.
        data: "simulated", "recorded" or "mixed".
        params: The tolerances.
    """
    float32_mb, int8_mb = _megabytes(exported.float32), _megabytes(exported.int8)
    tolerances = {"tolerance_m": params.parity_tolerance_m, "tolerance_sigma": params.parity_tolerance_sigma}
    return {
        "data": data,
        "model": exported.kind,
        "parity": asdict(exported.parity) | tolerances,
        "float32": {"size_mb": float32_mb, "below_100_mb": float32_mb < SIZE_TARGET_MB},
        "int8": {
            "size_mb": int8_mb,
            "below_100_mb": int8_mb < SIZE_TARGET_MB,
            "median_shift_m": float(np.median(exported.int8_shift_m)),
            "mae_change_m": exported.int8_mae_change_m,
        },
    }


def _gated(float32: bytes, reference: Reference, params: ExportParams, *, portable: bool) -> Parity:
    """The parity of a float32 file, which must pass the gate."""
    localizer = OnnxLocalizer(float32, FLOAT32_FILE, portable=portable)
    batches = reference.batches(_BATCH_SIZE, 0 if portable else _SPARE_RECEIVERS)
    parity = compare(reference.answers, localizer.answer(batches), params)
    if parity.share <= params.parity_min_share:
        cause = (
            f"ONNX agrees with PyTorch within {params.parity_tolerance_m:g} m and "
            f"{params.parity_tolerance_sigma:.0%} of sigma on {parity.share:.2%} of {parity.n} cases, "
            f"not above {params.parity_min_share:.0%} (largest distance {parity.max_distance_m:.3g} m)"
        )
        remedy = "Nothing was written; raise export.parity_tolerance_m only if that accuracy is enough"
        raise HeimdallError(FLOAT32_FILE, cause, remedy)
    return parity


def _finished(made: onnx.ModelProto, record: Mapping[str, Any]) -> bytes:
    """Metadata, check and bytes of a graph."""
    del made.metadata_props[:]
    for key in sorted(record):
        value = json.dumps(record[key], sort_keys=True, allow_nan=False)
        made.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def _group(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _shift_m(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Distances between positions (..., 2) in degrees, metres, shape (...)."""
    flat = distance_m(*a.reshape(-1, 2).T, *b.reshape(-1, 2).T)
    return flat.reshape(a.shape[:-1])


def _megabytes(content: bytes) -> float:
    return round(len(content) / 1e6, 3)
