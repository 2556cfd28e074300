"""A batch of sessions in the solver's units: arrival times, what is known of their errors, and the tiles."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch

from heimdall.geometry.geo import TangentPlane
from heimdall.network.tokens import FIRST_ESTIMATE_SIGMA_US, PHYSICAL, TILT_SHARE
from heimdall.position import solver
from heimdall.position.solver import KM, US, US_PER_KM, exp, log

Batch = Mapping[str, torch.Tensor]

GEOMETRY = 6  # columns of `geometry_columns`
_LEVEL, _HEARD, _TILT, _SPREAD_EXCESS = (
    PHYSICAL.index(name) for name in ("level_db", "heard", "log_tilt", "spread_excess_us")
)


@dataclass(frozen=True)
class MeasuredTimes:
    """B sessions of R receivers and K tiles; everything float64.

    Attributes:
        problem: What is to be solved, its delays as measured.
        variance_us2: Of each arrival time, by noise and clock, (B, R).
        usable: 1 where there is an arrival time, else 0, (B, R).
        tilt_us2: Square of each channel's tilt, less what noise makes of it, (B, R).
        first_weight: Of each arrival time while it is trusted by its tilt alone, 1 / us^2, (B, R).
        spread_excess_us: What a channel's spread says of its delay, up to a factor, (B, R).
    """

    problem: solver.Problem
    variance_us2: torch.Tensor
    usable: torch.Tensor
    tilt_us2: torch.Tensor
    first_weight: torch.Tensor
    spread_excess_us: torch.Tensor

    @property
    def count(self) -> torch.Tensor:
        """How many arrival times each session has, (B, 1)."""
        return self.usable.sum(1, keepdim=True)

    def corrected(self, bias_us: torch.Tensor) -> solver.Problem:
        """The problem with a bias (B, R) taken off the delays."""
        return replace(self.problem, delay_us=self.problem.delay_us - bias_us)


def of_batch(batch: Batch, plane: TangentPlane, range_us: float) -> MeasuredTimes:
    """The arrival times of a batch.

    Args:
        batch: As of `tokens.collate`.
        plane: Tangent plane of all positions.
        range_us: Over which a wrong arrival time may lie anywhere.
    """
    noise_us2 = 1 / (batch["information_s2"] * US**2).clamp(min=1e-9)  # (B, R)
    variance_us2 = noise_us2 + (batch["timing_sigma_s"] / US) ** 2
    usable = (batch["mask"] & (batch["information_s2"] > 0)).double()  # (B, R)
    prior, _ = solver.inverse(solver.entries(batch["prior_m2"]) / KM**2)
    problem = solver.Problem(
        delay_us=batch["delay_s"] / US,
        receiver_km=batch["receiver_m"] / KM,
        centre_km=batch["centre_m"] / KM,
        prior=prior,
        plane=plane,
        range_us=range_us,
    )
    tilt_us2 = (exp(math.log(10) * batch["physical"][..., _TILT].double()) / US) ** 2
    tilt_us2 = (tilt_us2 - noise_us2).clamp(min=0)
    return MeasuredTimes(
        problem,
        variance_us2,
        usable,
        tilt_us2,
        first_weight=usable / (variance_us2 + FIRST_ESTIMATE_SIGMA_US**2 + TILT_SHARE**2 * tilt_us2),
        spread_excess_us=batch["physical"][..., _SPREAD_EXCESS].double(),
    )


def geometry_columns(
    batch: Batch,
    problem: solver.Problem,
    estimate_km: torch.Tensor,
    weight: torch.Tensor,
    path_loss_exponent: float,
) -> list[torch.Tensor]:
    """How each receiver stands to an estimate of the position.

    Args:
        batch: As of `tokens.collate`.
        problem: Its delays are compared with distances to the estimate.
        estimate_km: East and north, (B, 1, 2) float64.
        weight: Of each arrival time, 1 / us^2, 0 where there is none, (B, R) float64.
        path_loss_exponent: Levels fall by ten times as many dB with each decade of distance.

    Returns:
        GEOMETRY columns, (B, R) float64 each.
    """
    distance_km, gradient = solver.geometry(estimate_km, problem.receiver_km, problem.plane)
    distance_km, gradient = distance_km[:, 0], gradient[:, 0]  # (B, R), (B, R, 2)
    usable = (weight > 0).double()
    residual = problem.delay_us - US_PER_KM * distance_km
    mean = (weight * residual).sum(1) / weight.sum(1).clamp(min=1e-9)
    residual = (residual - mean[:, None]) * usable
    log_distance = log(distance_km.clamp(min=0.1) / 30)
    heard = batch["physical"][..., _HEARD].double() * batch["mask"]
    level_db = batch["physical"][..., _LEVEL] + 10 / math.log(10) * path_loss_exponent * log_distance
    mean_db = (level_db * heard).sum(1) / heard.sum(1).clamp(min=1)
    return [
        torch.log1p(3 * residual.abs()) * residual.sign(),
        log_distance,
        *gradient.unbind(-1),
        (level_db - mean_db[:, None]) * heard / 10,
        usable.sum(1, keepdim=True).expand_as(residual) / 5,
    ]
