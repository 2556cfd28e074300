"""What a row costs in memory from the cursor to measurements.parquet and the quarantine."""

from __future__ import annotations

import json
import subprocess
import sys
from contextlib import closing

from heimdall.storage import connection
from tests import REPOSITORY
from tests.conftest import Services

BYTES = 1000  # a further row; while the stage held all rows, it was more than 1300 at any number
FEWER, MORE = 10_000, 50_000  # so far apart that a page more or less in the allocator is no byte of a row
MEASURED = f"""
import sys
sys.path.insert(0, {str(REPOSITORY / "benchmarks")!r})
import rows as benchmark
count = int(sys.argv[1])
benchmark.fill(benchmark.endpoints.database(), 1, count)
benchmark.measure("second snapshot")
"""


def test_a_further_row_costs_a_snapshot_little_memory(database: Services) -> None:
    peaks_mb = {}
    for count in (FEWER, MORE):
        with (
            closing(connection.connect(database.endpoints.database)) as opened,
            connection.transaction(opened) as cursor,
        ):
            connection.use_own_tables(cursor)
            cursor.execute("DELETE FROM measurements")
        command = [sys.executable, "-c", MEASURED, str(count)]
        done = subprocess.run(command, env=database.env, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found, _, peaks_mb[count] = json.loads(done.stdout)
        assert found == count
    assert (peaks_mb[MORE] - peaks_mb[FEWER]) * 2**20 / (MORE - FEWER) < BYTES, peaks_mb
