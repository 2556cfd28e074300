"""The places that explain one event's arrival times, and what speaks for each.

The unknowns are the place, the moment of emission and what the ways of all receivers share (`rays.Paths`).
From a grid that follows the network's size the best minima are refined by Levenberg's and Marquardt's
descent (D. H. Foy, "Position-location solutions by Taylor-series estimation", IEEE Trans. AES 12, 1976), each
under several hypotheses: all times are right, or some are wrong. A right time has a Gaussian error; a wrong
one is off by anything from its sigma to a second, each power of ten as likely. Laplace's approximation gives
the evidence of each pair of minimum and hypothesis (D. J. C. MacKay, Information Theory, Inference, and
Learning Algorithms, 2003, chapter 28), and the mixture of all is the posterior.

Before anything is received the transmitter is near the network: the density falls with the fourth power of
the distance beyond the largest distance between receivers, and half of it lies within that.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import numpy.typing as npt
from scipy.ndimage import minimum_filter
from scipy.special import bdtrc

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.multilateration import rays
from heimdall.multilateration.rays import Propagation, Sites

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

UNKNOWNS = 3  # two of the place, and the moment of emission
WRONG_SHARE = 1 / 60  # of the times: of five receivers' messages 1 in 30 has one far wrong (LocaRDS)
_LONGEST_ERROR_M = SPEED_OF_LIGHT_M_S  # of a wrong time: a second, the next one is another event's
_INCREDIBLE = 1e-8  # probability of so many wrong times: whatever then fits is chance
_OPEN = 1e12  # condition of the information about the place
_STARTS = 6
_AMBIGUOUS = 4  # times up to which the cells around a start are looked at, too
_ASIDE = 1.5  # half cells
_NARROW = 0.3  # of a network's length: it is nearly a line
_STEPS = 30
_CONVERGED_M = 1e-3
_STIFF = 1e6  # damping by which no step leads down any more
_LONGEST_STEP = 0.5  # of the network's size
_ALTITUDES_M = (-500.0, 40_000.0)
_LONGEST_CLIMB_M = 2_000.0
_NEGLIGIBLE = 1e-3  # of the probability
_GRID = 51  # places across the search
_REACH = 6.0  # of the search, in network sizes; its places are dense at the middle
_BEND = 2.2
_TIMES = 12  # receivers by which the moment of emission is tried at each place of the grid
_UNLIKELY = 10.0  # what a wrong time costs there, in nats
_MAST_M = 30.0
_BEYOND_M = 50_000.0  # per neper
_SELDOM = 4.0  # nepers, for one receiver
_FREE_M = 0.5  # below this standard deviation an altitude is given
FURTHEST_M = 15e6


class Terrain(Protocol):
    """Altitude of the ground."""

    def altitude_m(self, latitude_deg: Float64, longitude_deg: Float64) -> Float64:
        """Above the ellipsoid, metres, at places of any shape; NaN where it is not known."""


@dataclass(frozen=True, eq=False)
class Problem:
    """The T receivers of one event that have a time, and what is assumed.

    Attributes:
        row: Their rows in the event, shape (T,).
        sites: Their places.
        range_m: Arrival times by the speed of light, metres from any origin, shape (T,).
        sigma_m: Standard deviations of them, shape (T,).
        propagation: How the signal travels.
        altitude_m: Expected altitude of the transmitter, metres.
        altitude_sigma_m: Standard deviation of that; 0 where it is given.
        terrain: Altitude of the ground, if the transmitter stands on it; `altitude_m` is above it then.
        centre_deg: Latitude and longitude of the middle of the network.
        scale_m: Largest distance between receivers, of all that the event names.
    """

    row: npt.NDArray[np.intp]
    sites: Sites
    range_m: Float64
    sigma_m: Float64
    propagation: Propagation
    altitude_m: float
    altitude_sigma_m: float
    terrain: Terrain | None
    centre_deg: tuple[float, float]
    scale_m: float

    @property
    def altitude_is_free(self) -> bool:
        """Whether the altitude is an unknown."""
        return self.altitude_sigma_m > _FREE_M and self.propagation == "line-of-sight"

    def curvature(self, latitude_deg: float, longitude_deg: float) -> float:
        """Of the log density before anything is received, 1/m^2: no place is less certain than that."""
        away_m = float(rays.arc_m(np.array(latitude_deg), np.array(longitude_deg), *self.centre_deg))
        return 4 / (self.scale_m**2 + away_m**2)

    def log_within_horizon(
        self, latitude_deg: Float64, longitude_deg: Float64, altitude_m: Float64
    ) -> Float64:
        """Log of how likely it is that all receivers hear places of any shape over the bulge of the earth.

        Beyond the radio horizon (4/3 of the earth's radius) a line of sight is lost; ducts and scatter carry
        farther, but seldom.
        """
        if self.propagation != "line-of-sight":
            return np.zeros(np.shape(latitude_deg))
        ways = rays.paths(latitude_deg, longitude_deg, altitude_m, self.sites, self.propagation)
        height = np.maximum(np.asarray(altitude_m)[..., None] - self.sites.altitude_m.min(), 0) + _MAST_M
        own = np.maximum(self.sites.altitude_m - self.sites.altitude_m.min(), 0) + _MAST_M
        horizon = np.sqrt(2 * 4 / 3 * rays.EARTH_RADIUS_M) * (np.sqrt(height) + np.sqrt(own))
        beyond = np.maximum(ways.length_m - horizon, 0) / _BEYOND_M
        return np.asarray(-np.minimum(beyond, _SELDOM).sum(axis=-1), np.float64)

    def shared_m2(self, gain: Float64, place: Float64) -> Float64:
        """What it adds to a covariance of unknowns that the doubts about receivers are correlated, (U, U).

        The weights of the times have each one's doubt, as if it were its own.

        Args:
            gain: Derivatives of the unknowns by the times, shape (U, T).
            place: Latitude, longitude and altitude, shape (3,).
        """
        doubt = self.sites.doubt_m2
        if doubt is None:
            return np.zeros((len(gain), len(gain)))
        by = rays.by_receiver(place[0], place[1], place[2], self.sites)
        shared = np.einsum("ti,tisj,sj->ts", by, doubt, by)
        np.fill_diagonal(shared, 0.0)
        return np.asarray(gain @ shared @ gain.T, np.float64)

    def without_times(self) -> Problem:
        """The same, had no receiver a time."""
        nobody = np.zeros(0, np.intp)
        return replace(
            self, row=nobody, sites=Sites.at(*np.zeros((3, 0))), range_m=np.zeros(0), sigma_m=np.zeros(0)
        )

    def best_times(self) -> npt.NDArray[np.intp]:
        """The times by which the moment of emission is tried at each place of a grid."""
        return np.argsort(self.sigma_m, kind="stable")[:_TIMES]

    def expected_altitude_m(self, latitude_deg: Float64, longitude_deg: Float64) -> Float64:
        """Of a transmitter at places of any shape, metres; where the terrain is not known it is at 0 m."""
        if self.terrain is None:
            return np.full(np.shape(latitude_deg), self.altitude_m)
        ground = self.terrain.altitude_m(latitude_deg, longitude_deg)
        return np.asarray(self.altitude_m + np.nan_to_num(ground, nan=0.0), np.float64)

    def log_prior(self, latitude_deg: Float64, longitude_deg: Float64) -> Float64:
        """Log density of places before anything is received, 1/m^2, any shape."""
        ratio = rays.arc_m(latitude_deg, longitude_deg, *self.centre_deg) / self.scale_m
        return np.asarray(-math.log(math.pi * self.scale_m**2) - 2 * np.log1p(ratio * ratio), np.float64)


@dataclass(frozen=True, eq=False)
class Candidate:
    """A minimum under a hypothesis.

    Attributes:
        latitude_deg: Degrees.
        longitude_deg: Degrees.
        altitude_m: Metres.
        covariance_m2: Of east, north and up, shape (3, 3).
        log_evidence: Up to a constant that all candidates share.
        residual_m: Arrival less expected, shape (T,).
        deviation_m: Standard deviations of the arrivals there, shape (T,).
        right: Which times are taken to be right, shape (T,).
        square: Sum of the squared residuals of these, in standard deviations.
        freedom: How many more of them there are than unknowns.
        log_common: Log of how much more probable they are than times of the same network that have no place
            in common: those come at any moment within the way between its farthest receivers.
    """

    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    covariance_m2: Float64
    log_evidence: float
    residual_m: Float64
    deviation_m: Float64
    right: Bool
    square: float
    freedom: int
    log_common: float

    def weighed(self, log_likelihood: float) -> Candidate:
        """The same with further evidence."""
        return replace(self, log_evidence=self.log_evidence + log_likelihood)


def candidates(problem: Problem) -> list[Candidate]:
    """Minima and hypotheses that are not negligible, most probable first; none with fewer than three times.

    With one time to spare a wrong one is seen, and each may be it; with two it is known which. Further wrong
    ones are looked for as long as that makes the event more probable.
    """
    count = len(problem.row)
    if count < UNKNOWNS:
        return []
    start = _starts(problem)
    found = _under(problem, start, np.ones((1, count), np.bool_))
    for wrong in range(1, count - UNKNOWNS + 1):
        best = max(found, key=_evidence, default=None)
        right = np.ones(count, np.bool_) if best is None or wrong == 1 else best.right
        further = right & ~np.eye(count, dtype=bool)[right]
        more = _under(problem, start, further)
        found += more
        if best is not None and max(map(_evidence, more), default=-math.inf) < best.log_evidence:
            break
        if float(bdtrc(wrong, count, WRONG_SHARE)) < _INCREDIBLE:
            break
    return weighty(found)


def search_axis(problem: Problem, count: int) -> Float64:
    """Either axis of a square grid about the middle of the network, metres, dense there; shape (count,)."""
    axis = np.linspace(-1.0, 1.0, count)
    reach_m = min(_REACH * problem.scale_m, FURTHEST_M)
    return np.asarray(reach_m * np.sinh(_BEND * axis) / math.sinh(_BEND), np.float64)


def _evidence(one: Candidate) -> float:
    return one.log_evidence


def weighty(found: list[Candidate]) -> list[Candidate]:
    """Those with a share of the evidence, most probable first."""
    ordered = sorted(found, key=_evidence, reverse=True)
    return [one for one in ordered if one.log_evidence > ordered[0].log_evidence + math.log(_NEGLIGIBLE)]


def _starts(problem: Problem) -> Float64:
    """Latitude and longitude near the best minima over a grid that follows the network, shape (S, 2)."""
    step = search_axis(problem, _GRID)
    cell = np.gradient(step)
    east, north = np.meshgrid(step, step, indexing="ij")
    half_cell = 0.5 * np.maximum(*np.meshgrid(cell, cell, indexing="ij"))
    latitude, longitude = rays.destination(*problem.centre_deg, east, north)
    altitude = problem.expected_altitude_m(latitude, longitude)
    ways = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation)
    own = np.hypot(problem.sigma_m, ways.spread_m)
    weight = 1 / (own * own + ways.common_m**2 + half_cell[..., None] ** 2)
    emitted = problem.range_m - ways.length_m
    tried = problem.best_times()
    cost = np.full(latitude.shape, np.inf)
    for row in tried.tolist():
        offset = emitted - emitted[..., row, None]
        cost = np.minimum(cost, np.minimum(0.5 * offset * offset * weight, _UNLIKELY).sum(axis=-1))
    cost -= problem.log_prior(latitude, longitude)
    lowest = cost <= minimum_filter(cost, 3, mode="constant", cval=np.inf)
    place = np.argwhere(lowest)
    best = place[np.argsort(cost[lowest], kind="stable")[:_STARTS]]
    start = latitude[tuple(best.T)], longitude[tuple(best.T)]
    if len(problem.row) > _AMBIGUOUS:
        return np.stack(start, axis=-1)
    if problem.propagation in {"line-of-sight", "ground-wave"}:
        return np.concatenate([np.stack(start, axis=-1), _crossings(problem)])
    # Three hyperbolas cross twice, and both crossings may lie in one cell.
    reach = _ASIDE * half_cell[tuple(best.T)]
    around = [
        rays.moved(*start, np.zeros(len(best)), east * reach, north * reach)
        for east in (-1, 0, 1)
        for north in (-1, 0, 1)
    ]
    return np.concatenate([np.stack(one, axis=-1) for one in around])


def _crossings(problem: Problem) -> Float64:
    """Latitude and longitude where the hyperbolas of each three times cross, shape (S, 2).

    Over a sphere at the network's middle and straight lines: from |x| = R and |x - s_k| = r_k - b, of which
    x is of second order in the moment of emission b, follows a polynomial of fourth order (after S. Bancroft,
    "An algebraic solution of the GPS equations", IEEE Trans. AES 21, 1985).
    """
    middle = np.array(problem.centre_deg[0]), np.array(problem.centre_deg[1])
    up = rays.axes(*middle)[2]
    below = rays.ecef(*middle, np.array(0.0)) - rays.EARTH_RADIUS_M * up
    radius = (rays.EARTH_RADIUS_M + float(problem.expected_altitude_m(*middle))) / problem.scale_m
    found = []
    for three in itertools.combinations(range(len(problem.row)), UNKNOWNS):
        site = (problem.sites.ecef_m[list(three)] - below) / problem.scale_m
        late = problem.range_m[list(three)] / problem.scale_m
        if np.linalg.cond(site) > _OPEN:
            continue
        known = radius**2 + (site * site).sum(axis=1) - late * late
        a, b, c = np.linalg.solve(site, 0.5 * np.stack([known, 2 * late, -np.ones(UNKNOWNS)], axis=1)).T
        for root in np.roots([c @ c, 2 * b @ c, b @ b + 2 * a @ c, 2 * a @ b, a @ a - radius**2]).real:
            found.append(rays.geodetic(below + problem.scale_m * (a + root * (b + root * c))))
    return np.array(found).reshape(-1, 2)


@dataclass(frozen=True, eq=False)
class _Normal:
    """Normal equations at B states: a step s changes `cost` by - 2 `right` s + s `matrix` s."""

    cost: Float64  # (B,)
    right: Float64  # (B, 5)
    matrix: Float64  # (B, 5, 5)
    jacobian: Float64  # (B, T, 5)
    residual: Float64  # (B, T)
    deviation: Float64  # (B, T)


def _normal(problem: Problem, state: Float64, used: Bool) -> _Normal:
    """The normal equations of B states with the times that are used (B, T).

    A state (B, 4) is latitude, longitude, altitude, and what is common to all ways in standard deviations.
    The moment of emission, the fifth unknown, is always the best for the others.
    """
    ways = rays.paths(state[:, 0], state[:, 1], state[:, 2], problem.sites, problem.propagation)
    deviation = np.hypot(problem.sigma_m, ways.spread_m)
    weight = np.where(used, 1 / deviation**2, 0.0)
    residual = problem.range_m - ways.length_m - ways.common_m * state[:, 3:]
    residual -= ((weight * residual).sum(axis=-1) / weight.sum(axis=-1))[:, None]
    slope = ways.slope * np.array([1.0, 1.0, float(problem.altitude_is_free)])
    jacobian = np.concatenate([slope, ways.common_m[..., None], np.ones_like(residual)[..., None]], axis=-1)
    weighted = weight[..., None] * jacobian
    matrix = np.einsum("bti,btj->bij", weighted, jacobian)
    right = np.einsum("bti,bt->bi", weighted, residual)
    # The logarithm keeps the descent from places where a wide spread explains anything.
    cost = (weight * residual * residual).sum(axis=-1) + 2 * np.where(used, np.log(deviation), 0.0).sum(
        axis=-1
    )
    rise = problem.expected_altitude_m(state[:, 0], state[:, 1]) - state[:, 2]
    stiff = 1 / problem.altitude_sigma_m**2 if problem.altitude_is_free else 1.0
    matrix[:, 2, 2] += stiff
    right[:, 2] += stiff * rise
    cost += stiff * rise * rise + state[:, 3] ** 2
    matrix[:, 3, 3] += 1.0
    right[:, 3] -= state[:, 3]
    return _Normal(cost, right, matrix, jacobian, residual, deviation)


def _descended(problem: Problem, state: Float64, used: Bool) -> tuple[Float64, _Normal]:
    """Levenberg's and Marquardt's descent of B states at once."""
    state = state.copy()
    damping = np.full(len(state), 1e-4)
    now = _normal(problem, state, used)
    longest_m = _LONGEST_STEP * problem.scale_m
    moving = np.arange(len(state))
    for _ in range(_STEPS):
        here, matrix = state[moving], now.matrix[moving]
        diagonal = np.einsum("bii->bi", matrix) * np.array([1, 1, 1, 1, 0])
        damped = matrix + np.einsum("bi,ij->bij", damping[moving, None] * diagonal + 1e-12, np.eye(5))
        step = np.linalg.solve(damped, now.right[moving, :, None])[..., 0]
        size = np.sqrt((step[:, :2] ** 2).sum(axis=-1))
        # A shorter step keeps its direction: the place goes with the climb.
        climb = np.maximum(np.abs(step[:, 2]), 1e-9)
        step *= np.minimum(1.0, np.minimum(longest_m / np.maximum(size, 1e-9), _LONGEST_CLIMB_M / climb))[
            :, None
        ]
        latitude, longitude = rays.moved(here[:, 0], here[:, 1], here[:, 2], step[:, 0], step[:, 1])
        altitude = np.clip(here[:, 2] + step[:, 2], *_ALTITUDES_M)
        there = np.stack([latitude, longitude, altitude, here[:, 3] + step[:, 3]], axis=-1)
        then = _normal(problem, there, used[moving])
        better = then.cost <= now.cost[moving]
        state[moving[better]] = there[better]
        for name, new in vars(then).items():
            getattr(now, name)[moving[better]] = new[better]
        damping[moving] *= np.where(better, 0.1, 10.0)
        moving = moving[~(better & (size < _CONVERGED_M)) & (damping[moving] < _STIFF)]
        if len(moving) == 0:
            break
    return state, now


def _under(problem: Problem, start: Float64, right: Bool) -> list[Candidate]:
    """The distinct minima under each hypothesis, a row of `right` (H, T), from starts (S, 2)."""
    found = _minima(problem, np.tile(start, (len(right), 1)), np.repeat(right, len(start), axis=0), [])
    if found and (across := _across(problem)) is not None:
        # The mirror image of a place near the line may be in the next cell, and no minimum of the grid.
        place = _mirrored(problem, np.array([[one.latitude_deg, one.longitude_deg] for one in found]), across)
        found = _minima(problem, place, np.array([one.right for one in found]), found)
    return found


def _minima(problem: Problem, start: Float64, used: Bool, known: list[Candidate]) -> list[Candidate]:
    """Minima that are known and those to which starts (B, 2) descend, each by its own times (B, T)."""
    altitude = problem.expected_altitude_m(start[:, 0], start[:, 1])
    state = np.stack([*start.T, altitude, np.zeros(len(start))], axis=-1)
    state, last = _descended(problem, state, used)
    found = list(known)
    for row in np.argsort(last.cost, kind="stable").tolist():
        one = _candidate(problem, state[row], last, row, used[row])
        if one is not None and not any(_same(one, other) for other in found):
            found.append(one)
    return found


def _across(problem: Problem) -> Float64 | None:
    """East and north of the direction across a network that is nearly a line, shape (2,); None of others."""
    sites = rays.plane_m(problem.sites.latitude_deg, problem.sites.longitude_deg, *problem.centre_deg)
    spread, main = np.linalg.eigh(np.cov(np.stack(sites)))
    return main[:, 0] if spread[0] < _NARROW**2 * spread[1] else None


def _mirrored(problem: Problem, place: Float64, across: Float64) -> Float64:
    """Latitude and longitude of places (S, 2) on the other side of a network's main axis."""
    sites = rays.plane_m(problem.sites.latitude_deg, problem.sites.longitude_deg, *problem.centre_deg)
    there = rays.plane_m(place[:, 0], place[:, 1], *problem.centre_deg)
    away = across @ (np.stack(there) - np.mean(sites, axis=1, keepdims=True))
    east, north = -2 * np.outer(across, away)
    return np.stack(rays.moved(place[:, 0], place[:, 1], np.zeros(len(place)), east, north), axis=-1)


def _candidate(problem: Problem, state: Float64, last: _Normal, row: int, right: Bool) -> Candidate | None:
    """One minimum with its evidence; None where the times leave the place open."""
    free = [0, 1, *([2] if problem.altitude_is_free else []), 3, 4]
    information = last.matrix[row][np.ix_(free, free)]
    if not np.isfinite(information).all() or np.linalg.cond(information[:2, :2]) > _OPEN:
        return None
    information[[0, 1], [0, 1]] += problem.curvature(float(state[0]), float(state[1]))
    log_det = np.linalg.slogdet(information)[1]
    inverse = np.linalg.inv(information)
    residual, deviation, slope = last.residual[row], last.deviation[row], last.jacobian[row][:, free]
    gain = inverse @ slope.T * np.where(right, 1 / deviation**2, 0.0)
    inverse = inverse + problem.shared_m2(gain, state[:3])
    covariance = np.zeros((3, 3))
    known = len(free) - 2
    covariance[:known, :known] = inverse[:known, :known]
    log_evidence = (
        -0.5 * float(last.cost[row]) + 0.5 * len(free) * math.log(2 * math.pi) - 0.5 * float(log_det)
    )
    if problem.altitude_is_free:
        log_evidence -= math.log(problem.altitude_sigma_m)
    count = int(np.count_nonzero(right))
    log_evidence -= 0.5 * count * math.log(2 * math.pi)
    log_evidence += float(problem.log_prior(state[0], state[1]))
    log_evidence += float(problem.log_within_horizon(state[0], state[1], state[2]))
    log_common = log_evidence + (count - 1) * math.log(2 * problem.scale_m)
    log_evidence += count * math.log(1 - WRONG_SHARE)
    log_evidence += float(wrong_log_density(residual[~right], deviation[~right]).sum())
    weighted = residual[right] / deviation[right]
    # An altitude that the times tell costs one of them.
    told = problem.altitude_is_free and bool(covariance[2, 2] < 0.25 * problem.altitude_sigma_m**2)
    return Candidate(
        float(state[0]),
        float(state[1]),
        float(state[2]),
        covariance,
        log_evidence,
        residual,
        deviation,
        right,
        float((weighted * weighted).sum()),
        max(count - UNKNOWNS - told, 0),
        log_common,
    )


def wrong_log_density(residual_m: Float64, deviation_m: Float64) -> Float64:
    """Log of the probability that a time is wrong, times the density of its error; any shape."""
    far = np.maximum(np.abs(residual_m), deviation_m)
    decades = np.log(np.maximum(_LONGEST_ERROR_M / deviation_m, 10.0))
    return np.asarray(np.log(WRONG_SHARE / (2 * far * decades)), np.float64)


def _same(one: Candidate, other: Candidate) -> bool:
    """Whether two minima under one hypothesis are one."""
    if not np.array_equal(one.right, other.right):
        return False
    offset = np.array(
        [
            float(part)
            for part in rays.offset_m(
                one.latitude_deg, one.longitude_deg, other.latitude_deg, other.longitude_deg
            )
        ]
    )
    return float(offset @ np.linalg.solve(other.covariance_m2[:2, :2], offset)) < 1.0
