"""A chart of Vega-Lite as SVG, drawn when the page is written: no script, light and dark alike."""

from __future__ import annotations

import hashlib
import re
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.pages import style
from heimdall.pages.elements import Markup, escaped

# Series differ by dash and by shape as well as by colour.
COLOURS = tuple(f"var(--{name})" for name in ("receiver", "place", "truth", "model", "other", "text"))
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3], [12, 4], [1, 4])
SHAPES = ("circle", "square", "triangle-up", "diamond", "cross", "triangle-down")
_CONFIG: dict[str, Any] = {
    "background": None,
    # A reader's font may be wider than the one with which vl-convert measures.
    "padding": {"left": 24, "top": 5, "right": 24, "bottom": 5},
    "font": style.FONT,
    "view": {"stroke": "var(--line)"},
    "axis": {
        "labelColor": "var(--text)",
        "titleColor": "var(--text)",
        "titleFontWeight": "normal",
        "titleFontSize": 13,
        "labelFontSize": 12,
        "gridColor": "var(--line)",
        "domainColor": "var(--faint)",
        "tickColor": "var(--faint)",
    },
    "legend": {
        "labelColor": "var(--text)",
        "titleColor": "var(--text)",
        "labelFontSize": 12,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "symbolStrokeColor": "var(--text)",
        "labelLimit": 400,
    },
    "title": {"color": "var(--text)", "subtitleColor": "var(--faint)"},
    "header": {"labelColor": "var(--text)", "titleColor": "var(--text)"},
    "mark": {"color": "var(--receiver)"},
    "text": {"color": "var(--text)"},
    "rule": {"color": "var(--faint)"},
    "range": {"category": list(COLOURS), "symbol": list(SHAPES)},
}
_OUTER = re.compile(r"^<svg [^>]*>")
_SIZE = re.compile(r'viewBox="0 0 (\S+) (\S+)"')
_OF_ELEMENT = re.compile(r' (?:aria-\w+|role|style)="[^"]*"')
_NAMED = re.compile(r'(?<= id=")(?=\w)|(?<=url\(#)')
_TAG = re.compile(r"<[^>]*>")  # Vega escapes < and > in text and in attributes


def svg(spec: dict[str, Any], *, title: str, description: str) -> Markup:
    """A chart as SVG.

    Args:
        spec: Of Vega-Lite 5, with its data in it. Its colours may be the variables of the style sheet, as
            "var(--place)", or of `COLOURS`.
        title: What it shows, in a few words.
        description: What one sees in it, for whoever does not see it.

    Raises:
        HeimdallError: vl-convert is not installed.
    """
    drawn = _drawn(spec)
    size = _SIZE.search(drawn)
    if size is None:
        raise ValueError(f"no size: {drawn[:200]}")
    width, height = size.groups()
    # Identifiers are of the whole page, in which other charts have the same.
    prefix = f"c{hashlib.sha256(drawn.encode()).hexdigest()[:12]}-"
    inner = _OUTER.sub("", drawn, count=1).removesuffix("</svg>")
    inner = _TAG.sub(lambda tag: _of_a_page(tag[0], prefix), inner)
    return Markup(
        f'<svg class="chart" role="img" viewBox="0 0 {width} {height}" width="{width}" height="{height}" '
        f'xmlns="http://www.w3.org/2000/svg">'
        f"<title>{escaped(title)}</title><desc>{escaped(description)}</desc>{inner}</svg>"
    )


def _of_a_page(tag: str, prefix: str) -> str:
    """A tag as it stands in a page; what is text between tags is the reader's and stays as it is."""
    tag = _OF_ELEMENT.sub("", tag).replace("xlink:href", "href")  # the latter of a picture
    return _NAMED.sub(prefix, tag)


def png(chart: Markup, scale: float = 2.0) -> bytes:
    """A drawing of `svg` as a PNG file in light colours.

    Raises:
        HeimdallError: vl-convert is not installed.
    """
    return bytes(converter().svg_to_png(style.in_light(chart), scale=scale))


def converter() -> Any:  # noqa: ANN401 - a module without types
    """The module vl_convert.

    Raises:
        HeimdallError: It is not installed.
    """
    try:
        import vl_convert  # noqa: PLC0415 - 60 MB that only a drawing needs
    except ModuleNotFoundError as error:
        raise HeimdallError(
            "vl-convert-python",
            "it is not installed, and drawings need it",
            "Install what this version needs with `make setup`",
        ) from error
    return vl_convert


def _drawn(spec: dict[str, Any]) -> str:
    given = spec.get("config", {})
    config = {**_CONFIG, **given}
    for name in _CONFIG.keys() & given.keys():
        if isinstance(_CONFIG[name], dict):
            config[name] = {**_CONFIG[name], **given[name]}
    return str(converter().vegalite_to_svg({**spec, "config": config}, allowed_base_urls=[]))
