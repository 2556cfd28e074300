"""Rows are read within limits of time, in any encoding, from a standby, by a role that may only read."""

from __future__ import annotations

import dataclasses
import time
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import psycopg2
import pyarrow.parquet as pq
import pytest
from psycopg2 import sql

from heimdall.core.errors import HeimdallError
from heimdall.services import lifecycle, postgres, process
from heimdall.storage import (
    approved,
    checking,
    columns,
    connection,
    database_url,
    embedded,
    ingestion,
    migrate,
    sources,
    tables,
)
from heimdall.storage.connection import Connection, DatabaseLost, connect, transaction
from heimdall.storage.endpoints import Database
from heimdall.storage.sources import RowSource
from tests.conftest import Services, free_port_base
from tests.database_rows import QUERIES
from tests.storage.example_rows import NOON, RECEIVERS, SOURCES, measurement

OWN = sources.load("own", QUERIES)


def slow(seconds: float) -> RowSource:
    """Our own tables, read with a pause at each row."""
    select = f"{OWN.measurements} AND pg_sleep({seconds}) IS NOT NULL"
    return dataclasses.replace(OWN, measurements=select)


def test_a_reading_transaction_is_of_one_moment_and_has_limits_of_its_own(connection: Connection) -> None:
    shown = ["transaction_isolation", "transaction_read_only", "statement_timeout", "lock_timeout"]
    shown.append("idle_in_transaction_session_timeout")

    def settings() -> list[str]:
        with connection.cursor() as cursor:
            cursor.execute("SELECT " + ", ".join(f"current_setting('{name}')" for name in shown))
            return list(cursor.fetchone() or ())

    before = settings()
    connection.rollback()
    with transaction(connection, read_only=True):
        assert settings() == ["repeatable read", "on", "5min", "10s", "2min"]
    # Nothing of it stays with the session, which a pooler gives to others.
    assert settings() == before


def test_batches_come_through_a_cursor_of_the_server(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tables.insert(connection, RECEIVERS, SOURCES, [measurement(number) for number in range(1, 26)])
    monkeypatch.setattr(approved, "BATCH_ROWS", 10)
    found = approved.read_from(connection, OWN, NOON, tmp_path / "rows.parquet")
    assert found.count == 25
    assert pq.ParquetFile(tmp_path / "rows.parquet").num_row_groups == 3


def test_a_slow_or_blocked_query_ends_and_says_what_helps(
    database: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    limits = connection._LIMITS.replace("300s", "300ms").replace("'10s'", "'100ms'")
    monkeypatch.setattr(connection, "_LIMITS", limits)
    with closing(connect(database.endpoints.database)) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
        with pytest.raises(HeimdallError, match=r"statement timeout.*less busy.*index"):
            approved.read_from(opened, slow(2), NOON, tmp_path / "rows")
        with closing(connect(database.endpoints.database)) as holder, holder.cursor() as cursor:
            cursor.execute("LOCK TABLE heimdall.measurements IN ACCESS EXCLUSIVE MODE")
            with pytest.raises(HeimdallError, match=r"lock timeout.*pg_stat_activity"):
                approved.read_from(opened, OWN, NOON, tmp_path / "rows")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "EUC_JP"])
def test_names_in_any_encoding_are_read(encoding: str, services: Services, tmp_path: Path) -> None:
    name = f"test_{uuid.uuid4().hex}"
    with closing(connect(services.endpoints.database)) as server:
        server.autocommit = True
        with server.cursor() as cursor:
            cursor.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING '{encoding}' LC_COLLATE 'C' LC_CTYPE 'C'"
            )
    where = services.with_database(name).endpoints.database
    with closing(connect(where)) as opened:
        migrate.apply(opened)
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
        written = {"SQL_ASCII": "E'M\\xfcnchen'", "LATIN1": "'München'", "EUC_JP": "'東京'"}[encoding]
        with transaction(opened) as cursor:
            for statement in (
                "UPDATE heimdall.websdrs SET name = {} WHERE id = 1",
                "UPDATE heimdall.measurements SET source_id = {}",
            ):
                cursor.execute(sql.SQL(statement).format(sql.SQL(written)))
    found = approved.read(where, OWN, NOON, tmp_path / "rows.parquet")
    assert found.receivers is not None
    (expected,) = {"SQL_ASCII": ["M\\xfcnchen"], "LATIN1": ["München"], "EUC_JP": ["東京"]}[encoding]
    assert expected in found.receivers["name"].to_pylist()
    assert pq.read_table(tmp_path / "rows.parquet")["source_id"].to_pylist() == [expected]


