"""What differs between two versions of the pipeline's outputs, and by how much.

Files are compared by their bytes, then by the arrays in them. Knows nothing of DVC and git: the caller
says where the bytes lie.

A shard is named by its content, and `models/localizer.json` holds the hash of the weights: one flipped bit
changes these texts too. Such a text follows the file that it names, so only that file is reported.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx
import onnx.numpy_helper
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import safetensors
from matplotlib.image import imread

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError

Array = npt.NDArray[Any]
Verdict = Literal["bit-equal", "within tolerance", "different"]

BYTES_ONLY = "every array is bit-equal; the file's own bytes differ (order, layout or a library's version)"
NAMES_ONLY = "equal but for the names of differing files, which follow their content"

# Beside a folder of shards: which measurement is in which of them.
_TABLES = ("index.parquet", "measurements.parquet")
_NO_DISTANCE = np.uint64(2**64 - 1)
_EXCERPT = 60  # characters
_BLOCK = 2**18  # elements: distances take 8 bytes each, several times over


@dataclass(frozen=True)
class Difference:
    """One array that differs.

    Attributes:
        file: The recorded file's path as the user knows it (posix, relative).
        array: Name of the tensor, column, JSON path, initializer, "pixels", "line 7"; "" for the whole file.
        differing: Elements whose bits differ. Where elements cannot be paired (another shape or dtype, or on
            one side only) all of them, at least 1; 0 where only the file's own bytes differ.
        size: Elements in all.
        max_abs: Largest absolute difference, in the array's unit. None where not numeric; inf where an
            element is NaN or infinite and its counterpart is not the same.
        max_ulp: Largest distance in units in the last place of the array's own dtype. None where there is
            no such distance: no floating point, or an element as in `max_abs`.
        scale: Largest finite magnitude in the recorded array, 0 if it has none; None where not numeric.
        note: Reason in words, or "". "x instead of y": rebuilt x, recorded y.
    """

    file: str
    array: str
    differing: int
    size: int
    max_abs: float | None
    max_ulp: int | None
    scale: float | None
    note: str


def read_arrays(path: Path, suffix: str) -> dict[str, Array]:
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
        raise HeimdallError(str(path), cause, "Restore it with `dvc checkout` or `dvc pull`") from None


def compare(recorded: Mapping[str, Path], rebuilt: Mapping[str, Path]) -> list[Difference]:
    """Compare all files of one or several outputs.

    A shard that is on one side only is paired by the measurements in it, if the table that names the shards
    is given on both sides.

    Args:
        recorded: Where the recorded bytes of each path lie.
        rebuilt: The same for the rebuilt ones.

    Returns:
        The arrays that differ, by file, then by name (numbers in names in their order); one entry with array
        "" and no differing element where only a file's own bytes differ; nothing if all bytes are equal.
    """
    paired = {file: file for file in recorded.keys() & rebuilt.keys()} | _paired_shards(recorded, rebuilt)
    found = [_whole(file, "", 1, "only recorded") for file in recorded.keys() - paired.keys()]
    found += [_whole(file, "", 1, "only rebuilt") for file in rebuilt.keys() - set(paired.values())]

    differing: list[str] = []
    renamed: dict[str, str] = {}  # what a rebuilt file is called by its content -> what the recorded one is
    for old, new in sorted(paired.items()):
        before, after = _hash(recorded[old]), _hash(rebuilt[new])
        if before and before == after:
            continue
        differing.append(old)
        if before and after:
            renamed[after] = before
        if new != old:
            renamed[PurePosixPath(new).name] = PurePosixPath(old).name
    for file in differing:
        found += _compare_contents(file, recorded[file], rebuilt[paired[file]], renamed)
    return _sorted(found)


def ulp_distance(a: Array, b: Array) -> npt.NDArray[np.uint64]:
    """How many representable numbers apart two arrays are, element by element.

    Args:
        a: float16, float32 or float64, any shape.
        b: The same shape and dtype.

    Returns:
        Distances, same shape. -0 and +0 are 0 apart; infinity follows the largest finite number; two NaNs
        are 0 apart whatever their bits, NaN and a number 2**64 - 1.

    Raises:
        ValueError: Shapes or dtypes differ, or the dtype is no such float.
    """
    if a.shape != b.shape or a.dtype != b.dtype or not _is_float(a.dtype):
        raise ValueError(f"no distance between {a.dtype} {a.shape} and {b.dtype} {b.shape}")
    bits = 8 * a.dtype.itemsize
    sign = 2 ** (bits - 1)
    unsigned = [x.astype(x.dtype.newbyteorder("=")).view(f"u{bits // 8}").astype(np.uint64) for x in (a, b)]
    steps_a, steps_b = (
        x & np.uint64(sign - 1) for x in unsigned
    )  # from zero: floats are ordered as their bits
    same_sign = unsigned[0] & np.uint64(sign) == unsigned[1] & np.uint64(sign)
    apart = np.where(
        same_sign, np.maximum(steps_a, steps_b) - np.minimum(steps_a, steps_b), steps_a + steps_b
    )
    nan_a, nan_b = np.isnan(a), np.isnan(b)
    distance: npt.NDArray[np.uint64] = np.where(
        nan_a | nan_b, np.where(nan_a & nan_b, np.uint64(0), _NO_DISTANCE), apart
    )
    return distance


def verdict(differences: Iterable[Difference], tolerance: float) -> Verdict:
    """One word for a comparison.

    Args:
        differences: As `compare` gives them.
        tolerance: Largest permitted difference as a share of the array's largest recorded magnitude.

    Returns:
        "bit-equal" if no array differs, though a file's own bytes may; "within tolerance" if all that differ
        are floating point of the same shape, finite in the same places, and within the tolerance; else
        "different". Integers are counts, indices and dates, which nobody rounds: one that differs is
        "different".
    """
    differing = [difference for difference in differences if difference.differing]
    if not differing:
        return "bit-equal"
    return "within tolerance" if all(_is_within(found, tolerance) for found in differing) else "different"


def _is_within(found: Difference, tolerance: float) -> bool:
    if found.max_ulp is None or found.max_abs is None or found.scale is None:
        return False
    return found.max_abs <= tolerance * found.scale


def _hash(path: Path) -> str:
    """SHA-256, or "" where the file cannot be read: reading its arrays then tells why."""
    try:
        return artifacts.sha256_file(path)
    except OSError:
        return ""


def _paired_shards(recorded: Mapping[str, Path], rebuilt: Mapping[str, Path]) -> dict[str, str]:
    """Rebuilt shard by recorded shard, of those on one side only: those with most measurements in common."""
    old_files, new_files = recorded.keys() - rebuilt.keys(), rebuilt.keys() - recorded.keys()
    common: Counter[tuple[str, str]] = Counter()
    for folder in {PurePosixPath(file).parent for file in old_files}:
        for table in (str(folder.parent / name) for name in _TABLES):
            if table in recorded and table in rebuilt:
                before, after = _shard_of(folder, recorded[table]), _shard_of(folder, rebuilt[table])
                common.update((before[item], after[item]) for item in before.keys() & after.keys())
    pairs: dict[str, str] = {}
    for (old, new), _ in sorted(common.items(), key=lambda item: (-item[1], item[0])):
        if old in old_files and new in new_files and old not in pairs and new not in pairs.values():
            pairs[old] = new
    return pairs


def _shard_of(folder: PurePosixPath, table: Path) -> dict[str, str]:
    """Path of the shard of each measurement; nothing where the table is damaged: that is reported anyway."""
    try:
        columns = read_arrays(table, ".parquet")
    except HeimdallError:
        return {}
    if not {"measurement_id", "shard"} <= columns.keys():
        return {}
    shards = (str(folder / str(name)) for name in columns["shard"])
    return dict(zip(map(str, columns["measurement_id"]), shards, strict=True))


def _compare_contents(
    file: str, recorded: Path, rebuilt: Path, renamed: Mapping[str, str]
) -> list[Difference]:
    """Compare two files whose bytes differ; `renamed`: texts that follow another file's content."""
    sides: list[dict[str, Array]] = []
    for side, path in (("recorded", recorded), ("rebuilt", rebuilt)):
        try:
            sides.append(read_arrays(path, PurePosixPath(file).suffix))
        except HeimdallError as error:
            return [_whole(file, "", 1, f"cannot be read ({side}: {error.cause})")]
    before, after = sides
    found = [_whole(file, name, before[name].size, "only recorded") for name in before.keys() - after.keys()]
    found += [_whole(file, name, after[name].size, "only rebuilt") for name in after.keys() - before.keys()]
    follows = False
    for name in before.keys() & after.keys():
        array = _with_recorded_names(after[name], renamed)
        follows |= array is not after[name]
        difference = _compare_arrays(file, name, before[name], array)
        found += [difference] if difference else []
    if not found:
        return [Difference(file, "", 0, 1, None, None, None, NAMES_ONLY if follows else BYTES_ONLY)]
    return _sorted(found)


