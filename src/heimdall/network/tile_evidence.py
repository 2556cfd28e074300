"""What arrival times and levels say for and against the solution of each tile."""

from __future__ import annotations

import math

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import LEAST_TIMED
from heimdall.position import solver
from heimdall.position.solver import KM

HULL_MARGIN_KM, HULL_SLOPE_KM = 10.0, 5.0
ALL_WRONG = 1e-3  # probability that no arrival time of a session has to do with the transmitter
_NEVER = 1e3  # nats


def log_evidence(
    log_power: torch.Tensor,
    found: solver.Solution,
    times: MeasuredTimes,
    weight: torch.Tensor,
    edges: torch.Tensor,
) -> torch.Tensor:
    """Logarithm of the probability of each tile and of all that was measured, up to a constant, (B, K).

    That of the wide one, of which all arrival times are wrong, is all there is with one or none.

    Args:
        log_power: Logarithm of the levels' probability of each tile, the wide one last, (B, K) float64.
        found: The solutions.
        times: What they were found of.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, R) float64.
        edges: Half planes whose intersection is the area, metres, (E, 3).
    """
    by_times = solver.log_evidence(times.problem, found, weight)
    narrow = torch.where(times.count >= LEAST_TIMED, by_times, -_NEVER)
    wide = torch.full_like(narrow[:, :1], math.log(ALL_WRONG))
    by_times = torch.cat([narrow[:, :-1], wide], 1)
    outside = _outside(found.position_km, edges)
    return log_power + by_times - 0.5 * outside**2


def _outside(position_km: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
    """How far positions (B, K, 2) lie outside the hull of the area, in standard deviations, (B, K)."""
    east, north = position_km.unbind(-1)
    across, along, offset_m = edges.unbind(-1)  # (E,) each
    beyond_km = east[..., None] * across + north[..., None] * along + offset_m / KM  # (B, K, E)
    return (beyond_km.amax(-1) - HULL_MARGIN_KM).clamp(min=0) / HULL_SLOPE_KM
