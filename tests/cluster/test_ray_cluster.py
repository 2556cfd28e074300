"""Pieces of work on real Ray: the same bytes as on one machine, whatever happens to workers and nodes."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from heimdall.core import artifacts, determinism, ray_address, ray_cluster, variables, workers
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.network.dataset import DatasetConfig
from heimdall.pipeline.evaluate import evaluation
from heimdall.pipeline.featurize import featurize
from heimdall.pipeline.simulate import simulated
from tests import REPOSITORY, pieces
from tests.cluster import tasks
from tests.cluster.conftest import one_more
from tests.pipeline.evaluate.conftest import data
from tests.pipeline.evaluate.test_evaluation import PARAMS as EVALUATE
from tests.pipeline.evaluate.test_evaluation import both
from tests.pipeline.simulate.test_simulated import CHOSEN, FEATURES
from tests.pipeline.simulate.test_simulated import outputs as simulated_outputs
from tests.pipeline.snapshot.conftest import world
from tests.pipeline.snapshot.snapshot_world import World
from tests.session_world import VALIDATION_SPLIT
from tests.tiny_snapshot import PARAMS, SPLIT, outputs, write_snapshot

Cluster = Any
__all__ = ["data", "world"]  # fixtures of the stages' own tests


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """The features of the tiny snapshot, made without a cluster."""
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv(variables.RAY_ADDRESS.name, raising=False)
        return featurized(tmp_path_factory.mktemp("alone"))


def featurized(root: Path) -> dict[str, bytes]:
    artifacts.write_bytes(root / determinism.LOCK_FILE, b"numpy==1\n")
    write_snapshot(root)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        featurize.run(PARAMS, SPLIT)
    assert not list((root / ray_cluster.MARKS).glob(".*"))
    return outputs(root)


@pytest.mark.parametrize(
    "nodes",
    [pytest.param(1, marks=pytest.mark.series), 2, pytest.param(3, marks=pytest.mark.series)],
)
def test_features_are_the_same_bytes_on_any_number_of_machines(
    nodes: int, alone: dict[str, bytes], tmp_path: Path, ray_cluster_here: Cluster
) -> None:
    with ExitStack() as more:
        for _ in range(nodes - 1):
            more.enter_context(one_more(ray_cluster_here))
        assert featurized(tmp_path) == alone


@pytest.mark.series
def test_a_snapshot_is_the_same_bytes(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster_here: Cluster
) -> None:
    with one_more(ray_cluster_here):
        world.take()
    monkeypatch.delenv(variables.RAY_ADDRESS.name)
    other = replace(world, root=tmp_path / "other")
    other.take()
    assert world.outputs() == other.outputs()


@pytest.mark.series
def test_an_evaluation_gives_the_same_figures(
    data: DatasetConfig, monkeypatch: pytest.MonkeyPatch, ray_cluster_here: Cluster
) -> None:
    monkeypatch.setattr(evaluation, "_LEAST", 1)
    with one_more(ray_cluster_here):
        found = evaluation.evaluate(both, data, VALIDATION_SPLIT, EVALUATE)
    monkeypatch.delenv(variables.RAY_ADDRESS.name)
    here = evaluation.evaluate(both, data, VALIDATION_SPLIT, EVALUATE)
    pd.testing.assert_frame_equal(found.cases, here.cases, check_exact=True)
    assert found.metrics == here.metrics


@pytest.mark.series
def test_simulated_sessions_are_the_same_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster_here: Cluster
) -> None:
    def made(root: Path) -> dict[str, bytes]:
        artifacts.write_bytes(root / determinism.LOCK_FILE, b"numpy==1\n")
        simulated.run(CHOSEN, FEATURES, root)
        return simulated_outputs(root)

    with one_more(ray_cluster_here):
        found = made(tmp_path / "cluster")
    monkeypatch.delenv(variables.RAY_ADDRESS.name)
    assert found == made(tmp_path / "here")


@contextmanager
def unwritten() -> Iterator[Path]:
    yield ray_cluster.MARKS / "of-another-machine"


@pytest.mark.usefixtures("ray_cluster_here")
@pytest.mark.parametrize("late", [False, True])
def test_features_are_the_same_bytes_where_a_machine_does_not_see_the_folder(
    late: bool, alone: dict[str, bytes], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ray_cluster, "_marked", unwritten)
    if late:  # all that were there at the start see it
        monkeypatch.setattr(ray_cluster, "_accepted", lambda home, head: [])
    assert featurized(tmp_path) == alone


@pytest.mark.usefixtures("ray_cluster_here")
def test_a_file_outside_of_the_folder_is_not_sent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_cluster, "_marked", unwritten)
    with pytest.raises(HeimdallError, match="it is outside of this folder"):
        list(workers.mapped(tasks.square, [1, 2], files=lambda task: [tmp_path / "file"]))


@pytest.mark.usefixtures("ray_cluster_here")
def test_a_worker_has_the_recipe_from_its_start_this_code_and_no_secret(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-the-driver")
    recipe = {setting.name: setting.value for setting in determinism.settings(determinism.read_threads())}
    found, _ = workers.mapped(tasks.environment, [tuple(recipe)] * 2)
    assert {name: found[name] for name in recipe} == recipe
    assert found["now"] is None
    assert "/py_modules_files/" in str(found["code"])
    found, _ = workers.mapped(tasks.environment, [tuple(recipe)] * 2, services=(Service.S3,))
    assert found["now"] == "of-the-driver"


@pytest.mark.usefixtures("ray_cluster_here")
def test_a_killed_worker_is_replaced(tmp_path: Path) -> None:
    assert list(workers.mapped(pieces.killed_once, [(n, tmp_path) for n in range(6)])) == list(range(6))
    assert (tmp_path / "killed").exists()


def test_the_pieces_of_a_lost_node_are_computed_by_another(tmp_path: Path, ray_cluster_here: Cluster) -> None:
    begun = tmp_path / "begun"
    with one_more(ray_cluster_here) as node:

        def lose() -> None:
            while not begun.exists():
                time.sleep(0.05)
            ray_cluster_here.remove_node(node, allow_graceful=False)

        loser = threading.Thread(target=lose, daemon=True)
        loser.start()
        late = [(number, node.node_id, begun) for number in range(8)]
        assert list(workers.mapped(tasks.slow_on, late)) == list(range(8))
        loser.join()


@pytest.mark.usefixtures("ray_cluster_here")
def test_an_error_arrives_as_it_was_raised() -> None:
    results = workers.mapped(pieces.refusing, range(5))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(HeimdallError) as caught:
        next(results)
    assert type(caught.value) is HeimdallError
    assert str(caught.value) == "session 3: it is damaged. Fetch it again"
    with pytest.raises(pieces.TwoWordsError, match=r"^this and that$") as other:
        list(workers.mapped(pieces.of_two_words, [0, 1]))
    assert other.value.second == "that"


@pytest.mark.usefixtures("ray_cluster_here")
def test_few_pieces_are_under_way_at_a_time(tmp_path: Path) -> None:
    results = workers.mapped(pieces.noted, [(number, tmp_path) for number in range(50)])
    next(results)
    time.sleep(2)
    assert len(list(tmp_path.iterdir())) <= 1 + workers.AHEAD
    results.close()


def test_a_node_with_another_library_is_refused_by_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ray_cluster_here: Cluster
) -> None:
    described = tmp_path / "site" / "timm-0.0.1.dist-info" / "METADATA"
    artifacts.write_bytes(described, b"Metadata-Version: 2.1\nName: timm\nVersion: 0.0.1\n")
    with one_more(ray_cluster_here, tmp_path / "site") as node:
        with pytest.raises(HeimdallError) as caught:
            list(workers.mapped(pieces.noted, [(number, tmp_path) for number in range(9)]))
        name = f"node {node.node_ip_address} ({node.node_id[:8]})"
        assert str(caught.value).startswith(f"{name}: it is refused: timm is 0.0.1, not ")
        assert not (tmp_path / "0").exists()
        # It came later than the others were asked: its first piece says the same. On a busy machine they may
        # have done many by then.
        monkeypatch.setattr(ray_cluster, "_accepted", lambda home, head: [])
        with pytest.raises(HeimdallError, match=r"timm is 0\.0\.1, not "):
            list(workers.mapped(pieces.noted, [(number, tmp_path) for number in range(2000)]))


@pytest.mark.usefixtures("ray_cluster_here")
@pytest.mark.parametrize(
    ("address", "told"),
    [
        ("127.0.0.1:1", "Ray cluster 127.0.0.1:1: "),
        ("10.0.0.1", "'10.0.0.1' is no host and port, the port is missing"),
        ("head..lan:6379", "Ray cluster head..lan:6379: nothing answers there"),
    ],
)
def test_a_cluster_that_is_not_there_is_said_in_one_line(
    address: str, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(variables.RAY_ADDRESS.name, address)
    with pytest.raises(HeimdallError, match=told):
        list(workers.mapped(tasks.square, [1, 2]))


@pytest.mark.usefixtures("ray_cluster_here")
@pytest.mark.parametrize(
    ("said", "told"), [(b"HTTP/1.0 200 OK\r\n\r\n", "is no Ray"), (b"", "no answer within")]
)
def test_what_is_no_ray_is_said_in_one_line(said: bytes, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ray_address, "REACHED_S", 0.5)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer() -> None:
            connection, _ = server.accept()
            with connection, suppress(ConnectionError):
                connection.sendall(said)
                connection.recv(1024)
                connection.recv(1024)  # until the other side gives up

        threading.Thread(target=answer, daemon=True).start()
        monkeypatch.setenv(variables.RAY_ADDRESS.name, f"127.0.0.1:{server.getsockname()[1]}")
        with pytest.raises(HeimdallError, match=told):
            list(workers.mapped(tasks.square, [1, 2]))


@pytest.mark.parametrize(
    ("content", "mode", "told"),
    [
        ("another", 0o600, "Ray cluster {address}: it has another token than {file}. Copy "),
        ("another", 0o644, "{file}: others may read the cluster's token. Run "),
        ("\n", 0o600, "{file}: the file of the cluster's token is empty. Remove it and "),
    ],
)
def test_a_token_that_does_not_open_the_cluster_is_said_in_one_line(
    content: str, mode: int, told: str, tmp_path: Path, ray_cluster_here: Cluster
) -> None:
    token = tmp_path / "token"
    token.write_text(content)
    token.chmod(mode)
    done = subprocess.run(
        [sys.executable, "-m", "heimdall", "cluster", "status"],
        cwd=REPOSITORY,
        env={**os.environ, variables.RAY_AUTH_TOKEN_PATH.name: str(token)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    (line,) = done.stderr.splitlines()
    assert line.startswith("heimdall: " + told.format(address=ray_cluster_here.address, file=token))


@pytest.mark.usefixtures("ray_cluster_here")
def test_a_blank_token_is_refused_where_ray_would_end_the_process(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(variables.RAY_AUTH_TOKEN.name, " ")
    with pytest.raises(HeimdallError, match=r"^RAY_AUTH_TOKEN: it is blank\."):
        ray_cluster.reached()


def test_without_ray_a_cluster_is_refused_and_nothing_else_notices(tmp_path: Path) -> None:
    (tmp_path / "ray.py").write_text("raise ImportError('there is no Ray')")
    code = "from heimdall.core import workers; print(list(workers.mapped(abs, [-1, 2])))"
    for address, said in (("", "[1, 2]"), ("127.0.0.1:1", "Type `make cluster`")):
        environment = {**os.environ, variables.RAY_ADDRESS.name: address}
        environment["PYTHONPATH"] = f"{tmp_path}:{REPOSITORY / 'src'}"
        done = subprocess.run(
            [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False
        )
        assert said in done.stdout + done.stderr
