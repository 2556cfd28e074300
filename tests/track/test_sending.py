"""What waits is sent once: senders killed, at once, to PostgreSQL, S3 and a server."""

from __future__ import annotations

import subprocess
import sys
import uuid
from pathlib import Path

import mlflow
import pytest

from heimdall.storage.objectstore import ObjectStore
from heimdall.track import mlflow_store, sending, spool
from heimdall.track.spool import SPOOL
from heimdall.track.tracker import MLflowTracker
from tests.conftest import SERVICE_VARIABLES, Services, as_clone, clean_environment
from tests.track.runs import Killed, rows, runs_of, served, some_run


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
        sending.send(root, store, lambda *_: None)
    assert len(spool.waiting(root)) == 1

    sent = sending.send(root, store, lambda *_: None)
    assert (sent.problems, sent.waiting) == ([], 0)
    assert list(sent.runs) == [run.id]
    assert runs_of(root, run.id) == [sent.runs[run.id]]
    (count,) = rows(root, "SELECT COUNT(*) FROM metrics WHERE run_uuid = ?", sent.runs[run.id])
    assert count == (14,)
    assert rows(root, "SELECT status FROM runs WHERE run_uuid = ?", sent.runs[run.id]) == [("FINISHED",)]


def test_heimdall_track_says_what_it_sent_and_nothing_of_mlflow(tmp_path: Path) -> None:
    """On a store whose tables are not there yet: MLflow and alembic have a line for each that they make."""
    subprocess.run(["git", "init", "--quiet"], cwd=as_clone(tmp_path), check=True)
    (tmp_path / "dvc.lock").write_text("schema: '2.0'\nstages: {}\n")
    run = some_run(tmp_path)
    heimdall = str(Path(sys.executable).parent / "heimdall")
    done = subprocess.run(
        [heimdall, "track"],
        cwd=tmp_path,
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    (sent,) = runs_of(tmp_path, run.id)
    assert done.stdout.splitlines()[0] == f"training {run.id[:8]}: sent as run {sent}"
    assert done.stderr == ""


def test_two_senders_at_once(embedded: tuple[Path, str]) -> None:
    root, _ = embedded
    records = [some_run(root).id for _ in range(3)]
    senders = [
        subprocess.Popen(
            [sys.executable, "-m", "heimdall.track.sending", record],
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
    assert spool.waiting(root) == []


def test_a_damaged_record_is_named_and_the_others_go_on(embedded: tuple[Path, str]) -> None:
    root, _ = embedded
    damaged = root / SPOOL / "1-damaged.json"
    damaged.write_text('{"id": "')
    run = some_run(root)
    sent = sending.send(root, mlflow_store.resolve(root), lambda *_: None)
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
    uri = database.endpoints.database.url.replace("postgresql://", "postgresql+psycopg2://")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    store = mlflow_store.resolve(tmp_path)
    for name, value in store.environment.items():
        monkeypatch.setenv(name, value)

    run = some_run(tmp_path)
    (path,) = spool.waiting(tmp_path)
    content = path.read_bytes()
    sent = sending.send(tmp_path, store, lambda *_: None)
    assert (sent.problems, sent.waiting) == ([], 0)
    path.write_bytes(content)  # as if the sender had been killed before it removed it
    assert sending.send(tmp_path, store, lambda *_: None).runs == sent.runs

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
    objects = ObjectStore(database.endpoints.s3, bucket).head_all("")
    assert set(objects) == {
        f"{prefix}{name}" for name in ("machine.json", "params.yaml", "plots/training.csv")
    }


def test_files_reach_the_bucket_of_a_server(services: Services) -> None:
    """An MLflow server hands out the bucket's address, not its credentials."""
    root, env = services.root, clean_environment()
    files = ObjectStore(services.endpoints.s3, "heimdall-mlflow")
    files.ensure_bucket()
    before = files.head_all("").keys()
    run = some_run(root)
    with served(root, env) as (server, port):
        assert server.stdout is not None
        assert "shows the runs in sqlite:///" in server.stdout.readline(), server.communicate()
        sent = subprocess.run(
            [sys.executable, "-m", "heimdall.track.sending", run.id],
            cwd=root,
            env=env | {"MLFLOW_TRACKING_URI": f"http://127.0.0.1:{port}"},
            capture_output=True,
            text=True,
            check=False,
        )
    assert sent.returncode == 0, sent.stderr
    assert spool.waiting(root) == []
    objects = files.head_all("").keys() - before
    assert {name.split("/artifacts/")[1] for name in objects} == set(run.files)
