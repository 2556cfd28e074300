"""Troubles of PostgreSQL: each arises on a real server, in a database of the row's own."""

from __future__ import annotations

import re
import socket
import threading
import uuid
from contextlib import closing, suppress
from pathlib import Path
from unittest import mock
from urllib.parse import urlsplit, urlunsplit

import numpy as np

from heimdall.core import params as parameters
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import iq
from heimdall.storage import approved, connection, endpoints, migrate, sources, tables
from heimdall.storage.objectstore import ObjectStore, object_key
from tests.conftest import Services
from tests.remedies.local import params, variables, write
from tests.remedies.troubles import SECRET, Arise, Trouble, World
from tests.storage.example_rows import RECEIVERS, SOURCES, measurement

URL = "HEIMDALL_DATABASE_URL"
OWNER = "heimdall"
SELECT = """-- measurements
SELECT id, session_id, websdr_id, latitude, longitude, frequency_mhz, {snr} AS snr_db, "timestamp",
    approved_at, sample_rate_hz, simulated
FROM heimdall.measurements
-- receivers
SELECT id, name, latitude, longitude, altitude_m FROM heimdall.websdrs
"""


def read(world: World) -> None:
    """What a snapshot reads first, with its parameters; short limits of time."""
    settings = parameters.load(Path("params.yaml")).snapshot
    limits = connection._LIMITS.replace("300s", "500ms").replace("10s", "200ms")
    with (
        mock.patch.object(connection, "_LIMITS", limits),
        mock.patch.object(connection, "CONNECTION_PAUSES_S", ()),
        mock.patch.object(approved, "READ_PAUSES_S", ()),
    ):
        approved.read(
            endpoints.database(), sources.load(settings.source), settings.as_of, Path("rows.parquet")
        )


def insert(world: World) -> None:
    """What an ingest does."""
    with closing(connection.connect(endpoints.database())) as opened:
        tables.insert(opened, RECEIVERS, [], [])


def make_tables(world: World) -> None:
    """`heimdall database migrate`."""
    with closing(connection.connect(endpoints.database())) as opened:
        migrate.apply(opened)


def tables_are_made(world: World) -> None:
    with world.entered():
        make_tables(world)


def take(world: World) -> None:
    """The stage snapshot."""
    with mock.patch.object(connection, "CONNECTION_PAUSES_S", ()):
        snapshot.take(parameters.load(Path("params.yaml")).snapshot, endpoints.resolve())


def approved_without_objects(world: World) -> None:
    """One measurement, and no recording of it in the bucket."""
    row = measurement(
        1,
        session_id=str(uuid.uuid5(uuid.NAMESPACE_URL, database(world))),
        start_gps_ns=None,
        timing_sigma_ns=None,
    )
    with closing(connection.connect(server(world).endpoints.database)) as opened:
        tables.insert(opened, RECEIVERS, SOURCES, [row])


def recorded(world: World) -> None:
    """The recording of that measurement."""
    samples = np.random.default_rng(1).normal(size=2 * 192_000).astype(np.float32).view(np.complex64)
    session = str(uuid.uuid5(uuid.NAMESPACE_URL, database(world)))
    store = ObjectStore(server(world).endpoints.s3, endpoints.RAW_BUCKET)
    store.put(object_key(session, 1), iq.encode(samples))


def approved_and_recorded(world: World) -> None:
    approved_without_objects(world)
    recorded(world)


def server(world: World) -> Services:
    assert world.services is not None
    return world.services


def owner_does(*statements: str) -> Arise:
    """The database's owner runs statements; `{user}` is the poor user of the row, `{name}` the database."""

    def arise(world: World) -> None:
        names = {"user": poor_user(world), "name": database(world)}
        with (
            closing(connection.connect(server(world).endpoints.database)) as opened,
            opened,
            opened.cursor() as cursor,
        ):
            for statement in statements:
                cursor.execute(statement.format(**names))

    return arise


def database(world: World) -> str:
    return urlsplit(server(world).endpoints.database.url).path.removeprefix("/")


