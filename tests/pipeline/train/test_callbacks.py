"""What is told of a training while it runs."""

from __future__ import annotations

import re
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from heimdall.core import artifacts
from heimdall.pipeline.train import callbacks, history
from heimdall.pipeline.train.callbacks import TIMES
from heimdall.pipeline.train.history import Epoch
from heimdall.pipeline.train.training import Training, TrainingResult
from tests.single_training import digests, killed_at_call, settings

EPOCH = Epoch(1, 1.0, 1.0, 700.0, 2000.0, 1e-3, 1.0)
LINE = re.compile(
    r"epoch (\d)/3: train loss (-?\d+\.\d{4}), validation loss (-?\d+\.\d{4}), validation error (\d+\.\d) m "
    r"in the median, (\d+\.\d) m in the mean, lr (\d\.\d\de-\d\d), gradient norm (\S+)"
)


def lines_of(norms: list[float]) -> list[str | None]:
    """What is said after each epoch of these gradient norms."""
    rows = [replace(EPOCH, epoch=number, gradient_norm=norm) for number, norm in enumerate(norms, start=1)]
    return [callbacks.gradient_line(rows[:count]) for count in range(1, len(rows) + 1)]


def test_a_gradient_norm_is_told_once_when_it_leaves_its_range_and_once_when_it_is_back() -> None:
    low, still, back, high = lines_of([0.005, 0.002, 1.0, 25.0])
    assert low is not None
    assert low.startswith("gradient norm: 0.005 in epoch 1 is not between 0.01 and 10;")
    assert still is None
    assert back == "gradient norm: 1 in epoch 3 is between 0.01 and 10 again"
    assert high == "gradient norm: 25 in epoch 4 is not between 0.01 and 10; a lower lr may help"


def test_a_training_tells_each_epoch_and_at_its_end_whether_it_converged(
    data_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Training(settings(), data_dir, tmp_path / "work").run(tmp_path / "out")
    said = capsys.readouterr().err.splitlines()
    rows = (tmp_path / "out" / "plots" / "training.csv").read_text().splitlines()
    assert rows[0] == "epoch,train_loss,val_loss,val_median_m,val_mae_m,learning_rate,gradient_norm"
    told = [match.groups() for match in map(LINE.fullmatch, said) if match]
    for line, row in zip(told, rows[1:], strict=True):
        values = [float(value) for value in row.split(",")]
        assert [float(value) for value in line[:5]] == pytest.approx(values[:5], abs=0.0501)
        assert values[3] != values[4]  # median and mean are not the same figure twice
    (verdict,) = [line for line in said if line.startswith("convergence: ")]
    assert said.index(verdict) > max(said.index(line) for line in said if LINE.fullmatch(line))


def test_a_tracker_is_told_the_true_times_though_a_kill_lies_between(
    data_dir: Path, undisturbed: tuple[Path, TrainingResult], tmp_path: Path
) -> None:
    told: list[Any] = []
    pipeline = Training(settings(), data_dir, tmp_path / "work")
    before_ms = int(time.time() * 1000)
    with killed_at_call(4, torch, "save"):
        pipeline.run(tmp_path / "out")
    between_ms = int(time.time() * 1000)
    pipeline.run(tmp_path / "out", tracker=lambda *given: told.append(given))
    ((_, rows, _, started_ms),) = told
    ended_ms = [row["time_ms"] for row in rows]
    assert [row["epoch"] for row in rows] == [1, 2, 3]
    assert before_ms <= started_ms <= ended_ms[0] < between_ms <= ended_ms[2]
    assert ended_ms == sorted(ended_ms)
    assert digests(tmp_path / "out") == digests(undisturbed[0])


def test_times_that_cannot_be_read_stop_nothing(tmp_path: Path) -> None:
    assert callbacks.noted(tmp_path) is None
    (tmp_path / TIMES).write_text("{")
    assert callbacks.noted(tmp_path) is None
    artifacts.write_json(tmp_path / TIMES, {"started_ms": 1, "ended_ms": [2]})
    assert callbacks.noted(tmp_path) == history.Timeline(1, (2,))
