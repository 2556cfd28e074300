"""The demo world in a real database and a real bucket."""

from __future__ import annotations

import hashlib
import math
import pickle
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from click.testing import CliRunner

from heimdall import simulate
from heimdall.commands import demo as command
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FIRST_OTHER_WORLD
from heimdall.ingest import demo
from heimdall.recordings import iq
from heimdall.storage import connection as db
from heimdall.storage import tables
from heimdall.storage.objectstore import ObjectStore, object_key
from tests.conftest import Buckets, Services, heimdall
from tests.database_rows import read_approved

SEED = 9
TRANSMITTERS = 3
MAX_BYTES = 16 * 192_000 + 1_000
FAR = datetime(2200, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def full() -> list[demo.StoredSession]:
    return demo.contents(simulate.make_world(command.SEED, command.TRANSMITTERS), command.SESSIONS)


def hashes(store: ObjectStore) -> dict[str, str]:
    return {key: hashlib.sha256(store.get(key, MAX_BYTES)).hexdigest() for key in store.head_all("sessions/")}


def test_default_world_is_large_enough_and_not_too_large(full: list[demo.StoredSession]) -> None:
    """270 sessions of three receivers and 1300 good recordings in less than 2.4 GB, every bad case once."""

    def good_recordings(session: demo.StoredSession) -> int:
        whole = [recording.rows[0] for recording in session.recordings if recording.broken is None]
        return sum(row.approved_at is not None and row.approved_at <= demo.LATE for row in whole)

    good = [good_recordings(session) for session in full]
    assert sum(count >= 3 for count in good) >= 270
    assert sum(good) >= 1300
    stored = [recording for session in full for recording in session.recordings if recording.has_object]
    assert sum(192_000 * (16 if recording.double else 8) for recording in stored) < 2.4e9
    assert any(recording.double for recording in stored)
    broken = [recording.broken for session in full for recording in session.recordings if recording.broken]
    assert sorted(broken) == sorted(demo.BROKEN)
    assert len({session.plan.transmitter for session in full}) == command.TRANSMITTERS


def test_rows_are_the_contract_s(full: list[demo.StoredSession]) -> None:
    rows = [row for session in full for recording in session.recordings for row in recording.rows]
    assert len({row.measurement_id for row in rows}) == len(rows)
    assert all(row.simulated for row in rows)
    assert any(not row.approved and row.approved_at is None for row in rows)
    assert any(row.approved_at is not None and row.approved_at > demo.LATE for row in rows)
    assert any(row.source_id is None for row in rows)
    assert any(row.source_id == f"sim-{command.SEED}-017" for row in rows)
    for session in full:
        for recording in session.recordings:
            for row in recording.rows:
                assert recording.key == object_key(row.session_id, row.websdr_id)
                if recording.broken is None:
                    assert row.timestamp < row.created_at < (row.approved_at or FAR)
                    assert (row.start_gps_ns is None) == (row.timing_sigma_ns is None) == (row.websdr_id == 4)


def test_bad_cases_are_approved_and_few_in_a_world_of_any_size(full: list[demo.StoredSession]) -> None:
    for count in range(4, len(full)):
        approved = [
            recording.broken
            for session in full[:count]
            for recording in session.recordings
            for row in recording.rows
            if row.approved
        ]
        bad = [case for case in approved if case is not None]
        assert set(bad) == set(demo.BROKEN[: (count + 1) // 4])
        assert len(bad) < 0.1 * len(approved)


@pytest.mark.parametrize(
    ("case", "reason"),
    [
        ("object truncated", iq.TRUNCATED),
        ("not complex", iq.WRONG_DTYPE),
        ("two-dimensional", iq.WRONG_SHAPE),
        ("not a number", iq.NOT_FINITE),
        ("infinite", iq.NOT_FINITE),
        ("all zero", iq.ALL_ZERO),
        ("pickled objects", iq.PICKLED),
        ("longer than its header says", iq.OVERSIZED),
    ],
)
def test_broken_objects_are_broken_as_they_say(case: str, reason: str) -> None:
    plan = simulate.sessions(simulate.make_world(SEED, TRANSMITTERS), 1)[0]
    samples = simulate.render(simulate.make_world(SEED, TRANSMITTERS), plan)[0].iq
    with pytest.raises(iq.BadRecording) as caught:
        iq.decode(demo.BROKEN_OBJECTS[case](samples), 192_000.0, 10.0)
    assert caught.value.reason == reason


def test_broken_rows_are_broken_as_they_say(full: list[demo.StoredSession]) -> None:
    row = full[0].recordings[0].rows[0]
    broken = {case: spoil(row) for case, spoil in demo.BROKEN_ROWS.items()}
    assert 192_000 / broken["longer than 10 s"][0].sample_rate_hz > 10
    assert broken["latitude out of range"][0].latitude_deg > 90
    assert math.isnan(broken["longitude not a number"][0].longitude_deg)
    assert broken["unknown receiver"][0].websdr_id not in {
        site.websdr_id for site in simulate.make_world(1, 1).receivers
    }
    one, two = broken["duplicate"]
    assert one.measurement_id != two.measurement_id
    assert replace(two, measurement_id=one.measurement_id) == one
    assert broken["made in the future"][0].timestamp.year == 2099
    early = broken["approved before it was made"][0]
    assert early.approved_at is not None
    assert early.approved_at < early.timestamp


def test_seeding_writes_once_completes_and_says_so(database: Services, buckets: Buckets) -> None:
    """Written by two processes, found again, completed; one process writes the same bytes."""
    arguments = ("demo", "seed", "--sessions", "4", "--seed", str(SEED), "--transmitters", str(TRANSMITTERS))
    first = heimdall(database.root, *arguments, env=database.env)
    assert first.returncode == 0, first.stderr
    expected = demo.contents(simulate.make_world(SEED, TRANSMITTERS), 4)
    recordings = [recording for session in expected for recording in session.recordings]
    keys = {recording.key for recording in recordings if recording.has_object}
    assert "2 transmitters, 4 sessions" in first.stdout
    assert f"wrote {len(keys)} objects and {len(recordings)} rows" in first.stdout
    written = hashes(buckets.raw)
    assert set(written) == keys
    assert [r.broken for r in recordings if r.key not in keys] == [demo.MISSING]

    with closing(db.connect(database.endpoints.database)) as connection:
        approved = read_approved(connection)
        receivers = tables.read_receivers(connection)
    rows = [row for recording in recordings for row in recording.rows]
    assert sorted(approved["measurement_id"]) == sorted(row.measurement_id for row in rows if row.approved)
    assert len(approved) < len(rows)
    assert set(approved["modulation"]) <= {
        t.modulation for t in simulate.make_world(SEED, TRANSMITTERS).transmitters
    }
    assert approved["simulated"].all()
    assert [receiver.websdr_id for receiver in receivers] == [1, 2, 3, 4, 5, 6, 7]
    by_id = {row.measurement_id: row for row in rows}
    for found in approved.itertuples():
        assert found.latitude_deg == by_id[found.measurement_id].latitude_deg

    second = heimdall(database.root, *arguments, env=database.env)
    assert second.returncode == 0, second.stderr
    assert "Nothing was changed" in second.stdout
    assert second.stdout.splitlines()[:2] == first.stdout.splitlines()[:2]

    # As if it had been interrupted before the last object and the rows; one process instead of two.
    lost = sorted(keys)[1]
    buckets.raw.delete(lost)
    with (
        closing(db.connect(database.endpoints.database)) as connection,
        connection,
        connection.cursor() as cursor,
    ):
        cursor.execute("DELETE FROM measurements WHERE session_id = %s", (lost.split("/")[1],))
        deleted = cursor.rowcount
    third = demo.seed_world(database.endpoints, seed=SEED, sessions=4, transmitters=TRANSMITTERS, processes=1)
    assert (third.objects_written, third.rows_written) == (1, deleted)
    assert hashes(buckets.raw) == written


def test_a_database_with_other_receivers_is_left_alone(database: Services, buckets: Buckets) -> None:
    with closing(db.connect(database.endpoints.database)) as connection:
        tables.insert(connection, [tables.Receiver(3, "Somewhere else", 46.0, 9.0, 10.0)], [], [])
        with pytest.raises(HeimdallError, match="its receiver 3 is not the demo's Torino"):
            demo.seed_world(database.endpoints, seed=SEED, sessions=1, transmitters=1, processes=1)
        assert [receiver.websdr_id for receiver in tables.read_receivers(connection)] == [3]
    assert buckets.raw.head_all("") == {}


def test_an_error_of_a_worker_arrives_whole() -> None:
    error = pickle.loads(pickle.dumps(HeimdallError("a", "b", "c")))  # noqa: S301 - made on this line
    assert (str(error), error.remedy) == ("a: b. c", "c")


def test_no_demo_is_a_world_that_models_are_pretrained_on() -> None:
    result = CliRunner().invoke(command.demo, ["seed", "--seed", str(FIRST_OTHER_WORLD)])
    assert result.exit_code == 2
    assert "999" in result.output
