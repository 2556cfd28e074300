"""The receivers' unknowns and scatters, and the transmitters' places, by expectation and maximisation.

A. P. Dempster, N. M. Laird, D. B. Rubin, J. R. Stat. Soc. B 39, 1977: what is expected is whether each time
is right, what is maximised is the likelihood of the receivers' unknowns, those of the events marginalised.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import many_places, rays
from heimdall.multilateration.arrivals import (
    OF_EVENT,
    OF_RECEIVER,
    Arrivals,
    Ways,
    belief,
    of_cells,
    stepped,
    ways,
)
from heimdall.multilateration.minima import WRONG_SHARE
from heimdall.multilateration.solver import USUAL_SIGMA_S

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

PLACE_SIGMA_M = 15.0  # of a receiver's stated place, each way: a map or a phone, the antenna on the roof
_OFFSET_SIGMA_M = 300.0  # to begin with: 1 us
_OFFSET_USUAL_M = SPEED_OF_LIGHT_M_S * USUAL_SIGMA_S  # before anything is known,
_OFFSETS = 2.0  # receivers' worth of belief
_SCALINGS = 10
LEAST_M2 = 0.01  # of a time's variance: with less its event's equations are singular to rounding
_DECADES = math.log(1e8)  # of a wrong time's size
_LEAST_SPARE = 0.1  # of a time, the rest of which its event's unknowns take
_LEAST_TIMES = 6.0  # to spare, for each receiver: with fewer what is claimed is too narrow
_PSEUDO = 2.0  # events' worth of belief that a receiver scatters as the others do,
UNTOLD_SCATTER = 1 / math.sqrt(2 * _PSEUDO)  # of which alone this share is its own standard deviation
_MEDIAN_CHI = 0.4549  # of a squared standard normal number
_FREEDOM = 3.0  # of Student's distribution of offsets and known places: transponders are late by a second
_ROUNDS = 4
_CHUNK = 256  # events at a time


@dataclass(frozen=True, eq=False)
class State:
    """What is believed.

    Attributes:
        place: Latitude, longitude, altitude of each transmitter, shape (M, 3).
        own: Offset, east, north, up of each receiver, metres, shape (K, 4).
        scatter_m: Standard deviation of each receiver, shape (K,).
        offset_sigma_m: Prior of each offset, shape (K,).
        right: Probability that each time is right, shape (M, S).
        known_sigma_m: Scatter of the known places.
    """

    place: Float64
    own: Float64
    scatter_m: Float64
    offset_sigma_m: Float64
    right: Float64
    known_sigma_m: float


@dataclass(frozen=True, eq=False)
class _Linear:
    """The equations of all times about a state, with weights.

    Attributes:
        by_event: Derivatives by the unknowns of the event, shape (M, S, 5).
        by_receiver: By those of the receiver, shape (M, S, 4).
        weight: Of each time, 0 where there is none, 1/m^2, shape (M, S).
        root: A root of the covariance of the event's unknowns by its own times, shape (M, 5, 5).
        target_m: What both unknowns together have to explain, shape (M, S).
    """

    by_event: Float64
    by_receiver: Float64
    weight: Float64
    root: Float64
    target_m: Float64

    @property
    def mixed(self) -> Float64:
        """Weighted derivatives by independent unknowns of the event, shape (M, S, 5)."""
        return self.weight[..., None] * (self.by_event @ self.root)


def first(table: Arrivals) -> State:
    """Places by a robust search, then offsets as medians, in turn; one scatter for all."""
    count = len(table.receiver)
    own = np.zeros((count, OF_RECEIVER))
    sites = table.sites(own[:, 1:])
    place, softness_m = many_places.search(table, sites)
    residual = np.zeros(table.cell.shape)
    for _ in range(_ROUNDS):
        place, residual = many_places.descended(table, place, sites, own[:, 0], softness_m)
        shift = np.array([np.median(residual[table.cell == k]) for k in range(count)])
        own[:, 0] += shift
        residual -= of_cells(shift, table.cell)
    own[:, 0] -= np.median(own[:, 0])
    wide = np.maximum(_OFFSET_SIGMA_M, np.abs(own[:, 0]))
    right = _right(residual, softness_m**2 + table.noise_m**2) * table.there
    return State(place, own, np.full(count, softness_m), wide, right, softness_m)


def improved(table: Arrivals, state: State, *, rough: bool) -> tuple[State, Float64, Float64]:
    """One step.

    Args:
        table: The times.
        state: What was believed.
        rough: Whether all receivers have one scatter, from a median.

    Returns:
        What is believed; the covariance of the receivers' unknowns, square metres, shape (4 K, 4 K); the
        standard deviation of each scatter, metres, shape (K,), NaN if there are too few times to spare.
    """
    count = len(table.receiver)
    expected = ways(table, state.place, table.sites(state.own[:, 1:]))
    variance = of_cells(state.scatter_m, table.cell) ** 2 + table.noise_m**2 + expected.spread_m**2 + LEAST_M2
    share = _share_of_known(table, state)
    believed = belief(table, state.place, state.known_sigma_m, share)
    linear = _linear(table, state, expected, variance, believed)
    covariance, own = _receivers(table, linear, state.offset_sigma_m)
    rest = linear.target_m - (linear.by_receiver * of_cells(own, table.cell)).sum(axis=-1)
    pulled = np.einsum("msj,ms->mj", linear.mixed, rest)
    step = (linear.root @ pulled[..., None])[..., 0]
    residual = rest - (linear.by_event @ step[..., None])[..., 0]
    # What the event's unknowns take of each time: nothing of a wrong one, all of one without others.
    taken = ((linear.by_event @ linear.root) * linear.mixed).sum(axis=-1)
    right = _right(residual, variance) * table.there
    times = float((right - taken).sum())
    spare = max(1 - _told(covariance, state.offset_sigma_m) / max(times, 1e-9), 0.01)
    scatter, scatter_sigma = _scatter(
        table,
        state.scatter_m,
        (right * residual**2 / variance / spare - (right - taken)) / variance,
        _information(table, linear) * spare,
    )
    if rough:
        scatter = state.scatter_m * _excess(residual, variance, taken, table.there)
    heard = table.of_receiver(np.ones(table.cell.shape))
    # Of receivers that seldom have a time it matters little how they scatter.
    if spare * times < _LEAST_TIMES * heard.sum() ** 2 / (heard @ heard):
        scatter_sigma = np.full(count, np.nan)
    offset_sigma = _offset_sigma(own[:, 0] ** 2 + np.diag(covariance)[::OF_RECEIVER])
    known = state.known_sigma_m
    if share is not None:
        told = np.isfinite(table.known[:, 0])
        own_variance = (linear.root[told, :2] ** 2).sum(axis=(-1, -2))
        miss = (step[told, :2] ** 2).sum(axis=-1) + own_variance
        known = max(math.sqrt(float((share[told] * miss).sum() / (2 * told.sum()))), 1.0)
    place = stepped(state.place, step + believed[1], math.inf)
    return State(place, own, scatter, offset_sigma, right, known), covariance, scatter_sigma


def _linear(
    table: Arrivals, state: State, expected: Ways, variance: Float64, believed: tuple[Float64, Float64]
) -> _Linear:
    """The equations about a state; the event's unknowns count from their aims."""
    precision, aim = believed
    event, receiver = expected.by_event, expected.by_receiver
    weight = state.right * table.there / variance
    shift = (receiver[..., 1:] * of_cells(state.own, table.cell)[..., 1:]).sum(axis=-1)
    target = table.range_m - expected.length_m + shift - (event @ aim[..., None])[..., 0]
    information = np.einsum("msi,ms,msj->mij", event, weight, event) + np.eye(OF_EVENT) * precision[:, None]
    root: Float64 = np.linalg.inv(np.linalg.cholesky(information)).swapaxes(-1, -2)
    return _Linear(event, receiver, weight, root, target)


