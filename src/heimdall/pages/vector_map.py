"""A map as SVG that a person moves and enlarges in a page, and the same as a PNG file.

It shows land, lakes, borders, rivers and towns, and on them what it is given: marks, regions and lines.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from heimdall.maps import base_map, graticule
from heimdall.maps.base_map import BaseMap
from heimdall.maps.projection import Degrees, Projection, middle
from heimdall.pages import chart, placement, style
from heimdall.pages.elements import Link, Markup, escaped, link, named
from heimdall.pages.frame import WIDTH_PX, Frame
from heimdall.pages.placement import Place, Point

Float64 = npt.NDArray[np.float64]
Ring = tuple[tuple[float, float], ...]

AROUND = 0.5  # of the picture's width and height: so much more on every side is there when the map is moved
_LABEL_LETTERS = 24
_SYMBOL_PX = 7.0  # half of a symbol's width
_SCALE_PX = 200.0  # of the bar at most
_TOWN_PX, _TOWN_LETTER_PX = 2.0, 11.0
_STRIP_PX = (34.0, 20.0)  # at the left and the lower side, where degrees stand
_SCALE_BOX_PX = (230.0, 52.0)  # in the lower right corner
_MOST_TOWNS = 150  # of which a map has labels, however far it is enlarged

# Each is drawn about 14 units wide around 0, 0.
_SYMBOLS = {
    "receiver": '<path d="M0 -7L7 6H-7Z"/>',
    "unused": '<path d="M0 -6L6 5H-6Z"/>',
    "event": '<circle r="3"/>',
    "model": '<path d="M-5 -5H5V5H-5Z"/>',
    "alternative": '<circle r="5.5"/>',
    "place": '<circle r="6.5"/>',
    "truth": '<path d="M-7 -7L7 7M-7 7L7 -7"/>',
    "truths": '<path d="M-4 -4L4 4M-4 4L4 -4"/>',
}
LEGEND: Mapping[str, str] = MappingProxyType(
    {
        "place": "the likeliest place",
        "alternative": "another place",
        "event": "a single event",
        "truth": "where it truly was",
        "truths": "where it truly was",
        "model": "what the trained model says",
        "receiver": "a receiver that is used",
        "unused": "a receiver that is not used",
        "hyperbola": "equal difference of arrival times at two receivers",
        "error": "from the truth to the answer",
        "p68": "region of 68 %",
        "p95": "region of 95 %",
        "outline": "region of 95 %",
        "by-model": "95 % region of the trained model",
    }
)
_OF_LINES, _OF_REGIONS = ("hyperbola", "error"), ("p68", "p95", "outline", "by-model")


@dataclass(frozen=True)
class Mark:
    """A symbol at a position.

    Attributes:
        position: Latitude and longitude, degrees.
        kind: What it is: receiver, unused, event, model, alternative, place, truth or truths.
        label: What stands beside it, or "".
        title: What it is, for who points at it.
        identifier: Of the part of the page to which it leads; "" for none.
    """

    position: Degrees
    kind: str
    label: str
    title: str
    identifier: str = ""


@dataclass(frozen=True)
class Region:
    """An area.

    Attributes:
        rings: Its outlines and holes as (longitude, latitude) in degrees, closed.
        kind: What it is: p68, p95, by-model, or outline for one of many.
        title: What it is, for who points at it.
    """

    rings: tuple[Ring, ...]
    kind: str
    title: str


@dataclass(frozen=True, eq=False)
class Line:
    """A line.

    Attributes:
        positions: Latitude and longitude of its corners, degrees, shape (n, 2).
        kind: What it is: hyperbola, or error from a truth to an answer.
        title: What it is, for who points at it.
    """

    positions: Float64
    kind: str
    title: str


@dataclass(frozen=True, eq=False)
class Map:
    """A map and what it shows.

    Attributes:
        title: What it shows, in a few words.
        marks: The most important last: it lies above the others.
        regions: Below the marks, the first lowest.
        lines: Below the regions.
        frame: The part of the earth; None for that in which all marks and regions are.
        legend: Words for kinds, in the place of those of `LEGEND`.
    """

    title: str
    marks: Sequence[Mark] = ()
    regions: Sequence[Region] = ()
    lines: Sequence[Line] = ()
    frame: Frame | None = None
    legend: Mapping[str, str] = field(default_factory=dict)

    @cached_property
    def shown(self) -> Frame:
        """The part of the earth that it shows at first.

        Raises:
            ValueError: It has no frame, no mark and no region.
        """
        return self.frame or around(self.marks, self.regions)


def around(marks: Iterable[Mark], regions: Iterable[Region] = ()) -> Frame:
    """The part of the earth in which marks and regions are."""
    corners = [(y, x) for region in regions for ring in region.rings for x, y in ring]
    positions = [*(mark.position for mark in marks), *corners]
    if not positions:
        raise ValueError("a map without a mark, a region or a frame shows nothing")
    return Frame.around(Projection(*middle(positions)), positions)


def figure(drawn: Map, caption: str, *, identifier: str = "") -> Markup:
    """A map that a person moves and enlarges, with what it shows and what its symbols mean."""
    return Markup(
        f'<figure class="of-map"{named(identifier)}>\n{svg(drawn)}\n'
        f"<figcaption>{escaped(caption)}</figcaption>\n{legend(drawn)}</figure>"
    )


def legend(drawn: Map) -> Markup:
    """What the symbols of a map mean."""
    used = dict.fromkeys(
        [*(one.kind for one in reversed(drawn.marks)), *(one.kind for one in drawn.regions)]
        + [one.kind for one in drawn.lines]
    )
    words = {**LEGEND, **drawn.legend}
    items = {words[kind]: kind for kind in reversed(used)}  # the first kind of several with the same words
    rows = [
        f'<li><svg class="key" viewBox="-10 -10 20 20" aria-hidden="true">{_key(kind)}</svg>'
        f"{escaped(said)}</li>"
        for said, kind in reversed(items.items())
    ]
    return Markup(f'<ul class="legend">{"".join(rows)}</ul>\n')


def svg(drawn: Map) -> Markup:
    """The map as SVG, with the classes of the page's style sheet."""
    frame = drawn.shown
    base = base_map.read(frame.projection, frame.box.grown(AROUND), frame.m_per_px)
    towns, marks = _labels(drawn, base, frame)
    height = _number(frame.height_px)
    parts = [
        f'<svg class="map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX:.0f} {height}" '
        f'role="group" tabindex="0" aria-label="Map: {escaped(drawn.title)}" '
        f'data-metres="{frame.m_per_px:.6g}">',
        *_earth(frame, base),
        *_graticule(frame),
        *(_path(f"line {one.kind}", [frame.at(one.positions.tolist())], one.title) for one in drawn.lines),
        *(_region(frame, one) for one in drawn.regions),
        *towns,
        *_degrees(frame),
        *marks,
        _scale_bar(frame),
        "</svg>",
    ]
    return Markup("\n".join(parts))


