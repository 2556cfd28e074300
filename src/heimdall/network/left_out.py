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
    posed = replace(
        problem,
        centre_km=_of_tile(problem.centre_km, tile, count),
        prior=_of_tile(problem.prior, tile, count),
    )
    without = solver.refine(posed, kept, _of_tile(found.position_km.detach(), tile, count))
    log_evidence = solver.log_evidence(posed, without, kept) + solver.log_wrong(posed, without, left_out)
    return without, log_evidence


def impossible(times: MeasuredTimes) -> torch.Tensor:
    """What to add to the logarithms of the evidence, (B, R): without a time that is not there, never.

    Nor if the others are so few that they fix no place.
    """
    return -_NEVER * (1 - times.usable * (times.count >= REDUNDANT))


def _of_tile(values: torch.Tensor, tile: torch.Tensor, count: int) -> torch.Tensor:
    """The row of one tile, so many times: (B, K, N) to (B, count, N)."""
    chosen = values.gather(1, tile[..., None].expand(-1, 1, values.shape[-1]))
    return chosen.expand(-1, count, -1)
