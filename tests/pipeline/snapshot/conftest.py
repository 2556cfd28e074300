"""The snapshot's world on a real PostgreSQL and a real S3."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.storage.objectstore import ObjectStore
from tests.conftest import Buckets, Services
from tests.pipeline.snapshot.snapshot_world import SESSIONS, World


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
