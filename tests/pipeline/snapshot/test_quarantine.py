"""Every kind of bad object and bad row goes to quarantine, and the rest goes on."""

from __future__ import annotations

import dataclasses
import io
import uuid
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from heimdall.core import paths
from heimdall.pipeline.snapshot import schemas
from heimdall.recordings import archive, iq
from heimdall.storage.objectstore import object_key
from tests.pipeline.snapshot.snapshot_world import COUNT, SESSIONS, World, measurement, samples, session_id


def npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def changed(position: int, value: complex) -> bytes:
    broken = samples(1, 1)
    broken[position] = value
    return iq.encode(broken)


BAD_OBJECTS: list[tuple[str, bytes | None]] = [
    (iq.MISSING, None),
    (iq.TRUNCATED, iq.encode(samples(1, 1))[:-8]),
    (iq.TRUNCATED, b""),
    (iq.OVERSIZED, iq.encode(samples(1, 1)) + b"more"),
    (iq.OVERSIZED, iq.encode(np.ones(1001, np.complex64))),
    (iq.OVERSIZED, bytes(100_000)),
    (iq.WRONG_DTYPE, npy(samples(1, 1).real)),
    (iq.WRONG_SHAPE, npy(samples(1, 1).reshape(2, -1))),
    (iq.NOT_FINITE, changed(9, complex("nan"))),
    (iq.NOT_FINITE, changed(9, complex("inf"))),
    (iq.ALL_ZERO, iq.encode(np.zeros(COUNT, np.complex64))),
    (iq.PICKLED, npy(np.array([1, None], object))),
    (iq.TOO_SHORT, iq.encode(samples(1, 1)[:10])),
    (iq.NOT_NPY, b"<html>not found</html>"),
]


def absent(world: World) -> set[tuple[str, int]]:
    table = archive.read_absent(world.root)
    assert not table.duplicated().any()
    return set(zip(table["session_id"], table["websdr_id"].tolist(), strict=True))


