"""Every format of the pipeline's outputs as arrays by name; a damaged file is named."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from matplotlib.image import imsave
from onnx import TensorProto, helper, numpy_helper

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import arrays, differences
from heimdall.reproduce.differences import Difference
from tests.reproduce.comparing import compared, one, stored


def test_json_leaves_by_their_path(tmp_path: Path) -> None:
    before = {"test": {"<3": [1.0, 2.0], "a.b": 1}, "n": 30, "on": True, "who": "x" * 99 + "a", "f_max": None}
    after = {"test": {"<3": [1.0, 2.5], "a.b": 2}, "n": 30.0, "on": False, "who": "x" * 99 + "b", "f_max": 1}
    found = compared(tmp_path, "metrics/eval.json", artifacts.write_json, before, after)
    assert {item.array: item.note for item in found} == {
        "f_max": "dtype int64 instead of object",
        "n": "dtype float64 instead of int64",
        "on": "False instead of True",
        "test.<3[1]": "",
        'test."a.b"': "",
        "who": f"...'{'x' * 20}b' instead of ...'{'x' * 20}a'",
    }
    number = next(item for item in found if item.array == "test.<3[1]")
    assert (number.max_abs, number.max_ulp, number.scale) == (0.5, 2**50, 2.0)


def test_csv_columns_at_full_precision(tmp_path: Path) -> None:
    next_up = float(np.nextafter(0.1, 1))
    before, after = "slice,n,mae_m\n<3,4,0.1\n4,5,\n", f"slice,n,mae_m\n<3,6,{next_up!r}\n5,5,\n"
    found = compared(tmp_path, "plots/slices.csv", Path.write_text, before, after)
    assert [(item.array, item.differing, item.max_abs, item.max_ulp, item.note) for item in found] == [
        ("mae_m", 1, next_up - 0.1, 1, ""),
        ("n", 1, 2.0, None, ""),
        ("slice", 1, None, None, "'5' instead of '4'"),
    ]


def test_parquet_columns_nulls_and_times(tmp_path: Path) -> None:
    def write(path: Path, columns: dict[str, Any]) -> None:
        pq.write_table(pa.table(columns), path)

    time = pa.array([1_000_000, 2_000_000], pa.timestamp("us", "UTC"))
    before = {"gps": pa.array([0, 1]), "time": time, "name": ["a", None], "ok": [True, False]}
    after = before | {
        "gps": pa.array([None, 1], pa.int64()),
        "time": pa.array([1_000_000, 2_000_001], time.type),
        "name": ["a", "b"],
    }
    found = compared(tmp_path, "t.parquet", write, before, after)
    assert [(item.array, item.differing, item.max_abs, item.note) for item in found] == [
        ("gps (null)", 2, None, "only rebuilt"),
        ("name", 1, None, "'b' instead of None"),
        ("time", 1, 1.0, ""),
    ]
    seconds = before | {"time": pa.array([1_000_000, 2_000_000], pa.timestamp("ns", "UTC"))}
    found = compared(tmp_path / "unit", "t.parquet", write, before, seconds)
    unit = "'time: timestamp[ns, tz=UTC]' instead of 'time: timestamp[us, tz=UTC]'"
    assert [(item.array, item.note) for item in found] == [("(schema)", unit)]


def test_a_parquet_file_of_equal_columns_and_another_footer_is_bit_equal(tmp_path: Path) -> None:
    def write(path: Path, footer: dict[str, str]) -> None:
        pq.write_table(pa.table({"x": [1.0, 2.0]}).replace_schema_metadata(footer), path)

    found = compared(tmp_path, "t.parquet", write, {"version": "1"}, {"version": "2"})
    assert one(found) == Difference("t.parquet", "", 0, 1, None, None, None, differences.BYTES_ONLY)
    assert differences.verdict(found, 0.0) == "bit-equal"


def write_onnx(path: Path, part: dict[str, Any]) -> None:
    """A graph y = x * scale + offset, where `offset` is a constant and `scale` an initializer."""
    chosen = {"scale": 2.0, "offset": 1.0, "data": '"simulated"', "last": "Add"} | part
    offset = numpy_helper.from_array(np.array([chosen["offset"]], np.float32))
    nodes = [
        helper.make_node("Constant", [], ["offset"], value=offset),
        helper.make_node("Mul", ["x", "scale"], ["scaled"]),
        helper.make_node(chosen["last"], ["scaled", "offset"], ["y"]),
    ]
    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, [1]) for name in ("x", "y")]
    scale = numpy_helper.from_array(np.array([chosen["scale"], 4.0], np.float32), "scale")
    model = helper.make_model(helper.make_graph(nodes, "g", ends[:1], ends[1:], [scale]))
    helper.set_model_props(model, {"data": chosen["data"]})
    onnx.save_model(model, path)


@pytest.mark.parametrize(
    ("part", "array", "max_ulp", "note"),
    [
        ({"scale": np.nextafter(np.float32(2), np.float32(3))}, "scale", 1, ""),
        ({"offset": 1.0 + 2.0**-23}, "offset", 1, ""),
        ({"data": '"recorded"'}, "(metadata data)", None, "'\"recorded\"' instead of '\"simulated\"'"),
        ({"last": "Sub"}, "(graph)", None, "'    op_type: \"Sub\"' instead of '    op_type: \"Add\"'"),
    ],
)
def test_onnx_weights_constants_metadata_and_graph(
    tmp_path: Path, part: dict[str, Any], array: str, max_ulp: int | None, note: str
) -> None:
    found = one(compared(tmp_path, "models/localizer.onnx", write_onnx, {}, part))
    assert (found.array, found.differing, found.max_ulp, found.note) == (array, 1, max_ulp, note)


def test_one_pixel(tmp_path: Path) -> None:
    before = np.full((4, 5, 3), 100, np.uint8)
    after = before.copy()
    after[2, 3, 1] += 1
    found = one(compared(tmp_path, "plots/evaluation.png", imsave, before, after))
    assert (found.array, found.differing) == ("pixels", 1)
    assert found.max_abs == pytest.approx(1 / 255, rel=1e-6)


def test_lines_and_unknown_formats(tmp_path: Path) -> None:
    found = one(compared(tmp_path, "models/README.md", Path.write_text, "# a\nb\n", "# a\nc\n"))
    assert (found.array, found.note) == ("line 2", "'c' instead of 'b'")
    found = one(compared(tmp_path / "end", "models/README.md", Path.write_text, "a\n", "a"))
    assert (found.array, found.note) == ("line 2", "only recorded")
    found = one(compared(tmp_path / "bytes", "x.bin", Path.write_bytes, b"\x00\x01", b"\x00\x03"))
    assert (found.array, found.differing, found.size, found.max_abs) == ("bytes", 1, 2, 2.0)


@pytest.mark.parametrize(
    ("file", "content"),
    [
        ("x.safetensors", b"\x10"),
        ("x.npy", b"\x93NUMPY"),
        ("x.parquet", b"PAR1 PAR1"),
        ("x.csv", b"a,b\n1\n"),
        ("x.json", b"{"),
        ("x.onnx", b"\xff\xff"),
        ("x.png", b"\x89PNG\r\n\x1a\n"),
        ("x.md", b"\xff"),
    ],
)
def test_a_damaged_file_is_named_and_never_within_tolerance(
    tmp_path: Path, file: str, content: bytes
) -> None:
    recorded, rebuilt = stored(tmp_path, file, Path.write_bytes, content, content + b"\0")
    with pytest.raises(HeimdallError, match=r"object0: no readable \.\w+ \(.+\)\. Restore it with"):
        arrays.read(recorded, Path(file).suffix)
    found = one(differences.compare({file: recorded}, {file: rebuilt}))
    assert found.note.startswith(f"cannot be read (recorded: no readable {Path(file).suffix}")
    assert differences.verdict([found], math.inf) == "different"


def test_pickled_arrays_are_not_loaded(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(HeimdallError, match="pickle"):
        arrays.read(tmp_path / "x.npy", ".npy")
