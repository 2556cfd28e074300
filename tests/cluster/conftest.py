"""A Ray cluster on this machine for the tests of a module; some add nodes."""

from __future__ import annotations

import os
import secrets
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from heimdall.core import variables
from tests import REPOSITORY

Cluster = Any


def described(*paths: Path) -> dict[str, Any]:
    """A node of one CPU, whose workers may import the tests and what else is in some folders."""
    return {
        "num_cpus": 1,
        "include_dashboard": False,
        "env_vars": {"PYTHONPATH": os.pathsep.join(map(str, (*paths, REPOSITORY)))},
    }


@pytest.fixture(scope="session")
def token(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Of every cluster of this process, for Ray reads it once."""
    file = tmp_path_factory.mktemp("ray") / "token"
    file.write_text(secrets.token_hex(32))
    file.chmod(0o600)
    return file


@pytest.fixture(scope="module")
def ray_cluster_here(token: Path) -> Iterator[Cluster]:
    """One node, started by somebody with a secret; its files are removed."""
    from heimdall.core import ray_cluster  # it configures Ray: before all others

    assert ray_cluster.ray
    from ray import cluster_utils

    folder = Path(tempfile.mkdtemp(prefix="heimdall-ray-", dir="/tmp"))  # sockets need a short name
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
        patch.setenv("RAY_TMPDIR", str(folder))
        patch.setenv("AWS_SECRET_ACCESS_KEY", "of-who-started-the-node")
        patch.setenv(variables.RAY_AUTH_TOKEN_PATH.name, str(token))
        cluster = cluster_utils.Cluster(initialize_head=True, head_node_args=described())
        patch.setenv(variables.RAY_ADDRESS.name, cluster.address)
        yield cluster
        cluster.shutdown()
    shutil.rmtree(folder)


@contextmanager
def one_more(cluster: Cluster, *paths: Path) -> Iterator[Any]:
    """A cluster with one more node while the block lasts."""
    node = cluster.add_node(**described(*paths))
    try:
        yield node
    finally:
        if node in cluster.worker_nodes:
            cluster.remove_node(node)
