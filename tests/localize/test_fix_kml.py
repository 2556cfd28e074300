"""The KML is what Google Earth, Marble, QGIS and OsmAnd open: the schema's elements in its order."""

from __future__ import annotations

import html
import re
from itertools import pairwise
from xml.etree import ElementTree
from xml.etree.ElementTree import Element

import pytest

from heimdall.localize import fix_kml
from tests.localize import answers
from tests.localize.answers import ALL, HOSTILE

KML = "{http://www.opengis.net/kml/2.2}"
FEATURE = ("name", "visibility", "open", "description", "TimeStamp", "styleUrl", "Style")
# The sequences of ogckml22.xsd, of the elements that are written.
ORDER = {
    "kml": ("Document",),
    "Document": (*FEATURE, "Folder"),
    "Folder": (*FEATURE, "Folder", "Placemark"),
    "Placemark": (*FEATURE, "Point", "Polygon", "MultiGeometry"),
    "TimeStamp": ("when",),
    "Style": ("IconStyle", "LabelStyle", "LineStyle", "PolyStyle"),
    "IconStyle": ("color",),
    "LabelStyle": ("color",),
    "LineStyle": ("color", "width"),
    "PolyStyle": ("color",),
    "Point": ("altitudeMode", "coordinates"),
    "MultiGeometry": ("Polygon",),
    "Polygon": ("tessellate", "altitudeMode", "outerBoundaryIs", "innerBoundaryIs"),
    "outerBoundaryIs": ("LinearRing",),
    "innerBoundaryIs": ("LinearRing",),
    "LinearRing": ("coordinates",),
}
ONCE = {*FEATURE, "Point", "outerBoundaryIs", "LinearRing", "coordinates", "when"} - {"Style"}


def read(name: str) -> Element:
    return ElementTree.fromstring(fix_kml.text(ALL[name]()).encode())  # noqa: S314 - our own


def coordinates(element: Element) -> list[tuple[float, ...]]:
    text = element.find(f"{KML}coordinates")
    assert text is not None
    return [tuple(map(float, one.split(","))) for one in (text.text or "").split()]


@pytest.mark.parametrize("name", ALL)
def test_every_answer_follows_the_schema(name: str) -> None:
    root = read(name)
    assert root.tag == f"{KML}kml"
    styles = {one.get("id") for one in root.iter(f"{KML}Style")}
    for element in root.iter():
        tag = element.tag.removeprefix(KML)
        children = [child.tag.removeprefix(KML) for child in element]
        if tag not in ORDER:
            assert not children
            continue
        places = [ORDER[tag].index(child) for child in children]
        assert places == sorted(places)
        assert all(children.count(child) == 1 for child in set(children) & ONCE)
    for element in root.iter(f"{KML}color"):
        assert re.fullmatch(r"[0-9a-f]{8}", element.text or "")
    for element in root.iter(f"{KML}styleUrl"):
        assert (element.text or "").removeprefix("#") in styles
    for element in root.iter(f"{KML}altitudeMode"):
        assert element.text == "clampToGround"
    for element in root.iter(f"{KML}LinearRing"):
        ring = coordinates(element)
        assert ring[0] == ring[-1]
        assert len(ring) >= 4
        assert all(abs(x) <= 180 and abs(y) <= 90 for x, y in ring)
        assert all(abs(a[0] - b[0]) < 180 or abs(a[1]) == 90 for a, b in pairwise(ring))


@pytest.mark.parametrize("name", ALL)
def test_no_program_is_sent_to_a_server_and_the_bytes_stay(name: str) -> None:
    text = fix_kml.text(ALL[name]())
    assert [url for url in re.findall(r"https?://[^\s\"<]+", text) if "example.org" not in url] == [
        "http://www.opengis.net/kml/2.2"
    ]
    assert "<href" not in text
    assert text == fix_kml.text(ALL[name]())


def test_red_and_blue_are_where_kml_has_them() -> None:
    text = fix_kml.text(answers.normal())
    assert "<color>ff005ed5</color>" in text  # the vermilion #D55E00: opacity, blue, green, red
    assert "<color>ffb27200</color>" in text  # the blue #0072B2


def test_receivers_places_regions_truth_and_model_have_folders() -> None:
    root = read("normal")
    folders = [one.text for one in root.iterfind(f"{KML}Document/{KML}Folder/{KML}name")]
    assert folders == ["Receivers", "2017-11-27T10:41:57Z", "Truth", "Trained model models/model.onnx"]
    marks = [one.text for one in root.iterfind(f".//{KML}Placemark/{KML}name")]
    assert marks[3:6] == ["95 % region", "68 % region", "2017-11-27T10:41:57Z"]


def test_seconds_have_a_folder_with_a_time_each_below_the_answer_of_all() -> None:
    root = read("seconds")
    folders = [one.text for one in root.iterfind(f"{KML}Document/{KML}Folder/{KML}name")]
    assert folders == ["Receivers", "All events together", "Events", "Truth"]
    times = [one.text for one in root.iterfind(f".//{KML}Folder/{KML}TimeStamp/{KML}when")]
    assert len(times) == 28
    assert times[3] == "2017-11-27T10:41:03.000000Z"


def test_both_places_of_an_ambiguous_answer_have_their_probability() -> None:
    marks = [one.text or "" for one in read("ambiguous").iterfind(f".//{KML}Placemark/{KML}name")]
    assert [one.rsplit(" ", 2)[1] for one in marks[-2:]] == ["62.0", "38.0"]


def test_names_are_text_also_where_a_program_shows_them_as_html() -> None:
    root = read("hostile")
    marks = root.findall(f".//{KML}Placemark")
    assert marks[0].findtext(f"{KML}name") == HOSTILE
    for one in root.iter(f"{KML}description"):
        assert "<script" not in (one.text or "")
    assert any(html.escape(HOSTILE) in (one.text or "") for one in root.iter(f"{KML}description"))
    assert "\x1b" not in fix_kml.text(answers.hostile())
