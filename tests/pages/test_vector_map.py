"""A map in a page: seen in a browser, where land and sea are; moved and enlarged; and as a picture."""

from __future__ import annotations

import io
import re
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray

from heimdall.maps import ellipse
from heimdall.pages import elements, page, picture, style, vector_map
from heimdall.pages.page import Page
from heimdall.pages.vector_map import Line, Map, Mark, Region
from tests.browser import NARROW_PX, WIDE_PX, Browser, Opened, Scheme

HOSTILE = "<script>alert(1)</script>\"'&]]>"
TORINO, GENOVA, MILANO = (45.044, 7.672), (44.395, 8.956), (45.478, 9.123)
ON_LAND, AT_SEA = (44.72, 8.05), (44.1, 8.75)
COLOURS = {
    "light": {"land": (247, 245, 236), "sea": (211, 228, 238)},
    "dark": {"land": (44, 47, 46), "sea": (20, 34, 45)},
}


def italy(name: str = "Torino", *, link: str = "") -> Map:
    where = (44.8, 8.6)
    ring = ellipse.ring(*where, np.diag([4e6, 9e6]), 2.448)
    marks = [
        Mark(TORINO, "receiver", name, f"Receiver {name}"),
        Mark(GENOVA, "receiver", "Genova", "Receiver Genova"),
        Mark(MILANO, "unused", "Milano", "Receiver Milano"),
        Mark(AT_SEA, "unused", "", "at sea"),
        Mark(where, "place", "", f"the place {name}", identifier=link),
    ]
    line = Line(np.array([TORINO, GENOVA]), "hyperbola", f"{name} and Genova")
    return Map(f"The map of {name}", marks, [Region((ring,), "p95", f"region {name}")], [line])


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    drawn = italy(link="about")
    parts = [
        elements.section("Map", vector_map.figure(drawn, "Receivers"), elements.note(vector_map.HINT)),
        elements.section("About", elements.paragraphs(["About the place."]), identifier="about"),
    ]
    path = tmp_path_factory.mktemp("page") / "map.html"
    path.write_text(page.text(Page("A map", "simulated", ["It is somewhere."], parts)), encoding="utf-8")
    return path


def seen_at(opened: Opened, drawn: Map, where: tuple[float, float]) -> tuple[int, int, int]:
    """The commonest colour around a place on the map as it was drawn at first."""
    x, y = drawn.shown.at([where])[0].tolist()
    shown = opened.pixels(".map")
    scale = shown.shape[1] / 960
    row, column = int(y * scale), int(x * scale)
    part = shown[row - 4 : row + 5, column - 4 : column + 5].reshape(-1, 3)
    values, counts = np.unique(part, axis=0, return_counts=True)
    red, green, blue = values[counts.argmax()].tolist()
    return red, green, blue


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width_px", [WIDE_PX, NARROW_PX])
def test_land_and_sea_are_seen_where_they_are(
    browser: Browser, file: Path, width_px: int, scheme: Scheme
) -> None:
    with browser.open(file, width_px, scheme) as opened:
        assert (opened.requests, opened.problems) == ([], [])
        assert opened.beyond_px() == 0
        assert seen_at(opened, italy(), ON_LAND) == COLOURS[scheme]["land"]
        assert seen_at(opened, italy(), (44.15, 9.12)) == COLOURS[scheme]["sea"]
        assert opened.colours(".map") > 50


def view(opened: Opened) -> list[float]:
    """What the map shows: left, top, width and height."""
    return [float(one) for one in str(opened.page.locator(".map").get_attribute("viewBox")).split()]


def texts(opened: Opened) -> Iterator[tuple[str, tuple[float, float, float, float]]]:
    """Every text of the map that is seen, with its rectangle."""
    found = opened.page.evaluate(
        """() => [...document.querySelectorAll(".map text")].filter((one) => one.checkVisibility({
               visibilityProperty: true })).map((one) => {
             const box = one.getBoundingClientRect();
             return [one.textContent, [box.left, box.top, box.right, box.bottom]];
           })"""
    )
    for text, box in found:
        yield text, tuple(box)


def overlapping(opened: Opened) -> list[tuple[str, str]]:
    # A rectangle of a text has a line's height, of which letters need two thirds.
    shown = [(text, (box[0], box[1] + 3, box[2], box[3] - 3)) for text, box in texts(opened)]
    return [
        (one, other)
        for (one, a), (other, b) in combinations(shown, 2)
        if a[0] < b[2] and b[0] < a[2] and a[1] < b[3] and b[1] < a[3]
    ]


@pytest.mark.parametrize("width_px", [WIDE_PX, NARROW_PX])
def test_no_text_covers_another_one_however_the_map_is_moved(
    browser: Browser, file: Path, width_px: int
) -> None:
    with browser.open(file, width_px) as opened:
        counts = []
        for keys in ("", "+", "+", "ArrowLeft", "+", "ArrowUp", "-", "0", "-", "-"):
            if keys:
                opened.page.locator(".map").focus()
                opened.page.keyboard.press(keys)
            assert overlapping(opened) == []
            names = [text for text, _ in texts(opened)]
            assert any(name.endswith(" km") for name in names)
            assert sum("°" in name for name in names) > 3
            counts.append(len(names))
        assert min(counts) > 5


