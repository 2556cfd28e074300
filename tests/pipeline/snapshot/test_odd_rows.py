"""Every odd value that PostgreSQL can hold sends its row to quarantine, or is refused in one line."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from heimdall.core import paths
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.snapshot import schemas
from heimdall.recordings import archive
from heimdall.storage import connection as db
from tests.pipeline.snapshot.snapshot_world import World, session_id

SELECT = """-- receivers
SELECT id, name, latitude, longitude, altitude_m FROM heimdall.websdrs

-- measurements
SELECT * FROM public.odd
"""
# The types of a table that somebody else made: how each column may be declared.
TEXTS = {
    "session_id": "text",
    "websdr_id": "text",
    "latitude": "text",
    "longitude": "varchar(400)",
    "frequency_mhz": "text",
    "snr_db": "text",
    "sample_rate_hz": "text",
    "simulated": "text",
    "start_gps_ns": "text",
    "timing_sigma_ns": "text",
}
NUMERICS = {
    "session_id": "text",
    "websdr_id": "numeric",
    "latitude": "numeric",
    "longitude": "real",
    "frequency_mhz": "numeric",
    "snr_db": "numeric",
    "sample_rate_hz": "numeric",
    "simulated": "integer",
    "start_gps_ns": "numeric",
    "timing_sigma_ns": "real",
}
NATIVES = {
    "session_id": "uuid",
    "websdr_id": "bigint",
    "latitude": "double precision",
    "longitude": "double precision",
    "frequency_mhz": "double precision",
    "snr_db": "double precision",
    "sample_rate_hz": "double precision",
    "simulated": "boolean",
    "start_gps_ns": "bigint",
    "timing_sigma_ns": "double precision",
}
HUGE = "1" + "0" * 380
UNREADABLE = schemas.UNREADABLE
ODD = {
    "texts": (
        TEXTS,
        [
            ("session_id", "", schemas.BAD_SESSION_ID),
            ("session_id", "../../etc/passwd", schemas.BAD_SESSION_ID),
            ("session_id", session_id(1).upper(), schemas.BAD_SESSION_ID),
            ("session_id", session_id(1) + "\n", schemas.BAD_SESSION_ID),
            ("session_id", "\u202e" * 50, schemas.BAD_SESSION_ID),
            ("websdr_id", "one", UNREADABLE),
            ("websdr_id", "", UNREADABLE),
            ("websdr_id", "1_0", UNREADABLE),
            ("websdr_id", "1" * 5000, UNREADABLE),
            ("latitude", "45,2", UNREADABLE),
            ("latitude", "nan", schemas.BAD_POSITION),
            ("longitude", HUGE, schemas.BAD_POSITION),
            ("frequency_mhz", "145 MHz", UNREADABLE),
            ("frequency_mhz", "1_45", UNREADABLE),
            ("snr_db", "Infinity", schemas.BAD_SNR),
            ("snr_db", "loud", UNREADABLE),
            ("sample_rate_hz", "192k", UNREADABLE),
            ("simulated", "perhaps", UNREADABLE),
            ("start_gps_ns", "noon", UNREADABLE),
            ("timing_sigma_ns", "-inf", schemas.BAD_TIMING),
        ],
    ),
    "numerics": (
        NUMERICS,
        [
            ("websdr_id", HUGE, UNREADABLE),
            ("websdr_id", "NaN", UNREADABLE),
            ("websdr_id", "Infinity", UNREADABLE),
            ("websdr_id", "1.5", UNREADABLE),
            ("websdr_id", str(2**63), UNREADABLE),
            ("websdr_id", str(2**31), schemas.UNKNOWN_RECEIVER),
            ("websdr_id", None, schemas.UNKNOWN_RECEIVER),
            ("latitude", HUGE, schemas.BAD_POSITION),
            ("latitude", "-Infinity", schemas.BAD_POSITION),
            ("latitude", None, schemas.BAD_POSITION),
            ("longitude", "NaN", schemas.BAD_POSITION),
            ("frequency_mhz", HUGE, schemas.BAD_FREQUENCY),
            ("frequency_mhz", "NaN", schemas.BAD_FREQUENCY),
            ("snr_db", HUGE, schemas.BAD_SNR),
            ("snr_db", "-Infinity", schemas.BAD_SNR),
            ("sample_rate_hz", "-1", schemas.BAD_SAMPLE_RATE),
            ("sample_rate_hz", HUGE, schemas.BAD_SAMPLE_RATE),
            ("simulated", "2", UNREADABLE),
            ("start_gps_ns", HUGE, UNREADABLE),
            ("start_gps_ns", "0.5", UNREADABLE),
        ],
    ),
    "natives": (
        NATIVES,
        [
            ("session_id", None, schemas.BAD_SESSION_ID),
            ("websdr_id", None, schemas.UNKNOWN_RECEIVER),
            ("websdr_id", "-3", schemas.UNKNOWN_RECEIVER),
            ("websdr_id", str(2**31 + 1), schemas.UNKNOWN_RECEIVER),
            ("websdr_id", str(2**63 - 1), schemas.UNKNOWN_RECEIVER),
            ("latitude", "Infinity", schemas.BAD_POSITION),
            ("longitude", None, schemas.BAD_POSITION),
            ("frequency_mhz", None, schemas.BAD_FREQUENCY),
            ("frequency_mhz", "-Infinity", schemas.BAD_FREQUENCY),
            ("snr_db", "Infinity", schemas.BAD_SNR),
            ("snr_db", "-1e300", schemas.BAD_SNR),
            ("sample_rate_hz", None, schemas.BAD_SAMPLE_RATE),
            ("simulated", None, schemas.UNKNOWN_ORIGIN),
            ("start_gps_ns", "-1", schemas.BAD_TIMING),
            ("start_gps_ns", str(2**63 - 1), schemas.BAD_TIMING),
            ("timing_sigma_ns", "Infinity", schemas.BAD_TIMING),
            ("timestamp", "infinity", schemas.IMPOSSIBLE_TIME),
            ("timestamp", "-infinity", schemas.IMPOSSIBLE_TIME),
            ("timestamp", "0001-01-01Z", schemas.IMPOSSIBLE_TIME),
            ("timestamp", "4713-01-01 BC", schemas.IMPOSSIBLE_TIME),
            ("timestamp", "294000-01-01Z", schemas.IMPOSSIBLE_TIME),
            ("timestamp", None, schemas.IMPOSSIBLE_TIME),
            ("approved_at", "-infinity", schemas.IMPOSSIBLE_TIME),
        ],
    ),
    "keys": (
        NATIVES,
        [
            ("object_key", "../secret", schemas.BAD_OBJECT_KEY),
            ("object_key", "/etc/passwd", schemas.BAD_OBJECT_KEY),
            ("object_key", "sessions/../../x", schemas.BAD_OBJECT_KEY),
            ("object_key", "s3://another-bucket/x.npy", schemas.BAD_OBJECT_KEY),
            ("object_key", "file:///etc/passwd", schemas.BAD_OBJECT_KEY),
            ("object_key", "a\nb", schemas.BAD_OBJECT_KEY),
            ("object_key", "x" * 5000, schemas.BAD_OBJECT_KEY),
            ("object_key", "s3://", schemas.BAD_OBJECT_KEY),
        ],
    ),
}


def odd(world: World, types: dict[str, str], **times: str) -> Path:
    """A table of these types with the rows of the world, and the folder of the SELECT that reads it."""
    cast = ", ".join(f"{name}::text::{kind} AS {name}" for name, kind in types.items() if name != "simulated")
    simulated = f"simulated::int::text::{types['simulated']} AS simulated"
    world.execute(
        f'CREATE TABLE public.odd AS SELECT id, {cast}, {simulated}, "timestamp", approved_at, source_id, '  # noqa: S608
        "NULL::text AS object_key FROM measurements"
    )
    for column, kind in times.items():
        world.execute(f'ALTER TABLE public.odd ALTER COLUMN "{column}" TYPE {kind}')
    folder = world.root / "queries"
    folder.mkdir()
    (folder / "odd.sql").write_text(SELECT, encoding="utf-8")
    return folder


def identifiers(world: World) -> list[str]:
    with closing(db.connect(world.services.endpoints.database)) as opened, db.transaction(opened) as cursor:
        cursor.execute("SELECT id::text FROM public.odd ORDER BY id")
        return [name for (name,) in cursor.fetchall()]


@pytest.mark.parametrize("kind", ODD)
def test_an_odd_value_condemns_its_row_alone(kind: str, world: World, downloads: list[str]) -> None:
    types, cases = ODD[kind]
    queries = odd(world, types)
    expected = {}
    for name, (column, value, reason) in zip(identifiers(world), cases, strict=False):
        world.execute(f'UPDATE public.odd SET "{column}" = %s WHERE id = %s', value, name)  # noqa: S608
        expected[name] = reason
    assert len(expected) == len(cases)
    summary = world.take(source="odd", max_quarantined_fraction=0.99, queries=queries)
    rows = pq.read_table(world.root / paths.QUARANTINE).to_pylist()
    assert {row["measurement_id"]: row["reason"] for row in rows} == expected
    assert all(row["detail"] and len(row["detail"]) < 500 for row in rows)
    kept = archive.read_measurements(world.root)
    assert summary.recordings == len(kept) == 24 - len(expected)
    assert sorted(downloads) == sorted(kept["object_key"])  # no object of a bad row was fetched


def test_what_an_operator_need_not_say_may_be_missing_or_empty(world: World) -> None:
    queries = odd(world, NATIVES)
    first, second, third, *_ = identifiers(world)
    world.execute("UPDATE public.odd SET snr_db = 'NaN', timing_sigma_ns = NULL WHERE id = %s", first)
    statement = "UPDATE public.odd SET source_id = '', start_gps_ns = NULL WHERE id = ANY(%s::uuid[])"
    world.execute(statement, [second, third])
    world.execute("UPDATE public.odd SET object_key = '' WHERE id = %s", third)
    world.take(source="odd", queries=queries)
    rows = archive.read_measurements(world.root).set_index("measurement_id")
    assert rows.loc[[first], "snr_db"].isna().all()
    assert "" not in set(rows["source_id"].dropna())


@pytest.mark.parametrize(
    ("column", "kind", "words"),
    [
        (
            "timestamp",
            "timestamp",
            "timestamp: timestamp without time zone has no time zone; in the SELECT, write `... AT TIME",
        ),
        ("approved_at", "timestamp", "approved_at: timestamp without time zone has no time zone"),
        ("approved_at", "text", "approved_at: text may have no time zone"),
        ("timestamp", "date", "timestamp: date has no time of day"),
    ],
)
def test_a_time_without_a_zone_is_refused_before_anything_is_read(
    column: str, kind: str, words: str, world: World, downloads: list[str]
) -> None:
    queries = odd(world, NATIVES, **{column: kind})
    with pytest.raises(HeimdallError) as refused:
        world.take(source="odd", queries=queries)
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)
    assert downloads == []
