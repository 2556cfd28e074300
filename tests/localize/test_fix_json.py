"""The JSON that programs read: every number in full, no NaN, names with units."""

from __future__ import annotations

import json

import pytest

from heimdall.localize import fix_json
from tests.localize import answers
from tests.localize.answers import ALL


@pytest.mark.parametrize("name", ALL)
def test_every_answer_is_strict_json_with_the_same_bytes_each_time(name: str) -> None:
    text = fix_json.text(ALL[name]())
    document = json.loads(text)
    assert text == fix_json.text(ALL[name]())
    assert (document["schema"], document["schema_version"]) == ("heimdall-locate", 1)
    assert len(document["events"]) == len(ALL[name]().events)


def test_numbers_are_there_in_full_and_by_names_that_are_promised() -> None:
    document = json.loads(fix_json.text(answers.normal()))
    (fix,) = document["events"]
    assert fix["position"] == fix["places"][0]
    assert fix["position"]["covariance_m2"] == [
        [9900.0**2, 0.3 * 9900 * 3300],
        [0.3 * 9900 * 3300, 3300.0**2],
    ]
    assert fix["position"]["probability"] == 0.9996
    assert fix["position"]["ellipse_95_major_m"] == pytest.approx(24_370, abs=50)
    assert [one["probability"] for one in fix["regions"]] == [0.68, 0.95]
    corner = answers.normal().fixes[0].regions[0].rings[0][0]
    assert fix["regions"][0]["rings_deg"][0][0] == [round(one, 7) for one in corner]
    assert fix["residuals"][2] == {
        "receiver": "HB9RYZ",
        "residual_s": 2.5e-6,
        "sigma_s": 5e-6,
        "used": True,
        "reason": "",
    }
    assert fix["error_m"] == pytest.approx(9_286, abs=10)  # a degree of latitude has 111.2 km there
    assert fix["truth"] == {"latitude_deg": 50.0152, "longitude_deg": 9.0112, "altitude_m": 120.0}
    assert fix["time_s"] is None
    assert document["beside"]["place"]["longitude_deg"] == 9.1
    assert document["receivers"][0]["name"] == "DF0KL"


def test_only_a_position_is_called_one() -> None:
    for made in (answers.ambiguous, answers.only_region, answers.nothing):
        (fix,) = fix_json.document(made())["events"]
        assert fix["position"] is None
        assert fix["flagged"] is True
    assert [one["probability"] for one in fix_json.document(answers.ambiguous())["events"][0]["places"]] == [
        0.62,
        0.38,
    ]


def test_each_event_has_a_line() -> None:
    lines = fix_json.text(answers.seconds()).split("\n")
    assert sum(line.startswith('    {"name": "2017-') for line in lines) == 28
    assert len(lines) < 50


def test_seconds_have_their_time_and_an_answer_together() -> None:
    document = fix_json.document(answers.seconds())
    assert document["events"][3]["utc"] == "2017-11-27T10:41:03.000000Z"
    assert document["together"]["name"] == "all"
    assert document["together"]["events"] == 28
    assert document["together"]["utc"] is None
    assert document["together"]["error_m"] > 0
