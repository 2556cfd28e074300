"""PostgreSQL: connection, migrations, rows in and out."""

from __future__ import annotations

import importlib.resources
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit, urlunsplit

import psycopg2
from psycopg2 import sql
from psycopg2.extensions import connection as Connection  # noqa: N812 - a class with a lower-case name
from psycopg2.extensions import cursor as Cursor  # noqa: N812
from psycopg2.extensions import parse_dsn
from psycopg2.extras import execute_values

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.storage.endpoints import DEFAULT_POSTGRESQL_PORT, Endpoints

if TYPE_CHECKING:
    import pandas as pd

RETRY_PAUSES_S = (0.5, 1.5)
READ_TRIES = 2  # a reader may begin anew, since it changes nothing
# What another try cannot mend.
NOT_UNDERSTOOD = "the URL is not understood"
HOPELESS = ("authentication failed", "does not exist", NOT_UNDERSTOOD)
# Any constant that no other program on the server uses.
MIGRATION_LOCK = 4_172_031_177
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


@dataclass(frozen=True)
class Receiver:
    """A row of `websdrs`."""

    websdr_id: int
    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float


@dataclass(frozen=True)
class Source:
    """A row of `sources`: a known transmitter."""

    source_id: str
    name: str
    modulation: str | None


@dataclass(frozen=True)
class Measurement:
    """A row of `measurements`: one receiver's recording in one session.

    Attributes:
        measurement_id: UUID.
        session_id: UUID.
        websdr_id: Receiver.
        latitude_deg: Of the transmitter.
        longitude_deg: Of the transmitter.
        frequency_mhz: Tuned frequency.
        snr_db: Operator's figure, if any.
        timestamp: Time of the recording.
        created_at: Time of the row.
        approved: Whether an operator approved it for training.
        approved_at: When.
        sample_rate_hz: Of the recording.
        source_id: Known transmitter, if any.
        start_gps_ns: GPS time of the first sample; None where the clock is not disciplined.
        timing_sigma_ns: Standard deviation of `start_gps_ns`.
        simulated: Whether a simulator made it.
    """

    measurement_id: str
    session_id: str
    websdr_id: int
    latitude_deg: float
    longitude_deg: float
    frequency_mhz: float
    snr_db: float | None
    timestamp: datetime
    created_at: datetime
    approved: bool
    approved_at: datetime | None
    sample_rate_hz: float
    source_id: str | None
    start_gps_ns: int | None
    timing_sigma_ns: float | None
    simulated: bool


_RECEIVERS = "SELECT id, name, latitude, longitude, altitude_m FROM websdrs ORDER BY id"

# Times as microseconds since 1970: PostgreSQL knows infinity and the year 294276, Python does not. Such a
# time comes out as NULL.
_APPROVED = """
    SELECT m.id::text, m.session_id::text, m.websdr_id, m.latitude, m.longitude, m.frequency_mhz, m.snr_db,
        CASE WHEN m."timestamp" BETWEEN '0001-01-01Z' AND '9999-12-31Z'
             THEN (extract(epoch FROM m."timestamp") * 1000000)::bigint END,
        CASE WHEN m.approved_at BETWEEN '0001-01-01Z' AND '9999-12-31Z'
             THEN (extract(epoch FROM m.approved_at) * 1000000)::bigint END,
        m.sample_rate_hz, m.source_id, s.modulation, m.simulated, m.start_gps_ns, m.timing_sigma_ns
    FROM measurements m LEFT JOIN sources s ON s.id = m.source_id
    WHERE m.approved AND m.approved_at <= %s
    ORDER BY m.approved_at, m.session_id, m.websdr_id, m.id
"""

COLUMN_DTYPES = {
    "measurement_id": "object",
    "session_id": "object",
    "websdr_id": "int32",
    "latitude_deg": "float64",
    "longitude_deg": "float64",
    "frequency_mhz": "float64",
    "snr_db": "float64",
    "timestamp": "datetime64[us, UTC]",
    "approved_at": "datetime64[us, UTC]",
    "sample_rate_hz": "float64",
    "source_id": "object",
    "modulation": "object",
    "simulated": "bool",
    "start_gps_ns": "Int64",
    "timing_sigma_ns": "float64",
}


