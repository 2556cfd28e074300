"""What a terminal shows: sentences that say what is known, tables, and never more than is known."""

from __future__ import annotations

import re
from dataclasses import replace

import numpy as np
import pytest

from heimdall.localize import fix_geojson, fix_json, fix_kml, fix_page, fix_text, fix_words
from heimdall.localize.answer import Beside
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Region, Residual, Velocity
from tests.localize import answers
from tests.localize.answers import ALL, place


@pytest.mark.parametrize(
    ("probability", "shown"),
    [(1.0, "> 99.9 %"), (0.9991, "> 99.9 %"), (0.999, "99.9 %"), (0.9949, "99.5 %"), (0.034, "3.4 %")],
)
def test_nothing_is_certain(probability: float, shown: str) -> None:
    assert fix_words.share(probability) == shown


@pytest.mark.parametrize("name", ALL)
def test_no_answer_says_100_percent_or_nan_or_moves_the_cursor(name: str) -> None:
    text = fix_text.text(ALL[name]())
    assert text.endswith("\n")
    assert not re.search(r"\b100(\.0)? ?%|\bnan\b|\binf\b", text)
    assert all(line.isprintable() for line in text.split("\n"))
    assert text == fix_text.text(ALL[name]())


@pytest.mark.parametrize(
    ("sigma_m", "shown"),
    [
        ((9_900.0, 3_300.0), ("50.015", "9.011")),
        ((30.0, 20.0), ("50.01519", "9.01123")),
        ((0.5, 0.5), ("50.015188", "9.011235")),
        ((400_000.0, 300_000.0), ("50.0", "9.0")),
        ((0.0, 0.0), ("50.0151877", "9.0112346")),
    ],
)
def test_degrees_have_the_digits_that_the_standard_deviation_deserves(
    sigma_m: tuple[float, float], shown: tuple[str, str]
) -> None:
    assert fix_words.latitude_longitude(place(50.01518765, 9.01123456, sigma_m)) == shown


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "sigma", "shown"),
    [
        (48.14666, 11.60833, 5_000.0, "JN58td"),  # Munich, the example of many converters
        (-34.91, -56.21166, 5_000.0, "GF15vc"),  # Montevideo
        (38.92, -77.065, 5_000.0, "FM18lw"),  # Washington DC
        (-41.28333, 174.745, 5_000.0, "RE78ir"),  # Wellington
        (41.714775, -72.727260, 100.0, "FN31pr21"),  # W1AW
        (48.14666, 11.60833, 100_000.0, "JN58"),
        (90.0, 180.0, 5_000.0, "AR09ax"),
        (-90.0, -180.0, 10.0, "AA00aa00aa"),
    ],
)
def test_the_locator_is_that_of_the_amateurs(
    latitude_deg: float, longitude_deg: float, sigma: float, shown: str
) -> None:
    assert fix_words.locator(place(latitude_deg, longitude_deg, (sigma, sigma))) == shown


@pytest.mark.parametrize(
    ("metres", "shown"), [(0.82, "0.8 m"), (57.4, "57 m"), (999.6, "1.0 km"), (9_940.0, "9.9 km")]
)
def test_lengths_have_two_or_three_digits(metres: float, shown: str) -> None:
    assert fix_words.length(metres) == shown


@pytest.mark.parametrize(
    ("km2", "shown"), [(0.0028, "2,800 m²"), (3.14159, "3.14 km²"), (314.2, "314 km²"), (5e5, "500,000 km²")]
)
def test_areas_have_three_digits(km2: float, shown: str) -> None:
    assert fix_words.area(km2) == shown