def test_enlarging_shows_more_towns_and_the_button_shows_the_whole_again(
    browser: Browser, file: Path
) -> None:
    with browser.open(file) as opened:
        whole = view(opened)
        named = {text for text, _ in texts(opened)}
        assert {"Torino", "Genova", "Milano", "Asti"} <= named
        opened.page.get_by_role("button", name="Enlarge").click()
        opened.page.get_by_role("button", name="Enlarge").click()
        assert view(opened)[2] == pytest.approx(whole[2] * 0.36)
        assert {text for text, _ in texts(opened)} - named
        opened.page.get_by_role("button", name="Whole map").click()
        assert view(opened) == whole
        for _ in range(9):
            opened.page.get_by_role("button", name="Reduce").click()
        assert view(opened)[2] == pytest.approx(2 * whole[2])
        assert opened.problems == []


def test_keys_and_pointer_move_the_map_within_what_was_drawn(browser: Browser, file: Path) -> None:
    with browser.open(file) as opened:
        opened.page.locator(".map").focus()
        opened.page.keyboard.press("ArrowRight")
        assert view(opened)[0] == pytest.approx(60)
        for _ in range(40):
            opened.page.keyboard.press("ArrowDown")
        height = view(opened)[3]
        assert view(opened)[1] + height == pytest.approx(1.5 * height)
        opened.page.keyboard.press("0")
        box = opened.page.locator(".map").bounding_box()
        assert box is not None
        opened.page.mouse.move(box["x"] + 200, box["y"] + 200)
        opened.page.mouse.down()
        opened.page.mouse.move(box["x"] + 150, box["y"] + 180, steps=5)
        opened.page.mouse.up()
        assert view(opened)[0] == pytest.approx(50 * 960 / box["width"], abs=1)


def test_what_a_symbol_is_is_said_beside_the_map_and_a_linked_one_leads_there(
    browser: Browser, file: Path
) -> None:
    with browser.open(file) as opened:
        opened.page.locator(".mark .unused").first.hover()
        assert opened.page.locator(".said").text_content() in {"Receiver Milano", "at sea"}
        for _ in range(8):
            opened.page.keyboard.press("Tab")
            if opened.page.evaluate("document.activeElement.matches('.mark a')"):
                break
        assert opened.page.locator(".said").text_content() == "the place Torino"
        opened.page.keyboard.press("Enter")
        assert opened.page.url.endswith("#about")


def test_names_are_text_and_no_markup() -> None:
    text = page.text(
        Page(HOSTILE, "recorded", [HOSTILE], [vector_map.figure(italy(HOSTILE), HOSTILE, identifier="a")])
    )
    assert "<script>alert" not in text
    assert text.count("<script>") == 1
    assert "&lt;script&gt;alert(1)&lt;/script&gt;&quot;&#x27;&amp;" in text
    with pytest.raises(ValueError, match="no identifier"):
        vector_map.svg(italy(link='a" onclick="b'))


def test_the_same_map_has_the_same_bytes_and_few() -> None:
    first = vector_map.svg(italy())
    assert first == vector_map.svg(italy())
    assert len(first.encode()) < 250_000
    assert not re.search(r"\b(nan|inf)\b", first)


def test_a_legend_says_what_is_seen_and_nothing_else() -> None:
    drawn = italy()
    said = dict(
        vector_map.words(Map(drawn.title, drawn.marks, drawn.regions, drawn.lines, legend={"place": "here"}))
    )
    assert said["here"] == "place"
    assert set(said.values()) == {"place", "unused", "receiver", "p95", "hyperbola"}
    assert vector_map.legend(drawn).count("<li>") == 5


def shown(png: bytes) -> NDArray[np.uint8]:
    return np.round(plt.imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(np.uint8)


def test_a_picture_shows_the_same_in_light_colours() -> None:
    drawn = italy(HOSTILE)
    written, again = (
        picture.png(HOSTILE, "simulated", [("Receivers", drawn), ("Again", drawn)], scale=1) for _ in range(2)
    )
    assert again == written
    seen = shown(written)
    height = drawn.shown.height_px
    assert seen.shape[1] == 1000
    assert seen.shape[0] > 2 * height
    for place, colour in ((ON_LAND, "land"), ((44.15, 9.12), "sea")):
        x, y = drawn.shown.at([place])[0].tolist()
        for top in (64, 64 + height + 44):
            assert seen[int(top + y), int(20 + x)].tolist() == list(COLOURS["light"][colour])


def test_a_map_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="shows nothing"):
        vector_map.svg(Map("nothing"))


def test_every_variable_has_a_light_colour_a_dark_one_and_one_in_print() -> None:
    sheet = style.text_of("page.css")
    used = set(re.findall(r"var\(--([a-z-]+)\)", style.sheet()))
    assert used <= style.light().keys()
    for block in re.findall(r":root \{(.*?)\}", sheet, re.DOTALL):
        assert set(re.findall(r"--([a-z-]+):", block)) == style.light().keys()


def test_a_map_with_many_stops_of_the_tab_key_can_be_passed_over() -> None:
    marks = [Mark((45.0 + k / 100, 8.0), "event", "", f"event {k}", f"card-{k}") for k in range(12)]
    few, many = (vector_map.figure(Map("events", marks[:count]), "Events") for count in (5, 12))
    assert "Skip the map" not in few
    (place,) = re.findall('<a class="skip here" href="#([^"]+)">Skip the map</a>', many)
    assert many.index("</figure>") < many.index(f'id="{place}"')
