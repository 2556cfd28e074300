"""Rows in and out of a real PostgreSQL."""

from __future__ import annotations

import dataclasses
import uuid
from datetime import timedelta

import pandas as pd
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import columns, tables
from heimdall.storage.connection import Connection, connect, transaction, use_own_tables
from tests.conftest import Services
from tests.database_rows import read_approved
from tests.storage.example_rows import NOON, RECEIVERS, SESSION, SOURCES, measurement


def test_rows_come_back_as_they_went_in(connection: Connection) -> None:
    bare = measurement(
        2, websdr_id=2, snr_db=None, source_id=None, start_gps_ns=None, timing_sigma_ns=None, simulated=False
    )
    tables.insert(connection, RECEIVERS, SOURCES, [measurement(1), bare])
    assert tables.read_receivers(connection) == sorted(RECEIVERS, key=lambda receiver: receiver.websdr_id)
    frame = read_approved(connection, NOON)
    full = frame.iloc[0]
    assert full["measurement_id"] == str(uuid.UUID(int=1))
    assert (full["session_id"], full["websdr_id"]) == (SESSION, 1)
    assert (full["latitude_deg"], full["longitude_deg"], full["frequency_mhz"]) == (45.1, 8.2, 145.5)
    assert (full["snr_db"], full["sample_rate_hz"], full["timing_sigma_ns"]) == (12.5, 192_000.0, 50.0)
    assert (full["timestamp"], full["approved_at"]) == (NOON - timedelta(hours=1), NOON)
    assert (full["source_id"], full["modulation"], full["simulated"]) == ("beacon", "cw", True)
    # Above 2**53, and beside a NULL: no detour through floating point.
    assert full["start_gps_ns"] == 1_451_000_000_123_456_789
    empty = frame.iloc[1]
    assert not empty["simulated"]
    missing = [
        "source_id",
        "modulation",
        "snr_db",
        "start_gps_ns",
        "timing_sigma_ns",
        "object_key",
        "unreadable",
    ]
    assert empty[missing].isna().all()


def test_no_rows_give_the_same_columns(connection: Connection) -> None:
    frame = read_approved(connection, NOON)
    assert len(frame) == 0
    assert frame.columns.tolist() == columns.schema(columns.MEASUREMENTS).names


def test_only_what_was_approved_by_then(connection: Connection) -> None:
    microsecond = timedelta(microseconds=1)
    rows = [
        measurement(1),
        measurement(2, approved_at=NOON + microsecond),
        measurement(3, approved=False, approved_at=None),
        measurement(4, approved=False),
        measurement(5, approved_at=None),
    ]
    tables.insert(connection, [], [], rows)
    assert read_approved(connection, NOON)["measurement_id"].tolist() == [str(uuid.UUID(int=1))]
    assert len(read_approved(connection, NOON + microsecond)) == 2
    assert len(read_approved(connection, NOON - microsecond)) == 0


def test_the_order_does_not_depend_on_insertion(connection: Connection) -> None:
    early, other = NOON - timedelta(days=1), str(uuid.UUID(int=8))
    rows = [
        measurement(1, approved_at=early, session_id=other),
        measurement(2),
        measurement(3),  # same session and receiver: a duplicate can be stored
        measurement(4, websdr_id=2),
        measurement(5, session_id=other),
    ]
    tables.insert(connection, [], [], rows[::-1])
    assert read_approved(connection, NOON)["measurement_id"].tolist() == [row.measurement_id for row in rows]


def test_insert_is_idempotent_and_leaves_what_is_there(connection: Connection) -> None:
    tables.insert(connection, RECEIVERS, SOURCES, [measurement(1)])
    renamed = [dataclasses.replace(RECEIVERS[0], name="other")]
    tables.insert(connection, renamed, SOURCES, [measurement(1, latitude_deg=0.0), measurement(2)])
    assert read_approved(connection, NOON)["latitude_deg"].tolist() == [45.1, 45.1]
    assert {receiver.name for receiver in tables.read_receivers(connection)} == {"Milano", "Torino"}


def test_insert_is_one_transaction(connection: Connection) -> None:
    with pytest.raises(HeimdallError, match="invalid input syntax for type uuid"):
        tables.insert(connection, RECEIVERS, SOURCES, [measurement(1), measurement(2, session_id="../etc")])
    assert tables.read_receivers(connection) == []


def test_values_are_bound_not_spliced(connection: Connection) -> None:
    name = "'); DROP TABLE measurements; --"
    tables.insert(connection, [dataclasses.replace(RECEIVERS[0], name=name)], [], [])
    assert tables.read_receivers(connection)[0].name == name
    assert len(read_approved(connection, NOON)) == 0


def test_impossible_rows_can_be_stored_and_read(connection: Connection) -> None:
    tables.insert(
        connection, [], [], [measurement(1, latitude_deg=float("nan"), longitude_deg=999.0, websdr_id=77)]
    )
    with transaction(connection) as cursor:
        use_own_tables(cursor)
        for number, time in ((2, "infinity"), (3, "-infinity"), (4, "20000-01-01"), (5, "9999-12-30")):
            cursor.execute(
                "INSERT INTO measurements (id, session_id, websdr_id, latitude, longitude, frequency_mhz, "
                '"timestamp", approved, approved_at) VALUES (%s, %s, 1, 1, 1, 1, %s, true, %s)',
                (str(uuid.UUID(int=number)), SESSION, time, NOON),
            )
    frame = read_approved(connection, NOON).sort_values("measurement_id")
    assert frame["timestamp"].isna().tolist() == [False, True, True, True, False]
    assert pd.isna(frame["latitude_deg"].iloc[0])
    assert (frame["longitude_deg"].iloc[0], frame["websdr_id"].iloc[0]) == (999.0, 77)


def test_snapshot_rows_are_of_one_moment_and_read_only(database: Services, connection: Connection) -> None:
    tables.insert(connection, RECEIVERS, SOURCES, [measurement(1)])
    reader = connect(database.endpoints.database)
    with transaction(reader, read_only=True) as cursor:
        use_own_tables(cursor)
        cursor.execute("SELECT count(*) FROM measurements")
        tables.insert(connection, [], [], [measurement(2)])
        cursor.execute("SELECT count(*) FROM measurements")
        assert cursor.fetchone() == (1,)
    with (
        pytest.raises(HeimdallError, match="read-only transaction"),
        transaction(reader, read_only=True) as cursor,
    ):
        use_own_tables(cursor)
        cursor.execute("DELETE FROM measurements")
    # The connection is as before.
    tables.insert(reader, [], [], [measurement(3)])
    assert len(read_approved(reader, NOON)) == 3
    reader.close()
