"""benchmarks/rows.py reads every row in every way, and leaves the server as it was."""

from __future__ import annotations

import subprocess
import sys
from contextlib import closing

from heimdall.storage.connection import connect, transaction
from tests import REPOSITORY
from tests.conftest import Services


def test_a_small_run_measures_each_way_and_drops_its_database(services: Services) -> None:
    done = subprocess.run(
        [sys.executable, "benchmarks/rows.py", "--rows", "300"],
        cwd=REPOSITORY,
        env=services.env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    ways = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith(" 300")]
    assert ways == [
        ["snapshot", "read"],
        ["database", "check"],
        ["snapshot", "rows"],
        ["pandas.read_sql", ways[-1][1]],
    ]
    with closing(connect(services.endpoints)) as opened, transaction(opened) as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'heimdall_rows_%'")
        assert cursor.fetchone() == (0,)