def poor_user(world: World) -> str:
    return f"poor_{database(world)}"


def address(**changes: str) -> Arise:
    """The environment names another address: parts of `urlsplit`, or `port`, `user` and `host`."""

    def arise(world: World) -> None:
        parts = urlsplit(server(world).endpoints.database.url)
        given = {"user": OWNER, "password": parts.password, "host": parts.hostname, "port": parts.port}
        given |= {name: changes.pop(name) for name in tuple(given) if name in changes}
        netloc = "{user}:{password}@{host}:{port}".format(**given)
        world.env[URL] = urlunsplit(parts._replace(netloc=netloc, **changes))

    return arise


def own_address_is_wrong(world: World) -> None:
    """That of the reader, beside the right one for all roles."""
    address(password=SECRET)(world)
    world.env[f"{URL}_READER"] = world.env[URL]
    right_address(world)


def right_address(world: World) -> None:
    world.env[URL] = server(world).endpoints.database.url


def poor(*rights: str) -> Arise:
    """A user with these rights alone is named."""

    def arise(world: World) -> None:
        owner_does(f"CREATE USER {{user}} PASSWORD '{SECRET}'", *rights)(world)
        address(user=poor_user(world), password=SECRET)(world)

    return arise


def granted(command: Arise) -> Arise:
    """The owner runs what each message asks for, until the command has all its rights."""

    def follow(world: World) -> None:
        for _ in range(8):
            try:
                with world.entered():
                    command(world)
            except HeimdallError as error:
                statement = re.search(r"GRANT .*", error.remedy)
                assert statement is not None, error
                owner_does(statement[0])(world)
            else:
                return

    return follow


def another_program_answers(world: World) -> None:
    """A server that speaks HTTP at once, whatever it is asked."""

    def answer() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                client.sendall(b"HTTP/1.1 400 Bad Request\r\n\r\n")
                client.close()

    listener = socket.create_server(("127.0.0.1", 0))
    threading.Thread(target=answer, daemon=True).start()
    world.close.append(lambda: listener.shutdown(socket.SHUT_RDWR))
    address(port=str(listener.getsockname()[1]))(world)


def nobody_listens(world: World) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address(port=str(port))(world)


def table_is_held(world: World) -> None:
    other = connection.connect(server(world).endpoints.database)
    other.cursor().execute("LOCK TABLE heimdall.measurements")
    world.close.append(other.close)


def only_connection_is_taken(world: World) -> None:
    poor("ALTER USER {user} CONNECTION LIMIT 1")(world)
    with world.entered():
        world.close.append(connection.connect(endpoints.database()).close)


def ended(world: World) -> None:
    world.close.pop()()


def select(snr: str, *more: tuple[str, str]) -> Arise:
    """A SELECT of one's own."""
    text = SELECT.format(snr=snr)
    for old, new in more:
        text = text.replace(old, new)

    def arise(world: World) -> None:
        write("sql/odd.sql", text)(world)
        if "source: own" in (world.root / "params.yaml").read_text():
            params("source: own", "source: odd")(world)

    return arise


def as_of_is_set_as_the_message_says(world: World) -> None:
    try:
        with world.entered():
            read(world)
    except HeimdallError as error:
        moment = error.remedy.split('"')[1]
        params('as_of: "2999-01-01T00:00:00Z"', f'as_of: "{moment}"')(world)


def in_the_future(world: World) -> None:
    text = (world.root / "params.yaml").read_text()
    now = re.search(r"as_of: .*", text)
    assert now is not None
    params(now[0], 'as_of: "2999-01-01T00:00:00Z"')(world)


