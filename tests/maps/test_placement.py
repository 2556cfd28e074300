"""Labels: none covers another one, however large the letters are, and the important ones are first."""

from __future__ import annotations

from itertools import combinations

import numpy as np

from heimdall.maps import placement
from heimdall.maps.placement import Point

FRAME = (-50.0, -50.0, 650.0, 650.0)


def points(count: int, seed: int = 1) -> list[Point]:
    at = np.random.default_rng(seed).uniform(0, 600, (count, 2)).tolist()
    return [
        Point(x, y, 7.0 if k < 10 else 2.0, f"Town {k}", 12.0, bold=k < 10) for k, (x, y) in enumerate(at)
    ]


def test_no_label_covers_a_shown_one_at_any_level() -> None:
    every = points(150)
    places = placement.places(every, always=10, frame=FRAME)
    for level in placement.LEVELS:
        size = 2.0**-level
        boxes = [
            placement.label_box(point, place, size)
            if number >= 10
            else placement.scaled(point, placement.label(point, place), size)
            for number, (point, place) in enumerate(zip(every, places, strict=True))
            if place.level <= level
        ]
        assert not any(placement.overlap(one, other) for one, other in combinations(boxes, 2))


def test_more_labels_show_the_further_a_map_is_enlarged_and_the_first_are_not_the_last() -> None:
    places = placement.places(points(150), always=10, frame=FRAME)
    counts = [sum(place.level <= level for place in places) for level in placement.LEVELS]
    assert counts == sorted(counts)
    assert counts[0] < 30 < counts[3] < counts[-1]
    first, last = places[10:40], places[-30:]
    assert np.mean([place.level for place in first]) < np.mean([place.level for place in last])


def test_two_points_beside_each_other_have_labels_on_different_sides() -> None:
    one, other = placement.places(
        [Point(100, 100, 7, "Coazze"), Point(108, 104, 7, "Aquila di Giaveno")], always=2, frame=FRAME
    )
    assert one.level <= 0
    assert other.level <= 0
    assert (one.anchor, one.dy) != (other.anchor, other.dy)


def test_a_point_without_a_label_has_none() -> None:
    (place,) = placement.places([Point(0, 0, 7, "")], always=1, frame=FRAME)
    assert place.level == placement.LEVELS.stop


def test_a_label_at_the_side_stands_where_it_is_not_cut() -> None:
    at_the_right, at_the_left = placement.places(
        [Point(640, 300, 7, "Passo dei Giovi"), Point(-40, 300, 7, "Coazze")], always=2, frame=FRAME
    )
    assert (at_the_right.anchor, at_the_left.anchor) == ("end", "start")
    (outside,) = placement.places([Point(900, 300, 7, "far away")], always=1, frame=FRAME)
    assert outside.level == 1
