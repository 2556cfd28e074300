"""Received power place by place (shadowing, blocked paths), learned from sessions; its log-likelihood.

`received_power` knows distances. On top of its law a radio map has, for each receiver, a level that changes
smoothly over the area, a sum of Gaussian bumps (shadowing is alike at neighbouring places: M. Gudmundson,
Electronics Letters 27 (1991), 2145-2146), and two kinds of path: clear ones, and blocked ones, whose levels
are lower and scatter more. With x a level over its mean, of a transmitter of power P,

    p(x) = (1 - share) N(x; P, clear^2) + share N(x; P - loss, blocked^2)

and a receiver is silent with the probability that its level is below the squelch. P is common to a session's
receivers and is summed over nodes. It follows Student's t with four degrees of freedom: a transmitter of
another class is not to be taken for one at another place.

Hundreds of parameters want thousands of sessions: a map is fitted where the network is trained from nothing,
as in pretraining. One that was fitted before keeps its terrain and paths; how strong the transmitters are,
and what a receiver has over the others, are the sessions' own.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from scipy import optimize, special

from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.position.received_power import Levels, PowerModel, mean_levels_db

if TYPE_CHECKING:
    from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

FIT_SESSIONS = (
    4096  # with more, time and memory would grow, and a map of some 300 numbers would hardly change
)
BUMPS_ACROSS = 7  # of the square as large as the area: 20 km apart in north-west Italy
BUMP_WIDTH = 0.8  # of their spacing
TERRAIN_SIGMA_DB = 4.0  # of a bump's height before any session
OFFSET_SIGMA_DB = 10.0
# Of a map that was fitted before: of one receiver, for antennas and noise differ, and of all together, for
# transmitters may be of another class.
KNOWN_OFFSET_SIGMA_DB, KNOWN_LEVEL_SIGMA_DB = 3.0, 20.0
_NODES = np.linspace(-8.0, 8.0, 49)  # of the transmitters' power, in its scale
_LOG_NODE = -2.5 * np.log1p(_NODES**2 / 4)  # Student's t
_LOG_NODE = _LOG_NODE - special.logsumexp(_LOG_NODE)  # logarithms of probabilities
_BLOCK = 2048  # positions at a time
# Means and standard deviations before any session: logarithms of the clear and the blocked sigma, the loss in
# dB, the logit of the share, the logarithm of the power's sigma.
_SHAPE_MEAN = np.array([math.log(8.0), math.log(12.0), 14.0, -1.0, math.log(6.0)])
_SHAPE_SIGMA = np.array([0.5, 0.5, 5.0, 1.0, 0.5])
_LEAST = 1e-300  # of a probability


@dataclass(frozen=True)
class RadioMap:
    """What the levels of a network are like, place by place.

    Attributes:
        law: The law of distance that the map departs from, with the squelch.
        receiver_m: East, north and up of each receiver of the law, metres, shape (R, 3).
        offset_db: Of each of them: clear paths over the law, dB, shape (R,).
        centre_m: East and north of the bumps, metres, shape (M, 2).
        width_m: Standard deviation of a bump, metres.
        terrain_db: Heights of the bumps of each receiver, dB, shape (R, M).
        clear_sigma_db: Standard deviation of a clear path's level, dB.
        blocked_sigma_db: The same of a blocked one, dB.
        blocked_loss_db: By how much blocked paths are weaker, dB.
        blocked_share: How many are blocked, in (0, 1).
        power_scale_db: Scale of the transmitters' power, dB.
    """

    law: PowerModel
    receiver_m: tuple[tuple[float, ...], ...]
    offset_db: tuple[float, ...]
    centre_m: tuple[tuple[float, float], ...]
    width_m: float
    terrain_db: tuple[tuple[float, ...], ...]
    clear_sigma_db: float
    blocked_sigma_db: float
    blocked_loss_db: float
    blocked_share: float
    power_scale_db: float

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> RadioMap:
        """The map whose `dataclasses.asdict` went through JSON."""
        rows = {name: tuple(map(tuple, values[name])) for name in ("receiver_m", "centre_m", "terrain_db")}
        law = PowerModel.from_dict(values["law"])
        return cls(**values | rows | {"law": law, "offset_db": tuple(values["offset_db"])})

    def of_others(self, law: PowerModel, receivers: Receivers) -> RadioMap:
        """What it says of other receivers: paths of the same two kinds, and no terrain.

        Args:
            law: Of these receivers.
            receivers: Those of the law, in its order.
        """
        count = len(law.websdr_id)
        return replace(
            self,
            law=law,
            receiver_m=_places(receivers),
            offset_db=(0.0,) * count,
            terrain_db=((0.0,) * len(self.centre_m),) * count,
        )

    def mean_db(self, receivers: Receivers, position_m: Float64, plane: TangentPlane) -> Float64:
        """Levels of clear paths below 300 MHz from a mean transmitter.

        Args:
            receivers: R receivers; one that the map does not know has the mean of the others' gains and
                offsets, and no terrain.
            position_m: East and north, metres, shape (G, 2).
            plane: Of the positions.

        Returns:
            dB, shape (G, R).
        """
        row = {number: k for k, number in enumerate(self.law.websdr_id)}
        columns = np.array([row.get(number, len(row)) for number in receivers.websdr_id.tolist()])
        bumps = _bumps(position_m, np.array(self.centre_m), self.width_m)
        terrain_db = np.einsum("gm,rm->gr", bumps, np.array(self.terrain_db))
        terrain_db = np.concatenate([terrain_db, np.zeros((len(terrain_db), 1))], axis=1)[:, columns]
        mean_db = math.fsum(self.offset_db) / len(self.offset_db)
        over_db = terrain_db + np.array([*self.offset_db, mean_db])[columns]
        return np.asarray(mean_levels_db(self.law, receivers, position_m, plane) + over_db, np.float64)


def log_likelihood(model: RadioMap, levels: Levels, mean_db: Float64) -> Float64:
    """Log probability density of a session's levels if the transmitter were at each position.

    Args:
        model: What levels are like.
        levels: Of one session.
        mean_db: As of `RadioMap.mean_db`, of the same receivers, shape (G, R).

    Returns:
        Natural logarithms, shape (G,), float64, finite.
    """
    starts = range(0, len(mean_db), _BLOCK)
    return np.concatenate([_log_likelihood(model, levels, mean_db[at : at + _BLOCK]) for at in starts])


def _log_likelihood(model: RadioMap, levels: Levels, mean_db: Float64) -> Float64:
    heard = np.isfinite(levels.snr_db)
    mean_db = mean_db + model.law.uhf_offset_db * levels.uhf
    shape = _Shape.of(model)
    excess_db = (levels.snr_db[heard] - mean_db[:, heard])[..., np.newaxis] - shape.nodes_db
    room_db = (model.law.squelch_db - mean_db[:, levels.silent])[..., np.newaxis] - shape.nodes_db
    total = np.log(sum(shape.densities(excess_db)) + _LEAST).sum(axis=1)  # (cells, nodes)
    total += np.log(sum(shape.silences(room_db)) + _LEAST).sum(axis=1)
    return np.asarray(special.logsumexp(total + _LOG_NODE, axis=-1), np.float64)


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    receivers: Receivers,
    plane: TangentPlane,
    *,
    law: PowerModel,
    area: Area,
    known: RadioMap | None = None,
) -> RadioMap:
    """The most probable map of sessions whose transmitters are known, by L-BFGS-B from a fixed start.

    The first `FIT_SESSIONS` are used.

    Args:
        observations: At least one session, of the training split.
        truth_m: East and north of their transmitters, metres, shape (n, 2).
        receivers: All receivers of the network.
        plane: Of the positions.
        law: What `received_power.fit` finds in the same sessions.
        area: Which the bumps cover.
        known: A map of the same receivers in the same plane that more sessions were used for, or what such a
            map says of these (`RadioMap.of_others`); only its offsets and the transmitters' power are fitted,
            and the squelch is taken from `law`.

    Returns:
        The map.

    Raises:
        ValueError: There is no session.
    """
    if not observations:
        raise ValueError("no session to fit a radio map to")
    if known is None:
        start = _flat(law, receivers, area)
    else:
        start = replace(known, law=replace(known.law, squelch_db=law.squelch_db))
    levels = [Levels.of(observation, receivers) for observation in observations[:FIT_SESSIONS]]
    truth_m = np.asarray(truth_m, np.float64)[: len(levels)]
    uhf = np.array([float(one.uhf) for one in levels])
    snr_db = np.stack([one.snr_db for one in levels])  # (n, R)
    sessions = _Sessions(
        snr_db=snr_db,
        heard=np.isfinite(snr_db),
        silent=np.stack([one.silent for one in levels]),
        law_db=mean_levels_db(start.law, receivers, truth_m, plane)
        + start.law.uhf_offset_db * uhf[:, np.newaxis],
        bumps=_bumps(truth_m, np.array(start.centre_m), start.width_m),
        squelch_db=start.law.squelch_db,
    )
    count = len(start.law.websdr_id)
    origin = _packed(start)
    directions = _free(count, len(origin)) if known is None else _free_of_known(count, len(origin))

    def cost(deviation: Float64) -> tuple[float, Float64]:
        value, slope = _log_probability(origin + np.einsum("vd,d->v", directions, deviation), sessions)
        gradient = deviation - np.einsum("vd,v->d", directions, slope)
        return float(0.5 * (deviation * deviation).sum() - value) / len(levels), gradient / len(levels)

    result = optimize.minimize(cost, np.zeros(directions.shape[1]), jac=True, method="L-BFGS-B")
    values = origin + np.einsum("vd,d->v", directions, result.x)
    terrain = values[count:-5].reshape(count, -1)
    return RadioMap(
        start.law,
        start.receiver_m,
        tuple(values[:count].tolist()),
        start.centre_m,
        start.width_m,
        tuple(tuple(row) for row in terrain.tolist()),
        *_shape_values(values[-5:]),
    )


def _flat(law: PowerModel, receivers: Receivers, area: Area) -> RadioMap:
    """The map before anything is fitted: bumps of no height all over the area."""
    spacing_m = math.sqrt(_area_m2(area)) / BUMPS_ACROSS
    centre_m = area.grid_m(spacing_m)
    return RadioMap(
        law,
        _places(receivers),
        (0.0,) * len(law.websdr_id),
        tuple((east, north) for east, north in centre_m.tolist()),
        BUMP_WIDTH * spacing_m,
        ((0.0,) * len(centre_m),) * len(law.websdr_id),
        *_shape_values(_SHAPE_MEAN),
    )


def _places(receivers: Receivers) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(place) for place in receivers.position_m.tolist())


def _free(receivers: int, values: int) -> Float64:
    """By how much each value of a map may change, as standard deviations along columns, (values, values)."""
    terrain_sigma_db = np.full(values - receivers - len(_SHAPE_SIGMA), TERRAIN_SIGMA_DB)
    return np.diag(np.concatenate([np.full(receivers, OFFSET_SIGMA_DB), terrain_sigma_db, _SHAPE_SIGMA]))


def _free_of_known(receivers: int, values: int) -> Float64:
    """The same of a known map: offsets, what they have in common, and power; (values, receivers + 2)."""
    directions = np.zeros((values, receivers + 2))
    directions[:receivers, :receivers] = KNOWN_OFFSET_SIGMA_DB * np.eye(receivers)
    directions[:receivers, receivers] = KNOWN_LEVEL_SIGMA_DB
    directions[-1, receivers + 1] = _SHAPE_SIGMA[-1]
    return directions


@dataclass(frozen=True)
class _Shape:
    """How levels scatter about their means: both kinds of path and the transmitters' power, dB."""

    clear: float
    blocked: float
    loss: float
    share: float
    power: float

    @classmethod
    def of(cls, model: RadioMap) -> _Shape:
        return cls(
            model.clear_sigma_db,
            model.blocked_sigma_db,
            model.blocked_loss_db,
            model.blocked_share,
            model.power_scale_db,
        )

    def densities(self, excess_db: Float64) -> tuple[Float64, Float64]:
        """Of a level so far over its mean, as a clear and as a blocked path."""
        return (
            (1 - self.share) * _density(excess_db / self.clear) / self.clear,
            self.share * _density((excess_db + self.loss) / self.blocked) / self.blocked,
        )

    def silences(self, room_db: Float64) -> tuple[Float64, Float64]:
        """Probability of a level below a squelch so far over the mean, of both kinds of path."""
        return (
            (1 - self.share) * special.ndtr(room_db / self.clear),
            self.share * special.ndtr((room_db + self.loss) / self.blocked),
        )

    @property
    def nodes_db(self) -> Float64:
        """Powers over the mean that are summed over, (nodes,)."""
        return self.power * _NODES