SERVER = "PostgreSQL 127.0.0.1:"
GRANT = "Let the owner run: GRANT"
RIGHT_SELECT = select("snr_db")
ADDRESS = [
    Trouble(
        "PostgreSQL is down", nobody_listens, read,
        SERVER, "Connection refused", "Start that server, or correct host and port",
        right_address,
    ),
    Trouble(
        "another program at PostgreSQL's port", another_program_answers, read,
        SERVER, "SSL negotiation", "no PostgreSQL answers there", right_address,
    ),
    Trouble(
        "a wrong password", address(password=SECRET), read,
        SERVER, 'password authentication failed for user "heimdall"',
        f"Correct user and password in {URL}", right_address,
    ),
    Trouble(
        "a wrong password in a role's own address", own_address_is_wrong, read,
        SERVER, "password authentication failed", f"Correct user and password in {URL}_READER",
        lambda world: world.env.pop(f"{URL}_READER"),
    ),
    Trouble(
        "a wrong name of the database", address(path="/nowhere"), read,
        SERVER, 'database "nowhere" does not exist',
        f"Create the database, or correct its name in {URL}", right_address,
    ),
    Trouble(
        "an unknown host", address(host="nowhere.invalid", query="sslmode=require"), read,
        "PostgreSQL nowhere.invalid:", "could not translate host name", f"Correct the host in {URL}",
        right_address,
    ),
    Trouble(
        "no address of PostgreSQL", address(scheme="mysql"), read,
        URL, "not a PostgreSQL URL", f"Set {URL} to postgresql://user:password@host", right_address,
    ),
    Trouble(
        "TLS that the server does not have", address(query="sslmode=require"), read,
        SERVER, "server does not support SSL", "leave sslmode out", right_address,
    ),
    Trouble(
        "another machine without TLS", address(host="192.0.2.1"), read,
        "PostgreSQL 192.0.2.1", "sslmode=prefer does not demand TLS", "HEIMDALL_DATABASE_WITHOUT_TLS",
    ),
    Trouble(
        "too many connections", only_connection_is_taken, lambda world: connect_once(),
        SERVER, "too many connections for role", "Close other connections", ended,
    ),
    Trouble(
        "no servers at all", lambda world: world.forget_servers(), read,
        "PostgreSQL", "no embedded server here", f"or set {URL}",
        lambda world: world.env.update(server(world).env),
    ),
]  # fmt: skip


def connect_once() -> None:
    with mock.patch.object(connection, "CONNECTION_PAUSES_S", ()):
        connection.connect(endpoints.database()).close()


RIGHTS = [
    Trouble(
        "a table that may not be read", poor("GRANT USAGE ON SCHEMA heimdall TO {user}"), read,
        SERVER, "permission denied for table",
        f"{GRANT} SELECT ON TABLE heimdall.", granted(read),
    ),
    Trouble(
        "a schema that may not be used", poor("CREATE TABLE spare ()"), lambda world: use_schema(),
        SERVER, "permission denied for schema heimdall",
        f"{GRANT} USAGE ON SCHEMA heimdall TO", granted(lambda world: use_schema()),
    ),
    Trouble(
        "a user who may only read",
        poor(
            "GRANT USAGE ON SCHEMA heimdall TO {user}",
            "GRANT SELECT ON ALL TABLES IN SCHEMA heimdall TO {user}",
        ),
        insert, SERVER, "permission denied for table",
        f"{GRANT} INSERT ON TABLE heimdall.", granted(insert),
    ),
    Trouble(
        "a user who may make no table", poor("DROP SCHEMA heimdall CASCADE"), make_tables,
        SERVER, "permission denied for database", f"{GRANT} CREATE ON DATABASE",
        granted(make_tables),
    ),
    Trouble(
        "a database that is only to be read",
        owner_does("ALTER DATABASE {name} SET default_transaction_read_only = on"), insert,
        SERVER, "in a read-only transaction", "Use a server and a user that may write",
        owner_does("SET TRANSACTION READ WRITE", "ALTER DATABASE {name} RESET default_transaction_read_only"),
    ),
]  # fmt: skip


def use_schema() -> None:
    with (
        closing(connection.connect(endpoints.database())) as opened,
        connection.transaction(opened) as cursor,
    ):
        cursor.execute("SELECT 1 FROM heimdall.websdrs")


