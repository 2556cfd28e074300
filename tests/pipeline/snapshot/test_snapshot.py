"""The snapshot against a real PostgreSQL and a real S3: good input, every kind of bad input, kills, reuse."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
import os
import shutil
import signal
import subprocess
import sys
import uuid
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq
import pytest
import yaml

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.pipeline.snapshot import schemas, snapshot
from heimdall.recordings import archive, iq
from heimdall.storage import connection as db
from heimdall.storage import objectstore, tables
from heimdall.storage.objectstore import ObjectStore, object_key
from heimdall.storage.tables import Measurement, Receiver, Source
from tests import REPOSITORY
from tests.conftest import Buckets, Services

RATE_HZ = 1000.0
COUNT = 200
SESSIONS = 8
AS_OF = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
APPROVED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PARAMS = SnapshotParams(
    as_of=AS_OF, max_quarantined_fraction=0.3, shard_sessions=3, max_duration_s=1.0, download_threads=4
)
RECEIVERS = [Receiver(number, f"receiver {number}", 45.0 + number / 10, 8.0, 100.0) for number in (1, 2, 3)]


def session_id(number: int) -> str:
    return str(uuid.UUID(bytes=bytes([number, 77]) * 8, version=4))


def samples(session: int, websdr_id: int) -> npt.NDArray[np.complex64]:
    random = np.random.default_rng([session, websdr_id])
    return (random.normal(size=COUNT) + 1j * random.normal(size=COUNT)).astype(np.complex64)


def measurement(session: int, websdr_id: int) -> Measurement:
    return Measurement(
        measurement_id=str(uuid.UUID(bytes=bytes([session, websdr_id]) * 8, version=4)),
        session_id=session_id(session),
        websdr_id=websdr_id,
        latitude_deg=45.0 + session / 100,
        longitude_deg=8.5,
        frequency_mhz=145.5,
        snr_db=None,
        timestamp=APPROVED - dt.timedelta(days=1) + dt.timedelta(hours=session),
        created_at=APPROVED,
        approved=True,
        approved_at=APPROVED + dt.timedelta(days=session),
        sample_rate_hz=RATE_HZ,
        source_id="tx" if session % 2 else None,
        start_gps_ns=1_451_304_245_000_000_123 if websdr_id < 3 else None,
        timing_sigma_ns=50.0 if websdr_id < 3 else None,
        simulated=True,
    )


@dataclasses.dataclass(frozen=True)
class World:
    """A database and a bucket with eight good sessions of three receivers, and an empty repository."""

    services: Services
    bucket: ObjectStore
    root: Path

    def take(self, **changes: Any) -> snapshot.Summary:  # noqa: ANN401
        return snapshot.take(dataclasses.replace(PARAMS, **changes), self.services.endpoints, self.root)

    def add(self, *rows: Measurement) -> None:
        with closing(db.connect(self.services.endpoints)) as connection:
            tables.insert(connection, RECEIVERS, [Source("tx", "tx", "nfm")], rows)

    def add_session(self, number: int) -> None:
        self.add(*(measurement(number, receiver) for receiver in (1, 2, 3)))
        for receiver in (1, 2, 3):
            self.bucket.put(object_key(session_id(number), receiver), iq.encode(samples(number, receiver)))

    def execute(self, statement: str, *values: object) -> None:
        with (
            closing(db.connect(self.services.endpoints)) as connection,
            connection,
            connection.cursor() as cursor,
        ):
            cursor.execute(statement, values)

    def outputs(self) -> dict[str, bytes]:
        folders = [self.root / "data", self.root / "metrics"]
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}

    def quarantine(self) -> list[tuple[str, int, str]]:
        rows = pq.read_table(self.root / snapshot.QUARANTINE).to_pylist()
        return [(row["session_id"], row["websdr_id"], row["reason"]) for row in rows]


@pytest.fixture
def world(database: Services, buckets: Buckets, tmp_path: Path) -> World:
    made = World(database, buckets.raw, tmp_path)
    for number in range(SESSIONS):
        made.add_session(number)
    return made


@pytest.fixture
def downloads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys that were downloaded, by the real store."""
    keys: list[str] = []
    real = ObjectStore.get

    def get(self: ObjectStore, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        keys.append(key)
        return real(self, key, max_bytes, etag)

    monkeypatch.setattr(ObjectStore, "get", get)
    return keys


def npy(array: npt.NDArray[Any]) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def test_snapshot_holds_what_database_and_bucket_hold(world: World) -> None:
    summary = world.take()
    rows = archive.read_measurements(world.root)
    assert list(zip(rows["session_id"], rows["websdr_id"], strict=True)) == [
        (session_id(number), receiver) for number in range(SESSIONS) for receiver in (1, 2, 3)
    ]
    for name, group in rows.groupby("shard"):
        stored = archive.read_shard(archive.shard_path(str(name), world.root))
        assert list(stored) == list(zip(group["session_id"], group["websdr_id"], strict=True))
    number = {session_id(number): number for number in range(SESSIONS)}
    for (session, receiver), found in stored.items():
        np.testing.assert_array_equal(found, samples(number[session], receiver))
    first = rows.iloc[0]
    assert first["object_key"] == object_key(session_id(0), 1)
    assert (first["samples"], first["object_bytes"], first["sample_rate_hz"]) == (
        COUNT,
        128 + 8 * COUNT,
        RATE_HZ,
    )
    assert int(first["start_gps_ns"]) == 1_451_304_245_000_000_123
    assert rows["start_gps_ns"].isna().tolist() == [False, False, True] * SESSIONS
    assert rows["modulation"].isna().tolist() == ([True] * 3 + [False] * 3) * (SESSIONS // 2)
    assert archive.read_receivers(world.root)["websdr_id"].tolist() == [1, 2, 3]
    assert world.quarantine() == []
    assert json.loads((world.root / snapshot.METRICS).read_text()) == dataclasses.asdict(summary)
    assert dataclasses.asdict(summary) | {"data_fingerprint": ""} == {
        "as_of": "2026-03-01T00:00:00Z",
        "data": "simulated",
        "sessions": 8,
        "recordings": 24,
        "transmitters": 1,
        "receivers": 3,
        "quarantined": {},
        "quarantined_fraction": 0.0,
        "data_fingerprint": "",
    }
    assert rows["shard"].nunique() > 1


def test_same_moment_gives_the_same_bytes_for_ever(
    world: World, downloads: list[str], tmp_path: Path
) -> None:
    world.take()
    first = world.outputs()
    assert len(downloads) == 24
    world.add_session(60)  # approved after the moment
    world.take()
    assert world.outputs() == first
    assert len(downloads) == 24
    fresh = dataclasses.replace(world, root=tmp_path / "elsewhere")
    fresh.take(download_threads=1)
    assert fresh.outputs() == first


def test_one_more_session_touches_one_shard(world: World, downloads: list[str]) -> None:
    world.take()
    before = {path: content for path, content in world.outputs().items() if "/iq/" in path}
    rows = archive.read_measurements(world.root)
    last = int((rows["shard"] == rows["shard"].iloc[-1]).sum())
    world.add_session(8)
    downloads.clear()
    shutil.rmtree(world.root / snapshot.WORK)  # what the output itself tells is enough
    summary = world.take()
    after = {path: content for path, content in world.outputs().items() if "/iq/" in path}
    assert summary.recordings == 27
    assert len(set(before) - set(after)) <= 1
    assert len(downloads) <= 3 + last


def test_bad_objects_are_remembered_or_fetched_again_with_the_same_result(
    world: World, downloads: list[str]
) -> None:
    bad = object_key(session_id(2), 2)
    world.bucket.put(bad, b"nothing")
    world.take()
    first = world.outputs()
    downloads.clear()
    world.take()
    assert downloads == []
    shutil.rmtree(world.root / snapshot.WORK)
    world.take()
    assert downloads == [bad]
    assert world.outputs() == first


def test_a_changed_memory_is_not_believed(world: World, downloads: list[str]) -> None:
    """Neither the former table nor the scratch, if a hash in them is another than the one written."""
    world.take()
    first = world.outputs()
    downloads.clear()
    path = world.root / archive.SNAPSHOT / archive.MEASUREMENTS_FILE
    rows = archive.read_measurements(world.root)
    rows.loc[0, "object_sha256"] = "0" * 64
    archive.write_table(path, rows, archive.MEASUREMENTS_SCHEMA)
    world.take()
    assert downloads == []  # the scratch knows
    assert world.outputs() == first

    archive.write_table(path, rows, archive.MEASUREMENTS_SCHEMA)
    for memory in (world.root / snapshot.WORK / "verdicts").iterdir():
        text = memory.read_text()
        memory.write_text(
            text.replace(f'"{artifacts.sha256_bytes(iq.encode(samples(1, 1)))}"', f'"{"1" * 64}"')
        )
    world.take()
    assert object_key(session_id(1), 1) in downloads
    assert world.outputs() == first


def test_mended_object_comes_back(world: World) -> None:
    world.take()
    good = world.outputs()
    key = object_key(session_id(2), 2)
    world.bucket.put(key, b"nothing")
    assert world.take().recordings == 23
    world.bucket.put(key, iq.encode(samples(2, 2)))
    assert world.take().recordings == 24
    assert world.outputs() == good


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
    rows = pq.read_table(world.root / snapshot.QUARANTINE).to_pylist()
    found = [(row["measurement_id"], row["object_key"], row["reason"]) for row in rows]
    assert found == [case[:3] for case in expected]
    assert all(row["detail"] for row in rows)
    assert {key: key in downloads for _, key, _, _ in expected} == {key: get for _, key, _, get in expected}
    assert (summary.recordings, summary.sessions) == (10, 8)
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
    rows = pq.read_table(world.root / snapshot.QUARANTINE).to_pylist()
    assert {row["measurement_id"]: row["reason"] for row in rows} == expected
    assert (summary.recordings, summary.sessions) == (15, 8)


def test_neither_of_two_rows_for_one_recording_is_used(world: World) -> None:
    world.add(dataclasses.replace(measurement(1, 1), measurement_id=str(uuid.UUID(int=5))))
    assert world.take().recordings == 23
    assert world.quarantine() == [(session_id(1), 1, schemas.DUPLICATE)] * 2


def test_receiver_without_a_place_on_earth_is_unknown(world: World) -> None:
    world.execute("UPDATE websdrs SET latitude = 100 WHERE id = 3")
    summary = world.take(max_quarantined_fraction=0.5)
    assert summary.quarantined == {schemas.UNKNOWN_RECEIVER: 8}
    assert archive.read_receivers(world.root)["websdr_id"].tolist() == [1, 2]


def not_approved(world: World) -> None:
    world.execute("UPDATE measurements SET approved = false")


def many_missing(world: World) -> None:
    for number in range(SESSIONS):
        world.bucket.delete(object_key(session_id(number), 1))
    world.execute(
        "UPDATE measurements SET latitude = 95 WHERE websdr_id = 2 AND session_id = %s", session_id(0)
    )


def many_broken(world: World) -> None:
    for number in range(SESSIONS):
        world.bucket.put(object_key(session_id(number), 1), b"nothing")


@pytest.mark.parametrize(
    ("harm", "message", "fetched"),
    [
        (not_approved, r"no measurement was approved at or before 2026-03-01T00:00:00Z", 0),
        (
            many_missing,
            r"9 of 24 approved recordings are bad \(missing 8, bad_position 1\), more than 30%",
            0,
        ),
        (many_broken, r"8 of 24 approved recordings are bad \(not_npy 8\)", 8),
    ],
)
def test_failure_names_the_cause_and_leaves_the_former_snapshot(
    world: World, downloads: list[str], harm: Callable[[World], None], message: str, fetched: int
) -> None:
    world.take()
    former = world.outputs()
    downloads.clear()
    harm(world)
    with pytest.raises(HeimdallError, match=message):
        world.take()
    assert world.outputs() == former
    assert len(set(downloads)) == fetched if fetched == 0 else len(set(downloads)) >= fetched


def test_finished_shards_are_kept_when_the_bucket_is_lost_midway(
    world: World, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = ObjectStore.get

    def lost(self: ObjectStore, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        if len(downloads) >= 18:
            raise HeimdallError(self.endpoint, "it cannot be reached", "Check it")
        return counted(self, key, max_bytes, etag)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "get", lost)
        with pytest.raises(HeimdallError, match="cannot be reached"):
            world.take(download_threads=1)
    assert world.outputs() == {}
    finished = len(list((world.root / snapshot.WORK / "shards").iterdir()))
    assert finished >= 1
    downloads.clear()
    assert world.take().recordings == 24
    assert len(downloads) < 24


def test_object_deleted_after_the_listing_is_missing_and_not_remembered(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim = object_key(session_id(1), 1)
    real = ObjectStore.get

    def get(self: ObjectStore, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        if key == victim:
            raise objectstore.ObjectMissing(key, "deleted", "Restore it")
        return real(self, key, max_bytes, etag)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "get", get)
        world.take()
    assert world.quarantine() == [(session_id(1), 1, iq.MISSING)]
    assert world.take().recordings == 24


def test_object_replaced_after_the_listing_is_not_taken_for_the_listed_one(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    victim, other = object_key(session_id(1), 1), iq.encode(samples(1, 9))  # of the same size
    real = ObjectStore.get

    def get(self: ObjectStore, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        if key == victim:
            world.bucket.put(victim, other)
        return real(self, key, max_bytes, etag)

    with monkeypatch.context() as patch:
        patch.setattr(ObjectStore, "get", get)
        world.take()
    assert world.quarantine() == [(session_id(1), 1, snapshot.CHANGED)]
    assert world.take().recordings == 24
    rows = archive.read_measurements(world.root).set_index("object_key")
    assert rows.loc[victim, "object_sha256"] == artifacts.sha256_bytes(other)


def run_and_kill(world: World, renames: int) -> bool:
    """Take a snapshot in a child that is killed before its rename of this number; whether it was."""
    child = os.fork()
    if child == 0:
        left = renames
        real = Path.replace

        def replace(self: Path, target: Path) -> Path:
            nonlocal left
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)
            return real(self, target)

        Path.replace = replace  # type: ignore[assignment,method-assign]
        try:
            world.take(shard_sessions=8)
        finally:
            os._exit(0)
    return os.WIFSIGNALED(os.waitpid(child, 0)[1])


def test_killed_at_any_rename_the_next_run_ends_with_the_same_bytes(world: World, tmp_path: Path) -> None:
    world.take(shard_sessions=8)
    world.bucket.put(object_key(session_id(0), 2), b"nothing")
    world.execute("UPDATE measurements SET snr_db = 7 WHERE websdr_id = 1")
    undisturbed = dataclasses.replace(world, root=tmp_path / "undisturbed")
    undisturbed.take(shard_sessions=8)
    kills = 0
    for renames in range(100):
        disturbed = dataclasses.replace(world, root=tmp_path / f"kill-{renames}")
        shutil.copytree(world.root / "data", disturbed.root / "data")
        killed = run_and_kill(disturbed, renames)
        kills += killed
        artifacts.remove_partial(disturbed.root)  # as every stage begins
        disturbed.take(shard_sessions=8)
        assert disturbed.outputs() == undisturbed.outputs(), renames
        if not killed:
            break
    assert kills >= 8


def test_wrong_credentials_name_the_endpoint_and_not_the_secret(world: World) -> None:
    wrong = dataclasses.replace(world.services.endpoints, s3_secret_key="wrong-secret")  # noqa: S106
    with pytest.raises(HeimdallError, match="access denied") as caught:
        snapshot.take(PARAMS, wrong, world.root)
    assert wrong.s3_endpoint_url in str(caught.value)
    assert "wrong-secret" not in str(caught.value)
    assert world.outputs() == {}


def candidates(count: int) -> list[snapshot.Candidate]:
    return [
        snapshot.Candidate(0, str(uuid.UUID(int=number * 7919)), receiver, RATE_HZ, "key", "etag", 5)
        for number in range(count)
        for receiver in (1, 2)
    ]


def test_sessions_are_never_divided_and_shards_have_the_wished_size() -> None:
    items = candidates(400)
    groups = list(snapshot.cut(items, 4))
    assert [item for group in groups for item in group] == items
    assert all(groups[k][-1].session_id != groups[k + 1][0].session_id for k in range(len(groups) - 1))
    assert 70 < len(groups) < 130
    assert [len(group) for group in snapshot.cut(candidates(5), 1)] == [2] * 5


@pytest.mark.parametrize("missing", [0, 77, 199])
def test_one_session_less_changes_one_shard_or_joins_two(missing: int) -> None:
    items = candidates(200)
    gone = items[2 * missing].session_id
    whole = {tuple(group) for group in snapshot.cut(items, 4)}
    less = {tuple(group) for group in snapshot.cut([item for item in items if item.session_id != gone], 4)}
    assert len(whole - less) <= 2
    assert len(less - whole) <= 1


def test_stage_prints_what_it_took_and_fails_in_one_line(world: World) -> None:
    values = yaml.safe_load((REPOSITORY / "params.yaml").read_text())
    values["snapshot"] |= {"max_duration_s": 1.0, "as_of": "2026-03-01T00:00:00Z"}
    params = world.root / "params.yaml"
    command = [sys.executable, str(REPOSITORY / "stages" / "snapshot.py")]

    def run() -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            command, cwd=world.root, env=world.services.env, capture_output=True, text=True, check=False
        )

    params.write_text(yaml.safe_dump(values))
    done = run()
    assert done.returncode == 0, done.stderr
    assert "24 recordings (simulated) of 8 sessions" in done.stdout
    values["snapshot"]["as_of"] = "2020-01-01T00:00:00Z"
    params.write_text(yaml.safe_dump(values))
    former = world.outputs()
    failed = run()
    assert failed.returncode == 1
    assert failed.stderr.startswith("snapshot.py: PostgreSQL 127.0.0.1:")
    assert failed.stderr.count("\n") == 1
    assert world.outputs() == former
