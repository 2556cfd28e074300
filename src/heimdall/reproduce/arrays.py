"""All that a file holds, as arrays by name: a reader for each format of the pipeline's outputs."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    import pyarrow as pa

Array = npt.NDArray[Any]


def read(path: Path, suffix: str) -> dict[str, Array]:
    """All that a file holds, as arrays.

    Args:
        path: Where the bytes lie; its own name does not matter.
        suffix: Of the file's proper name, such as ".parquet". Unknown ones give the array "bytes", uint8.

    Returns:
        Arrays by name. Text is of dtype object, timestamps are int64, pixels float32 from 0 to 1, shape
        (height, width, channels). What the format adds stands in parentheses: "(schema)" of a parquet file,
        "(graph)" of an ONNX file, "i (lengths)" of a column of lists, "x (null)" of a column with nulls.

    Raises:
        HeimdallError: The file is missing or damaged.
    """
    try:
        return _READERS.get(suffix, _read_bytes)(path)
    except Exception as error:  # each library has exceptions of its own; they share no other base class
        cause = f"no readable {suffix or 'file'} ({' '.join(str(error).split())[:200]})"
        raise HeimdallError(str(path), cause, remedies.RESTORE) from None


def objects(values: Iterable[object]) -> Array:
    """An array of dtype object, shape (n,)."""
    return np.fromiter(values, object)


def _read_bytes(path: Path) -> dict[str, Array]:
    return {"bytes": np.fromfile(path, np.uint8)}


def _read_safetensors(path: Path) -> dict[str, Array]:
    import safetensors  # noqa: PLC0415 - only where such a file differs

    with safetensors.safe_open(path, "numpy") as stored:
        metadata = stored.metadata() or {}
        arrays: dict[str, Array] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    return arrays | {f"(metadata {key})": objects([value]) for key, value in metadata.items()}


def _read_npy(path: Path) -> dict[str, Array]:
    array = np.load(path, allow_pickle=False)
    return {"real": array.real, "imag": array.imag} if array.dtype.kind == "c" else {"array": array}


def _read_parquet(path: Path) -> dict[str, Array]:
    import pyarrow.parquet as pq  # noqa: PLC0415 - only where such a file differs

    with pq.ParquetFile(path) as file:
        table = file.read()
    arrays = {"(schema)": objects(f"{field.name}: {field.type}" for field in table.schema)}
    for name in table.column_names:
        arrays |= _parquet_column(name, table[name])
    return arrays


def _parquet_column(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, Array]]:
    import pyarrow as pa  # noqa: PLC0415 - only where such a file differs
    import pyarrow.compute as pc  # noqa: PLC0415 - as above

    kind = column.type
    if pa.types.is_list(kind) and pa.types.is_primitive(kind.value_type):
        yield f"{name} (lengths)", pc.fill_null(pc.list_value_length(column), -1).to_numpy()
        yield from _parquet_column(name, pc.list_flatten(column))
    elif pa.types.is_timestamp(kind):
        yield from _parquet_column(name, column.cast(pa.int64()))
    elif pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        if column.null_count:
            yield f"{name} (null)", column.is_null().to_numpy()
            column = pc.fill_null(column, pa.scalar(0).cast(kind))
        yield name, column.to_numpy()
    else:
        yield name, objects(column.to_pylist())


def _read_csv(path: Path) -> dict[str, Array]:
    with path.open(encoding="utf-8", newline="") as stream:
        header, *rows = csv.reader(stream, strict=True)
    columns = zip(*rows, strict=True) if rows else ([] for _ in header)
    return {name: _csv_column(list(texts)) for name, texts in zip(header, columns, strict=True)}


def _csv_column(texts: list[str]) -> Array:
    """Integers, else numbers with NaN for "", else text."""
    for kind, empty in ((np.int64, ""), (np.float64, "nan")):
        try:
            return np.array([text or empty for text in texts], np.str_).astype(kind)
        except (ValueError, OverflowError):
            continue
    return objects(texts)


def _read_json(path: Path) -> dict[str, Array]:
    value = json.loads(path.read_text(encoding="utf-8"))
    return {name or "(root)": array for name, array in _json_leaves("", value)}


def _json_leaves(name: str, value: object) -> Iterator[tuple[str, Array]]:
    """Each leaf as an array of one element, by its path: `test.localizer.mae_m`, `origin[0]`, `a."b.c"`."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            part = key if re.fullmatch(r"[^\s.\[\]\"()]+", key) else json.dumps(key, ensure_ascii=False)
            yield from _json_leaves(f"{name}.{part}" if name else part, item)
    elif isinstance(value, list) and value:
        for place, item in enumerate(value):
            yield from _json_leaves(f"{name}[{place}]", item)
    elif isinstance(value, bool | int | float):
        yield name, np.array([value])
    else:
        yield name, objects([value])


def _read_onnx(path: Path) -> dict[str, Array]:
    """Initializers and constants by the name of their value; what is left of the model as lines of text."""
    import onnx  # noqa: PLC0415 - only where such a file differs
    import onnx.numpy_helper  # noqa: PLC0415 - as above

    model = onnx.load_model_from_string(path.read_bytes())
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    arrays |= {f"(metadata {entry.key})": objects([entry.value]) for entry in model.metadata_props}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                arrays[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
                attribute.ClearField("t")
    model.graph.ClearField("initializer")
    model.ClearField("metadata_props")
    return arrays | {"(graph)": objects(str(model).splitlines())}


def _read_png(path: Path) -> dict[str, Array]:
    from matplotlib.image import imread  # noqa: PLC0415 - only where such a file differs

    return {"pixels": np.asarray(imread(path, format="png"), np.float32)}


def _read_text(path: Path) -> dict[str, Array]:
    # Split at "\n" alone, and decoded from bytes: other ends of lines and a missing last one are differences.
    lines = path.read_bytes().decode("utf-8").split("\n")
    return {f"line {number}": objects([line]) for number, line in enumerate(lines, 1)}


_READERS: dict[str, Callable[[Path], dict[str, Array]]] = {
    ".safetensors": _read_safetensors,
    ".npy": _read_npy,
    ".parquet": _read_parquet,
    ".csv": _read_csv,
    ".json": _read_json,
    ".onnx": _read_onnx,
    ".png": _read_png,
    ".md": _read_text,
    ".txt": _read_text,
}
