"""Seconds and memory of a snapshot's rows: from PostgreSQL to measurements.parquet and the quarantine.

    python benchmarks/rows.py
    python benchmarks/rows.py --rows 10000 100000

It makes a database of its own on the server of `heimdall services up`, or on the configured one, fills
Heimdall's tables with made-up rows, of which one of a hundred is bad, and drops it at the end. Each way runs
in a fresh process; its memory is the largest that the process had, less what it had before. The ways:

- whole snapshot: the stage, reading, checking and writing; only the bucket is a stand-in, in which each
  object is there and good, and costs neither time nor memory;
- second snapshot: one after another, which knows what the one before it found;
- snapshot read: of it the reading into a file, through a cursor of the server, in batches;
- database check: what `heimdall database check` does;
- pandas.read_sql: the same SELECT through a cursor of the client, and `to_parquet`.

Promise: from the fewest to the most rows, each further row costs the second snapshot less than ROW_BYTES of
memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import hashlib
import itertools
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
from unittest import mock

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "src"))

import pandas as pd
from psycopg2 import sql

from heimdall.core import artifacts, table
from heimdall.core.params import SnapshotParams
from heimdall.pipeline.snapshot import snapshot
from heimdall.pipeline.snapshot.candidates import Candidate
from heimdall.pipeline.snapshot.collector import Group
from heimdall.pipeline.snapshot.former import Verdict
from heimdall.recordings.shards import ShardStore
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
from heimdall.storage.endpoints import Database, Endpoints
from heimdall.storage.objectstore import ObjectInfo
from heimdall.storage.s3_access import S3Access

SIZES = (10_000, 100_000, 1_000_000)
AS_OF = datetime(2026, 1, 2, tzinfo=UTC)
NOWHERE = S3Access("http://stand-in.invalid", None, None, embedded=False)
ROW_BYTES = 400  # 1300 while the stage held all rows
SOURCE = sources.load("own", Path(__file__).resolve().parents[1] / "sql")
FILL = """
INSERT INTO measurements (id, session_id, websdr_id, latitude, longitude, frequency_mhz, snr_db, "timestamp",
    created_at, approved, approved_at, sample_rate_hz, source_id, start_gps_ns, timing_sigma_ns, simulated)
SELECT gen_random_uuid(), md5((n / 7)::text)::uuid, n %% 7 + 1,
    CASE n %% 101 WHEN 0 THEN 95 ELSE 45 + (n / 7 %% 1000) / 1000.0 END, 8.5, 145.5,
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


class Bucket:
    """A stand-in that holds every object."""

    def __init__(self, *given: object) -> None:
        del given

    def head_many(self, keys: list[str]) -> dict[str, ObjectInfo]:
        """Its entity tag is as long as that of S3."""
        return {key: ObjectInfo(hashlib.md5(key.encode()).hexdigest(), 128) for key in keys}  # noqa: S324


class Memory:
    """A stand-in that finds every object good, and has two shards in turn."""

    def __init__(self, params: object, store: object, shards: ShardStore, *given: object) -> None:
        del params, store, given
        self._names = itertools.cycle([shards.add(digit * 64, digit.encode()) for digit in "01"])

    groups_at_once = 1

    def group(self, items: list[Candidate]) -> Group:
        """Nothing is left to look at."""
        known = (Verdict(None, "", 1, artifacts.sha256_bytes(item.key.encode())) for item in items)
        return Group(tuple(items), tuple(known), next(self._names), NOWHERE, "stand-in", 1.0, 1)

    def keep(self, group: Group, found: object) -> str | None:
        """The shard of some objects."""
        del found
        return group.there

    def forget_others(self) -> None:
        """Nothing is remembered."""


def whole_snapshot(where: Database, folder: Path) -> int:
    """The stage; good and bad rows are counted."""
    params = SnapshotParams(
        as_of=AS_OF,
        source="own",
        max_quarantined_fraction=0.1,
        shard_sessions=4,
        max_duration_s=1.0,
        download_threads=2,
    )
    with (
        mock.patch.object(snapshot, "ObjectStore", Bucket),
        mock.patch.object(snapshot, "Memory", Memory),
    ):
        taken = snapshot.take(params, Endpoints(where, NOWHERE), folder, queries=SOURCE.path.parent)
    return taken.recordings + sum(taken.quarantined.values())


def second_snapshot(where: Database, folder: Path) -> int:
    """Two of them."""
    whole_snapshot(where, folder)
    return whole_snapshot(where, folder)


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
    "whole snapshot": whole_snapshot,
    "second snapshot": second_snapshot,
    "snapshot read": snapshot_read,
    "database check": database_check,
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
    server = endpoints.administrator()
    name = f"heimdall_rows_{uuid.uuid4().hex[:8]}"
    url = database_url.parse(server.url).with_database(name)
    where = dataclasses.replace(server, url=url)
    connection.create_if_missing(where)
    lines, peaks_mb, filled = [], [], 0
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
            peaks_mb.append(found["second snapshot"][2])
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
    if len(peaks_mb) < 2:
        return 0
    row_bytes = (peaks_mb[-1] - peaks_mb[0]) * 2**20 / (options.rows[-1] - options.rows[0])
    print(f"each further row costs a snapshot {row_bytes:.0f} bytes of memory (promised: below {ROW_BYTES})")
    return 0 if row_bytes < ROW_BYTES else 1


if __name__ == "__main__":
    sys.exit(main())
