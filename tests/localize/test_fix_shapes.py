"""Polygons that maps take: cut at 180 degrees, closed over poles, holes where they belong."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest

from heimdall.localize import fix_shapes
from heimdall.localize.fix_shapes import Polygon
from heimdall.multilateration.fix import Region
from tests.localize.answers import circle, region

M_PER_DEGREE = 111_195.0  # of a sphere as large as the ellipsoid


def area_km2(polygon: Polygon) -> float:
    """On a sphere, by the trapezoids below each edge (Chamberlain and Duquette, 2007)."""
    radius_km = M_PER_DEGREE * 180 / math.pi / 1e3
    return (
        sum(
            math.radians(x_b - x_a) * -(math.sin(math.radians(y_a)) + math.sin(math.radians(y_b))) / 2
            for ring in (polygon.outline, *polygon.holes)
            for (x_a, y_a), (x_b, y_b) in pairwise(ring)
        )
        * radius_km**2
    )


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "radius_m", "hole_m", "pieces"),
    [
        (50.0, 9.0, 20_000.0, 5_000.0, 1),
        (-17.5, 179.99, 80_000.0, 20_000.0, 2),
        (-17.5, -179.99, 80_000.0, 0.0, 2),
        (0.0, 180.0, 2_000_000.0, 500_000.0, 2),
        (89.5, 30.0, 150_000.0, 0.0, 1),
        (-89.0, 30.0, 300_000.0, 0.0, 1),
        (90.0, 0.0, 300_000.0, 0.0, 1),
        (89.5, 30.0, 300_000.0, 150_000.0, 1),
        (-89.9, -120.0, 300_000.0, 200_000.0, 1),
        (88.0, 179.0, 150_000.0, 50_000.0, 2),
    ],
)
def test_the_polygons_of_a_region_have_its_area_and_are_within_the_world(
    latitude_deg: float, longitude_deg: float, radius_m: float, hole_m: float, pieces: int
) -> None:
    whole = region(latitude_deg, longitude_deg, radius_m, 0.95, hole_m)
    found = fix_shapes.polygons(whole)
    assert len(found) == pieces
    assert sum(map(area_km2, found)) == pytest.approx(whole.area_km2, rel=0.03)
    for polygon in found:
        assert fix_shapes.signed_area(polygon.outline) > 0
        assert all(fix_shapes.signed_area(hole) < 0 for hole in polygon.holes)
        for ring in (polygon.outline, *polygon.holes):
            assert ring[0] == ring[-1]
            assert all(abs(x) <= 180 and abs(y) <= 90 for x, y in ring)
            # No edge goes around the world, but along a pole.
            edges = pairwise(ring)
            assert all(abs(a[0] - b[0]) < 180 or abs(a[1]) == abs(b[1]) == 90 for a, b in edges)


def test_longitudes_beyond_180_and_longitudes_that_jump_are_the_same_region() -> None:
    jumping = circle(-17.5, 179.99, 50_000.0)
    beyond = tuple((x % 360, y) for x, y in jumping)
    one, other = (fix_shapes.polygons(Region(0.95, (ring,), 1.0)) for ring in (jumping, beyond))
    assert one == other
    assert len(one) == 2


def test_a_corner_on_the_meridian_of_180_degrees_makes_no_polygon_without_area() -> None:
    east = ((180.0, 0.0), (-179.0, 0.5), (180.0, 1.0), (180.0, 0.0))
    west = ((180.0, 0.0), (180.0, 1.0), (179.0, 0.5), (180.0, 0.0))
    (one,), (other,) = (fix_shapes.polygons(Region(0.95, (ring,), 1.0)) for ring in (east, west))
    assert fix_shapes.signed_area(one.outline) == pytest.approx(0.5, abs=1e-6)
    assert fix_shapes.signed_area(other.outline) == pytest.approx(0.5, abs=1e-6)
    assert min(x for x, _ in one.outline) == -180
    assert max(x for x, _ in other.outline) == 180


def test_two_outlines_keep_their_own_holes() -> None:
    rings = [
        circle(50.0, 9.0, 50_000.0),
        circle(50.0, 9.0, 10_000.0, clockwise=True),
        circle(40.0, 9.0, 50_000.0),
        circle(40.1, 9.1, 5_000.0, clockwise=True),
    ]
    north, south = fix_shapes.polygons(Region(0.95, tuple(rings), 1.0))
    assert [len(north.holes), len(south.holes)] == [1, 1]
    assert min(y for _, y in north.holes[0]) > 49
    assert max(y for _, y in south.holes[0]) < 41


def test_an_outline_within_another_is_no_polygon_of_its_own_but_in_a_hole_it_is() -> None:
    large, hole = circle(50.0, 9.0, 50_000.0), circle(50.0, 9.0, 30_000.0, clockwise=True)
    small = circle(50.0, 9.0, 5_000.0)
    assert len(fix_shapes.polygons(Region(0.95, (small, large), 1.0))) == 1
    (around, island) = fix_shapes.polygons(Region(0.95, (large, hole, small), 1.0))
    assert [len(around.holes), len(island.holes)] == [1, 0]


def test_a_region_narrower_than_a_centimetre_has_no_polygon() -> None:
    assert fix_shapes.polygons(region(50.0, 9.0, 1e-4, 0.95)) == ()


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        ([[(9.0, 50.0)], [(8.0, 51.0), (10.0, 49.0)]], (8.0, 49.0, 10.0, 51.0)),
        ([[(178.0, -18.0)], [(-179.0, -17.0)]], (178.0, -18.0, -179.0, -17.0)),
        ([[(177.0, 0.0), (180.0, 1.0)], [(-180.0, 0.0), (-179.0, 1.0)]], (177.0, 0.0, -179.0, 1.0)),
        ([[(-180.0, 80.0), (180.0, 90.0)], [(9.0, 50.0)]], (-180.0, 50.0, 180.0, 90.0)),
        ([[(5.0, 5.0)]], (5.0, 5.0, 5.0, 5.0)),
    ],
)
def test_the_box_is_the_narrowest_and_goes_across_180_degrees_where_that_is(
    parts: list[list[tuple[float, float]]], expected: tuple[float, ...]
) -> None:
    assert fix_shapes.box(parts) == expected
