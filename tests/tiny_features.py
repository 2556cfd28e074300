"""A tiny data/features/, made of noise whose level tells the position: for tests of training."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import yaml

from heimdall.core import artifacts
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.signal import session_files, sessions
from tests import REPOSITORY

RECEIVERS = 2
PARAMS = REPOSITORY / "params.yaml"
FEATURES = yaml.safe_load(PARAMS.read_text(encoding="utf-8"))["features"]
LATITUDE_DEG, LONGITUDE_DEG = 45.0, 8.0


def session_features(
    seed: int, number: int, east: float, north: float, mels: int = 128
) -> sessions.SessionFeatures:
    """One session of noise; `east` and `north`, in [-1, 1], shift the level of the first two channels."""
    random = generator(seed, "tiny", number)
    mel = -70 + 2 * random.standard_normal((RECEIVERS, 3, mels, 32))
    mel[:, 0] += 10 * east
    mel[:, 1] += 10 * north
    pairs = RECEIVERS * (RECEIVERS - 1) // 2
    return sessions.SessionFeatures(
        mel=mel.astype(np.float16),
        websdr_id=np.arange(1, RECEIVERS + 1, dtype=np.int32),
        energy_db=np.full(RECEIVERS, -60, np.float32),
        snr_db=np.full(RECEIVERS, 20, np.float32),
        gate=np.full(RECEIVERS, 100, np.float32),
        cfo_hz=np.zeros(RECEIVERS),
        timing_sigma_s=np.full(RECEIVERS, 5e-8),
        delay_s=np.full(RECEIVERS, np.nan),
        delay_sigma_s=np.full(RECEIVERS, np.nan),
        rms_bandwidth_hz=np.zeros(RECEIVERS),
        position_enu_m=np.zeros((RECEIVERS, 3)),
        detected=np.ones(RECEIVERS, np.uint8),
        pair=np.array([[0, 1]], np.int32),
        xcorr=np.zeros((pairs, 65), np.complex64),
    )


def write(data_dir: Path, count: int = 10, seed: int = 1) -> pd.DataFrame:
    """Write `count` sessions of two recordings: three in five train, one validates, one tests.

    Args:
        data_dir: The folder to make.
        count: Sessions, a multiple of 5.
        seed: Of positions and noise.

    Returns:
        The index.
    """
    random = generator(seed, "tiny positions")
    rows = []
    for first in range(0, count, 2):
        numbers = range(first, min(first + 2, count))
        places = {number: random.uniform(-1, 1, 2) for number in numbers}
        packed = session_files.pack(
            [session_features(seed, number, *places[number]) for number in numbers], FeatureParams(**FEATURES)
        )
        shard = f"{artifacts.sha256_bytes(packed)[:16]}.safetensors"
        artifacts.write_bytes(data_dir / "shards" / shard, packed)
        for session_row, number in enumerate(numbers):
            for receiver in range(RECEIVERS):
                rows.append(
                    {
                        "measurement_id": str(uuid.UUID(int=100 * number + receiver)),
                        "session_id": str(uuid.UUID(int=number)),
                        "websdr_id": np.int32(receiver + 1),
                        "source_id": f"site-{number}",
                        "latitude_deg": LATITUDE_DEG + 0.3 * places[number][1],
                        "longitude_deg": LONGITUDE_DEG + 0.4 * places[number][0],
                        "modulation": "nfm",
                        "region": "north",
                        "simulated": True,
                        "receivers_heard": np.int32(RECEIVERS),
                        "snr_db": 20.0,
                        "detected": True,
                        "split": "test" if number % 5 == 4 else "development",
                        "validation_rank": 0.1 if number % 5 == 3 else 0.5,
                        "shard": shard,
                        "row": np.int32(RECEIVERS * session_row + receiver),
                        "session_row": np.int32(session_row),
                    }
                )
    index = pd.DataFrame(rows)
    index.to_parquet(data_dir / "index.parquet")
    network = {
        "latitude_deg": LATITUDE_DEG,
        "longitude_deg": LONGITUDE_DEG,
        "data_fingerprint": f"tiny-{seed}",
        "features": FEATURES,
        "split": {"by": "transmitter", "test_fraction": 0.2, "seed": 42},
        "calibration": {"delay_ns": {}},
    }
    artifacts.write_json(data_dir / "network.json", network)
    return index
