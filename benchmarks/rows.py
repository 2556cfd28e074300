"""Seconds and memory of reading the approved rows of PostgreSQL, beside `pandas.read_sql`.

    python benchmarks/rows.py
    python benchmarks/rows.py --rows 10000 100000

It makes a database of its own on the server of `heimdall services up`, or on the configured one, fills
Heimdall's tables with made-up rows, and drops it at the end. Each way of reading runs in a fresh process; its
memory is the largest that the process had, less what it had before it read. The ways:

- snapshot read: as the stage reads, into a Parquet file, through a cursor of the server, in batches;
- database check: what `heimdall database check` does;
- snapshot rows: what the stage then holds of all rows in memory: the table, its faults, its candidates;
- pandas.read_sql: the same SELECT through a cursor of the client, and `to_parquet`.

Promise: the memory of the snapshot's read does not grow with the rows (below 1.5x from fewest to most).
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
import time
import uuid
import warnings
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from psycopg2 import sql

from heimdall.core import table
from heimdall.pipeline.snapshot import candidates, receivers, schemas
from heimdall.storage import (
    approved,
    checking,
    columns,
    connection,
    database_url,
    endpoints,
    migrate,
    sources,
)
from heimdall.storage.endpoints import Database

SIZES = (10_000, 100_000, 1_000_000)
AS_OF = datetime(2026, 1, 2, tzinfo=UTC)
PROMISE = 1.5
SOURCE = sources.load("own", Path(__file__).resolve().parents[1] / "sql")
FILL = """
INSERT INTO measurements (id, session_id, websdr_id, latitude, longitude, frequency_mhz, snr_db, "timestamp",
    created_at, approved, approved_at, sample_rate_hz, source_id, start_gps_ns, timing_sigma_ns, simulated)
SELECT gen_random_uuid(), md5((n / 7)::text)::uuid, n %% 7 + 1, 45 + (n / 7 %% 1000) / 1000.0, 8.5, 145.5,
    n %% 40, '2026-01-01Z', '2026-01-01Z', true,
    '2026-01-01 12:00Z'::timestamptz + n / 7 * interval '1 ms', 192000,
    'beacon-' || n / 7 %% 100, 1451000000000000000 + n, 50, true
FROM generate_series(%s, %s) AS n
"""


def fill(where: Database, first: int, last: int) -> None:
    """Add rows numbered from the first to the last."""
    with closing(connection.connect(where)) as opened:
        migrate.apply(opened)
        with connection.transaction(opened) as cursor:
            connection.use_own_tables(cursor)
            cursor.execute("SET LOCAL statement_timeout = 0")
            cursor.execute(
                "INSERT INTO websdrs (id, name, latitude, longitude, altitude_m) "
                "SELECT n, 'R' || n, 45, 8 + n, 100 FROM generate_series(1, 7) AS n ON CONFLICT DO NOTHING"
            )
            cursor.execute(FILL, (first, last))
            cursor.execute("ANALYZE measurements")


def snapshot_read(where: Database, folder: Path) -> int:
    """Rows into a file."""
    return approved.read(where, SOURCE, AS_OF, folder / "rows.parquet").count


def database_check(where: Database, folder: Path) -> int:
    """What is found is not printed."""
    del folder
    with closing(connection.connect(where)) as opened:
        found = checking.check(opened, SOURCE, AS_OF)
    (rows,) = [one.detail for one in found if one.subject == "rows"]
    return int(rows.split()[0])


def snapshot_rows(where: Database, folder: Path) -> int:
    """The rows that are in a file, as the stage holds them; the bucket's answer is not among it."""
    found = approved.read(where, SOURCE, AS_OF, folder / "rows.parquet")
    known = receivers.selected(found.receivers, SOURCE.path)
    types = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}
    rows = pq.read_table(folder / "rows.parquet").to_pandas(types_mapper=types.get)
    rows = candidates.with_keys(receivers.place(rows, known), "bucket")
    faults = schemas.measurement_faults(rows, known["websdr_id"].tolist())
    return len(candidates.with_objects(rows, {fault.row for fault in faults}, lambda keys: {}))


