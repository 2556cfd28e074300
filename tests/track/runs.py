"""A training to record, and what a store holds of it."""

from __future__ import annotations

import signal
import socket
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heimdall.track import spool, training
from heimdall.track.run import RECORD, Run
from tests.conftest import SERVICE_VARIABLES

PARAMS: dict[str, Any] = {"lr": 1e-05, "model": {"name": "single", "pretrained": False}, "threads": 1}


STARTED_MS = 1_800_000_000_000


def epoch(number: int, train_loss: float, val_loss: float, val_median_m: float) -> dict[str, float]:
    """What a tracker is told of an epoch, of a minute each."""
    return {
        "epoch": number,
        "time_ms": STARTED_MS + 60_000 * number,
        "train_loss": train_loss,
        "val_loss": val_loss,
        "val_median_m": val_median_m,
        "val_mae_m": 1234.5,
        "learning_rate": 1e-5,
        "gradient_norm": 0.75,
    }


EPOCHS = [epoch(1, 3.0, 2.5, 800.0), epoch(2, 2.0, 2.25, 700.0)]


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
    run = training.training_run(root, PARAMS, EPOCHS, METRICS, started_ms=STARTED_MS, stage="train")
    spool.write(root, run)
    return run


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
