"""Rings and lines cut to a rectangle, with fewer corners where nobody would see them."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]
Bounds = tuple[float, float, float, float]  # smallest x and y, largest x and y


def ring(points: Float64, bounds: Bounds) -> Float64:
    """What of a polygon is in a rectangle, shape (m, 2); m is 0 where nothing is.

    Sutherland and Hodgman, Communications of the ACM 17 (1974): several parts are joined along the edges of
    the rectangle, so it is for fills and not for strokes.

    Args:
        points: Its corners, shape (n, 2), each once.
        bounds: The rectangle.
    """
    for axis, bound, sign in ((0, bounds[0], 1), (1, bounds[1], 1), (0, bounds[2], -1), (1, bounds[3], -1)):
        beyond = sign * (points[:, axis] - bound)
        if beyond.min() >= 0:
            continue
        inside = beyond >= 0
        if not inside.any():
            return np.empty((0, 2))
        following, then = np.roll(points, -1, axis=0), np.roll(beyond, -1)
        crosses = inside != (then >= 0)
        part = np.divide(beyond, beyond - then, out=np.zeros_like(beyond), where=crosses)
        between = points + part[:, np.newaxis] * (following - points)
        # Each corner, if it is inside, and then the crossing of the edge that begins in it.
        both = np.stack([points, between], axis=1).reshape(-1, 2)
        points = both[np.stack([inside, crosses], axis=1).ravel()]
    return points


def runs(points: Float64, kept: npt.NDArray[np.bool_]) -> list[Float64]:
    """The stretches of a line, each shape (m, 2), that are kept.

    Args:
        points: Its corners, shape (n, 2).
        kept: Of each edge, shape (n - 1,), whether it is kept.
    """
    if kept.all():
        return [points]
    edges = np.flatnonzero(np.diff(np.concatenate([[False], kept, [False]]).astype(np.int8)))
    return [points[begin : end + 1] for begin, end in zip(edges[::2], edges[1::2], strict=True)]


def line(points: Float64, bounds: Bounds) -> list[Float64]:
    """The stretches of a line near a rectangle: every edge that may reach into it, shape (m, 2) each."""
    low, high = (pick(points[:-1], points[1:]) for pick in (np.minimum, np.maximum))
    near = np.all((high >= bounds[:2]) & (low <= bounds[2:]), axis=1)
    return runs(points, near) if near.any() else []


def thinned(points: Float64, cell: float) -> Float64:
    """Of neighbouring corners in one square of a grid only the first, shape (m, 2); the ends stay.

    Args:
        points: Corners, shape (n, 2).
        cell: Side of a square, in the unit of the corners.
    """
    squares = np.floor(points / cell)
    new = np.ones(len(points), bool)
    new[1:] = (squares[1:] != squares[:-1]).any(axis=1)
    new[-1:] = True
    return points[new]


def with_corners(points: Float64, step: float) -> Float64:
    """A ring with further corners on its long edges, so that it may be bent, shape (m, 2).

    Args:
        points: Its corners, shape (n, 2), each once.
        step: The longest edge that is left, in the unit of the corners.
    """
    edges = np.roll(points, -1, axis=0) - points
    counts = np.maximum(np.ceil(np.abs(edges).max(axis=1) / step), 1).astype(int)
    if counts.max(initial=1) == 1:
        return points
    starts = np.repeat(np.arange(len(points)), counts)
    within = np.arange(len(starts)) - np.repeat(np.cumsum(counts) - counts, counts)
    return np.asarray(points[starts] + (within / counts[starts])[:, np.newaxis] * edges[starts])
