"""Where transmitters may be: as far outside the receivers' hull as those that are known, and as rare."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.geometry.area import MARGIN_M, Area, Receivers

SQUARE = Receivers(
    np.arange(4, dtype=np.int32),
    np.array([[-50e3, -50e3, 0.0], [50e3, -50e3, 0.0], [50e3, 50e3, 0.0], [-50e3, 50e3, 0.0]]),
)


def rarer_by(reach_m: float) -> npt.NDArray[np.float64]:
    """Places of transmitters (n, 2) that are even within the square and rarer by e in each reach outside."""
    random = generator(1, "test.area")
    drawn_m = random.uniform(-200e3, 200e3, (20_000, 2))
    outside_m = np.maximum(np.abs(drawn_m).max(axis=1) - 50e3, 0)
    return drawn_m[random.random(len(drawn_m)) < np.exp(-outside_m / reach_m)]


def test_how_fast_transmitters_become_rarer_is_learned_to_a_factor_of_two() -> None:
    for reach_m in (5e3, 20e3):
        found = Area.of_transmitters(SQUARE, rarer_by(reach_m)).reach_m
        assert reach_m / 2 <= found <= reach_m * 2


def test_the_margin_holds_every_transmitter_that_is_known() -> None:
    far_m = np.array([[0.0, 150e3], [0.0, 0.0]])
    assert Area.of_transmitters(SQUARE, far_m).margin_m > 100e3
    assert Area.of_transmitters(SQUARE, far_m[1:]).margin_m == MARGIN_M


def test_transmitters_are_even_within_the_hull_and_rarer_outside() -> None:
    area = dataclasses.replace(Area.around(SQUARE), reach_m=8e3)
    place_m = np.array([[0.0, 0.0], [49e3, -49e3], [58e3, 0.0], [0.0, -66e3]])
    np.testing.assert_allclose(area.log_prior(place_m), [0, 0, -1, -2], atol=1e-12)


def test_an_area_survives_json() -> None:
    area = Area.of_transmitters(SQUARE, rarer_by(5e3))
    read = Area.from_dict(json.loads(json.dumps(dataclasses.asdict(area))))
    assert dataclasses.asdict(read) == dataclasses.asdict(area)
