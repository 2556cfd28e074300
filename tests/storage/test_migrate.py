"""Our own tables are made once, in a schema of their own; nobody else's are touched."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from psycopg2 import sql
from psycopg2.extensions import make_dsn

from heimdall.core.errors import HeimdallError
from heimdall.storage import migrate, tables
from heimdall.storage.connection import Connection, connect, create_if_missing, transaction
from heimdall.storage.endpoints import Database
from tests.conftest import Services
from tests.database_rows import read_approved
from tests.storage.example_rows import NOON, RECEIVERS, SOURCES, measurement

# The specification's own, and one of another shape.
SPECIFIED = (
    "CREATE TABLE public.measurements (id serial PRIMARY KEY, session_id uuid, websdr_id int, "
    "latitude float8 NOT NULL, longitude float8 NOT NULL, frequency_mhz float8, snr_db float8, "
    '"timestamp" timestamptz, created_at timestamptz DEFAULT now())'
)
OTHER = "CREATE TABLE public.measurements (sensor text, value numeric)"


@pytest.fixture
def empty(services: Services) -> Database:
    """A database without tables."""
    made = services.with_database(f"test_{uuid.uuid4().hex}").endpoints.database
    create_if_missing(made)
    return made


@pytest.fixture
def opened(empty: Database) -> Iterator[Connection]:
    with closing(connect(empty)) as connection:
        yield connection


def execute(connection: Connection, *statements: str) -> None:
    with transaction(connection) as cursor:
        for statement in statements:
            cursor.execute(statement)


def relations(connection: Connection) -> list[str]:
    with transaction(connection) as cursor:
        cursor.execute(
            "SELECT nspname || '.' || relname FROM pg_class JOIN pg_namespace ON relnamespace = "
            "pg_namespace.oid WHERE relkind = 'r' AND nspname !~ '^(pg_|information_schema)' ORDER BY 1"
        )
        return [name for (name,) in cursor.fetchall()]


def as_earlier_revisions(connection: Connection, *files: str) -> None:
    """The tables as they were made in public: each file, recorded with its hash."""
    execute(
        connection,
        "CREATE TABLE public.heimdall_migrations (name text PRIMARY KEY, sha256 text NOT NULL, "
        "applied_at timestamptz NOT NULL DEFAULT now())",
    )
    for file in migrate.files():
        if file.name in files or (not files and file.name < migrate._FIRST_OF_SCHEMAS):
            digest = migrate._FORMER_SHA256.get(file.name, file.sha256)
            with transaction(connection) as cursor:
                cursor.execute(file.content)
                cursor.execute(
                    "INSERT INTO public.heimdall_migrations (name, sha256) VALUES (%s, %s)",
                    (file.name, digest),
                )


def test_migrations_are_applied_once(empty: Database, opened: Connection) -> None:
    create_if_missing(empty)
    applied = migrate.apply(opened)
    assert applied[0] == "applied 001_measurements.sql in schema heimdall"
    assert migrate.apply(opened) == []
    assert relations(opened) == [f"heimdall.{name}" for name in sorted((*migrate.TABLES, migrate.RECORD))]


def test_a_migration_changed_later_is_refused(connection: Connection) -> None:
    execute(
        connection,
        "UPDATE heimdall.heimdall_migrations SET sha256 = 'other' WHERE name = '001_measurements.sql'",
    )
    with pytest.raises(HeimdallError, match=r"001_measurements\.sql: it was changed"):
        migrate.apply(connection)
    with transaction(connection) as cursor:
        cursor.execute("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory'")
        assert cursor.fetchone() == (0,)


def test_tables_of_earlier_revisions_are_moved_with_their_rows(
    opened: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier_revisions(opened)
    with pytest.raises(HeimdallError, match=r"database migrate`.* moves those of an earlier version"):
        read_approved(opened, NOON)
    with monkeypatch.context() as patch:
        patch.setenv("HEIMDALL_DATABASE_SCHEMA", "public")
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
        before = read_approved(opened, NOON)
    assert len(before) == 1
    assert migrate.apply(opened)[0] == "moved websdrs, sources, measurements from schema public to heimdall"
    assert relations(opened) == [f"heimdall.{name}" for name in sorted((*migrate.TABLES, migrate.RECORD))]
    assert read_approved(opened, NOON).equals(before)
    assert len(tables.read_receivers(opened)) == 2
    assert migrate.apply(opened) == []


def test_tables_that_somebody_keeps_in_public_stay_there(
    opened: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier_revisions(opened)
    with monkeypatch.context() as patch:
        patch.setenv("HEIMDALL_DATABASE_SCHEMA", "public")
        assert migrate.apply(opened) == ["applied 004_place_may_be_unknown.sql in schema public"]
        tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
    done = migrate.apply(opened)
    assert "stay there" in done[0]
    assert len(read_approved(opened, NOON)) == 0
    monkeypatch.setenv(*done[0].split("set ")[1].split(" ")[0].split("="))
    assert len(read_approved(opened, NOON)) == 1


def test_former_tables_of_another_owner_are_moved_after_what_is_told(
    empty: Database, opened: Connection
) -> None:
    as_earlier_revisions(opened)
    role = f"migrator_{uuid.uuid4().hex}"
    execute(
        opened,
        f"CREATE ROLE {role} LOGIN PASSWORD 'm'",
        f"DO $$ BEGIN EXECUTE format('GRANT CREATE ON DATABASE %I TO {role}', current_database()); END $$",
    )
    where = Database(make_dsn(empty.url, user=role, password="m"), embedded=False)  # noqa: S106
    followed = []
    with closing(connect(where)) as migrator:
        for _ in range(2):
            with pytest.raises(HeimdallError, match=r"schema public: .*nothing was changed") as caught:
                migrate.apply(migrator)
            followed.append(caught.value.remedy.split(" run: ")[1])
            execute(opened, followed[-1])
        assert migrate.apply(migrator)[0].startswith("moved websdrs, sources, measurements")
    assert [statement.split()[0] for statement in followed] == ["GRANT", "ALTER"]


@pytest.mark.parametrize("theirs", [SPECIFIED, OTHER])
def test_tables_of_others_stay_as_they_are(opened: Connection, theirs: str) -> None:
    execute(opened, theirs, "CREATE TABLE public.sources (anything text)")
    with transaction(opened) as cursor:
        cursor.execute(
            "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'public.measurements'::regclass"
        )
        columns = cursor.fetchall()
    migrate.apply(opened)
    tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
    assert len(read_approved(opened, NOON)) == 1
    with transaction(opened) as cursor:
        cursor.execute(
            "SELECT attname, atttypid FROM pg_attribute WHERE attrelid = 'public.measurements'::regclass"
        )
        assert cursor.fetchall() == columns
        cursor.execute("SELECT count(*) FROM public.measurements")
        assert cursor.fetchone() == (0,)


@pytest.mark.parametrize("theirs", [SPECIFIED, OTHER])
def test_without_our_tables_nobody_elses_are_read_or_written(opened: Connection, theirs: str) -> None:
    execute(opened, theirs, "CREATE TABLE public.sources (id text PRIMARY KEY, name text, modulation text)")
    for use in (
        lambda: tables.insert(opened, [], SOURCES, [measurement(1)]),
        lambda: tables.read_receivers(opened),
        lambda: read_approved(opened, NOON),
    ):
        with pytest.raises(HeimdallError, match="no tables of Heimdall in schema heimdall"):
            use()
    with transaction(opened) as cursor:
        cursor.execute("SELECT (SELECT count(*) FROM public.sources), (SELECT count(*) FROM measurements)")
        assert cursor.fetchone() == (0, 0)


def test_what_an_earlier_revision_half_made_beside_a_foreign_table_is_left_there(opened: Connection) -> None:
    execute(opened, OTHER)
    as_earlier_revisions(opened, "001_measurements.sql")
    done = migrate.apply(opened)
    assert "not all of Heimdall's making" in done[0]
    assert "public.measurements" in relations(opened)
    assert "heimdall.measurements" in relations(opened)
    assert migrate.apply(opened) == []


def test_a_table_of_our_name_in_our_schema_is_refused_and_nothing_is_recorded(opened: Connection) -> None:
    execute(opened, "CREATE SCHEMA heimdall", "CREATE TABLE heimdall.measurements (sensor text)")
    with pytest.raises(
        HeimdallError, match=r"schema heimdall: it has tables called measurements .* HEIMDALL_DA"
    ):
        migrate.apply(opened)
    assert relations(opened) == ["heimdall.measurements"]


def test_our_tables_fit_beside_those_of_the_acquisition_service(opened: Connection) -> None:
    theirs = ["CREATE SCHEMA heimdall"] + [
        f"CREATE TABLE heimdall.{name} (id uuid)"
        for name in ("known_sources", "recording_sessions", "websdr_stations")
    ]
    execute(opened, *theirs)
    migrate.apply(opened)
    assert "heimdall.known_sources" in relations(opened)


def test_a_held_table_does_not_make_others_wait_long(
    empty: Database, opened: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    as_earlier_revisions(opened)
    monkeypatch.setattr(migrate, "LOCK_TIMEOUT", "300ms")
    with closing(connect(empty)) as reader, transaction(reader) as cursor:
        cursor.execute("SELECT * FROM public.measurements")
        with pytest.raises(HeimdallError, match=r"lock timeout.*pg_stat_activity"):
            migrate.apply(opened)
    assert "public.measurements" in relations(opened)
    migrate.apply(opened)
    assert "heimdall.measurements" in relations(opened)


def test_two_at_once_make_the_tables_once(empty: Database) -> None:
    done: list[list[str]] = []

    def run() -> None:
        with closing(connect(empty)) as connection:
            done.append(migrate.apply(connection))

    threads = [threading.Thread(target=run) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(len(one) for one in done) == [0, 0, len(migrate.files())]


def test_the_schema_may_have_another_name(opened: Connection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_DATABASE_SCHEMA", "Radio's")
    migrate.apply(opened)
    tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])
    with transaction(opened) as cursor:
        cursor.execute(sql.SQL("SELECT count(*) FROM {}").format(sql.Identifier("Radio's", "measurements")))
        assert cursor.fetchone() == (1,)


def test_statements_of_the_migrations_fit_timescaledb() -> None:
    folder = Path(migrate.__file__).parent / "migrations"
    text = " ".join(file.read_text() for file in sorted(folder.glob("*.sql")))
    assert "REFERENCES" not in text
    assert "migrate_data" not in text
    assert 'PRIMARY KEY (id, "timestamp")' in text


@pytest.mark.parametrize(
    ("dropped", "named"),
    [
        ("TABLE heimdall.measurements", "measurements"),
        ("COLUMN approved, DROP snr_db", r"measurements\.snr_db, measurements\.approved"),
        ("COLUMN session_id", r"measurements\.session_id"),
    ],
)
def test_what_was_dropped_is_said_and_made_anew_only_as_told(
    dropped: str, named: str, opened: Connection
) -> None:
    migrate.apply(opened)
    alter = "ALTER TABLE heimdall.measurements " if dropped.startswith("COLUMN") else ""
    execute(opened, f"{alter}DROP {dropped}")
    with pytest.raises(HeimdallError, match=f"{named} were made and are not there") as caught:
        migrate.apply(opened)
    told = caught.value.remedy.split(" run ")[1].split(" as their")[0]
    execute(opened, told)
    migrate.apply(opened)
    tables.insert(opened, RECEIVERS, SOURCES, [measurement(1)])


def test_former_tables_stay_where_they_are_if_somebody_has_a_table_in_the_way(opened: Connection) -> None:
    as_earlier_revisions(opened)
    execute(opened, "CREATE SCHEMA heimdall", "CREATE TABLE heimdall.measurements (a int)")
    with pytest.raises(HeimdallError, match=r"that Heimdall did not make.*HEIMDALL_DATABASE_SCHEMA"):
        migrate.apply(opened)
    assert "public.heimdall_migrations" in relations(opened)
