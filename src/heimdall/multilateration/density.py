"""The posterior over a grid, for what no Gaussian describes: two times, levels alone, contradicting times."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.multilateration import levels, minima, rays
from heimdall.multilateration.minima import Problem
from heimdall.multilateration.rays import Sites

Float64 = npt.NDArray[np.float64]

_CELLS = 141
_ZOOMS = 4
_HELD = 0.998  # of the mass is in the next, smaller grid
_WORTH = 0.7  # a grid no smaller than this share of the last one is not worth a step
_FITS = 4.0  # standard deviations
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


def posterior(problem: Problem, heard: Sites, level_db: Float64) -> Density:
    """The posterior over a grid that follows the network and then where the mass is.

    Args:
        problem: Receivers with a time, of which there may be none.
        heard: Receivers with a level.
        level_db: Their levels, shape (L,).
    """
    east = north = minima.search_axis(problem, _CELLS)
    for zoom in range(_ZOOMS):
        found = _over(problem, heard, level_db, east, north)
        if zoom == _ZOOMS - 1:
            break
        rows, columns = _holding(found.mass.sum(axis=1)), _holding(found.mass.sum(axis=0))
        if (rows[1] - rows[0]) * (columns[1] - columns[0]) > _WORTH * _CELLS**2:
            break
        north, east = _finer(north, rows), _finer(east, columns)
    return found


def _holding(mass: Float64) -> tuple[int, int]:
    """First and last of the cells in a line that hold the mass, and one more either way."""
    held = np.cumsum(mass)
    first = int(np.searchsorted(held, (1 - _HELD) / 2))
    last = int(np.searchsorted(held, 1 - (1 - _HELD) / 2))
    return max(first - 1, 0), min(last + 1, len(mass) - 1)


def _finer(axis: Float64, ends: tuple[int, int]) -> Float64:
    place = np.linspace(ends[0], ends[1], _CELLS)
    return np.asarray(np.interp(place, np.arange(len(axis)), axis), np.float64)


def _over(problem: Problem, heard: Sites, level_db: Float64, east_m: Float64, north_m: Float64) -> Density:
    """Rows are to the north, columns to the east."""
    north, east = np.meshgrid(north_m, east_m, indexing="ij")
    wide, high = np.gradient(east_m), np.gradient(north_m)
    latitude, longitude = rays.destination(*problem.centre_deg, east, north)
    altitude = problem.expected_altitude_m(latitude, longitude)
    half_cell = 0.5 * np.sqrt(wide[None, :] * high[:, None])
    total = problem.log_prior(latitude, longitude) + levels.log_likelihood(
        latitude, longitude, altitude, heard, level_db=level_db, propagation=problem.propagation
    )
    if len(problem.row) > 0:
        total = total + problem.log_within_horizon(latitude, longitude, altitude)
    if len(problem.row) > 1:
        total = total + _of_times(problem, latitude, longitude, altitude, half_cell)
    # Of an azimuthal equidistant map: its circles are too long by angle over sine.
    angle = np.sqrt(east * east + north * north) / rays.EARTH_RADIUS_M
    area = wide[None, :] * high[:, None] * np.sinc(angle / math.pi)
    return Density(latitude, longitude, total, np.maximum(area, 0.0))


def _of_times(
    problem: Problem, latitude: Float64, longitude: Float64, altitude: Float64, half_cell: Float64
) -> Float64:
    """Log-likelihood of the times at cells (m, n): each right or wrong, over all moments of emission.

    The moment is that of one receiver's time and all that fit to it, of whichever receiver explains most.
    """
    ways = rays.paths(latitude, longitude, altitude, problem.sites, problem.propagation)
    high = problem.altitude_sigma_m * np.abs(ways.slope[..., 2]) if problem.altitude_is_free else 0.0
    own = problem.sigma_m**2 + ways.spread_m**2 + ways.common_m**2 + high**2
    deviation = np.sqrt(own + half_cell[..., None] ** 2)
    emitted = problem.range_m - ways.length_m
    best = np.full(latitude.shape, -np.inf)
    for row in problem.best_times().tolist():
        moment = emitted[..., row, None]
        weight = np.where(np.abs(emitted - moment) < _FITS * deviation, 1 / deviation**2, 0.0)
        together = weight.sum(axis=-1, keepdims=True)
        residual = emitted - (weight * emitted).sum(axis=-1, keepdims=True) / together
        ratio = residual / deviation
        right = (
            math.log(1 - minima.WRONG_SHARE)
            - 0.5 * ratio * ratio
            - np.log(deviation * math.sqrt(2 * math.pi))
        )
        each = np.logaddexp(right, minima.wrong_log_density(residual, deviation)).sum(axis=-1)
        best = np.maximum(best, each + 0.5 * np.log(2 * math.pi / together[..., 0]))
    return best