def read_sql(where: Database, folder: Path) -> int:
    """The alternative."""
    warnings.simplefilter("ignore")  # it would rather have an engine of SQLAlchemy, which takes more memory
    with (
        closing(connection.connect(where)) as opened,
        connection.transaction(opened, read_only=True) as cursor,
    ):
        connection.use_own_tables(cursor)
        given = columns.given_by(cursor, SOURCE.measurements, columns.MEASUREMENTS)
        statement = approved.selection(SOURCE.measurements, given, AS_OF).as_string(opened)
        frame = pd.read_sql(statement, opened)
        frame.columns = pd.Index([column.ours for column in columns.MEASUREMENTS])
        frame.to_parquet(folder / "rows.parquet")
    return len(frame)


WAYS: dict[str, Callable[[Database, Path], int]] = {
    "snapshot read": snapshot_read,
    "database check": database_check,
    "snapshot rows": snapshot_rows,
    "pandas.read_sql": read_sql,
}


def memory_mb(field: str) -> float:
    """Of this process: VmRSS is now, VmHWM is the most."""
    for line in Path("/proc/self/status").read_text(encoding="ascii").splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(field)


def measure(way: str) -> None:
    """Read in this process; what it took is printed as JSON."""
    where = endpoints.database()
    connection.connect(where).close()
    with tempfile.TemporaryDirectory() as folder:
        before_mb, begin = memory_mb("VmRSS"), time.perf_counter()
        count = WAYS[way](where, Path(folder))
        took_s = time.perf_counter() - begin
    print(json.dumps([count, took_s, memory_mb("VmHWM") - before_mb]))


def run(where: Database, way: str) -> tuple[int, float, float]:
    """Rows, seconds, megabytes of a way, in a process of its own."""
    env = os.environ | {endpoints.DATABASE_VARIABLE: where.url}
    command = [sys.executable, __file__, "--measure", way]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(done.stderr)
    count, took_s, peak_mb = json.loads(done.stdout)
    return count, took_s, peak_mb


def main() -> int:
    """Fill, read, print; the exit code is 1 if the promise is broken."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--rows", type=int, nargs="+", default=SIZES, help="numbers of rows, ascending")
    parser.add_argument("--measure", choices=WAYS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.measure:
        measure(options.measure)
        return 0
    server = endpoints.database()
    name = f"heimdall_rows_{uuid.uuid4().hex[:8]}"
    url = database_url.parse(server.url).with_database(name)
    where = dataclasses.replace(server, url=url)
    connection.create_if_missing(where)
    lines, reads_mb, filled = [], [], 0
    try:
        for size in options.rows:
            fill(where, filled + 1, size)
            filled = size
            found = {way: run(where, way) for way in WAYS}
            _, other_s, other_mb = found["pandas.read_sql"]
            for way, (count, took_s, peak_mb) in found.items():
                if count != size:
                    raise SystemExit(f"{way} found {count} of {size} rows")
                ratios = f"{took_s / other_s:.2f}", f"{peak_mb / other_mb:.2f}"
                lines.append((f"{size:,}", way, f"{took_s:.2f}", f"{peak_mb:.0f}", *ratios))
            if size >= approved.BATCH_ROWS:  # fewer rows fill no batch
                reads_mb.append(found["snapshot read"][2])
    finally:
        with closing(connection.connect(server)) as opened:
            opened.autocommit = True
            with opened.cursor() as cursor:
                cursor.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(name)))
    print(
        "\n".join(
            table.lines(("rows", "way", "seconds", "MB", "time ratio", "memory ratio"), lines, "rlrrrr")
        )
    )
    print("ratios: to pandas.read_sql")
    if len(reads_mb) < 2:
        return 0
    growth = reads_mb[-1] / reads_mb[0]
    print(f"memory of the snapshot's read grows {growth:.2f}x (promised: below {PROMISE:g}x)")
    return 0 if growth < PROMISE else 1


if __name__ == "__main__":
    sys.exit(main())
