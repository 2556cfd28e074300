"""A repository with a tiny snapshot, on one core, and which of its shards are computed."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from heimdall.core import artifacts, determinism
from heimdall.pipeline.featurize import featurize
from heimdall.pipeline.featurize.featurize import ShardTask
from tests.tiny_snapshot import write_snapshot


@pytest.fixture(autouse=True)
def _one_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0})


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A repository with a snapshot."""
    artifacts.write_bytes(tmp_path / determinism.LOCK_FILE, b"numpy==1\n")
    write_snapshot(tmp_path)
    return tmp_path


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the snapshot's shards that are computed from here on."""
    names: list[str] = []

    def counting(task: ShardTask, compute: Callable[[ShardTask], bytes] = featurize.featurize_shard) -> bytes:
        names.append(task.source.name)
        return compute(task)

    monkeypatch.setattr(featurize, "featurize_shard", counting)
    return names
