"""Rings and lines at the edges of a rectangle."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall.maps import clipping

BOUNDS = (0.0, 0.0, 10.0, 10.0)


def area(ring: np.ndarray) -> float:
    x, y = ring.T
    return 0.5 * abs(float(np.sum(x * np.roll(y, -1) - np.roll(x, -1) * y)))


@pytest.mark.parametrize(
    ("ring", "expected"),
    [
        ([(2, 2), (2, 4), (4, 4), (4, 2)], 4.0),  # inside
        ([(-5, -5), (-5, 15), (15, 15), (15, -5)], 100.0),  # around
        ([(-5, 5), (-5, 15), (5, 15), (5, 5)], 25.0),  # over a corner
        ([(20, 20), (20, 30), (30, 30)], 0.0),  # outside
        ([(-1, 2), (5, 2), (5, 4), (-1, 4), (-1, 6), (5, 6), (5, 8), (-1, 8)], 20.0),  # two parts
    ],
)
def test_a_ring_keeps_what_is_inside(ring: list[tuple[float, float]], expected: float) -> None:
    found = clipping.ring(np.array(ring, float), BOUNDS)
    assert (area(found) if len(found) else 0.0) == pytest.approx(expected)


@given(st.lists(st.tuples(st.floats(-30, 30), st.floats(-30, 30)), min_size=3, max_size=12))
def test_no_corner_of_a_ring_is_outside(corners: list[tuple[float, float]]) -> None:
    found = clipping.ring(np.array(corners), BOUNDS)
    assert ((found >= -1e-9) & (found <= 10 + 1e-9)).all()


def test_a_line_that_leaves_and_comes_back_is_two() -> None:
    line = np.array([(1, 1), (2, 1), (12, 1), (14, 2), (14, 3), (12, 4), (5, 4), (4, 4)], float)
    first, second = clipping.line(line, BOUNDS)
    assert first.tolist() == [[1, 1], [2, 1], [12, 1]]
    assert second.tolist() == [[12, 4], [5, 4], [4, 4]]
    assert clipping.line(line + 100, BOUNDS) == []


def test_thinning_keeps_the_ends_and_bending_keeps_the_corners() -> None:
    line = np.stack([np.linspace(0, 10, 1001), np.zeros(1001)], axis=1)
    thin = clipping.thinned(line, 1.0)
    assert len(thin) == 11
    assert thin[[0, -1]].tolist() == [[0, 0], [10, 0]]
    bent = clipping.with_corners(np.array([(0, 0), (0, 4), (3, 0)], float), 1.0)
    assert len(bent) == 4 + 4 + 3
    assert {(0.0, 0.0), (0.0, 4.0), (3.0, 0.0), (0.0, 1.0)} <= set(map(tuple, bent.tolist()))
    assert np.abs(np.diff(bent, axis=0)).max() <= 1.0