@dataclass(frozen=True, eq=False)
class _Sessions:
    """Levels of n sessions at the R receivers."""

    snr_db: Float64  # (n, R)
    heard: npt.NDArray[np.bool_]  # (n, R)
    silent: npt.NDArray[np.bool_]  # (n, R)
    law_db: Float64  # what the law says of the true positions, (n, R)
    bumps: Float64  # there, (n, M)
    squelch_db: float


def _log_probability(values: Float64, sessions: _Sessions) -> tuple[float, Float64]:
    """Logarithm of the levels' density under packed parameters, up to a constant, and its gradient."""
    heard, silent = sessions.heard, sessions.silent
    count = heard.shape[1]
    terrain = values[count:-5].reshape(count, -1)
    clear, blocked, loss, share, power = _shape_values(values[-5:])
    shape = _Shape(clear, blocked, loss, share, power)
    mean_db = sessions.law_db + values[:count] + np.einsum("nm,rm->nr", sessions.bumps, terrain)
    excess = (sessions.snr_db - mean_db)[heard][:, np.newaxis] - shape.nodes_db  # (H, nodes)
    room = (sessions.squelch_db - mean_db)[silent][:, np.newaxis] - shape.nodes_db  # (S, nodes)
    is_clear, is_blocked = shape.densities(excess)
    total = is_clear + is_blocked + _LEAST
    below_clear, below_blocked = shape.silences(room)
    below = below_clear + below_blocked + _LEAST
    terms = np.zeros((*heard.shape, len(_NODES)))
    terms[heard], terms[silent] = np.log(total), np.log(below)
    joint = terms.sum(axis=1) + _LOG_NODE  # (n, nodes)
    largest = joint.max(axis=1, keepdims=True)
    weight = np.exp(joint - largest)
    mass = weight.sum(axis=1, keepdims=True)
    weight /= mass

    # Derivatives of the terms by the mean and by the shape, each weighted by the nodes' posterior.
    row_heard, row_silent = np.nonzero(heard)[0], np.nonzero(silent)[0]
    at_heard, at_silent = weight[row_heard], weight[row_silent]
    p_clear, p_blocked = is_clear / total, is_blocked / total
    z_clear, z_blocked = excess / clear, (excess + loss) / blocked
    edge_clear = (1 - share) * _density(room / clear) / below  # times d(room / clear)
    edge_blocked = share * _density((room + loss) / blocked) / below
    slope = np.zeros_like(mean_db)
    slope_heard = at_heard * (p_clear * z_clear / clear + p_blocked * z_blocked / blocked)
    slope_silent = -at_silent * (edge_clear / clear + edge_blocked / blocked)
    slope[heard], slope[silent] = slope_heard.sum(axis=1), slope_silent.sum(axis=1)
    by_shape = [
        (at_heard * p_clear * (z_clear**2 - 1)).sum() - (at_silent * edge_clear * room / clear).sum(),
        (at_heard * p_blocked * (z_blocked**2 - 1)).sum()
        - (at_silent * edge_blocked * (room + loss) / blocked).sum(),
        (at_silent * edge_blocked).sum() / blocked - (at_heard * p_blocked * z_blocked).sum() / blocked,
        (at_heard * (p_blocked - share)).sum() + (at_silent * (below_blocked / below - share)).sum(),
        (slope_heard * shape.nodes_db).sum() + (slope_silent * shape.nodes_db).sum(),
    ]
    by_terrain = np.einsum("nr,nm->rm", slope, sessions.bumps)
    gradient = np.concatenate([slope.sum(axis=0), by_terrain.reshape(-1), by_shape])
    return float((largest[:, 0] + np.log(mass[:, 0])).sum()), gradient


