"""What can be done without learning: five ways to a posterior of the position, tuned on the training split.

- Mean position: the mean of the training transmitters and their covariance, whatever is heard.
- Received power: what levels and silent receivers say (`position.received_power`).
- Time of arrival: what the arrival times say, of which any may be wrong (`delays`).
- Direct position: the place at whose delays the correlations themselves are large, without a decision on any
  delay before (`direct_position`).
- Combined: levels and arrival times together. It is what a specialist would bring.

The last four are evaluated on a grid that becomes finer where the probability is (`cells`), under the same
prior: transmitters are as frequent everywhere between the receivers, and rarer outside. The posterior is a
mixture of Gaussians that is fitted to the grid (`mixture`). Two arrival times fix no position, so there the
methods by time use the levels, too; with fewer they answer as received power does.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from scipy import special
from tqdm import tqdm

from heimdall.baselines import cells, delays, direct_position, mixture
from heimdall.baselines.cells import LogDensity
from heimdall.baselines.delays import Timed
from heimdall.baselines.direct_position import Pairs
from heimdall.baselines.fitted import Baselines, Tuned
from heimdall.baselines.methods import Method
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.position import received_power, receiver_delays
from heimdall.position.posterior import Posterior
from heimdall.position.received_power import Levels
from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

TUNE_SESSIONS = 200
DIRECT_SESSIONS = 20  # one number is tuned on them
FIXING = 3  # arrival times: two differ by one number, and a position has two
_MISLEADING = 0.05  # probability that the levels of a session say nothing of its position
_PRIOR_SIGMA_M = 60_000.0  # of the training transmitters' scatter, worth one of them
_INFLATION = 2.0 ** np.arange(6.0)
_LEVELS_FINEST = 0.25  # of a side of the first grid: levels say no more


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    receivers: Receivers,
    plane: TangentPlane,
    rate_hz: float,
    *,
    transmitter: Sequence[str],
) -> Baselines:
    """Tune every baseline on sessions whose transmitters are known.

    Levels, errors of the arrival times and the prior are each made most probable given the true positions;
    receivers' own delays are taken off before. The inflation of the direct position, which is no likelihood,
    maximises the mean log density at the true positions over the first 20 sessions with three receivers that
    know the time.

    Args:
        observations: At least one session, of the training split.
        truth_m: East and north of their transmitters, metres, shape (n, 2).
        receivers: All receivers of the network.
        plane: Of the positions.
        rate_hz: Lags a second of the correlations (`correlation_rate_hz` of the features), Hz.
        transmitter: A name for the transmitter of each session.

    Returns:
        The baselines.

    Raises:
        ValueError: There is no session.
    """
    truth_m = np.asarray(truth_m, np.float64)
    levels = received_power.fit(observations, truth_m, receivers, plane)
    own = receiver_delays.fit(
        observations, truth_m, plane, transmitter=transmitter, websdr_id=receivers.websdr_id
    )
    known = ((Timed.of(one, own), at_m) for one, at_m in zip(observations, truth_m, strict=True))
    timed = list(itertools.islice(((one, at_m) for one, at_m in known if one is not None), TUNE_SESSIONS))
    mean_m, covariance_m2 = _scatter(truth_m)
    area = Area.of_transmitters(receivers, truth_m)
    tuned = Tuned(
        mean_m=mean_m,
        covariance_m2=covariance_m2,
        margin_m=area.margin_m,
        reach_m=area.reach_m,
        levels=levels,
        delays=own,
        times=delays.fit(timed, 2 * area.extent_m, plane),
        direct_inflation=1.0,
    )
    untuned = Baselines.of(tuned, receivers, plane, rate_hz)
    inflation = _inflation(observations, truth_m, untuned)
    return replace(untuned, tuned=replace(tuned, direct_inflation=inflation))


def locate(method: Method, observation: Observation, baselines: Baselines) -> Posterior:
    """Where one session's transmitter is.

    Args:
        method: One of `METHODS`.
        observation: The session.
        baselines: What `fit` returned.

    Returns:
        A mixture of Gaussians for the one session. Its medoid stands for all of it: see `mixture.of_cells`.
    """
    tuned = baselines.tuned
    if method == "mean_position":
        return Posterior.gaussian(np.array([tuned.mean_m]), np.array([tuned.covariance_m2]))
    timed = None if method == "received_power" else Timed.of(observation, tuned.delays)
    terms = [_prior(baselines)]
    finest_m = _LEVELS_FINEST * cells.first_side_m(baselines.area)
    if timed is None:
        terms.append(_by_levels(observation, baselines))
    elif len(timed.row) < FIXING or method == "combined":
        terms.append(_by_doubted_levels(observation, baselines))
    if timed is not None:
        finest_m = min(finest_m, float(timed.scale_m(tuned.times.excess_s)[0]))
        if method == "direct_position":
            terms.append(_by_pairs(observation, timed, baselines, tuned.direct_inflation))
        else:
            terms.append(_by_times(timed, baselines))
    return mixture.of_cells(cells.explore(_sum(terms), baselines.area, finest_m))


def _prior(baselines: Baselines) -> LogDensity:
    return lambda position_m, _: baselines.area.log_prior(position_m)


def _by_levels(observation: Observation, baselines: Baselines) -> LogDensity:
    levels = Levels.of(observation, baselines.receivers)
    model, plane = baselines.tuned.levels, baselines.plane
    return lambda position_m, _: received_power.log_likelihood(model, levels, position_m, plane)


def _by_doubted_levels(observation: Observation, baselines: Baselines) -> LogDensity:
    """The same, beside arrival times, which may know better: levels have misled before."""
    by_levels = _by_levels(observation, baselines)
    grid_m = baselines.area.grid_m(cells.first_side_m(baselines.area))
    log_prior = baselines.area.log_prior(grid_m)
    mean = special.logsumexp(by_levels(grid_m, 0.0) + log_prior) - special.logsumexp(log_prior)
    return lambda position_m, side_m: np.logaddexp(
        math.log(1 - _MISLEADING) - mean + by_levels(position_m, side_m), math.log(_MISLEADING)
    )


def _by_times(timed: Timed, baselines: Baselines) -> LogDensity:
    law, plane = baselines.tuned.times, baselines.plane
    return lambda position_m, side_m: delays.log_likelihood(timed, law, position_m, side_m, plane)


def _by_pairs(observation: Observation, timed: Timed, baselines: Baselines, inflation: float) -> LogDensity:
    pairs = Pairs.of(observation, timed, baselines.rate_hz)
    excess_s, plane = baselines.tuned.times.excess_s, baselines.plane
    return lambda position_m, side_m: direct_position.log_likelihood(
        pairs, position_m, side_m, plane, excess_s=excess_s, inflation=inflation
    )


def _sum(terms: Sequence[LogDensity]) -> LogDensity:
    def total(position_m: Float64, side_m: float) -> Float64:
        return np.asarray(sum(term(position_m, side_m) for term in terms), np.float64)

    return total


def _scatter(truth_m: Float64) -> tuple[tuple[float, float], tuple[tuple[float, float], tuple[float, float]]]:
    """Mean and covariance of positions (n, 2); the covariance as if one more lay 60 km away each way."""
    count = len(truth_m)
    mean = truth_m.sum(axis=0) / count
    offset = truth_m - mean
    total = (offset[:, :, None] * offset[:, None, :]).sum(axis=0) + np.eye(2) * _PRIOR_SIGMA_M**2
    (east, cross), (_, north) = (total / (count + 1)).tolist()
    return (float(mean[0]), float(mean[1])), ((east, cross), (cross, north))


def _inflation(observations: Sequence[Observation], truth_m: Float64, baselines: Baselines) -> float:
    """The inflation of the direct position under which the true positions are most probable."""
    own = baselines.tuned.delays
    timed = ((one, Timed.of(one, own), at_m[None]) for one, at_m in zip(observations, truth_m, strict=True))
    fixed = (
        (one, times, at_m) for one, times, at_m in timed if times is not None and len(times.row) >= FIXING
    )
    few = list(itertools.islice(fixed, DIRECT_SESSIONS))
    work = tqdm(few, "tune direct position", unit="session", disable=None, delay=1)
    total = np.zeros(len(_INFLATION))
    for one, times, at_m in work:
        finest_m = float(times.scale_m(baselines.tuned.times.excess_s)[0])
        for number, inflation in enumerate(_INFLATION.tolist()):
            density = _sum([_prior(baselines), _by_pairs(one, times, baselines, inflation)])
            found = cells.explore(density, baselines.area, finest_m)
            total[number] += float(density(at_m, 0.0)[0]) - found.log_total
    return float(_INFLATION[int(np.argmax(total))])
