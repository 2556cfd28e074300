"""MLflow records a training, and never stands in its way."""

from __future__ import annotations

import sqlite3
import time
from pathlib import Path
from typing import Any

import pytest

from heimdall import tracking

PARAMS: dict[str, Any] = {"lr": 1e-05, "model": {"name": "single", "pretrained": False}}
EPOCHS = [
    {"epoch": 1, "train_loss": 3.0, "val_loss": 2.5},
    {"epoch": 2, "train_loss": 2.0, "val_loss": 2.25},
]
METRICS = {"data": "simulated", "best_epoch": 2, "val_mae_m": 1234.5}


def test_a_run_is_recorded_in_the_embedded_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.delenv("HEIMDALL_TRACKING", raising=False)
    run_id = tracking.track(PARAMS, EPOCHS, METRICS)
    assert run_id is not None
    assert [entry.name for entry in tmp_path.iterdir()] == [".heimdall"]

    with sqlite3.connect(tmp_path / ".heimdall" / "mlflow.db") as store:
        rows = store.execute(
            "SELECT key, value, step FROM metrics WHERE run_uuid = ? ORDER BY key, step", (run_id,)
        ).fetchall()
        stored_params = dict(store.execute("SELECT key, value FROM params WHERE run_uuid = ?", (run_id,)))
        tags = dict(store.execute("SELECT key, value FROM tags WHERE run_uuid = ?", (run_id,)))
        (status,) = store.execute("SELECT status FROM runs WHERE run_uuid = ?", (run_id,)).fetchone()
    assert rows == [
        ("final_best_epoch", 2.0, 0),
        ("final_val_mae_m", 1234.5, 0),
        ("train_loss", 3.0, 1),
        ("train_loss", 2.0, 2),
        ("val_loss", 2.5, 1),
        ("val_loss", 2.25, 2),
    ]
    assert stored_params == {"lr": "1e-05", "model.name": "single", "model.pretrained": "False"}
    assert tags["data"] == "simulated"
    assert status == "FINISHED"


def test_off(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HEIMDALL_TRACKING", "off")
    assert tracking.track(PARAMS, EPOCHS, METRICS) is None
    assert list(tmp_path.iterdir()) == []


def test_a_tracker_that_is_down_costs_a_line_and_a_bounded_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HEIMDALL_TRACKING", raising=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    started_s = time.monotonic()
    assert tracking.track(PARAMS, EPOCHS, METRICS, timeout_s=1.0) is None
    assert time.monotonic() - started_s < 10
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("tracking: http://127.0.0.1:9: ")
    assert "hunter2" not in line


def test_revision_outside_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert tracking.revision_tags() == {}


def test_secrets_are_left_out() -> None:
    text = "postgresql+psycopg2://heimdall:p%40ss@db:5432/mlflow failed for http://a:b@c/"
    assert tracking.without_secrets(text) == "postgresql+psycopg2://db:5432/mlflow failed for http://c/"
