"""Mixtures of Gaussians as tensors: FusionNet's answer, its density, and the component that stands for it.

The same in NumPy, without gradients, is `heimdall.position.posterior`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heimdall.position import posterior, solver
from heimdall.position.solver import log, root

_RINGS, _ANGLES = 16, 16
# Equally probable points of a standard normal in the plane: rings at the quantiles of its radius, at equal
# angles.
_POINTS = [
    (radius * math.cos(angle), radius * math.sin(angle))
    for radius in (math.sqrt(-2 * math.log1p(-(k + 0.5) / _RINGS)) for k in range(_RINGS))
    for angle in (2 * math.pi * (k + 0.5) / _ANGLES for k in range(_ANGLES))
]


@dataclass(frozen=True)
class Mixture:
    """What the network says of B sessions, K Gaussians each, and how it weighed R receivers.

    Attributes:
        mean_km: East and north in the tangent plane, (B, K, 2) float64.
        covariance_km2: The entries east-east, east-north, north-north, (B, K, 3) float64.
        log_weight: Logarithms of weights that add up to 1, (B, K) float64.
        weight: Of each arrival time, 1 / us^2, 0 where there is none, (B, R) float64.
        bias_us: Of each arrival time, (B, R) float64.
    """

    mean_km: torch.Tensor
    covariance_km2: torch.Tensor
    log_weight: torch.Tensor
    weight: torch.Tensor
    bias_us: torch.Tensor

    def nll(self, truth_km: torch.Tensor) -> torch.Tensor:
        """Negative log density at the true positions.

        Args:
            truth_km: East and north, (B, 2) float64.

        Returns:
            (B,) float64, nats for densities per square kilometre.
        """
        off = truth_km[:, None] - self.mean_km  # (B, K, 2)
        information, determinant = solver.inverse(self.covariance_km2)
        distance2 = (off * solver.apply(information, off)).sum(-1)
        terms = self.log_weight - 0.5 * distance2 - 0.5 * log(determinant) - math.log(2 * math.pi)
        return -solver.log_sum_exp(terms)

    def medoid(self) -> torch.Tensor:
        """Number of the Gaussian from whose mean the mixture lies least far, (B,); as `Posterior.medoid`."""
        spread = self.covariance_km2[..., 0] + self.covariance_km2[..., 2]  # (B, K)
        off = self.mean_km[:, :, None] - self.mean_km[:, None]  # (B, K, K, 2)
        far = root((off**2).sum(-1) + spread[:, None])
        expected = (torch.softmax(self.log_weight, -1)[:, None] * far).sum(-1)
        return (expected + posterior.NARROWEST * root(spread)).argmin(1)

    def probability_within(self, radius_km: float, number: torch.Tensor) -> torch.Tensor:
        """Share of the mixture within a radius of one Gaussian's mean.

        Each Gaussian stands for equally probable points, brought to its covariance by the Cholesky factor.

        Args:
            radius_km: The radius.
            number: Of the Gaussian in each mixture, (B, 1, 1) int64.

        Returns:
            (B,) float64.
        """
        variance, cross, other = self.covariance_km2[..., None].unbind(-2)  # (B, K, 1) each
        sigma = root(variance)
        slant = cross / sigma
        rest = root(other - slant * slant)
        centre = self.mean_km.gather(1, number.expand(-1, 1, 2))
        off = (self.mean_km - centre)[..., None].unbind(-2)  # (B, K, 1) each
        x, y = torch.tensor(_POINTS, dtype=torch.float64, device=sigma.device).unbind(-1)  # (P,) each
        east, north = off[0] + sigma * x, off[1] + slant * x + rest * y  # (B, K, P)
        inside = (east**2 + north**2 <= radius_km**2).double().mean(-1)
        return (torch.softmax(self.log_weight, -1) * inside).sum(-1)


def widened(covariance: torch.Tensor, variance: torch.Tensor) -> torch.Tensor:
    """Covariances (..., 3) plus an isotropic variance (...)."""
    return covariance + variance[..., None] * covariance.new_tensor([1.0, 0.0, 1.0])
