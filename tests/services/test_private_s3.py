"""DVC and MLflow reach an S3 server with a certificate of one's own, as a role of a profile.

Both are children in other folders. What they need is named by paths that are relative to ours.
"""

from __future__ import annotations

import subprocess
import sys
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from heimdall.core import child
from heimdall.core.child import Service
from heimdall.reproduce import checkout
from heimdall.services import dvc_remote
from heimdall.storage import endpoints
from heimdall.storage.endpoints import DVC_BUCKET
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import S3Access
from heimdall.track import mlflow_store
from tests.conftest import SERVICE_VARIABLES
from tests.gateway import Gateway
from tests.storage.test_s3_errors import certificate

CONFIG = """
[profile radio]
region = eu-south-1
role_arn = arn:aws:iam::123456789012:role/radio
source_profile = source
[profile source]
aws_access_key_id = source-key
aws_secret_access_key = s3cret
"""
UPLOAD = """
import sys
from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository
get_artifact_repository(sys.argv[1]).log_artifact(sys.argv[2])
"""


@dataclass(frozen=True)
class Private:
    """The server, and the folder in which the files of the environment lie."""

    gateway: Gateway
    folder: Path

    def signers(self) -> set[str]:
        """The first letters of the access keys of all requests to S3."""
        signed = [request.headers["Authorization"] for request in self.gateway.requests]
        return {text.split("Credential=")[1][:4] for text in signed if "/s3/" in text}


@pytest.fixture
def private(moto: S3Access, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Private]:
    """Moto's server behind TLS, and a profile with a role in our environment."""
    for name in SERVICE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").write_text(CONFIG)
    with Gateway(moto.endpoint_url, certificate=certificate(tmp_path, "127.0.0.1")) as gateway:
        own = {"AWS_CONFIG_FILE": "config", "AWS_SHARED_CREDENTIALS_FILE": "none", "AWS_PROFILE": "radio"}
        own |= {"AWS_CA_BUNDLE": "server.pem", "HEIMDALL_S3_ENDPOINT_URL": gateway.url}
        for name, value in (own | {"AWS_ENDPOINT_URL_STS": gateway.url}).items():
            monkeypatch.setenv(name, value)
        yield Private(gateway, tmp_path)


def test_dvc_pushes_and_pulls(private: Private) -> None:
    s3 = endpoints.s3()
    ObjectStore(s3, DVC_BUCKET).ensure_bucket()
    tree = private.folder / "clone"
    tree.mkdir()
    env = checkout.environment(Service.S3) | {"DVC_SITE_CACHE_DIR": str(private.folder / "site")}
    data = tree / "data.bin"
    data.write_bytes(uuid.uuid4().bytes)
    content = data.read_bytes()
    assert checkout.dvc(tree, "init", "--no-scm", "--quiet", env=env) == 0
    dvc_remote.write(tree, s3)
    assert checkout.dvc(tree, "add", "--quiet", data.name, env=env) == 0
    assert checkout.dvc(tree, "push", "--quiet", "--remote", "s3", env=env) == 0
    data.unlink()
    for file in (tree / ".dvc" / "cache").rglob("*"):
        if file.is_file():
            file.chmod(0o600)
            file.unlink()
    assert checkout.dvc(tree, "pull", "--quiet", "--remote", "s3", env=env) == 0
    assert data.read_bytes() == content
    assert not any("x-amz-trailer" in request.headers for request in private.gateway.requests)
    assert private.signers() == {"ASIA"}


@pytest.mark.series
def test_mlflow_sends_files(private: Private) -> None:
    root = private.folder / "clone"
    store = mlflow_store.resolve(root)
    assert store.s3 is not None
    bucket = ObjectStore(store.s3, f"mlflow-{uuid.uuid4().hex[:12]}")
    bucket.ensure_bucket()
    (store.folder / "file.txt").write_text("1")
    inherited = child.environment(*mlflow_store.services(store.uri))
    done = subprocess.run(
        [sys.executable, "-c", UPLOAD, f"s3://{bucket.bucket}/run", "file.txt"],
        cwd=store.folder,
        env=child.settled(inherited | dict(store.environment)),
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert bucket.get("run/file.txt", 1) == b"1"
    assert not any("x-amz-trailer" in request.headers for request in private.gateway.requests)
    assert private.signers() == {"ASIA"}
