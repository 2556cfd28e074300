"""A Ray cluster on this machine for all tests of this folder; some add nodes."""

from __future__ import annotations

import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from heimdall.core import variables  # before Ray, which it configures
from tests import REPOSITORY

from ray.cluster_utils import Cluster  # isort: skip

NODE = {"num_cpus": 1, "include_dashboard": False, "env_vars": {"PYTHONPATH": str(REPOSITORY)}}


@pytest.fixture(scope="package")
def ray_nodes() -> Iterator[Cluster]:
    """One node of one CPU, whose worker may import the tests."""
    folder = Path(tempfile.mkdtemp(prefix="heimdall-ray-", dir="/tmp"))  # sockets need a short name
    token = folder / "token"
    token.write_text(secrets.token_hex(32))
    token.chmod(0o600)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv(variables.RAY_AUTH_TOKEN_PATH.name, str(token))
        patch.setenv("RAY_TMPDIR", str(folder))
        cluster = Cluster(initialize_head=True, head_node_args=NODE)
        patch.setenv(variables.RAY_ADDRESS.name, cluster.address)
        yield cluster
        cluster.shutdown()
    shutil.rmtree(folder)
