"""How many sessions tell two localizers apart, both asked (paired) or one of them each time (a canary)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

POWER = 0.8
SIGNIFICANCE = 0.05  # two-sided
SHARES = (0.1, 0.25, 0.5)  # of the sessions that a rising canary answers; the specification's is the first
# Resampled clusters give too narrow intervals below it (Cameron, Gelbach and Miller, Review of Economics and
# Statistics 90 (2008), 414-427: from 5 to 30 of them).
FEW_TRANSMITTERS = 30
_Z = NormalDist().inv_cdf(1 - SIGNIFICANCE / 2) + NormalDist().inv_cdf(POWER)


@dataclass(frozen=True)
class SampleSize:
    """What the paired differences of a comparison say of a larger one.

    Attributes:
        difference_m: Mean of the differences, metres.
        std_m: Standard deviation of one difference, metres.
        intraclass_correlation: Share of the variance that a transmitter's sessions have in common, in
            [0, 1]; None where no transmitter has two.
        sessions_per_transmitter: Mean number, weighted by itself.
        design_effect: By how much the variance of a mean is larger than of as many independent sessions.
        sessions: Sessions of as many a transmitter that would show `difference_m`; None where it is 0.
        transmitters: Transmitters that these are of; None where the difference is 0.
        detectable_m: Smallest difference that the sessions at hand would show, metres.
    """

    difference_m: float
    std_m: float
    intraclass_correlation: float | None
    sessions_per_transmitter: float
    design_effect: float
    sessions: int | None
    transmitters: int | None
    detectable_m: float


@dataclass(frozen=True)
class CanaryStep:
    """A part of a canary, in which one share of the sessions is answered by B.

    Attributes:
        share: That share.
        sessions: Sessions that A and B answer in this step together.
        canary_sessions: Those that B answers.
    """

    share: float
    sessions: int
    canary_sessions: int


@dataclass(frozen=True)
class _Spread:
    """Variance of one value, the share of it that a cluster's values have in common, and what follows."""

    variance: float
    correlation: float | None
    weighted_size: float
    design_effect: float


def of_paired(difference_m: npt.NDArray[np.float64], clusters: Sequence[str]) -> SampleSize | None:
    """Size of the comparison that shows a difference with power `POWER` at level `SIGNIFICANCE`.

    A paired mean needs n = (z_(1 - a/2) + z_power)^2 std^2 / difference^2 independent pairs (Armitage, Berry
    and Matthews, Statistical Methods in Medical Research, 4th ed. 2002, section 4.6). Sessions of one
    transmitter are not: n grows by the design effect 1 + (m - 1) rho (Kish, Survey Sampling, 1965, section
    5.4), with m = sum m_i^2 / sum m_i for clusters of m_i (Eldridge, Ashby and Kerry, International Journal
    of Epidemiology 35 (2006), 1292-1300). Between and within variances, and their ratio rho, are those of the
    one-way analysis of variance (Donner and Koval, Biometrics 36 (1980), 19-25), not below 0.

    The normal distribution is assumed of the mean, so that fewer than some 20 transmitters are too few to
    believe it.

    Args:
        difference_m: Difference of the errors of each session, metres, shape (n,).
        clusters: Name of each session's transmitter, length n.

    Returns:
        The sizes; None with fewer than two transmitters, which say nothing of their spread.
    """
    spread = _spread(difference_m, clusters)
    if spread is None:
        return None
    needed_m2 = _Z**2 * spread.variance * spread.design_effect
    mean_m = float(difference_m.mean())
    sessions = max(2, math.ceil(needed_m2 / mean_m**2)) if mean_m else None
    return SampleSize(
        difference_m=mean_m,
        std_m=math.sqrt(spread.variance),
        intraclass_correlation=spread.correlation,
        sessions_per_transmitter=spread.weighted_size,
        design_effect=spread.design_effect,
        sessions=sessions,
        transmitters=None if sessions is None else max(2, math.ceil(sessions / spread.weighted_size)),
        detectable_m=math.sqrt(needed_m2 / len(difference_m)),
    )


def of_canary(
    a_m: npt.NDArray[np.float64],
    b_m: npt.NDArray[np.float64],
    clusters: Sequence[str],
    shares: Sequence[float],
) -> list[CanaryStep] | None:
    """A rising canary that shows the difference with power `POWER` at level `SIGNIFICANCE`.

    Each transmitter is given to B with the probability of the step's share, else to A, with all its sessions,
    so that errors of different sessions are compared. With shares s of B and 1 - s of A the variance of the
    difference of the means of n sessions is (v_B / s + v_A / (1 - s)) / n (unequal allocation: Chow, Shao and
    Wang, Sample Size Calculations in Clinical Research, 2nd ed. 2008, section 3.2), each variance v with its
    design effect as in `of_paired`. The steps have equally many sessions in all, and their differences are
    weighed by their precisions: pooled over steps of different shares a mean would take a change over time
    for one of the models (Crook et al., Seven pitfalls to avoid when running controlled experiments on the
    web, KDD 2009, pitfall 5). One share alone is a canary that does not rise.

    Args:
        a_m: Error of A in each session, metres, shape (n,).
        b_m: Error of B in the same sessions, metres, shape (n,).
        clusters: Name of each session's transmitter, length n.
        shares: Of the sessions that B answers, each in (0, 1), one a step.

    Returns:
        The steps; None with fewer than two transmitters, or where the mean errors are equal.
    """
    a, b = _spread(a_m, clusters), _spread(b_m, clusters)
    difference_m = float((b_m - a_m).mean())
    if a is None or b is None or difference_m == 0:
        return None
    precisions = [
        1 / (b.variance * b.design_effect / share + a.variance * a.design_effect / (1 - share))
        for share in shares
    ]
    sessions = math.ceil(_Z**2 / (difference_m**2 * math.fsum(precisions)))
    return [CanaryStep(share, sessions, math.ceil(round(share * sessions, 9))) for share in shares]


def _spread(values: npt.NDArray[np.float64], clusters: Sequence[str]) -> _Spread | None:
    """How values (n,) scatter between and within clusters; None with fewer than two of these."""
    _, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size = np.bincount(member)  # (k,)
    n, k = len(values), len(size)
    if k < 2:
        return None
    cluster_mean = np.bincount(member, values) / size
    between = float((size * (cluster_mean - float(values.mean())) ** 2).sum()) / (k - 1)
    within = float(((values - cluster_mean[member]) ** 2).sum()) / (n - k) if n > k else 0.0
    usual_size = (n - float((size**2).sum()) / n) / (k - 1)
    shared = max(0.0, (between - within) / usual_size)
    variance = shared + within
    correlation = shared / variance if variance else 0.0
    weighted_size = float((size**2).sum()) / n
    effect = 1 + (weighted_size - 1) * correlation
    return _Spread(variance, correlation if n > k else None, weighted_size, effect)