def connect(endpoints: Endpoints) -> Connection:
    """Connect, with bounded retries.

    Args:
        endpoints: Where the database is.

    Returns:
        A connection whose times are in UTC.

    Raises:
        HeimdallError: No connection after three tries within a few seconds each.
    """
    for pause_s in (*RETRY_PAUSES_S, None):
        try:
            connection: Connection = psycopg2.connect(endpoints.database_url, **OPTIONS)
        except psycopg2.Error as error:
            cause = _cause(error)
            if pause_s is None or any(reason in cause for reason in HOPELESS):
                # libpq does not print passwords; a malformed URL could still make it print a part of one.
                secret = unquote(urlsplit(endpoints.database_url).password or "")
                raise _error(
                    endpoints.database_name, cause.replace(secret, "***") if secret else cause
                ) from None
            time.sleep(pause_s)
        else:
            with _transaction(connection) as cursor:
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


def migrate(connection: Connection) -> list[str]:
    """Apply the SQL files of `migrations/` that were not applied yet, in the order of their names.

    Each is a transaction of its own, recorded with its hash in `heimdall_migrations`; one process at a time.

    Args:
        connection: To a database in which the user may create tables.

    Returns:
        Names of the files applied now.

    Raises:
        HeimdallError: A file fails, or one that was applied has been changed since.
    """
    applied_now = []
    folder = importlib.resources.files("heimdall.storage") / "migrations"
    files = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda item: item.name
    )
    with _transaction(connection) as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", (MIGRATION_LOCK,))
    try:
        with _transaction(connection) as cursor:
            cursor.execute(
                "CREATE TABLE IF NOT EXISTS heimdall_migrations "
                "(name text PRIMARY KEY, sha256 text NOT NULL, applied_at timestamptz NOT NULL DEFAULT now())"
            )
            cursor.execute("SELECT name, sha256 FROM heimdall_migrations")
            known = dict(cursor.fetchall())
        for file in files:
            content = file.read_bytes()
            digest = artifacts.sha256_bytes(content)
            if known.get(file.name, digest) != digest:
                raise HeimdallError(
                    f"migrations/{file.name}",
                    "it was changed after it was applied",
                    "Restore it, and put the change into a new file",
                )
            if file.name not in known:
                with _transaction(connection) as cursor:
                    cursor.execute(content)
                    cursor.execute(
                        "INSERT INTO heimdall_migrations (name, sha256) VALUES (%s, %s)", (file.name, digest)
                    )
                applied_now.append(file.name)
    finally:
        if not connection.closed:
            with _transaction(connection) as cursor:
                cursor.execute("SELECT pg_advisory_unlock(%s)", (MIGRATION_LOCK,))
    return applied_now


def insert(
    connection: Connection,
    receivers: Sequence[Receiver],
    sources: Sequence[Source],
    measurements: Sequence[Measurement],
) -> None:
    """Insert rows in one transaction; rows whose key is there already are left as they are.

    Args:
        connection: To a migrated database.
        receivers: New rows of `websdrs`.
        sources: New rows of `sources`.
        measurements: New rows of `measurements`.

    Raises:
        HeimdallError: The database refuses a row or is lost. Then nothing is inserted.
    """
    tables: tuple[tuple[str, Sequence[Receiver | Source | Measurement]], ...] = (
        ("websdrs (id, name, latitude, longitude, altitude_m)", receivers),
        ("sources (id, name, modulation)", sources),
        (
            "measurements (id, session_id, websdr_id, latitude, longitude, frequency_mhz, snr_db, "
            '"timestamp", created_at, approved, approved_at, sample_rate_hz, source_id, start_gps_ns, '
            "timing_sigma_ns, simulated)",
            measurements,
        ),
    )
    with _transaction(connection) as cursor:
        for table, rows in tables:
            # The order of a dataclass' fields is that of the columns above.
            values = [tuple(vars(row).values()) for row in rows]
            statement = f"INSERT INTO {table} VALUES %s ON CONFLICT DO NOTHING"  # noqa: S608 - constants
            execute_values(cursor, statement, values, page_size=500)


@dataclass(frozen=True)
class Present:
    """What a row of `measurements` that is there already says.

    Attributes:
        latitude_deg: Of the transmitter.
        longitude_deg: Of the transmitter.
        source_id: Known transmitter, if any.
        approved: Whether an operator approved it.
    """

    latitude_deg: float
    longitude_deg: float
    source_id: str | None
    approved: bool


def present(connection: Connection, measurement_ids: Sequence[str]) -> dict[str, Present]:
    """Which measurements are there already.

    Args:
        connection: To a migrated database.
        measurement_ids: UUIDs, lower case.

    Returns:
        Those of them that have a row, and what it says.

    Raises:
        HeimdallError: The table is missing, or the database is lost.
    """
    with _transaction(connection) as cursor:
        cursor.execute(
            "SELECT id::text, latitude, longitude, source_id, approved FROM measurements "
            "WHERE id = ANY(%s::uuid[])",
            (list(measurement_ids),),
        )
        return {row[0]: Present(*row[1:]) for row in cursor.fetchall()}


