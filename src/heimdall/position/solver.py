"""Position and emission time from arrival times, by Gauss-Newton steps in torch: batched, differentiable.

With g the gradient of the delay by position, g_mean its weighted mean over receivers and w the weights,

    F = sum w (g - g_mean)(g - g_mean)^T

is the information about the position once the emission time is profiled out. It is positive by construction,
and for weights of noise alone it is the Fisher information (`heimdall.baselines.cramer_rao`).

One receiver may be wrong by any amount, so the density of a residual of z standard deviations is Student's
with three degrees of freedom, (1 + z^2 / TAIL)^(-TAIL / 2) but for a factor, and with the probability `WRONG`
that of a wrong time. A fifth of these lie anywhere; the errors of the others are as often of microseconds as
of milliseconds, as stamps are wrong: their density falls with the residual. Cauchy's weights follow (P. J.
Holland and R. E. Welsch, "Robust regression using iteratively reweighted least-squares", Comm. Stat. A6,
1977), times the probability that the time is not wrong. From a start that is kilometres off every residual is
large; so the tail begins wide and is narrowed step by step (graduated non-convexity: A. Blake and A.
Zisserman, Visual Reconstruction, 1987), and the first emission time is that of the receiver with which most
others agree.

Lengths are kilometres, times microseconds, everything is float64. Symmetric 2 x 2 matrices are their three
entries. exp, log and square roots are written as pow, log1p and rsqrt: torch's own call a library that
chooses its kernel by the CPU's maker, and so does pow with an exponent of a half.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S

KM, US = 1e3, 1e-6
US_PER_KM = KM / SPEED_OF_LIGHT_M_S / US
LONGEST_STEP_KM = 4.0
TAIL = 4.0  # squared standard deviations at which a residual has half of its weight
# Probability that an arrival time is wrong by any amount. More than there are: where none is wrong it costs
# two points of coverage at 95 %, and where one is, a hundredth made regions too small (docs/log.md).
WRONG = 0.05
ANYWHERE = 0.2  # share of wrong ones that have nothing to do with the transmitter
LEAST_WRONG_US = 1.0  # from there, or a coarser clock's error, on a stamp is as often wrong in each octave
NEAR = 4 * TAIL  # squared standard deviations, by which a start may be off that is near the minimum
_WIDEST = 256 * TAIL
_PARTS = (1.0, 1 / 4, 1 / 16, 1 / 64)
_STEPS = 3
_TINY = 1e-300  # its inverse square root is a number
_FAINT = 1e-8  # 1 / us^2, of an arrival time that says nothing
_NEVER = 1e9


def exp(x: torch.Tensor) -> torch.Tensor:
    """The exponential, any shape."""
    return torch.pow(math.e, x)


def log(x: torch.Tensor) -> torch.Tensor:
    """The natural logarithm, any shape, for x well above 1e-24: `x - 1` alone would round at 1e-12."""
    return torch.log1p(x * 2.0**40 - 1) - 40 * math.log(2)


def root(x: torch.Tensor) -> torch.Tensor:
    """The square root, any shape, for x of at least 0 but for rounding."""
    x = x.clamp(min=_TINY)
    return x * x.rsqrt()


def log_sum_exp(x: torch.Tensor) -> torch.Tensor:
    """Of (..., K) over the last axis: the largest of log_softmax(x) is max(x) - logsumexp(x)."""
    return x.amax(-1) - torch.log_softmax(x, -1).amax(-1)


def inverse(symmetric: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Inverses (..., 3) and determinants (...) of symmetric matrices (..., 3)."""
    a, b, c = symmetric.unbind(-1)
    determinant = a * c - b * b
    return torch.stack([c, -b, a], -1) / determinant[..., None], determinant


def apply(symmetric: torch.Tensor, vector: torch.Tensor) -> torch.Tensor:
    """Products of symmetric matrices (..., 3) with vectors (..., 2)."""
    a, b, c = symmetric.unbind(-1)
    x, y = vector.unbind(-1)
    return torch.stack([a * x + b * y, b * x + c * y], -1)


def entries(matrix: torch.Tensor) -> torch.Tensor:
    """The three entries (..., 3) of symmetric matrices (..., 2, 2)."""
    return torch.stack([matrix[..., 0, 0], matrix[..., 0, 1], matrix[..., 1, 1]], -1)


def matrices(symmetric: torch.Tensor) -> torch.Tensor:
    """Symmetric matrices (..., 2, 2) of their entries (..., 3)."""
    a, b, c = symmetric.unbind(-1)
    return torch.stack([torch.stack([a, b], -1), torch.stack([b, c], -1)], -2)


