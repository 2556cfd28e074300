"""MLflow gets every training once, whatever happens on the way, and never stands in its way."""

from __future__ import annotations

import http.client
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import mlflow
import pytest
import yaml

from heimdall.core import artifacts, params
from heimdall.pipeline.train.training_pipeline import TrainingPipeline
from heimdall.reproduce import revision
from heimdall.storage.objectstore import ObjectStore
from heimdall.track import mlflow_store, tracking
from heimdall.track.mlflow_store import RECORD, MLflowTracker, Run
from tests import tiny_features
from tests.conftest import SERVICE_VARIABLES, Services, clean_environment

PARAMS: dict[str, Any] = {"lr": 1e-05, "model": {"name": "single", "pretrained": False}, "threads": 1}
EPOCHS = [
    {"epoch": 1, "train_loss": 3.0, "val_loss": 2.5, "learning_rate": 1e-5, "gradient_norm": 0.75},
    {"epoch": 2, "train_loss": 2.0, "val_loss": 2.25, "learning_rate": 5e-6, "gradient_norm": 0.5},
]
METRICS = {"data": "simulated", "best_epoch": 2, "val_mae_m": 1234.5}
VARIABLES = (
    *SERVICE_VARIABLES,
    "MLFLOW_TRACKING_URI",
    "MLFLOW_S3_ENDPOINT_URL",
    "HEIMDALL_TRACKING",
    "DVC_ROOT",
    "DVC_EXP_NAME",
    "DVC_EXP_BASELINE_REV",
)
DOWN = "postgresql+psycopg2://user:hunter2@127.0.0.1:1/mlflow"


class Killed(BaseException):
    """Stands for a SIGKILL: nothing of ours catches it."""


@pytest.fixture(autouse=True)
def _untied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store, no experiment and no repository but the test's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with an embedded store, and the first run in it. Its tables take seconds: others share it."""
    root = tmp_path_factory.mktemp("embedded")
    (root / "params.yaml").write_text("lr: 1\nsnapshot: {shard_sessions: 4}\n")
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.chdir(root)
        run_id = tracking.track(PARAMS, EPOCHS, METRICS)
    assert run_id is not None
    return root, run_id


def rows(root: Path, query: str, *values: str) -> list[Any]:
    """What the embedded store holds."""
    with sqlite3.connect(root / ".heimdall" / "mlflow.db") as store:
        return store.execute(query, values).fetchall()


def runs_of(root: Path, record: str) -> list[str]:
    """The runs that carry a record's identifier."""
    return [
        run for (run,) in rows(root, "SELECT run_uuid FROM tags WHERE key = ? AND value = ?", RECORD, record)
    ]


def some_run(root: Path) -> Run:
    """A run in the spool of a repository."""
    run = tracking.training_run(root, PARAMS, EPOCHS, METRICS)
    tracking.spool(root, run)
    return run


def test_a_run_is_recorded_in_the_embedded_store(embedded: tuple[Path, str]) -> None:
    root, run_id = embedded
    metrics = rows(root, "SELECT key, value, step FROM metrics WHERE run_uuid = ? ORDER BY key, step", run_id)
    assert metrics == [
        ("final_best_epoch", 2.0, 0),
        ("final_val_mae_m", 1234.5, 0),
        ("gradient_norm", 0.75, 1),
        ("gradient_norm", 0.5, 2),
        ("learning_rate", 1e-5, 1),
        ("learning_rate", 5e-6, 2),
        ("train_loss", 3.0, 1),
        ("train_loss", 2.0, 2),
        ("val_loss", 2.5, 1),
        ("val_loss", 2.25, 2),
    ]
    stored = dict(rows(root, "SELECT key, value FROM params WHERE run_uuid = ?", run_id))
    assert stored == {"lr": "1e-05", "model.name": "single", "model.pretrained": "False", "threads": "1"}
    assert ("simulated",) in rows(root, "SELECT value FROM tags WHERE run_uuid = ? AND key = 'data'", run_id)
    assert rows(root, "SELECT status FROM runs WHERE run_uuid = ?", run_id) == [("FINISHED",)]

    # Without an S3 server its files lie beside the store, and nothing lies elsewhere.
    assert sorted(entry.name for entry in root.iterdir()) == [".heimdall", "params.yaml"]
    files = root / ".heimdall" / "mlartifacts" / run_id / "artifacts"
    assert yaml.safe_load((files / "params.yaml").read_text()) == PARAMS | {"snapshot": {"shard_sessions": 4}}
    assert (files / "plots" / "training.csv").read_text().splitlines()[1] == "1,3.0,2.5,1e-05,0.75"
    assert artifacts.read_json(files / "machine.json")["threads"] == 1
    assert tracking.spooled(root) == []


