"""The likelihood that training minimises."""

from __future__ import annotations

import math

import pytest
import torch

from heimdall.network.loss import GaussianNLLLoss


def test_agrees_with_torch_summed_over_both_axes() -> None:
    generator = torch.Generator().manual_seed(1)
    mean, target = torch.randn(2, 50, 2, generator=generator, dtype=torch.float64)
    sigma = torch.rand(50, 2, generator=generator, dtype=torch.float64) * 3 + 1e-3
    reference = torch.nn.GaussianNLLLoss(full=True, eps=0, reduction="none")(mean, target, sigma**2)
    found = GaussianNLLLoss()(torch.cat([mean, sigma], dim=1), target)
    torch.testing.assert_close(found, reference.sum(dim=1).mean(), rtol=1e-12, atol=0)


def test_value_by_hand() -> None:
    prediction = torch.tensor([[1.0, 2.0, 0.5, 2.0]])
    found = GaussianNLLLoss()(prediction, torch.tensor([[2.0, 2.0]]))
    # (1 / 0.5)^2 / 2 + 0 + log(0.5) + log(2) + log(2 pi)
    assert float(found) == pytest.approx(2.0 + math.log(2 * math.pi), abs=1e-12)


def test_best_sigma_is_the_error() -> None:
    sigma = torch.tensor([[0.3, 0.3]], requires_grad=True)
    prediction = torch.cat([torch.zeros(1, 2), sigma], dim=1)
    GaussianNLLLoss()(prediction, torch.tensor([[0.3, -0.3]])).backward()
    assert sigma.grad is not None
    assert sigma.grad.abs().max() < 1e-5


def test_logarithm_keeps_its_digits_at_the_smallest_sigma() -> None:
    prediction = torch.tensor([[0.0, 0.0, 5e-5, 5e-5]])
    found = GaussianNLLLoss()(prediction, torch.zeros(1, 2))
    wanted = math.log(2 * math.pi) + 2 * math.log(float(prediction[0, 2]))
    assert float(found) == pytest.approx(wanted, rel=1e-10)
