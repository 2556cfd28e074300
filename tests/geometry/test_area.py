"""Where transmitters may be: as far outside the hull of the receivers as known ones, and as rarely."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import numpy.typing as npt

from heimdall.core.randomness import generator
from heimdall.geometry.area import MARGIN_M, RARER, Area, Receivers

SQUARE = Receivers(
    np.arange(4, dtype=np.int32),
    np.array([[-50e3, -50e3, 0.0], [50e3, -50e3, 0.0], [50e3, 50e3, 0.0], [-50e3, 50e3, 0.0]]),
)


def rarer_by(reach_m: float) -> npt.NDArray[np.float64]:
    """Places of transmitters (n, 2) that are even within the square, and rarer by a power outside."""
    random = generator(1, "test.area")
    drawn_m = random.uniform(-150e3, 150e3, (20_000, 2))
    outside_m = np.maximum(np.abs(drawn_m).max(axis=1) - 50e3, 0)
    return drawn_m[random.random(len(drawn_m)) < (1 + outside_m / reach_m) ** -RARER]


def test_how_fast_transmitters_become_rarer_is_learned_to_a_factor_of_two() -> None:
    for reach_m in (5e3, 20e3):
        found = Area.of_transmitters(SQUARE, rarer_by(reach_m)).reach_m
        assert reach_m / 2 <= found <= reach_m * 2


def test_that_none_is_outside_does_not_make_it_impossible() -> None:
    """Hundreds within the hull: 15 km outside is rare, but an arrival time earns more than that."""
    random = generator(2, "test.area")
    area = Area.of_transmitters(SQUARE, random.uniform(-45e3, 45e3, (300, 2)))
    assert area.reach_m < 2e3
    assert -9 < float(area.log_prior(np.array([65e3, 0.0]))) < -3


def test_the_margin_holds_what_is_known_but_not_one_wrong_coordinate() -> None:
    far_m = np.array([[0.0, 120e3], [0.0, 0.0]])
    assert Area.of_transmitters(SQUARE, far_m).margin_m > 70e3
    assert Area.of_transmitters(SQUARE, far_m[1:]).margin_m == MARGIN_M
    usual_m = generator(3, "test.area").uniform(-55e3, 55e3, (300, 2))
    wrong_m = np.concatenate([usual_m, [[1500e3, 0.0]]])
    assert Area.of_transmitters(SQUARE, wrong_m).margin_m == MARGIN_M


def test_transmitters_are_even_within_the_hull_and_rarer_outside() -> None:
    area = dataclasses.replace(Area.around(SQUARE), reach_m=8e3)
    place_m = np.array([[0.0, 0.0], [49e3, -49e3], [58e3, 0.0], [0.0, -74e3]])
    np.testing.assert_allclose(np.exp(area.log_prior(place_m)), [1, 1, 1 / 4, 1 / 16], rtol=1e-12)


def test_an_area_survives_json() -> None:
    area = Area.of_transmitters(SQUARE, rarer_by(5e3))
    read = Area.from_dict(json.loads(json.dumps(dataclasses.asdict(area))))
    assert dataclasses.asdict(read) == dataclasses.asdict(area)
