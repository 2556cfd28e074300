"""The tables are made once, by files that stay as they were applied."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import migrate, tables
from heimdall.storage.connection import Connection, connect, create_if_missing
from tests.conftest import Services
from tests.storage.example_rows import NOON, RECEIVERS, SOURCES, measurement


def test_migrations_are_applied_once(services: Services) -> None:
    fresh = services.with_database(f"test_{uuid.uuid4().hex}").endpoints
    create_if_missing(fresh)
    create_if_missing(fresh)
    opened = connect(fresh)
    applied = migrate.apply(opened)
    assert applied == sorted(applied)
    assert applied[0] == "001_measurements.sql"
    assert migrate.apply(opened) == []
    opened.close()


def test_a_migration_changed_later_is_refused(connection: Connection) -> None:
    with connection, connection.cursor() as cursor:
        cursor.execute("UPDATE heimdall_migrations SET sha256 = 'other' WHERE name = '001_measurements.sql'")
    with pytest.raises(HeimdallError, match=r"001_measurements\.sql: it was changed"):
        migrate.apply(connection)
    # The lock was given back.
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_a_table_of_the_specification_gets_the_missing_columns(services: Services) -> None:
    older = services.with_database(f"test_{uuid.uuid4().hex}").endpoints
    create_if_missing(older)
    opened = connect(older)
    with opened, opened.cursor() as cursor:
        cursor.execute(
            "CREATE TABLE measurements (id uuid PRIMARY KEY, session_id uuid, websdr_id int, "
            "latitude float8 NOT NULL, longitude float8 NOT NULL, frequency_mhz float8, snr_db float8, "
            '"timestamp" timestamptz, created_at timestamptz)'
        )
        cursor.execute("INSERT INTO measurements (id, latitude, longitude) VALUES (gen_random_uuid(), 45, 8)")
    migrate.apply(opened)
    tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
    assert len(tables.read_approved(opened, NOON)) == 1
    opened.close()


def test_statements_of_the_migrations_fit_timescaledb() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    text = " ".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    assert "REFERENCES" not in text
    assert 'PRIMARY KEY (id, "timestamp")' in text