def read_receivers(connection: Connection) -> list[Receiver]:
    """All receivers, by id."""
    with _transaction(connection) as cursor:
        return _receivers(cursor)


def read_approved(connection: Connection, as_of: datetime) -> pd.DataFrame:
    """Measurements approved at or before `as_of`.

    Args:
        connection: To a migrated database.
        as_of: Time with a zone.

    Returns:
        One row a measurement, ordered by approved_at, session_id, websdr_id, measurement_id. Columns and
        types as in `COLUMN_DTYPES`: identifiers are strings, missing strings None, missing numbers NaN
        (`start_gps_ns`: NA), times outside the years 1 to 9999 NaT.

    Raises:
        HeimdallError: The table is missing, or the database is lost.
    """
    with _transaction(connection) as cursor:
        return _approved(cursor, as_of)


def read_snapshot_rows(endpoints: Endpoints, as_of: datetime) -> tuple[list[Receiver], pd.DataFrame]:
    """Receivers and approved measurements as of one moment: one REPEATABLE READ, READ ONLY transaction.

    A connection that is lost in the middle is made anew once, and all is read again.

    Args:
        endpoints: Where the migrated database is.
        as_of: Time with a zone.

    Returns:
        What `read_receivers` and `read_approved` return.

    Raises:
        HeimdallError: As `read_approved`.
    """
    for left in reversed(range(READ_TRIES)):
        try:
            with closing(connect(endpoints)) as connection, snapshot(connection) as cursor:
                return _receivers(cursor), _approved(cursor, as_of)
        except DatabaseLost:
            if not left:
                raise
    raise AssertionError("the last try returns or raises")


@contextmanager
def snapshot(connection: Connection) -> Iterator[Cursor]:
    """One REPEATABLE READ, READ ONLY transaction: all of its statements see the same moment.

    Args:
        connection: With no transaction in progress.

    Yields:
        A cursor.

    Raises:
        HeimdallError: The database is lost, or a statement would write.
    """
    with _transaction(connection) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield cursor


def _receivers(cursor: Cursor) -> list[Receiver]:
    cursor.execute(_RECEIVERS)
    return [Receiver(*row) for row in cursor.fetchall()]


def _approved(cursor: Cursor, as_of: datetime) -> pd.DataFrame:
    # Slower to import than all else here together, and most commands read no rows.
    import pandas as pd  # noqa: PLC0415

    def series(values: Sequence[Any], dtype: str) -> pd.Series[Any]:
        if dtype.startswith("datetime64"):
            microseconds = pd.Series(list(values), dtype="Int64")
            return pd.Series(pd.to_datetime(microseconds, unit="us", utc=True)).dt.as_unit("us")
        return pd.Series(list(values), dtype=dtype)

    cursor.execute(_APPROVED, (as_of,))
    # Column by column: a table of mixed numbers would turn 64-bit integers into floats where one is missing.
    columns = list(zip(*cursor.fetchall(), strict=True)) or [()] * len(COLUMN_DTYPES)
    return pd.DataFrame(
        {
            name: series(values, dtype)
            for (name, dtype), values in zip(COLUMN_DTYPES.items(), columns, strict=True)
        }
    )


@contextmanager
def _transaction(connection: Connection) -> Iterator[Cursor]:
    """One transaction; what PostgreSQL refuses becomes a HeimdallError."""
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
    parameters = parse_dsn(connection.dsn)
    host, port = parameters.get("host", "localhost"), parameters.get("port", DEFAULT_POSTGRESQL_PORT)
    return f"{host}:{port}/{parameters.get('dbname')}"


def _cause(error: psycopg2.Error) -> str:
    """The server's or libpq's message in one line, without what the subject says already."""
    if isinstance(error, psycopg2.ProgrammingError) and "dsn" in str(error):
        return NOT_UNDERSTOOD  # libpq repeats the whole of it
    message = next(iter(str(error).strip().splitlines()), type(error).__name__)
    return message.split(" failed: ", 1)[-1] if message.startswith("connection to server") else message


def _error(name: str, cause: str) -> HeimdallError:
    remedy = "Check it with `heimdall services status`"
    if "authentication failed" in cause:
        remedy = "Correct user and password in HEIMDALL_DATABASE_URL"
    elif "does not exist" in cause:
        remedy = "Create the database if it is missing, then `heimdall services up` makes the tables"
    return HeimdallError(f"PostgreSQL {name}", cause, remedy)