def geometry(
    position_km: torch.Tensor, receiver_km: torch.Tensor, plane: TangentPlane
) -> tuple[torch.Tensor, torch.Tensor]:
    """Distances and their gradients, as `heimdall.geometry.propagation.gradients`.

    Args:
        position_km: East and north, (B, K, 2).
        receiver_km: East, north, up, (B, R, 3).
        plane: Of the positions.

    Returns:
        Distances (B, K, R) in km, and their derivatives by east and north (B, K, R, 2).
    """
    east, north = position_km.unbind(-1)  # (B, K)
    fall_east = -east / (plane.east_radius_m / KM)
    fall_north = -north / (plane.north_radius_m / KM)
    up = plane.altitude_m / KM + 0.5 * (fall_east * east + fall_north * north)
    ray = torch.stack([east, north, up], -1)[:, :, None] - receiver_km[:, None]  # (B, K, R, 3)
    d_east, d_north, d_up = ray.unbind(-1)
    distance = root(d_east**2 + d_north**2 + d_up**2)
    slope = torch.stack([d_east + d_up * fall_east[..., None], d_north + d_up * fall_north[..., None]], -1)
    return distance, slope / distance[..., None]


@dataclass(frozen=True)
class Problem:
    """Arrival times of B sessions at R receivers, and a Gaussian prior on the position for each of K tiles.

    Attributes:
        delay_us: (B, R).
        receiver_km: East, north, up, (B, R, 3).
        centre_km: Means of the priors, (B, K, 2).
        prior: Inverse covariances of the priors, 1 / km^2, (B, K, 3).
        plane: Of the positions.
        range_us: Over which a wrong delay may lie anywhere.
    """

    delay_us: torch.Tensor
    receiver_km: torch.Tensor
    centre_km: torch.Tensor
    prior: torch.Tensor
    plane: TangentPlane
    range_us: float


@dataclass(frozen=True)
class Solution:
    """The position of least cost near each tile.

    Attributes:
        position_km: East and north, (B, K, 2).
        covariance_km2: Inverse of F and the prior together, (B, K, 3).
        determinant: Of F and the prior together, 1 / km^4, (B, K).
        chi2: What the residuals of the arrival times cost: minus twice the logarithm of their densities, over
            that of a right time without a residual, (B, K).
        penalty: Squared distance from the prior's mean in its standard deviations, (B, K).
        trusted: The arrival times' weights, less where residuals are large, 1 / us^2, (B, K, R).
    """

    position_km: torch.Tensor
    covariance_km2: torch.Tensor
    determinant: torch.Tensor
    chi2: torch.Tensor
    penalty: torch.Tensor
    trusted: torch.Tensor


def solve(problem: Problem, weight: torch.Tensor, start_km: torch.Tensor) -> Solution:
    """Minimise what the residuals cost and the prior's penalty, from a start that may be kilometres off.

    Args:
        problem: The sessions.
        weight: Of the arrival times for each tile, 1 / us^2, 0 where there is none, (B, K, R).
        start_km: (B, K, 2).

    Returns:
        Positions after the last step; the other fields are those before it.
    """
    with torch.no_grad():
        # By how much delays from a start as far off as a tile is wide may differ.
        start_us = 2 * US_PER_KM * _longest_km(problem)[..., None]  # (B, K, 1)
        least_us = 2 * US_PER_KM * LONGEST_STEP_KM
        residual = _residual(problem, start_km)
        trusted = weight / (1 + ((residual - agreed(residual, weight, start_us)) / start_us) ** 2)
        position_km = start_km
        for part in _PARTS:
            tail = (weight * (part * (start_us - least_us)) ** 2).clamp(min=part * _WIDEST)
            found = _step(problem, weight, trusted, position_km, tail)
            position_km, trusted = found.position_km, found.trusted
    return _settled(problem, weight, trusted, position_km)


def refine(problem: Problem, weight: torch.Tensor, start_km: torch.Tensor) -> Solution:
    """The same from a start near the minimum.

    All steps but the last go without a gradient: at the fixed point, that of one step is the right one where
    residuals are small beside the tail.
    """
    with torch.no_grad():
        residual = _residual(problem, start_km)
        near_us = root(NEAR / weight.clamp(min=_FAINT))
        trusted = weight * _falling(residual - agreed(residual, weight, near_us), weight, NEAR)
        found = _step(problem, weight, trusted, start_km, NEAR)
    return _settled(problem, weight, found.trusted, found.position_km)


