"""What can be done without learning: four ways to a position and its covariance, tuned on the training split.

- Mean position: the mean of the training transmitters and their covariance, whatever is heard.
- Received power: mean and covariance of the posterior that levels and silent receivers leave
  (`received_power`). The mean, not the maximum: on simulated sessions of other worlds its
  MAE is a fifth lower.
- Time of arrival: weighted least squares on the delays of the receivers that know the time, the emission
  time unknown, with Cauchy's robust weights (D. H. Foy, "Position-location solutions by Taylor-series
  estimation", IEEE Trans. AES 12, 1976; P. J. Holland and R. E. Welsch, "Robust regression using iteratively
  reweighted least-squares", Comm. Stat. A6, 1977).
- Direct position: the place at whose delays the correlations themselves are large, without a decision on any
  delay before (A. J. Weiss, "Direct position determination of narrowband radio frequency transmitters", IEEE
  Signal Processing Letters 11, 2004).

The last two look for the place that is most probable with the mean position's Gaussian as prior, so that an
open ridge of three receivers has an end. Their covariance is the inverse of the information there, times a
factor, and the spread of the other places that explain the delays as well: three receivers' hyperbolas cross
twice. With fewer than three receivers that know the time they answer as received power does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall.baselines.direct_position import direct_position
from heimdall.baselines.fitted import Baselines, Timing
from heimdall.baselines.fixes import GRID_SPACING_M, Fixes, Prior, Timed, determinant
from heimdall.baselines.methods import Method
from heimdall.baselines.time_of_arrival import time_of_arrival
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.position import received_power
from heimdall.position.arrival import Observation
from heimdall.position.posterior import Posterior
from heimdall.position.received_power import Levels

Float64 = npt.NDArray[np.float64]

TUNE_SESSIONS = 200
_PRIOR_SIGMA_M = 60_000.0  # of the training transmitters' scatter, worth one of them
_EXCESS_S = np.array([5e-8, 1e-7, 2e-7, 4e-7, 8e-7, 1.6e-6, 3.2e-6])
_INFLATION = 10.0 ** np.linspace(-1.0, 4.0, 101)


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    receivers: Receivers,
    plane: TangentPlane,
    rate_hz: float,
) -> Baselines:
    """Tune every baseline on sessions whose transmitters are known.

    Excess and inflation of the time of arrival maximise the mean log density at the true positions, over a
    fixed grid and the first 200 sessions with three receivers that know the time. The direct position takes
    over the excess, which is the channel's, and has an inflation of its own.

    Args:
        observations: At least one session, of the training split.
        truth_m: East and north of their transmitters, metres, shape (n, 2).
        receivers: All receivers of the network.
        plane: Of the positions.
        rate_hz: Lags a second of the correlations (`correlation_rate_hz` of the features), Hz.

    Returns:
        The baselines. Where no session has three receivers that know the time, excess and inflation are the
        least of their grids.

    Raises:
        ValueError: There is no session.
    """
    truth_m = np.asarray(truth_m, np.float64)
    mean_m, covariance_m2 = _scatter(truth_m)
    untuned = Baselines(
        receivers=receivers,
        plane=plane,
        area=Area.around(receivers),
        rate_hz=rate_hz,
        mean_m=mean_m,
        covariance_m2=covariance_m2,
        levels=received_power.fit(observations, truth_m, receivers, plane),
        arrival=Timing(0.0, 1.0),
        direct=Timing(0.0, 1.0),
    )
    timed = [number for number, one in enumerate(observations) if Timed.of(one)][:TUNE_SESSIONS]
    known = [(observations[number], truth_m[number]) for number in timed]
    arrival = _tuned(known, untuned, time_of_arrival, _EXCESS_S)
    direct = _tuned(known, untuned, direct_position, np.array([arrival.excess_sigma_s]))
    return replace(untuned, arrival=arrival, direct=direct)


def locate(method: Method, observation: Observation, baselines: Baselines) -> Posterior:
    """Where one session's transmitter is.

    "time_of_arrival" and "direct_position" answer as "received_power" does where fewer than three receivers
    know the time.

    Args:
        method: One of `METHODS`.
        observation: The session.
        baselines: What `fit` returned.

    Returns:
        One Gaussian for the one session.
    """
    if method == "mean_position":
        return _gaussian(np.array(baselines.mean_m), np.array(baselines.covariance_m2))
    fixes = None
    if method == "time_of_arrival":
        timing = baselines.arrival
        fixes = time_of_arrival(observation, baselines, timing.excess_sigma_s)
    elif method == "direct_position":
        timing = baselines.direct
        fixes = direct_position(observation, baselines, timing.excess_sigma_s)
    if fixes is None:
        return _gaussian(*_received_power(observation, baselines))
    position_m, covariance_m2 = fixes.moments(
        np.array([timing.inflation]), Prior.of(baselines).information_m2
    )
    return _gaussian(position_m, covariance_m2[0])


_Method = Callable[[Observation, Baselines, float], "Fixes | None"]


def _received_power(observation: Observation, baselines: Baselines) -> tuple[Float64, Float64]:
    grid_m = baselines.area.grid_m(GRID_SPACING_M)
    levels = Levels.of(observation, baselines.receivers)
    log_likelihood = received_power.log_likelihood(baselines.levels, levels, grid_m, baselines.plane)
    return received_power.moments(log_likelihood, grid_m, GRID_SPACING_M)


def _gaussian(position_m: Float64, covariance_m2: Float64) -> Posterior:
    return Posterior.gaussian(position_m[None], covariance_m2[None])


def _scatter(truth_m: Float64) -> tuple[tuple[float, float], tuple[tuple[float, float], tuple[float, float]]]:
    """Mean and covariance of positions (n, 2); the covariance as if one more lay 60 km away each way."""
    count = len(truth_m)
    mean = truth_m.sum(axis=0) / count
    offset = truth_m - mean
    total = (offset[:, :, None] * offset[:, None, :]).sum(axis=0) + np.eye(2) * _PRIOR_SIGMA_M**2
    (east, cross), (_, north) = (total / (count + 1)).tolist()
    return (float(mean[0]), float(mean[1])), ((east, cross), (cross, north))


def _tuned(
    known: Sequence[tuple[Observation, Float64]], baselines: Baselines, method: _Method, excess_s: Float64
) -> Timing:
    """The excess, of those given, and the inflation that make the true positions most likely."""
    prior_m2 = Prior.of(baselines).information_m2
    total = np.zeros((len(excess_s), len(_INFLATION)))
    work = [(row, session) for row in range(len(excess_s)) for session in known]
    for row, (observation, truth_m) in tqdm(work, "tune baselines", unit="fix", disable=None, delay=1):
        fixes = method(observation, baselines, float(excess_s[row]))
        if fixes is not None:
            total[row] += _log_density(*fixes.moments(_INFLATION, prior_m2), truth_m)
    excess, inflation = np.unravel_index(np.argmax(total), total.shape)
    return Timing(float(excess_s[excess]), float(_INFLATION[inflation]))


def _log_density(position_m: Float64, covariance_m2: Float64, truth_m: Float64) -> Float64:
    """Of Gaussians about one position with covariances (I, 2, 2) at the truth, up to a constant, (I,)."""
    east, north = (truth_m - position_m).tolist()
    square_m4 = determinant(covariance_m2)
    square = covariance_m2[:, 1, 1] * east**2 + covariance_m2[:, 0, 0] * north**2
    square = (square - 2 * covariance_m2[:, 0, 1] * east * north) / square_m4
    return np.asarray(-0.5 * (np.log(square_m4) + square), np.float64)
