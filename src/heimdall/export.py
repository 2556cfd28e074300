"""The network as ONNX, float32 and int8, behind a parity gate, with a card.

Nothing is written before the gate has passed. The figures are measured in the portable way of
`OnnxLocalizer`, so that another CPU records the same ones; the gate holds for the fast way, too.
"""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic
from torch import nn

from heimdall import artifacts
from heimdall.errors import HeimdallError
from heimdall.geo import distance_m
from heimdall.inference import OnnxLocalizer
from heimdall.metrics import Estimates
from heimdall.model import LocalizationNet
from heimdall.params import ExportParams

FLOAT32_FILE = "localizer.onnx"
INT8_FILE = "localizer.int8.onnx"
CARD_FILE = "README.md"
SIZE_TARGET_MB = 100.0  # the specification's
INPUT = "features"
OUTPUTS = ("positions", "uncertainties")

_BATCH_SIZE = 64
_INT8_BATCH_SIZE = 1  # as a service asks: int8 scales its activations by the whole batch


@dataclass(frozen=True)
class Reference:
    """The test recordings, and what PyTorch says of them.

    Attributes:
        features: Log-mel in dB, not normalised, shape (n, 3, n_mels, frames), n > 0.
        truth_deg: True latitude and longitude, degrees, shape (n, 2).
        estimates: PyTorch's n estimates.
    """

    features: npt.NDArray[np.float32]
    truth_deg: npt.NDArray[np.float64]
    estimates: Estimates


@dataclass(frozen=True)
class Parity:
    """How far an exported network is from the original over the same recordings.

    Attributes:
        n: Recordings compared.
        max_distance_m: Largest distance between the two positions, metres.
        max_sigma_share: Largest difference of a sigma, as a share of it.
        share: Share of recordings within both tolerances.
    """

    n: int
    max_distance_m: float
    max_sigma_share: float
    share: float


@dataclass(frozen=True)
class Exported:
    """What passed the gate, not yet written.

    Attributes:
        float32: Bytes of the ONNX file.
        int8: Bytes of its quantized variant.
        parity: Float32 against PyTorch, measured the portable way, as is int8.
        int8_shift_m: Distance of each int8 position from PyTorch's, metres, shape (n,).
        int8_mae_change_m: How much the mean error grows by quantization, metres.
    """

    float32: bytes
    int8: bytes
    parity: Parity
    int8_shift_m: npt.NDArray[np.float64]
    int8_mae_change_m: float


