"""Rows with every odd value that PostgreSQL can hold in each column, through a whole snapshot.

Each hundred are a table of its own, whose columns have the types that a snapshot wishes, or others. They are
read by a SELECT of their own, or by that of the specification's table; in UTF-8, or in a database that does
not say its encoding and holds bytes that are no text.
"""

from __future__ import annotations

import dataclasses
import datetime as dt
import shutil
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pyarrow.parquet as pq
from psycopg2 import sql

from heimdall.api import endpoints
from heimdall.core import paths
from heimdall.core.params import SnapshotParams
from heimdall.pipeline.snapshot import schemas, snapshot
from heimdall.recordings import archive, iq, limits
from heimdall.storage import connection, database_url
from heimdall.storage.columns import MEASUREMENTS
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import ObjectStore, object_key
from heimdall.storage.s3_access import S3Access
from tests import REPOSITORY
from tests.fuzzing import running
from tests.fuzzing.mutations import TEXTS
from tests.fuzzing.readers import require
from tests.fuzzing.running import ACCEPTED, REFUSED, Counts, Failure, Lost

NAME = "rows"
BATCH = 100
RATE_HZ = 8000
AS_OF = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)
PARAMS = SnapshotParams(
    as_of=AS_OF,
    source="fuzz",
    max_quarantined_fraction=0.999,
    shard_sessions=50,
    max_duration_s=1.0,
    download_threads=4,
)
SELECTS = """-- receivers
SELECT n AS id, 'R' || n AS name, 45.0 AS latitude, 7.0 AS longitude, 100.0 AS altitude_m
FROM generate_series(1, 3) AS n

-- measurements
SELECT * FROM public.measurements
"""
OF_SPECIFICATION = (
    "id",
    "session_id",
    "websdr_id",
    "latitude",
    "longitude",
    "frequency_mhz",
    "snr_db",
    "timestamp",
    "sample_rate_hz",
)

_NUMBERS = ("0", "-1", "1", "2", "3", "90", "-90.0000001", "180", "181", "1e6", "1e7", "1e15", "1e18", "0.1")
_FLOATS = (*_NUMBERS, "NaN", "Infinity", "-Infinity", "-0")
_TIMES = (
    *(
        "infinity",
        "-infinity",
        "4713-01-01 BC",
        "294276-12-31",
        "0001-01-01",
        "1970-01-01",
        "1999-12-31T23:59:59Z",
    ),
    *("2000-01-01Z", "2026-01-03T00:00:00.000001Z", "2038-01-19T03:14:08Z", "2106-02-07Z", "2262-04-12Z"),
    *(
        "9999-12-31T23:59:59.999999Z",
        "10000-01-01Z",
        "2016-12-31T23:59:60Z",
        "2026-01-01T12:00:00+14",
        "1582-10-10Z",
    ),
)
ODD = {
    "text": tuple(text for text in TEXTS if "\0" not in text),
    "numeric": (
        *_FLOATS,
        "1" * 1000,
        "-" + "9" * 1000,
        "0." + "0" * 900 + "1",
        "1e131000",
        "1.5",
        str(2**63),
    ),
    "double precision": (*_FLOATS, "1e308", "-1e308", "5e-324", "9007199254740993", "1.5"),
    "real": (*_FLOATS, "3e38", "1e-45", "16777217", "1.5"),
    "bigint": ("0", "-1", "4", str(2**31), str(2**63 - 1), str(-(2**63)), "9007199254740993"),
    "integer": ("0", "-1", "4", str(2**31 - 1), str(-(2**31))),
    "smallint": ("0", "-1", "4", "32767", "-32768"),
    "boolean": ("true", "false"),
    "timestamp with time zone": _TIMES,
    "uuid": (
        "00000000-0000-0000-0000-000000000000",
        "FFFFFFFF-FFFF-FFFF-FFFF-FFFFFFFFFFFF",
        "{" + "a" * 32 + "}",
    ),
    "character(40)": ("", "1", "x", "NaN"),
    "jsonb": ("{}", "[1]", '"x"', "1", "null", "true", "1e400"),
    "bytea": ("\\x00ff", "\\x", "1"),
    "text[]": ("{}", "{1,NULL}", "{{x}}"),
    "interval": ("1 day", "-178000000 years"),
    "money": ("1", "-92233720368547758.08"),
    "bit(3)": ("101",),
    "point": ("(1,2)", "(NaN,Infinity)"),
    "inet": ("::1",),
    "int4range": ("empty", "(,)"),
    "date": ("2026-01-02", "infinity"),
    "timestamp without time zone": ("2026-01-02", "infinity"),
}
_EXOTIC = tuple(ODD)[10:]
_TYPES = {
    "text": ("text", "text", "uuid", "character(40)"),
    "integer": ("bigint", "integer", "numeric", "text", "double precision", "smallint"),
    "number": ("double precision", "numeric", "text", "real"),
    "truth": ("boolean", "text"),
    "time": ("timestamp with time zone",),
}
_NOT_TEXT = "E'a\\xff\\xfe\\xc3('"  # bytes of no encoding