def _packed(model: RadioMap) -> Float64:
    """Offsets (R,), terrain (R M,) and the shape (5,) in units without limits."""
    shape = _Shape.of(model)
    tail = [
        math.log(shape.clear),
        math.log(shape.blocked),
        shape.loss,
        math.log(shape.share / (1 - shape.share)),
        math.log(shape.power),
    ]
    return np.concatenate([model.offset_db, np.ravel(model.terrain_db), tail])


def _shape_values(packed: Float64) -> tuple[float, float, float, float, float]:
    """Clear and blocked sigma, loss, share and the power's sigma."""
    clear, blocked, loss, logit, power = packed.tolist()
    return math.exp(clear), math.exp(blocked), loss, 1 / (1 + math.exp(-logit)), math.exp(power)


def _density(z: Float64) -> Float64:
    """Of the standard normal distribution."""
    return np.asarray(np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi), np.float64)


def _bumps(position_m: Float64, centre_m: Float64, width_m: float) -> Float64:
    """Bumps of height 1 (M,) at positions (G, 2), shape (G, M)."""
    offset_m = position_m[:, np.newaxis] - centre_m
    return np.asarray(np.exp(-0.5 * (offset_m * offset_m).sum(axis=-1) / width_m**2), np.float64)


def _area_m2(area: Area) -> float:
    """Of hull and margin, by counting cells."""
    west, east, south, north = area.box_m
    side_m = max(east - west, north - south) + 2 * area.margin_m
    cell_m = side_m / 50
    return len(area.grid_m(cell_m)) * cell_m**2