def _with_recorded_names(array: Array, renamed: Mapping[str, str]) -> Array:
    """The array itself, or a copy in which the names of rebuilt files are those of the recorded ones."""
    if array.dtype != object or not any(isinstance(item, str) and item in renamed for item in array.flat):
        return array
    return _objects(renamed.get(item, item) if isinstance(item, str) else item for item in array.flat)


def _compare_arrays(file: str, name: str, recorded: Array, rebuilt: Array) -> Difference | None:
    size = max(recorded.size, rebuilt.size)
    if recorded.dtype != rebuilt.dtype:
        return _whole(file, name, size, f"dtype {rebuilt.dtype} instead of {recorded.dtype}")
    if recorded.shape != rebuilt.shape:
        return _whole(file, name, size, f"shape {rebuilt.shape} instead of {recorded.shape}")
    unequal = _unequal(recorded.reshape(-1), rebuilt.reshape(-1))
    differing = int(np.count_nonzero(unequal))
    if not differing:
        return None
    before, after = recorded.reshape(-1)[unequal], rebuilt.reshape(-1)[unequal]  # (differing,) each
    max_abs: float | None = None
    max_ulp: int | None = None
    note = ""
    if _is_float(recorded.dtype):
        unlike = ~(np.isfinite(before) & np.isfinite(after)) & ~(np.isnan(before) & np.isnan(after))
        if unlike.any():
            max_abs, note = np.inf, f"NaN or infinite, and not alike, in {np.count_nonzero(unlike)} places"
        else:
            max_abs, max_ulp = _farthest(before, after)
    elif recorded.dtype.kind in "iu":
        # Exact beyond int64: the difference of the two's complements, modulo 2**64.
        high, low = np.maximum(before, after), np.minimum(before, after)
        max_abs = float((high.astype(np.uint64) - low.astype(np.uint64)).max())
    else:
        note = _first_instead(before[0], after[0])
    scale = None if max_abs is None else _magnitude(recorded)
    return Difference(file, name, differing, size, max_abs, max_ulp, scale, note)


