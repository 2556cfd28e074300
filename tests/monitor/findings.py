"""A finding of made-up answers, in no time: what a page of it shows does not depend on networks."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace

import numpy as np
import pandas as pd

from heimdall.core.randomness import generator
from heimdall.monitor import monitor
from heimdall.monitor.monitor import Answers, Finding
from tests.compare import contests

STATISTICS = ("receivers heard", "SNR, dB", "clock, s")
FIRST = datetime(2026, 11, 1, 6, tzinfo=UTC)


def made(sessions: int = 24, worse: float = 1.0, moved: float = 0.0) -> Finding:
    """New sessions, half a day apart.

    Args:
        sessions: How many.
        worse: How many times as large their errors are as those that are claimed.
        moved: By how many standard deviations each statistic has moved.
    """
    claimed, trained = _answers("claim", 30), _answers("train", 60)
    new = _answers("new", sessions, worse, moved)
    figures = monitor.compare(new, claimed, trained.statistics, trained.clusters) if sessions >= 10 else None
    return Finding(
        model=SimpleNamespace(name="v0.1.0", sha256="d" * 64),
        data="simulated",
        known=2,
        new=new,
        claimed=claimed,
        approved_at=[FIRST + timedelta(hours=12 * number) for number in range(sessions)],
        figures=figures,
    )


def nothing() -> Finding:
    """No new session at all."""
    model = SimpleNamespace(name="v0.1.0", sha256="d" * 64)
    return Finding(model, None, 0, None, _answers("claim", 30), [], None)


def _answers(name: str, count: int, worse: float = 1.0, moved: float = 0.0) -> Answers:
    random = generator(1, f"test.findings.{name}")
    table = pd.DataFrame(
        {
            "session_id": [f"00000000-0000-4000-8000-{number:012d}" for number in range(count)],
            "latitude_deg": random.uniform(44.5, 45.4, count),
            "longitude_deg": random.uniform(7.5, 9.2, count),
        }
    )
    return Answers(
        sessions=table,
        clusters=[f"{name} {number % 8}" for number in range(count)],
        errors=contests.errors(worse * random.lognormal(5, 1, count)),
        latency_ms=np.full(count, 20.0),
        statistics=pd.DataFrame(random.normal(moved, 1, (count, len(STATISTICS))), columns=STATISTICS),
    )
