"""Each simulated world has filters of its own, which a session's own transmitter does not tell."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd

from heimdall.network.dataset import Sessions
from heimdall.network.filters import Filters
from heimdall.pipeline.train import world_filters
from tests.position.test_receiver_delays import OWN_S, heard
from tests.synthetic_sessions import PLANE, RECEIVERS

EACH = 30
OWN_OF = {"sim-1000": OWN_S, "sim-1001": -OWN_S}


def worlds() -> Sessions:
    """Two worlds of unlike receivers, a transmitter a session."""
    random, seen, rows = np.random.default_rng(6), [], []
    for world, own_s in OWN_OF.items():
        for number in range(EACH):
            observation, at_m = heard(random, own_s)
            seen.append(observation)
            latitude_deg, longitude_deg = (float(value) for value in PLANE.to_degrees(*at_m))
            rows.append((f"{world}-s{number}", f"{world}-{number:03d}", latitude_deg, longitude_deg))
    columns = ["session_id", "source_id", "latitude_deg", "longitude_deg"]
    return Sessions(seen, pd.DataFrame(rows, columns=columns))


def measured(sessions: Sessions) -> list[Filters]:
    return world_filters.measured(sessions, PLANE, RECEIVERS)


def test_each_world_has_its_own() -> None:
    found = measured(worlds())
    assert len(found) == 2 * EACH
    for number, own_s in ((0, OWN_S), (EACH, -OWN_S)):
        off_s = found[number].delays.delay_s - own_s
        np.testing.assert_allclose(off_s - off_s.mean(), 0, atol=120e-9)


def test_a_sessions_own_transmitter_does_not_tell() -> None:
    sessions, number = worlds(), 7
    seen = list(sessions.observations)
    late_s = seen[number].arrivals.delay_s + np.arange(len(seen[number].arrivals.delay_s)) * 1e-7
    seen[number] = replace(seen[number], arrivals=replace(seen[number].arrivals, delay_s=late_s))
    before, after = measured(sessions), measured(replace(sessions, observations=seen))
    assert after[number] == before[number]
    assert after[number + 1] != before[number + 1]
