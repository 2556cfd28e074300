"""Names and words that others chose, wherever a page or a picture has them."""

from __future__ import annotations

import re

import pytest

from heimdall.pages import chart, elements, style


@pytest.mark.parametrize(
    "text", ["K\N{NO-BREAK SPACE}1", "12\N{NARROW NO-BREAK SPACE}km", "می\N{ZERO WIDTH NON-JOINER}خواهم"]
)
def test_spaces_and_joiners_are_letters_of_a_name(text: str) -> None:
    assert elements.printable(text) == text


@pytest.mark.parametrize(
    "letter", ["\x1b", "\N{RIGHT-TO-LEFT OVERRIDE}", "\N{LINE SEPARATOR}", "\N{ZERO WIDTH SPACE}"]
)
def test_what_moves_other_letters_is_replaced(letter: str) -> None:
    assert elements.printable(f"a{letter}b") == "a\N{REPLACEMENT CHARACTER}b"


def test_a_name_that_looks_like_markup_of_a_chart_stays_what_it_is() -> None:
    name = 'a style="x" id="b" url(#c) xlink:href'
    spec = {
        "data": {"values": [{"x": 1, "name": name}]},
        "mark": {"type": "point", "clip": True},
        "encoding": {
            "x": {"field": "x", "type": "quantitative"},
            "y": {"field": "name", "type": "nominal", "axis": {"labelLimit": 0}},
        },
    }
    drawn = chart.svg(spec, title="t", description="d")
    texts = re.findall(r"<text[^>]*>([^<]*)</text>", drawn)
    assert name in [one.replace("&quot;", '"') for one in texts]
    tags = re.findall(r"<[^>]*>", drawn)
    assert not [tag for tag in tags if " style=" in tag or "aria-" in tag]
    assert len(re.findall(r' id="c[0-9a-f]{12}-', drawn)) == len([tag for tag in tags if ' id="' in tag]) > 0


def test_a_name_that_looks_like_a_colour_is_drawn_as_it_is() -> None:
    assert style.in_light("var(--text) var(--nothing)") == f"{style.light()['text']} var(--nothing)"
    spec = {
        "data": {"values": [{"x": "var(--nothing)"}]},
        "mark": "point",
        "encoding": {"x": {"field": "x", "type": "nominal"}},
    }
    assert chart.png(chart.svg(spec, title="t", description="d")).startswith(b"\x89PNG")
