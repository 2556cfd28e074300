"""What is known of a position if one arrival time is wrong: the solutions without each of them.

A wrong time that a wrong place explains leaves no second minimum of the cost: where the others fix the place
only along a curve, the solution slides along it until that time fits, too. So the hypothesis that it is wrong
has to be a Gaussian of its own, as wide as the other times leave it.
"""

from __future__ import annotations

from dataclasses import replace

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import REDUNDANT
from heimdall.position import solver
from heimdall.position.solver import Problem, Solution

HYPOTHESES = 6  # at most: a session with more times is seldom unsure of more
_NEVER = 1e3  # nats


def solve(
    problem: Problem, found: Solution, tile: torch.Tensor, weight: torch.Tensor
) -> tuple[Solution, torch.Tensor]:
    """The solutions of one tile without each arrival time.

    Args:
        problem: The sessions.
        found: Their solutions by all times; those without one are looked for from there.
        tile: Whose prior holds, (B, 1) int64.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, R).

    Returns:
        R solutions a session, number k without time k; and the logarithm of the probability of all arrival
        times if that one is wrong, as of `solver.log_evidence`, (B, R).
    """
    count = weight.shape[1]
    number = torch.arange(count, device=weight.device)
    left_out = (number[:, None] == number).to(weight.dtype)[None]  # (1, R, R)
    kept = weight[:, None] * (1 - left_out)
    row = tile.expand(-1, count)
    posed = replace(problem, centre_km=chosen(problem.centre_km, row), prior=chosen(problem.prior, row))
    without = solver.refine(posed, kept, chosen(found.position_km.detach(), row))
    log_evidence = solver.log_evidence(posed, without, kept) + solver.log_wrong(posed, without, left_out)
    return without, log_evidence


def likeliest(
    without: Solution, log_evidence: torch.Tensor, times: MeasuredTimes
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The M = `HYPOTHESES` likeliest solutions without a time.

    None is without a time that is not there, nor one of so few times that the others fix no place. Where
    there are fewer than M, the rest have a logarithm that makes them nothing.

    Args:
        without: R solutions a session.
        log_evidence: Of these, (B, R).
        times: The sessions.

    Returns:
        Positions, km, (B, M, 2), their covariances, km^2, (B, M, 3), and their evidence, (B, M).
    """
    possible = times.usable * (times.count >= REDUNDANT)
    against = log_evidence - _NEVER * (1 - possible)
    none = torch.full_like(against[:, :1], -_NEVER).expand(-1, HYPOTHESES)
    value, number = torch.cat([against, none], 1).topk(HYPOTHESES)
    there = value > -_NEVER / 2
    number = torch.where(there, number, 0)
    value = torch.where(there, value, -_NEVER)
    # The exporter to ONNX does not see how many there are.
    value, number, there = (each.reshape(-1, HYPOTHESES) for each in (value, number, there))
    # What is nothing depends on nothing, such as the order of the receivers.
    place_km = torch.where(there[..., None], chosen(without.position_km, number), 0.0)
    round_km2 = place_km.new_tensor([1.0, 0.0, 1.0])
    covariance_km2 = torch.where(there[..., None], chosen(without.covariance_km2, number), round_km2)
    return place_km, covariance_km2, value


def chosen(values: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Rows (B, M, N) of values (B, K, N) by their numbers (B, M)."""
    return values.gather(1, number[..., None].expand(-1, -1, values.shape[-1]))
