"""An ONNX file that is no localizer is refused."""

from __future__ import annotations

from pathlib import Path

import onnx
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.inference.onnx_model import OnnxLocalizer


def test_foreign_bytes_are_no_localizer(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="no ONNX localizer"):
        OnnxLocalizer(b"not a graph", "x.onnx")
    with pytest.raises(HeimdallError, match=r"missing\.onnx: it cannot be read"):
        OnnxLocalizer.open(tmp_path / "missing.onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "other.onnx"
    )
    with pytest.raises(HeimdallError, match=r"no ONNX localizer \(it takes x\)"):
        OnnxLocalizer.open(tmp_path / "other.onnx")
