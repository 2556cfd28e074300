"""A contest of made-up answers, in no time: what a page of it shows does not depend on networks."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pandas as pd

from heimdall.compare import contest, sample_size
from heimdall.compare.contest import Contest, Seen, Side
from heimdall.core import params
from heimdall.core.randomness import generator
from heimdall.geometry.geo import distance_m
from heimdall.metrics.metrics import Errors
from heimdall.pipeline.evaluate.cases import SLICES
from tests import REPOSITORY

SESSIONS, TRANSMITTERS = 24, 6
RECEIVERS = pd.DataFrame(
    {
        "name": ["Genova", "Torino", "Milano & <Baggio>"],
        "latitude_deg": [44.40, 45.07, 45.47],
        "longitude_deg": [8.96, 7.69, 9.10],
    }
)


def made(name: str = "v0.1.0", names: tuple[str, ...] = ("", "v0.2.0")) -> Contest:
    """Two models on sessions in north-west Italy; B is the worse one, and wrong by 40 km once."""
    random = generator(1, "test.contests")
    settings = params.load(REPOSITORY / "params.yaml").evaluate
    truth_deg = np.stack([random.uniform(44.5, 45.4, SESSIONS), random.uniform(7.5, 9.2, SESSIONS)], axis=-1)
    sessions = pd.DataFrame(
        {
            "session_id": [f"00000000-0000-4000-8000-{number:012d}" for number in range(SESSIONS)],
            "cluster": [f"tx{number % TRANSMITTERS}" for number in range(SESSIONS)],
            "latitude_deg": truth_deg[:, 0],
            "longitude_deg": truth_deg[:, 1],
            "receivers_heard": [3 + number % 3 for number in range(SESSIONS)],
            "clock": ["3", "4"] * (SESSIONS // 2),
            "snr": [">30 dB"] * SESSIONS,
            "modulation": ["nfm", "cw", "unknown"] * (SESSIONS // 3),
            # One transmitter alone has no interval.
            "region": ["Genova" if number % TRANSMITTERS == 0 else "Torino" for number in range(SESSIONS)],
        }
    )
    far_deg = np.zeros((SESSIONS, 2))
    far_deg[3] = 0.36
    answers = [
        truth_deg + random.normal(0, 0.002, truth_deg.shape),
        truth_deg + random.normal(0, 0.006, truth_deg.shape) + far_deg,
    ]
    a, b = (
        _side(title or name, estimated_deg, truth_deg, known)
        for title, estimated_deg, known in zip(names, answers, (Seen(2, 4), None), strict=True)
    )
    slices = []
    for column in SLICES:
        for value, rows in sessions.groupby(column).indices.items():
            parts = [
                Errors(**{key: column[rows] for key, column in vars(one.errors).items()}) for one in (a, b)
            ]
            figures = contest.figures(*parts, sessions.iloc[rows], settings)
            slices.append({"slice": column, "value": str(value)} | figures)
    errors_m = a.errors.distance_m, b.errors.distance_m
    clusters = sessions["cluster"].tolist()
    return Contest(
        data="simulated",
        data_fingerprint="ab" * 32,
        sessions=sessions,
        a=a,
        b=b,
        overall=contest.figures(a.errors, b.errors, sessions, settings),
        slices=slices,
        sample_size=sample_size.of_paired(errors_m[1] - errors_m[0], clusters),
        canary=sample_size.of_canary(*errors_m, clusters, sample_size.SHARES[:1]),
        rising_canary=sample_size.of_canary(*errors_m, clusters, sample_size.SHARES),
    )


def _side(name: str, estimated_deg: np.ndarray, truth_deg: np.ndarray, known: Seen | None) -> Side:
    model = SimpleNamespace(
        name=name,
        commit="c" * 40,
        sha256="d" * 64,
        file=SimpleNamespace(kind="fusion", metadata={"data_fingerprint": "ef" * 32}),
    )
    return Side(
        model, estimated_deg, errors(distance_m(*estimated_deg.T, *truth_deg.T)), np.full(30, 12.5), known
    )


def errors(error_m: np.ndarray) -> Errors:
    """Errors of answers that are as sure as they are right."""
    return Errors(
        distance_m=error_m,
        sigma_m=error_m,
        rms_m=error_m,
        ellipse_m=2 * error_m,
        level=np.linspace(0.05, 0.99, len(error_m)),
        log_density=-np.log(error_m),
        within_1km=(error_m < 1000).astype(float),
    )
