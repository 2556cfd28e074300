"""An empty bucket of models, and a clone whose commit every version is of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heimdall.release.bucket import ConditionalStore
from heimdall.storage.endpoints import MODELS_BUCKET
from tests.conftest import Buckets, Services
from tests.release.releases import run_git


@pytest.fixture(scope="module")
def client(services: Services) -> ConditionalStore:
    return ConditionalStore(services.endpoints, MODELS_BUCKET)


@pytest.fixture
def store(client: ConditionalStore, buckets: Buckets) -> ConditionalStore:
    """The empty bucket of models."""
    assert buckets.models.head_all("") == {}
    return client


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """No MLflow; git as `BY`."""
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Test")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "test@localhost")


@pytest.fixture
def clone(tmp_path: Path, environment: None) -> Path:
    """A repository with one commit, of which every version here is."""
    root = tmp_path / "clone"
    root.mkdir()
    run_git(root, "init", "--quiet")
    run_git(root, "commit", "--quiet", "--allow-empty", "--message", "A model")
    return root
