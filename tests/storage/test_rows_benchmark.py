"""benchmarks/rows.py reads every row in every way, and leaves the server as it was."""

from __future__ import annotations

from contextlib import closing

from heimdall.storage.connection import connect, transaction
from tests.conftest import Services, benchmark


def test_a_small_run_measures_each_way_and_drops_its_database(services: Services) -> None:
    done = benchmark("rows", "--rows", "300", env=services.env)
    ways = [line.split()[1:3] for line in done.stdout.splitlines() if line.startswith(" 300")]
    assert ways == [
        ["whole", "snapshot"],
        ["second", "snapshot"],
        ["snapshot", "read"],
        ["database", "check"],
        ["pandas.read_sql", ways[-1][1]],
    ]
    with closing(connect(services.endpoints.database)) as opened, transaction(opened) as cursor:
        cursor.execute("SELECT count(*) FROM pg_database WHERE datname LIKE 'heimdall_rows_%'")
        assert cursor.fetchone() == (0,)