def test_a_moment_that_is_not_over_by_the_databases_clock_is_refused_with_the_time_from_which_it_is(
    connection: Connection, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(connection) as cursor:
        now = ingestion.now(cursor)
    approved.read_from(connection, OWN, now - approved.MARGIN - timedelta(seconds=2), tmp_path / "rows")
    soon = now + timedelta(hours=1)
    after = (soon + approved.MARGIN).strftime("%Y-%m-%dT%H:%M:%SZ")
    with pytest.raises(HeimdallError, match=rf"snapshot\.as_of: .*less 60 s.*again after {after}"):
        approved.read_from(connection, OWN, soon, tmp_path / "rows")


def test_rows_are_not_committed_long_after_their_approval(connection: Connection) -> None:
    with transaction(connection) as cursor:
        stamp = ingestion.now(cursor)
        ingestion.refuse_late(cursor, stamp)
        with pytest.raises(HeimdallError, match=r"took 4\d s.*Ingest fewer files"):
            ingestion.refuse_late(cursor, stamp - timedelta(seconds=40))


def test_a_role_that_may_only_read_is_enough_for_everything_but_changes(
    database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    role = f"reader_{uuid.uuid4().hex[:8]}"
    with closing(connect(database.endpoints.database)) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
        with transaction(opened) as cursor:
            cursor.execute(
                sql.SQL(
                    "CREATE ROLE {0} LOGIN PASSWORD 'r'; "
                    "ALTER ROLE {0} SET default_transaction_read_only = on; "
                    "GRANT USAGE ON SCHEMA heimdall TO {0}; "
                    "GRANT SELECT ON ALL TABLES IN SCHEMA heimdall TO {0}"
                ).format(sql.Identifier(role))
            )
    given = database_url.parse(database.endpoints.database.url)
    port, name = given.hosts[0][1], given.parameters["dbname"]
    url = f"postgresql://{role}:r@127.0.0.1:{port}/{name}"
    where = Database(url, embedded=False)
    assert approved.read(where, OWN, NOON, tmp_path / "rows").count == 1
    with closing(connect(where)) as opened:
        assert migrate.apply(opened) == []
        assert {one.verdict for one in checking.check(opened, OWN, NOON)} <= {checking.OK, checking.NULL}
        with pytest.raises(HeimdallError, match="read-only transaction"):
            tables.insert(opened, [], [], [measurement(2)])
    for key, value in (database.env | {"HEIMDALL_DATABASE_URL": url}).items():
        monkeypatch.setenv(key, value)
    said: list[str] = []
    lifecycle.up(tmp_path, said.append)
    assert any("nothing changed there" in line for line in said)
    assert all(one.ready for one in lifecycle.status(tmp_path))


def lost_after(monkeypatch: pytest.MonkeyPatch, times: int, harm: Callable[[Connection], None]) -> list[int]:
    """Harm the first connections in the middle of the reading; the number of tries."""
    tries = [0]
    whole = approved._spool

    def spool(opened: Connection, *rest: object) -> int:
        tries[0] += 1
        if tries[0] <= times:
            harm(opened)
        return whole(opened, *rest)

    monkeypatch.setattr(approved, "_spool", spool)
    monkeypatch.setattr(approved, "READ_PAUSES_S", (0.0, 0.0, 0.0))
    return tries


@pytest.mark.parametrize("state", ["40001", "57P01", "08006"])
def test_a_reading_that_a_server_ends_is_begun_again_a_few_times(
    state: str, database: Services, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with closing(connect(database.endpoints.database)) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])

    def harm(opened: Connection) -> None:
        with opened.cursor() as cursor:
            cursor.execute(f"DO $$ BEGIN RAISE 'conflict with recovery' USING ERRCODE = '{state}'; END $$")

    tries = lost_after(monkeypatch, 2, harm)
    assert approved.read(database.endpoints.database, OWN, NOON, tmp_path / "rows").count == 1
    assert tries == [3]
    tries = lost_after(monkeypatch, 99, harm)
    with pytest.raises(DatabaseLost, match="conflict with recovery"):
        approved.read(database.endpoints.database, OWN, NOON, tmp_path / "rows")
    assert tries == [4]


@pytest.fixture
def standby(database: Services, tmp_path: Path) -> Iterator[Database]:
    """A hot standby of the tests' server, which cancels queries at once."""
    where = database_url.parse(database.endpoints.database.url)
    home = embedded.home(database.root)
    programs, folder = postgres._programs(home), home / postgres.FOLDER
    data, base = folder / f"standby_{uuid.uuid4().hex[:8]}", free_port_base()
    words = where.with_database("postgres")
    done = postgres._run(
        programs / "pg_basebackup", ["-D", str(data), "-R", "-X", "stream", "-c", "fast", "-d", words], folder
    )
    assert done.returncode == 0, done.stderr
    options = f"-p {base} -c max_standby_streaming_delay=0 -c fsync=off -c wal_receiver_status_interval=1s"
    control = programs / "pg_ctl"
    begun = postgres._run(
        control, ["-D", str(data), "-w", "-l", str(folder / "standby.log"), "-o", options, "start"], folder
    )
    try:
        assert begun.returncode == 0, (folder / "standby.log").read_text()
        url = f"postgresql://heimdall:{where.password}@127.0.0.1:{base}/{where.parameters['dbname']}"
        yield Database(url, embedded=False)
    finally:
        postgres._run(control, ["-D", str(data), "-w", "-m", "immediate", "stop"], folder)


def test_a_standby_that_cancels_a_reading_or_lags_gives_the_rows_of_its_primary(
    database: Services, standby: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cancelled: list[str] = []
    whole = approved.read_from

    def read_from(*arguments: object) -> approved.Approved:
        try:
            return whole(*arguments)
        except DatabaseLost as error:
            cancelled.append(error.cause)
            raise

    monkeypatch.setattr(approved, "read_from", read_from)
    with closing(connect(database.endpoints.database)) as primary, ThreadPoolExecutor(1) as pool:
        rows = [measurement(number) for number in range(1, 101)]
        tables.insert(
            primary, RECEIVERS, SOURCES, [*rows, measurement(900, approved=False, approved_at=None)]
        )
        assert process.wait_until(lambda: approved_rows(standby) == 100, 10)
        reading = pool.submit(approved.read, standby, slow(0.02), NOON, tmp_path / "rows")
        time.sleep(0.7)
        with transaction(primary) as cursor:
            cursor.execute("DELETE FROM heimdall.measurements WHERE NOT approved")
        primary.autocommit = True
        with primary.cursor() as cursor:
            cursor.execute("VACUUM heimdall.measurements")
        assert reading.result().count == 100
        assert cancelled
        assert all("conflict with recovery" in cause for cause in cancelled)
        # Its clock is that of the last commit it got: an idle primary and a lost one look alike.
        with closing(connect(standby)) as opened:
            monkeypatch.setattr(approved, "MARGIN", timedelta(0))
            later = datetime.now(UTC)
            with pytest.raises(HeimdallError, match=r"last commit that this standby.*pg_current_xact_id"):
                whole(opened, OWN, later, tmp_path / "rows")
            with primary.cursor() as cursor:
                cursor.execute("SELECT pg_current_xact_id()")
            assert process.wait_until(lambda: approved.latest(standby) > later - timedelta(seconds=1), 10)
            whole(opened, OWN, later - timedelta(seconds=1), tmp_path / "rows")


def test_a_standby_that_got_no_commit_yet_says_so(standby: Database) -> None:
    with pytest.raises(HeimdallError, match=r"got no commit since it was started.*on the primary"):
        approved.latest(standby)


ODD = """
SELECT 1 AS id, gen_random_uuid() AS session_id, 1 AS websdr_id, 45.0 AS latitude, 7.0 AS longitude,
    145.5 AS frequency_mhz, 192000.0 AS sample_rate_hz, false AS simulated, {} FROM generate_series(1, 1)"""
TIMES = "'2025-12-01Z'::timestamptz AS \"timestamp\", '2025-12-02Z'::timestamptz AS approved_at"


@pytest.mark.parametrize(
    ("kind", "read"),
    [("numeric(22,2)", 1451260818123456789), ("float8", None), ("text", 1451260818123456789)],
)
def test_a_gps_time_is_read_to_the_nanosecond_or_not_at_all(
    kind: str, read: int | None, connection: Connection, tmp_path: Path
) -> None:
    select = ODD.format(f"{TIMES}, '1451260818123456789'::{kind} AS start_gps_ns")
    source = dataclasses.replace(OWN, measurements=select)
    approved.read_from(connection, source, NOON, tmp_path / "rows")
    (row,) = pq.read_table(tmp_path / "rows").to_pylist()
    assert row["start_gps_ns"] == read
    assert (row[columns.UNREADABLE] is None) == (read is not None)


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("'2025-12-01T12:00:00Z'::text", "...::timestamptz"),
        ("1764590400000::bigint", "to_timestamp(... / 1000.0)"),
        ("'2025-12-01 12:00'::timestamp", "... AT TIME ZONE 'UTC'"),
    ],
)
def test_what_is_said_of_a_time_in_another_type_helps(
    value: str, told: str, connection: Connection, tmp_path: Path
) -> None:
    given = f"{value} AS \"timestamp\", '2025-12-02Z'::timestamptz AS approved_at"
    source = dataclasses.replace(OWN, measurements=ODD.format(given))
    with pytest.raises(HeimdallError) as caught:
        approved.read_from(connection, source, NOON, tmp_path / "rows")
    assert f'`{told} AS "timestamp"`' in caught.value.cause
    followed = ODD.format(given).replace(value, told.replace("...", value))
    source = dataclasses.replace(OWN, measurements=followed)
    approved.read_from(connection, source, NOON, tmp_path / "rows")
    (row,) = pq.read_table(tmp_path / "rows").to_pylist()
    assert row["timestamp"] == datetime(2025, 12, 1, 12, tzinfo=UTC)


