"""A cluster whose first machine is lost while pieces are computed."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from heimdall.core import ray_cluster, workers
from heimdall.core.errors import HeimdallError
from tests.cluster import tasks
from tests.cluster.conftest import Cluster


@pytest.mark.series
@pytest.mark.parametrize("lost_by", [signal.SIGSTOP, signal.SIGKILL])  # silent, closed; the last cannot go on
def test_a_lost_head_ends_the_pieces_with_one_line(
    lost_by: signal.Signals,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
    ray_cluster_here: Cluster,
) -> None:
    for name in ("LOOK_S", "LOST_S", "END_LOST_S"):
        monkeypatch.setattr(ray_cluster, name, 1.0)
    place = f"Ray cluster {ray_cluster_here.address}"
    results = workers.mapped(tasks.square, range(50))
    assert next(results) == 0
    (head,) = ray_cluster_here.head_node.all_processes["gcs_server"]
    os.kill(head.process.pid, lost_by)
    capfd.readouterr()
    try:
        with pytest.raises(HeimdallError) as caught:
            list(results)
    finally:
        os.kill(head.process.pid, signal.SIGCONT)
        for one in threading.enumerate():
            if one.name.endswith(
                "(shutdown)"
            ):  # Ray's, which goes on now; the next connection must not meet it
                one.join()
    assert str(caught.value).startswith(f"{place}: its first machine is lost, ")
    assert str(caught.value).endswith(ray_cluster.START_AGAIN)
    assert capfd.readouterr().err == ""
