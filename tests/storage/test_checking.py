"""`heimdall database check` says what a source lacks: each column, each right, each row that is lost."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.storage import approved, sources
from heimdall.storage import connection as db
from heimdall.storage.endpoints import RAW_BUCKET
from tests import REPOSITORY, foreign_databases
from tests.conftest import Buckets, Services, as_clone, heimdall
from tests.foreign_databases import NUMBERS, Foreign

ONE = list(foreign_databases.sessions(1, NUMBERS))
Check = Callable[..., tuple[int, str]]


@pytest.fixture
def check(tmp_path: Path) -> Check:
    """Runs the command in a clone; its exit code and what it says, each run of blanks as one."""
    as_clone(tmp_path)
    shutil.copytree(REPOSITORY / "sql", tmp_path / "sql")

    def run(services: Services, source: str, *more: str) -> tuple[int, str]:
        arguments = ("database", "check", "--source", source, *more)
        done = heimdall(tmp_path, *arguments, env=services.env)
        assert "Traceback" not in done.stderr
        lines = (done.stdout + done.stderr).splitlines()
        return done.returncode, "\n".join(" ".join(line.split()) for line in lines)

    return run


@pytest.fixture
def specified(services: Services, buckets: Buckets) -> Foreign:
    return foreign_databases.specification(services, buckets.raw, ONE)


@pytest.fixture
def acquired(services: Services, buckets: Buckets) -> Foreign:
    return foreign_databases.acquisition(services, buckets.raw, ONE, raw_bucket=RAW_BUCKET)


def test_all_that_is_there_is_named(check: Check, specified: Foreign) -> None:
    before = specified.dump()
    code, said = check(specified.reader, "specification")
    assert code == 0
    lines = said.splitlines()
    assert lines[0].startswith("sql/specification.sql in PostgreSQL 127.0.0.1:")
    for line in (
        "ok right to read public.measurements granted",
        "ok measurements.session_id uuid",
        "ok measurements.timestamp timestamp with time zone",
        "ok measurements.sample_rate_hz numeric, read as text and understood row by row",
        "null measurements.object_key not given, so it is NULL",
        "ok receivers pinned by sql/specification.receivers.csv",
        "ok rows 7 approved at or before 2026-03-01T00:00:00+00:00 (snapshot.as_of)",
        "null rows the table has no column sample_rate_hz, so the 192000 Hz of this SELECT count; no "
        "moment of approval: created_at counts (7 rows)",
        "ok snapshot.as_of over, by the database's clock",
        "ok sql/specification.receivers.csv 7 receivers",
    ):
        assert line in lines
    assert specified.dump() == before
    document = json.loads(check(specified.reader, "specification", "--json")[1])
    assert {one["verdict"] for one in document["findings"]} == {"ok", "null"}


def test_every_missing_right_is_named_with_the_statement_that_gives_it(
    check: Check, acquired: Foreign
) -> None:
    code, said = check(acquired.reader, "acquisition")
    assert code == 0
    assert "null receivers as the SELECT gives them now; sql/acquisition.receivers.csv would pin" in said
    role = acquired.reader.endpoints.database.url.split("//")[1].split(":")[0]
    acquired.execute(
        f"REVOKE SELECT ON ALL TABLES IN SCHEMA heimdall FROM {role}",  # noqa: S608 - its own name
        f"REVOKE USAGE ON SCHEMA heimdall FROM {role}",
    )
    code, said = check(acquired.reader, "acquisition")
    assert code == 1
    usage = f'GRANT USAGE ON SCHEMA "heimdall" TO "{role}"'
    for table in ("known_sources", "recording_sessions", "websdr_stations"):
        grant = f'GRANT SELECT ON TABLE "heimdall"."{table}" TO "{role}"'
        assert f"bad right to read heimdall.{table} Let its owner run: {usage}; {grant}" in said
    assert "ok right to read public.measurements granted" in said
    for line in said.splitlines():
        if line.startswith("bad"):
            acquired.execute(line.split("Let its owner run: ")[1])
    assert check(acquired.reader, "acquisition")[0] == 0


def test_rights_to_the_columns_that_a_select_reads_are_enough(check: Check, specified: Foreign) -> None:
    role = specified.reader.endpoints.database.url.split("//")[1].split(":")[0]
    columns = "id, session_id, websdr_id, latitude, longitude, frequency_mhz, snr_db, timestamp, created_at"
    specified.execute(
        "ALTER TABLE measurements ADD secret text",
        f"REVOKE SELECT ON measurements FROM {role}",  # noqa: S608 - its own name
    )
    grant = "GRANT SELECT ({}) ON measurements TO {}"
    specified.execute(grant.format(columns, role))
    code, said = check(specified.reader, "specification")
    assert code == 1
    assert f'Let the owner run: GRANT SELECT ON TABLE public.measurements TO "{role}"' in said
    specified.execute(grant.format("approved", role))
    assert check(specified.reader, "specification")[0] == 0


@pytest.mark.parametrize(
    "policy", ["", "CREATE POLICY part ON measurements FOR SELECT USING (websdr_id < 3)"]
)
def test_a_table_of_which_rows_may_be_hidden_is_refused_until_all_are_seen(
    policy: str, check: Check, specified: Foreign, tmp_path: Path
) -> None:
    specified.execute("ALTER TABLE measurements ENABLE ROW LEVEL SECURITY", policy or "SELECT 1")
    code, said = check(specified.reader, "specification")
    assert code == 1
    assert "bad right to read public.measurements Row-level security may hide rows of it" in said
    with (
        closing(db.connect(specified.reader.endpoints.database)) as opened,
        pytest.raises(HeimdallError, match=r'policy for table "measurements"\. Row-level security'),
    ):
        read_source = sources.load("specification", tmp_path / "sql")
        approved.read_from(opened, read_source, datetime.now(UTC) - timedelta(days=1), tmp_path / "rows")
    if policy:
        statement = said.split("let an administrator run ")[1].split(", or")[0]
        specified.execute(statement)
        assert "ok rows 7 approved" in check(specified.reader, "specification")[1]
        return
    role = specified.reader.endpoints.database.url.split("//")[1].split(":")[0]
    file = tmp_path / "sql" / "specification.sql"
    specified.execute(
        "CREATE VIEW public.mine AS SELECT * FROM measurements WHERE websdr_id < 3",
        f"GRANT SELECT ON public.mine TO {role}",
    )
    file.write_text(file.read_text().replace("public.measurements", "public.mine"))
    assert "ok rows 2 approved" in check(specified.reader, "specification")[1]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ('ALTER TABLE measurements ALTER "timestamp" TYPE timestamp', "timestamp without time zone"),
        (
            "ALTER TABLE measurements ALTER created_at TYPE timestamp",
            "bad measurements.created_at timestamp without time zone has no time zone; in the SELECT, write "
            "`... AT TIME ZONE 'UTC' AS uses_created_at`",
        ),
        (
            "ALTER TABLE measurements DROP COLUMN frequency_mhz",
            "bad measurements column m.frequency_mhz does",
        ),
        ("DROP TABLE measurements", 'bad measurements relation "public.measurements" does not exist'),
        ("UPDATE measurements SET approved = false", "bad rows 0 approved at or before 2026-03-01"),
    ],
)
def test_what_a_snapshot_cannot_do_without_ends_with_1(
    change: str, words: str, check: Check, specified: Foreign
) -> None:
    specified.execute(change)
    code, said = check(specified.reader, "specification")
    assert code == 1
    assert words in said


def test_a_select_of_ones_own_is_looked_at_column_by_column(
    check: Check, specified: Foreign, tmp_path: Path
) -> None:
    (tmp_path / "sql" / "mine.sql").write_bytes(
        b"\xef\xbb\xbf-- measurements\r\nSELECT id, session_id::text, websdr_id::text, latitude, "
        b"longitude,\r\n"
        b'frequency_mhz, "timestamp" AT TIME ZONE \'UTC\' AS "timestamp" FROM measurements -- of ours;\r\n'
    )
    code, said = check(specified.reader, "mine")
    assert code == 1
    assert "it has no `-- receivers`, and there is no file sql/mine.receivers.csv" in said
    shutil.copy(REPOSITORY / "sql" / "specification.receivers.csv", tmp_path / "sql" / "mine.receivers.csv")
    code, said = check(specified.reader, "mine")
    assert code == 1
    assert [line for line in said.splitlines() if line.startswith("bad")] == [
        "bad measurements.timestamp timestamp without time zone has no time zone; in the SELECT, write "
        "`... AT TIME ZONE 'UTC' AS \"timestamp\"`, with its column for the dots and the zone in which it "
        "was written",
        "bad measurements.approved_at missing",
        "bad measurements.sample_rate_hz missing",
        "bad measurements.simulated missing",
    ]
    assert "ok measurements.websdr_id text, read as text and understood row by row" in said


def test_own_tables_that_are_not_there_are_said(check: Check, specified: Foreign, database: Services) -> None:
    code, said = check(specified.reader, "own")
    assert code == 1
    assert (
        "bad measurements no tables of Heimdall in schema heimdall. Run `heimdall database migrate`" in said
    )
    assert "ok right to read heimdall.measurements granted" in check(database, "own")[1]