def test_digits_of_a_number_are_read_whatever_the_database_has_set(
    database: Services, tmp_path: Path
) -> None:
    with closing(connect(database.endpoints.database)) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1, longitude_deg=7.123456789012345)])
        with transaction(opened) as cursor:
            cursor.execute("SELECT quote_ident(current_database())")
            ((name,),) = cursor.fetchall()
            cursor.execute(f"ALTER DATABASE {name} SET extra_float_digits = -10")
    approved.read(database.endpoints.database, OWN, NOON, tmp_path / "rows")
    (row,) = pq.read_table(tmp_path / "rows").to_pylist()
    assert row["longitude_deg"] == 7.123456789012345


def test_an_approval_that_never_comes_is_counted(connection: Connection, tmp_path: Path) -> None:
    tables.insert(connection, RECEIVERS, SOURCES, [measurement(1)])
    with transaction(connection) as cursor:
        cursor.execute("UPDATE heimdall.measurements SET approved_at = 'infinity'")
    found = approved.read_from(connection, OWN, NOON, tmp_path / "rows")
    assert (found.count, found.undated) == (0, 1)


# Two texts of different collations make one of none, by which PostgreSQL orders only if it is told how.
UNORDERED = """
CREATE SCHEMA team;
CREATE TABLE team.m (number text COLLATE "C", nothing text COLLATE "POSIX", snr float8, key text);
INSERT INTO team.m VALUES ('b', '', 1, 'z'), ('B', '', 2, 'z'), ('a', '', 3, 'z'), ('a', '', 3, 'y')"""