def _settled(
    problem: Problem, weight: torch.Tensor, trusted: torch.Tensor, position_km: torch.Tensor
) -> Solution:
    with torch.no_grad():
        for _ in range(_STEPS):
            found = _step(problem, weight, trusted, position_km, None)
            position_km, trusted = found.position_km, found.trusted
    return _step(problem, weight, trusted, position_km, None)


def _residual(problem: Problem, position_km: torch.Tensor) -> torch.Tensor:
    """Delays less what the distances from positions (B, K, 2) make of them, us, (B, K, R)."""
    distance_km, _ = geometry(position_km, problem.receiver_km, problem.plane)
    return problem.delay_us[:, None] - US_PER_KM * distance_km


def log_evidence(problem: Problem, found: Solution, weight: torch.Tensor) -> torch.Tensor:
    """Logarithm of the probability of the arrival times by Laplace's approximation, (B, K).

    With P the prior's inverse covariance, and the emission time integrated out over the range T over which
    wrong arrival times lie, that of n arrival times of weights w over that of n wrong ones is

        -(cost + penalty) / 2 + (log |P| - log |F + P| - log sum trusted) / 2
            + sum (log w / 2 + log((1 - WRONG) / pi)) + log(2 pi) / 2 + (n - 1) log T

    (D. J. C. MacKay, Information Theory, Inference, and Learning Algorithms, 2003, chapter 28).

    Args:
        problem: The sessions, each with an arrival time at least.
        found: Its solutions.
        weight: Of the arrival times for each tile, or for all alike, 1 / us^2, 0 where there is none,
            (B, K or 1, R).
    """
    usable = weight > 0
    each = (0.5 * log(weight.clamp(min=_FAINT)) + math.log((1 - WRONG) / math.pi)) * usable
    right = each.sum(-1) + 0.5 * math.log(2 * math.pi) + (usable.sum(-1) - 1) * math.log(problem.range_us)
    _, prior = inverse(problem.prior)
    occam = log(prior) - log(found.determinant) - log(found.trusted.sum(-1).clamp(min=_FAINT))
    return right + 0.5 * (occam - found.chi2 - found.penalty)


def log_right(problem: Problem, found: Solution, weight: torch.Tensor) -> torch.Tensor:
    """Logarithm of the probability that each arrival time is right where the solutions are, (B, K, R).

    Args:
        problem: The sessions.
        found: Its solutions.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, 1 or K, R).
    """
    residual = _residual(problem, found.position_km)
    residual = residual - _mean(residual, found.trusted)
    falling = _falling(residual, weight, TAIL)
    right = falling * falling
    return log(right.clamp(min=_TINY)) - log(right + _wrong(residual, weight, problem.range_us))


def log_wrong(
    problem: Problem, found: Solution, weight: torch.Tensor, left_out: torch.Tensor
) -> torch.Tensor:
    """Logarithm of the density of a wrong arrival time over that of one that lies anywhere, (B, K).

    It is that at the size of its error, which is known as well as the position is that the others leave.

    Args:
        problem: The sessions.
        found: Its solutions without that time.
        weight: Of the arrival times, 1 / us^2, 0 where there is none, (B, 1, R).
        left_out: 1 at the time that a solution leaves out, else 0, (1, K, R).
    """
    distance_km, gradient = geometry(found.position_km, problem.receiver_km, problem.plane)
    residual = problem.delay_us[:, None] - US_PER_KM * distance_km  # (B, K, R)
    error_us = ((residual - _mean(residual, found.trusted)) * left_out).sum(-1)
    slope = US_PER_KM * (gradient - _mean(gradient, found.trusted[..., None], -2))  # (B, K, R, 2)
    slope = (slope * left_out[..., None]).sum(-2)
    variance_us2 = (slope * apply(found.covariance_km2, slope)).sum(-1)
    size_us = root(error_us**2 + variance_us2)
    sigma_us = (weight * left_out).sum(-1).clamp(min=_FAINT).rsqrt()
    return log(WRONG * problem.range_us * wrong_per_us(size_us, sigma_us, problem.range_us))


def _longest_km(problem: Problem) -> torch.Tensor:
    """Longest step from each tile, (B, K)."""
    east, _, _ = problem.prior.unbind(-1)
    return east.rsqrt().clamp(min=LONGEST_STEP_KM)


def agreed(residual: torch.Tensor, weight: torch.Tensor, within_us: torch.Tensor) -> torch.Tensor:
    """The residual with which most others agree, (..., 1).

    Args:
        residual: Of each arrival time, us, (..., R).
        weight: 1 / us^2, 0 where there is none, (..., R).
        within_us: So near another one agrees, (..., 1) or (..., R).
    """
    apart = residual[..., None, :] - residual[..., :, None]  # (..., from, to)
    cost = (torch.log1p((apart / within_us[..., None, :]) ** 2) * (weight > 0)[..., None, :]).sum(-1)
    none = (weight == 0).to(cost.dtype) * _NEVER
    return residual.gather(-1, (cost + none).argmin(-1, keepdim=True))


