"""A cluster whose first machine is lost while pieces are computed."""

from __future__ import annotations

import pytest

from heimdall.core import ray_cluster, workers
from heimdall.core.errors import HeimdallError
from tests.cluster import tasks
from tests.cluster.conftest import Cluster


@pytest.mark.series
def test_a_lost_head_ends_the_pieces_with_one_line(
    monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], ray_cluster_here: Cluster
) -> None:
    monkeypatch.setattr(ray_cluster, "LOOK_S", 0.5)
    monkeypatch.setattr(ray_cluster, "LOST_S", 1.0)
    place = f"Ray cluster {ray_cluster_here.address}"
    results = workers.mapped(tasks.square, range(50))
    assert next(results) == 0
    ray_cluster_here.head_node.kill_gcs_server()
    capfd.readouterr()
    with pytest.raises(HeimdallError) as caught:
        list(results)
    assert str(caught.value).startswith(f"{place}: its first machine is lost (")
    assert str(caught.value).endswith(ray_cluster.START_AGAIN)
    assert capfd.readouterr().err == ""
