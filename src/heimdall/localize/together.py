"""Several sessions of one transmitter as one answer."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
from scipy import special

from heimdall.baselines import cells, mixture
from heimdall.baselines.cells import Cells, LogDensity
from heimdall.geometry.area import Area
from heimdall.position.posterior import Posterior

Float64 = npt.NDArray[np.float64]

# With it the truth is most probable, for fusion and for the combined method (simulated, light multipath:
# docs/log.md). Two sessions count as 1.7, ten as 3.6.
SHARED = 0.2
_FINEST = 0.5  # of the least standard deviation of what counts: the side of the smallest squares
_COUNTS = 0.01  # the weight from which a Gaussian does
_NINTHS = np.array([(east, north) for east in (-1, 0, 1) for north in (-1, 0, 1)]) / 3
_NOTHING = 1e-12  # a square with less probability is left out


def together(sessions: Posterior, area: Area, shared: float) -> Posterior:
    """Where a transmitter is that stood at one place during all of some sessions.

    What a session adds to the prior is its posterior over the prior. The sessions' additions do not all count
    once: the ways to the receivers stay the same, and with them the shadows and a part of the echoes. If of
    two sessions' log likelihoods the share `shared` is common, n of them count as n / (1 + (n - 1) shared),
    which is the number of independent measurements that n equally correlated ones are worth (L. Kish, Survey
    Sampling, 1965, section 5.4).

    Args:
        sessions: The posterior of each session, of one method, n of them.
        area: The prior under which that method made them.
        shared: What the sessions of one transmitter have in common, in [0, 1]: 0 where their errors are
            independent, 1 where more sessions tell no more.

    Returns:
        One posterior.

    Raises:
        ValueError: `shared` is not in [0, 1].
    """
    if not 0 <= shared <= 1:
        raise ValueError(f"shared must be in [0, 1], not {shared}")
    count = len(sessions)
    if count == 1:
        return sessions
    worth = 1 / (1 + (count - 1) * shared)

    def log_density(position_m: Float64, side_m: float) -> Float64:
        smooth = _smoothed(sessions, side_m)
        prior = area.log_prior(position_m)
        added = sum(smooth.log_density_of(number, position_m) - prior for number in range(count))
        return np.asarray(prior + worth * added, np.float64)

    found = cells.explore(log_density, area, _FINEST * _least_sigma_m(sessions))
    return mixture.of_cells(_weighed(found, log_density))


def log_odds(sessions: Posterior, area: Area) -> Float64:
    """How much likelier it is that two sessions are of one place than of two places, for each pair.

    It is the integral of p_i p_j / p_0, the Bayes factor of one place over two, in closed form for two
    Gaussians; the prior p_0 is taken as even over where they meet.

    Args:
        sessions: The posterior of each session, n of them.
        area: Their prior.

    Returns:
        Natural logarithms, shape (n, n); only the upper triangle is meant.
    """
    side_m = cells.first_side_m(area)
    log_whole = float(special.logsumexp(area.log_prior(area.grid_m(side_m)))) + 2 * math.log(side_m)
    found = np.zeros((len(sessions), len(sessions)))
    for one in range(len(sessions)):
        for other in range(one + 1, len(sessions)):
            found[one, other] = _log_overlap(sessions.of_sessions(np.array([one, other])), area, log_whole)
    return found


def _log_overlap(pair: Posterior, area: Area, log_whole: float) -> float:
    (mean, mean_then), (spread, spread_then) = pair.mean_m, pair.covariance_m2
    both = spread[:, np.newaxis] + spread_then
    inverse = np.linalg.inv(both)
    apart = mean_then - mean[:, np.newaxis]  # (K, K, 2)
    squared = np.einsum("kli,klij,klj->kl", apart, inverse, apart)
    meeting = mean[:, np.newaxis] + np.einsum("kij,kljm,klm->kli", spread, inverse, apart)
    log_gauss = -0.5 * squared - 0.5 * np.log(np.linalg.det(both)) - math.log(2 * math.pi)
    log_prior = area.log_prior(meeting.reshape(-1, 2)).reshape(squared.shape) - log_whole
    weight = pair.weight[0][:, np.newaxis] * pair.weight[1]
    return float(special.logsumexp(log_gauss - log_prior, b=weight))


def _weighed(found: Cells, log_density: LogDensity) -> Cells:
    """The same squares, each with the mean of its nine parts.

    The product of what a large square sees of several sessions is more than what it sees of their product. So
    squares that were looked at and not cut would keep too much.
    """
    logarithm = np.empty(len(found.side_m))
    for side_m in np.unique(found.side_m):
        here = found.side_m == side_m
        parts_m = (found.position_m[here, np.newaxis] + side_m * _NINTHS).reshape(-1, 2)
        values = log_density(parts_m, side_m / 3).reshape(-1, len(_NINTHS))
        logarithm[here] = special.logsumexp(values, axis=1) - math.log(len(_NINTHS)) + 2 * math.log(side_m)
    log_total = float(special.logsumexp(logarithm))
    mass = np.exp(logarithm - log_total)
    kept = mass > _NOTHING
    return Cells(found.position_m[kept], found.side_m[kept], mass[kept] / mass[kept].sum(), log_total)


def _smoothed(sessions: Posterior, side_m: float) -> Posterior:
    """The posteriors as a square sees them: a Gaussian is as wide as the square at least."""
    within_m2 = side_m**2 / 12 * np.eye(2)
    return Posterior(sessions.mean_m, sessions.covariance_m2 + within_m2, sessions.weight)


def _least_sigma_m(sessions: Posterior) -> float:
    """The least standard deviation along any axis of the Gaussians that count, metres."""
    covariance_m2 = sessions.covariance_m2[sessions.weight >= _COUNTS]
    east, cross, north = covariance_m2[:, 0, 0], covariance_m2[:, 0, 1], covariance_m2[:, 1, 1]
    root = np.hypot((east - north) / 2, cross)
    minor_m2 = (east * north - cross * cross) / ((east + north) / 2 + root)
    return math.sqrt(float(minor_m2.min()))
