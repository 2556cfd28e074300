"""PostgreSQL: the connection, its time-outs, its transactions, and what is said when it fails."""

from __future__ import annotations

import codecs
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from typing import Any, TypeAlias

import psycopg2
from psycopg2 import extensions, sql

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage import database_errors, database_url
from heimdall.storage.endpoints import Database
from heimdall.storage.retries import CONNECTION_PAUSES_S

Connection: TypeAlias = extensions.connection
Cursor: TypeAlias = extensions.cursor

OPTIONS: dict[str, Any] = {
    "application_name": "heimdall",
    "connect_timeout": 5,
    # A server that is gone without a word is noticed within half a minute.
    "keepalives": 1,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# Of each transaction, not of the session: a pooler may give the next transaction another session. The sort of
# a million rows takes seconds; a lock that is waited for keeps others waiting behind it.
_LIMITS = (
    "SET LOCAL statement_timeout = '300s'; SET LOCAL lock_timeout = '10s'; "
    "SET LOCAL idle_in_transaction_session_timeout = '120s'; SET LOCAL TIME ZONE 'UTC'; "
    "SET LOCAL extra_float_digits = 1"  # every digit of a number, whatever a role or database has set
)
# SQLSTATEs after which the same reading may succeed: the connection or server is lost, or a standby cancelled
# the query because the primary removed rows that it needs.
_LOST = ("08", "57P", "40001")
OWN_RECORD = "heimdall_migrations"  # the table that says which of `migrations/` were applied in its schema
_BYTES = "heimdall_bytes"  # a codec for databases that do not say how their text is encoded


class DatabaseLost(HeimdallError):  # noqa: N818 - named as ObjectMissing is
    """The connection broke in the middle of a transaction, or a standby cancelled it."""


def _codec(name: str) -> codecs.CodecInfo | None:
    """UTF-8 that shows a byte which is none by its number instead of failing."""
    if name != _BYTES:
        return None
    return codecs.CodecInfo(
        encode=codecs.utf_8_encode,
        decode=lambda content, _errors="strict": codecs.utf_8_decode(content, "backslashreplace", True),
        name=_BYTES,
    )


codecs.register(_codec)
extensions.encodings["SQLASCII"] = _BYTES  # psycopg2's table of codecs, by letters alone; its own says ascii


def connect(where: Database) -> Connection:
    """Connect, with bounded retries.

    Args:
        where: The database.

    Returns:
        A connection, with text in any encoding of the server.

    Raises:
        HeimdallError: The address is malformed, no connection after the tries of `retries`, of a few seconds
            each, or one without TLS to another machine that a service names.
    """
    address = database_url.parse(where.url, where.variable)
    names = address.parameters.get("user", ""), address.parameters.get("dbname", "")
    for pause_s in (*CONNECTION_PAUSES_S, None):
        try:
            connection = _connected(where.url)
            if connection.get_parameter_status("server_encoding") == "SQL_ASCII":
                connection.set_client_encoding("SQL_ASCII")  # the server would refuse what is no UTF-8
                connection.commit()
        except psycopg2.Error as error:
            if pause_s is None or database_errors.is_hopeless(error, names):
                raise database_errors.explained(
                    address.name,
                    error,
                    password=address.password,
                    embedded=where.embedded,
                    variable=where.variable,
                ) from None
            time.sleep(pause_s)
        else:
            if not address.hosts and not connection.info.ssl_in_use:
                try:
                    why = "the service does not demand TLS"
                    # Where the service says both, libpq connects to hostaddr, and the host is a mere name.
                    hosts = connection.info.dsn_parameters.get("hostaddr") or connection.info.host
                    for host in hosts.split(","):
                        database_url.refuse_without_tls(host, why, where.variable)
                except HeimdallError:
                    connection.close()
                    raise
            return connection
    raise AssertionError("the last try returns or raises")


def _connected(url: str) -> Connection:
    """One try. A server's refusal may be in its own encoding: psycopg2 fails to decode it."""
    try:
        connection: Connection = psycopg2.connect(url, client_encoding="UTF8", **OPTIONS)
    except UnicodeDecodeError as error:
        raise psycopg2.OperationalError(error.object.decode("utf-8", "backslashreplace")) from None
    return connection


def create_if_missing(where: Database) -> None:
    """Create the database that the URL names, on its server.

    Args:
        where: The database as it is to be; its user must be allowed to create it.

    Raises:
        HeimdallError: The server cannot be reached, or refuses.
    """
    address = database_url.parse(where.url)
    name = address.parameters["dbname"]
    connection = connect(replace(where, url=address.with_database("postgres")))
    try:
        # CREATE DATABASE refuses to run inside a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if cursor.rowcount == 0:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        raise database_errors.explained(where.name, error, user=_user(connection)) from None
    finally:
        connection.close()


@contextmanager
def transaction(connection: Connection, *, read_only: bool = False) -> Iterator[Cursor]:
    """One transaction; what PostgreSQL refuses becomes a HeimdallError.

    Its limits of time are those of `_LIMITS`; times of the server are in UTC.

    Args:
        connection: With no transaction in progress.
        read_only: Whether the server refuses to change anything, and to read a table of which row-level
            security may hide rows, and all statements see the same moment.

    Yields:
        A cursor.

    Raises:
        DatabaseLost: The connection breaks, or a standby cancels the transaction.
        HeimdallError: PostgreSQL refuses a statement. All of them are then undone.
    """
    name, user = _name(connection), _user(connection)
    try:
        with connection, connection.cursor() as cursor:
            if read_only:
                cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
                cursor.execute("SET LOCAL cursor_tuple_fraction = 1")  # every row is wanted, not a tenth
                cursor.execute("SET LOCAL row_security = off")  # a policy that hides rows is an error
            cursor.execute(_LIMITS)
            yield cursor
    except psycopg2.Error as error:
        table = database_errors.denied(error)
        schemas = _schemas_with(connection, table) if table else ()
        told = database_errors.explained(name, error, user=user, schemas=schemas)
        broken = isinstance(error, psycopg2.OperationalError | psycopg2.InterfaceError) and not error.pgcode
        if broken or (error.pgcode or "").startswith(_LOST):
            raise DatabaseLost(told.subject, told.cause, told.remedy) from None
        raise told from None


def use_own_tables(cursor: Cursor) -> None:
    """Let names of this transaction mean Heimdall's own tables, and no table of anybody else.

    Raises:
        HeimdallError: The schema has no record of Heimdall's migrations, so that its tables are not ours.
    """
    schema = variables.DATABASE_SCHEMA.read()
    cursor.execute("SELECT to_regclass(format('%%I.%%I', %s, %s)) IS NULL", (schema, OWN_RECORD))
    if cursor.fetchone() == (True,):
        raise HeimdallError(
            f"PostgreSQL {_name(cursor.connection)}",
            f"no tables of Heimdall in schema {schema}",
            "Run `heimdall database migrate`, which makes them there, or moves those of an earlier version; "
            "to read tables of others, set snapshot.source in params.yaml",
        )
    cursor.execute(sql.SQL("SET LOCAL search_path TO {}").format(sql.Identifier(schema)))


def _name(connection: Connection) -> str:
    """`host:port/database`, without secrets, also of a connection that is lost."""
    return database_url.parse(connection.dsn).name


def _schemas_with(connection: Connection, table: str) -> tuple[str, ...]:
    """The schemas with a table or view of a name; Heimdall's own one comes first."""
    own = variables.DATABASE_SCHEMA.read()
    with connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT nspname::text FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
            "WHERE relname = %s AND nspname NOT LIKE 'pg\\_%%' ORDER BY nspname <> %s, nspname",
            (table, own),
        )
        return tuple(schema for (schema,) in cursor.fetchall())


def _user(connection: Connection) -> str:
    """As whom statements are run, also of a connection that is lost."""
    return str(connection.info.user or "")
