"""The network as ONNX, float32 and int8, behind a parity gate.

Nothing is written before the gate has passed. The figures are measured in the portable way of
`OnnxLocalizer`, so that another CPU records the same ones; the gate holds for the fast way, too.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import ExportParams
from heimdall.inference.onnx_model import Kind, OnnxLocalizer
from heimdall.network.dataset import DatasetConfig
from heimdall.network.localization_net import INFERENCE_BATCH
from heimdall.network.model_file import Network
from heimdall.pipeline.export import graphs
from heimdall.pipeline.export.graphs import Graph
from heimdall.pipeline.export.onnx_file import FLOAT32_FILE, INT8_FILE, onnx_bytes, quantized_bytes
from heimdall.pipeline.export.parity import Parity, compare, shift_m
from heimdall.pipeline.export.reference import Reference

SIZE_TARGET_MB = 100.0  # the specification's

_INT8_BATCH_SIZE = 1  # as a service asks: int8 scales its activations by the whole batch
_SPARE_RECEIVERS = 3


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


def export_onnx(
    network: Network,
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
    artifacts.write_bytes(path, onnx_bytes(graphs.of_network(network, record, config), record, opset))


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
        shift_m(moved, reference.truth_deg).mean() - shift_m(original, reference.truth_deg).mean()
    )
    return Exported(graph.kind, float32, int8, parity, shift_m(original, moved), change_m)


def figures(exported: Exported, data: str, params: ExportParams) -> dict[str, Any]:
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
    batches = reference.batches(INFERENCE_BATCH, 0 if portable else _SPARE_RECEIVERS)
    parity = compare(reference.answers, localizer.answer(batches), params)
    if parity.share <= params.parity_min_share:
        cause = (
            f"ONNX agrees with PyTorch within {params.parity_tolerance_m:g} m and "
            f"{params.parity_tolerance_sigma:.0%} of sigma on {parity.share:.2%} of {parity.n} cases, "
            f"not above {params.parity_min_share:.0%} (largest distance {parity.max_distance_m:.3g} m)"
        )
        remedy = (
            "Nothing was written; raise export.parity_tolerance_m or export.parity_tolerance_sigma in "
            "params.yaml only if that accuracy is enough"
        )
        raise HeimdallError(FLOAT32_FILE, cause, remedy)
    return parity


def _megabytes(content: bytes) -> float:
    return round(len(content) / 1e6, 3)
