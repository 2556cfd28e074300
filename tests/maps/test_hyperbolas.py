"""Lines of equal difference of arrival times run where the ellipsoid has them, though drawn on a sphere."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.geometry import geo
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.maps import hyperbolas
from heimdall.maps.hyperbolas import Hyperbola, Timed
from heimdall.maps.projection import Box, Degrees, Projection

BOX = Box(-3000, -3000, 3000, 3000)
NETWORKS = [
    ((46.8, 8.2), [(46.8, 9.5), (47.7, 8.2), (46.0, 8.2)]),
    ((52.0, 5.0), [(52.0, 9.0), (55.0, 5.0), (48.0, 5.0)]),
]


def off_m(line: Hyperbola, place: Degrees) -> float:
    """How far a line passes a place."""
    east_m, north_m = Projection(*place).to_m(*line.positions.T)
    return float(np.hypot(east_m, north_m).min())


@pytest.mark.parametrize(("truth", "receivers"), NETWORKS)
@pytest.mark.parametrize("answer_off_deg", [0.0, 0.005])
def test_lines_of_right_times_cross_where_the_transmitter_is_and_not_where_the_answer_is(
    truth: Degrees, receivers: list[Degrees], answer_off_deg: float
) -> None:
    at = truth[0] + answer_off_deg, truth[1]
    later_m = [(geo.distance_m(*one, *truth) - geo.distance_m(*one, *at)).item() for one in receivers]
    timed = [
        Timed(one, way_m / SPEED_OF_LIGHT_M_S, 1e-7) for one, way_m in zip(receivers, later_m, strict=True)
    ]
    found = hyperbolas.lines(timed, at, Projection(*truth), BOX)
    assert {(one.first, one.second) for one in found} == {(0, 1), (0, 2), (1, 2)}
    for line in found:
        assert off_m(line, truth) < 30  # a cell of the grid, and 0.3 % of the way between both places
