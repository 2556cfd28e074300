"""What is known of a position if one arrival time is wrong: the solutions without each of them.

A wrong time that a wrong place explains leaves no second minimum of the cost: where the others fix the place
only along a curve, the solution slides along it until that time fits, too. So the hypothesis that it is wrong
has to be a Gaussian of its own, in the tiles that come into question, as wide as the other times and the tile
leave it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch

from heimdall.network.measured_times import MeasuredTimes
from heimdall.network.tokens import REDUNDANT
from heimdall.position import solver
from heimdall.position.solver import Problem, Solution, log

HYPOTHESES = 12  # at most: any of a few times may be wrong, and the others may leave several tiles
_TILES = 4  # the likeliest, in which a time may be wrong: all 14 take as long as the rest of the network
_NEVER = 1e3  # nats


@dataclass(frozen=True)
class Hypotheses:
    """That one arrival time is wrong: N solutions a session.

    Attributes:
        position_km: East and north, (B, N, 2).
        covariance_km2: (B, N, 3).
        log_evidence: Logarithm of the probability of all arrival times and levels, (B, N).
    """

    position_km: torch.Tensor
    covariance_km2: torch.Tensor
    log_evidence: torch.Tensor

    def likeliest(self) -> Hypotheses:
        """The `HYPOTHESES` likeliest of each session; where there are fewer, the rest are nothing."""
        none = torch.full_like(self.log_evidence[:, :1], -_NEVER).expand(-1, HYPOTHESES)
        value, number = torch.cat([self.log_evidence, none], 1).topk(HYPOTHESES)
        # The exporter to ONNX does not see how many there are.
        value, number = value.reshape(-1, HYPOTHESES), number.reshape(-1, HYPOTHESES)
        there = value > -_NEVER / 2
        number = torch.where(there, number, 0)
        # What is nothing depends on nothing, such as the order of the receivers.
        value = torch.where(there, value, -_NEVER)
        place_km = torch.where(there[..., None], _chosen(self.position_km, number), 0.0)
        round_km2 = place_km.new_tensor([1.0, 0.0, 1.0])
        covariance_km2 = torch.where(there[..., None], _chosen(self.covariance_km2, number), round_km2)
        return Hypotheses(place_km, covariance_km2, value)


def solve(
    problem: Problem,
    found: Solution,
    times: MeasuredTimes,
    *,
    weight: torch.Tensor,
    log_power: torch.Tensor,
    evidence: torch.Tensor,
) -> Hypotheses:
    """The solutions of the likeliest tiles without each arrival time.

    The evidence by all times has each of them right or wrong already: where a time does not fit, the solution
    by all is the one without it. What is new is that a time is wrong which fits, so that is what counts.

    Args:
        problem: The sessions, their delays corrected.
        found: Their solutions by all times; those without one are looked for from there.
        times: Which arrival times there are.
        weight: Of these, 1 / us^2, 0 where there is none, (B, R).
        log_power: Logarithm of the levels' probability of each tile, the wide one last, (B, K).
        evidence: Of each solution by all times, a logarithm, (B, K).

    Returns:
        N = 4 R hypotheses; those that leave out a time which is not there, or leave so few that they fix no
        place, are nothing. The prior of the area is to be added.
    """
    count = weight.shape[1]
    tile = evidence[:, :-1].topk(_TILES)[1].reshape(-1, _TILES)
    number = torch.arange(count, device=weight.device)
    left_out = (number[:, None] == number).to(weight.dtype).repeat(_TILES, 1)[None]  # (1, N, R)
    kept = weight[:, None] * (1 - left_out)
    posed = replace(
        problem,
        centre_km=_times(_chosen(problem.centre_km, tile), count),
        prior=_times(_chosen(problem.prior, tile), count),
    )
    start_km = _times(_chosen(found.position_km.detach(), tile), count)
    without = solver.refine(posed, kept, start_km)
    by_times = solver.log_evidence(posed, without, kept)
    by_times = by_times + solver.log_wrong(posed, without, weight[:, None], left_out)
    right = _chosen(solver.log_right(problem, found, weight[:, None]), tile)  # (B, 4, R)
    # Several solutions by all times may be of one tile, whose solution without a time is one.
    same = (problem.centre_km[:, :, None] == problem.centre_km[:, None]).all(-1).to(weight.dtype).sum(-1)
    of_tile = _times(_chosen((log_power - log(same))[..., None], tile), count)[..., 0]
    possible = (times.usable * (times.count >= REDUNDANT)).repeat(1, _TILES)
    log_evidence = by_times + right.flatten(1) + of_tile - _NEVER * (1 - possible)
    return Hypotheses(without.position_km, without.covariance_km2, log_evidence)


def _times(values: torch.Tensor, count: int) -> torch.Tensor:
    """Each row of (B, K, N) so many times, one after the other, (B, K count, N)."""
    return values[:, :, None].expand(-1, -1, count, -1).flatten(1, 2)


def _chosen(values: torch.Tensor, number: torch.Tensor) -> torch.Tensor:
    """Rows (B, M, n) of values (B, N, n) by their numbers (B, M)."""
    return values.gather(1, number[..., None].expand(-1, -1, values.shape[-1]))
