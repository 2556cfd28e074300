"""The tables of PostgreSQL as rows, in and out: receivers, known transmitters, measurements.

A new column needs a new file in `migrations/`, its place here (`Measurement` and the INSERT) and, to reach
the stages, one in `sql/own.sql`, `storage.columns` and `recordings.archive.MEASUREMENTS_SCHEMA`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2.extras import execute_values

from heimdall.core.errors import HeimdallError
from heimdall.storage.connection import Connection, Cursor, transaction, use_own_tables


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
    use_own_tables(cursor)
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
        start_gps_ns: GPS time of the first sample, if known.
        timing_sigma_ns: Standard deviation of that.
    """

    latitude_deg: float | None
    longitude_deg: float | None
    source_id: str | None
    approved: bool
    start_gps_ns: int | None
    timing_sigma_ns: float | None

    @classmethod
    def of(cls, row: Measurement) -> Present:
        """What a row would say."""
        return cls(
            row.latitude_deg,
            row.longitude_deg,
            row.source_id,
            row.approved,
            row.start_gps_ns,
            row.timing_sigma_ns,
        )


def change_unapproved(cursor: Cursor, rows: Sequence[Measurement]) -> None:
    """Give rows that are there, and are not approved, their place, source, GPS time and approval.

    Args:
        cursor: Of a transaction in a migrated database.
        rows: As they will be.

    Raises:
        HeimdallError: One of them is approved meanwhile, or gone.
    """
    use_own_tables(cursor)
    changed = execute_values(
        cursor,
        "UPDATE measurements SET latitude = new.latitude, longitude = new.longitude, "
        "source_id = new.source_id, approved = new.approved, approved_at = new.approved_at, "
        "start_gps_ns = new.start_gps_ns, timing_sigma_ns = new.timing_sigma_ns "
        "FROM (VALUES %s) AS new (id, latitude, longitude, source_id, approved, approved_at, start_gps_ns, "
        "timing_sigma_ns) "
        "WHERE measurements.id = new.id AND NOT measurements.approved RETURNING measurements.id",
        [
            (
                row.measurement_id,
                row.latitude_deg,
                row.longitude_deg,
                row.source_id,
                row.approved,
                row.approved_at,
                row.start_gps_ns,
                row.timing_sigma_ns,
            )
            for row in rows
        ],
        template="(%s::uuid, %s::float8, %s::float8, %s::text, %s::boolean, %s::timestamptz, "
        "%s::bigint, %s::float8)",
        page_size=500,
        fetch=True,
    )
    if len(changed) != len(rows):
        cause = f"{len(rows) - len(changed)} of them are approved or deleted since this moment"
        raise HeimdallError("measurements", cause, "Run the same command again")


def correct_altitudes(cursor: Cursor, altitudes_m: Mapping[int, float]) -> None:
    """Give receivers at 0 m, of which nobody had said the altitude, the right one in metres, by id."""
    if altitudes_m:
        use_own_tables(cursor)
        execute_values(
            cursor,
            "UPDATE websdrs SET altitude_m = new.altitude_m FROM (VALUES %s) AS new (id, altitude_m) "
            "WHERE websdrs.id = new.id",
            sorted(altitudes_m.items()),
            template="(%s::integer, %s::float8)",
        )


def approved_receivers(cursor: Cursor, websdr_ids: Sequence[int]) -> set[int]:
    """Those of some receivers that have approved recordings."""
    if not websdr_ids:
        return set()
    use_own_tables(cursor)
    cursor.execute(
        "SELECT DISTINCT websdr_id FROM measurements WHERE websdr_id = ANY(%s) AND approved",
        (list(websdr_ids),),
    )
    return {row[0] for row in cursor.fetchall()}


def present(cursor: Cursor, measurement_ids: Sequence[str]) -> dict[str, Present]:
    """Which measurements are there already.

    Args:
        cursor: Of a transaction in a migrated database.
        measurement_ids: UUIDs, lower case.

    Returns:
        Those of them that have a row, and what it says.
    """
    use_own_tables(cursor)
    cursor.execute(
        "SELECT id::text, latitude, longitude, source_id, approved, start_gps_ns, timing_sigma_ns "
        "FROM measurements WHERE id = ANY(%s::uuid[])",
        (list(measurement_ids),),
    )
    return {row[0]: Present(*row[1:]) for row in cursor.fetchall()}


@dataclass(frozen=True)
class Stored:
    """A receiver's second in the database.

    Attributes:
        session_id: UUID.
        websdr_id: Receiver.
        second: The whole second at which it begins, UTC.
    """

    session_id: str
    websdr_id: int
    second: datetime


def at_seconds(
    cursor: Cursor,
    websdr_ids: Sequence[int],
    seconds: Sequence[datetime],
    frequency_mhz: float,
    tolerance_mhz: float,
) -> list[Stored]:
    """What receivers recorded at some seconds, about a frequency; nothing that a simulator made.

    Args:
        cursor: Of a transaction in a migrated database.
        websdr_ids: Receivers.
        seconds: Whole seconds in UTC, at least one. A recording begins up to a sample after one of them.
        frequency_mhz: Tuned frequency.
        tolerance_mhz: By how much another one may differ.
    """
    use_own_tables(cursor)
    begun = "date_trunc('second', \"timestamp\" + interval '1 ms')"
    cursor.execute(
        f"SELECT session_id::text, websdr_id, {begun} FROM measurements "  # noqa: S608 - a constant
        f"WHERE websdr_id = ANY(%s) AND {begun} = ANY(%s::timestamptz[]) "
        "AND \"timestamp\" BETWEEN %s - interval '1 s' AND %s + interval '1 s' "
        "AND abs(frequency_mhz - %s) <= %s AND simulated IS NOT TRUE",
        (list(websdr_ids), list(seconds), min(seconds), max(seconds), frequency_mhz, tolerance_mhz),
    )
    return [Stored(*row) for row in cursor.fetchall()]


def places(cursor: Cursor, session_ids: Sequence[str]) -> list[tuple[str, int, float, float]]:
    """Session, receiver and place of the transmitter, of these sessions' rows that have a place."""
    use_own_tables(cursor)
    cursor.execute(
        "SELECT session_id::text, websdr_id, latitude, longitude FROM measurements "
        "WHERE session_id = ANY(%s::uuid[]) AND latitude IS NOT NULL",
        (list(session_ids),),
    )
    return cursor.fetchall()


def read_receivers(connection: Connection) -> list[Receiver]:
    """All receivers, by id."""
    with transaction(connection) as cursor:
        return receivers(cursor)


def receivers(cursor: Cursor) -> list[Receiver]:
    """`read_receivers` within a transaction."""
    use_own_tables(cursor)
    cursor.execute("SELECT id, name, latitude, longitude, altitude_m FROM websdrs ORDER BY id")
    return [Receiver(*row) for row in cursor.fetchall()]
