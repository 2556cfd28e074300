"""The columns that a SELECT of `sql/` must give, and how a value of any type in them becomes one of ours.

Numbers, integers, truth values and times are read as such where the database has them as such. Everything
else is read as text and understood here, cell by cell: what cannot be understood condemns its row alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import pyarrow as pa
from psycopg2 import sql

from heimdall.core.numbers import whole_number
from heimdall.storage.connection import Cursor

Kind = Literal["text", "number", "integer", "truth", "time"]


@dataclass(frozen=True)
class Column:
    """One column of a SELECT.

    Attributes:
        name: In the SELECT.
        ours: In tables of the snapshot, with its unit.
        kind: What its values are.
        required: Whether a SELECT must give it; what else is missing is NULL.
    """

    name: str
    ours: str
    kind: Kind
    required: bool = True


MEASUREMENTS = (
    Column("id", "measurement_id", "text"),
    Column("session_id", "session_id", "text"),
    Column("websdr_id", "websdr_id", "integer"),
    Column("latitude", "latitude_deg", "number"),
    Column("longitude", "longitude_deg", "number"),
    Column("frequency_mhz", "frequency_mhz", "number"),
    Column("snr_db", "snr_db", "number", required=False),
    Column("timestamp", "timestamp", "time"),
    Column("approved_at", "approved_at", "time"),
    Column("sample_rate_hz", "sample_rate_hz", "number"),
    Column("source_id", "source_id", "text", required=False),
    Column("modulation", "modulation", "text", required=False),
    Column("simulated", "simulated", "truth"),
    Column("start_gps_ns", "start_gps_ns", "integer", required=False),
    Column("timing_sigma_ns", "timing_sigma_ns", "number", required=False),
    Column("object_key", "object_key", "text", required=False),
)
RECEIVERS = (
    Column("id", "websdr_id", "integer"),
    Column("name", "name", "text"),
    Column("latitude", "latitude_deg", "number"),
    Column("longitude", "longitude_deg", "number"),
    Column("altitude_m", "altitude_m", "number"),
)
REMARK = Column("remark", "remark", "text", required=False)  # told to whoever takes a snapshot, and not kept
# A column of this beginning is not read. It is a time of which a SELECT makes another one, so that its type
# can be looked at: PostgreSQL takes a time without a zone for one in this session's, UTC, and says nothing.
USED = "uses_"
UNREADABLE = "unreadable"  # the column that says which value of a row could not be understood; else NULL
_NATIVE = {
    "number": {"smallint", "integer", "bigint", "real", "double precision"},
    "integer": {"smallint", "integer", "bigint"},
    "truth": {"boolean"},
    "time": {"timestamp with time zone"},
}
_CASTS = {"number": "{}::float8", "integer": "{}::bigint", "truth": "{}", "text": "{}::text"}
# Microseconds since 1970: PostgreSQL knows infinity and the year 294276, Python does not: NULL.
_TIME = (
    "CASE WHEN {0} BETWEEN '0001-01-01Z' AND '9999-12-31Z' "
    "THEN (extract(epoch FROM {0}) * 1000000)::bigint END"
)
_DOTS = ", with its column for the dots"
_COUNTED = (
    "has no time zone; in the SELECT, write `to_timestamp(...) AS {0}` if it counts seconds since 1970, "
    f"`to_timestamp(... / 1000.0) AS {{0}}` if milliseconds{_DOTS}"
)
_WRITTEN = (
    "may have no time zone; in the SELECT, write `...::timestamptz AS {0}` if each text names its zone or "
    "means UTC, else `...::timestamp AT TIME ZONE 'Europe/Rome' AS {0}` with the zone in which it was written"
    f"{_DOTS}"
)
# By the type of what is to be a time: what helps.
_TIMES = {
    "timestamp without time zone": (
        "has no time zone; in the SELECT, write `... AT TIME ZONE 'UTC' AS {0}`, with its column for the "
        "dots and the zone in which it was written"
    ),
    "date": "has no time of day; give a column that has one",
    **dict.fromkeys(("text", "character varying", "character"), _WRITTEN),
    **dict.fromkeys(("smallint", "integer", "bigint", "real", "double precision", "numeric"), _COUNTED),
}
_ARROW = {
    "text": pa.string(),
    "number": pa.float64(),
    "integer": pa.int64(),
    "truth": pa.bool_(),
    "time": pa.timestamp("us", tz="UTC"),
}


@dataclass(frozen=True)
class Given:
    """What a SELECT gives for one of the columns.

    Attributes:
        column: Which.
        type: PostgreSQL's name of its type; None where the SELECT lacks the column.
    """

    column: Column
    type: str | None

    @property
    def problem(self) -> str:
        """Why it cannot be read; empty where it can."""
        if self.type is None:
            return "missing" if self.column.required else ""
        if self.column.kind == "time" and self.type not in _NATIVE["time"]:
            name = {"timestamp": '"timestamp"'}.get(self.column.name, self.column.name)
            remedy = _TIMES.get(self.type, "give a timestamptz instead of it")
            return f"{self.type} {remedy.format(name)}"
        return ""

    @property
    def native(self) -> bool:
        """Whether the database has it in a type of its kind."""
        return self.type in _NATIVE.get(self.column.kind, ())

    @property
    def is_text(self) -> bool:
        """Whether it is read as text."""
        return self.column.kind == "text" or not (self.native or self.column.kind == "time")

    def expression(self) -> sql.Composable:
        """What reads it from a subquery called `given`."""
        if self.type is None:
            return sql.SQL("NULL")
        place = sql.SQL("given.{}").format(sql.Identifier(self.column.name))
        if self.column.kind == "time":
            return sql.SQL(_TIME).format(place)
        if self.column.kind == "text" and not self.column.required:
            return sql.SQL("nullif({}::text, '')").format(place)  # nothing said, in other words
        if self.column.kind == "integer" and self.type == "numeric":
            return sql.SQL("trim_scale({})::text").format(place)  # 7.00 is whole, and no digit is lost
        return sql.SQL(_CASTS[self.column.kind if self.native else "text"]).format(place)


def given_by(cursor: Cursor, select: str, columns: Sequence[Column]) -> list[Given]:
    """What a SELECT gives, without reading a row.

    Args:
        cursor: In a transaction.
        select: The SELECT, without a semicolon.
        columns: What it is to give.
    """
    cursor.execute(sql.SQL("SELECT * FROM ({}\n) AS given LIMIT 0").format(sql.SQL(select)))
    types = {item.name: item.type_code for item in cursor.description or ()}
    oids = list(types.values())
    cursor.execute("SELECT oid, format_type(oid, NULL) FROM pg_type WHERE oid = ANY(%s)", (oids,))
    names = dict(cursor.fetchall())
    used = [Column(name, name, "time", required=False) for name in types if name.startswith(USED)]
    return [Given(column, names.get(types.get(column.name))) for column in [*columns, *used]]


def schema(columns: Sequence[Column]) -> pa.Schema:
    """Of the tables that `table` makes."""
    fields = [(column.ours, _ARROW[column.kind]) for column in columns]
    return pa.schema([*fields, (UNREADABLE, pa.string())])


def table(given: Sequence[Given], rows: Sequence[tuple[Any, ...]]) -> pa.Table:
    """Rows as they come from `Given.expression`, as a table.

    Args:
        given: What each column is.
        rows: One tuple a row.

    Returns:
        The columns by our names, and `UNREADABLE`.
    """
    unreadable: list[str | None] = [None] * len(rows)
    arrays = []
    for number, item in enumerate(given):
        values: list[Any] = [row[number] for row in rows]
        if item.type is not None and not item.native and item.column.kind in _READERS:
            values = _understood(item, values, unreadable)
        arrays.append(pa.array(values, _ARROW[item.column.kind]))
    return pa.table(
        [*arrays, pa.array(unreadable, pa.string())], schema=schema([item.column for item in given])
    )


def _understood(given: Given, texts: list[str | None], unreadable: list[str | None]) -> list[Any]:
    """Texts as values of the column's kind; what cannot be understood is None, and said in `unreadable`."""
    read, values = _READERS[given.column.kind], []
    for row, text in enumerate(texts):
        try:
            values.append(None if text is None else read(text))
        except (ValueError, OverflowError):
            values.append(None)
            what = f"{given.column.name} {str(text)[:60]!r} is no {given.column.kind}"
            unreadable[row] = unreadable[row] or what
    return values


def _number(text: str) -> float:
    if "_" in text:  # Python's own digits
        raise ValueError(text)
    return float(text)


def _integer(text: str) -> int:
    exact = whole_number(text)
    if not -(2**63) <= exact < 2**63:
        raise ValueError(text)
    return exact


def _truth(text: str) -> bool:
    word = text.strip().lower()
    if word not in ("t", "true", "1", "f", "false", "0"):
        raise ValueError(text)
    return word in ("t", "true", "1")


_READERS: Mapping[str, Callable[[str], Any]] = {"number": _number, "integer": _integer, "truth": _truth}