def cost(residual: torch.Tensor, weight: torch.Tensor, range_us: float) -> tuple[torch.Tensor, torch.Tensor]:
    """What residuals cost, (...), and the weights that this gives them, (..., R).

    Args:
        residual: Over the emission time, us, (..., R).
        weight: Inverse squares of their scales, 1 / us^2, 0 where there is none, (..., R).
        range_us: Over which a wrong one may lie anywhere.

    The weights leave out how slowly the density of wrong times falls, which pulls by 1 % of the scale.
    """
    falling = _falling(residual, weight, TAIL)
    right = falling * falling  # to the power of TAIL / 2
    wrong = _wrong(residual, weight, range_us)
    total = (log(right + wrong) * (weight > 0)).sum(-1)
    return -2 * total, weight * falling * right / (right + wrong)


def _wrong(residual: torch.Tensor, weight: torch.Tensor, range_us: float) -> torch.Tensor:
    """Density of a wrong arrival time over that of a right one without a residual.

    The integral of (1 + z^2 / 4)^-2 is pi.
    """
    sigma_us = weight.clamp(min=_FAINT).rsqrt()
    return WRONG / (1 - WRONG) * math.pi * wrong_per_us(residual.abs(), sigma_us, range_us) * sigma_us


def wrong_per_us(size_us: torch.Tensor, sigma_us: torch.Tensor, range_us: float) -> torch.Tensor:
    """Density of a wrong arrival time by the size of its error, 1 / us; its integral over both signs is 1.

    Args:
        size_us: Of the error, from 0 to half of the range.
        sigma_us: Scale of right times' errors: wrong ones are no better known.
        range_us: Over which a wrong one may lie anywhere.
    """
    least_us = sigma_us.clamp(min=LEAST_WRONG_US)
    octaves = torch.log1p(range_us / 2 / least_us)
    return ANYWHERE / range_us + (1 - ANYWHERE) / (2 * octaves) / (size_us + least_us)


def _falling(residual: torch.Tensor, weight: torch.Tensor, tail: torch.Tensor | float) -> torch.Tensor:
    return 1 / (1 + weight * residual**2 / tail)


def _step(
    problem: Problem,
    weight: torch.Tensor,
    trusted: torch.Tensor,
    position_km: torch.Tensor,
    tail: torch.Tensor | float | None,
) -> Solution:
    """One Gauss-Newton step, no longer than `LONGEST_STEP_KM` or a large tile; a tail of None is the last."""
    distance_km, gradient = geometry(position_km, problem.receiver_km, problem.plane)
    residual = problem.delay_us[:, None] - US_PER_KM * distance_km  # (B, K, R)
    gradient = US_PER_KM * gradient  # (B, K, R, 2)
    off = residual - _mean(residual, trusted)
    if tail is None:
        _, trusted = cost(off, weight, problem.range_us)
    else:
        trusted = weight * _falling(off, weight, tail)
    residual = residual - _mean(residual, trusted)
    gradient = gradient - _mean(gradient, trusted[..., None], -2)
    east, north = gradient.unbind(-1)  # (B, K, R)
    weighted_east, weighted_north = trusted * east, trusted * north
    information = torch.stack(
        [(weighted_east * east).sum(-1), (weighted_east * north).sum(-1), (weighted_north * north).sum(-1)],
        -1,
    )
    pull = torch.stack([(weighted_east * residual).sum(-1), (weighted_north * residual).sum(-1)], -1)
    off_km = problem.centre_km - position_km
    towards = apply(problem.prior, off_km)
    covariance, determinant = inverse(information + problem.prior)
    step = apply(covariance, pull + towards)
    longest_km = _longest_km(problem)[..., None]
    length = torch.maximum(root((step.detach() ** 2).sum(-1, keepdim=True)), longest_km)
    return Solution(
        position_km=position_km + step * (longest_km / length),
        covariance_km2=covariance,
        determinant=determinant,
        chi2=cost(residual, weight, problem.range_us)[0],
        penalty=(off_km * towards).sum(-1),
        trusted=trusted,
    )


def _mean(values: torch.Tensor, weight: torch.Tensor, axis: int = -1) -> torch.Tensor:
    """Weighted mean over receivers, their axis kept; 0 where no weight is."""
    return (weight * values).sum(axis, keepdim=True) / weight.sum(axis, keepdim=True).clamp(min=1e-12)
