"""What a source needs and whether it is there, with the rights at hand; nothing is changed."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql

from heimdall.core.errors import HeimdallError
from heimdall.storage import approved, columns
from heimdall.storage.columns import MEASUREMENTS, RECEIVERS, Column
from heimdall.storage.connection import Connection, Cursor, transaction, use_own_tables
from heimdall.storage.sources import RowSource

OK, NULL, BAD = "ok", "null", "missing"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: Such as "measurements.snr_db" or "rows".
        verdict: `OK`; `NULL` for a column that is not there and need not be; or `BAD`.
        detail: The type of a column, a number of rows, or what is wrong and what to do.
    """

    subject: str
    verdict: str
    detail: str


def check(connection: Connection, source: RowSource, as_of: datetime) -> list[Finding]:
    """Look at everything that a snapshot of this source needs of the database.

    Args:
        connection: With the rights with which snapshots are taken.
        source: What a snapshot reads.
        as_of: Its moment.

    Returns:
        Findings: the columns of each SELECT, the rows that would be taken, the moment. A part that fails is a
        finding, too.
    """
    found = _columns(connection, source, "measurements", source.measurements, MEASUREMENTS)
    if source.pinned is not None:
        found.append(Finding("receivers", OK, f"pinned by {source.pinned}"))
    elif source.receivers is not None:
        found += _columns(connection, source, "receivers", source.receivers, RECEIVERS)
    if all(finding.verdict != BAD for finding in found):
        found += _rows(connection, source, as_of)
    return found


def _columns(
    connection: Connection, source: RowSource, part: str, select: str, wanted: Sequence[Column]
) -> list[Finding]:
    """A finding for each column of a SELECT; one alone where it fails as a whole."""
    found: list[Finding] = []
    with _reading(connection, source, part, found) as cursor:
        for item in columns.given_by(cursor, select, wanted):
            subject = f"{part}.{item.column.name}"
            if item.problem:
                found.append(Finding(subject, BAD, item.problem))
            elif item.type is None:
                found.append(Finding(subject, NULL, "not given, so it is NULL"))
            else:
                as_text = item.column.kind != "text" and not item.native
                detail = f"{item.type}, read as text and understood row by row" if as_text else item.type
                found.append(Finding(subject, OK, detail))
    return found


def _rows(connection: Connection, source: RowSource, as_of: datetime) -> list[Finding]:
    """How many rows a snapshot would take, and whether its moment is over."""
    found: list[Finding] = []
    with _reading(connection, source, "rows", found) as cursor:
        statement = "SELECT count(*) FROM ({}\n) AS given WHERE given.approved_at <= {}"
        cursor.execute(sql.SQL(statement).format(sql.SQL(source.measurements), sql.Literal(as_of)))
        ((count,),) = cursor.fetchall()
        moment = as_of.isoformat()
        verdict = OK if count else BAD
        found.append(Finding("rows", verdict, f"{count} approved at or before {moment} (snapshot.as_of)"))
        undated = approved.undated(cursor, source.measurements)
        if undated:
            found.append(Finding("rows without approved_at", NULL, f"{undated}, which are in no snapshot"))
        found += [Finding("rows", OK, said) for said in approved.remarks(cursor, source.measurements, as_of)]
    with _reading(connection, source, "snapshot.as_of", found) as cursor:
        approved.refuse_future(cursor, as_of)
        found.append(Finding("snapshot.as_of", OK, "over, by the database's clock"))
    return found


@contextmanager
def _reading(connection: Connection, source: RowSource, part: str, found: list[Finding]) -> Iterator[Cursor]:
    """A transaction that changes nothing; what it refuses is a finding."""
    try:
        with transaction(connection, read_only=True) as cursor:
            if source.is_own:
                use_own_tables(cursor)
            yield cursor
    except HeimdallError as error:
        found.append(Finding(part, BAD, f"{error.cause}. {error.remedy}"))
