"""A tiny data/features/ whose sessions have true delays: for the tests of what localizes sessions."""

from __future__ import annotations

import uuid
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.core import artifacts
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import GROUND_ALTITUDE_M, SPEED_OF_LIGHT_M_S, distances_m
from heimdall.signal import session_files, sessions
from tests.tiny_features import FEATURES, LATITUDE_DEG, LONGITUDE_DEG

PLANE = TangentPlane(LATITUDE_DEG, LONGITUDE_DEG, GROUND_ALTITUDE_M)
SESSIONS = 20  # 12 train, 4 validate, 4 test
VALIDATION_SPLIT = 0.2
RECEIVERS_M = np.array(
    [[-6e4, 0, 300], [0, 4e4, 200], [1e4, -5e4, 400], [6e4, 1e4, 100], [3e4, 4.5e4, 150]], np.float64
)
HEARD = (3, 5, 4, 2)  # receivers of sessions 0, 1, 2, 3, 4 and so on
SNR_DB = (5.0, 20.0, 35.0)
_LAGS = 32


def delay_sigma_s(
    snr_db: npt.NDArray[np.floating], half_band_hz: float, noise_half_band_hz: float = 8e3
) -> npt.NDArray[np.float64]:
    """What one second of a flat spectrum lets nobody go below, seconds, of the shape of the SNR.

    Kay, Fundamentals of Statistical Signal Processing: Estimation Theory, 1993, section 3.11.
    """
    energy = 2 * noise_half_band_hz * 10 ** (np.asarray(snr_db, np.float64) / 10)
    return 1 / (2 * np.pi * half_band_hz / np.sqrt(3) * np.sqrt(2 * energy))


def session_features(
    number: int, position_m: npt.NDArray[np.float64], mels: int = 32
) -> sessions.SessionFeatures:
    """One session: a flat spectrum of +-8 kHz, delayed as the transmitter's position says, without noise."""
    count = HEARD[number % len(HEARD)]
    receiver_m = RECEIVERS_M[:count]
    delay_s = distances_m(position_m, receiver_m, PLANE) / SPEED_OF_LIGHT_M_S
    pair = np.array([(a, b) for a in range(count) for b in range(a + 1, count)], np.int32)
    lag_s = np.arange(-_LAGS, _LAGS + 1) / FEATURES["correlation_rate_hz"]
    off_s = lag_s - (delay_s[pair[:, 0]] - delay_s[pair[:, 1]])[:, np.newaxis]
    xcorr = np.sinc(2 * FEATURES["correlation_band_hz"] * off_s)
    snr_db = np.full(count, SNR_DB[number % len(SNR_DB)], np.float32)
    return sessions.SessionFeatures(
        mel=np.full((count, 3, mels, 32), -70 + number, np.float16),
        websdr_id=np.arange(1, count + 1, dtype=np.int32),
        energy_db=np.full(count, -60, np.float32),
        snr_db=snr_db,
        gate=np.full(count, 1000, np.float32),
        cfo_hz=np.zeros(count),
        timing_sigma_s=np.full(count, 5e-8),
        delay_s=delay_s,
        delay_sigma_s=delay_sigma_s(snr_db, FEATURES["correlation_band_hz"]),
        rms_bandwidth_hz=np.full(count, FEATURES["correlation_band_hz"] / np.sqrt(3)),
        position_enu_m=receiver_m,
        detected=np.ones(count, np.uint8),
        pair=pair,
        xcorr=xcorr.astype(np.complex64),
    )


def write(folder: Path, mels: int = 32) -> pd.DataFrame:
    """Write the features in one shard.

    Args:
        folder: The folder to make.
        mels: Bands of the log-mels.

    Returns:
        The index: sessions 4, 9, 14, 19 test and have 3, 5, 4, 2 receivers, two each of two transmitters.
    """
    position_m = generator(1, "session world").uniform(-30e3, 30e3, (SESSIONS, 2))
    latitude_deg, longitude_deg = PLANE.to_degrees(position_m[:, 0], position_m[:, 1])
    found = [session_features(number, position_m[number], mels) for number in range(SESSIONS)]
    packed = session_files.pack(found, FeatureParams(**FEATURES))
    shard = f"{artifacts.sha256_bytes(packed)[:16]}.safetensors"
    artifacts.write_bytes(folder / "shards" / shard, packed)
    rows = [
        {
            "measurement_id": str(uuid.UUID(int=100 * number + receiver)),
            "session_id": str(uuid.UUID(int=number)),
            "websdr_id": np.int32(receiver + 1),
            "source_id": f"tx{number % 5}-{number % 2}",
            "latitude_deg": latitude_deg[number],
            "longitude_deg": longitude_deg[number],
            "frequency_mhz": 145.0,
            "modulation": ("nfm", "dmr")[number % 2],
            "region": "north",
            "simulated": True,
            "receivers_heard": np.int32(len(session.websdr_id)),
            "snr_db": float(session.snr_db[receiver]),
            "detected": True,
            "split": "test" if number % 5 == 4 else "development",
            "validation_rank": 0.1 if number % 5 == 3 else 0.5,
            "shard": shard,
            "session_row": np.int32(number),
        }
        for number, session in enumerate(found)
        for receiver in range(len(session.websdr_id))
    ]
    index = pd.DataFrame(rows)
    index["row"] = np.arange(len(index), dtype=np.int32)
    index.to_parquet(folder / "index.parquet")
    receiver_deg = PLANE.to_degrees(RECEIVERS_M[:, 0], RECEIVERS_M[:, 1])
    places = dict(zip(("east_m", "north_m", "up_m"), RECEIVERS_M.T, strict=True))
    pd.DataFrame(
        {"websdr_id": np.arange(1, 6, dtype=np.int32), "name": list("ABCDE")}
        | dict(zip(("latitude_deg", "longitude_deg"), receiver_deg, strict=True))
        | places
    ).to_parquet(folder / "receivers.parquet")
    absent: dict[str, list[object]] = {"session_id": [], "websdr_id": []}
    pd.DataFrame(absent).to_parquet(folder / "absent.parquet")
    network = {
        "latitude_deg": LATITUDE_DEG,
        "longitude_deg": LONGITUDE_DEG,
        "data_fingerprint": "session world",
        "features": FEATURES,
        "split": {"by": "transmitter", "test_fraction": 0.2, "seed": 42},
        "calibration": {"delay_ns": {}},
    }
    artifacts.write_json(folder / "network.json", network)
    return index