class _OnnxInterface(nn.Module):
    """The network with the two outputs of the ONNX file."""

    def __init__(self, model: LocalizationNet) -> None:
        super().__init__()
        self.model = model

    def forward(self, features: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Positions (B, 2) float64 in degrees and uncertainties (B, 2) float32 in metres."""
        answer = self.model(features)  # (B, 4) float64
        return answer[:, :2], answer[:, 2:].to(torch.float32)


def onnx_bytes(
    model: LocalizationNet, record: Mapping[str, Any], sample_shape: tuple[int, int, int], opset: int
) -> bytes:
    """The network as a checked ONNX file.

    Args:
        model: The trained network; it is put into evaluation mode.
        record: What it was made of; stored as the file's metadata, one key each, as JSON.
        sample_shape: Shape of one recording's features, (3, n_mels, frames).
        opset: ONNX operator set.

    Returns:
        Input `features` (batch, 3, n_mels, frames) float32, dB, not normalised; outputs `positions`
        (batch, 2) float64, degrees, and `uncertainties` (batch, 2) float32, metres; any batch. The bytes
        depend on the arguments alone.
    """
    interface = _OnnxInterface(model).eval()
    with tempfile.TemporaryDirectory() as folder, warnings.catch_warnings():
        # The other exporter (dynamo=True) writes this machine's paths into the file; this one does not.
        warnings.simplefilter("ignore")
        target = Path(folder) / FLOAT32_FILE
        torch.onnx.export(
            interface,
            (torch.zeros(2, *sample_shape),),  # two: of a batch of one, the exporter may make a constant
            target,
            dynamo=False,
            opset_version=opset,
            input_names=[INPUT],
            output_names=list(OUTPUTS),
            dynamic_axes={name: {0: "batch"} for name in (INPUT, *OUTPUTS)},
        )
        graph = onnx.load_model(target)
    return _finished(graph, record)


def export_onnx(model: LocalizationNet, path: Path, record: Mapping[str, Any], opset: int) -> None:
    """Write the network as ONNX, whole or not at all, without the parity gate.

    Args:
        model: The trained network.
        path: The file to write.
        record: What it was made of; its features' parameters give the input's shape.
        opset: ONNX operator set.
    """
    chosen = record["params"]["features"]
    artifacts.write_bytes(path, onnx_bytes(model, record, (3, chosen["n_mels"], chosen["frames"]), opset))


def quantized_bytes(content: bytes, record: Mapping[str, Any]) -> bytes:
    """The dynamic int8 variant: weights of 7 bits, activations scaled when they are seen.

    It is for small disks and slow links; whether it is also faster depends on backbone and CPU.

    The stem and the depthwise convolutions stay in float32: they hold few weights, ONNX Runtime has no
    fast integer kernel for them, and left alone they cut the error to a third. Seven bits, because eight
    saturate on CPUs without VNNI, and the file would answer differently there.

    Args:
        content: The float32 file.
        record: What it was made of.

    Returns:
        The bytes of the quantized file.
    """
    graph = onnx.load_model_from_string(content)
    convolutions = [node for node in graph.graph.node if node.op_type == "Conv"]
    kept = [node.name for node in convolutions[:1] + [node for node in convolutions if _group(node) > 1]]
    logging.disable(
        logging.WARNING
    )  # it advises a preparation that folds constants by this machine's kernels
    try:
        with tempfile.TemporaryDirectory() as folder:
            target = Path(folder) / INT8_FILE
            quantize_dynamic(
                graph,
                target,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QUInt8,
                nodes_to_exclude=kept,
            )
            quantized = onnx.load_model(target)
    finally:
        logging.disable(logging.NOTSET)
    return _finished(quantized, record)


def compare(reference: Estimates, exported: Estimates, params: ExportParams) -> Parity:
    """Compare an exported network's estimates with the original's, row by row.

    Args:
        reference: PyTorch's estimates, n > 0.
        exported: The exported network's.
        params: The tolerances.

    Returns:
        The parity.
    """
    shift_m = _shift_m(reference, exported)
    sigma_share = np.maximum(
        np.abs(exported.sigma_east_m / reference.sigma_east_m - 1),
        np.abs(exported.sigma_north_m / reference.sigma_north_m - 1),
    )
    within = (shift_m <= params.parity_tolerance_m) & (sigma_share <= params.parity_tolerance_sigma)
    return Parity(len(reference), float(shift_m.max()), float(sigma_share.max()), float(within.mean()))


def export(
    model: LocalizationNet, record: Mapping[str, Any], reference: Reference, params: ExportParams
) -> Exported:
    """Make both files and measure them on the test set. Writes nothing.

    Args:
        model: The trained network.
        record: What it was made of.
        reference: The test set.
        params: Operator set and tolerances.

    Returns:
        The files and what they cost.

    Raises:
        HeimdallError: No more than `parity_min_share` of the recordings agree, measured the portable way or
            the fast way, which is this CPU's own.
    """
    features, truth_deg, original = reference.features, reference.truth_deg, reference.estimates
    _, channels, n_mels, frames = features.shape
    float32 = onnx_bytes(model, record, (channels, n_mels, frames), params.opset)
    parity = _gated(float32, reference, params, portable=True)
    _gated(float32, reference, params, portable=False)
    int8 = quantized_bytes(float32, record)
    quantized = OnnxLocalizer(int8, INT8_FILE, portable=True).estimate(features, _INT8_BATCH_SIZE)
    change_m = _mae_m(quantized, truth_deg) - _mae_m(original, truth_deg)
    return Exported(float32, int8, parity, _shift_m(original, quantized), change_m)


def report(exported: Exported, data: str, params: ExportParams) -> dict[str, Any]:
    """The content of metrics/export.json.

    Args:
        exported: What was made.
        data: "simulated", "recorded" or "mixed".
        params: The tolerances.
    """
    parity = exported.parity
    float32_mb, int8_mb = _megabytes(exported.float32), _megabytes(exported.int8)
    return {
        "data": data,
        "parity": {
            "n": parity.n,
            "tolerance_m": params.parity_tolerance_m,
            "tolerance_sigma": params.parity_tolerance_sigma,
            "share": parity.share,
            "max_distance_m": parity.max_distance_m,
            "max_sigma_share": parity.max_sigma_share,
        },
        "float32": {"size_mb": float32_mb, "below_100_mb": float32_mb < SIZE_TARGET_MB},
        "int8": {
            "size_mb": int8_mb,
            "below_100_mb": int8_mb < SIZE_TARGET_MB,
            "median_shift_m": float(np.median(exported.int8_shift_m)),
            "mae_change_m": exported.int8_mae_change_m,
        },
    }


def card(record: Mapping[str, Any], evaluation: Mapping[str, Any], figures: Mapping[str, Any]) -> str:
    """The model card, in Markdown. Version and revision are added by a release, not here.

    Args:
        record: What the model was made of.
        evaluation: The content of metrics/eval.json.
        figures: The content of metrics/export.json.
    """
    data = evaluation["data"]
    test = evaluation["test"]
    columns = ("localizer", "localizer_session", "mean_position")
    rows = [
        f"| {label} | " + " | ".join(_cell(test[column], key, scale, digits) for column in columns) + " |"
        for label, key, scale, digits in _CARD_ROWS
    ]
    int8, float32, parity = figures["int8"], figures["float32"], figures["parity"]
    features = record["params"]["features"]
    oversize = "" if float32["below_100_mb"] else " (above the specification's 100 MB: the backbone's size)"
    parameters = json.dumps(record["params"], sort_keys=True, indent=2, ensure_ascii=False)
    return f"""# Heimdall localizer

Estimates where a transmitter is from **one** receiver's recording: log-mel spectrogram in, latitude,
longitude and standard deviations to the east and north out. All figures below are from **{data}** data.

| file | size |
|---|---|
| `{FLOAT32_FILE}` | {float32["size_mb"]} MB{oversize} |
| `{INT8_FILE}` | {int8["size_mb"]} MB; positions move by {int8["median_shift_m"]:.2g} m in the median, \
the mean error changes by {int8["mae_change_m"]:+.2g} m |

Input `{INPUT}` (batch, 3, {features["n_mels"]}, {features["frames"]}) \
float32, log-mel of I, Q and magnitude
in dB, not normalised. Outputs `{OUTPUTS[0]}` (batch, 2) float64, latitude and longitude in degrees;
`{OUTPUTS[1]}` (batch, 2) float32, standard deviation to the east and to the north in metres.
ONNX Runtime and PyTorch agree within {parity["tolerance_m"]:g} m and {parity["tolerance_sigma"]:.0%} of \
sigma on {round(parity["share"] * parity["n"])} of the {parity["n"]} test recordings.

## Test figures ({data})

{test["localizer"]["n"]} recordings of {test["localizer"]["clusters"]} transmitters, held out by \
{evaluation["split_by"]}. In brackets: 95 % bootstrap interval over whole
transmitters; recordings of an unknown one stand for their session.

| | one recording | session, receivers combined | mean position |
|---|---|---|---|
{chr(10).join(rows)}

## Limits

- One receiver's spectrogram holds level and fading, not arrival times: it cannot reach the specification's
  {evaluation["targets"]["mae_m"]:g} m. Compare with the mean position, which listens to nothing.
- It is valid for the receivers, bands and region it was trained on; it does not know when it is outside them.
- The session column multiplies the receivers' Gaussians as if their errors were independent. They are not:
  read its coverage before its sigma.
- int8 scales its activations by the whole batch: ask it one recording at a time.

## Made of

Data fingerprint: `{record["data_fingerprint"]}`

```json
{parameters}
```
"""


_CARD_ROWS = (
    ("mean error, km", "mae_m", 1e-3, 1),
    ("median error, km", "median_m", 1e-3, 1),
    ("90th percentile, km", "p90_m", 1e-3, 1),
    ("within 30 m, %", "accuracy_30m", 100, 1),
    ("within 100 m, %", "accuracy_100m", 100, 1),
    ("calibration error, km", "calibration_error_m", 1e-3, 1),
    ("within the 68 % ellipse, %", "coverage_68", 100, 0),
    ("within the 95 % ellipse, %", "coverage_95", 100, 0),
)


def _cell(figures: Mapping[str, Any], key: str, scale: float, digits: int) -> str:
    """One figure with its interval, where it has one."""
    text = f"{figures[key] * scale:.{digits}f}"
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    if low is None or high is None:
        return text
    return f"{text} [{low * scale:.{digits}f}, {high * scale:.{digits}f}]"


def _gated(float32: bytes, reference: Reference, params: ExportParams, *, portable: bool) -> Parity:
    """The parity of a float32 file, which must pass the gate."""
    localizer = OnnxLocalizer(float32, FLOAT32_FILE, portable=portable)
    parity = compare(reference.estimates, localizer.estimate(reference.features, _BATCH_SIZE), params)
    if parity.share <= params.parity_min_share:
        cause = (
            f"ONNX agrees with PyTorch within {params.parity_tolerance_m:g} m and "
            f"{params.parity_tolerance_sigma:.0%} of sigma on {parity.share:.2%} of {parity.n} recordings, "
            f"not above {params.parity_min_share:.0%} (largest distance {parity.max_distance_m:.3g} m)"
        )
        remedy = "Nothing was written; raise export.parity_tolerance_m only if that accuracy is enough"
        raise HeimdallError(FLOAT32_FILE, cause, remedy)
    return parity


def _finished(graph: onnx.ModelProto, record: Mapping[str, Any]) -> bytes:
    """Metadata, check and bytes of a graph."""
    del graph.metadata_props[:]
    for key in sorted(record):
        value = json.dumps(record[key], sort_keys=True, allow_nan=False)
        graph.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    onnx.checker.check_model(graph, full_check=True)
    return bytes(graph.SerializeToString(deterministic=True))


def _group(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)


def _shift_m(a: Estimates, b: Estimates) -> npt.NDArray[np.float64]:
    return distance_m(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg)


def _mae_m(estimates: Estimates, truth_deg: npt.NDArray[np.float64]) -> float:
    error_m = distance_m(estimates.latitude_deg, estimates.longitude_deg, truth_deg[:, 0], truth_deg[:, 1])
    return float(error_m.mean())


def _megabytes(content: bytes) -> float:
    return round(len(content) / 1e6, 3)
