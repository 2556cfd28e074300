"""An empty bucket of models, and a clone whose commit every version is of."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from heimdall.release.bucket import ConditionalStore
from heimdall.storage.endpoints import MODELS_BUCKET
from heimdall.storage.s3_access import S3Access
from tests.release.releases import run_git
from tests.s3_servers import empty


@pytest.fixture(scope="session")
def client(s3: S3Access) -> ConditionalStore:
    made = ConditionalStore(s3, MODELS_BUCKET)
    made.ensure_bucket()
    return made


@pytest.fixture
def store(client: ConditionalStore) -> ConditionalStore:
    """The empty bucket of models, on either server."""
    empty(client)
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
