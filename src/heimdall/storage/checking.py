"""What a source needs and whether it is there, with the rights at hand; nothing is changed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime

from psycopg2 import sql

from heimdall.core import variables
from heimdall.core.errors import HeimdallError
from heimdall.storage import approved, columns, database_errors
from heimdall.storage.columns import MEASUREMENTS, RECEIVERS, Column
from heimdall.storage.connection import Connection, Cursor, transaction, use_own_tables
from heimdall.storage.sources import RowSource, folded, tables_in

OK, NULL, BAD = "ok", "null", "bad"


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        subject: Such as "measurements.snr_db" or "rows".
        verdict: `OK`; `NULL` for what is not there and need not be; or `BAD`.
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
    found = _part(connection, source, "measurements", source.measurements, MEASUREMENTS)
    if source.pinned is not None:
        found.append(Finding("receivers", OK, f"pinned by {source.pinned}"))
    elif source.receivers is not None:
        found += _part(connection, source, "receivers", source.receivers, RECEIVERS)
        if not source.is_own:
            pinned = source.path.with_suffix(".receivers.csv")
            said = f"as the SELECT gives them now; {pinned} would pin which number was which, and when"
            found.append(Finding("receivers", NULL, said))
    if all(finding.verdict != BAD for finding in found):
        found += _look(connection, source, "rows", lambda cursor: _rows(cursor, source, as_of))
        found += _look(connection, source, "snapshot.as_of", lambda cursor: _moment(cursor, as_of))
    return found


def _part(
    connection: Connection, source: RowSource, part: str, select: str, wanted: Sequence[Column]
) -> list[Finding]:
    """The rights that a SELECT needs and, where they are there, its columns."""
    found = _look(connection, source, part, lambda cursor: _rights(cursor, source, select))
    if all(finding.verdict != BAD for finding in found):
        found += _look(connection, source, part, lambda cursor: _columns(cursor, part, select, wanted))
    return found


def _rights(cursor: Cursor, source: RowSource, select: str) -> list[Finding]:
    """Whether of each table that a SELECT names something may be read; the SELECT itself shows the rest."""
    usual = variables.DATABASE_SCHEMA.read() if source.is_own else "public"
    named = {(folded(schema) if schema else usual, folded(name)) for schema, name in tables_in(select)}
    cursor.execute(
        "SELECT nspname::text, relname::text, current_user::text, "
        "has_schema_privilege(pg_namespace.oid, 'USAGE'), has_any_column_privilege(pg_class.oid, 'SELECT'), "
        "row_security_active(pg_class.oid) "
        "FROM pg_class JOIN pg_namespace ON pg_namespace.oid = relnamespace "
        "WHERE relkind = ANY('{r,v,m,f,p}') AND (nspname::text, relname::text) IN %s ORDER BY 1, 2",
        (tuple(named) or (("", ""),),),
    )
    found = []
    for schema, name, user, may_enter, may_read, in_part in cursor.fetchall():
        lacking = [
            sql.SQL(grant).format(sql.Identifier(*what), sql.Identifier(user)).as_string(cursor)
            for there, grant, what in (
                (may_enter, "GRANT USAGE ON SCHEMA {} TO {}", (schema,)),
                (may_read, "GRANT SELECT ON TABLE {} TO {}", (schema, name)),
            )
            if not there
        ]
        verdict, detail = OK, "granted"
        if lacking:
            verdict, detail = BAD, f"Let its owner run: {'; '.join(lacking)}"
        elif in_part:
            verdict, detail = BAD, database_errors.rows_hidden_from(user)
        found.append(Finding(f"right to read {schema}.{name}", verdict, detail))
    return found


def _columns(cursor: Cursor, part: str, select: str, wanted: Sequence[Column]) -> list[Finding]:
    """A finding for each column of a SELECT."""
    found = []
    for item in columns.given_by(cursor, select, wanted):
        subject = f"{part}.{item.column.name.removeprefix(columns.USED)}"
        if item.problem:
            found.append(Finding(subject, BAD, item.problem))
        elif item.column.name.startswith(columns.USED):
            continue  # not read
        elif item.type is None:
            found.append(Finding(subject, NULL, "not given, so it is NULL"))
        else:
            as_text = item.column.kind != "text" and not item.native
            detail = f"{item.type}, read as text and understood row by row" if as_text else item.type
            found.append(Finding(subject, OK, detail))
    return found


def _rows(cursor: Cursor, source: RowSource, as_of: datetime) -> list[Finding]:
    """How many rows a snapshot would take, and what is to be said of them."""
    statement = "SELECT count(*) FROM ({}\n) AS given WHERE given.approved_at <= {}"
    cursor.execute(sql.SQL(statement).format(sql.SQL(source.measurements), sql.Literal(as_of)))
    ((count,),) = cursor.fetchall()
    taken = f"{count} approved at or before {as_of.isoformat()} (snapshot.as_of)"
    found = [
        Finding("rows", OK, taken) if count else Finding("rows", BAD, f"{taken}. {_first(cursor, source)}")
    ]
    undated = approved.undated(cursor, source.measurements)
    if undated:
        found.append(
            Finding(
                "rows without approved_at, or with infinity", NULL, f"{undated}, which are in no snapshot"
            )
        )
    return found + [
        Finding("rows", NULL, said) for said in approved.remarks(cursor, source.measurements, as_of)
    ]


def _first(cursor: Cursor, source: RowSource) -> str:
    """What helps where no row was approved by the moment."""
    statement = "SELECT min(given.approved_at)::text FROM ({}\n) AS given"
    cursor.execute(sql.SQL(statement).format(sql.SQL(source.measurements)))
    ((first,),) = cursor.fetchall()
    if first is None:
        return "No row is approved at any time: approve some"
    return f"The first approval is of {first}: set snapshot.as_of to a later moment"


def _moment(cursor: Cursor, as_of: datetime) -> list[Finding]:
    """Whether the moment of the snapshot is over."""
    approved.refuse_future(cursor, as_of)
    return [Finding("snapshot.as_of", OK, "over, by the database's clock")]


def _look(
    connection: Connection, source: RowSource, part: str, look: Callable[[Cursor], list[Finding]]
) -> list[Finding]:
    """What is found in a transaction that changes nothing; what it refuses is a finding."""
    try:
        with transaction(connection, read_only=True) as cursor:
            if source.is_own:
                use_own_tables(cursor)
            return look(cursor)
    except HeimdallError as error:
        return [Finding(part, BAD, f"{error.cause}. {error.remedy}")]