def _unequal(recorded: Array, rebuilt: Array) -> npt.NDArray[np.bool_]:
    """Where the bits differ, shape (n,); of objects, where the values do."""
    if recorded.dtype != object:
        width = recorded.dtype.itemsize
        bits = f"u{width}" if width in (1, 2, 4, 8) else f"V{width}"
        recorded, rebuilt = (
            np.ascontiguousarray(recorded).view(bits),
            np.ascontiguousarray(rebuilt).view(bits),
        )
    return np.asarray(recorded != rebuilt, bool)


def _farthest(before: Array, after: Array) -> tuple[float, int]:
    """Largest absolute difference and ULP distance of floats, shape (n,), n > 0, NaN in the same places."""
    max_abs, max_ulp = 0.0, 0
    for start in range(0, len(before), _BLOCK):
        old, new = before[start : start + _BLOCK], after[start : start + _BLOCK]
        with np.errstate(over="ignore", invalid="ignore"):
            apart = np.abs(new.astype(np.float64) - old.astype(np.float64))
        max_abs = max(max_abs, float(np.max(apart, where=~np.isnan(apart), initial=0.0)))
        max_ulp = max(max_ulp, int(ulp_distance(old, new).max()))
    return max_abs, max_ulp


def _magnitude(array: Array) -> float:
    finite = array[np.isfinite(array)]
    return max(abs(float(finite.max())), abs(float(finite.min()))) if finite.size else 0.0


