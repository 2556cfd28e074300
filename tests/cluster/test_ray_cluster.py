"""Pieces of work on real Ray: the same bytes as on one machine, whatever happens to workers and nodes."""

from __future__ import annotations

from pathlib import Path

import pytest
from ray.cluster_utils import Cluster

from heimdall.core import artifacts, determinism, variables
from heimdall.pipeline.featurize import featurize
from tests.cluster.conftest import NODE
from tests.tiny_snapshot import PARAMS, SPLIT, outputs, write_snapshot


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The features of the tiny snapshot, made without a cluster."""
    return featurized(tmp_path_factory.mktemp("alone"), cluster=False)


def featurized(root: Path, *, cluster: bool = True) -> dict[str, bytes]:
    artifacts.write_bytes(root / determinism.LOCK_FILE, b"numpy==1\n")
    write_snapshot(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        if not cluster:
            patch.delenv(variables.RAY_ADDRESS.name, raising=False)
        featurize.run(PARAMS, SPLIT)
    return outputs(root)


def test_features_are_the_same_bytes(alone: dict[str, bytes], tmp_path: Path, ray_nodes: Cluster) -> None:
    assert featurized(tmp_path / "one") == alone
    node = ray_nodes.add_node(**NODE)
    assert featurized(tmp_path / "two") == alone
    ray_nodes.remove_node(node)
