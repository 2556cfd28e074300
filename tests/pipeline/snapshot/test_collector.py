"""What is downloaded again, and what is not: reuse, loss in the middle, objects that change meanwhile."""

from __future__ import annotations

import shutil

import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.snapshot import collector, snapshot
from heimdall.recordings import archive, iq
from heimdall.storage import objectstore
from heimdall.storage.objectstore import ObjectStore, object_key
from tests.pipeline.snapshot.snapshot_world import World, samples, session_id


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


def test_finished_shards_are_kept_when_the_bucket_is_lost_midway(
    world: World, downloads: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    counted = ObjectStore.get

    def lost(self: ObjectStore, key: str, max_bytes: int, etag: str | None = None) -> bytes:
        if len(downloads) >= 23:
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
    assert world.quarantine() == [(session_id(1), 1, collector.CHANGED)]
    assert world.take().recordings == 24
    rows = archive.read_measurements(world.root).set_index("object_key")
    assert rows.loc[victim, "object_sha256"] == artifacts.sha256_bytes(other)
