"""A region is one area, with every place in it that its ellipses have, wherever on earth it is."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from heimdall.multilateration import rays, regions
from heimdall.multilateration.fix import Place, Region
from heimdall.multilateration.solver import locate
from tests.multilateration.networks import Transmission

MIDDLE_DEG = 50.0, 9.0


def place(
    sigma_m: tuple[float, float],
    probability: float,
    *,
    at_m: tuple[float, float] = (0.0, 0.0),
    middle_deg: tuple[float, float] = MIDDLE_DEG,
) -> Place:
    latitude, longitude = rays.destination(*middle_deg, np.array(at_m[0]), np.array(at_m[1]))
    return Place(float(latitude), float(longitude), 0.0, 0.0, np.diag(np.square(sigma_m)), probability)


def holds(region: Region, points_m: np.ndarray, middle_deg: tuple[float, float]) -> np.ndarray:
    east, north = points_m.T
    latitude, longitude = rays.destination(*middle_deg, east, north)
    return np.array([region.holds(y, x) for y, x in zip(latitude, longitude, strict=True)])


@pytest.mark.parametrize(
    "middle_deg", [(50.0, 9.0), (-17.0, 179.99), (10.0, -179.99), (89.99, 30.0), (-89.99, 0.0)]
)
def test_a_region_holds_as_much_of_its_gaussian_as_it_says(middle_deg: tuple[float, float]) -> None:
    points = np.random.default_rng(1).normal(0, 5000, (2000, 2))
    for one in regions.of_places([place((5000.0, 5000.0), 1.0, middle_deg=middle_deg)]):
        assert holds(one, points, middle_deg).mean() == pytest.approx(one.probability, abs=0.03)


LONG, HIGH = (3_000.0, 200.0), (200.0, 3_000.0)
OVERLAPPING = {
    "one in another": [place((1_500.0, 1_500.0), 0.7), place((4_500.0, 4_500.0), 0.3)],
    "two that cross": [place((1_300.0, 4_000.0), 0.6), place((4_000.0, 1_500.0), 0.4)],
    "four around a gap": [
        *(place(HIGH, 0.25, at_m=(east, 0.0)) for east in (-4_000.0, 4_000.0)),
        *(place(LONG, 0.25, at_m=(0.0, north)) for north in (-4_100.0, 4_100.0)),
    ],
}


@pytest.mark.parametrize("places", OVERLAPPING.values(), ids=OVERLAPPING)
def test_ellipses_that_overlap_are_one_region_that_counts_no_area_twice(places: list[Place]) -> None:
    region = regions.of_places(places)[1]
    assert all(region.holds(one.latitude_deg, one.longitude_deg) for one in places)
    half_m = 13_000.0
    points = np.random.default_rng(2).uniform(-half_m, half_m, (6000, 2))
    inside = holds(region, points, MIDDLE_DEG).mean() * (2 * half_m / 1e3) ** 2
    assert inside == pytest.approx(region.area_km2, rel=0.1)
    for one, other in itertools.combinations(region.rings, 2):
        assert not crosses(one, other)


def test_a_gap_between_ellipses_is_no_part_of_the_region() -> None:
    region = regions.of_places(OVERLAPPING["four around a gap"])[1]
    assert len(region.rings) == 2
    assert not region.holds(*MIDDLE_DEG)


def crosses(one: tuple[tuple[float, float], ...], other: tuple[tuple[float, float], ...]) -> bool:
    """Whether an edge of one ring cuts one of the other, by the sides on which their ends are."""

    def side(a: np.ndarray, b: np.ndarray, point: np.ndarray) -> np.ndarray:
        return np.asarray((b[0] - a[0]) * (point[1] - a[1]) > (b[1] - a[1]) * (point[0] - a[0]))

    a, b = (np.array(part).T[:, :, None] for part in (one[:-1], one[1:]))
    c, d = (np.array(part).T[:, None, :] for part in (other[:-1], other[1:]))
    cut = (side(a, b, c) != side(a, b, d)) & (side(c, d, a) != side(c, d, b))
    return bool(cut.any())


@pytest.mark.parametrize("seed", range(6))
def test_a_region_holds_the_likeliest_place_where_times_contradict_each_other(seed: int) -> None:
    event = Transmission(4).event(seed)
    event.arrival_s[seed % 4] += 1e-3
    fix = locate(event)
    first = fix.places[0]
    assert [one.holds(first.latitude_deg, first.longitude_deg) for one in fix.regions] == [True, True]