def test_bad_objects_go_to_quarantine_and_the_rest_goes_on(world: World, downloads: list[str]) -> None:
    expected = []
    for number, (reason, content) in enumerate(BAD_OBJECTS):  # two a session, so the third goes on
        session, receiver = number // 2, 1 + number % 2
        key = object_key(session_id(session), receiver)
        if content is None:
            world.bucket.delete(key)
        else:
            world.bucket.put(key, content)
        fetchable = content is not None and len(content) < 26_000  # what is larger is never read
        expected.append((measurement(session, receiver).measurement_id, key, reason, fetchable))
    summary = world.take(max_quarantined_fraction=0.9)
    rows = pq.read_table(world.root / paths.QUARANTINE).to_pylist()
    found = [(row["measurement_id"], row["object_key"], row["reason"]) for row in rows]
    assert found == [case[:3] for case in expected]
    assert all(row["detail"] for row in rows)
    assert {key: key in downloads for _, key, _, _ in expected} == {key: get for _, key, _, get in expected}
    assert (summary.recordings, summary.sessions) == (10, 8)
    # A recording that cannot be used was made all the same: its receiver did not hear nothing.
    assert absent(world) == {(session_id(n // 2), 1 + n % 2) for n in range(len(BAD_OBJECTS))}
    assert summary.quarantined[iq.OVERSIZED] == 3
    assert summary.quarantined_fraction == 14 / 24


BAD_ROWS = [
    (schemas.BAD_POSITION, "latitude = 95"),
    (schemas.BAD_POSITION, "longitude = 'NaN'"),
    (schemas.UNKNOWN_RECEIVER, "websdr_id = 99"),
    (schemas.UNKNOWN_RECEIVER, "websdr_id = -1"),
    (schemas.IMPOSSIBLE_TIME, "\"timestamp\" = '2040-01-01Z'"),
    (schemas.IMPOSSIBLE_TIME, "\"timestamp\" = '-infinity'"),
    (schemas.IMPOSSIBLE_TIME, "approved_at = '-infinity'"),
    (schemas.BAD_SAMPLE_RATE, "sample_rate_hz = 0"),
    (schemas.BAD_TIMING, "timing_sigma_ns = -5"),
]


def test_bad_rows_go_to_quarantine_and_the_rest_goes_on(world: World) -> None:
    expected = {}
    for number, (reason, change) in enumerate(BAD_ROWS):
        identifier = measurement(number % SESSIONS, 1 + number // SESSIONS).measurement_id
        world.execute(f"UPDATE measurements SET {change} WHERE id = %s", identifier)  # noqa: S608 - constants
        expected[identifier] = reason
    summary = world.take(max_quarantined_fraction=0.9)
    rows = pq.read_table(world.root / paths.QUARANTINE).to_pylist()
    assert {row["measurement_id"]: row["reason"] for row in rows} == expected
    assert (summary.recordings, summary.sessions) == (15, 8)
    assert absent(world) == {(session_id(0), 2)}  # receiver 1 has no good recording: it is none of them


def test_neither_of_two_rows_for_one_recording_is_used(world: World) -> None:
    world.add(dataclasses.replace(measurement(1, 1), measurement_id=str(uuid.UUID(int=5))))
    assert world.take().recordings == 23
    assert world.quarantine() == [(session_id(1), 1, schemas.DUPLICATE)] * 2
    assert absent(world) == {(session_id(1), 1)}
    before = world.take().data_fingerprint
    world.execute("DELETE FROM measurements WHERE session_id = %s AND websdr_id = 1", session_id(1))
    summary = world.take()  # the same recordings, of which the missing one is silent now
    assert (summary.recordings, absent(world)) == (23, set())
    assert summary.data_fingerprint != before


def details(world: World) -> list[str]:
    return pq.read_table(world.root / paths.QUARANTINE)["detail"].to_pylist()


def said_of(session: int, receiver: int) -> str:
    """What is said of a row that has the samples of this recording."""
    identifier = measurement(session, receiver).measurement_id
    return (
        f"the same samples as receiver {receiver} in session {session_id(session)} (measurement {identifier})"
    )


def test_the_same_samples_in_two_sessions_are_used_once(world: World) -> None:
    world.execute("UPDATE measurements SET latitude = 45, longitude = 8.5, source_id = NULL")
    content = iq.encode(samples(1, 1))
    world.bucket.put(object_key(session_id(2), 1), content)
    assert world.take().recordings == 23
    assert world.quarantine() == [(session_id(2), 1, schemas.REPEATED)]
    assert details(world) == [said_of(1, 1)]
    # As recordings of two receivers, or of two transmitters, nothing says which of them is right.
    world.bucket.put(object_key(session_id(3), 2), content)
    assert world.take().recordings == 21
    before = world.outputs()
    assert world.take().quarantined == {schemas.REPEATED: 3}
    assert details(world) == [said_of(2, 1), said_of(1, 1), said_of(1, 1)]
    assert world.outputs() == before


def test_receiver_without_a_place_on_earth_is_unknown(world: World) -> None:
    world.execute("UPDATE websdrs SET latitude = 100 WHERE id = 3")
    summary = world.take(max_quarantined_fraction=0.5)
    assert summary.quarantined == {schemas.UNKNOWN_RECEIVER: 8}
    assert archive.read_receivers(world.root)["websdr_id"].tolist() == [1, 2]
    assert absent(world) == set()


def test_a_receiver_without_a_good_recording_changes_nothing(world: World) -> None:
    world.take()
    before = world.outputs()
    world.execute("INSERT INTO websdrs VALUES (900, 'far away', -33.0, 151.0, 10)")
    world.add(dataclasses.replace(measurement(1, 3), measurement_id=str(uuid.UUID(int=9)), approved=False))
    world.take()
    assert world.outputs() == before
    # One that only bad rows use is not in it, either.
    world.execute("UPDATE measurements SET websdr_id = 900, latitude = 95 WHERE websdr_id = 3")
    world.take(max_quarantined_fraction=0.9)
    assert archive.read_receivers(world.root)["websdr_id"].tolist() == [1, 2]
