"""Two S3 servers that have nothing in common: the embedded SeaweedFS, and moto's."""

from __future__ import annotations

import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from heimdall.services.process import wait_until
from heimdall.storage.endpoints import RAW_BUCKET
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import Keys, S3Access
from tests.conftest import Services, clean_environment

SERVERS = ("seaweedfs", "moto")


def answers(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


@pytest.fixture(scope="session")
def moto() -> Iterator[S3Access]:
    """A server of moto's, a process of its own; it takes any keys, and forgets everything at its end."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "moto.server", "--host", "127.0.0.1", "--port", str(port)],
        env=clean_environment(),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        assert wait_until(lambda: answers(port), 60)
        yield S3Access(f"http://127.0.0.1:{port}", Keys("key", "secret"), None, embedded=False)
    finally:
        server.terminate()
        server.wait()


@pytest.fixture(scope="session", params=SERVERS)
def s3(request: pytest.FixtureRequest, services: Services) -> S3Access:
    """Either server."""
    if request.param == "seaweedfs":
        return services.endpoints.s3
    access: S3Access = request.getfixturevalue("moto")
    return access


@pytest.fixture(scope="session")
def raw_store(s3: S3Access) -> ObjectStore:
    store = ObjectStore(s3, RAW_BUCKET)
    store.ensure_bucket()
    return store


@pytest.fixture
def raw(raw_store: ObjectStore) -> ObjectStore:
    """The bucket of recordings on either server, emptied."""
    empty(raw_store)
    return raw_store


def empty(store: ObjectStore) -> None:
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.delete, store.head_all("")))