@dataclass(frozen=True)
class Server:
    """What the rows go through.

    Attributes:
        databases: One in UTF-8, and one of SQL_ASCII.
        s3: Has the objects.
        root: Where the snapshots are taken.
    """

    databases: tuple[Database, Database]
    s3: S3Access
    root: Path


def good(row: int) -> dict[str, str]:
    """Row number 0 to 99 without a fault."""
    identifier = str(uuid.UUID(int=(row + 1) << 64 | 0x8000000000000000, version=4))
    return {
        "id": identifier,
        "session_id": identifier,
        "websdr_id": str(1 + row % 3),
        "latitude": "45.5",
        "longitude": "7.5",
        "frequency_mhz": "145",
        "snr_db": "10",
        "timestamp": "2026-01-02Z",
        "approved_at": "2026-01-03Z",
        "sample_rate_hz": str(RATE_HZ),
        "source_id": "tx",
        "modulation": "am",
        "simulated": "true",
        "start_gps_ns": "1451304245000000123",
        "timing_sigma_ns": "50",
    }


def run(seed: int, numbers: range, progress: Callable[[], object] = lambda: None) -> Counts:
    """Take snapshots of tables with these rows."""
    counts = Counts(NAME)
    with serving() as server:
        for first in range(numbers.start - numbers.start % BATCH, numbers.stop, BATCH):
            chosen = range(max(first, numbers.start), min(first + BATCH, numbers.stop))
            begin = time.perf_counter()
            kind, text, kept = _judged(server, seed, first // BATCH, chosen)
            took_s = (time.perf_counter() - begin) / len(chosen)
            for number in chosen:
                one = (ACCEPTED if number - chosen.start < kept else REFUSED, "")
                if kind in running.FAILURES:  # which of them?
                    one = _judged(server, seed, first // BATCH, range(number, number + 1))[:2]
                counts.add(number, *one, took_s)
                progress()
            if kind in running.FAILURES and not any(one.number in chosen for one in counts.failures):
                counts.failures.append(Failure(NAME, first, kind, f"only as a whole table: {text}"))
    return counts


def _judged(server: Server, seed: int, batch: int, numbers: range) -> tuple[str, str, int]:
    """What came of some rows of a table, why it must not be, and how many are in the snapshot."""
    kept = 0

    def read() -> None:
        nonlocal kept
        kept = _snapshot(server, seed, batch, numbers)

    kind, text = running.judged(read)
    return kind, text, kept


def _snapshot(server: Server, seed: int, batch: int, numbers: range) -> int:
    """Make the table, take a snapshot of it and look at what it holds; the number of good rows."""
    random = running.generator(f"{seed} {NAME} table {batch}")
    of_specification, ascii_only = random.random() < 0.3, random.random() < 0.4
    database = server.databases[ascii_only]
    names = [one.name for one in MEASUREMENTS if one.name in good(0)]
    kinds = {one.name: one.kind for one in MEASUREMENTS}
    names = [name for name in names if not of_specification or name in (*OF_SPECIFICATION, "approved_at")]
    types = {name: _declared(random, name, kinds[name]) for name in names}
    rows = [
        _row(running.generator(f"{seed} {NAME} {number}"), number % BATCH, types, ascii_only)
        for number in numbers
    ]
    last = {name: _fitting(declared, good(BATCH)[name]) for name, declared in types.items()}
    stored = {name: "created_at" if of_specification and name == "approved_at" else name for name in names}
    with closing(connection.connect(database)) as opened, opened, opened.cursor() as cursor:
        cursor.execute("DROP TABLE IF EXISTS public.measurements")
        declared = ", ".join(f'"{stored[name]}" {types[name]}' for name in names)
        cursor.execute(f"CREATE TABLE public.measurements ({declared})")
        cells = sql.SQL(", ").join(
            sql.SQL("({})").format(
                sql.SQL(", ").join(
                    sql.SQL(f"{{}}::{types[name]}").format(
                        sql.SQL(_NOT_TEXT) if row[name] == _NOT_TEXT else sql.Literal(row[name])
                    )
                    for name in names
                )
            )
            for row in [*rows, last]
        )
        cursor.execute(sql.SQL("INSERT INTO public.measurements VALUES {}").format(cells))
    source = "specification" if of_specification else PARAMS.source
    params = dataclasses.replace(PARAMS, source=source)
    snapshot.take(params, Endpoints(database, server.s3), server.root, queries=server.root / "sql")
    kept = archive.read_measurements(server.root)
    bad = pq.read_table(server.root / paths.QUARANTINE).to_pylist()
    with closing(connection.connect(database)) as opened, opened.cursor() as cursor:
        moment = 'coalesce(created_at, "timestamp")' if of_specification else "approved_at"
        cursor.execute(f"SELECT count(*) FROM public.measurements WHERE {moment} <= %s", (AS_OF,))  # noqa: S608
        ((count,),) = cursor.fetchall()
    if len(kept) + len(bad) != count:
        raise Lost(f"{count} approved rows, but {len(kept)} kept and {len(bad)} in quarantine")
    for row in bad:
        require(
            row["detail"].isprintable() and len(row["detail"]) < 500, f"a line of the quarantine: {row}"[:600]
        )
    require(kept["session_id"].str.fullmatch(r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}").all(), "a session")
    require(kept["websdr_id"].isin(archive.read_receivers(server.root)["websdr_id"]).all(), "a receiver")
    for name, low, high in (
        ("latitude_deg", -90, 90),
        ("longitude_deg", -180, 180),
        ("frequency_mhz", 5e-324, 1e6),
        ("snr_db", -1000, 1000),
        ("sample_rate_hz", 1, 1e7),
        ("timing_sigma_ns", 0, 1e15),
        ("start_gps_ns", 0, limits.LATEST_GPS_NS),
    ):
        values = kept[name].dropna() if name in ("snr_db", "timing_sigma_ns", "start_gps_ns") else kept[name]
        require(values.between(low, high).all(), f"{name} of {values.min()} to {values.max()}")
    require((kept["timestamp"] <= kept["approved_at"]).all(), "a row that was approved before it was made")
    require((kept["timestamp"] >= schemas.EARLIEST).all(), "a time before there were receivers")
    return len(kept) - 1  # but the one that is always good


def _declared(random: Random, name: str, kind: str) -> str:
    """A type of a column; one of fifty can hold no good value."""
    if random.random() < 0.02:
        return random.choice(_EXOTIC)
    return random.choice([declared for declared in _TYPES[kind] if _holds(declared, good(0)[name])])


def _row(random: Random, row: int, types: dict[str, str], ascii_only: bool) -> dict[str, str | None]:
    """A good row with one to three odd values; a type that cannot hold the good one has an odd one."""
    found: dict[str, str | None] = {name: value for name, value in good(row).items() if name in types}
    odd = random.sample(sorted(types), random.choice((0, 1, 1, 1, 2, 3)))
    for name, declared in types.items():
        if name in odd and random.random() < 0.15:
            found[name] = None
        elif name in odd and declared == "text" and ascii_only and random.random() < 0.3:
            found[name] = _NOT_TEXT
        elif name in odd or not _holds(declared, str(found[name])):
            found[name] = random.choice(ODD[declared])
    return found


def _fitting(declared: str, text: str) -> str:
    """A good value, or the first odd one of a type that cannot hold it."""
    return text if _holds(declared, text) else ODD[declared][0]


def _holds(declared: str, text: str) -> bool:
    """Whether a good value fits into a type."""
    if declared in ("integer", "smallint", "bigint"):
        limit = {"smallint": 2**15, "integer": 2**31, "bigint": 2**63}[declared]
        return text.isdecimal() and int(text) < limit
    if declared == "uuid":
        return len(text) == 36
    if declared in ("double precision", "real") and text.isdecimal() and int(text) > 2**53:
        return False  # a float loses nanoseconds of a GPS time
    return declared in ("text", "character(40)", "numeric", "double precision", "real", "boolean") or (
        declared.startswith("timestamp with ")
    )


@contextmanager
def serving() -> Iterator[Server]:
    """Two databases on the configured server, and the objects of good rows in a bucket; all removed again."""
    found = endpoints.resolve()
    name = f"heimdall_fuzz_{uuid.uuid4().hex[:8]}"
    names = {
        name: "TEMPLATE template0 ENCODING 'UTF8'",
        f"{name}_bytes": "TEMPLATE template0 ENCODING 'SQL_ASCII'",
    }
    address = database_url.parse(found.database.url)
    made = [Database(address.with_database(one), embedded=False) for one in names]
    store = ObjectStore(found.s3, RAW_BUCKET)
    store.ensure_bucket()
    noise = (
        np.random.default_rng(1).normal(size=(RATE_HZ // 5, 2)).astype(np.float32).view(np.complex64)[:, 0]
    )
    keys = [object_key(good(row)["session_id"], int(good(row)["websdr_id"])) for row in range(BATCH + 1)]
    with closing(connection.connect(found.database)) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor, tempfile.TemporaryDirectory() as folder:
            root = Path(folder)
            shutil.copytree(REPOSITORY / "sql", root / "sql")
            (root / "sql" / f"{PARAMS.source}.sql").write_text(SELECTS, encoding="utf-8")
            try:
                for one, options in names.items():
                    cursor.execute(f"CREATE DATABASE {one} {options} LC_COLLATE 'C' LC_CTYPE 'C'")
                for number, key in enumerate(keys):
                    store.put(key, iq.encode(np.roll(noise, number)))
                yield Server((made[0], made[1]), found.s3, root)
            finally:
                for one in names:
                    cursor.execute(f"DROP DATABASE IF EXISTS {one} WITH (FORCE)")
                for key in keys:
                    store.delete(key)
