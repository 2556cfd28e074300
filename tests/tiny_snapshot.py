"""A tiny data/snapshot/: three shards of two sessions of two receivers."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pandas as pd

from heimdall.core import artifacts
from heimdall.core.params import FeatureParams, SplitParams
from heimdall.core.randomness import generator
from heimdall.pipeline.featurize import featurize
from heimdall.recordings import archive
from heimdall.recordings.archive import StoredRecording

RATE_HZ = 16_000.0
SAMPLES = 4_000
GPS_NS = 1_400_000_000_000_000_123
PARAMS = FeatureParams(
    n_mels=64,
    n_fft=1024,
    hop_length=256,
    f_min=0.0,
    f_max=None,
    frames=32,
    correlation_band_hz=4000.0,
    correlation_rate_hz=16_000.0,
    correlation_max_lag_s=0.001,
)
SPLIT = SplitParams(by="transmitter", test_fraction=0.3, seed=42)
SHARDS = ((0, 1), (2, 3), (4, 5))  # sessions by number


def session_id(number: int) -> str:
    return str(uuid.UUID(int=number))


def samples(session: int, websdr_id: int, seed: int = 0) -> archive.Samples:
    """A signal that all receivers of a session share, under noise of their own."""
    signal = np.exp(0.3j * np.cumsum(generator(seed, "test.signal", session).standard_normal(SAMPLES)))
    noise = generator(seed, "test.noise", session, websdr_id).standard_normal((2, SAMPLES))
    return (0.01 * (signal + 0.1 * (noise[0] + 1j * noise[1]))).astype(np.complex64)


def write_snapshot(root: Path, seeds: tuple[int, int, int] = (0, 0, 0)) -> pd.DataFrame:
    """Three shards of two sessions of two receivers; the second receiver has no GPS time."""
    rows = []
    for shard, seed in zip(SHARDS, seeds, strict=True):
        content = archive.pack_shard(
            [StoredRecording(session_id(s), w, RATE_HZ, samples(s, w, seed)) for s in shard for w in (1, 2)]
        )
        name = artifacts.sha256_bytes(content)[:16] + archive.SHARD_SUFFIX
        artifacts.write_bytes(archive.shard_path(name, root), content)
        rows += [
            {
                "measurement_id": str(uuid.UUID(int=100 * s + w)),
                "session_id": session_id(s),
                "websdr_id": w,
                "latitude_deg": 45.0 + 0.1 * s,
                "longitude_deg": 8.0,
                "frequency_mhz": 145.5,
                "snr_db": float("nan"),
                "timestamp": pd.Timestamp("2026-01-02T03:04:05Z"),
                "approved_at": pd.Timestamp("2026-01-03T03:04:05Z"),
                "sample_rate_hz": RATE_HZ,
                "samples": SAMPLES,
                "source_id": f"tx-{s}",
                "modulation": "nfm" if s else None,
                "simulated": True,
                "start_gps_ns": GPS_NS + s if w == 1 else None,
                "timing_sigma_ns": 50.0 if w == 1 else float("nan"),
                "object_key": f"sessions/{session_id(s)}/websdr_{w}.npy",
                "object_etag": "e",
                "object_bytes": 8 * SAMPLES + 128,
                "object_sha256": artifacts.sha256_bytes(samples(s, w, seed).tobytes()),
                "shard": name,
            }
            for s in shard
            for w in (1, 2)
        ]
    folder = root / archive.SNAPSHOT
    table = pd.DataFrame(rows)
    # Made of the rows: a column that holds nothing here and there is one of floats first, and rounds.
    table["start_gps_ns"] = pd.array([row["start_gps_ns"] for row in rows], "Int64")
    archive.write_table(folder / archive.MEASUREMENTS_FILE, table, archive.MEASUREMENTS_SCHEMA)
    receivers = {
        "websdr_id": [1, 2],
        "name": ["North", "South"],
        "latitude_deg": [45.4, 45.0],
        "longitude_deg": [8.1, 7.9],
        "altitude_m": [100.0, 300.0],
    }
    path = folder / archive.RECEIVERS_FILE
    archive.write_table(path, pd.DataFrame(receivers), archive.RECEIVERS_SCHEMA)
    absent: dict[str, list[object]] = {"session_id": [], "websdr_id": []}
    archive.write_table(folder / archive.ABSENT_FILE, pd.DataFrame(absent), archive.ABSENT_SCHEMA)
    return archive.read_measurements(root)


def outputs(root: Path) -> dict[str, bytes]:
    paths = [*(root / featurize.FEATURES).rglob("*"), root / featurize.METRICS_FILE]
    return {str(path.relative_to(root)): path.read_bytes() for path in paths if path.is_file()}
