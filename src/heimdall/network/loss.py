"""What training makes small: a position's negative log-likelihood, and what goes with it for sessions."""

from __future__ import annotations

import math

import torch
from torch import nn

from heimdall.geometry.geo import TangentPlane
from heimdall.network.measured_times import Batch
from heimdall.network.mixture import Mixture
from heimdall.position import solver
from heimdall.position.solver import KM, US, US_PER_KM, log

_EMISSION_STEPS = 4
ROBUST_FROM = 8.0  # nats: beyond it a session's loss grows as a logarithm only
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


def robust(loss: torch.Tensor) -> torch.Tensor:
    """A loss (B,) that grows as a logarithm beyond `ROBUST_FROM`: no session may undo what others teach."""
    beyond = ROBUST_FROM + torch.log1p((loss - ROBUST_FROM).clamp(min=0))
    return torch.where(loss > ROBUST_FROM, beyond, loss)


def residual_deviance(
    mixture: Mixture, batch: Batch, truth_km: torch.Tensor, plane: TangentPlane, range_us: float
) -> torch.Tensor:
    """Minus twice the restricted log-likelihood of the arrival times at the true position, up to a constant.

    Restricted (Patterson and Thompson 1971): the emission time is integrated out. A time may be wrong.

    Args:
        mixture: How the arrival times were weighed and corrected.
        batch: As of `tokens.collate`.
        truth_km: East and north, (B, 2) float64.
        plane: Tangent plane of all positions.
        range_us: Over which a wrong time may lie anywhere.

    Returns:
        (B,) float64.
    """
    distance_km, _ = solver.geometry(truth_km[:, None], batch["receiver_m"] / KM, plane)
    residual = batch["delay_s"] / US - mixture.bias_us - US_PER_KM * distance_km[:, 0]  # (B, R)
    weight = mixture.weight
    usable = (weight > 0).double()
    with torch.no_grad():
        emitted = solver.agreed(residual, weight, torch.ones_like(residual[:, :1]))
        for _ in range(_EMISSION_STEPS):
            _, trusted = solver.cost(residual - emitted, weight, range_us)
            emitted = (trusted * residual).sum(1, keepdim=True) / trusted.sum(1, keepdim=True).clamp(min=1e-9)
    cost, trusted = solver.cost(residual - emitted, weight, range_us)
    return cost - (log(weight.clamp(min=1e-9)) * usable).sum(1) + log(trusted.sum(1).clamp(min=1e-9))
