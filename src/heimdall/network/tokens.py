"""From a session to the inputs of the fusion network: what is measured at each receiver, and the tiles.

Tiles are the prior over the position, a sum of Gaussians: `TILES` places that levels and arrival times make
likely, no two nearer than `TILE_SPACING`, each with a standard deviation of `TILE_SIGMA`; and one wide
Gaussian with the mean and covariance of all that the levels say, which no arrival time moves. A session with
few arrival times is a ridge or has two crossings, and one without GPS time is a wide region: the tiles carry
each of them. Where they cannot hold what is likely they are larger, and as much farther apart.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from scipy import special

from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.geometry.area import Area, Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.network.filters import NO_FILTERS, Filters
from heimdall.position import solver
from heimdall.position.radio_map import RadioMap, log_likelihood
from heimdall.position.received_power import UHF_HZ, Levels, PowerModel, moments
from heimdall.position.solver import KM, TAIL, US, US_PER_KM, WRONG
from heimdall.signal.arrival import Arrivals, Observation, stamped_late, without_receiver
from heimdall.signal.passband import hears_best

Float32 = npt.NDArray[np.float32]
Float64 = npt.NDArray[np.float64]

# Columns of `Tokens.physical`; `fusion` takes level, heard, log_tilt and spread_excess_us by their places.
PHYSICAL = (
    "level_db",  # SNR less the receiver's gain in the power model
    "energy_db",
    "log_gate",
    "heard",
    "bandwidth_khz",
    "cfo_hz",
    "uhf",
    "timed",
    "log_clock",
    "log_information",
    "altitude_km",
    "snr_db",
    "log_tilt",
    "spread_excess_us",  # what a channel's spread says of its delay, up to a factor
    "spread",
    "turned_spread",  # imaginary part, times the sign of the tilt
    "log_spread",
    "log_spread_noise",
)
SHAPE = 18
TILES = 14
ACROSS = 46  # cells of the grid on which tiles are chosen, along the area's extent: 4 km in north-west Italy
TILE_SPACING, TILE_SIGMA = 1.25, 1.0  # cells
MISLEADING = 0.05  # probability that levels say nothing true of the place
COVERED = 0.9  # share of what is likely that the tiles must hold to be no larger
REST_SHARE = 0.02  # of the levels' probability that the wide Gaussian has at least
_COARSE_SIGMA_S = 300e-9  # of an arrival time, when tiles are chosen

# Echoes delay a channel by an amount of the size of this share of its tilt, and by this share of the root of
# its spread, with the sign of that (docs/physics.md).
TILT_SHARE, SPREAD_SHARE = 0.7, 0.3
LEAST_TIMED = 2  # arrival times, of which one says when the signal was sent
FIRST_ESTIMATE_SIGMA_US = 0.3
LEAST_TILT_S, LEAST_SPREAD_S2 = 1e-8, 1e-13
_SMALL_SPREAD_S2 = 3e-13
REDUNDANT = 4  # arrival times, of which one may be left out
_SAME = 0.25  # squared standard deviations within which solutions are one
_EMPTY = -1e3  # nats
_BELIEVED = 4.0  # variances of the noise at which half of a spread is believed

CLOCK_JITTER_S = (20e-9, 50e-9, 100e-9)
VARIED = 0.2  # probability of a receiver that is lost, of a wrong clock, or of fading, in training
LATE_S = (1e-6, 2e-2)  # of wrong clocks
# What fading makes of spreads, and with 10 us^2 of them of tilts: standard deviations. A transmitter with up
# to 15 Hz of Doppler makes 20 us^2 of spreads of 1 us^2, in light multipath (docs/physics.md, section 6).
FADED_S2, FADED_TILT_S = (2e-12, 5e-11), 2e-7
LEVEL_JITTER_DB = 1.0


@dataclass(frozen=True, eq=False)
class Tokens:
    """One session of R receivers and K tiles.

    Attributes:
        delay_s: As of `arrival.Arrivals`, (R,) float64.
        information_s2: The same, (R,) float64; 0 where the recording carries no time.
        timing_sigma_s: Standard deviation of the clock, 0 where there is no arrival time, (R,) float64.
        receiver_m: East, north, up, (R, 3) float64.
        physical: Columns `PHYSICAL`, (R, len(PHYSICAL)) float32.
        shape: Shape of the correlation, (R, SHAPE) float32.
        centre_m: Means of the tiles, the wide one last, (K, 2) float64.
        prior_m2: Covariances of the tiles, (K, 2, 2) float64.
        log_power: Logarithm of the levels' probability of each tile, over the area's prior at its mean, (K,)
            float64.
        start_m: Near which place each tile has a solution, (K, 2) float64.
    """

    delay_s: Float64
    information_s2: Float64
    timing_sigma_s: Float64
    receiver_m: Float64
    physical: Float32
    shape: Float32
    centre_m: Float64
    prior_m2: Float64
    log_power: Float64
    start_m: Float64


PER_RECEIVER = (
    "delay_s", "information_s2", "timing_sigma_s", "receiver_m", "physical", "shape",
)  # fmt: skip


class Tiles(NamedTuple):
    """Fields of `Tokens`."""

    centre_m: Float64
    prior_m2: Float64
    log_power: Float64
    start_m: Float64


@dataclass(frozen=True, eq=False)
class Tokenizer:
    """What all sessions of a network share.

    Attributes:
        plane: Tangent plane of the positions.
        area: Where transmitters are.
        power: How strong receivers hear transmitters at a distance.
        radio: How strong they hear each place.
        receivers: All of the network; those that did not record are known to hear nothing.
        filters: What is taken off arrival times and the shapes of channels.
    """

    plane: TangentPlane
    area: Area
    power: PowerModel
    radio: RadioMap
    receivers: Receivers
    filters: Filters = NO_FILTERS

    @cached_property
    def cell_m(self) -> float:
        """Side of a cell of the grid on which tiles are chosen, metres."""
        return self.area.extent_m / ACROSS

    @cached_property
    def _mean_db(self) -> Float64:
        """Mean levels at the cells of the grid, (G, R)."""
        return self.radio.mean_db(self.receivers, self.area.grid_m(self.cell_m), self.plane)

    def tokens(self, observation: Observation, filters: Filters | None = None) -> Tokens:
        """Tokens and tiles of one session.

        Args:
            observation: The session.
            filters: Of its receivers, where they are not those of the network.

        Returns:
            Its tokens; every value is finite.
        """
        arrivals = (self.filters if filters is None else filters).taken_off(observation)
        observation = replace(observation, arrivals=arrivals)
        session = observation.session
        count = len(session.websdr_id)
        uhf = float(observation.frequency_hz > UHF_HZ)
        information = arrivals.information_s2
        timed = information > 0
        clock_s = np.where(timed, session.timing_sigma_s, 0.0)
        columns = {
            "level_db": session.snr_db
            - self.power.gains_db(session.websdr_id)
            - uhf * self.power.uhf_offset_db,
            "energy_db": session.energy_db,
            "log_gate": np.log10(np.maximum(session.gate, 1.0)),
            "heard": session.detected,
            "bandwidth_khz": np.full(count, arrivals.rms_bandwidth_hz / 1e3),
            "cfo_hz": session.cfo_hz,
            "uhf": np.full(count, uhf),
            "timed": timed,
            "log_clock": np.log10(clock_s + 1e-9),
            "log_information": np.log10(np.where(timed, information, 1e12)) / 2,
            "altitude_km": session.position_enu_m[:, 2] / 1e3,
            "snr_db": session.snr_db,
            "log_tilt": np.log10(np.abs(arrivals.tilt_s) + LEAST_TILT_S),
            "spread_excess_us": 1e6 * _spread_excess_s(arrivals),
            "spread": _signed_log(arrivals.spread_s2.real),
            "turned_spread": _signed_log(arrivals.spread_s2.imag * np.sign(arrivals.tilt_s)),
            "log_spread": np.log10(np.abs(arrivals.spread_s2.real) + LEAST_SPREAD_S2),
            "log_spread_noise": np.log10(arrivals.spread_sigma_s2 + LEAST_SPREAD_S2),
        }
        tiles = self._with_starts(observation, self._tiles(observation))
        return Tokens(
            delay_s=arrivals.delay_s,
            information_s2=information,
            timing_sigma_s=clock_s,
            receiver_m=session.position_enu_m,
            physical=np.stack([np.asarray(columns[name], np.float64) for name in PHYSICAL], -1).astype(
                np.float32
            ),
            shape=arrivals.shape.astype(np.float32),
            **tiles._asdict(),
        )

    def _tiles(self, observation: Observation) -> Tiles:
        grid_m = self.area.grid_m(self.cell_m)  # (G, 2)
        log_prior = self.area.log_prior(grid_m)
        level = log_likelihood(self.radio, Levels.of(observation, self.receivers), self._mean_db)  # (G,)
        level = level + log_prior
        probability, anywhere = np.exp(level - level.max()), np.exp(log_prior)
        # A receiver at its limit, or a transmitter like none before, and no place explains the levels.
        probability = (1 - MISLEADING) * probability / probability.sum()
        probability = probability + MISLEADING * anywhere / anywhere.sum()
        score = np.log(probability) + self._by_times(observation, grid_m)
        likely = np.exp(score - score.max())
        scale = 1.0
        centre_m, nearest, near = _spread_out(score, grid_m, TILE_SPACING * self.cell_m)
        while likely[near].sum() < COVERED * likely.sum() and _room(len(grid_m), 2 * scale):
            scale *= 2
            centre_m, nearest, near = _spread_out(score, grid_m, scale * TILE_SPACING * self.cell_m)
        share = np.bincount(nearest[near], probability[near], TILES)
        rest = max(1 - float(share.sum()), REST_SHARE)
        mean_m, spread_m2 = moments(level, grid_m, self.cell_m)
        narrow_m2 = np.broadcast_to(np.eye(2) * (scale * TILE_SIGMA * self.cell_m) ** 2, (TILES, 2, 2))
        # What is given here is over the area's prior, which is looked up where a solution is.
        log_share = np.log(np.maximum(share, 1e-12)) - self.area.log_prior(centre_m)
        centre_m = np.concatenate([centre_m, mean_m[None]])
        prior_m2 = np.concatenate([narrow_m2, spread_m2[None]])
        log_rest = math.log(rest) - float(self.area.log_prior(mean_m))
        return Tiles(centre_m, prior_m2, np.append(log_share, log_rest), centre_m)

    def _with_starts(self, observation: Observation, tiles: Tiles) -> Tiles:
        """The tiles of the likeliest solutions, and near which places those are.

        One arrival time of four or more may be wrong by any amount, so solutions are also looked for without
        each of them. A tile may have several; where tiles have the same, it is of the one that has it most.
        """
        session, arrivals = observation.session, observation.arrivals
        timed = np.flatnonzero(arrivals.information_s2 > 0)
        if len(timed) < LEAST_TIMED:
            return tiles
        delay_us = (arrivals.delay_s - SPREAD_SHARE * _spread_excess_s(arrivals))[timed] / US
        noise_us2 = 1 / arrivals.information_s2[timed] / US**2
        tilt_us2 = np.maximum((arrivals.tilt_s[timed] / US) ** 2 - noise_us2, 0)
        clock_us = session.timing_sigma_s[timed] / US
        variance_us2 = noise_us2 + clock_us**2 + FIRST_ESTIMATE_SIGMA_US**2 + TILT_SHARE**2 * tilt_us2
        left_out = [-1, *range(len(timed))] if len(timed) >= REDUNDANT else [-1]
        number = np.tile(np.arange(TILES), len(left_out))
        without = np.repeat(left_out, TILES)
        narrow = torch.from_numpy(tiles.prior_m2[number])[None]
        problem = solver.Problem(
            delay_us=torch.from_numpy(delay_us)[None],
            receiver_km=torch.from_numpy(session.position_enu_m[timed])[None] / KM,
            centre_km=torch.from_numpy(tiles.centre_m[number])[None] / KM,
            prior=solver.inverse(solver.entries(narrow) / KM**2)[0],
            plane=self.plane,
            range_us=range_us(self.area),
        )
        weight = torch.from_numpy(1 / variance_us2)[None]
        kept = torch.from_numpy(without[:, None] != np.arange(len(timed)))[None]
        with torch.inference_mode():
            found = solver.solve(problem, weight[:, None] * kept, problem.centre_km)
            by_all = weight[:, None].expand(-1, len(number), -1)
            found = solver.refine(problem, by_all, found.position_km)
            by_times = solver.log_evidence(problem, found, weight[:, None])[0].numpy()
        place_m = found.position_km[0].numpy() * KM
        score = tiles.log_power[number] + by_times + self.area.log_prior(place_m)
        information = solver.matrices(solver.inverse(found.covariance_km2)[0])[0].numpy() / KM**2
        chosen, more = _modes(score, number, place_m, information)
        short = TILES - len(chosen)
        number = np.concatenate([number[chosen], np.full(short + 1, TILES)])
        start_m = np.concatenate([place_m[chosen], np.repeat(tiles.centre_m[-1:], short + 1, axis=0)])
        log_power = tiles.log_power[number]
        log_power[: len(chosen)] += more
        log_power[len(chosen) : TILES] = _EMPTY
        return Tiles(tiles.centre_m[number], tiles.prior_m2[number], log_power, start_m)

    def _by_times(self, observation: Observation, grid_m: Float64) -> Float64:
        """Log likelihood of the arrival times at the grid's cells up to a constant, any of them wrong, (G,).

        The emission time is that of each receiver in turn: of which all are right, they say the same.
        """
        session, arrivals = observation.session, observation.arrivals
        timed = arrivals.information_s2 > 0
        if timed.sum() < LEAST_TIMED:
            return np.zeros(len(grid_m))
        # Within a cell, the delay changes by up to this.
        cell_s = self.cell_m / 2 / SPEED_OF_LIGHT_M_S
        variance = 1 / arrivals.information_s2[timed] + session.timing_sigma_s[timed] ** 2
        variance = variance + (TILT_SHARE * arrivals.tilt_s[timed]) ** 2 + _COARSE_SIGMA_S**2 + cell_s**2
        distance_m = distances_m(grid_m, session.position_enu_m[timed], self.plane)
        delay_s = (arrivals.delay_s - SPREAD_SHARE * _spread_excess_s(arrivals))[timed]
        residual = delay_s - distance_m / SPEED_OF_LIGHT_M_S  # (G, T)
        apart = residual[:, None] - residual[:, :, None]  # (G, emitted, T)
        falling = 1 / (1 + apart * apart / (TAIL * variance))
        most_us = range_us(self.area)
        sigma_us = np.sqrt(variance) / US
        size_us = torch.from_numpy(np.abs(apart) / US)
        per_us = solver.wrong_per_us(size_us, torch.from_numpy(sigma_us), most_us).numpy()
        wrong = WRONG / (1 - WRONG) * math.pi * sigma_us * per_us
        return np.asarray(special.logsumexp(np.log(falling * falling + wrong).sum(-1), axis=-1), np.float64)


def _spread_excess_s(arrivals: Arrivals) -> Float64:
    """Root of the real part of each channel's spread, with its sign, less where that may be noise, (R,)."""
    real = arrivals.spread_s2.real
    squared = real * real
    noise = _BELIEVED * arrivals.spread_sigma_s2**2 + LEAST_SPREAD_S2**2
    return np.asarray(np.sign(real) * np.sqrt(np.abs(real)) * squared / (squared + noise), np.float64)


