"""A step of a training: learning rate, gradients, the optimizer."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import pytest
import torch

from heimdall.network.dataset import DatasetConfig
from heimdall.pipeline.train import lightning_module
from heimdall.pipeline.train.lightning_module import learning_rate_factor
from heimdall.pipeline.train.recording_task import RecordingTask
from heimdall.pipeline.train.task import Scratch
from tests.single_training import settings


def test_factor_rises_then_falls() -> None:
    chosen: dict[str, Any] = {"epochs": 10, "warmup_epochs": 4, "schedule": "cosine"}
    factors = [learning_rate_factor(epoch, **chosen) for epoch in range(10)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[7] == pytest.approx(0.5)  # half way down
    assert all(before > after > 0 for before, after in itertools.pairwise(factors[4:]))
    assert learning_rate_factor(9, epochs=10, warmup_epochs=0, schedule="constant") == 1.0


@pytest.mark.parametrize(
    ("precision", "fused"), [("32-true", True), ("bf16-mixed", True), ("16-mixed", False)]
)
def test_scaled_gradients_are_not_left_to_the_optimizer(data_dir: Path, precision: str, fused: bool) -> None:
    """Lightning unscales before our norm and clipping only where the optimizer does not do so itself."""
    task = RecordingTask(settings(), DatasetConfig(data_dir))
    task.start(Scratch(data_dir))
    module = lightning_module.LocalizationLightningModule(task, settings(precision=precision), {})
    optimizer = module.configure_optimizers()["optimizer"]
    assert getattr(optimizer, "_step_supports_amp_scaling", False) is fused


def test_a_gradient_that_overflows_is_none(data_dir: Path) -> None:
    """In float16 the first steps overflow until the loss's scale is low enough; they are skipped."""
    task = RecordingTask(settings(), DatasetConfig(data_dir))
    task.start(Scratch(data_dir))
    module = lightning_module.LocalizationLightningModule(task, settings(), {})
    optimizer = module.configure_optimizers()["optimizer"]
    values = list(task.network.parameters())
    for value in values:
        value.grad = torch.full_like(value, math.inf)
    module.on_before_optimizer_step(optimizer)
    assert module._gradient_norms == []
    assert all(torch.isinf(value.grad).all() for value in values if value.grad is not None)
    for value in values:
        value.grad = torch.ones_like(value)
    module.on_before_optimizer_step(optimizer)
    assert module._gradient_norms == [math.sqrt(sum(value.numel() for value in values))]
    clipped = sum(float(value.grad.double().square().sum()) for value in values if value.grad is not None)
    assert math.sqrt(clipped) == pytest.approx(task.clip_norm, rel=1e-6)