def test_a_position_is_said_first_with_all_that_is_known_of_it() -> None:
    lines = fix_text.text(answers.normal()).split("\n")
    assert lines[:2] == ["DCF77, 77.5 kHz", "The recordings are real."]
    assert lines[3] == "The transmitter is at 50.099, 9.011 (latitude, longitude), locator JO40mc."
    said = "\n".join(lines)
    assert "9.9 km to the east and 3.3 km to the north" in said
    assert "The probability of this place, against all others, is > 99.9 %." in said
    assert "of 314 km² with 68 % and of 1,257 km² with 95 % probability" in said
    assert "The true place is known, and 9.3 km away." in said  # 0.0835 degrees of latitude
    assert "The trained model models/model.onnx has it at 50.200, 9.100" in said
    assert "HB9RYZ             2.5        5.0  used" in said
    assert lines[-2] == "The sky wave may be late."


def test_two_places_are_both_shown_with_their_probabilities() -> None:
    text = fix_text.text(answers.ambiguous())
    assert "may be at one of 2 places: what is known does not tell at which" in text
    assert re.search(r"62\.0 %\s+50\.100", text)
    assert re.search(r"38\.0 %\s+47\.300", text)
    assert re.search(r"F1JEK +3,000\.0 +5\.0 +not used: its time is 3 ms off", text)
    assert re.search(r"HB9RYZ +not used: it hears nothing", text)


def test_a_residual_of_nothing_has_no_sign() -> None:
    one = answers.event()
    exact = [Residual(name, -1e-12, 5e-6, used=True) for name in one.receiver]
    answer = answers.Answer("", (one,), (answers.fix(one, [place(50.1, 9.0)], residuals=exact),))
    assert re.search(r"DF0KL +0\.0 +5\.0 +used", fix_text.text(answer))


def test_one_doubtful_place_is_not_called_one_of_many_and_the_rest_is_said() -> None:
    one = answers.event()
    doubtful = answers.fix(one, [place(50.1, 9.0, probability=0.75)], kind="ambiguous")
    text = fix_text.text(answers.Answer("two transmitters", (one,), (doubtful,)))
    assert "The transmitter may be here, with 75.0 % probability: 50.100, 9.000" in text
    assert "With 25.0 % probability it is somewhere else." in text
    assert "none of them" not in fix_text.text(answers.ambiguous())


def test_a_place_that_is_next_to_impossible_is_in_json_alone() -> None:
    one = answers.event()
    far = place(-6.0, 83.0, (3e6, 3e6), probability=0.002)
    answer = answers.Answer("", (one,), (answers.fix(one, [place(50.1, 9.0, probability=0.99), far]),))
    assert len(fix_json.document(answer)["events"][0]["places"]) == 2
    for written in (fix_text, fix_geojson, fix_kml):
        assert "83.0" not in written.text(answer)
    assert "-6.0, 83.0" not in fix_page.text(answer)


def test_a_region_is_no_position() -> None:
    text = fix_text.text(answers.only_region())
    assert "The transmitter is at" not in text
    assert "known only roughly" in text
    assert "do not fit together" in text
    assert "Two receivers leave a line." in text


def test_nothing_is_said_where_nothing_is_known() -> None:
    text = fix_text.text(answers.nothing())
    assert "Nothing can be said of where the transmitter is." in text
    assert "No receiver hears a signal." in text
    assert "°" not in text


def test_seconds_have_a_short_line_each_up_to_twenty_and_a_summary() -> None:
    text = fix_text.text(answers.seconds())
    assert len(re.findall(r"^2017-11-27T10:41:\d\dZ ", text, re.MULTILINE)) == 20
    assert "... and 8 more" in text
    assert "28 events: 28 with a position." in text
    assert "The truth is known of 28: the error is " in text
    assert "This is the answer of 28 events together." in text
    assert "The recordings are simulated." in text
    assert max(map(len, text[text.index("event  ") :].split("\n"))) <= 110


