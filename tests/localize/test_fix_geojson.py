"""The GeoJSON keeps the rules of RFC 7946, which are read here anew, wherever on earth the answer is."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import pytest

from heimdall.localize import fix_geojson
from heimdall.localize.answer import Answer
from heimdall.multilateration.fix import Fix
from tests.localize import answers
from tests.localize.answers import ALL, HOSTILE


def forbidden(_: str) -> None:
    raise AssertionError("no NaN and no infinity (RFC 8259)")


def read(answer: Answer) -> dict[str, Any]:
    read_again: dict[str, Any] = json.loads(fix_geojson.text(answer), parse_constant=forbidden)
    return read_again


def check_position(position: list[float]) -> None:
    assert len(position) == 2
    longitude, latitude = position
    assert -180 <= longitude <= 180
    assert -90 <= latitude <= 90
    assert all(round(value, 7) == value for value in position)


def turns_left(ring: list[list[float]]) -> bool:
    return sum(a[0] * b[1] - b[0] * a[1] for a, b in pairwise(ring)) > 0


def check_polygon(rings: list[list[list[float]]]) -> None:
    """Section 3.1.6: closed linear rings of four positions or more, exterior counterclockwise."""
    for number, ring in enumerate(rings):
        assert len(ring) >= 4
        assert ring[0] == ring[-1]
        assert all(a != b for a, b in pairwise(ring))
        assert turns_left(ring) is (number == 0)
        for position in ring:
            check_position(position)
        # Section 3.1.9: no edge crosses 180 degrees; along a pole an edge has no length.
        assert all(abs(a[0] - b[0]) < 180 or abs(a[1]) == abs(b[1]) == 90 for a, b in pairwise(ring))


def check(document: dict[str, Any]) -> None:
    assert document["type"] == "FeatureCollection"
    assert not {"crs", "coordinates", "geometry", "properties"} & set(document)  # section 4 and 7.1
    positions = []
    for feature in document["features"]:
        assert set(feature) == {"type", "geometry", "properties"}
        assert feature["type"] == "Feature"
        geometry = feature["geometry"]
        assert set(geometry) == {"type", "coordinates"}
        if geometry["type"] == "Point":
            check_position(geometry["coordinates"])
            positions.append(geometry["coordinates"])
            continue
        assert geometry["type"] in {"Polygon", "MultiPolygon"}
        many = geometry["coordinates"] if geometry["type"] == "MultiPolygon" else [geometry["coordinates"]]
        for polygon in many:
            check_polygon(polygon)
            positions += polygon[0]
    west, south, east, north = document["bbox"]
    assert all(south <= latitude <= north for _, latitude in positions)
    across = west > east  # section 5.2
    for longitude, _ in positions:
        assert (longitude >= west or longitude <= east) if across else west <= longitude <= east


@pytest.mark.parametrize("name", ALL)
def test_every_answer_keeps_the_rules_of_the_rfc(name: str) -> None:
    check(read(ALL[name]()))
    assert fix_geojson.text(ALL[name]()) == fix_geojson.text(ALL[name]())


def of_role(answer: Answer, role: str) -> list[dict[str, Any]]:
    return [one for one in read(answer)["features"] if one["properties"]["role"] == role]


def test_longitude_is_before_latitude() -> None:
    (one,) = of_role(answers.normal(), "place")
    assert one["geometry"]["coordinates"] == [9.0112, 50.0987]
    assert one["properties"]["sigma_east_m"] == pytest.approx(9_900)
    first = of_role(answers.normal(), "receiver")[0]
    assert first["geometry"]["coordinates"] == [7.282766, 53.665337]
    assert first["properties"]["name"] == "DF0KL"


def test_fiji_is_cut_at_180_degrees_and_its_box_goes_across() -> None:
    document = read(answers.fiji())
    west, _, east, _ = document["bbox"]
    assert 178 < west < 180
    assert -180 < east < -178
    for one in of_role(answers.fiji(), "region"):
        assert one["geometry"]["type"] == "MultiPolygon"
        sides = [{x > 0 for x, _ in polygon[0]} for polygon in one["geometry"]["coordinates"]]
        assert sides in ([{True}, {False}], [{False}, {True}])


def test_a_region_around_the_pole_reaches_it_and_its_box_goes_around() -> None:
    large = of_role(answers.pole(), "region")[0]
    assert large["properties"]["probability"] == 0.95
    assert [-180.0, 90.0] in large["geometry"]["coordinates"][0]
    assert read(answers.pole())["bbox"][::2] == [-180.0, 180.0]


def test_alternatives_regions_with_holes_and_the_truth_are_there() -> None:
    assert [one["properties"]["probability"] for one in of_role(answers.ambiguous(), "place")] == [0.62, 0.38]
    assert [one["geometry"]["type"] for one in of_role(answers.ambiguous(), "region")] == ["MultiPolygon"] * 2
    assert [len(one["geometry"]["coordinates"]) for one in of_role(answers.only_region(), "region")] == [2, 2]
    assert of_role(answers.nothing(), "place") == of_role(answers.nothing(), "region") == []
    assert [one["geometry"]["coordinates"] for one in of_role(answers.seconds(), "truth")] == [
        [9.0112, 50.0152]
    ]


def test_a_name_is_a_string_and_nothing_else() -> None:
    assert of_role(answers.hostile(), "receiver")[0]["properties"]["name"] == HOSTILE


def test_seconds_are_told_apart_by_their_name_and_time() -> None:
    places = of_role(answers.seconds(), "place")
    assert len(places) == 29
    assert places[4]["properties"]["utc"] == "2017-11-27T10:41:04.000000Z"
    assert places[-1]["properties"]["event"] == "all"


def test_a_place_without_a_number_has_null() -> None:
    answer = answers.normal()
    best = answer.fixes[0].places[0]
    unknown = type(best)(**{**vars(best), "altitude_m": float("nan")})
    fix = Fix(**{**vars(answer.fixes[0]), "places": (unknown,)})
    (one,) = of_role(Answer("", answer.events, (fix,)), "place")
    assert one["properties"]["altitude_m"] is None
