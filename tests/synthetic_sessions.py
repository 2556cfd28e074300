"""Sessions with exact delays and correlations in closed form, for the tests of everything that locates."""

from __future__ import annotations

import dataclasses
import uuid
from pathlib import Path

import numpy as np
import pandas as pd

from heimdall.core import artifacts, params
from heimdall.core.randomness import generator
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.signal import session_files
from heimdall.signal.arrival import Arrivals, Observation, arrivals
from heimdall.signal.sessions import SessionFeatures
from tests import REPOSITORY
from tests.session_world import delay_sigma_s

PLANE = TangentPlane(45.0, 8.0, 260.0)
RECEIVERS = Receivers(
    np.arange(1, 8, dtype=np.int32),
    np.array(
        [
            [-60e3, 2e3, 400],
            [-15e3, 26e3, 250],
            [-30e3, 5e3, 200],
            [-62e3, 3e3, 500],
            [71e3, -49e3, 450],
            [71e3, -67e3, 100],
            [84e3, 53e3, 120.0],
        ]
    ),
)
FEATURES = params.load(REPOSITORY / "params.yaml").features
RATE_HZ = FEATURES.correlation_rate_hz
HALF_BAND_HZ = 4_000.0  # of the flat spectrum: its correlation is a sinc


def session(
    truth_m: np.ndarray,
    rows: list[int],
    *,
    snr_db: float | np.ndarray = 30.0,
    timing_sigma_s: float | np.ndarray = 5e-8,
    late_s: float | np.ndarray = 0.0,
) -> SessionFeatures:
    """What the receivers `rows` of the network record of a transmitter, without noise.

    Args:
        truth_m: East and north of the transmitter, metres, shape (2,).
        rows: Rows of `RECEIVERS`.
        snr_db: Of each recording, or of all, dB.
        timing_sigma_s: Of each recording, or of all, seconds.
        late_s: By how much the signal is late at each of them, seconds.
    """
    position_m = RECEIVERS.position_m[rows]
    count = len(rows)
    level_db = np.broadcast_to(np.asarray(snr_db, np.float64), count)
    delay_s = distances_m(truth_m, position_m, PLANE) / SPEED_OF_LIGHT_M_S + late_s
    first, second = np.triu_indices(count, 1)
    half = round(FEATURES.correlation_max_lag_s * RATE_HZ)
    lag_s = np.arange(-half, half + 1) / RATE_HZ - (delay_s[first] - delay_s[second])[:, None]
    height = 10 ** ((level_db[first] + level_db[second]) / 20)
    turn = np.exp(1j * (first + 2.0 * second))
    xcorr = (height * turn)[:, None] * np.sinc(2 * HALF_BAND_HZ * lag_s)
    return SessionFeatures(
        mel=np.zeros((count, 3, FEATURES.n_mels, FEATURES.frames), np.float16),
        websdr_id=RECEIVERS.websdr_id[rows],
        energy_db=(level_db - 90).astype(np.float32),
        snr_db=level_db.astype(np.float32),
        gate=np.full(count, 1e3, np.float32),
        cfo_hz=np.zeros(count),
        timing_sigma_s=np.broadcast_to(np.asarray(timing_sigma_s, np.float64), count).copy(),
        delay_s=delay_s,
        delay_sigma_s=delay_sigma_s(level_db, HALF_BAND_HZ),
        rms_bandwidth_hz=np.full(count, HALF_BAND_HZ / np.sqrt(3)),
        position_enu_m=position_m,
        detected=np.ones(count, np.uint8),
        pair=np.stack([first, second], axis=-1).astype(np.int32),
        xcorr=xcorr.astype(np.complex64),
    )


def measured(features: SessionFeatures) -> Observation:
    """A session with the arrival times that its correlations give."""
    return Observation(features, arrivals(features, FEATURES), 145e6)


def exact(features: SessionFeatures, delay_s: np.ndarray, information_s2: float = 1e16) -> Observation:
    """A session with given arrival times, relative to the first recording."""
    count = len(features.websdr_id)
    times = Arrivals.without_echoes(
        delay_s - delay_s[0], np.full(count, information_s2), 2_300.0, np.zeros((count, 18))
    )
    return Observation(features, times, 145e6)


def delays_s(truth_m: np.ndarray, rows: list[int]) -> np.ndarray:
    """Delay of the straight line to each receiver, seconds, shape (rows,)."""
    return distances_m(truth_m, RECEIVERS.position_m[rows], PLANE) / SPEED_OF_LIGHT_M_S


def write_features(data_dir: Path, count: int = 20) -> None:
    """Write a data/features/ of sessions with five receivers: 3/5 train, 1/5 validates, 1/5 tests."""
    rows = [0, 1, 2, 4, 6]
    random = generator(1, "synthetic features")
    truth_m = random.uniform([-55e3, -45e3], [70e3, 45e3], (count, 2))
    late_s = 1e-7 * random.normal(size=(count, len(rows)))
    packed = session_files.pack(
        [session(at, rows, late_s=late) for at, late in zip(truth_m, late_s, strict=True)], FEATURES
    )
    shard = f"{artifacts.sha256_bytes(packed)[:16]}.safetensors"
    artifacts.write_bytes(data_dir / "shards" / shard, packed)
    latitude_deg, longitude_deg = PLANE.to_degrees(truth_m[:, 0], truth_m[:, 1])
    index = [
        {
            "measurement_id": str(uuid.UUID(int=100 * number + row)),
            "session_id": session_id(number),
            "websdr_id": RECEIVERS.websdr_id[receiver],
            "source_id": f"site-{number}",
            "latitude_deg": latitude_deg[number],
            "longitude_deg": longitude_deg[number],
            "frequency_mhz": 145.5,
            "modulation": "nfm",
            "region": "north",
            "simulated": True,
            "receivers_heard": np.int32(len(rows)),
            "snr_db": 30.0,
            "detected": True,
            "split": "test" if number % 5 == 4 else "development",
            "validation_rank": 0.1 if number % 5 == 3 else 0.5,
            "shard": shard,
            "row": np.int32(len(rows) * number + row),
            "session_row": np.int32(number),
        }
        for number in range(count)
        for row, receiver in enumerate(rows)
    ]
    pd.DataFrame(index).to_parquet(data_dir / "index.parquet")
    east_m, north_m, up_m = RECEIVERS.position_m.T
    position = {"east_m": east_m, "north_m": north_m, "up_m": up_m}
    pd.DataFrame({"websdr_id": RECEIVERS.websdr_id, **position}).to_parquet(data_dir / "receivers.parquet")
    pd.DataFrame({"session_id": [session_id(4)], "websdr_id": [RECEIVERS.websdr_id[0]]}).to_parquet(
        data_dir / "absent.parquet"
    )
    network = {
        "latitude_deg": PLANE.latitude_deg,
        "longitude_deg": PLANE.longitude_deg,
        "data_fingerprint": "synthetic",
        "features": dataclasses.asdict(FEATURES),
        "split": {"by": "transmitter", "test_fraction": 0.2, "seed": 42},
        "calibration": {"delay_ns": {}},
    }
    artifacts.write_json(data_dir / "network.json", network)


def session_id(number: int) -> str:
    """Identifier of a session of `write_features`."""
    return str(uuid.UUID(int=number))
