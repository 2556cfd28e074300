"""One changed bit anywhere is found, named and measured; what is equal is not reported."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import safetensors.numpy
from hypothesis import given
from hypothesis import strategies as st

from heimdall.core import artifacts
from heimdall.reproduce import differences
from heimdall.reproduce.differences import Difference
from tests import tiny_features
from tests.reproduce.comparing import compared, one, write_tensors

FEATURES = "data/features"
INDEX = f"{FEATURES}/index.parquet"
KEYS = "data/feature_keys.json"
FLOATS = (np.float16, np.float32, np.float64)


def files(root: Path) -> dict[str, Path]:
    """Every file below `root` by its path there; the bytes lie elsewhere, under no name of their own."""
    return {path.relative_to(root).as_posix(): path for path in sorted(root.rglob("*")) if path.is_file()}


# The features: shards that are named by their content


def write_features(root: Path, edit: Callable[[dict[str, Any]], object] | None = None) -> list[str]:
    """A tiny data/features/ and its keys; `edit` changes the tensors of the second shard. Names of shards."""
    data = root / FEATURES
    index = tiny_features.write(data)
    names = list(dict.fromkeys(index["shard"]))
    if edit:
        shard = data / "shards" / names[1]
        tensors = {name: array.copy() for name, array in safetensors.numpy.load_file(shard).items()}
        edit(tensors)
        content = safetensors.numpy.save(tensors)
        former, names[1] = names[1], f"{artifacts.sha256_bytes(content)[:16]}.safetensors"
        artifacts.write_bytes(data / "shards" / names[1], content)
        shard.unlink()
        index["shard"] = index["shard"].replace(former, names[1])
        index.to_parquet(data / "index.parquet")
    artifacts.write_json(root / KEYS, {f"{number:064x}": name for number, name in enumerate(names)})
    return names


def flip_lowest_bit(tensors: dict[str, Any]) -> None:
    tensors["mel"].view(np.uint16)[1, 2, 100, 7] ^= 1


def test_one_flipped_bit_of_a_feature_is_one_element_and_what_names_its_shard_is_equal(
    tmp_path: Path,
) -> None:
    names = write_features(tmp_path / "a")
    assert write_features(tmp_path / "b", flip_lowest_bit) != names
    mel = safetensors.numpy.load_file(tmp_path / "a" / FEATURES / "shards" / names[1])["mel"]
    in_binade = 2.0 ** (math.floor(math.log2(abs(float(mel[1, 2, 100, 7])))) - 10)  # float16: 10 bits follow

    by_file = {item.file: item for item in differences.compare(files(tmp_path / "a"), files(tmp_path / "b"))}
    shard = f"{FEATURES}/shards/{names[1]}"
    assert sorted(by_file) == [KEYS, INDEX, shard]
    scale = float(np.abs(mel).max())
    assert by_file[shard] == Difference(shard, "mel", 1, mel.size, in_binade, 1, scale, "")
    for follower in (KEYS, INDEX):
        assert by_file[follower] == Difference(follower, "", 0, 1, None, None, None, differences.NAMES_ONLY)

    assert differences.verdict(by_file.values(), in_binade / scale) == "within tolerance"
    assert differences.verdict(by_file.values(), 0.99 * in_binade / scale) == "different"
    assert differences.compare(files(tmp_path / "a"), files(tmp_path / "a")) == []


def test_a_changed_row_of_the_table_is_found_beside_the_names_that_follow(tmp_path: Path) -> None:
    names = write_features(tmp_path / "a")
    write_features(tmp_path / "b", flip_lowest_bit)
    index = pd.read_parquet(tmp_path / "b" / INDEX)
    index.loc[0, "shard"] = names[2]  # no shard changed its name to this: the row points elsewhere
    index.loc[3, "snr_db"] = np.nextafter(20.0, 21.0)
    index.to_parquet(tmp_path / "b" / INDEX)
    found = differences.compare({INDEX: tmp_path / "a" / INDEX}, {INDEX: tmp_path / "b" / INDEX})
    assert [item.array for item in found] == [
        "shard",
        "snr_db",
    ]  # without the shards themselves, all names count

    found = [
        item
        for item in differences.compare(files(tmp_path / "a"), files(tmp_path / "b"))
        if item.file == INDEX
    ]
    assert [(item.array, item.differing, item.max_ulp) for item in found] == [
        ("shard", 1, None),
        ("snr_db", 1, 1),
    ]
    assert differences.verdict(found, 1.0) == "different"


def test_shards_without_partner_are_only_recorded_or_only_rebuilt(tmp_path: Path) -> None:
    names = write_features(tmp_path / "a")
    changed = write_features(tmp_path / "b", flip_lowest_bit)
    recorded, rebuilt = files(tmp_path / "a"), files(tmp_path / "b")
    del rebuilt[INDEX]  # what would pair them
    rebuilt["data/features/extra.json"] = rebuilt[KEYS]
    found = {item.file: item for item in differences.compare(recorded, rebuilt) if item.file != KEYS}
    assert {file: (item.array, item.differing, item.note) for file, item in found.items()} == {
        "data/features/extra.json": ("", 1, "only rebuilt"),
        INDEX: ("", 1, "only recorded"),
        f"{FEATURES}/shards/{names[1]}": ("", 1, "only recorded"),
        f"{FEATURES}/shards/{changed[1]}": ("", 1, "only rebuilt"),
    }
    assert differences.verdict(found.values(), math.inf) == "different"


def test_a_damaged_table_is_reported_and_pairs_nothing(tmp_path: Path) -> None:
    names = write_features(tmp_path / "a")
    changed = write_features(tmp_path / "b", flip_lowest_bit)
    (tmp_path / "b" / INDEX).write_bytes(b"PAR1")
    found = {
        item.file: item.note for item in differences.compare(files(tmp_path / "a"), files(tmp_path / "b"))
    }
    assert found[f"{FEATURES}/shards/{names[1]}"] == "only recorded"
    assert found[f"{FEATURES}/shards/{changed[1]}"] == "only rebuilt"
    assert found[INDEX].startswith("cannot be read (rebuilt: no readable .parquet (")


def test_recordings_of_the_snapshot_are_paired_by_their_measurements(tmp_path: Path) -> None:
    def write(root: Path, i: list[list[float]]) -> str:
        shard = pa.table(
            {"i": pa.array(i, pa.list_(pa.float32())), "websdr_id": pa.array([1, 2], pa.int32())}
        )
        path = root / "data/snapshot/iq/new.parquet"
        path.parent.mkdir(parents=True)
        pq.write_table(shard, path)
        name = path.rename(path.with_name(f"{artifacts.sha256_file(path)[:16]}.parquet")).name
        rows = pa.table({"measurement_id": ["a", "b"], "shard": [name, name]})
        pq.write_table(rows, root / "data/snapshot/measurements.parquet")
        return name

    name = write(tmp_path / "a", [[1.0, 2.0], [3.0]])
    write(tmp_path / "b", [[1.0, 2.0], [3.5]])
    write(tmp_path / "c", [[1.0], [2.0, 3.0]])
    recorded, table = files(tmp_path / "a"), "data/snapshot/measurements.parquet"
    value, names = differences.compare(recorded, files(tmp_path / "b"))
    file = f"data/snapshot/iq/{name}"
    assert value == Difference(file, "i", 1, 3, 0.5, 2**21, 3.0, "")
    assert (names.file, names.note) == (table, differences.NAMES_ONLY)
    lengths, _ = differences.compare(recorded, files(tmp_path / "c"))  # the same numbers, cut elsewhere
    assert (lengths.file, lengths.array, lengths.differing) == (file, "i (lengths)", 2)


def test_the_weights_hash_in_their_config_follows_the_weights(tmp_path: Path) -> None:
    for root, weight, epochs in (("a", 1.0, 3), ("b", 1.5, 3), ("c", 1.5, 4)):
        weights = tmp_path / root / "models/localizer.safetensors"
        weights.parent.mkdir(parents=True)
        write_tensors(weights, {"head": np.array([weight], np.float32)})
        config = {"weights_sha256": artifacts.sha256_file(weights), "epochs": epochs}
        artifacts.write_json(tmp_path / root / "models/localizer.json", config)
    config, weights = differences.compare(files(tmp_path / "a"), files(tmp_path / "b"))
    assert (config.array, config.differing, config.note) == ("", 0, differences.NAMES_ONLY)
    assert (weights.array, weights.max_abs) == ("head", 0.5)
    config, weights = differences.compare(files(tmp_path / "a"), files(tmp_path / "c"))
    assert (config.array, config.max_abs) == ("epochs", 1.0)
    config_only = {"models/localizer.json": tmp_path / "a/models/localizer.json"}
    found = differences.compare(config_only, {"models/localizer.json": tmp_path / "b/models/localizer.json"})
    assert one(found).array == "weights_sha256"  # nothing here explains another hash


# Arrays


def test_values_that_are_no_number_on_one_side_are_never_within_tolerance(tmp_path: Path) -> None:
    before = np.array([1, np.nan, np.inf, 2, -3], np.float32)
    after = np.array([np.nan, np.nan, -np.inf, np.inf, -3], np.float32)
    found = one(compared(tmp_path, "x.npy", np.save, before, after))
    assert (found.differing, found.size, found.max_abs, found.max_ulp) == (3, 5, np.inf, None)
    assert (found.scale, found.note) == (3.0, "NaN or infinite, and not alike, in 3 places")
    assert differences.verdict([found], math.inf) == "different"


def test_other_bits_of_equal_values_count_and_are_no_distance_apart(tmp_path: Path) -> None:
    before = np.array([0.0, np.nan, 5.0])
    after = np.array([-0.0, np.nan, 5.0])
    after.view(np.uint64)[1] ^= 1  # another NaN
    found = one(compared(tmp_path, "x.npy", np.save, before, after))
    assert found == Difference("x.npy", "array", 2, 3, 0.0, 0, 5.0, "")
    assert differences.verdict([found], 0.0) == "within tolerance"


@pytest.mark.parametrize(
    ("before", "after", "note"),
    [
        (np.zeros((3, 5)), np.zeros((3, 4)), "shape (3, 4) instead of (3, 5)"),
        (np.zeros((3, 5)), np.zeros((0, 5)), "shape (0, 5) instead of (3, 5)"),
        (np.zeros((3, 5), np.float32), np.zeros((3, 5)), "dtype float64 instead of float32"),
    ],
)
def test_another_shape_or_dtype_is_named_and_never_within_tolerance(
    tmp_path: Path, before: np.ndarray[Any, Any], after: np.ndarray[Any, Any], note: str
) -> None:
    found = one(compared(tmp_path, "x.npy", np.save, before, after))
    assert found == Difference("x.npy", "array", 15, 15, None, None, None, note)
    assert differences.verdict([found], math.inf) == "different"


def test_integers_are_exact_and_never_within_tolerance(tmp_path: Path) -> None:
    extremes = np.array([-(2**63), 2**63 - 1, 5])
    found = one(compared(tmp_path, "x.npy", np.save, extremes, extremes[[1, 0, 2]]))
    assert (found.differing, found.max_abs, found.max_ulp, found.scale) == (2, 2.0**64, None, 2.0**63)
    start_gps_ns = np.array([1_400_000_000_000_000_000])
    later = one(compared(tmp_path / "later", "x.npy", np.save, start_gps_ns, start_gps_ns + 1))
    assert later.max_abs == 1.0
    assert differences.verdict([later], 1e-6) == "different"


def test_real_and_imaginary_parts_are_measured_apart(tmp_path: Path) -> None:
    iq = np.array([1 + 2j, 3 - 4j], np.complex64)
    found = one(compared(tmp_path, "x.npy", np.save, iq, iq + np.complex64(0.5j)))
    assert (found.array, found.differing, found.max_abs, found.scale) == ("imag", 2, 0.5, 4.0)


def test_the_farthest_element_is_found_wherever_it_stands(tmp_path: Path) -> None:
    before = np.ones(2**18 + 3)  # more than one block
    after = np.nextafter(before, 2)
    for number, place in enumerate((0, 2**18 - 1, 2**18, len(before) - 1)):
        after_there = after.copy()
        after_there[place] = 1.5
        found = one(compared(tmp_path / str(number), "x.npy", np.save, before, after_there))
        assert (found.differing, found.max_abs, found.max_ulp) == (len(before), 0.5, 2**51)


# Formats


def test_tensors_on_one_side_and_names_with_numbers_in_their_order(tmp_path: Path) -> None:
    zero, one_ = np.zeros(2, np.float32), np.ones(2, np.float32)
    before = {"blocks.10.w": zero, "blocks.9.w": zero, "old": zero, "same": zero}
    after = {"blocks.10.w": one_, "blocks.9.w": one_, "new": zero, "same": zero}
    found = compared(tmp_path, "m.safetensors", write_tensors, before, after)
    assert [(item.array, item.differing, item.note) for item in found] == [
        ("blocks.9.w", 2, ""),
        ("blocks.10.w", 2, ""),
        ("new", 2, "only rebuilt"),
        ("old", 2, "only recorded"),
    ]


def test_an_object_that_is_gone_is_no_equal_file(tmp_path: Path) -> None:
    found = one(differences.compare({"x.json": tmp_path / "gone"}, {"x.json": tmp_path / "gone"}))
    assert "No such file" in found.note


# Distance and verdict


@given(
    st.sampled_from(FLOATS).flatmap(
        lambda kind: st.tuples(st.just(kind), st.floats(width=8 * np.dtype(kind).itemsize, allow_nan=False))
    ),
    st.integers(0, 12),
    st.booleans(),
)
def test_distance_counts_the_steps_of_nextafter(
    start: tuple[type[np.floating[Any]], float], steps: int, upwards: bool
) -> None:
    kind, value = start
    target = kind(np.inf if upwards else -np.inf)
    first = last = kind(value)
    taken = 0
    with np.errstate(all="ignore"):  # the steps to infinity and below the normal numbers
        while taken < steps and last != target:
            last = np.nextafter(last, target)
            taken += 1
    a, b = np.array([first]), np.array([last])
    assert differences.ulp_distance(a, b).tolist() == differences.ulp_distance(b, a).tolist() == [taken]


@pytest.mark.parametrize("kind", FLOATS)
def test_distance_across_zero_to_the_ends_and_to_nan(kind: type[np.floating[Any]]) -> None:
    tiny, largest, infinity = np.finfo(kind).smallest_subnormal, np.finfo(kind).max, kind(np.inf)
    a = np.array([0.0, -tiny, largest, -infinity, np.nan, np.nan, 1.0], kind)
    b = np.array([-0.0, tiny, infinity, infinity, -np.nan, 1.0, np.nan], kind)
    info = np.finfo(kind)
    to_infinity = (2**info.nexp - 1) << info.nmant  # its bits, read as an integer
    assert differences.ulp_distance(a, b).tolist() == [0, 2, 1, 2 * to_infinity, 0, 2**64 - 1, 2**64 - 1]
    swapped = a.astype(a.dtype.newbyteorder()), b.astype(b.dtype.newbyteorder())
    assert differences.ulp_distance(*swapped).tolist() == differences.ulp_distance(a, b).tolist()
    with pytest.raises(ValueError, match="no distance between"):
        differences.ulp_distance(a, b[:1])


def test_the_verdict_is_that_of_the_worst_array() -> None:
    good = Difference("f", "a", 1, 9, 1e-6, 4, 10.0, "")
    bad = dataclasses.replace(good, max_abs=1e-4)
    layout = Difference("f", "", 0, 1, None, None, None, differences.BYTES_ONLY)
    assert differences.verdict([], 0.0) == differences.verdict([layout], 0.0) == "bit-equal"
    assert differences.verdict([good, layout], 1e-6) == "within tolerance"
    assert differences.verdict([good, bad], 1e-6) == "different"
    assert differences.verdict([dataclasses.replace(good, scale=0.0)], 1e-6) == "different"
