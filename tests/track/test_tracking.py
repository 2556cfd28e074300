"""MLflow gets every training once, whatever happens on the way, and never stands in its way."""

from __future__ import annotations

import socket
import time
from functools import partial
from pathlib import Path

import mlflow
import pytest
import yaml

import heimdall
from heimdall.core import artifacts, params, paths
from heimdall.pipeline.train.training import Training
from heimdall.track import spool, tracking
from tests import tiny_features
from tests.track.runs import (
    DOWN,
    EPOCHS,
    METRICS,
    PARAMS,
    STARTED_MS,
    epoch,
    rows,
    runs_of,
    some_run,
)


def test_a_run_is_recorded_in_the_embedded_store(embedded: tuple[Path, str]) -> None:
    root, run_id = embedded
    metrics = rows(root, "SELECT key, value, step FROM metrics WHERE run_uuid = ? ORDER BY key, step", run_id)
    assert metrics == [
        ("final_best_epoch", 2.0, 0),
        ("final_val_mae_m", 1234.5, 0),
        ("gradient_norm", 0.75, 1),
        ("gradient_norm", 0.75, 2),
        ("learning_rate", 1e-5, 1),
        ("learning_rate", 1e-5, 2),
        ("train_loss", 3.0, 1),
        ("train_loss", 2.0, 2),
        ("val_loss", 2.5, 1),
        ("val_loss", 2.25, 2),
        ("val_mae_m", 1234.5, 1),
        ("val_mae_m", 1234.5, 2),
        ("val_median_m", 800.0, 1),
        ("val_median_m", 700.0, 2),
    ]
    stored = dict(rows(root, "SELECT key, value FROM params WHERE run_uuid = ?", run_id))
    assert stored == {"lr": "1e-05", "model.name": "single", "model.pretrained": "False", "threads": "1"}
    assert ("simulated",) in rows(root, "SELECT value FROM tags WHERE run_uuid = ? AND key = 'data'", run_id)
    assert rows(root, "SELECT status FROM runs WHERE run_uuid = ?", run_id) == [("FINISHED",)]

    # Without an S3 server its files lie beside the store, and nothing lies elsewhere.
    assert sorted(entry.name for entry in root.iterdir()) == [".heimdall", "dvc.yaml", "params.yaml", "src"]
    files = root / ".heimdall" / "mlartifacts" / run_id / "artifacts"
    assert yaml.safe_load((files / "params.yaml").read_text()) == PARAMS | {"snapshot": {"shard_sessions": 4}}
    assert (files / "plots" / "training.csv").read_text().splitlines() == [
        "epoch,train_loss,val_loss,val_median_m,val_mae_m,learning_rate,gradient_norm",
        "1,3.0,2.5,800.0,1234.5,1e-05,0.75",
        "2,2.0,2.25,700.0,1234.5,1e-05,0.75",
    ]
    assert artifacts.read_json(files / "machine.json")["threads"] == 1
    assert spool.waiting(root) == []


def test_a_run_has_the_times_of_its_training_not_of_its_recording(embedded: tuple[Path, str]) -> None:
    root, run_id = embedded
    started_ms, ended_ms = times_of(root, run_id)
    assert started_ms == STARTED_MS
    assert abs(ended_ms - time.time() * 1000) < 3_600_000
    query = "SELECT step, timestamp FROM metrics WHERE run_uuid = ? AND key = 'val_loss' ORDER BY step"
    assert rows(root, query, run_id) == [(1, STARTED_MS + 60_000), (2, STARTED_MS + 120_000)]


def test_a_run_says_whether_its_training_converged(embedded: tuple[Path, str]) -> None:
    root, run_id = embedded
    tags = dict(rows(root, "SELECT key, value FROM tags WHERE run_uuid = ?", run_id))
    assert tags["convergence"] == "not reached"
    assert tags["convergence.training_loss_decreases"] == "true"
    assert tags["convergence.validation_loss_stable"] == "false"  # two epochs are too few to tell


def test_a_pretraining_has_a_run_too(embedded: tuple[Path, str], monkeypatch: pytest.MonkeyPatch) -> None:
    root, _ = embedded
    monkeypatch.setenv("DVC_ROOT", str(root))
    run_id = tracking.track(PARAMS, [epoch(1, 3.0, 2.5, 800.0)], METRICS, STARTED_MS, stage="pretrain")
    assert run_id is not None
    tags = dict(rows(root, "SELECT key, value FROM tags WHERE run_uuid = ?", run_id))
    assert (tags["stage"], tags["mlflow.runName"]) == ("pretrain", "pretrain")  # no git here
    assert tags["mlflow.source.name"] == "stages/pretrain.py"
    query = "SELECT value, step FROM metrics WHERE run_uuid = ? AND key = ? ORDER BY step"
    assert rows(root, query, run_id, "train_loss") == [(3.0, 1)]
    curve = root / ".heimdall" / "mlartifacts" / run_id / "artifacts" / "plots" / "pretraining.csv"
    assert [line.split(",")[:2] for line in curve.read_text().splitlines()] == [
        ["epoch", "train_loss"],
        ["1", "3.0"],
    ]


def test_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")
    assert tracking.track(PARAMS, EPOCHS, METRICS, STARTED_MS) is None
    assert list(tmp_path.iterdir()) == []


def times_of(root: Path, run_id: str) -> tuple[int, int]:
    """Start and end of a run, milliseconds since 1970."""
    ((started_ms, ended_ms),) = rows(root, "SELECT start_time, end_time FROM runs WHERE run_uuid = ?", run_id)
    return started_ms, ended_ms


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
    assert tracking.track(PARAMS, EPOCHS, METRICS, STARTED_MS) is None
    assert time.monotonic() - started_s < 15  # MLflow's own retries would take two minutes
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: postgresql+psycopg2://127.0.0.1:1/mlflow: it does not answer")
    assert "1 wait in .heimdall/tracking for the next training or `heimdall track`" in line
    assert "hunter2" not in line
    (waiting,) = spool.waiting(root)
    assert "hunter2" not in waiting.read_text()
    waits = spool.read(waiting)

    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    monkeypatch.setenv("DVC_EXP_NAME", "even-bass")
    sent = tracking.track(PARAMS, EPOCHS, METRICS, STARTED_MS)
    assert sent is not None
    assert capsys.readouterr().err == ""
    assert spool.waiting(root) == []
    (late,) = runs_of(root, waits.id)
    names = "SELECT name FROM runs WHERE run_uuid IN (?, ?) ORDER BY name"
    assert rows(root, names, late, sent) == [("train even-bass",), ("train odd-bass",)]
    assert times_of(root, late) == (STARTED_MS, waits.time_ms)
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
            pipeline = Training(chosen, tmp_path / "features", tmp_path / "work")
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
    (waiting,) = spool.waiting(tmp_path / "slow")
    assert spool.read(waiting).params["epochs"] == 1


def test_a_tracker_by_itself_writes_where_mlflow_was_told_to(
    embedded: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, _ = embedded
    monkeypatch.setattr(paths, "CLONE", tmp_path)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "")  # what the next line sets is taken back after the test
    mlflow.set_tracking_uri(f"sqlite:///{root}/.heimdall/mlflow.db")
    run = some_run(tmp_path)
    run_id = heimdall.MLflowTracker().record(run)
    assert runs_of(root, run.id) == [run_id]
