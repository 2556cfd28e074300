"""ONNX files of both networks: the same bytes, what they say of their making, and where int8 stops."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import onnxruntime as ort
import pytest

from heimdall.inference.onnx_model import OnnxLocalizer
from heimdall.network import fusion_net
from heimdall.pipeline.export.export import Exported
from heimdall.pipeline.export.graphs import Graph
from heimdall.pipeline.export.onnx_file import onnx_bytes, quantized_bytes
from heimdall.pipeline.export.parity import compare
from heimdall.pipeline.export.reference import Reference
from tests import REPOSITORY, known_sessions
from tests.feature_world import RECORD
from tests.pipeline.export.conftest import PARAMS


def test_same_network_gives_the_same_bytes(graph: Graph, exported: Exported) -> None:
    assert onnx_bytes(graph, RECORD, PARAMS.export.opset) == exported.float32
    assert quantized_bytes(exported.float32) == exported.int8


@pytest.mark.parametrize("kind", ["single", "fusion"])
def test_files_say_what_they_were_made_of_and_not_where(
    exported: Exported, fusion_int8: bytes, kind: str
) -> None:
    contents = {
        "single": (exported.float32, exported.int8),
        "fusion": (known_sessions.exported(), fusion_int8),
    }[kind]
    said = dict(RECORD) | (known_sessions.graph().metadata if kind == "fusion" else {})
    for content in contents:
        model = onnx.load_model_from_string(content)
        stored = {entry.key: entry.value for entry in model.metadata_props}
        assert {key: json.loads(value) for key, value in stored.items()} == json.loads(json.dumps(said))
        assert list(stored) == sorted(stored)
        weights = {item.name for item in model.graph.initializer}
        del model.graph.initializer[:]  # weights hold every short string by chance
        for node in model.graph.node:
            if node.op_type == "Constant":
                node.ClearField("attribute")
        rest = model.SerializeToString()
        assert weights
        assert b"positions" in rest
        for place in (b"/tmp", b"/home", b"site-packages", b".py", str(REPOSITORY).encode()):
            assert place not in rest


def test_int8_of_a_session_keeps_the_solver_in_float64(sessions: Reference, fusion_int8: bytes) -> None:
    graph = onnx.load_model_from_string(fusion_int8).graph
    integer = [node for node in graph.node if node.op_type in ("ConvInteger", "MatMulInteger")]
    assert integer
    assert all("/layers." in node.name for node in integer)
    assert len(integer) == 4 * fusion_net.LAYERS  # every matrix of the attention
    # The rest of the file is the solver's. Of each number of these matrices, four bytes become one.
    matrices = [value for value in known_sessions.network().layers.parameters() if value.dim() == 2]
    assert len(matrices) == len(integer)
    numbers = sum(value.numel() for value in matrices)
    assert len(known_sessions.exported()) - len(fusion_int8) > 2 * numbers
    answers = OnnxLocalizer(fusion_int8, "int8", portable=True).answer(sessions.batches(1))
    shift = compare(sessions.answers, answers, PARAMS.export)
    assert 1e-3 < shift.max_distance_m < 10


def domains(localizer: OnnxLocalizer, content: bytes, file: Path) -> set[str]:
    """Where the operators come from that ONNX Runtime really runs."""
    options = localizer._session.get_session_options()
    options.optimized_model_filepath = str(file)
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return {node.domain for node in onnx.load_model(file).graph.node}


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_portable_way_has_no_layout_as_wide_as_the_cpus_vectors(
    exported: Exported, variant: str, tmp_path: Path
) -> None:
    content = getattr(exported, variant)
    found = {
        portable: domains(OnnxLocalizer(content, variant, portable=portable), content, tmp_path / "x.onnx")
        for portable in (True, False)
    }
    assert "com.microsoft.nchwc" in found[False]
    assert "com.microsoft.nchwc" not in found[True]
