"""The posterior over a grid, for what no Gaussian describes: two times, levels alone, contradicting times.

Within a cell the ways are taken to be straight lines in the place, and the likelihood is averaged over them:
what the times say across a line that is much narrower than a cell is kept.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.multilateration import levels, minima, rays
from heimdall.multilateration.minima import Candidate, Problem
from heimdall.multilateration.rays import Paths, Sites

Float64 = npt.NDArray[np.float64]
Bool = npt.NDArray[np.bool_]

_CELLS = 101
_ZOOMS = 4
_HELD = 0.998  # of the mass is in the next, smaller grid
_WORTH = 0.7  # a grid no smaller than this share of the last one is not worth a step
_AROUND = 4.0  # standard deviations of a candidate are in the grid
_MEDOID_OF = 500


@dataclass(frozen=True, eq=False)
class Density:
    """A posterior over cells.

    Attributes:
        latitude_deg: Of their middles, degrees, shape (m, n).
        longitude_deg: Degrees, shape (m, n).
        log_density: Up to a constant, shape (m, n).
        area_m2: Of each, square metres, shape (m, n).
    """

    latitude_deg: Float64
    longitude_deg: Float64
    log_density: Float64
    area_m2: Float64

    @property
    def mass(self) -> Float64:
        """Probability of each cell, shape (m, n)."""
        mass = np.exp(self.log_density - self.log_density.max()) * self.area_m2
        return np.asarray(mass / mass.sum(), np.float64)

    def medoid(self) -> tuple[float, float, Float64]:
        """The cell nearest to all others in the mean, and the second moment about it, m^2, shape (2, 2)."""
        mass = self.mass.ravel()
        heaviest = np.argsort(-mass, kind="stable")[:_MEDOID_OF]
        latitude, longitude = self.latitude_deg.ravel(), self.longitude_deg.ravel()
        apart = [
            float((mass * rays.arc_m(latitude, longitude, latitude[row], longitude[row])).sum())
            for row in heaviest[:: max(len(heaviest) // 100, 1)].tolist()
        ]
        best = int(heaviest[:: max(len(heaviest) // 100, 1)][int(np.argmin(apart))])
        middle = float(latitude[best]), float(longitude[best])
        away = np.stack(rays.plane_m(latitude, longitude, *middle), axis=-1)
        return *middle, np.einsum("k,ki,kj->ij", mass, away, away)


@dataclass(frozen=True, eq=False)
class _Grid:
    """Cells about the middle of the network, along axes that are turned from the east to the north.

    Attributes:
        along_m: Of the cells' middles, shape (n,).
        across_m: Shape (m,).
        turn: Angle from the east to the first axis, radians.
    """

    along_m: Float64
    across_m: Float64
    turn: float

    def plane_m(self) -> tuple[Float64, Float64]:
        """East and north of the cells on the map, shape (m, n)."""
        along, across = np.meshgrid(self.along_m, self.across_m)
        cos, sin = math.cos(self.turn), math.sin(self.turn)
        return along * cos - across * sin, along * sin + across * cos

    def size_m(self) -> tuple[Float64, Float64]:
        """Width of the cells along both axes, shapes (1, n) and (m, 1)."""
        return np.gradient(self.along_m)[None, :], np.gradient(self.across_m)[:, None]

    def area_m2(self) -> Float64:
        """Of the cells, on the map, shape (m, n)."""
        wide, high = self.size_m()
        return np.asarray(wide * high, np.float64)

    def finer(self, mass: Float64, axis_m: Float64) -> _Grid:
        """A grid along the main axes of the mass that holds it, its cells as dense as those of an axis."""
        east, north = self.plane_m()
        apart = np.stack([east - (mass * east).sum(), north - (mass * north).sum()])
        main = np.linalg.eigh(np.einsum("imn,jmn,mn->ij", apart, apart, mass))[1][:, 1]
        turn = math.atan2(main[1], main[0])
        half = 0.5 * np.hypot(*self.size_m())
        along = east * math.cos(turn) + north * math.sin(turn)
        across = north * math.cos(turn) - east * math.sin(turn)
        return _Grid(
            _holding(along, half, mass, axis_m=axis_m), _holding(across, half, mass, axis_m=axis_m), turn
        )


def posterior(
    problem: Problem, heard: Sites, level_db: Float64, candidates: Sequence[Candidate] = ()
) -> Density:
    """The posterior over a grid that follows the network and then where the mass is.

    Args:
        problem: Receivers with a time, of which there may be none.
        heard: Receivers with a level.
        level_db: Their levels, shape (L,).
        candidates: What the times say as Gaussians, most probable first: they tell which times may be wrong.
    """
    axis = minima.search_axis(problem, _CELLS)
    axis = axis * max(_reach_m(problem, candidates) / axis[-1], 1.0)
    hypotheses = _hypotheses(len(problem.row), candidates)
    grid = _Grid(axis, axis, 0.0)
    for zoom in range(_ZOOMS):
        found = _over(problem, heard, level_db, grid, hypotheses)
        finer = grid.finer(found.mass, axis)
        if zoom == _ZOOMS - 1 or finer.area_m2().sum() > _WORTH * grid.area_m2().sum():
            break
        grid = finer
    return found


def _reach_m(problem: Problem, candidates: Sequence[Candidate]) -> float:
    """How far from the middle of the network candidates may be, metres."""
    far = [
        float(rays.arc_m(np.array(one.latitude_deg), np.array(one.longitude_deg), *problem.centre_deg))
        + _AROUND * math.sqrt(float(np.linalg.eigvalsh(one.covariance_m2[:2, :2])[-1]))
        for one in candidates
    ]
    return min(max(far, default=0.0), minima.FURTHEST_M)


def _hypotheses(count: int, candidates: Sequence[Candidate]) -> Bool:
    """Which times are right, shape (H, T): as candidates have it; one may be wrong where nothing checks."""
    right = [one.right for one in candidates] or [np.ones(count, np.bool_)]
    if count <= minima.UNKNOWNS or not candidates:
        right += list(~np.eye(count, dtype=bool))
    return np.unique(np.array(right), axis=0) if count else np.ones((1, 0), np.bool_)


def _holding(place: Float64, half: Float64, mass: Float64, *, axis_m: Float64) -> Float64:
    """An axis from the first to the last of the places that hold the mass, with the half of a cell."""
    order = np.argsort(place, axis=None)
    held = np.cumsum(mass.ravel()[order])
    first = order[np.searchsorted(held, (1 - _HELD) / 2)]
    last = order[min(int(np.searchsorted(held, 1 - (1 - _HELD) / 2)), len(order) - 1)]
    ends = [place.ravel()[first] - 2 * half.ravel()[first], place.ravel()[last] + 2 * half.ravel()[last]]
    number = np.arange(len(axis_m), dtype=np.float64)
    start, stop = np.interp(ends, axis_m, number).tolist()
    return np.asarray(np.interp(np.linspace(start, stop, _CELLS), number, axis_m), np.float64)


def _over(problem: Problem, heard: Sites, level_db: Float64, grid: _Grid, hypotheses: Bool) -> Density:
    east, north = grid.plane_m()
    latitude, longitude = rays.destination(*problem.centre_deg, east, north)
    altitude = problem.expected_altitude_m(latitude, longitude)
    total = problem.log_prior(latitude, longitude) + levels.log_likelihood(
        latitude, longitude, altitude, heard, level_db=level_db, propagation=problem.propagation
    )
    if len(problem.row) > 0:
        total = total + problem.log_within_horizon(latitude, longitude, altitude)
    if len(problem.row) > 1:
        ways = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation)
        total = total + _of_times(problem, ways, grid, hypotheses)
    # Of an azimuthal equidistant map: its circles are too long by angle over sine.
    angle = np.sqrt(east * east + north * north) / rays.EARTH_RADIUS_M
    area = grid.area_m2() * np.sinc(angle / math.pi)
    return Density(latitude, longitude, total, np.maximum(area, 0.0))


def _of_times(problem: Problem, ways: Paths, grid: _Grid, hypotheses: Bool) -> Float64:
    """Log-likelihood of the times in cells (m, n), over all moments of emission and hypotheses (H, T).

    The place in the cell, the altitude and what all ways share are Gaussian: the standard deviations of the
    place are half a cell.
    """
    wide, high = grid.size_m()
    cos, sin = math.cos(grid.turn), math.sin(grid.turn)
    shared = [
        0.5 * wide[..., None] * (ways.slope[..., 0] * cos + ways.slope[..., 1] * sin),
        0.5 * high[..., None] * (ways.slope[..., 1] * cos - ways.slope[..., 0] * sin),
    ]
    if problem.altitude_is_free:
        shared.append(problem.altitude_sigma_m * ways.slope[..., 2])
    if np.any(ways.common_m):
        shared.append(ways.common_m)
    by = np.stack(shared, axis=-1)
    # Within a cell the ways differ by more than straight lines: by the angle under which half of it is seen.
    differ = by[..., :2] - by[..., :2].mean(axis=-2, keepdims=True)
    angle = np.minimum(0.5 * np.hypot(wide, high)[..., None] / np.maximum(ways.length_m, 1.0), 1.0)
    variance = problem.sigma_m**2 + ways.spread_m**2 + (differ * differ).sum(axis=-1) * angle**2
    late = problem.range_m - ways.length_m
    return np.asarray(
        np.logaddexp.reduce([_under(right, late, variance, by) for right in hypotheses], axis=0), np.float64
    )


def _under(right: Bool, late: Float64, variance: Float64, by: Float64) -> Float64:
    """Log-likelihood of times (..., T) of which some are right.

    Args:
        right: Which, shape (T,).
        late: Arrival less what is expected, less the moment of emission, metres, shape (..., T).
        variance: Of each by itself, shape (..., T).
        by: Derivatives by what they share, in its standard deviations, shape (..., T, K).
    """
    weight = right / variance
    together = np.einsum("...t->...", weight)
    late = late - (np.einsum("...t,...t->...", weight, late) / together)[..., None]
    by = by - (np.einsum("...t,...tk->...k", weight, by) / together[..., None])[..., None, :]
    weighted = weight[..., None] * by
    matrix = np.eye(by.shape[-1]) + np.swapaxes(weighted, -1, -2) @ by
    pull = np.einsum("...tk,...t->...k", weighted, late)
    step = np.linalg.solve(matrix, pull[..., None])[..., 0]
    square = np.einsum("...t,...t,...t->...", weight, late, late) - np.einsum("...k,...k->...", step, pull)
    log_det = np.linalg.slogdet(matrix)[1] + np.log(2 * math.pi * variance[..., right]).sum(axis=-1)
    count = int(np.count_nonzero(right))
    total = 0.5 * (np.log(2 * math.pi / together) - square - log_det) + count * math.log(
        1 - minima.WRONG_SHARE
    )
    if count < len(right):
        wrong = by[..., ~right, :]
        left = late[..., ~right] - np.einsum("...tk,...k->...t", wrong, step)
        deviation = np.sqrt(variance[..., ~right] + np.einsum("...tk,...tk->...t", wrong, wrong))
        total = total + minima.wrong_log_density(left, deviation).sum(axis=-1)
    return np.asarray(total, np.float64)
