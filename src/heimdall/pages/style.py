"""The style sheets and scripts of a page, and its light colours for what cannot have both."""

from __future__ import annotations

import re
from functools import cache
from importlib import resources

_SHEETS = ("page.css", "vector_map.css")
_SCRIPTS = ("page.js", "vector_map.js")
_VARIABLE = re.compile(r"var\(--([a-z0-9-]+)\)")
FONT = "Liberation Sans"  # vl-convert brings it: a picture has the same letters everywhere


@cache
def sheet() -> str:
    """The style sheet of every page."""
    return "".join(map(text_of, _SHEETS))


@cache
def script() -> str:
    """The script of every page."""
    return "".join(map(text_of, _SCRIPTS))


@cache
def text_of(name: str) -> str:
    """A file of this room."""
    return resources.files(__package__).joinpath(name).read_text("utf-8")


@cache
def light() -> dict[str, str]:
    """The light colour of each variable of the style sheet, as "#rrggbb"."""
    root = text_of("page.css").split("}", 1)[0]
    return dict(re.findall(r"--([a-z0-9-]+): (#[0-9a-f]{6});", root))


def in_light(markup: str) -> str:
    """The same with the light colours in the places of the variables; what only looks like one stays."""
    return _VARIABLE.sub(lambda found: light().get(found[1], found[0]), markup)
