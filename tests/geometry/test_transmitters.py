"""One name or one place within 100 m is one transmitter, in any order of rows, anywhere on the earth."""

from __future__ import annotations

import itertools
import time
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall.geometry import geo, transmitters

METRES_PER_DEGREE = 111_195.0


def sessions(*places: tuple[str | None, float, float]) -> pd.DataFrame:
    table = pd.DataFrame(places, columns=["source_id", "latitude_deg", "longitude_deg"])
    return table.assign(session_id=[f"{number:03d}" for number in range(len(table))])


def test_what_stands_within_100_m_is_one_with_or_without_a_name() -> None:
    north = 45.0 + np.array([0.0, 60.0, 120.0, 260.0, 5000.0]) / METRES_PER_DEGREE
    table = sessions(
        ("b", north[0], 8.0),
        (None, north[1], 8.0),
        ("a", north[2], 8.0),  # 120 m from the first, and joined by the second
        (None, north[3], 8.0),
        (None, north[4], 8.0),
    )
    assert list(transmitters.by_place(table)) == ["name a"] * 3 + ["session 003", "session 004"]


def test_one_name_is_one_transmitter_wherever_it_stands() -> None:
    table = sessions(("mobile", 45.0, 8.0), ("mobile", 45.5, 8.0), (None, 45.5, 8.0), (None, 44.0, 8.0))
    assert list(transmitters.by_place(table)) == ["name mobile"] * 3 + ["session 003"]


def test_a_place_that_is_not_known_joins_nothing() -> None:
    table = sessions((None, np.nan, np.nan), (None, np.nan, np.nan), ("a", np.nan, np.nan))
    assert list(transmitters.by_place(table)) == ["session 000", "session 001", "name a"]


@pytest.mark.parametrize(
    ("first", "second"), [((0.0, 179.9996), (0.0, -179.9996)), ((89.9998, 0.0), (89.9998, 180.0))]
)
def test_the_date_line_and_the_poles_are_no_borders(
    first: tuple[float, float], second: tuple[float, float]
) -> None:
    assert geo.distance_m(first[0], first[1], second[0], second[1]) < 100
    assert transmitters.by_place(sessions((None, *first), (None, *second))).nunique() == 1


def by_brute_force(table: pd.DataFrame) -> np.ndarray[Any, Any]:
    """A number of the transmitter of each row, from the distance of every two rows."""
    columns = [table[name].to_numpy(float) for name in ("latitude_deg", "longitude_deg")]
    one, other = np.triu_indices(len(table), 1)
    near = geo.distance_m(columns[0][one], columns[1][one], columns[0][other], columns[1][other]) <= 100
    group = np.arange(len(table))
    for a, b in zip(one[near], other[near], strict=True):
        if group[a] != group[b]:
            group[group == group[b]] = group[a]
    return group


@pytest.mark.parametrize("seed", range(12))
def test_crowded_hills_and_lone_places_are_joined_as_by_comparing_every_two(seed: int) -> None:
    """Crowds whose edges lie 90 to 110 m apart, chains of steps near 100 m, at any latitude."""
    random = np.random.default_rng(seed)
    north_m, east_m = [random.uniform(-3000, 3000, 40)], [random.uniform(-3000, 3000, 40)]
    for _ in range(4):  # two crowds side by side
        place, gap_m = random.uniform(-2000, 2000, 2), random.uniform(90, 110)
        spread_m = random.uniform(0, 60, (2, 150))
        east_m += [place[0] - spread_m[0, :75], place[0] + gap_m + spread_m[0, 75:]]
        north_m += [place[1] + spread_m[1]]
    north_m += [np.cumsum(random.uniform(99.9, 100.1, 30))]
    east_m += [np.full(30, 5000.0)]
    latitude = random.uniform(-85, 85)
    degrees = np.concatenate(north_m) / METRES_PER_DEGREE + latitude
    scale = METRES_PER_DEGREE * np.cos(np.radians(latitude))
    places = zip(degrees, (np.concatenate(east_m) / scale + 540) % 360 - 180, strict=True)
    table = sessions(*((None, *place) for place in places))
    found, expected = pd.factorize(transmitters.by_place(table))[0], pd.factorize(by_brute_force(table))[0]
    assert list(found) == list(expected)
    assert 10 < len(set(found)) < len(table) / 3


@pytest.mark.parametrize("apart_m", [0.05, 50.0, 110.0])
def test_time_grows_with_the_places_and_not_with_their_pairs(apart_m: float) -> None:
    """On one hill, in a town, and none near another: ten thousand places have fifty million pairs."""

    def seconds(count: int) -> float:
        side = int(count**0.5)
        row, column = np.divmod(np.arange(side**2), side)
        table = pd.DataFrame(
            {
                "session_id": [f"{number:06d}" for number in range(side**2)],
                "source_id": pd.Series(None, range(side**2), "str"),
                "latitude_deg": 45 + row * apart_m / METRES_PER_DEGREE,
                "longitude_deg": 8 + column * apart_m * 1.42 / METRES_PER_DEGREE,
            }
        )
        begin = time.process_time()
        assert transmitters.by_place(table).nunique() == (1 if apart_m < 100 else side**2)
        return time.process_time() - begin

    seconds(100)
    assert seconds(10_000) < 40 * seconds(1_000)  # a hundredfold, were it quadratic


@pytest.mark.parametrize("seed", range(2))
def test_it_is_what_comparing_every_two_sessions_gives(seed: int) -> None:
    random = np.random.default_rng(seed)
    count = 80
    table = sessions(
        *(
            (
                f"t{random.integers(20)}" if random.random() < 0.3 else None,
                45.0 + random.integers(-6, 7) * 70.0 / METRES_PER_DEGREE,
                8.0 + random.integers(-6, 7) * 0.0011,
            )
            for _ in range(count)
        )
    )
    group = list(range(count))
    for one, other in itertools.combinations(range(count), 2):
        a, b = table.iloc[one], table.iloc[other]
        near = geo.distance_m(a.latitude_deg, a.longitude_deg, b.latitude_deg, b.longitude_deg)[0] <= 100
        if near or (a.source_id is not None and a.source_id == b.source_id):
            group = [group[one] if number == group[other] else number for number in group]
    found = transmitters.by_place(table)
    for one, other in itertools.combinations(range(count), 2):
        assert (found[one] == found[other]) == (group[one] == group[other])
    shuffled = transmitters.by_place(table.sample(frac=1, random_state=seed))
    pd.testing.assert_series_equal(shuffled.sort_index(), found)
    assert 1 < found.nunique() < count


def test_an_empty_table_has_no_transmitter() -> None:
    assert list(transmitters.by_place(sessions())) == []