def _receivers(table: Arrivals, linear: _Linear, offset_sigma_m: Float64) -> tuple[Float64, Float64]:
    """Covariance (4 K, 4 K) and values (K, 4) of the receivers' unknowns, those of events marginalised."""
    count = len(table.receiver)
    size = OF_RECEIVER * count
    receiver, weight = linear.by_receiver, linear.weight
    blocks = np.zeros((count + 1, OF_RECEIVER, OF_RECEIVER))
    np.add.at(blocks, table.cell, weight[..., None, None] * receiver[..., None] * receiver[..., None, :])
    information = np.diag(1 / _prior(offset_sigma_m))
    every = np.arange(count)
    information.reshape(count, OF_RECEIVER, count, OF_RECEIVER)[every, :, every] += blocks[:-1]
    column = table.cell[..., None] * OF_RECEIVER + np.arange(OF_RECEIVER)
    right_side = np.zeros(size + OF_RECEIVER)
    np.add.at(right_side, column, receiver * (weight * linear.target_m)[..., None])
    pulled = np.einsum("msj,ms->mj", linear.mixed, linear.target_m)
    for start in range(0, len(weight), _CHUNK):
        rows = slice(start, start + _CHUNK)
        dense = np.zeros((len(weight[rows]), size + OF_RECEIVER, OF_EVENT))
        every_event = np.arange(len(dense))[:, None, None]
        np.add.at(dense, (every_event, column[rows]), receiver[rows, ..., None] * linear.mixed[rows, :, None])
        flat = dense[:, :size].transpose(1, 0, 2).reshape(size, -1)
        information -= flat @ flat.T
        right_side[:size] -= flat @ pulled[rows].ravel()
    covariance: Float64 = np.asarray(np.linalg.inv(information), np.float64)
    return covariance, (covariance @ right_side[:size]).reshape(count, OF_RECEIVER)


