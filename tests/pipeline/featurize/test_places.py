"""A number that means another receiver than was written down is noticed by its levels."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heimdall.geometry import geo
from heimdall.pipeline.featurize import places
from heimdall.simulate.world import RECEIVERS

NETWORK = pd.DataFrame(
    [(site.websdr_id, site.name, site.latitude_deg, site.longitude_deg) for site in RECEIVERS],
    columns=["websdr_id", "name", "latitude_deg", "longitude_deg"],
)


def heard(seed: int, sessions: int, shadow_db: float = 6.0, exponent: float = 2.5) -> pd.DataFrame:
    """Levels of transmitters of very different power, each receiver with a gain of its own."""
    random = np.random.default_rng(seed)
    gain_db = random.normal(0, 5, len(RECEIVERS))
    rows = []
    for number in range(sessions):
        latitude, longitude = 44.4 + 1.1 * random.random(), 7.3 + 1.8 * random.random()
        power_db = random.normal(45 + 10 * exponent * 4.7, 10)  # most are heard everywhere
        for site, gain in zip(RECEIVERS, gain_db, strict=True):
            far_m = float(geo.distance_m([latitude], [longitude], site.latitude_deg, site.longitude_deg)[0])
            level = power_db + gain - 10 * exponent * np.log10(far_m) + random.normal(0, shadow_db)
            rows.append(
                (f"{number:08}-0", site.websdr_id, latitude, longitude, bool(level > -5), float(level))
            )
    columns = ["session_id", "websdr_id", "latitude_deg", "longitude_deg", "detected", "snr_db"]
    return pd.DataFrame(rows, columns=columns)


@pytest.mark.parametrize("shadow_db", [0.0, 6.0, 10.0])
def test_receivers_at_their_places_are_left_in_peace(shadow_db: float) -> None:
    for seed, exponent in enumerate((2.0, 2.5, 3.0, 3.5, 4.0) * 3):
        assert places.doubts(heard(seed, 45, shadow_db, exponent), NETWORK) == []


def test_two_numbers_that_changed_places_on_some_day_are_named_for_the_time_after() -> None:
    index = heard(1, 60, shadow_db=4.0)
    late = index["session_id"] >= "00000040-0"
    index.loc[late, "websdr_id"] = index.loc[late, "websdr_id"].replace({1: 7, 7: 1})
    said = places.doubts(index, NETWORK)
    assert [line.split(":")[0] for line in said] == [
        "receiver 1 (Aquila di Giaveno)",
        "receiver 7 (Milano-Baggio)",
    ]
    assert "in the sessions 00000040 to 00000059 its levels fit the place of Milano-Baggio better" in said[0]


def test_too_few_sessions_say_nothing() -> None:
    index = heard(2, 15, shadow_db=0.0)
    index["websdr_id"] = index["websdr_id"].replace({1: 7, 7: 1})
    assert places.doubts(index, NETWORK) == []
    assert places.doubts(heard(2, 30).assign(detected=False), NETWORK) == []


def test_transmitters_that_nobody_there_can_hear_are_said() -> None:
    index = heard(3, 10).assign(frequency_mhz=145.5)
    assert places.far(index, NETWORK) == []
    exchanged = index.rename(columns={"latitude_deg": "longitude_deg", "longitude_deg": "latitude_deg"})
    exchanged.loc[exchanged["session_id"] < "00000004-0", ["latitude_deg", "longitude_deg"]] = [45.0, 8.0]
    (said,) = places.far(exchanged, NETWORK)
    assert said.startswith("in 6 of 10 sessions, first in 00000004, the nearest receiver stands 5")
    assert places.far(exchanged.assign(frequency_mhz=7.1), NETWORK) == []  # the ionosphere carries it


def test_a_network_larger_than_the_lags_is_said_with_the_lag_that_it_needs() -> None:
    assert places.beyond_the_lags(NETWORK, 1e-3) == []
    (said,) = places.beyond_the_lags(NETWORK, 1e-4)
    needed_s = float(said.split("correlation_max_lag_s to ")[1].split()[0])
    assert places.beyond_the_lags(NETWORK, needed_s) == []
    assert places.beyond_the_lags(NETWORK[:1], 1e-4) == []
