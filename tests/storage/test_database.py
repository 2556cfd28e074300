"""Rows in and out of a real PostgreSQL, its migrations, and what happens when it is not there."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pandas as pd
import psycopg2
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import database as db
from heimdall.storage.database import Connection, Measurement, Receiver, Source
from tests.conftest import Services

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
SESSION = str(uuid.UUID(int=7))
RECEIVERS = [Receiver(2, "Milano", 45.46, 9.19, 122.0), Receiver(1, "Torino", 45.07, 7.69, 239.0)]
SOURCES = [Source("beacon", "A beacon", "cw"), Source("unknown-modulation", "Another", None)]


def measurement(number: int, **changes: object) -> Measurement:
    plain = Measurement(
        measurement_id=str(uuid.UUID(int=number)),
        session_id=SESSION,
        websdr_id=1,
        latitude_deg=45.1,
        longitude_deg=8.2,
        frequency_mhz=145.5,
        snr_db=12.5,
        timestamp=NOON - timedelta(hours=1),
        created_at=NOON,
        approved=True,
        approved_at=NOON,
        sample_rate_hz=192_000.0,
        source_id="beacon",
        start_gps_ns=1_451_000_000_123_456_789,
        timing_sigma_ns=50.0,
        simulated=True,
    )
    return dataclasses.replace(plain, **changes)


@pytest.fixture
def connection(database: Services) -> Iterator[Connection]:
    opened = db.connect(database.endpoints)
    yield opened
    opened.close()


def test_migrations_are_applied_once(services: Services) -> None:
    fresh = services.with_database(f"test_{uuid.uuid4().hex}").endpoints
    db.create_if_missing(fresh)
    db.create_if_missing(fresh)
    opened = db.connect(fresh)
    applied = db.migrate(opened)
    assert applied == sorted(applied)
    assert applied[0] == "001_measurements.sql"
    assert db.migrate(opened) == []
    opened.close()


def test_a_migration_changed_later_is_refused(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE heimdall_migrations SET sha256 = 'other' WHERE name = '001_measurements.sql'")
    with pytest.raises(HeimdallError, match=r"001_measurements\.sql: it was changed"):
        db.migrate(connection)
    # The lock was given back.
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_a_table_of_the_specification_gets_the_missing_columns(services: Services) -> None:
    older = services.with_database(f"test_{uuid.uuid4().hex}").endpoints
    db.create_if_missing(older)
    opened = db.connect(older)
    with opened, opened.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE measurements (id uuid PRIMARY KEY, session_id uuid, websdr_id int, "
            "latitude float8 NOT NULL, longitude float8 NOT NULL, frequency_mhz float8, snr_db float8, "
            '"timestamp" timestamptz, created_at timestamptz)'
        )
        cursor.execute("INSERT INTO measurements (id, latitude, longitude) VALUES (gen_random_uuid(), 45, 8)")
    db.migrate(opened)
    db.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
    assert len(db.read_approved(opened, NOON)) == 1
    opened.close()


def test_rows_come_back_as_they_went_in(connection: Connection) -> None:
    bare = measurement(
        2, websdr_id=2, snr_db=None, source_id=None, start_gps_ns=None, timing_sigma_ns=None, simulated=False
    )
    db.insert(connection, RECEIVERS, SOURCES, [measurement(1), bare])
    assert db.read_receivers(connection) == sorted(RECEIVERS, key=lambda receiver: receiver.websdr_id)
    frame = db.read_approved(connection, NOON)
    assert frame.columns.tolist() == list(db.COLUMN_DTYPES)
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == db.COLUMN_DTYPES
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
    assert empty["source_id"] is None
    assert empty["modulation"] is None
    assert not empty["simulated"]
    assert empty[["snr_db", "start_gps_ns", "timing_sigma_ns"]].isna().all()


def test_no_rows_give_the_same_columns(connection: Connection) -> None:
    frame = db.read_approved(connection, NOON)
    assert len(frame) == 0
    assert {name: str(dtype) for name, dtype in frame.dtypes.items()} == db.COLUMN_DTYPES


def test_only_what_was_approved_by_then(connection: Connection) -> None:
    microsecond = timedelta(microseconds=1)
    rows = [
        measurement(1),
        measurement(2, approved_at=NOON + microsecond),
        measurement(3, approved=False, approved_at=None),
        measurement(4, approved=False),
        measurement(5, approved_at=None),
    ]
    db.insert(connection, [], [], rows)
    assert db.read_approved(connection, NOON)["measurement_id"].tolist() == [str(uuid.UUID(int=1))]
    assert len(db.read_approved(connection, NOON + microsecond)) == 2
    assert len(db.read_approved(connection, NOON - microsecond)) == 0


def test_the_order_does_not_depend_on_insertion(connection: Connection) -> None:
    early, other = NOON - timedelta(days=1), str(uuid.UUID(int=8))
    rows = [
        measurement(1, approved_at=early, session_id=other),
        measurement(2),
        measurement(3),  # same session and receiver: a duplicate can be stored
        measurement(4, websdr_id=2),
        measurement(5, session_id=other),
    ]
    db.insert(connection, [], [], rows[::-1])
    assert db.read_approved(connection, NOON)["measurement_id"].tolist() == [
        row.measurement_id for row in rows
    ]


def test_insert_is_idempotent_and_leaves_what_is_there(connection: Connection) -> None:
    db.insert(connection, RECEIVERS, SOURCES, [measurement(1)])
    renamed = [dataclasses.replace(RECEIVERS[0], name="other")]
    db.insert(connection, renamed, SOURCES, [measurement(1, latitude_deg=0.0), measurement(2)])
    assert db.read_approved(connection, NOON)["latitude_deg"].tolist() == [45.1, 45.1]
    assert {receiver.name for receiver in db.read_receivers(connection)} == {"Milano", "Torino"}


def test_insert_is_one_transaction(connection: Connection) -> None:
    with pytest.raises(HeimdallError, match="invalid input syntax for type uuid"):
        db.insert(connection, RECEIVERS, SOURCES, [measurement(1), measurement(2, session_id="../etc")])
    assert db.read_receivers(connection) == []


def test_values_are_bound_not_spliced(connection: Connection) -> None:
    name = "'); DROP TABLE measurements; --"
    db.insert(connection, [dataclasses.replace(RECEIVERS[0], name=name)], [], [])
    assert db.read_receivers(connection)[0].name == name
    assert len(db.read_approved(connection, NOON)) == 0


def test_impossible_rows_can_be_stored_and_read(connection: Connection) -> None:
    db.insert(
        connection, [], [], [measurement(1, latitude_deg=float("nan"), longitude_deg=999.0, websdr_id=77)]
    )
    with connection, connection.cursor() as cursor:
        for number, time in ((2, "infinity"), (3, "-infinity"), (4, "20000-01-01"), (5, "9999-12-30")):
            cursor.execute(
                "INSERT INTO measurements (id, session_id, websdr_id, latitude, longitude, frequency_mhz, "
                '"timestamp", approved, approved_at) VALUES (%s, %s, 1, 1, 1, 1, %s, true, %s)',
                (str(uuid.UUID(int=number)), SESSION, time, NOON),
            )
    frame = db.read_approved(connection, NOON).sort_values("measurement_id")
    assert frame["timestamp"].isna().tolist() == [False, True, True, True, False]
    assert pd.isna(frame["latitude_deg"].iloc[0])
    assert (frame["longitude_deg"].iloc[0], frame["websdr_id"].iloc[0]) == (999.0, 77)


def test_snapshot_rows_are_of_one_moment_and_read_only(database: Services, connection: Connection) -> None:
    db.insert(connection, RECEIVERS, SOURCES, [measurement(1)])
    receivers, frame = db.read_snapshot_rows(database.endpoints, NOON)
    assert (len(receivers), len(frame)) == (2, 1)
    reader = db.connect(database.endpoints)
    with db.snapshot(reader) as cursor:
        cursor.execute("SELECT count(*) FROM measurements")
        db.insert(connection, [], [], [measurement(2)])
        cursor.execute("SELECT count(*) FROM measurements")
        assert cursor.fetchone() == (1,)
    with pytest.raises(HeimdallError, match="read-only transaction"), db.snapshot(reader) as cursor:
        cursor.execute("DELETE FROM measurements")
    # The connection is as before.
    db.insert(reader, [], [], [measurement(3)])
    assert len(db.read_approved(reader, NOON)) == 3
    reader.close()


def test_a_server_lost_in_between_is_one_clear_error(database: Services, connection: Connection) -> None:
    killer = db.connect(database.endpoints)
    with killer, killer.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (connection.info.backend_pid,))
    killer.close()
    for _ in range(2):  # while the loss is noticed, and after
        with pytest.raises(HeimdallError, match=database.endpoints.database_name) as caught:
            db.read_approved(connection, NOON)
        assert "\n" not in str(caught.value)


def test_missing_tables_say_what_to_do(services: Services) -> None:
    empty = services.with_database(f"test_{uuid.uuid4().hex}").endpoints
    db.create_if_missing(empty)
    opened = db.connect(empty)
    with pytest.raises(HeimdallError, match=r'"measurements" does not exist.*heimdall services up'):
        db.read_approved(opened, NOON)
    opened.close()


def test_wrong_password_unknown_database_and_no_server(services: Services) -> None:
    good = services.endpoints
    password = good.database_url.split(":")[2].split("@")[0]
    wrong = dataclasses.replace(good, database_url=good.database_url.replace(password, "s3cret"))
    with pytest.raises(HeimdallError, match="authentication failed") as caught:
        db.connect(wrong)
    assert "s3cret" not in str(caught.value)
    with pytest.raises(HeimdallError, match=r'"nowhere" does not exist'):
        db.connect(services.with_database("nowhere").endpoints)
    nobody = dataclasses.replace(good, database_url="postgresql://user:s3cret@127.0.0.1:1/radio")
    with pytest.raises(HeimdallError, match=r"127\.0\.0\.1:1/radio: Connection refused") as caught:
        db.connect(nobody)
    assert "s3cret" not in str(caught.value)


def test_a_url_that_libpq_refuses_is_not_repeated(services: Services) -> None:
    odd = dataclasses.replace(
        services.endpoints, database_url="postgresql://user:s3cret@host/name?nonsense=1"
    )
    with pytest.raises(HeimdallError, match="not understood") as caught:
        db.connect(odd)
    assert "s3cret" not in str(caught.value)


def test_statements_of_the_migrations_fit_timescaledb() -> None:
    folder = Path(db.__file__).parent / "migrations"
    text = " ".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    assert "REFERENCES" not in text
    assert 'PRIMARY KEY (id, "timestamp")' in text


def test_the_driver_is_psycopg2s(connection: Connection) -> None:
    assert isinstance(connection, psycopg2.extensions.connection)
    with connection.cursor() as cursor:
        cursor.execute("SHOW timezone")
        assert cursor.fetchone() == ("UTC",)
