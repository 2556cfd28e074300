"""Each kind of bad row is found, named, and does not take good rows with it."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall.pipeline.snapshot import checked, schemas
from heimdall.storage.columns import MEASUREMENTS
from heimdall.storage.columns import RECEIVERS as RECEIVERS_COLUMNS
from tests import REPOSITORY

APPROVED = pd.Timestamp("2026-01-03T00:00:00Z")
RECEIVERS = [1, 2, 3]


def session(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012x}"


def rows() -> pd.DataFrame:
    """Two sessions of three receivers each, all good."""
    table = [
        {
            "measurement_id": f"m{number}{receiver}",
            "session_id": session(number),
            "websdr_id": receiver,
            "latitude_deg": 45.0 + number,
            "longitude_deg": 8.0,
            "frequency_mhz": 145.5,
            "snr_db": None,
            "timestamp": APPROVED - pd.Timedelta(hours=1),
            "approved_at": APPROVED,
            "sample_rate_hz": 192_000.0,
            "source_id": "tx" if number else None,
            "timing_sigma_ns": 50.0 if receiver < 3 else float("nan"),
        }
        for number in range(2)
        for receiver in RECEIVERS
    ]
    return pd.DataFrame(table)


def faults(table: pd.DataFrame, batch_rows: int = 2) -> list[tuple[int, str]]:
    """Position and reason of each bad row; the rows come in batches."""
    batches = [table.iloc[start : start + batch_rows] for start in range(0, len(table), batch_rows)]
    reasons, order = checked.check(batches, len(table), RECEIVERS)
    bad = np.flatnonzero(reasons.bad)
    assert sorted([*bad, *order]) == list(range(len(table)))
    return list(zip(bad.tolist(), reasons.of(bad), strict=True))


def test_good_rows_have_no_fault() -> None:
    assert faults(rows()) == []


@pytest.mark.parametrize(
    ("column", "value", "reason"),
    [
        ("latitude_deg", 90.5, schemas.BAD_POSITION),
        ("latitude_deg", float("nan"), schemas.BAD_POSITION),
        ("longitude_deg", -180.1, schemas.BAD_POSITION),
        ("longitude_deg", None, schemas.BAD_POSITION),
        ("longitude_deg", float("inf"), schemas.BAD_POSITION),
        ("websdr_id", 99, schemas.UNKNOWN_RECEIVER),
        ("timestamp", APPROVED + pd.Timedelta(seconds=1), schemas.IMPOSSIBLE_TIME),
        ("timestamp", pd.Timestamp("1999-12-31T23:59:59Z"), schemas.IMPOSSIBLE_TIME),
        ("timestamp", pd.NaT, schemas.IMPOSSIBLE_TIME),
        ("session_id", "../../etc/passwd", schemas.BAD_SESSION_ID),
        ("session_id", session(1).replace("8", "A"), schemas.BAD_SESSION_ID),
        ("session_id", session(1) + "\n", schemas.BAD_SESSION_ID),
        ("sample_rate_hz", 0.0, schemas.BAD_SAMPLE_RATE),
        ("sample_rate_hz", float("nan"), schemas.BAD_SAMPLE_RATE),
        ("sample_rate_hz", float("inf"), schemas.BAD_SAMPLE_RATE),
        ("sample_rate_hz", 20e6, schemas.BAD_SAMPLE_RATE),
        ("frequency_mhz", -145.0, schemas.BAD_FREQUENCY),
        ("timing_sigma_ns", -1.0, schemas.BAD_TIMING),
        ("timing_sigma_ns", float("inf"), schemas.BAD_TIMING),
    ],
)
def test_bad_value_condemns_its_row_alone(column: str, value: Any, reason: str) -> None:  # noqa: ANN401
    table = rows()
    table.loc[4, column] = value
    assert faults(table) == [(4, reason)]


def test_both_of_two_rows_for_one_recording_are_out() -> None:
    table = pd.concat([rows(), rows().iloc[[1]].assign(measurement_id="again", latitude_deg=44.0)])
    assert faults(table) == [(1, schemas.DUPLICATE), (6, schemas.DUPLICATE)]


@pytest.mark.parametrize(
    ("column", "value"), [("latitude_deg", 45.2), ("source_id", "other"), ("source_id", None)]
)
def test_session_at_two_places_or_of_two_sources_is_out(column: str, value: object) -> None:
    table = rows()
    table.loc[5, column] = value
    assert faults(table) == [(row, schemas.INCONSISTENT_SESSION) for row in (3, 4, 5)]


@pytest.mark.parametrize(
    ("column", "value", "is_one"),
    [
        ("frequency_mhz", 7.1, False),
        ("frequency_mhz", 145.51, True),
        ("timestamp", APPROVED - pd.Timedelta(hours=4), False),
        ("timestamp", APPROVED - pd.Timedelta(minutes=61), True),
    ],
)
def test_session_of_other_times_or_frequencies_is_no_transmission(
    column: str, value: object, is_one: bool
) -> None:
    table = rows()
    table.loc[5, column] = value
    expected = [] if is_one else [(row, schemas.NOT_ONE_TRANSMISSION) for row in (3, 4, 5)]
    assert faults(table) == expected


@pytest.mark.parametrize(
    ("off_s", "is_bad"),
    [(3 * 86_400, False), (-3 * 86_400, False), (7 * 86_400 - 30, True), (-1024 * 7 * 86_400, True)],
    ids=["a row written days later", "days before", "a week", "a rollover of the week"],
)
def test_a_start_that_is_weeks_off_or_in_unix_time_is_no_gps_start(off_s: int, is_bad: bool) -> None:
    gps_ns = int(APPROVED.timestamp() - 3600 - 315_964_800 + 18) * 10**9
    table = rows().assign(start_gps_ns=pd.array([gps_ns] * 6, "Int64"))
    table.loc[2, "start_gps_ns"] = gps_ns + 315_964_800 * 10**9
    table.loc[4, "start_gps_ns"] = gps_ns + off_s * 10**9
    assert faults(table) == [(row, schemas.BAD_TIMING) for row in (2, 4) if row == 2 or is_bad]


@pytest.mark.parametrize("seed", range(6))
def test_what_compares_rows_is_what_comparing_all_at_once_gives(seed: int) -> None:
    """Two rows for one recording, sessions that are not one, and the order, in batches of any size."""
    random = np.random.default_rng(seed)
    count = 300
    sessions = random.integers(0, 60, count)
    table = pd.DataFrame(
        {
            "measurement_id": [f"m{number}" for number in range(count)],
            "session_id": [
                session(0) if number == 0 else str(uuid.UUID(int=int(number) * 7919**9 % 2**128, version=4))
                for number in sessions
            ],
            "websdr_id": pd.array(random.integers(1, 21, count), "Int64"),
            "latitude_deg": np.where(random.random(count) < 0.03, 95.0, 45.0 + sessions % 3 / 10),
            "longitude_deg": np.where(random.random(count) < 0.03, 9.0, 8.0),
            "frequency_mhz": 145.5,
            "snr_db": 7.0,
            "timestamp": APPROVED - pd.Timedelta(days=2),
            "approved_at": APPROVED - pd.to_timedelta(random.integers(0, 5, count), "h"),
            "sample_rate_hz": 192_000.0,
            "source_id": np.where(sessions % 5 == 0, None, "tx"),
            "timing_sigma_ns": 50.0,
        }
    )
    table.loc[random.random(count) < 0.02, "session_id"] = "none"
    table.loc[random.random(count) < 0.02, "approved_at"] = pd.NaT
    table.loc[random.random(count) < 0.02, "source_id"] = "other"
    batches = [table.iloc[start : start + 7 + seed] for start in range(0, count, 7 + seed)]
    reasons, order = checked.check(batches, count, range(1, 20))

    row_alone = np.array([bool(reason) for reason in reasons.of(np.arange(count))])
    compared = np.isin(reasons.of(np.arange(count)), [schemas.DUPLICATE, schemas.INCONSISTENT_SESSION])
    rest = table[~row_alone | compared]
    twice = table.duplicated(["session_id", "websdr_id"], keep=False)[rest.index]
    assert list(rest.index[twice]) == list(np.flatnonzero(np.isin(reasons.of(np.arange(count)), "duplicate")))
    groups = rest[~twice].groupby("session_id")[["latitude_deg", "longitude_deg", "source_id"]]
    one = (groups.transform("nunique", dropna=False) == 1).all(axis=1)
    rank = table.groupby("session_id")["approved_at"].transform("min")
    good = rest[~twice][one].assign(rank=rank).sort_values(["rank", "session_id", "websdr_id"])
    assert list(order) == list(good.index)
    assert {schemas.BAD_POSITION, schemas.DUPLICATE, schemas.INCONSISTENT_SESSION} < set(reasons.counts())


def test_row_with_several_faults_is_named_once_by_the_first() -> None:
    table = rows()
    table.loc[0, ["websdr_id", "latitude_deg", "frequency_mhz"]] = [7, 95.0, 0.0]
    assert faults(table) == [(0, schemas.UNKNOWN_RECEIVER)]


def test_detail_holds_the_value_or_says_that_there_is_none() -> None:
    table = rows()
    table.loc[2, "latitude_deg"] = 95.0
    table.loc[2, ["longitude_deg", "timestamp"]] = None
    (row,) = table.iloc[[2]].to_dict("records")
    assert schemas.detail(schemas.BAD_POSITION, row) == "latitude 95.0, longitude no value"
    assert schemas.detail(schemas.IMPOSSIBLE_TIME, row) == f"made at no value, approved at {APPROVED}"
    empty = dict.fromkeys(row)
    for reason in schemas._ORDER[1:8]:
        assert not {"nan", "None", "NaT", "<NA>"} & set(schemas.detail(reason, empty).split())


def documented(part: str) -> list[list[str]]:
    """The rows of a table in docs/postgresql.md without their last column."""
    text = (REPOSITORY / "docs/postgresql.md").read_text(encoding="utf-8")
    table = text.split(f"\n`-- {part}`")[1].split("\n\n")[1]
    return [[cell.strip(" `") for cell in line.split("|")[1:5]] for line in table.splitlines()[2:]]


def test_the_documents_columns_are_those_of_a_select_and_its_nulls_are_allowed() -> None:
    words = {"truth": "boolean", "time": "timestamptz"}
    for part, columns in (("measurements", MEASUREMENTS), ("receivers", RECEIVERS_COLUMNS)):
        found = documented(part)
        assert [row[:3] for row in found] == [
            [column.name, words.get(column.kind, column.kind), "no" if column.required else "yes"]
            for column in columns
        ]
        for column, (*_, null) in zip(columns, found, strict=True):
            assert null == ("yes" if may_be_null(part, column.ours) else "no"), column.name


def may_be_null(part: str, column: str) -> bool:
    if part == "receivers":
        place = {"websdr_id": 1, "name": "a", "latitude_deg": 45.0, "longitude_deg": 8.0, "altitude_m": 0.0}
        return len(schemas.valid_receivers(pd.DataFrame([place | {column: None}]))) == 1
    table = rows().assign(simulated=False, object_key=None, modulation=None, start_gps_ns=None)
    table["source_id"] = None if column == "source_id" else table["source_id"]
    table[column] = table[column].where(table.index != 4)
    return faults(table) == []


def test_every_row_may_be_bad() -> None:
    table = rows().assign(latitude_deg=95.0)
    assert faults(table) == [(row, schemas.BAD_POSITION) for row in range(6)]


def test_receivers_without_a_position_on_earth_are_no_receivers() -> None:
    receivers = pd.DataFrame(
        {
            "websdr_id": [3, 1, 2, 4],
            "name": list("cabd"),
            "latitude_deg": [45.0, 95.0, 44.0, 44.0],
            "longitude_deg": [8.0, 8.0, float("nan"), 9.0],
            "altitude_m": [100.0, 100.0, 100.0, -100.0],
        }
    )
    assert schemas.valid_receivers(receivers)["websdr_id"].tolist() == [3, 4]
