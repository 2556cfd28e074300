"""The tables of PostgreSQL as rows, in and out: receivers, known transmitters, measurements.

A new column needs a new file in `migrations/`, its place here (`Measurement`, `COLUMN_DTYPES`, the SELECT and
the INSERT) and, to reach the stages, one in `recordings.archive.MEASUREMENTS_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from psycopg2.extras import execute_values

from heimdall.storage.connection import Connection, Cursor, DatabaseLost, connect, transaction
from heimdall.storage.endpoints import Endpoints
from heimdall.storage.retries import READ_TRIES

if TYPE_CHECKING:
    import pandas as pd


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
        latitude_deg: Of the transmitter; None if its place is not known.
        longitude_deg: As the latitude.
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
    latitude_deg: float | None
    longitude_deg: float | None
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
    with transaction(connection) as cursor:
        insert_rows(cursor, receivers, sources, measurements)


def insert_rows(
    cursor: Cursor,
    receivers: Sequence[Receiver],
    sources: Sequence[Source],
    measurements: Sequence[Measurement],
) -> None:
    """`insert` within a transaction."""
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
    for table, rows in tables:
        # The order of a dataclass' fields is that of the columns above.
        values = [tuple(vars(row).values()) for row in rows]
        statement = f"INSERT INTO {table} VALUES %s ON CONFLICT DO NOTHING"  # noqa: S608 - constants
        execute_values(cursor, statement, values, page_size=500)


@dataclass(frozen=True)
class Present:
    """What a row of `measurements` that is there already says.

    Attributes:
        latitude_deg: Of the transmitter, if known.
        longitude_deg: Of the transmitter, if known.
        source_id: Known transmitter, if any.
        approved: Whether an operator approved it.
    """

    latitude_deg: float | None
    longitude_deg: float | None
    source_id: str | None
    approved: bool


def present(cursor: Cursor, measurement_ids: Sequence[str]) -> dict[str, Present]:
    """Which measurements are there already.

    Args:
        cursor: Of a transaction in a migrated database.
        measurement_ids: UUIDs, lower case.

    Returns:
        Those of them that have a row, and what it says.
    """
    cursor.execute(
        "SELECT id::text, latitude, longitude, source_id, approved FROM measurements "
        "WHERE id = ANY(%s::uuid[])",
        (list(measurement_ids),),
    )
    return {row[0]: Present(*row[1:]) for row in cursor.fetchall()}


def read_receivers(connection: Connection) -> list[Receiver]:
    """All receivers, by id."""
    with transaction(connection) as cursor:
        return receivers(cursor)


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
    with transaction(connection) as cursor:
        return _approved(cursor, as_of)


def read_snapshot_rows(endpoints: Endpoints, as_of: datetime) -> tuple[list[Receiver], pd.DataFrame]:
    """Receivers and approved measurements as of one moment: one REPEATABLE READ, READ ONLY transaction.

    A connection that is lost in the middle is made anew, and all is read again.

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
                return receivers(cursor), _approved(cursor, as_of)
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
    with transaction(connection) as cursor:
        cursor.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield cursor


def receivers(cursor: Cursor) -> list[Receiver]:
    """`read_receivers` within a transaction."""
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