def test_rows_are_in_one_order_however_the_table_and_its_database_order_them(
    connection: Connection, tmp_path: Path
) -> None:
    select = ODD.format(f"{TIMES}, m.snr AS snr_db, m.key AS object_key")
    select = select.replace("SELECT 1 AS id", "SELECT m.number || m.nothing AS id")
    select = select.replace("gen_random_uuid()", "'x' || m.nothing").replace("(1, 1)", "(1, 1), team.m AS m")
    source = dataclasses.replace(OWN, measurements=select)

    def read() -> list[tuple[object, ...]]:
        approved.read_from(connection, source, NOON, tmp_path / "rows")
        rows = pq.read_table(tmp_path / "rows").to_pylist()
        return [(row["measurement_id"], row["snr_db"], row["object_key"]) for row in rows]

    with transaction(connection) as cursor:
        cursor.execute(UNORDERED)
    expected = [("B", 2.0, "z"), ("a", 3.0, "y"), ("a", 3.0, "z"), ("b", 1.0, "z")]
    assert read() == expected
    with transaction(connection) as cursor:
        cursor.execute("UPDATE team.m SET snr = snr WHERE key = 'y'")  # it lies at the end now
        cursor.execute("UPDATE team.m SET snr = snr WHERE key = 'z'")
    assert read() == expected


def approved_rows(where: Database) -> int:
    try:
        with closing(connect(where)) as opened, opened.cursor() as cursor:
            cursor.execute("SELECT count(*) FROM heimdall.measurements WHERE approved")
            ((count,),) = cursor.fetchall()
            return int(count)
    except psycopg2.Error:
        return -1