CONTENT = [
    Trouble(
        "nothing is approved", lambda world: None, take,
        SERVER, "no measurement was approved at or before",
        "set snapshot.as_of in params.yaml to a later time",
        approved_and_recorded,
    ),
    Trouble(
        "too many bad recordings", approved_without_objects, take,
        "snapshot", "1 of 1 approved recordings are bad (missing 1)",
        "set HEIMDALL_RAW_BUCKET to its name; else put them there (such as sessions/", recorded,
    ),
    Trouble(
        "no tables of Heimdall's", owner_does("DROP SCHEMA heimdall CASCADE"), read,
        SERVER, "no tables of Heimdall in schema heimdall", "Run `heimdall database migrate`",
        tables_are_made,
    ),
    Trouble(
        "a misspelt table", select("snr_db", ("FROM heimdall.measurements", "FROM heimdall.measurement")),
        read,
        SERVER, 'relation "heimdall.measurement" does not exist', "Correct the name in the SELECT",
        RIGHT_SELECT, series=True,
    ),
    Trouble(
        "a misspelt column", select("snr_bd"), read,
        SERVER, 'column "snr_bd" does not exist (Perhaps you meant', "Correct the name in the SELECT",
        RIGHT_SELECT,
    ),
    Trouble(
        "a SELECT that lacks a column", select("snr_db", ("sample_rate_hz, ", "")), read,
        "sql/odd.sql", "sample_rate_hz: missing", "Let the SELECT give it", RIGHT_SELECT, series=True,
    ),
    Trouble(
        "a time without its zone",
        select("snr_db", ("approved_at", "approved_at::timestamp AS approved_at")), read,
        "sql/odd.sql", "timestamp without time zone has no time zone", "Let the SELECT give it",
        RIGHT_SELECT, series=True,
    ),
    Trouble(
        "a SELECT that is none", select("snr_db FROM", ("AS snr_db", "")), read,
        SERVER, "syntax error", "Correct the SELECT in sql/ that snapshot.source names",
        RIGHT_SELECT,
    ),
    Trouble(
        "a text where the SELECT wants a number", select("'x'::int"), read,
        SERVER, "invalid input syntax for type integer", "let the SELECT in sql/", RIGHT_SELECT,
    ),
    Trouble(
        "a SELECT that takes too long",
        select("snr_db", ("heimdall.measurements", "heimdall.measurements RIGHT JOIN pg_sleep(9) ON true")),
        read,
        SERVER, "canceling statement due to statement timeout", "Run it again when the server is less busy",
        RIGHT_SELECT,
    ),
    Trouble(
        "a table that another program holds", table_is_held, read,
        SERVER, "canceling statement due to lock timeout", "pg_stat_activity", ended,
    ),
    Trouble(
        "a source that is no file", params("source: own", "source: mine"), read,
        "sql/mine.sql", "snapshot.source names it, and it is missing",
        "Set snapshot.source in params.yaml to one",
        params("source: mine", "source: own"),
    ),
    Trouble(
        "a source without its headings",
        lambda world: (select("snr_db")(world), write("sql/odd.sql", "SELECT 1")(world)), read,
        "sql/odd.sql", "it needs one line `-- measurements`", "Write it like sql/own.sql", RIGHT_SELECT,
    ),
    Trouble(
        "a snapshot of the future", in_the_future, read,
        "snapshot.as_of", "is later than the database's clock",
        'Set it to "', as_of_is_set_as_the_message_says,
    ),
    Trouble(
        "tables of others under our names",
        owner_does(
            "DROP SCHEMA heimdall CASCADE", "CREATE SCHEMA heimdall", "CREATE TABLE heimdall.sources (id int)"
        ),
        make_tables, "schema heimdall", "Heimdall did not make",
        "Set HEIMDALL_DATABASE_SCHEMA to another name",
        variables(HEIMDALL_DATABASE_SCHEMA="radio"),
    ),
]  # fmt: skip

ROWS = [*ADDRESS, *RIGHTS, *CONTENT]