def png(drawn: Map, scale: float = 2.0) -> bytes:
    """The map as a PNG file in light colours, `scale` times 960 pixels wide.

    Raises:
        HeimdallError: vl-convert or the data of maps are not installed.
    """
    sheet = style.in_light(style.text_of("vector_map.css")).replace(
        "system-ui, sans-serif", f"'{style.FONT}'"
    )
    opening, rest = svg(drawn).split(">", 1)
    height = drawn.shown.height_px
    whole = f'{opening} width="{WIDTH_PX:.0f}" height="{height:.1f}"><style>{sheet}</style>{rest}'
    return bytes(chart.converter().svg_to_png(whole, scale=scale))


def _earth(frame: Frame, base: BaseMap) -> list[str]:
    box = frame.px(np.array([[frame.west_m, frame.north_m]]))
    width, height = WIDTH_PX * (1 + 2 * AROUND), frame.height_px * (1 + 2 * AROUND)
    x, y = (box[0] - [AROUND * WIDTH_PX, AROUND * frame.height_px]).tolist()
    sea = (
        f'<rect class="sea" x="{_number(x)}" y="{_number(y)}" width="{_number(width)}" '
        f'height="{_number(height)}"/>'
    )
    parts = [sea]
    # Neighbours of one kind are one path.
    begin = 0
    for end in range(1, len(base.patches) + 1):
        if end == len(base.patches) or base.patches[end].is_land != base.patches[begin].is_land:
            rings = [frame.px(one.ring_m) for one in base.patches[begin:end]]
            parts.append(_path("land" if base.patches[begin].is_land else "lake", rings, closed=True))
            begin = end
    for style_name, lines in (("seam", base.seams_m), ("river", base.rivers_m), ("border", base.borders_m)):
        if lines:
            parts.append(_path(style_name, [frame.px(one) for one in lines]))
    return parts


