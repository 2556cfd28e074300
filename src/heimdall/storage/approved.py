"""The approved rows of a source, read in batches into a file: one moment, nothing changed, little memory."""

from __future__ import annotations

import time
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.storage import columns
from heimdall.storage.columns import MEASUREMENTS, RECEIVERS, Column, Given
from heimdall.storage.connection import (
    Connection,
    Cursor,
    DatabaseLost,
    connect,
    transaction,
    use_own_tables,
)
from heimdall.storage.endpoints import Database
from heimdall.storage.retries import READ_PAUSES_S
from heimdall.storage.sources import RowSource

BATCH_ROWS = 10_000
# Approvals are stamped when they commit, within moments; a reader must not be earlier than the last of them.
MARGIN = timedelta(seconds=60)
# The moment up to which the server knows every commit. Of a standby that lags or has lost its primary it is
# that of the last commit which reached it.
_KNOWN_UNTIL = (
    "SELECT extract(epoch FROM CASE WHEN NOT pg_is_in_recovery() OR (pg_last_wal_receive_lsn() <= "
    "pg_last_wal_replay_lsn() AND EXISTS (SELECT FROM pg_stat_wal_receiver)) THEN now() "
    "ELSE coalesce(pg_last_xact_replay_timestamp(), to_timestamp(0)) END)::float8"
)
_ORDER = ("session_id", "websdr_id", "id")


@dataclass(frozen=True)
class Approved:
    """What was read of a source.

    Attributes:
        count: Rows in the file.
        undated: Rows of the source that no snapshot can hold, because they have no moment of approval.
        remarks: What the SELECT itself says of its rows.
        receivers: `columns.schema(RECEIVERS)`, one row each; None where they are pinned by a file.
    """

    count: int
    undated: int
    remarks: list[str]
    receivers: pa.Table | None


def read(where: Database, source: RowSource, as_of: datetime, target: Path) -> Approved:
    """Write the rows approved at or before `as_of` to a file, in one READ ONLY transaction.

    The rows are ordered by the moment of their approval, session, receiver and identifier. If the connection
    is lost, or a standby cancels the query, all is read again.

    Args:
        where: The database.
        source: What to read there.
        as_of: Time with a zone.
        target: A Parquet file of `columns.schema(MEASUREMENTS)`.

    Returns:
        What was read.

    Raises:
        HeimdallError: The database cannot be reached or refuses, a required column is missing, a time has
            no zone, or `as_of` is later than the database's clock less `MARGIN`.
    """
    for pause_s in (*READ_PAUSES_S, None):
        try:
            with closing(connect(where)) as connection:
                return read_from(connection, source, as_of, target)
        except DatabaseLost:
            if pause_s is None:
                raise
            time.sleep(pause_s)
    raise AssertionError("the last try returns or raises")


def read_from(connection: Connection, source: RowSource, as_of: datetime, target: Path) -> Approved:
    """As `read`, with a connection that is there, and without a second try."""
    with transaction(connection, read_only=True) as cursor:
        if source.is_own:
            use_own_tables(cursor)
        refuse_future(cursor, as_of)
        given = _readable(cursor, source, source.measurements, MEASUREMENTS)
        count = _spool(connection, selection(source.measurements, given, as_of), given, target)
        receivers = None
        if source.pinned is None and source.receivers is not None:
            found = _readable(cursor, source, source.receivers, RECEIVERS)
            cursor.execute(_columns_of(source.receivers, found))
            receivers = columns.table(found, cursor.fetchall())
        said = remarks(cursor, source.measurements, as_of)
        return Approved(count, undated(cursor, source.measurements), said, receivers)


def selection(select: str, given: list[Given], as_of: datetime) -> sql.Composable:
    """The statement that reads the rows approved by then, in their order."""
    by_name = {item.column.name: item for item in given}
    order = [
        sql.SQL("{} COLLATE {}").format(by_name[name].expression(), sql.Identifier("C"))
        if by_name[name].column.kind == "text" or not by_name[name].native
        else by_name[name].expression()
        for name in _ORDER
    ]
    return sql.SQL("{} WHERE given.approved_at <= {} ORDER BY given.approved_at, {}").format(
        _columns_of(select, given), sql.Literal(as_of), sql.SQL(", ").join(order)
    )


