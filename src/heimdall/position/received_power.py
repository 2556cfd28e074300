"""Received power by distance: the log-likelihood of a position, also by receivers that hear nothing.

The level of receiver i at distance d, decibels of in-band SNR:

    gain_i - slope 10 log10(d / 30 km) - loss_per_km (d - 30 km) + offset + P + shadow

with the offset of bands above 300 MHz, the transmitter's power P ~ N(0, power_sigma^2), common to all
receivers of a session, and shadowing ~ N(0, shadow_sigma^2), independent for each (log-distance path loss and
log-normal shadowing: T. S. Rappaport, Wireless Communications, 2nd ed., 2002, section 4.9). The loss per
kilometre stands for the radio horizon; it raised the likelihood of simulated sessions of other worlds by 0.13
nats each. A receiver that made no recording, or hears nothing in it, had a level below the squelch,
unless it is known to have been absent: then it says nothing. P is
integrated out: exactly over the levels that were heard, and over the silent receivers by Gauss-Hermite
quadrature around the posterior of P that the others leave.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import distances_m

if TYPE_CHECKING:
    from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

REFERENCE_M = 30_000.0  # a usual distance here: gains are levels there, and hardly correlated with the slope
NEAREST_M = 100.0  # nearer than this no level grows any more
UHF_HZ = 300e6
FIT_SESSIONS = 800  # more change no parameter by more than its shadowing does
SQUELCH_QUANTILE = 0.01
# Gauss-Hermite for the weight exp(-x^2 / 2), normalised to a probability.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(9)
_WEIGHTS = _WEIGHTS / _WEIGHTS.sum()
# Where the fit starts, and weak priors (mean, standard deviation) that keep twenty sessions sane:
# mean gain dB, slope, loss dB/km, offset dB, log of both sigmas.
_PRIOR = np.array(
    [[15.0, 20.0], [4.0, 1.0], [0.2, 0.1], [-5.0, 8.0], [math.log(10.0), 0.5], [math.log(6.0), 0.5]]
)
_LOSS = 1  # place of the loss per kilometre among the parameters after the gains; it must not be negative
_GAIN_SPREAD_DB = 12.0  # of the receivers' gains around their mean


@dataclass(frozen=True)
class PowerModel:
    """What the levels of a network are like.

    Attributes:
        websdr_id: Receivers with a gain of their own; others have the mean gain.
        gain_db: Level of each of them at 30 km, below 300 MHz, from a mean transmitter, dB.
        slope: Path loss exponent: 10 `slope` dB a decade of distance.
        loss_db_per_km: Loss beside it, dB a kilometre, not negative.
        uhf_offset_db: Added above 300 MHz, dB.
        shadow_sigma_db: Standard deviation of the shadowing, dB.
        power_sigma_db: Standard deviation of the transmitters' power, dB.
        squelch_db: Level below which a receiver is silent, dB.
    """

    websdr_id: tuple[int, ...]
    gain_db: tuple[float, ...]
    slope: float
    loss_db_per_km: float
    uhf_offset_db: float
    shadow_sigma_db: float
    power_sigma_db: float
    squelch_db: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> PowerModel:
        """The model whose `dataclasses.asdict` went through JSON."""
        return cls(**values | {name: tuple(values[name]) for name in ("websdr_id", "gain_db")})

    def gains_db(self, websdr_id: npt.NDArray[np.int32]) -> Float64:
        """Gains of receivers, dB, shape (R,)."""
        known = dict(zip(self.websdr_id, self.gain_db, strict=True))
        mean = math.fsum(self.gain_db) / len(self.gain_db)
        return np.array([known.get(number, mean) for number in websdr_id.tolist()], np.float64)


@dataclass(frozen=True, eq=False)
class Levels:
    """What the receivers of the network say about one session.

    Attributes:
        receivers: All receivers of the network.
        snr_db: In-band SNR, dB, shape (R,), float64; NaN where a receiver hears nothing or says nothing.
        silent: Whether it hears nothing, shape (R,), bool.
        uhf: Whether the carrier is above 300 MHz.
    """

    receivers: Receivers
    snr_db: Float64
    silent: npt.NDArray[np.bool_]
    uhf: bool

    @classmethod
    def of(cls, observation: Observation, receivers: Receivers) -> Levels:
        """Levels of one session; recordings of receivers that are not in the network are left out."""
        session = observation.session
        heard = {
            number: level
            for number, level, detected in zip(
                session.websdr_id.tolist(), session.snr_db.tolist(), session.detected.tolist(), strict=True
            )
            if detected
        }
        snr_db = np.array([heard.get(number, math.nan) for number in receivers.websdr_id.tolist()])
        silent = np.isnan(snr_db) & ~np.isin(receivers.websdr_id, observation.absent)
        return cls(receivers, snr_db, silent, observation.frequency_hz > UHF_HZ)


def log_likelihood(model: PowerModel, levels: Levels, position_m: Float64, plane: TangentPlane) -> Float64:
    """Log probability density of a session's levels if the transmitter were at each position.

    Args:
        model: What levels are like.
        levels: Of one session.
        position_m: East and north, metres, shape (..., 2).
        plane: Of the positions.

    Returns:
        Natural logarithms, shape (...), float64, finite.
    """
    mean_db = mean_levels_db(model, levels.receivers, position_m, plane) + model.uhf_offset_db * levels.uhf
    heard = np.isfinite(levels.snr_db)
    excess_db = levels.snr_db[heard] - mean_db[..., heard]
    shadow, power = model.shadow_sigma_db, model.power_sigma_db
    squares_db2 = (excess_db * excess_db).sum(axis=-1)
    log_density, power_db = _heard(excess_db.sum(axis=-1), squares_db2, int(heard.sum()), shadow, power)
    silent = (model.squelch_db - mean_db[..., levels.silent])[..., None, :] - power_db[..., None]
    below = special.log_ndtr(silent / shadow).sum(axis=-1)  # (..., 9)
    largest = below.max(axis=-1)  # scipy's logsumexp takes longer than all the rest
    silent_log = largest + np.log((_WEIGHTS * np.exp(below - largest[..., None])).sum(axis=-1))
    return np.asarray(log_density + silent_log, np.float64)


def mean_levels_db(
    model: PowerModel, receivers: Receivers, position_m: Float64, plane: TangentPlane
) -> Float64:
    """Levels from a mean transmitter below 300 MHz at each position (..., 2), dB, shape (..., R)."""
    distance_m = distances_m(position_m, receivers.position_m, plane)
    return model.gains_db(receivers.websdr_id) - _loss_db(distance_m, model.slope, model.loss_db_per_km)


def moments(log_density: Float64, position_m: Float64, spacing_m: float) -> tuple[Float64, Float64]:
    """Mean and covariance of a density that is given at the points of a grid, each standing for its cell.

    Args:
        log_density: Natural logarithms, up to a constant, shape (G,).
        position_m: The points, metres, shape (G, 2).
        spacing_m: Side of a cell, metres.

    Returns:
        Mean (2,) in metres and covariance (2, 2) in square metres.
    """
    weight = np.exp(log_density - log_density.max())
    weight = weight / weight.sum()
    mean = (weight[:, None] * position_m).sum(axis=0)
    offset = position_m - mean
    covariance = (weight[:, None, None] * offset[:, :, None] * offset[:, None, :]).sum(axis=0)
    return mean, covariance + np.eye(2) * (spacing_m**2 / 12)


def fit(
    observations: Sequence[Observation], truth_m: Float64, receivers: Receivers, plane: TangentPlane
) -> PowerModel:
    """The most probable model of sessions whose transmitters are known.

    Maximum likelihood with weak priors, by L-BFGS-B from a fixed start; the first 800 sessions are used.

    Args:
        observations: At least one session, of the training split.
        truth_m: East and north of their transmitters, metres, shape (n, 2).
        receivers: All receivers of the network.
        plane: Of the positions.

    Returns:
        The model; with no level at all, that of the priors.

    Raises:
        ValueError: There is no session.
    """
    if not observations:
        raise ValueError("no session to fit a power model to")
    used = observations[:FIT_SESSIONS]
    levels = [Levels.of(observation, receivers) for observation in used]
    snr_db = np.stack([one.snr_db for one in levels])  # (n, R)
    heard = np.isfinite(snr_db)
    sessions = _Sessions(
        snr_db=np.where(heard, snr_db, 0.0),
        heard=heard,
        silent=np.stack([one.silent for one in levels]),
        uhf=np.array([float(one.uhf) for one in levels]),
        distance_m=distances_m(np.asarray(truth_m)[: len(used)], receivers.position_m, plane),
        squelch_db=float(np.quantile(snr_db[heard], SQUELCH_QUANTILE)) if heard.any() else 0.0,
    )
    count = len(receivers.websdr_id)
    # In units of the priors' standard deviations the parameters are of like size.
    start, scale = (np.concatenate([np.full(count, values[0]), values[1:]]) for values in _PRIOR.T)
    lowest = np.full(len(start), -np.inf)
    lowest[count + _LOSS] = -start[count + _LOSS] / scale[count + _LOSS]

    def cost(deviation: npt.NDArray[np.float64]) -> float:
        return _cost(start + scale * deviation, sessions)

    origin = np.zeros(len(start))
    result = optimize.minimize(cost, origin, method="L-BFGS-B", bounds=optimize.Bounds(lowest, np.inf))
    found = start + scale * result.x
    slope, loss_db_per_km, uhf_offset_db, log_shadow, log_power = found[count:].tolist()
    return PowerModel(
        websdr_id=tuple(receivers.websdr_id.tolist()),
        gain_db=tuple(found[:count].tolist()),
        slope=slope,
        loss_db_per_km=loss_db_per_km,
        uhf_offset_db=uhf_offset_db,
        shadow_sigma_db=math.exp(log_shadow),
        power_sigma_db=math.exp(log_power),
        squelch_db=sessions.squelch_db,
    )


@dataclass(frozen=True, eq=False)
class _Sessions:
    """Levels of n sessions at the R receivers, and how far the true positions are."""

    snr_db: Float64  # (n, R), 0 where silent
    heard: npt.NDArray[np.bool_]  # (n, R)
    silent: npt.NDArray[np.bool_]  # (n, R)
    uhf: Float64  # (n,)
    distance_m: Float64  # (n, R)
    squelch_db: float


def _cost(values: Float64, sessions: _Sessions) -> float:
    """Minus the log posterior of the parameters, a session."""
    count = sessions.snr_db.shape[1]
    gain_db = values[:count]
    slope, loss_db_per_km, offset_db, log_shadow, log_power = values[count:].tolist()
    shadow, power = math.exp(log_shadow), math.exp(log_power)
    mean_db = gain_db + offset_db * sessions.uhf[:, None]
    mean_db = mean_db - _loss_db(sessions.distance_m, slope, loss_db_per_km)
    excess_db = np.where(sessions.heard, sessions.snr_db - mean_db, 0.0)
    squares_db2, heard = (excess_db * excess_db).sum(axis=-1), sessions.heard.sum(axis=-1)
    log_density, power_db = _heard(excess_db.sum(axis=-1), squares_db2, heard, shadow, power)
    row, column = np.nonzero(sessions.silent)
    silent = special.log_ndtr((sessions.squelch_db - mean_db[row, column, None] - power_db[row]) / shadow)
    below = np.zeros_like(power_db)
    np.add.at(below, row, silent)
    log_likelihoods = log_density + special.logsumexp(below, b=_WEIGHTS, axis=-1)
    mean_gain_db = gain_db.mean()
    deviations = (np.concatenate([[mean_gain_db], values[count:]]) - _PRIOR[:, 0]) / _PRIOR[:, 1]
    spread = (gain_db - mean_gain_db) / _GAIN_SPREAD_DB
    prior = 0.5 * ((deviations * deviations).sum() + (spread * spread).sum())
    return float((prior - log_likelihoods.sum()) / len(log_likelihoods))


def _loss_db(distance_m: Float64, slope: float, loss_db_per_km: float) -> Float64:
    """Loss of the path over that at 30 km, dB."""
    distance_m = np.maximum(distance_m, NEAREST_M)
    decades_db = 10 * slope * np.log10(distance_m / REFERENCE_M)
    return np.asarray(decades_db + loss_db_per_km * (distance_m - REFERENCE_M) / 1e3, np.float64)


def _heard(
    total_db: Float64, squares_db2: Float64, count: int | npt.NDArray[np.int64], shadow: float, power: float
) -> tuple[Float64, Float64]:
    """Log density of the levels that were heard, and nodes (..., 9) of the power's posterior given them.

    With y_i = P + shadow the levels over their means, sum y_i = `total_db` and sum y_i^2 = `squares_db2`.
    """
    precision = 1 / power**2 + count / shadow**2
    mean_db = total_db / shadow**2 / precision
    log_density = (
        -0.5 * (squares_db2 / shadow**2 - mean_db * mean_db * precision)
        - count * (math.log(shadow) + 0.5 * math.log(2 * math.pi))
        - math.log(power)
        - 0.5 * np.log(precision)
    )
    nodes_db = mean_db[..., None] + _NODES * (1 / np.sqrt(precision))[..., None]
    return log_density, nodes_db
