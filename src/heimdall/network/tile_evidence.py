"""What arrival times and levels say for and against the solution of each tile."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.position import solver
from heimdall.position.solver import KM, log

HULL_MARGIN_KM, HULL_SLOPE_KM = 10.0, 5.0
COLUMNS = 8  # that describe a tile to the network


@dataclass(frozen=True)
class TileEvidence:
    """Of K tiles in each of B sessions; everything (B, K) float64 but `timed`.

    Attributes:
        log_power: Logarithm of the levels' probability of each tile.
        occam: By what factor the arrival times leave less of the tile's volume, as a logarithm: the Occam
            factor (MacKay 2003, "Information theory, inference, and learning algorithms", chapter 28).
        outside: How far the solution lies outside the hull of the area, in standard deviations.
        timed: How many arrival times there are, (B, 1).
        columns: `COLUMNS` of them, what a small network sees of each tile.
    """

    log_power: torch.Tensor
    occam: torch.Tensor
    outside: torch.Tensor
    timed: torch.Tensor
    columns: list[torch.Tensor]


def of_solution(
    log_power: torch.Tensor, found: solver.Solution, times: MeasuredTimes, edges: torch.Tensor
) -> TileEvidence:
    """The evidence of each tile's solution.

    Args:
        log_power: Logarithm of the levels' probability of each tile, (B, K) float64.
        found: The solutions.
        times: What they were found of.
        edges: Half planes whose intersection is the area, metres, (E, 3).
    """
    timed = times.count
    determinant = times.prior_covariance_determinant
    occam = 0.5 * (log(determinant) - log(found.determinant))
    east, north = found.position_km.unbind(-1)
    across, along, offset_m = edges.unbind(-1)  # (E,) each
    beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
    outside = (beyond_km.amax(-1) - HULL_MARGIN_KM).clamp(min=0) / HULL_SLOPE_KM
    columns = [
        torch.log1p(found.chi2),
        torch.log1p(found.chi2 - found.chi2.amin(1, keepdim=True)),
        torch.log1p(found.penalty),
        (log_power - log_power.amax(1, keepdim=True)) / 3,
        occam / 5,
        outside,
        log(determinant) / 5,
        timed.expand_as(occam) / 5,
    ]
    return TileEvidence(log_power, occam, outside, timed, columns)


def most_likely_km(log_power: torch.Tensor, first: solver.Solution, times: MeasuredTimes) -> torch.Tensor:
    """Position of the most likely solution of each session, km, (B, 1, 2), by Laplace's approximation.

    Args:
        log_power: Logarithm of the levels' probability of each tile, (B, K) float64.
        first: The solutions.
        times: What they were found of.
    """
    score = (
        log_power
        - 0.5 * (first.chi2 + first.penalty)
        + 0.5 * (log(times.prior_covariance_determinant) - log(first.determinant))
    )
    best = score.argmax(1)[:, None, None].expand(-1, 1, 2)
    return first.position_km.gather(1, best)