def _is_float(dtype: np.dtype[Any]) -> bool:
    return dtype.kind == "f" and dtype.itemsize <= 8


def _first_instead(recorded: object, rebuilt: object) -> str:
    """The two values, from a little before their first difference."""
    a, b = str(recorded), str(rebuilt)
    common = next(
        (place for place, (x, y) in enumerate(zip(a, b, strict=False)) if x != y), min(len(a), len(b))
    )
    start = max(0, common - _EXCERPT // 3)

    def excerpt(value: object) -> str:
        if not isinstance(value, str):
            return str(value)
        end = start + _EXCERPT
        return ("..." if start else "") + repr(value[start:end]) + ("..." if len(value) > end else "")

    return f"{excerpt(rebuilt)} instead of {excerpt(recorded)}"


def _whole(file: str, array: str, size: int, note: str) -> Difference:
    """A difference without pairs of elements."""
    return Difference(file, array, max(size, 1), max(size, 1), None, None, None, note)


def _sorted(found: Iterable[Difference]) -> list[Difference]:
    def order(difference: Difference) -> tuple[str, list[str | int], str]:
        parts = re.split(r"([0-9]+)", difference.array)  # text and digits by turns
        natural = [int(part) if place % 2 else part for place, part in enumerate(parts)]
        return difference.file, natural, difference.array

    return sorted(found, key=order)


def _objects(values: Iterable[object]) -> Array:
    return np.fromiter(values, object)


def _read_bytes(path: Path) -> dict[str, Array]:
    return {"bytes": np.fromfile(path, np.uint8)}


def _read_safetensors(path: Path) -> dict[str, Array]:
    with safetensors.safe_open(path, "numpy") as stored:
        metadata = stored.metadata() or {}
        arrays: dict[str, Array] = {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    return arrays | {f"(metadata {key})": _objects([value]) for key, value in metadata.items()}


def _read_npy(path: Path) -> dict[str, Array]:
    array = np.load(path, allow_pickle=False)
    return {"real": array.real, "imag": array.imag} if array.dtype.kind == "c" else {"array": array}


def _read_parquet(path: Path) -> dict[str, Array]:
    with pq.ParquetFile(path) as file:
        table = file.read()
    arrays = {"(schema)": _objects(f"{field.name}: {field.type}" for field in table.schema)}
    for name in table.column_names:
        arrays |= _parquet_column(name, table[name])
    return arrays


def _parquet_column(name: str, column: pa.ChunkedArray) -> Iterator[tuple[str, Array]]:
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
        yield name, _objects(column.to_pylist())


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
    return _objects(texts)


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
        yield name, _objects([value])


def _read_onnx(path: Path) -> dict[str, Array]:
    """Initializers and constants by the name of their value; what is left of the model as lines of text."""
    model = onnx.load_model_from_string(path.read_bytes())
    arrays = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    arrays |= {f"(metadata {entry.key})": _objects([entry.value]) for entry in model.metadata_props}
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Constant" and attribute.HasField("t"):
                arrays[node.output[0]] = onnx.numpy_helper.to_array(attribute.t)
                attribute.ClearField("t")
    model.graph.ClearField("initializer")
    model.ClearField("metadata_props")
    return arrays | {"(graph)": _objects(str(model).splitlines())}


def _read_png(path: Path) -> dict[str, Array]:
    return {"pixels": np.asarray(imread(path, format="png"), np.float32)}


def _read_text(path: Path) -> dict[str, Array]:
    # Split at "\n" alone, and decoded from bytes: other ends of lines and a missing last one are differences.
    lines = path.read_bytes().decode("utf-8").split("\n")
    return {f"line {number}": _objects([line]) for number, line in enumerate(lines, 1)}


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
