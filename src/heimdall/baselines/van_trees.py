"""How well any estimator can know a position from times, levels and where transmitters are: van Trees' bound.

For a position that is drawn from a density p, and whatever the estimator, biased ones included,

    mean squared error >= trace of (mean of F + J)^-1,    J = integral of p (grad log p)(grad log p)^T

with F the Fisher information of the data at the true position (H. L. Van Trees, Detection, Estimation, and
Modulation Theory, part I, 1968, section 2.4.3; R. D. Gill and B. Y. Levit, Bernoulli 1 (1995), 59-79). F is
the sum of two parts:

- arrival times, `cramer_rao.times_information_m2`. The bound is that of Gaussian errors. Errors with heavy
  tails, as multipath leaves them, have a bound of their own: for the law that the baselines fit it is that
  of F times `delays.ErrorLaw.information`, so the Gaussian one of the law's `excess_s` holds for it, too,
  and lies below it. For errors that this law does not describe, or an estimator that removes a part of
  them (the shape of a channel tells of its echoes), it is a yardstick and no bound;
- levels, `levels_information_m2`.

What remains of the data's information when the time of emission and the power of the transmitter are
unknown is not more than what remains of the joint information of all of them (the hybrid bound: Y. Noam and
H. Messer, IEEE Trans. Signal Processing 57, 2009), so both are removed from the F of each session.

The mean is over positions and data as they are drawn. Sessions that are chosen by their data, as by how many
arrival times they have, come from another density than p, and their bound holds as nearly as J is small
beside F. Where some places are seen much better than others the mean is that of the best ones, and the
bound lies far below what can be reached. The root of the trace of (F + J)^-1 of one session is what a good
estimator comes near where F is large; it is no bound, as an estimator may be better at one place at the
expense of others.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
import numpy.typing as npt
from scipy import special

from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import gradients
from heimdall.position.received_power import NEAREST_M, Levels, PowerModel, mean_levels_db

Float64 = npt.NDArray[np.float64]

_STEP_M = 1.0  # of the prior's differences: far below everything that it depends on
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(33)  # of the power: squelches are steps
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()


def levels_information_m2(
    truth_m: Float64, model: PowerModel, levels: Levels, plane: TangentPlane
) -> Float64:
    """Fisher information about a position that is expected of the levels of one session, unheard ones too.

    Silence tells of the place, too: without it this would be less than what there is, and the bound none.
    A level is Gaussian about what the model says and is not seen below the squelch (J. Tobin, Econometrica
    26 (1958), 24-36). With u the squelch over the mean level in units of the shadowing, phi and Phi of the
    normal distribution, such a level has

        w = 1 - Phi(u) + u phi(u) + phi(u)^2 / Phi(u)

    of the information of one that is always seen, here averaged over the power of the transmitter. With the
    derivatives b of the levels by position, and the power unknown but for its standard deviation,

        F = (sum w b b^T - (sum w b)(sum w b)^T / (sum w + shadow^2 / power^2)) / shadow^2

    Args:
        truth_m: East and north of the transmitter, metres, shape (2,).
        model: What levels are like.
        levels: Of the session; which receivers were there is what counts, not what they heard.
        plane: Gives the height of the transmitter.

    Returns:
        In 1/m^2, shape (2, 2), float64.
    """
    there = levels.silent | np.isfinite(levels.snr_db)
    distance_m, slope = gradients(truth_m, levels.receivers.position_m, plane)
    loss_db_per_m = 10 * model.slope / math.log(10) / np.maximum(distance_m, NEAREST_M)
    loss_db_per_m = np.where(distance_m > NEAREST_M, loss_db_per_m + model.loss_db_per_km / 1e3, 0.0)
    by_place = -loss_db_per_m[:, None] * slope  # (R, 2)
    mean_db = mean_levels_db(model, levels.receivers, truth_m, plane) + model.uhf_offset_db * levels.uhf
    shadow_db, power_db = model.shadow_sigma_db, model.power_sigma_db
    under = (model.squelch_db - mean_db[:, None] - power_db * _NODES) / shadow_db  # (R, nodes)
    weight = (seen_share(under) * _WEIGHTS).sum(axis=1) * there
    common = (weight[:, None] * by_place).sum(axis=0)
    own = (weight[:, None, None] * by_place[:, :, None] * by_place[:, None, :]).sum(axis=0)
    power_share = weight.sum() + (shadow_db / power_db) ** 2
    return np.asarray((own - np.outer(common, common) / power_share) / shadow_db**2, np.float64)


def seen_share(under: Float64) -> Float64:
    """Information about the mean of a Gaussian not seen below a limit, over that of one always seen.

    Args:
        under: The limit less the mean, in standard deviations, of any shape.

    Returns:
        Between 0 and 1, of the same shape.
    """
    log_density = -0.5 * under * under - 0.5 * math.log(2 * math.pi)
    density = np.exp(log_density)
    silent = np.exp(2 * log_density - special.log_ndtr(under))
    return np.asarray(special.ndtr(-under) + under * density + silent, np.float64)


def prior_information_m2(log_prior: Callable[[Float64], Float64], point_m: Float64) -> Float64:
    """Information J of a density of positions, by differences and a sum over a square grid.

    The density is taken to be 0 and its edge to say nothing beyond the grid. `Area.log_prior` is cut at the
    margin, for it has no integral over the whole plane. A prior that goes on beyond the margin puts a part of
    its probability where it hardly changes: its J is smaller and its bound larger.

    Args:
        log_prior: Natural logarithm of the density at positions (..., 2), up to a constant; continuous.
        point_m: Points of the grid, metres, shape (G, 2).

    Returns:
        In 1/m^2, shape (2, 2), float64.
    """
    log_density = log_prior(point_m)
    weight = np.exp(log_density - log_density.max())
    weight = weight / weight.sum()
    aside_m = _STEP_M * np.eye(2)
    slope = np.stack([log_prior(point_m + step) - log_prior(point_m - step) for step in aside_m], axis=-1)
    slope = slope / (2 * _STEP_M)  # (G, 2)
    return np.asarray((weight[:, None, None] * slope[:, :, None] * slope[:, None, :]).sum(axis=0))


def bound_m(information_m2: Float64, prior_m2: Float64) -> float:
    """The least root mean squared error of sessions.

    Args:
        information_m2: F of each, 1/m^2, shape (n, 2, 2), n at least 1.
        prior_m2: J, 1/m^2, shape (2, 2), or of each session's world, shape (n, 2, 2).

    Returns:
        Metres; inf where nothing is known of some direction.
    """
    return float(sigma_m((information_m2 + prior_m2).mean(axis=0)))


def sigma_m(information_m2: Float64) -> Float64:
    """Root of the trace of the inverse of information.

    Args:
        information_m2: Symmetric, positive semidefinite, 1/m^2, shape (..., 2, 2).

    Returns:
        Metres, shape (...), float64; inf where it has no inverse.
    """
    east, north = information_m2[..., 0, 0], information_m2[..., 1, 1]
    determinant = east * north - information_m2[..., 0, 1] ** 2
    regular = determinant > 1e-14 * east * north  # less is rounding
    trace_m2 = np.where(regular, east + north, np.inf) / np.where(regular, determinant, 1.0)
    return np.asarray(np.sqrt(trace_m2), np.float64)
