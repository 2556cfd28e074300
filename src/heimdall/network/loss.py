"""Negative log-likelihood of a position under the Gaussian that the network predicts."""

from __future__ import annotations

import math

import torch
from torch import nn

HALF_LOG_TWO_PI = 0.5 * math.log(2 * math.pi)


class GaussianNLLLoss(nn.Module):
    """Mean over the batch of -log N(target; mean, diag(sigma^2)), summed over east and north, in nats.

    For each axis 0.5 log(2 pi) + log(sigma) + 0.5 ((target - mean) / sigma)^2 (Nix and Weigend 1994,
    "Estimating the mean and variance of the target probability distribution", with the constant, so
    that it is the likelihood itself and values can be compared). It equals the sum over both axes of
    `torch.nn.GaussianNLLLoss(full=True, eps=0)` with the variance sigma^2.
    """

    def forward(self, predictions: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Compute the loss.

        Args:
            predictions: (batch, 4): east, north, their standard deviations (positive), in local units.
            targets: (batch, 2): east and north of the truth, in the same units.

        Returns:
            A scalar, float64: sigma spans four decades, and its square eight.
        """
        mean, sigma = predictions[:, :2].double(), predictions[:, 2:].double()  # (B, 2), (B, 2)
        # torch.log calls a vector library that chooses its kernel by the CPU's maker; log1p does not. In
        # float64 the detour by sigma - 1 costs nothing that float32 weights could see.
        log_sigma = torch.log1p(sigma - 1)
        error = (targets.double() - mean) / sigma
        nll = log_sigma + 0.5 * error * error + HALF_LOG_TWO_PI  # (B, 2)
        return nll.sum(dim=-1).mean()