def _signed_log(spread_s2: Float64) -> Float64:
    return np.asarray(np.sign(spread_s2) * np.log1p(np.abs(spread_s2) / _SMALL_SPREAD_S2), np.float64)


def range_us(area: Area) -> float:
    """Over which a wrong arrival time may lie anywhere: twice the area's extent at the speed of light."""
    return 2 * US_PER_KM * area.extent_m / KM


def _modes(
    score: Float64, number: npt.NDArray[np.intp], place_m: Float64, information_m2: Float64
) -> tuple[npt.NDArray[np.intp], Float64]:
    """The solutions of the highest scores, at most `TILES`, those at one place taken together.

    Args:
        score: Logarithms of their evidence, shape (N,).
        number: Of their tiles, shape (N,).
        place_m: Shape (N, 2).
        information_m2: Inverses of their covariances, shape (N, 2, 2).

    Returns:
        Their rows, in falling order, and by how much the evidence of all at the place is more, a logarithm.
    """
    left = np.argsort(-score, kind="stable")
    chosen: list[int] = []
    more: list[float] = []
    while len(left) and len(chosen) < TILES:
        first = int(left[0])
        off = place_m[left] - place_m[first]
        near = np.einsum("ni,ij,nj->n", off, information_m2[first], off) < _SAME
        _, of_tile = np.unique(number[left[near]], return_index=True)
        chosen.append(first)
        more.append(special.logsumexp(score[left[near]][of_tile]) - score[first])
        left = left[~near]
    return np.array(chosen), np.array(more)