def _labels(drawn: Map, base: BaseMap, frame: Frame) -> tuple[list[str], list[str]]:
    """Towns and marks with their labels, each with the level from which there is room for it."""
    marks = list(reversed(drawn.marks))  # the most important, which are drawn last, choose first
    at = frame.at([mark.position for mark in marks]).tolist() if marks else []
    points = [Point(x, y, _SYMBOL_PX, _short(mark.label)) for mark, (x, y) in zip(marks, at, strict=True)]
    towns = frame.px(base.towns_m).tolist()[:_MOST_TOWNS]
    points += [
        Point(x, y, _TOWN_PX, _short(town.name), _TOWN_LETTER_PX)
        for town, (x, y) in zip(base.towns, towns, strict=False)
    ]
    places = placement.places(points, always=len(marks))
    drawn_marks = [
        _mark(mark, point, place) for mark, point, place in zip(marks, points, places, strict=False)
    ]
    drawn_towns = [
        _town(point, place, frame)
        for point, place in zip(points[len(marks) :], places[len(marks) :], strict=True)
        if place.level in placement.LEVELS
    ]
    return drawn_towns, drawn_marks[::-1]


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1]}…"


def _mark(mark: Mark, point: Point, place: Place) -> str:
    label = ""
    if point.label:
        hidden = ' visibility="hidden"' if place.level > 0 else ""
        label = f'<g class="label"{_level(place)}{hidden}>{_text(point.label, place)}</g>'
    inner = f"<title>{escaped(mark.title)}</title>{_key(mark.kind)}{label}"
    if mark.identifier:
        opening = link(Link("", mark.identifier)).removesuffix("</a>")
        inner = f"{opening}{inner}</a>"
    return f'<g class="mark" transform="translate({_number(point.x)} {_number(point.y)})">{inner}</g>'


def _town(point: Point, place: Place, frame: Frame) -> str:
    left = point.x + place.dx - {"start": 0.0, "middle": place.width / 2, "end": place.width}[place.anchor]
    top, bottom = point.y + place.dy - point.letter, point.y + place.dy + 4
    within = (
        left > _STRIP_PX[0]
        and left + place.width < WIDTH_PX
        and top > 0
        and bottom < frame.height_px - _STRIP_PX[1]
        and not (
            left + place.width > WIDTH_PX - _SCALE_BOX_PX[0] and bottom > frame.height_px - _SCALE_BOX_PX[1]
        )
    )
    hidden = "" if within and place.level <= 0 else ' visibility="hidden"'
    at = f"{_number(point.x)} {_number(point.y)}"
    return (
        f'<g class="town"{_level(place)}{hidden} transform="translate({at})">'
        f'<circle r="{_TOWN_PX:g}"/>{_text(point.label, place)}</g>'
    )


