"""A posterior on a grid that becomes finer where the probability is."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.geometry.area import Area

Float64 = npt.NDArray[np.float64]

# Log density, up to a constant, at positions (G, 2) that stand for squares of a side in metres, shape (G,).
LogDensity = Callable[[Float64, float], Float64]

_ACROSS = 40  # squares of the first grid along the longer side of the area
_REFINED = 0.999  # of the probability lies in squares that are cut in four,
_MOST = 384  # of them, the heaviest, for each length of side
_KEPT = 0.9999  # of the probability is in the answer
_QUARTERS = np.array([[-0.25, -0.25], [-0.25, 0.25], [0.25, -0.25], [0.25, 0.25]])


@dataclass(frozen=True, eq=False)
class Cells:
    """Squares that hold a posterior's probability.

    Attributes:
        position_m: East and north of their centres, metres, shape (N, 2).
        side_m: Their sides, metres, shape (N,).
        mass: Their probabilities, above 0, sum 1, shape (N,).
        log_total: Natural logarithm of the integral of the density as it was given, over the whole area.
    """

    position_m: Float64
    side_m: Float64
    mass: Float64
    log_total: float


def first_side_m(area: Area) -> float:
    """Side of the squares of the first grid, metres: it follows the size of the network."""
    return area.extent_m / _ACROSS


def explore(log_density: LogDensity, area: Area, finest_m: float) -> Cells:
    """Find where a density is large in an area.

    A narrow maximum between the centres of large squares is found if the density that is given for a large
    square is, roughly, its mean over the square.

    Args:
        log_density: Natural logarithm, up to a constant that is the same for all sides.
        area: Where to look.
        finest_m: Squares are cut until their sides are at most this, metres. Of a long and narrow ridge only
            a part becomes as fine.

    Returns:
        The squares, without those that hold the last ten thousandth of the probability.
    """
    side_m = first_side_m(area)
    position_m = area.grid_m(side_m)
    sides_m = np.full(len(position_m), side_m)
    logarithm = log_density(position_m, side_m)
    mass = _masses(logarithm, sides_m)
    while side_m > finest_m:
        dense = _densest(mass, _REFINED)
        cut = dense[sides_m[dense] == side_m]
        cut = np.sort(cut[np.argsort(-mass[cut], kind="stable")[:_MOST]])
        if not len(cut):
            break
        quarters_m = (position_m[cut, None] + side_m * _QUARTERS).reshape(-1, 2)
        side_m /= 2
        whole = np.ones(len(position_m), bool)
        whole[cut] = False
        position_m = np.concatenate([position_m[whole], quarters_m])
        sides_m = np.concatenate([sides_m[whole], np.full(len(quarters_m), side_m)])
        logarithm = np.concatenate([logarithm[whole], log_density(quarters_m, side_m)])
        mass = _masses(logarithm, sides_m)
    kept = _densest(mass, _KEPT)
    largest = float(logarithm.max())
    log_total = largest + math.log(float((np.exp(logarithm - largest) * sides_m**2).sum()))
    return Cells(position_m[kept], sides_m[kept], mass[kept] / mass[kept].sum(), log_total)


def _masses(log_density: Float64, side_m: Float64) -> Float64:
    mass = np.exp(log_density - log_density.max()) * side_m**2
    return np.asarray(mass / mass.sum(), np.float64)


def _densest(mass: Float64, share: float) -> npt.NDArray[np.intp]:
    """The fewest squares that hold a share of the probability, in their own order."""
    order = np.argsort(-mass, kind="stable")
    count = int(np.searchsorted(np.cumsum(mass[order]), share)) + 1
    return np.sort(order[:count])
