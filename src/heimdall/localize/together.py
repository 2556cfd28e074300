"""Several sessions of one transmitter as one answer."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

from heimdall.baselines import cells, mixture
from heimdall.geometry.area import Area
from heimdall.position.posterior import Posterior

Float64 = npt.NDArray[np.float64]

# With it the truth is most probable, for fusion and for the combined method (simulated, light multipath:
# docs/log.md). Two sessions count as 1.7, ten as 3.6.
SHARED = 0.2
_FINEST = 0.5  # of the least standard deviation of what counts: the side of the smallest squares
_COUNTS = 0.01  # the weight from which a Gaussian does


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

    return mixture.of_cells(cells.explore(log_density, area, _FINEST * _least_sigma_m(sessions)))


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
