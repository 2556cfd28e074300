"""What the snapshot writes is what later stages read, byte for byte and without the database's code."""

from __future__ import annotations

import itertools
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.recordings import archive
from heimdall.recordings.archive import StoredRecording

SESSION = "00000000-0000-4000-8000-00000000000a"
TIME = pd.Timestamp("2026-01-02T03:04:05.000006Z")


def stored(count: int, websdr_id: int, seed: int = 0) -> StoredRecording:
    random = np.random.default_rng(seed)
    samples = (random.normal(size=count) + 1j * random.normal(size=count)).astype(np.complex64)
    return StoredRecording(SESSION, websdr_id, 12001.1, samples)


def measurements() -> pd.DataFrame:
    row = {
        "measurement_id": "00000000-0000-4000-8000-000000000001",
        "session_id": SESSION,
        "websdr_id": 3,
        "latitude_deg": 45.0,
        "longitude_deg": 8.0,
        "frequency_mhz": 145.5,
        "snr_db": float("nan"),
        "timestamp": TIME,
        "approved_at": TIME,
        "sample_rate_hz": 192_000.0,
        "samples": 192_000,
        "source_id": None,
        "modulation": None,
        "simulated": True,
        "start_gps_ns": 1_451_304_245_000_000_123,  # not a multiple of 256: float64 would change it
        "timing_sigma_ns": 50.0,
        "object_key": f"sessions/{SESSION}/websdr_3.npy",
        "object_etag": "e",
        "object_bytes": 1_536_128,
        "object_sha256": "0" * 64,
        "shard": "0123456789abcdef.parquet",
    }
    rows = pd.DataFrame([row, row | {"websdr_id": 4, "source_id": "tx", "snr_db": 7.5}])
    rows["start_gps_ns"] = pd.array([row["start_gps_ns"], pd.NA], dtype="Int64")
    return rows


def test_how_rows_are_divided_into_batches_changes_no_byte(tmp_path: Path) -> None:
    """Neither of the file, also at its row groups, nor of the fingerprint, which is that of JSON text."""
    receivers = pd.DataFrame({"websdr_id": [3], "name": ["a"], "altitude_m": [float("nan")]})
    rows = measurements().loc[np.arange(70_000) % 2].reset_index(drop=True)
    rows["snr_db"] = rows.index.to_numpy() / 7
    small = rows.iloc[65_530:65_545]
    whole, divided = tmp_path / "whole", tmp_path / "divided"
    for table, sizes in ((rows, [1, 65_536, 4_463]), (small[:0], [0, 0])):
        ends = np.cumsum([0, *sizes])
        batches = [table.iloc[a:b] for a, b in itertools.pairwise(ends)]
        columns = [
            pa.array(table[field.name].astype(object), field.type, from_pandas=True)
            for field in archive.MEASUREMENTS_SCHEMA
        ]
        at_once = pa.table(columns, schema=archive.MEASUREMENTS_SCHEMA)
        pq.write_table(
            at_once,
            whole,
            row_group_size=archive.GROUP_ROWS,
            compression="zstd",
            compression_level=3,
            store_schema=False,
        )
        archive.write_batches(divided, batches, archive.MEASUREMENTS_SCHEMA)
        assert divided.read_bytes() == whole.read_bytes()

    found = archive.DataFingerprint()
    for start in range(0, 15, 4):
        found.add(small.iloc[start : start + 4])
    content = small.drop(columns=["object_etag", "shard"])
    cells = [
        [None if pd.isna(v) else v.isoformat() if isinstance(v, pd.Timestamp) else v for v in row]
        for row in content.astype(object).itertuples(index=False)
    ]
    absent = pd.DataFrame({"session_id": ["b"], "websdr_id": [5]})
    tables = [list(receivers.columns), [[3, "a", None]]], [list(absent.columns), [["b", 5]]]
    as_json = [[list(content.columns), cells], *tables]
    assert found.of(receivers, absent) == artifacts.fingerprint(as_json)


def test_shard_gives_back_its_recordings_in_order(tmp_path: Path) -> None:
    written = [stored(1200, 7, seed=1), stored(3000, 2, seed=2)]
    content = archive.pack_shard(written)
    path = tmp_path / f"{artifacts.sha256_bytes(content)[:16]}.parquet"
    path.write_bytes(content)
    read = archive.read_shard(path)
    assert list(read) == [(SESSION, 7), (SESSION, 2)]
    for recording, samples in zip(written, read.values(), strict=True):
        assert samples.dtype == np.complex64
        np.testing.assert_array_equal(samples, recording.samples)


def test_shard_bytes_depend_on_content_alone() -> None:
    assert archive.pack_shard([stored(500, 1)]) == archive.pack_shard([stored(500, 1)])
    assert archive.pack_shard([stored(500, 1)]) != archive.pack_shard([stored(500, 1, seed=1)])


def test_shard_of_another_format_is_not_current(tmp_path: Path) -> None:
    path = tmp_path / "shard.parquet"
    assert not archive.is_current(path)
    path.write_bytes(archive.pack_shard([stored(500, 1)]))
    assert archive.is_current(path)
    pq.write_table(pq.read_table(path).replace_schema_metadata({"heimdall_shard_format": "0"}), path)
    assert not archive.is_current(path)
    path.write_bytes(b"damaged")
    assert not archive.is_current(path)


def test_measurements_keep_nanoseconds_and_missing_values(tmp_path: Path) -> None:
    path = tmp_path / archive.SNAPSHOT / archive.MEASUREMENTS_FILE
    archive.write_table(path, measurements(), archive.MEASUREMENTS_SCHEMA)
    first = path.read_bytes()
    read = archive.read_measurements(tmp_path)
    assert list(read.columns) == archive.MEASUREMENTS_SCHEMA.names
    assert int(read["start_gps_ns"][0]) == 1_451_304_245_000_000_123
    assert read["start_gps_ns"].isna().tolist() == [False, True]
    assert read["source_id"].isna().tolist() == [True, False]
    assert np.isnan(read["snr_db"][0])
    assert read["timestamp"][0] == TIME
    archive.write_table(path, read, archive.MEASUREMENTS_SCHEMA)
    assert path.read_bytes() == first


def test_missing_and_damaged_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"receivers\.parquet: the file is missing\. Run"):
        archive.read_receivers(tmp_path)
    path = tmp_path / archive.SNAPSHOT / archive.RECEIVERS_FILE
    path.parent.mkdir(parents=True)
    path.write_bytes(b"PAR1 no parquet")
    with pytest.raises(HeimdallError, match="damaged") as caught:
        archive.read_receivers(tmp_path)
    assert "\n" not in str(caught.value)
    archive.write_table(path, measurements(), archive.MEASUREMENTS_SCHEMA)
    with pytest.raises(HeimdallError, match="columns"):
        archive.read_receivers(tmp_path)


def test_reading_needs_no_database_code() -> None:
    code = (
        "import sys, heimdall.recordings.archive as _; "
        "print({'psycopg2', 'boto3', 'pandera'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
