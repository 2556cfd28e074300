"""PostgreSQL: the connection, its time-outs, its transactions, and what is said when it fails."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import extensions, sql

from heimdall.core.errors import HeimdallError
from heimdall.storage.endpoints import DEFAULT_POSTGRESQL_PORT, Endpoints
from heimdall.storage.retries import CONNECTION_PAUSES_S

Connection: TypeAlias = extensions.connection
Cursor: TypeAlias = extensions.cursor

# What another try cannot mend.
_NOT_UNDERSTOOD = "the URL is not understood"
_HOPELESS = ("authentication failed", "does not exist", _NOT_UNDERSTOOD)
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


class DatabaseLost(HeimdallError):  # noqa: N818 - named as ObjectMissing is
    """The connection broke in the middle of a transaction."""


def connect(endpoints: Endpoints) -> Connection:
    """Connect, with bounded retries.

    Args:
        endpoints: Where the database is.

    Returns:
        A connection whose times are in UTC.

    Raises:
        HeimdallError: No connection after the tries of `retries`, of a few seconds each.
    """
    for pause_s in (*CONNECTION_PAUSES_S, None):
        try:
            connection: Connection = psycopg2.connect(endpoints.database_url, **OPTIONS)
        except psycopg2.Error as error:
            cause = _cause(error)
            if pause_s is None or any(reason in cause for reason in _HOPELESS):
                # libpq does not print passwords; a malformed URL could still make it print a part of one.
                secret = unquote(urlsplit(endpoints.database_url).password or "")
                raise _error(
                    endpoints.database_name, cause.replace(secret, "***") if secret else cause
                ) from None
            time.sleep(pause_s)
        else:
            with transaction(connection) as cursor:
                cursor.execute("SET TIME ZONE 'UTC'")
            return connection
    raise AssertionError("the last try returns or raises")


def create_if_missing(endpoints: Endpoints) -> None:
    """Create the database that the URL names, on its server.

    Args:
        endpoints: Where the database is to be; its user must be allowed to create it.

    Raises:
        HeimdallError: The server cannot be reached, or refuses.
    """
    parts = urlsplit(endpoints.database_url)
    name = unquote(parts.path.lstrip("/"))
    server = Endpoints(**vars(endpoints) | {"database_url": urlunsplit(parts._replace(path="/postgres"))})
    connection = connect(server)
    try:
        # CREATE DATABASE refuses to run inside a transaction.
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute("SELECT FROM pg_database WHERE datname = %s", (name,))
            if cursor.rowcount == 0:
                cursor.execute(sql.SQL("CREATE DATABASE {}").format(sql.Identifier(name)))
    except psycopg2.Error as error:
        raise _error(endpoints.database_name, _cause(error)) from None
    finally:
        connection.close()


@contextmanager
def transaction(connection: Connection) -> Iterator[Cursor]:
    """One transaction; what PostgreSQL refuses becomes a HeimdallError.

    Args:
        connection: With no transaction in progress.

    Yields:
        A cursor.

    Raises:
        DatabaseLost: The connection breaks.
        HeimdallError: PostgreSQL refuses a statement. All of them are then undone.
    """
    name = _name(connection)
    try:
        with connection, connection.cursor() as cursor:
            yield cursor
    except (psycopg2.OperationalError, psycopg2.InterfaceError) as error:
        lost = _error(name, _cause(error))
        raise DatabaseLost(lost.subject, lost.cause, lost.remedy) from None
    except psycopg2.Error as error:
        raise _error(name, _cause(error)) from None


def _name(connection: Connection) -> str:
    """`host:port/database`, without secrets, also of a connection that is lost."""
    parameters = extensions.parse_dsn(connection.dsn)
    host, port = parameters.get("host", "localhost"), parameters.get("port", DEFAULT_POSTGRESQL_PORT)
    return f"{host}:{port}/{parameters.get('dbname')}"


def _cause(error: psycopg2.Error) -> str:
    """The server's or libpq's message in one line, without what the subject says already."""
    if isinstance(error, psycopg2.ProgrammingError) and "dsn" in str(error):
        return _NOT_UNDERSTOOD  # libpq repeats the whole of it
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return message.split(" failed: ", 1)[-1] if message.startswith("connection to server") else message


def _error(name: str, cause: str) -> HeimdallError:
    remedy = "Check it with `heimdall services status`"
    if "authentication failed" in cause:
        remedy = "Correct user and password in HEIMDALL_DATABASE_URL"
    elif "does not exist" in cause:
        remedy = "Create the database if it is missing, then `heimdall services up` makes the tables"
    return HeimdallError(f"PostgreSQL {name}", cause, remedy)