def test_how_often_the_regions_hold_the_truth_is_said() -> None:
    """Of four seconds the region of 68 % holds it in one, that of 95 % in three; one second has no region."""
    seconds = answers.seconds(4)

    def square(half_deg: float) -> tuple[tuple[tuple[float, float], ...], ...]:
        corners = ((-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1))
        east, north = answers.TRUTH.longitude_deg, answers.TRUTH.latitude_deg
        return (tuple((east + 1 + half_deg * x, north + half_deg * y) for x, y in corners),)

    small, large = Region(0.68, square(0.5), 1.0), Region(0.95, square(1.5), 1.0)
    holding = Region(0.68, square(1.2), 1.0)
    regions = ((holding, large), (small, large), (small, large), ())
    fixes = tuple(replace(fix, regions=found) for fix, found in zip(seconds.fixes, regions, strict=True))
    text = fix_text.text(replace(seconds, fixes=fixes))
    assert "The regions of 68 % hold it in 25 % of them, those of 95 % in 75 %." in text


def test_what_a_model_says_of_each_second_stands_in_its_line() -> None:
    model = Beside("model.onnx", place(50.2, 9.1, (2_000.0, 3_000.0), 0.6), "of the second 10:41:00")
    silent = Beside("model.onnx", None, "it hears no signal")
    text = fix_text.text(replace(answers.seconds(2), beside=model, beside_each=(model, silent)))
    told = "from there: of the second 10:41:00; its answers for the others stand in the table of events."
    assert told in text
    assert re.search(r"^2017-11-27T10:41:00Z .* km +1\.\d km  50\.200, 9\.100$", text, re.MULTILINE)
    assert re.search(r"^2017-11-27T10:41:01Z .* km +\S+ k?m$", text, re.MULTILINE)


def test_separate_events_have_their_most_frequent_remarks() -> None:
    one, other = answers.ambiguous(), answers.only_region()
    both = answers.Answer(
        "both", one.events + other.events + one.events, (*one.fixes, *other.fixes, *one.fixes)
    )
    text = fix_text.text(both)
    assert "3 events: 2 ambiguous, 1 with a region alone, 1 with times that do not fit together." in text
    assert text.index("The hyperbolas cross twice. (2 of 3 events)") < text.index(
        "Two receivers leave a line."
    )


def test_what_is_the_same_of_several_receivers_is_said_once() -> None:
    one = answers.event()
    said = ["DF0KL: its start is no GPS time", "the levels alone tell", "F1JEK: its start is no GPS time"]
    fix = answers.fix(one, [], kind="nothing", remarks=said)
    text = fix_text.text(answers.Answer("untimed", (one,), (fix,)))
    assert text.endswith("DF0KL, F1JEK: its start is no GPS time.\nThe levels alone tell.\n")
    both = fix_text.text(answers.Answer("untimed", (one, one), (fix, fix)))
    assert "DF0KL, F1JEK: its start is no GPS time. (2 of 2 events)" in both


def test_why_no_answer_of_all_events_is_there_is_said() -> None:
    separate = answers.Answer("", answers.seconds().events, answers.seconds().fixes)
    assert "together" not in fix_text.text(answers.normal())
    silent = [Event(**{**vars(one), "arrival_s": np.full(3, np.nan)}) for one in separate.events]
    named = [Event(**{**vars(one), "transmitter": one.name[-3:]}) for one in separate.events]
    tuned = [Event(**{**vars(one), "frequency_hz": 1e6 * one.time_s}) for one in separate.events]
    for events, told in (
        (silent, "There is no answer of all together: that needs two events with two arrival times."),
        (named, "They are of 28 transmitters: each has an answer of its own."),
        (tuned, "They are at 28 frequencies: each has an answer of its own."),
    ):
        assert told in fix_text.text(answers.Answer("", tuple(events), separate.fixes))


def test_a_motion_is_said_only_if_it_is_more_than_its_uncertainty() -> None:
    assert "It moves at 141.4 m/s, standard deviation 5.0 m/s, toward 135°" in fix_text.text(
        answers.many_receivers()
    )
    answer = answers.many_receivers()
    still = Velocity(3.0, 0.0, answer.fixes[0].places[0].covariance_m2)
    fix = type(answer.fixes[0])(**{**vars(answer.fixes[0]), "velocity": still})
    text = fix_text.text(answers.Answer(answer.title, answer.events, (fix,)))
    assert "Whether it moves cannot be told: 3.0 m/s, standard deviation 30.0 m/s." in text
