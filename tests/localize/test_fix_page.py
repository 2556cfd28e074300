"""The page that shows an answer: complete in itself, nothing runs but its own script, its maps are right."""

from __future__ import annotations

import base64
import hashlib
import re
from functools import cache
from html.parser import HTMLParser
from itertools import combinations

import numpy as np
import pytest

from heimdall.geometry import geo
from heimdall.localize import error_ellipse, fix_map, fix_page, fix_words
from heimdall.localize.answer import Answer
from heimdall.maps import graticule
from heimdall.maps.projection import Box, Projection
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Residual
from heimdall.pages import vector_map
from heimdall.pages.frame import Frame
from tests.localize import answers
from tests.localize.answers import ALL, HOSTILE

VOID = {"meta", "br"}


class Page(HTMLParser):
    """Every element with its attributes, and the text of those asked for; elements must be closed."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str]]] = []
        self.texts: list[tuple[str, str]] = []
        self.open: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, {name: value or "" for name, value in attrs}))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open:
            self.texts.append((self.open[-1], data))

    def text_of(self, tag: str) -> list[str]:
        return [text for name, text in self.texts if name == tag]


@cache
def written(name: str) -> str:
    """The page of an answer, which takes its time."""
    return fix_page.text(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_nothing_is_loaded_and_only_what_the_page_itself_says_runs(name: str) -> None:
    text = written(name)
    page = Page(text)
    assert page.open == []
    for tag, attributes in page.elements:
        assert tag not in {"link", "img", "iframe", "object", "base", "image", "foreignobject"}
        assert not {"src", "srcset", "style", "action"} & set(attributes)
        assert not [one for one in attributes if one.startswith("on")]
        assert attributes.get("href", "#").startswith("#")
    (policy,) = [one["content"] for _, one in page.elements if "http-equiv" in one]
    assert policy.startswith("default-src 'none';")
    for tag in ("style", "script"):
        content = "".join(page.text_of(tag))
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy
        assert "url(" not in content
        assert "import" not in content
    assert [tag for tag, _ in page.elements].count("script") == 1
    assert text == fix_page.text(ALL[name]())


@pytest.mark.parametrize("name", ALL)
def test_every_number_of_a_picture_is_one(name: str) -> None:
    text = written(name)
    assert not re.search(r"\b(nan|inf)\b", text)
    for _, attributes in Page(text).elements:
        for value in (attributes.get("d"), attributes.get("transform"), attributes.get("viewbox")):
            if value is not None:
                assert re.fullmatch(r"(translate\()?[MLHVZl\d .\-]*\)?", value)


def test_names_are_text() -> None:
    page = Page(fix_page.text(answers.hostile()))
    assert HOSTILE in page.text_of("h1")
    assert HOSTILE in page.text_of("td")
    assert f"{HOSTILE}." in page.text_of("li")
    assert "\x1b" not in fix_page.text(answers.hostile())


def test_the_page_begins_with_what_is_known() -> None:
    said = Page(written("normal")).text_of("p")
    assert said[0].startswith("The recordings are real")
    assert said[1] == "The transmitter is at 50.099, 9.011 (latitude, longitude), locator JO40mc."
    assert Page(written("nothing")).text_of("p")[1].startswith("Nothing can be said")
    assert "The recordings are simulated." in Page(written("seconds")).text_of("p")


def test_a_small_place_has_a_map_of_its_own_and_two_have_two() -> None:
    assert [name for name, _ in fix_map.maps(answers.normal())] == [
        "Receivers and places",
        "The place, enlarged",
    ]
    assert len(fix_map.maps(answers.ambiguous())) == 3
    assert len(fix_map.maps(answers.only_region())) == 1
    assert len(fix_map.maps(answers.nothing())) == 1
    apart = answers.seconds()
    names = [name for name, _ in fix_map.maps(Answer("", apart.events[:3], apart.fixes[:3]))]
    assert names == ["Receivers and places", "The events, enlarged"]


@pytest.mark.parametrize("name", ["normal", "fiji", "pole", "many_receivers", "ambiguous"])
def test_the_whole_map_shows_every_receiver_and_place_inside_it(name: str) -> None:
    (_, drawn), *_ = fix_map.maps(ALL[name]())
    svg = vector_map.svg(drawn)
    found = re.search(r'viewBox="0 0 ([\d.]+) ([\d.]+)"', svg)
    assert found is not None
    width, height = map(float, found.groups())
    marks = re.findall(r'class="mark" transform="translate\((\S+) (\S+)\)"', svg)
    answer = ALL[name]()
    assert len(marks) >= len(answer.receivers()) + len(answer.fixes[0].places)
    assert all(0 < float(x) < width and 0 < float(y) < height for x, y in marks)


def test_labels_that_are_shown_do_not_cover_each_other() -> None:
    (_, drawn), *_ = fix_map.maps(answers.many_receivers())
    svg = vector_map.svg(drawn)
    labels = re.findall(
        r'class="mark" transform="translate\((\S+) (\S+)\)">(?:(?!visibility).)*?'
        r'<text x="(\S+)" y="(\S+)" text-anchor="(\w+)">([^<]+)<',
        svg,
    )
    assert len(labels) > 40
    boxes = []
    for x, y, dx, dy, anchor, text in labels:
        width = 6.0 * len(text)
        left = float(x) + float(dx) - {"start": 0.0, "middle": width / 2, "end": width}[anchor]
        boxes.append((left, float(y) + float(dy) - 9, left + width, float(y) + float(dy)))
    for one, other in combinations(boxes, 2):
        assert one[2] < other[0] or other[2] < one[0] or one[3] < other[1] or other[3] < one[1]


@pytest.mark.parametrize(("latitude_deg", "longitude_deg"), [(50.0, 9.0), (-17.5, 179.99), (89.5, 30.0)])
def test_distances_from_the_middle_of_a_chart_are_those_on_the_ellipsoid(
    latitude_deg: float, longitude_deg: float
) -> None:
    chart = Projection(latitude_deg, longitude_deg)
    latitude, longitude = chart.to_degrees([3e5, -1e6, 0.0], [4e5, 0.0, 0.0])
    distances = geo.distance_m(latitude_deg, longitude_deg, latitude, longitude)
    assert distances == pytest.approx([5e5, 1e6, 0.0], abs=1e-3)
    east_m, north_m = chart.to_m(latitude, longitude)
    assert east_m == pytest.approx([3e5, -1e6, 0.0], abs=1e-3)
    assert north_m == pytest.approx([4e5, 0.0, 0.0], abs=1e-3)


def test_an_ellipse_is_where_the_covariance_has_95_percent() -> None:
    place = answers.place(50.0, 9.0, (3_000.0, 1_000.0), correlation=0.5)
    region = error_ellipse.region(place)
    ring = np.array(region.rings[0])
    points = np.stack(Projection(50.0, 9.0).to_m(ring[:, 1], ring[:, 0]))
    distance2 = np.sum(points * (np.linalg.inv(place.covariance_m2) @ points), axis=0)
    assert distance2 == pytest.approx(np.full(len(ring), 5.991), rel=1e-3)
    x, y = points
    assert 0.5 * np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 1e6 == pytest.approx(region.area_km2, rel=0.01)


def test_a_hyperbola_has_the_difference_of_distances_that_was_measured() -> None:
    receivers = {"a": Position(50.0, 8.0), "b": Position(51.0, 10.0)}
    offset_s = 20e-6
    residuals = [Residual("a", offset_s, 1e-6, used=True), Residual("b", 0.0, 1e-6, used=True)]
    fix = answers.fix(answers.event(), [answers.place(50.4, 9.3)], residuals=residuals)
    frame = Frame.around(Projection(50.4, 9.3), [(49.9, 8.5), (50.9, 10.1)])
    (line,) = fix_map.hyperbolas_of(fix, receivers, frame)
    latitude, longitude = line.positions.T
    differ_m = [
        geo.distance_m(50.0, 8.0, y, x) - geo.distance_m(51.0, 10.0, y, x)
        for y, x in ((latitude, longitude), (50.4, 9.3))
    ]
    assert differ_m[0] == pytest.approx(np.full(len(latitude), differ_m[1] + 299_792_458 * offset_s), abs=600)


@pytest.mark.parametrize(
    ("latitude_deg", "longitude_deg", "half_m", "expected"),
    [
        (50.0, 9.0, 300_000.0, {"50°N", "9°E", "10°E"}),
        (-17.5, 179.99, 100_000.0, {"17.4°S", "180.0°", "179.6°W", "179.6°E"}),
        (89.5, 30.0, 1_000_000.0, {"80°N", "0°", "180°", "90°W"}),
        (0.0, 0.0, 50.0, {"0.0000°", "0.0002°N", "0.0002°W"}),
    ],
)
def test_the_graticule_has_round_degrees_everywhere_on_earth(
    latitude_deg: float, longitude_deg: float, half_m: float, expected: set[str]
) -> None:
    lines = graticule.graticule(
        Projection(latitude_deg, longitude_deg), Box(-half_m, -half_m, half_m, half_m)
    )
    names = [(line.is_meridian, line.name) for line in lines]
    assert expected <= {name for _, name in names}
    assert len(set(names)) == len(names) < 80


def test_latitudes_and_longitudes_sort_as_numbers() -> None:
    for table in (fix_words.events(answers.seconds()), fix_words.places(answers.ambiguous().fixes[0])):
        assert [table.align[table.headings.index(name)] for name in ("latitude", "longitude")] == ["r", "r"]
