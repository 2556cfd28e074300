"""What differs between two versions of the pipeline's outputs, and by how much.

Files are compared by their bytes, then by the arrays in them. Knows nothing of DVC and git: the caller
says where the bytes lie.

A shard is named by its content, and `models/localizer.json` holds the hash of the weights: one flipped bit
changes these texts too. Such a text follows the file that it names, so only that file is reported.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import arrays
from heimdall.reproduce.arrays import Array

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
        columns = arrays.read(table, ".parquet")
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
            sides.append(arrays.read(path, PurePosixPath(file).suffix))
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
    return arrays.objects(renamed.get(item, item) if isinstance(item, str) else item for item in array.flat)


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