def _prior(offset_sigma_m: Float64) -> Float64:
    """Variances of the receivers' unknowns where no event tells anything, square metres, shape (4 K,)."""
    variance = np.full((len(offset_sigma_m), OF_RECEIVER), PLACE_SIGMA_M**2)
    variance[:, 0] = offset_sigma_m**2
    return variance.ravel()


def _offset_sigma(square_m2: Float64) -> Float64:
    """Prior standard deviation of each offset by the expected squares of all, shape (K,).

    Offsets have Student's distribution, whose scale they tell themselves: one far beyond the others is
    believed, and moves none of them.
    """
    scale = float(np.median(square_m2)) / _MEDIAN_CHI
    for _ in range(_SCALINGS):
        share = (_FREEDOM + 1) / (_FREEDOM + square_m2 / scale)
        total = float((share * square_m2).sum()) + _OFFSETS * _OFFSET_USUAL_M**2
        scale = total / (len(square_m2) + _OFFSETS)
    return np.asarray(np.sqrt(scale / share), np.float64)


def _told(covariance: Float64, offset_sigma_m: Float64) -> float:
    """How many times to spare the receivers' unknowns take: less than their number where priors hold them."""
    return float((1 - np.diag(covariance) / _prior(offset_sigma_m)).sum())


def _information(table: Arrivals, linear: _Linear) -> Float64:
    """About the variances of two receivers, shape (K, K), 1/m^4.

    Half the squared sum of what the events' unknowns leave of the weights (residual maximum likelihood:
    H. D. Patterson, R. Thompson, Biometrika 58, 1971).
    """
    count = len(table.receiver) + 1
    total = np.zeros(count * count)
    column = np.arange(table.cell.shape[1])
    for start in range(0, len(linear.weight), _CHUNK):
        rows = slice(start, start + _CHUNK)
        left = -linear.mixed[rows] @ linear.mixed[rows].swapaxes(-1, -2)
        left[:, column, column] += linear.weight[rows]
        pair = table.cell[rows, :, None] * count + table.cell[rows, None, :]
        total += np.bincount(pair.ravel(), (left * left).ravel(), count * count)
    return total.reshape(count, count)[:-1, :-1] / 2


def _scatter(
    table: Arrivals, scatter_m: Float64, excess: Float64, information: Float64
) -> tuple[Float64, Float64]:
    """Standard deviation of each receiver and of that, by Fisher's scoring of their variances."""
    variance = scatter_m**2
    usual = float(np.median(variance))
    covariance = np.linalg.inv(information + np.diag(_PSEUDO / 2 / variance**2))
    score = table.of_receiver(excess) / 2 + _PSEUDO / 2 * (usual - variance) / variance**2
    fresh = np.clip(variance + covariance @ score, variance / 4, variance * 4)
    uncertainty = np.sqrt(np.diag(covariance)) / (2 * scatter_m)
    return np.asarray(np.sqrt(fresh), np.float64), np.asarray(uncertainty, np.float64)


def _share_of_known(table: Arrivals, state: State) -> Float64 | None:
    """How much each known place counts, shape (M,): Student's weights, as they have a heavy tail."""
    told = np.isfinite(table.known[:, 0])
    if not told.any():
        return None
    share = np.zeros(len(told))
    known = table.known[told]
    east, north = rays.offset_m(known[:, 0], known[:, 1], state.place[told, 0], state.place[told, 1])
    share[told] = (_FREEDOM + 2) / (_FREEDOM + (east**2 + north**2) / state.known_sigma_m**2)
    return share


def _excess(residual_m: Float64, variance_m2: Float64, leverage: Float64, there: Bool) -> float:
    """How much more the residuals scatter than expected, by their median, which no wrong time enlarges."""
    spare = 1 - leverage
    telling = there & (spare > _LEAST_SPARE)
    if not telling.any():
        return 1.0
    ratio = residual_m[telling] ** 2 / (spare * variance_m2)[telling]
    return max(math.sqrt(float(np.median(ratio)) / _MEDIAN_CHI), 0.1)


def _right(residual_m: Float64, variance_m2: Float64) -> Float64:
    """Probability that a time is right, any shape, by its residual and variance."""
    density = (1 - WRONG_SHARE) * np.exp(-(residual_m**2) / (2 * variance_m2))
    density /= np.sqrt(2 * np.pi * variance_m2)
    size = np.sqrt(np.maximum(residual_m**2, variance_m2))
    return np.asarray(density / (density + WRONG_SHARE / (2 * size * _DECADES)), np.float64)