def test_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")
    assert tracking.track(PARAMS, EPOCHS, METRICS) is None
    assert list(tmp_path.iterdir()) == []


def test_what_could_not_be_sent_is_sent_once_with_the_next_training(
    embedded: tuple[Path, str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """As in a queued experiment: the workspace is another folder than the repository that DVC names."""
    root, _ = embedded
    monkeypatch.setenv("DVC_ROOT", str(root))
    monkeypatch.setenv("DVC_EXP_NAME", "odd-bass")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", DOWN)
    started_s = time.monotonic()
    assert tracking.track(PARAMS, EPOCHS, METRICS) is None
    assert time.monotonic() - started_s < 15  # MLflow's own retries would take two minutes
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: postgresql+psycopg2://127.0.0.1:1/mlflow: it does not answer")
    assert "1 wait in .heimdall/tracking for the next training or `heimdall track`" in line
    assert "hunter2" not in line
    (waiting,) = tracking.spooled(root)
    assert "hunter2" not in waiting.read_text()
    waits = tracking.read_spooled(waiting)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_EXP_NAME", "even-bass")
    sent = tracking.track(PARAMS, EPOCHS, METRICS)
    assert sent is not None
    assert capsys.readouterr().err == ""
    assert tracking.spooled(root) == []
    (late,) = runs_of(root, waits.id)
    names = "SELECT name FROM runs WHERE run_uuid IN (?, ?) ORDER BY name"
    assert rows(root, names, late, sent) == [("even-bass",), ("odd-bass",)]
    assert rows(root, "SELECT start_time FROM runs WHERE run_uuid = ?", late) == [(waits.time_ms,)]
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_slow_costs_a_bounded_time_and_no_byte(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same training with no tracker, with one that never answers, and where no record can be written."""
    tiny_features.write(tmp_path / "features", count=5)
    values = yaml.safe_load(tiny_features.PARAMS.read_text(encoding="utf-8"))
    quick = {"epochs": 1, "warmup_epochs": 0, "batch_size": 8, "threads": 1}
    chosen = params.check(values | quick | {"model": values["model"] | {"name": "single"}}, "test")
    (tmp_path / "full" / ".heimdall").mkdir(parents=True)
    (tmp_path / "full" / ".heimdall" / "tracking").write_text("in the way of the folder")
    (tmp_path / "slow").mkdir()
    found = {}
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv("MLFLOW_TRACKING_URI", f"http://user:hunter2@127.0.0.1:{silent.getsockname()[1]}")
        for name in ("none", "slow", "full"):
            monkeypatch.setenv("DVC_ROOT", str(tmp_path / name))
            pipeline = TrainingPipeline(chosen, tmp_path / "features", tmp_path / "work")
            tracker = None if name == "none" else partial(tracking.track, timeout_s=1.0)
            result = pipeline.run(tmp_path / "out" / name, tracker=tracker)
            assert result.mlflow_run_id is None
            out = tmp_path / "out" / name
            files = sorted(path for path in out.rglob("*") if path.is_file())
            found[name] = {str(path.relative_to(out)): artifacts.sha256_file(path) for path in files}
    assert len(found["none"]) == 4
    assert found["slow"] == found["none"]
    assert found["full"] == found["none"]
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("tracking: ")]
    assert len(said) == 2
    assert "no answer within 1 s" in said[0]
    assert "this training is not recorded" in said[1]
    assert "hunter2" not in "".join(said)
    (waiting,) = tracking.spooled(tmp_path / "slow")
    assert tracking.read_spooled(waiting).params["epochs"] == 1


@pytest.mark.parametrize("call", ["log_batch", "log_artifacts", "set_terminated", "unlink"])
def test_a_sender_killed_in_the_middle_loses_nothing_and_doubles_nothing(
    embedded: tuple[Path, str], call: str
) -> None:
    root, _ = embedded
    run = some_run(root)
    store = mlflow_store.resolve(root)

    def dies(*_: object, **__: object) -> None:
        raise Killed

    with pytest.MonkeyPatch.context() as patch, pytest.raises(Killed):
        patch.setattr(Path if call == "unlink" else mlflow.MlflowClient, call, dies)
        tracking.send(root, store, lambda *_: None)
    assert len(tracking.spooled(root)) == 1

    sent = tracking.send(root, store, lambda *_: None)
    assert (sent.problems, sent.waiting) == ([], 0)
    assert list(sent.runs) == [run.id]
    assert runs_of(root, run.id) == [sent.runs[run.id]]
    (count,) = rows(root, "SELECT COUNT(*) FROM metrics WHERE run_uuid = ?", sent.runs[run.id])
    assert count == (10,)
    assert rows(root, "SELECT status FROM runs WHERE run_uuid = ?", sent.runs[run.id]) == [("FINISHED",)]


def test_two_senders_at_once(embedded: tuple[Path, str]) -> None:
    root, _ = embedded
    records = [some_run(root).id for _ in range(3)]
    senders = [
        subprocess.Popen(
            [sys.executable, "-m", "heimdall.track.tracking", record],
            cwd=root,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for record in records[:2]
    ]
    for record, sender in zip(records[:2], senders, strict=True):
        said, problems = sender.communicate(timeout=120)
        assert sender.returncode == 0, problems
        assert runs_of(root, record) == [dict(line.split() for line in said.splitlines())[record]]
    assert len(runs_of(root, records[2])) == 1
    assert tracking.spooled(root) == []


def test_a_damaged_record_is_named_and_the_others_go_on(embedded: tuple[Path, str]) -> None:
    root, _ = embedded
    damaged = root / tracking.SPOOL / "1-damaged.json"
    damaged.write_text('{"id": "')
    run = some_run(root)
    sent = tracking.send(root, mlflow_store.resolve(root), lambda *_: None)
    damaged.unlink()
    assert list(sent.runs) == [run.id]
    (problem,) = sent.problems
    assert f"{damaged}: not a record of a training" in problem
    assert sent.waiting == 1


def test_postgresql_and_s3(database: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    bucket = f"mlflow-{uuid.uuid4().hex[:12]}"
    monkeypatch.setattr(mlflow_store, "BUCKET", bucket)
    for name in SERVICE_VARIABLES:
        if name in database.env:
            monkeypatch.setenv(name, database.env[name])
    uri = database.endpoints.database_url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = mlflow_store.resolve(tmp_path)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)

    run = some_run(tmp_path)
    (path,) = tracking.spooled(tmp_path)
    content = path.read_bytes()
    sent = tracking.send(tmp_path, store, lambda *_: None)
    assert (sent.problems, sent.waiting) == ([], 0)
    path.write_bytes(content)  # as if the sender had been killed before it removed it
    assert tracking.send(tmp_path, store, lambda *_: None).runs == sent.runs

    client = mlflow.MlflowClient(uri)
    (found,) = client.search_runs([MLflowTracker(store).experiment_id])
    assert found.info.run_id == sent.runs[run.id]
    assert found.info.status == "FINISHED"
    assert found.data.params["model.name"] == "single"
    assert [
        (point.step, point.value) for point in client.get_metric_history(found.info.run_id, "val_loss")
    ] == [
        (1, 2.5),
        (2, 2.25),
    ]
    prefix = f"{found.info.artifact_uri.removeprefix(f's3://{bucket}/')}/"
    objects = ObjectStore(database.endpoints, bucket).head_all("")
    assert set(objects) == {
        f"{prefix}{name}" for name in ("machine.json", "params.yaml", "plots/training.csv")
    }


@contextmanager
def served(root: Path, env: dict[str, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`heimdall ui` on the store of a folder, and its port."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    command = [str(Path(sys.executable).parent / "heimdall"), "ui", "--port", str(port)]
    process = subprocess.Popen(
        command, cwd=root, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    try:
        yield process, port
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


@pytest.fixture
def ui(embedded: tuple[Path, str]) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """`heimdall ui` on the embedded store, and its port."""
    with served(embedded[0], clean_environment()) as process_and_port:
        yield process_and_port


def test_files_reach_the_bucket_of_a_server(services: Services) -> None:
    """An MLflow server hands out the bucket's address, not its credentials."""
    root, bucket = services.root, f"mlflow-{uuid.uuid4().hex[:12]}"
    env = clean_environment() | {"HEIMDALL_MLFLOW_BUCKET": bucket}
    run = some_run(root)
    with served(root, env) as (server, port):
        assert server.stdout is not None
        assert "shows sqlite:///" in server.stdout.readline(), server.communicate()
        sent = subprocess.run(
            [sys.executable, "-m", "heimdall.track.tracking", run.id],
            cwd=root,
            env=env | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert sent.returncode == 0, sent.stderr
    assert tracking.spooled(root) == []
    objects = ObjectStore(services.endpoints, bucket).head_all("")
    assert {name.split("/artifacts/")[1] for name in objects} == set(run.files)


def test_another_s3_server_keeps_its_own_credentials(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    ours = mlflow_store.resolve(services.root).environment
    assert ours["AWS_SECRET_ACCESS_KEY"] == services.endpoints.s3_secret_key
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "https://s3.example")
    assert not {"AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL"} & set(
        mlflow_store.resolve(services.root).environment
    )


def test_ui_answers_on_loopback_alone(ui: tuple[subprocess.Popen[str], int]) -> None:
    process, port = ui
    assert process.stdout is not None
    line = process.stdout.readline()
    assert f"http://127.0.0.1:{port} shows sqlite:///" in line, process.communicate()

    def status(host: str) -> int:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        query = "/api/2.0/mlflow/experiments/get-by-name?experiment_name=heimdall"
        connection.request("GET", query, headers={"Host": host})
        return connection.getresponse().status

    assert status(f"localhost:{port}") == 200
    assert status("heimdall.example") == 403
    listening = [entry.split()[1] for entry in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    assert {place.split(":")[0] for place in listening if place.endswith(f":{port:04X}")} == {"0100007F"}

    group = int(subprocess.check_output(["ps", "-o", "pid=", "--ppid", str(process.pid)], text=True))
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 130
    with pytest.raises(ProcessLookupError):
        os.killpg(group, 0)


def test_ui_says_what_is_in_its_way(tmp_path: Path) -> None:
    heimdall = str(Path(sys.executable).parent / "heimdall")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        for more, said in (
            ({}, rf"heimdall: 127.0.0.1:{port}: the port is taken by another program\. .*\n"),
            (
                {"MLFLOW_TRACKING_URI": "http://a:hunter2@mlflow.example"},
                r"heimdall: http://mlflow\.example: .*\n",
            ),
        ):
            command = [heimdall, "ui", "--port", port]
            env = clean_environment() | more
            done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True, check=False)
            assert done.returncode == 1
            assert re.fullmatch(said, done.stderr)


def test_what_the_pipeline_writes_is_no_change_of_its_making(tmp_path: Path) -> None:
    assert revision.git(tmp_path, "init", "--quiet").returncode == 0
    for name in ("params.yaml", "dvc.lock", "metrics/train.json"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text("before")
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    assert revision.git(tmp_path, "add", "--all").returncode == 0
    assert revision.git(tmp_path, *identity, "commit", "--quiet", "--message", "All").returncode == 0
    commit = revision.commit_of(tmp_path, "HEAD")
    for name in ("dvc.lock", "metrics/train.json"):
        (tmp_path / name).write_text("after")
    assert tracking.revision_tags(tmp_path) == {"git_revision": commit, "git_dirty": "false"}
    (tmp_path / "params.yaml").write_text("after")
    assert tracking.revision_tags(tmp_path) == {"git_revision": commit, "git_dirty": "true"}


def test_revision_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert tracking.revision_tags(tmp_path) == {}


def test_secrets_are_left_out(tmp_path: Path) -> None:
    text = "postgresql+psycopg2://heimdall:p%40ss@db:5432/mlflow failed for http://a:b@c/"
    assert mlflow_store.without_secrets(text) == "postgresql+psycopg2://db:5432/mlflow failed for http://c/"
    assert mlflow_store.without_secrets("postgresql://u:p@s/s@db/x?password=p&a=1") == (
        "postgresql://db/x?password=&a=1"
    )
    given = {"source": "http://user:hunter2@host/"}
    path = tracking.spool(tmp_path, tracking.training_run(tmp_path, given, EPOCHS, METRICS))
    run = tracking.read_spooled(path)
    assert run.params == {"source": "http://host/"}
    assert b"hunter2" not in path.read_bytes() + run.files["params.yaml"]