def _level(place: Place) -> str:
    left = place.dx - {"start": 0.0, "middle": place.width / 2, "end": place.width}[place.anchor]
    return f' data-level="{place.level}" data-left="{left:.0f}" data-width="{place.width:.0f}"'


def _text(label: str, place: Place) -> str:
    return (
        f'<text x="{_number(place.dx)}" y="{_number(place.dy)}" text-anchor="{place.anchor}">'
        f"{escaped(label)}</text>"
    )


def _key(kind: str) -> str:
    """The symbol of a kind around 0, 0; of lines and areas a piece."""
    if kind in _OF_LINES:
        return f'<path class="line {kind}" d="M-10 0H10"/>'
    if kind in _OF_REGIONS:
        return f'<path class="region {kind}" d="M-8 -6H8V6H-8Z"/>'
    return f'<g class="symbol {kind}">{_SYMBOLS[kind]}</g>'


def _graticule(frame: Frame) -> list[str]:
    lines = graticule.graticule(frame.projection, frame.box)
    return [_path("graticule", [frame.px(line.points_m)]) for line in lines]


def _degrees(frame: Frame) -> list[str]:
    """The names of lines where they meet the lower side or the left one; the script moves them."""
    return [_degree(frame, line) for line in graticule.graticule(frame.projection, frame.box)]


def _degree(frame: Frame, line: graticule.Line) -> str:
    points = frame.px(line.points_m)
    axis, border = (1, frame.height_px - 6) if line.is_meridian else (0, 4.0)
    ahead = points[:, axis] > border
    crossings = np.flatnonzero(ahead[1:] != ahead[:-1])
    x, y, shown = 0.0, 0.0, False
    if len(crossings):
        a, b = points[crossings[0]], points[crossings[0] + 1]
        x, y = (a + (b - a) * (border - a[axis]) / (b[axis] - a[axis])).tolist()
        shown = line.is_meridian or y < frame.height_px - 20  # the corner is the meridians'
    hidden = "" if shown else ' visibility="hidden"'
    side = "meridian" if line.is_meridian else "parallel"
    at = f"{_number(x)} {_number(y)}"
    return f'<text class="degrees {side}" transform="translate({at})"{hidden}>{escaped(line.name)}</text>'


def _region(frame: Frame, region: Region) -> str:
    rings = [frame.at([(y, x) for x, y in ring]) for ring in region.rings]
    return _path(f"region {region.kind}", rings, region.title, closed=True)


def _path(name: str, lines: Sequence[Float64], title: str = "", *, closed: bool = False) -> str:
    said = f"<title>{escaped(title)}</title>" if title else ""
    return f'<path class="{name}" d="{"".join(_data(line, closed) for line in lines)}">{said}</path>'


def _data(line: Float64, closed: bool) -> str:
    """A line as the data of a path: its first corner, and the way from each to the next, to a tenth."""
    tenths = np.round(line * 10).astype(np.int64)
    steps = np.diff(tenths, axis=0)
    steps = steps[(steps != 0).any(axis=1)]
    first = tenths[0].tolist()
    way = "l" + " ".join(f"{_tenth(x)} {_tenth(y)}" for x, y in steps.tolist()) if len(steps) else ""
    return f"M{_tenth(first[0])} {_tenth(first[1])}{way}{'Z' if closed else ''}"


def _tenth(value: int) -> str:
    whole, rest = divmod(abs(value), 10)
    text = f"{whole}.{rest}" if rest else f"{whole}"
    return f"-{text}" if value < 0 else text


def _scale_bar(frame: Frame) -> str:
    metres, name = graticule.scale_bar(_SCALE_PX * frame.m_per_px)
    length = _number(metres / frame.m_per_px)
    at = f"{_number(WIDTH_PX - 20)} {_number(frame.height_px - 28)}"
    return (
        f'<g class="scale" transform="translate({at})"><path d="M0 -5V0H-{length}V-5"/>'
        f'<text y="-9" text-anchor="end">{name}</text></g>'
    )


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"
