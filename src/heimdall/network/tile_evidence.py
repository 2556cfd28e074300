"""What arrival times and levels say for and against the solution of each tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import LEAST_TIMED
from heimdall.position import solver
from heimdall.position.solver import KM, WRONG, log

HULL_MARGIN_KM, HULL_SLOPE_KM = 10.0, 5.0
ALL_WRONG = 1e-3  # probability that no arrival time of a session has to do with the transmitter
COLUMNS = 8  # that describe a tile to the network
_NEVER = 1e3  # nats
_LEAST_WEIGHT = 1e-9  # 1 / us^2


@dataclass(frozen=True)
class TileEvidence:
    """Of K tiles in each of B sessions; everything float64.

    Attributes:
        log_evidence: Logarithm of the probability of what was measured and of the tile, up to a constant of
            the session, (B, K).
        columns: `COLUMNS` of them, what a small network sees of each tile, (B, K) each.
    """

    log_evidence: torch.Tensor
    columns: list[torch.Tensor]


def of_solution(
    log_power: torch.Tensor,
    found: solver.Solution,
    times: MeasuredTimes,
    weight: torch.Tensor,
    edges: torch.Tensor,
) -> TileEvidence:
    """The evidence of each tile's solution, by Laplace's approximation.

    With Sigma the covariance of a tile, H that of F and the prior together, and the emission time integrated
    out over the same range T over which wrong arrival times lie, a tile with n arrival times of weights w has
    the logarithm

        log p(tile) - (cost + penalty) / 2 - (log |Sigma| + log |H| + log sum trusted) / 2
            + sum (log w / 2 + log((1 - WRONG) / pi)) + log(2 pi) / 2 + (n - 1) log T

    (MacKay 2003, "Information theory, inference, and learning algorithms", chapter 28), and the wide one, of
    which all arrival times are wrong, log p(tile) + log ALL_WRONG. It is all there is with one or none.

    Args:
        log_power: Logarithm of the levels' probability of each tile, the wide one last, (B, K) float64.
        found: The solutions.
        times: What they were found of.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, R) float64.
        edges: Half planes whose intersection is the area, metres, (E, 3).
    """
    problem, timed = times.problem, times.count
    sigma2, trusted = times.prior_covariance_determinant, found.trusted.sum(-1)
    occam = -0.5 * (log(sigma2) + log(found.determinant) + log(trusted.clamp(min=_LEAST_WEIGHT)))
    each = 0.5 * log(weight.clamp(min=_LEAST_WEIGHT)) + math.log((1 - WRONG) / math.pi)
    right = (each * times.usable).sum(1, keepdim=True) + 0.5 * math.log(2 * math.pi)
    right = right + (timed - 1) * math.log(problem.range_us)  # (B, 1)
    narrow = right - 0.5 * (found.chi2 + found.penalty) + occam
    narrow = torch.where(timed >= LEAST_TIMED, narrow, -_NEVER)
    wide = torch.full_like(narrow[:, :1], math.log(ALL_WRONG))
    by_times = torch.cat([narrow[:, :-1], wide], 1)
    outside = _outside(found.position_km, edges)
    columns = [
        torch.log1p(found.chi2.clamp(min=0)),
        torch.log1p((found.chi2 - found.chi2.amin(1, keepdim=True))),
        torch.log1p(found.penalty),
        (log_power - log_power.amax(1, keepdim=True)) / 3,
        0.5 * (log(sigma2) + log(found.determinant)) / 5,
        outside,
        log(sigma2) / 5,
        timed.expand_as(occam) / 5,
    ]
    return TileEvidence(log_power + by_times - 0.5 * outside**2, columns)


def _outside(position_km: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """How far positions (B, K, 2) lie outside the hull of the area, in standard deviations, (B, K)."""
    east, north = position_km.unbind(-1)
    across, along, offset_m = edges.unbind(-1)  # (E,) each
    beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
    return (beyond_km.amax(-1) - HULL_MARGIN_KM).clamp(min=0) / HULL_SLOPE_KM
