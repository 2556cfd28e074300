"""A network as the bytes of an ONNX file, in float32 and in int8: the same bytes for the same network."""

from __future__ import annotations

import json
import logging
import tempfile
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import onnx
import torch
from onnxruntime.quantization import QuantType, quantize_dynamic

from heimdall.pipeline.export.graphs import Graph

FLOAT32_FILE = "localizer.onnx"
INT8_FILE = "localizer.int8.onnx"
# Parts of the names of what is quantized: the backbone of the one network, the attention of the other. They
# hold nearly all weights; the rest are heads, the layer that takes measurements in, and a solver in float64.
_QUANTIZED = ("/backbone/", "/layers.")


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
        # The exporter does not see how many Gaussians there are.
        made = onnx.shape_inference.infer_shapes(onnx.load_model(target))
    return _finished(made, dict(record) | graph.metadata)


def quantized_bytes(content: bytes) -> bytes:
    """The dynamic int8 variant: weights of 7 bits, activations scaled when they are seen.

    It is for small disks and slow links; whether it is also faster depends on network and CPU. Of fusion it
    is little smaller: its weights are a third of the file, and the solver's operators the rest.

    Of the backbone the stem and the depthwise convolutions stay in float32: they hold few weights, ONNX
    Runtime has no fast integer kernel for them, and left alone they cut the error to a third. Seven bits,
    because eight saturate on CPUs without VNNI, and the file would answer differently there.

    Args:
        content: The float32 file.

    Returns:
        The bytes of the quantized file, with the same metadata.
    """
    made = onnx.load_model_from_string(content)
    record = {entry.key: json.loads(entry.value) for entry in made.metadata_props}
    convolutions = [node for node in made.graph.node if node.op_type == "Conv"]
    kept = {node.name for node in convolutions[:1] + [node for node in convolutions if _group(node) > 1]}
    others = {node.name for node in made.graph.node if not any(part in node.name for part in _QUANTIZED)}
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


def _finished(made: onnx.ModelProto, record: Mapping[str, Any]) -> bytes:
    """Metadata, check and bytes of a graph."""
    del made.graph.value_info[:]  # shapes that the quantizer infers: as much as the weights of fusion
    del made.metadata_props[:]
    for key in sorted(record):
        value = json.dumps(record[key], sort_keys=True, allow_nan=False)
        made.metadata_props.append(onnx.StringStringEntryProto(key=key, value=value))
    onnx.checker.check_model(made, full_check=True)
    return bytes(made.SerializeToString(deterministic=True))


def _group(node: onnx.NodeProto) -> int:
    return next((int(attribute.i) for attribute in node.attribute if attribute.name == "group"), 1)
