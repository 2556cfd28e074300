"""How many sessions tell two localizers apart: sample size of a paired mean over clusters."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

POWER = 0.8
SIGNIFICANCE = 0.05  # two-sided


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
    _, member = np.unique(np.asarray(clusters, dtype=str), return_inverse=True)
    size = np.bincount(member)  # (k,)
    n, k = len(difference_m), len(size)
    if k < 2:
        return None
    mean_m = float(difference_m.mean())
    cluster_mean_m = np.bincount(member, difference_m) / size
    between = float((size * (cluster_mean_m - mean_m) ** 2).sum()) / (k - 1)
    within = float(((difference_m - cluster_mean_m[member]) ** 2).sum()) / (n - k) if n > k else 0.0
    usual_size = (n - float((size**2).sum()) / n) / (k - 1)
    shared = max(0.0, (between - within) / usual_size)
    variance = shared + within
    correlation = shared / variance if variance else 0.0
    weighted_size = float((size**2).sum()) / n
    effect = 1 + (weighted_size - 1) * correlation
    normal = NormalDist()
    z = normal.inv_cdf(1 - SIGNIFICANCE / 2) + normal.inv_cdf(POWER)
    spread_m2 = z**2 * variance * effect
    sessions = max(2, math.ceil(spread_m2 / mean_m**2)) if mean_m else None
    return SampleSize(
        difference_m=mean_m,
        std_m=math.sqrt(variance),
        intraclass_correlation=correlation if n > k else None,
        sessions_per_transmitter=weighted_size,
        design_effect=effect,
        sessions=sessions,
        transmitters=None if sessions is None else max(2, math.ceil(sessions / weighted_size)),
        detectable_m=math.sqrt(spread_m2 / n),
    )
