"""Nobody is in two splits, the shares are right in every region, and the seed decides."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.core.params import SplitParams
from heimdall.geometry import geo
from heimdall.pipeline.featurize import split

BY_TRANSMITTER = SplitParams(by="transmitter", test_fraction=0.2, seed=42)
BY_SESSION = SplitParams(by="session", test_fraction=0.2, seed=42)


def world(transmitters: int = 60, sessions: int = 3, receivers: int = 4) -> pd.DataFrame:
    rows = [
        {
            "session_id": f"{t:03d}-{s}",
            "source_id": f"sim-{t:03d}",
            "region": ["Genova", "Torino", "Milano"][t % 3],
            "latitude_deg": 44.0 + t / 100,
            "longitude_deg": 8.0 + s / 100_000,
        }
        for t in range(transmitters)
        for s in range(sessions)
        for _ in range(receivers)
    ]
    return pd.DataFrame(rows)


@pytest.mark.parametrize(("params", "unit"), [(BY_TRANSMITTER, "source_id"), (BY_SESSION, "session_id")])
def test_a_unit_is_in_one_split_only(params: SplitParams, unit: str) -> None:
    recordings = world()
    assigned = pd.concat([recordings, split.assign(recordings, params)], axis=1)
    assert (assigned.groupby(unit)[["split", "validation_rank"]].nunique() == 1).all().all()
    assert (assigned.groupby("session_id")["split"].nunique() == 1).all()


def test_by_session_puts_known_transmitters_into_every_split() -> None:
    recordings = world()
    assigned = pd.concat([recordings, split.assign(recordings, BY_SESSION)], axis=1)
    assert (assigned.groupby("source_id")["split"].nunique() == 2).any()


@pytest.mark.parametrize("validation", [0.1, 0.2, 0.5])
def test_shares_hold_in_every_region(validation: float) -> None:
    recordings = world(transmitters=90)
    assigned = pd.concat([recordings, split.assign(recordings, BY_TRANSMITTER)], axis=1).drop_duplicates(
        "source_id"
    )
    for _, members in assigned.groupby("region"):
        test = (members["split"] == "test").sum()
        assert abs(test - 0.2 * len(members)) <= 1.5
        held = ((members["split"] == "development") & (members["validation_rank"] < validation)).sum()
        assert abs(held - validation * 0.8 * len(members)) <= 2
    assert assigned["validation_rank"].between(0, 1, inclusive="left").all()


def test_the_seed_decides_and_the_order_of_rows_does_not() -> None:
    recordings = world()
    first = split.assign(recordings, BY_TRANSMITTER)
    pd.testing.assert_frame_equal(first, split.assign(recordings, BY_TRANSMITTER))
    shuffled = recordings.sample(frac=1, random_state=3)
    pd.testing.assert_frame_equal(first, split.assign(shuffled, BY_TRANSMITTER).sort_index())
    other = split.assign(recordings, SplitParams(by="transmitter", test_fraction=0.2, seed=43))
    assert (first["split"] != other["split"]).any()


def test_a_session_without_a_name_goes_where_others_at_its_place_go() -> None:
    recordings = world()
    nameless = recordings["session_id"].str.endswith("-1") | (recordings["source_id"] < "sim-006")
    assigned = pd.concat([recordings, split.assign(recordings, BY_TRANSMITTER)], axis=1)
    recordings.loc[nameless, "source_id"] = None
    without = pd.concat([recordings, split.assign(recordings, BY_TRANSMITTER)], axis=1)
    for table in (assigned, without):
        assert (table.groupby("latitude_deg")[["split", "validation_rank"]].nunique() == 1).all().all()


@pytest.mark.parametrize("seed", range(4))
def test_no_test_session_stands_within_100_m_of_a_development_one(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 150
    places = random.integers(0, 40, size=count)
    scatter = random.normal(scale=0.0003, size=(2, count))  # about 30 m
    recordings = pd.DataFrame(
        {
            "session_id": [f"{number:03d}" for number in range(count)],
            "source_id": [f"t{place}" if random.random() < 0.5 else None for place in places],
            "region": random.choice(["Genova", "Torino"], size=count),
            "latitude_deg": 44.5 + (places % 8) * 0.1 + scatter[0],
            "longitude_deg": 8.0 + (places // 8) * 0.1 + scatter[1],
        }
    )
    held = split.assign(recordings, BY_TRANSMITTER)["split"] == "test"
    for _, one in recordings[held].iterrows():
        others = recordings[~held]
        distances = geo.distance_m(
            others["latitude_deg"], others["longitude_deg"], one["latitude_deg"], one["longitude_deg"]
        )
        assert distances.min() > 100


def test_a_split_without_members_is_an_error() -> None:
    with pytest.raises(HeimdallError, match="no members"):
        split.assign(world(transmitters=1), BY_TRANSMITTER)


def test_the_region_is_the_nearest_receiver() -> None:
    receivers = pd.DataFrame(
        {"name": ["Torino", "Genova"], "latitude_deg": [45.044, 44.395], "longitude_deg": [7.672, 8.956]}
    )
    found = split.regions(np.array([45.1, 44.5]), np.array([7.7, 9.0]), receivers)
    assert found == ["Torino", "Genova"]