def _room(cells: int, scale: float) -> bool:
    """Whether tiles of a scale find room on a grid wherever they are put."""
    return TILES * math.pi * (scale * TILE_SPACING + 1) ** 2 < cells


def _spread_out(
    score: Float64, grid_m: Float64, spacing_m: float
) -> tuple[Float64, npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """The `TILES` cells of a grid (G, 2) with the highest scores (G,) that are no nearer than a spacing.

    Returns:
        Their centres (TILES, 2), the number of the one nearest to each cell (G,), and whether it is nearer
        than the spacing (G,).
    """
    distance2 = np.empty((TILES, len(grid_m)))
    centre_m = np.empty((TILES, 2))
    for number in range(TILES):
        centre_m[number] = grid_m[int(np.argmax(score))]
        distance2[number] = ((grid_m - centre_m[number]) ** 2).sum(-1)
        score = np.where(distance2[number] < spacing_m**2, -np.inf, score)
    return centre_m, distance2.argmin(0), distance2.min(0) < spacing_m**2


def augment(tokens: Tokens, seed: int, epoch: int, index: int) -> Tokens:
    """A varied copy for training: fresh clock errors, noisier levels.

    The result depends on the arguments alone. The tiles stay as they are.

    Args:
        tokens: A session.
        seed: The user's seed.
        epoch: Number of the epoch.
        index: Number of the session.

    Returns:
        A new session.
    """
    random = generator(seed, "fusion augmentation", epoch, index)
    count = len(tokens.delay_s)
    sigma_s = CLOCK_JITTER_S[int(random.integers(len(CLOCK_JITTER_S)))]
    # Only of arrival times: without one, a receiver must look as it does outside of training.
    timed = tokens.information_s2 > 0
    jitter_s = np.where(timed, sigma_s * random.standard_normal(count), 0.0)
    level_db = LEVEL_JITTER_DB * random.standard_normal(count)
    clock_s = np.where(timed, np.sqrt(tokens.timing_sigma_s**2 + sigma_s**2), 0.0)
    physical = tokens.physical.copy()
    for name in ("level_db", "snr_db"):
        physical[:, PHYSICAL.index(name)] += level_db
    physical[:, PHYSICAL.index("log_clock")] = np.log10(clock_s + 1e-9)
    return replace(tokens, delay_s=tokens.delay_s + jitter_s, timing_sigma_s=clock_s, physical=physical)


def variants(
    tokenizer: Tokenizer,
    observation: Observation,
    params: FeatureParams,
    seed: int,
    index: int,
    *,
    filters: Filters | None = None,
) -> tuple[Tokens, ...]:
    """A session as it is, and as it might have been, from the recordings on.

    Args:
        tokenizer: What makes the tokens.
        observation: The session.
        params: The parameters that its features were made with.
        seed: The user's seed.
        index: Number of the session.
        filters: As of `Tokenizer.tokens`.

    Returns:
        Its tokens; those without one of its receivers, if it has two; those with a wrong clock of one, if
        four arrival times or more give it away; and those of a fading signal, if its channels have shapes.
    """
    random = generator(seed, "fusion variants", index)
    made = [observation]
    count, timed = len(observation.session.websdr_id), np.flatnonzero(observation.arrivals.information_s2)
    if count > 1:
        made.append(without_receiver(observation, int(random.integers(count)), params))
    if len(timed) >= REDUNDANT:
        low, high = np.log(LATE_S)
        late_s = math.exp(random.uniform(low, high)) * (1 if random.random() < 0.5 else -1)
        made.append(stamped_late(observation, int(random.choice(timed)), late_s))
    found = [tokenizer.tokens(one, filters) for one in made]
    best = hears_best(observation)
    if best is not None:
        known = tokenizer.filters if filters is None else filters
        faded = _faded(known.taken_off(observation), best, random)
        found.append(tokenizer.tokens(replace(observation, arrivals=faded), NO_FILTERS))
    return tuple(found)


def _faded(arrivals: Arrivals, best: int, random: np.random.Generator) -> Arrivals:
    """Arrivals of channels that fade: tilts and spreads, over one row's, that say nothing of delays."""
    low, high = np.log(FADED_S2)
    size_s2 = math.exp(random.uniform(low, high))
    shaped = (arrivals.tilt_s != 0) | (arrivals.spread_s2 != 0)
    real, imaginary, tilt = random.standard_normal((3, len(shaped))) * np.exp(
        0.7 * random.standard_normal(len(shaped))
    )
    spread_s2 = size_s2 * (real - real[best] + 1j * (imaginary - imaginary[best]))
    tilt_s = FADED_TILT_S * math.sqrt(size_s2 / 1e-11) * (tilt - tilt[best])
    return replace(
        arrivals,
        tilt_s=arrivals.tilt_s + tilt_s * shaped,
        spread_s2=arrivals.spread_s2 + spread_s2 * shaped,
    )


def chosen(session: Sequence[Tokens], seed: int, epoch: int, index: int) -> Tokens:
    """One of a session's `variants` for an epoch of training, mostly as it is."""
    random = generator(seed, "fusion variant", epoch, index)
    number = int(random.integers(1, len(session))) if len(session) > 1 and random.random() < VARIED else 0
    return session[number]


def collate(sessions: Sequence[Tokens], receivers: int | None = None) -> dict[str, torch.Tensor]:
    """A batch of sessions, those with fewer receivers filled up.

    Args:
        sessions: B sessions.
        receivers: Rows a session; as many as the largest one has where None.

    Returns:
        `mask` (B, R) bool and the fields of `Tokens`, each with a leading axis B, of the same types.
    """
    rows = receivers or max(len(item.delay_s) for item in sessions)
    batch = {"mask": torch.tensor([[k < len(item.delay_s) for k in range(rows)] for item in sessions])}
    for field in fields(Tokens):
        values = [getattr(item, field.name) for item in sessions]
        if field.name in PER_RECEIVER:
            values = [
                np.concatenate([value, np.zeros((rows - len(value), *value.shape[1:]), value.dtype)])
                for value in values
            ]
        batch[field.name] = torch.from_numpy(np.stack(values))
    return batch
