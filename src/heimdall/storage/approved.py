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

BATCH_ROWS = 2000
# Approvals are stamped when they commit, within moments; a reader must not be earlier than the last of them.
MARGIN = timedelta(seconds=60)
# The moment up to which the server knows every commit, and whether it is a standby. Of a standby it is that
# of the last commit which reached it, NULL before the first: whether the server from which it copies lags
# itself, or has lost its primary, no standby can know.
_KNOWN_UNTIL = (
    "SELECT extract(epoch FROM CASE WHEN pg_is_in_recovery() THEN pg_last_xact_replay_timestamp() "
    "ELSE now() END)::float8, pg_is_in_recovery()"
)
_COMMIT = "`SELECT pg_current_xact_id()` on the primary, which is a commit that the standby gets"
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

    The rows are ordered by the moment of their approval, session, receiver and identifier, then by all other
    columns. If the connection is lost, or a standby cancels the query, all is read again.

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
    others = [name for name in by_name if name not in _ORDER and by_name[name].type is not None]
    order = [
        sql.SQL("{} COLLATE {}").format(by_name[name].expression(), sql.Identifier("C"))
        if by_name[name].is_text
        else by_name[name].expression()
        for name in (*_ORDER, *others)  # all: rows without a key are ordered by nothing else
    ]
    return sql.SQL("{} WHERE given.approved_at <= {} ORDER BY given.approved_at, {}").format(
        _columns_of(select, given), sql.Literal(as_of), sql.SQL(", ").join(order)
    )


def undated(cursor: Cursor, select: str) -> int:
    """How many approved rows have no moment of approval, or one that never comes: they are in no snapshot."""
    statement = (
        "SELECT count(*) FROM ({}\n) AS given "
        "WHERE given.approved_at IS NULL OR given.approved_at > '9999-12-31Z'"  # such as infinity
    )
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
    problems = [
        f"{item.column.name.removeprefix(columns.USED)}: {item.problem}" for item in given if item.problem
    ]
    if problems:
        remedy = "Let the SELECT give it; `heimdall database check` says what is there, column by column"
        raise HeimdallError(str(source.path), "; ".join(problems), remedy)
    return given[: len(wanted)]


def latest(where: Database) -> datetime:
    """The latest moment that a snapshot may have, by the database's clock.

    Raises:
        HeimdallError: The database cannot be reached.
    """
    with closing(connect(where)) as connection, transaction(connection, read_only=True) as cursor:
        return _latest(cursor)[0]


def refuse_future(cursor: Cursor, as_of: datetime) -> None:
    """Refuse a moment before which rows could still be approved.

    Raises:
        HeimdallError: It is later than the database's clock less `MARGIN`.
    """
    last, is_standby = _latest(cursor)
    if as_of > last:
        clock = "the last commit that this standby got" if is_standby else "the database's clock"
        cause = (
            f"{as_of.astimezone(UTC).isoformat()} is later than {clock} less "
            f"{MARGIN.total_seconds():.0f} s, so rows could still be approved before it"
        )
        wait = _text(as_of.astimezone(UTC) + MARGIN)
        again = (
            f"after {wait} run {_COMMIT}, then this again" if is_standby else f"run this again after {wait}"
        )
        raise HeimdallError("snapshot.as_of", cause, f'Set it to "{_text(last)}" or earlier, or {again}')


def _latest(cursor: Cursor) -> tuple[datetime, bool]:
    """The latest moment that a snapshot may have, and whether the server is a standby."""
    cursor.execute(_KNOWN_UNTIL)
    ((known_s, is_standby),) = cursor.fetchall()
    if known_s is None:
        cause = "this standby got no commit since it was started, so what it lacks cannot be known"
        raise HeimdallError("snapshot.as_of", cause, f"Run {_COMMIT}, then this again")
    return datetime.fromtimestamp(int(known_s), UTC) - MARGIN, bool(is_standby)


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
