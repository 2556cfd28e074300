"""What arrival times and levels say for and against the solution of each tile."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import LEAST_TIMED
from heimdall.position import solver
from heimdall.position.solver import KM, log

HULL_MARGIN_KM, HULL_SLOPE_KM = 10.0, 5.0
ALL_WRONG = 1e-3  # probability that no arrival time of a session has to do with the transmitter
COLUMNS = 8  # that describe a tile to the network
_NEVER = 1e3  # nats


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
    """The evidence of each tile's solution.

    That of the wide one, of which all arrival times are wrong, is all there is with one or none.

    Args:
        log_power: Logarithm of the levels' probability of each tile, the wide one last, (B, K) float64.
        found: The solutions.
        times: What they were found of.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, R) float64.
        edges: Half planes whose intersection is the area, metres, (E, 3).
    """
    timed = times.count
    narrow = solver.log_evidence(times.problem, found, weight)
    narrow = torch.where(timed >= LEAST_TIMED, narrow, -_NEVER)
    wide = torch.full_like(narrow[:, :1], math.log(ALL_WRONG))
    by_times = torch.cat([narrow[:, :-1], wide], 1)
    _, prior = solver.inverse(times.problem.prior)
    outside = _outside(found.position_km, edges)
    columns = [
        torch.log1p(found.chi2.clamp(min=0)),
        torch.log1p(found.chi2 - found.chi2.amin(1, keepdim=True)),
        torch.log1p(found.penalty),
        (log_power - log_power.amax(1, keepdim=True)) / 3,
        (log(prior) - log(found.determinant)) / 10,
        outside,
        -log(prior) / 5,
        timed.expand_as(narrow) / 5,
    ]
    return TileEvidence(log_power + by_times - 0.5 * outside**2, columns)


def _outside(position_km: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """How far positions (B, K, 2) lie outside the hull of the area, in standard deviations, (B, K)."""
    east, north = position_km.unbind(-1)
    across, along, offset_m = edges.unbind(-1)  # (E,) each
    beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
    return (beyond_km.amax(-1) - HULL_MARGIN_KM).clamp(min=0) / HULL_SLOPE_KM
