"""What arrival times and levels say for and against the solution of each tile."""

from __future__ import annotations

import math

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import LEAST_TIMED
from heimdall.position import solver

ALL_WRONG = 1e-3  # probability that no arrival time of a session has to do with the transmitter
_NEVER = 1e3  # nats


def log_evidence(
    log_power: torch.Tensor,
    found: solver.Solution,
    times: MeasuredTimes,
    weight: torch.Tensor,
    log_prior: torch.Tensor,
) -> torch.Tensor:
    """Logarithm of the probability of each tile and of all that was measured, up to a constant, (B, K).

    That of the wide one, of which all arrival times are wrong, is all there is with one or none.

    Args:
        log_power: Logarithm of the levels' probability of each tile, the wide one last, (B, K) float64.
        found: The solutions.
        times: What they were found of.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, R) float64.
        log_prior: How frequent transmitters are at the solutions, a logarithm, (B, K).
    """
    by_times = solver.log_evidence(times.problem, found, weight[:, None])
    narrow = torch.where(times.count >= LEAST_TIMED, by_times, -_NEVER)
    wide = torch.full_like(narrow[:, :1], math.log(ALL_WRONG))
    by_times = torch.cat([narrow[:, :-1], wide], 1)
    return log_power + by_times + log_prior
