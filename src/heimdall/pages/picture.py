"""Maps as one PNG file, one below the other, with what they show and what their symbols mean."""

from __future__ import annotations

from collections.abc import Sequence

from heimdall.maps import base_map
from heimdall.pages import chart, style, vector_map
from heimdall.pages.elements import Markup, escaped
from heimdall.pages.frame import WIDTH_PX
from heimdall.pages.page import SENTENCES, Data
from heimdall.pages.vector_map import Map

_MARGIN_PX = 20.0
_HEADING_PX, _CAPTION_PX, _ROW_PX = 64.0, 44.0, 22.0
_KEYS_ACROSS = 2  # the longest words have room
_LETTERS_ACROSS = 80  # of a heading


def png(title: str, data: Data, maps: Sequence[tuple[str, Map]], scale: float = 1.5) -> bytes:
    """A picture in light colours.

    Args:
        title: What it shows, in a few words.
        data: Whether what it shows is simulated.
        maps: At least one, each with what it shows.
        scale: Pixels to one of the picture's units, of which it is 1000 wide.

    Raises:
        HeimdallError: vl-convert or the data of maps are not installed.
    """
    short = title if len(title) <= _LETTERS_ACROSS else f"{title[: _LETTERS_ACROSS - 1]}…"
    parts = [_text(_MARGIN_PX, 28, short, "heading"), _text(_MARGIN_PX, 50, SENTENCES[data], "sentence")]
    top = _HEADING_PX
    for caption, one in maps:
        height = one.shown.height_px
        inner = vector_map.svg(one).replace(
            "<svg ", f'<svg x="{_MARGIN_PX:g}" y="{top:.1f}" width="{WIDTH_PX:g}" height="{height:.1f}" ', 1
        )
        parts += [inner, _text(_MARGIN_PX, top + height + 20, caption, "sentence")]
        top += height + _CAPTION_PX
    drawn, rows = _legend([one for _, one in maps], top)
    parts.append(drawn)
    top += rows * _ROW_PX
    parts.append(_text(_MARGIN_PX, top + 5, base_map.SOURCES, "source"))
    width, height = WIDTH_PX + 2 * _MARGIN_PX, top + _ROW_PX + _MARGIN_PX / 2
    sheet = style.in_light(style.text_of("vector_map.css") + _SHEET).replace(
        "system-ui, sans-serif", f"'{style.FONT}'"
    )
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width:.0f}" height="{height:.0f}" '
        f'viewBox="0 0 {width:.0f} {height:.0f}"><style>{sheet}</style>'
        f'<rect width="100%" height="100%" fill="{style.light()["back"]}"/>{"".join(parts)}</svg>'
    )
    return bytes(chart.converter().svg_to_png(whole, scale=scale))


_SHEET = """
.heading { font: 600 20px system-ui, sans-serif; fill: var(--text); }
.sentence { font: 14px system-ui, sans-serif; fill: var(--faint); }
.source { font: 11px system-ui, sans-serif; fill: var(--faint); }
.word { font: 13px system-ui, sans-serif; fill: var(--text); }
"""


def _legend(maps: Sequence[Map], top: float) -> tuple[Markup, int]:
    """What the symbols mean, and in how many rows."""
    words = list(dict(pair for one in maps for pair in vector_map.words(one)).items())
    parts = []
    for number, (said, kind) in enumerate(words):
        x = _MARGIN_PX + (number % _KEYS_ACROSS) * WIDTH_PX / _KEYS_ACROSS
        y = top + (number // _KEYS_ACROSS) * _ROW_PX
        key = f'<g class="key" transform="translate({x + 10:.1f} {y:.1f})">{vector_map.key(kind)}</g>'
        parts += [key, _text(x + 26, y + 5, said, "word")]
    return Markup("".join(parts)), -(-len(words) // _KEYS_ACROSS)


def _text(x: float, y: float, said: str, name: str) -> str:
    return f'<text class="{name}" x="{x:.1f}" y="{y:.1f}">{escaped(said)}</text>'