def undated(cursor: Cursor, select: str) -> int:
    """How many approved rows have no moment of approval, and so are in no snapshot."""
    statement = "SELECT count(*) FROM ({}\n) AS given WHERE given.approved_at IS NULL"
    cursor.execute(sql.SQL(statement).format(sql.SQL(select)))
    ((count,),) = cursor.fetchall()
    return int(count)


def remarks(cursor: Cursor, select: str, as_of: datetime) -> list[str]:
    """What a SELECT says in its column `remark`, if it has one, and of how many rows approved by then."""
    if columns.given_by(cursor, select, (columns.REMARK,))[0].type is None:
        return []
    statement = (
        "SELECT given.remark::text, count(*) FROM ({}\n) AS given WHERE given.approved_at <= {} "
        "AND given.remark::text <> '' GROUP BY 1 ORDER BY 1"
    )
    cursor.execute(sql.SQL(statement).format(sql.SQL(select), sql.Literal(as_of)))
    return [f"{remark} ({count} rows)" for remark, count in cursor.fetchall()]


def _columns_of(select: str, given: list[Given]) -> sql.Composable:
    expressions = sql.SQL(", ").join(item.expression() for item in given)
    return sql.SQL("SELECT {} FROM ({}\n) AS given").format(expressions, sql.SQL(select))


def _readable(cursor: Cursor, source: RowSource, select: str, wanted: tuple[Column, ...]) -> list[Given]:
    """What a SELECT gives; refused where a column is missing or cannot be read."""
    given = columns.given_by(cursor, select, wanted)
    problems = [f"{item.column.name}: {item.problem}" for item in given if item.problem]
    if problems:
        remedy = "Let the SELECT give it; `heimdall database check` says what is there, column by column"
        raise HeimdallError(str(source.path), "; ".join(problems), remedy)
    return given


def latest(where: Database) -> datetime:
    """The latest moment that a snapshot may have, by the database's clock.

    Raises:
        HeimdallError: The database cannot be reached.
    """
    with closing(connect(where)) as connection, transaction(connection, read_only=True) as cursor:
        return _latest(cursor)


def refuse_future(cursor: Cursor, as_of: datetime) -> None:
    """Refuse a moment before which rows could still be approved.

    Raises:
        HeimdallError: It is later than the database's clock less `MARGIN`.
    """
    last = _latest(cursor)
    if as_of > last:
        cause = (
            f"{as_of.astimezone(UTC).isoformat()} is later than the database's clock less "
            f"{MARGIN.total_seconds():.0f} s, so rows could still be approved before it"
        )
        wait = as_of.astimezone(UTC) + MARGIN
        remedy = f'Set it to "{_text(last)}" or earlier, or run this again after {_text(wait)}'
        raise HeimdallError("snapshot.as_of", cause, remedy)


def _latest(cursor: Cursor) -> datetime:
    cursor.execute(_KNOWN_UNTIL)
    ((now_s,),) = cursor.fetchall()
    return datetime.fromtimestamp(int(now_s), UTC) - MARGIN


def _text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def _spool(connection: Connection, statement: sql.Composable, given: list[Given], target: Path) -> int:
    """Read through a cursor of the server into a file, batch by batch; the number of rows."""
    count = 0
    with artifacts.atomic(target) as partial, connection.cursor(name="heimdall_approved") as cursor:
        cursor.itersize = BATCH_ROWS
        cursor.execute(statement)
        with pq.ParquetWriter(partial, columns.schema(MEASUREMENTS), compression="zstd") as writer:
            while rows := cursor.fetchmany(BATCH_ROWS):
                writer.write_table(columns.table(given, rows))
                count += len(rows)
    return count
