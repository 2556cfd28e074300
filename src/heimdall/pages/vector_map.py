"""A map as SVG that a person moves and enlarges in a page.

It shows land, lakes, borders, rivers and towns, and on them what it is given: marks, regions and lines.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from heimdall.maps import base_map, graticule, placement
from heimdall.maps.base_map import BaseMap
from heimdall.maps.placement import Place, Point, Rectangle
from heimdall.maps.projection import Degrees, Projection, middle
from heimdall.pages.elements import Link, Markup, escaped, link, named
from heimdall.pages.frame import WIDTH_PX, Frame

Float64 = npt.NDArray[np.float64]
Ring = tuple[tuple[float, float], ...]

AROUND = 0.5  # of the picture's width and height: so much more on every side is there when the map is moved
_LABEL_LETTERS = 24
_SYMBOL_PX = 7.0  # half of a symbol's width
_SCALE_PX = 200.0  # of the bar at most
_TOWN_PX, _TOWN_LETTER_PX = 2.0, 11.0
_DEGREE_LETTER_PX = 6.6  # the width of a letter of degrees
_MANY_STOPS = 10  # of the Tab key in a map: with more of them it can be passed over
_MOST_TOWNS = 150  # of which a map has labels, however far it is enlarged

# Each is drawn about 14 units wide around 0, 0.
_SYMBOLS = {
    "receiver": '<path d="M0 -7L7 6H-7Z"/>',
    "untimed": '<path d="M0 -7L7 6H-7Z"/>',
    "unused": '<path d="M0 -6L6 5H-6Z"/>',
    "unrecorded": '<path d="M0 -6L6 5H-6ZM-2.5 2H2.5"/>',
    "absent": '<path d="M0 -6L6 5H-6Z"/>',
    "method": '<path d="M0 -6L6 0L0 6L-6 0Z"/>',
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
        "untimed": "a receiver without an arrival time",
        "unused": "a receiver that is not used",
        "hyperbola": "equal difference of arrival times at two receivers",
        "error": "from the truth to the answer",
        "p68": "region of 68 %",
        "p95": "region of 95 %",
        "outline": "region of 95 %",
        "by-model": "95 % region of the trained model",
        "method": "another method",
        "by-method": "95 % ellipse of another method",
        "unrecorded": "a receiver without a recording that counts as hearing nothing",
        "absent": "a receiver without a recording",
    }
)
_OF_LINES, _OF_REGIONS = ("hyperbola", "error"), ("p68", "p95", "outline", "by-model", "by-method")
HINT = (
    "Drag moves a map, and the buttons enlarge and reduce it. With the keyboard: +, - and 0 on a map that "
    "has the focus, and the arrows."
)


@dataclass(frozen=True)
class Mark:
    """A symbol at a position.

    Attributes:
        position: Latitude and longitude, degrees.
        kind: What it is: receiver, untimed, unused, unrecorded, absent, event, model, method, alternative,
            place, truth or truths.
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
        kind: What it is: p68, p95, by-model, by-method, or outline for one of many.
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

    @cached_property
    def kinds(self) -> tuple[str, ...]:
        """Of what is in the picture: of marks the last first, then of regions and lines, each once."""
        frame = self.shown
        marks = [mark.kind for mark in reversed(self.marks) if frame.holds(frame.at([mark.position]))]
        areas = [one.kind for one in self.regions if any(frame.holds(_px(frame, r)) for r in one.rings)]
        lines = [one.kind for one in self.lines if frame.holds(frame.at(one.positions.tolist()))]
        return tuple(dict.fromkeys([*marks, *areas, *lines]))


def around(marks: Iterable[Mark], regions: Iterable[Region] = ()) -> Frame:
    """The part of the earth in which marks and regions are."""
    corners = [(y, x) for region in regions for ring in region.rings for x, y in ring]
    positions = [*(mark.position for mark in marks), *corners]
    if not positions:
        raise ValueError("a map without a mark, a region or a frame shows nothing")
    return Frame.around(Projection(*middle(positions)), positions)


def figure(drawn: Map, caption: str, *, identifier: str = "") -> Markup:
    """A map that a person moves and enlarges, with what it shows and what its symbols mean."""
    drawing = svg(drawn)
    before = after = ""
    if sum(bool(mark.identifier) for mark in drawn.marks) > _MANY_STOPS:
        place = f"after-{hashlib.sha256(drawing.encode()).hexdigest()[:12]}"
        before, after = (
            f'<a class="skip here" href="#{place}">Skip the map</a>\n',
            f'\n<span id="{place}"></span>',
        )
    return Markup(
        f'{before}<figure class="of-map"{named(identifier)}>\n{drawing}\n'
        f"<figcaption>{escaped(caption)}</figcaption>\n{legend(drawn)}</figure>{after}"
    )


def legend(drawn: Map) -> Markup:
    """What the symbols of a map mean, and whose data it shows."""
    rows = [
        f'<li><svg class="key" viewBox="-10 -10 20 20" aria-hidden="true">{key(kind)}</svg>'
        f"{escaped(said)}</li>"
        for said, kind in words(drawn)
    ]
    source = f'<p class="source">{escaped(base_map.SOURCES)}</p>'
    return Markup(f'<ul class="legend">{"".join(rows)}</ul>\n{source}\n')


def words(drawn: Map) -> list[tuple[str, str]]:
    """What the symbols of a map mean, each with one kind that it is said of."""
    every = {**LEGEND, **drawn.legend}
    found: dict[str, str] = {}
    for kind in drawn.kinds:
        found.setdefault(every[kind], kind)
    return list(found.items())


def svg(drawn: Map) -> Markup:
    """The map as SVG, with the classes of the page's style sheet."""
    frame = drawn.shown
    base = base_map.read(frame.projection, frame.box.grown(AROUND), frame.m_per_px)
    lines = graticule.graticule(frame.projection, frame.box)
    marks = list(reversed(drawn.marks))  # the most important, which are drawn last, choose first
    points = [*_points(marks, frame), *_towns(base, frame)]
    places = placement.places(points, always=len(marks), frame=(0.0, 0.0, WIDTH_PX, frame.height_px))
    labelled = list(zip(points, places, strict=True))
    scale = _scale_box(frame, labelled[: len(marks)])
    inner = _beside_degrees(frame, lines)
    height = _number(frame.height_px)
    parts = [
        f'<svg class="map" xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH_PX:.0f} {height}" '
        f'role="group" tabindex="0" aria-label="Map: {escaped(drawn.title)}" '
        f'data-metres="{frame.m_per_px:.6g}">',
        *_earth(frame, base),
        *(_path("graticule", [frame.px(line.points_m)]) for line in lines),
        *(_path(f"line {one.kind}", [frame.at(one.positions.tolist())], one.title) for one in drawn.lines),
        *(_region(frame, one) for one in drawn.regions),
        *(_town(*one, inner, scale) for one in labelled[len(marks) :] if one[1].level in placement.LEVELS),
        *(_degree(frame, line, labelled, scale) for line in lines),
        *(_mark(*one) for one in reversed(list(zip(marks, points, places, strict=False)))),
        _scale_bar(frame, scale),
        "</svg>",
    ]
    return Markup("\n".join(parts))


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


def _points(marks: Sequence[Mark], frame: Frame) -> list[Point]:
    if not marks:
        return []
    at = frame.at([mark.position for mark in marks]).tolist()
    return [
        Point(x, y, _SYMBOL_PX, _short(mark.label), bold=True) for mark, (x, y) in zip(marks, at, strict=True)
    ]


def _towns(base: BaseMap, frame: Frame) -> list[Point]:
    at = frame.px(base.towns_m).tolist()
    return [
        Point(x, y, _TOWN_PX, _short(town.name), _TOWN_LETTER_PX)
        for town, (x, y) in zip(base.towns[:_MOST_TOWNS], at, strict=False)
    ]


def _short(label: str) -> str:
    return label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1]}…"


def _mark(mark: Mark, point: Point, place: Place) -> str:
    label = ""
    if point.label:
        hidden = ' visibility="hidden"' if place.level > 0 else ""
        label = f'<g class="label"{_level(place)}{hidden}>{_text(point.label, place)}</g>'
    inner = f"<title>{escaped(mark.title)}</title>{key(mark.kind)}{label}"
    if mark.identifier:
        opening = link(Link("", mark.identifier)).removesuffix("</a>")
        inner = f"{opening}{inner}</a>"
    return f'<g class="mark" transform="translate({_number(point.x)} {_number(point.y)})">{inner}</g>'


def _beside_degrees(frame: Frame, lines: Iterable[graticule.Line]) -> Rectangle:
    """The picture without the strips at its left and its lower side in which degrees stand."""
    left = max((_DEGREE_LETTER_PX * len(line.name) for line in lines if not line.is_meridian), default=0.0)
    return left + 6, 0.0, WIDTH_PX, frame.height_px - 20


def _town(point: Point, place: Place, inner: Rectangle, scale: Rectangle) -> str:
    box = placement.label_box(point, place)
    shown = place.level <= 0 and placement.inside(box, inner) and not placement.overlap(box, scale)
    hidden = "" if shown else ' visibility="hidden"'
    at = f"{_number(point.x)} {_number(point.y)}"
    return (
        f'<g class="town"{_level(place)}{hidden} transform="translate({at})">'
        f'<circle r="{_TOWN_PX:g}"/>{_text(point.label, place)}</g>'
    )


def _level(place: Place) -> str:
    return f' data-level="{place.level}" data-left="{place.left:.0f}" data-width="{place.width:.0f}"'


def _text(label: str, place: Place) -> str:
    return (
        f'<text x="{_number(place.dx)}" y="{_number(place.dy)}" text-anchor="{place.anchor}">'
        f"{escaped(label)}</text>"
    )


def key(kind: str) -> str:
    """The symbol of a kind around 0, 0; of lines and areas a piece."""
    if kind in _OF_LINES:
        return f'<path class="line {kind}" d="M-10 0H10"/>'
    if kind in _OF_REGIONS:
        return f'<path class="region {kind}" d="M-8 -6H8V6H-8Z"/>'
    return f'<g class="symbol {kind}">{_SYMBOLS[kind]}</g>'


def _degree(
    frame: Frame, line: graticule.Line, labelled: Sequence[tuple[Point, Place]], scale: Rectangle
) -> str:
    """The name of a line where it meets the lower side or the left one; the script moves it with the view."""
    points = frame.px(line.points_m)
    axis, border = (1, frame.height_px - 6) if line.is_meridian else (0, 4.0)
    ahead = points[:, axis] > border
    crossings = np.flatnonzero(ahead[1:] != ahead[:-1])
    x, y, shown = 0.0, 0.0, False
    if len(crossings):
        a, b = points[crossings[0]], points[crossings[0] + 1]
        x, y = (a + (b - a) * (border - a[axis]) / (b[axis] - a[axis])).tolist()
        width = _DEGREE_LETTER_PX * len(line.name)
        half = width / 2
        box = (x - half, y - 10, x + half, y + 3) if line.is_meridian else (x, y - 7, x + width, y + 7)
        # The corner is the meridians'.
        inside = half < x < WIDTH_PX - half if line.is_meridian else 7 < y < frame.height_px - 20
        covered = (placement.label_box(*one) for one in labelled if one[1].level <= 0)
        shown = inside and not any(placement.overlap(box, other) for other in (scale, *covered))
    hidden = "" if shown else ' visibility="hidden"'
    side = "meridian" if line.is_meridian else "parallel"
    at = f"{_number(x)} {_number(y)}"
    return f'<text class="degrees {side}" transform="translate({at})"{hidden}>{escaped(line.name)}</text>'


def _region(frame: Frame, region: Region) -> str:
    rings = [_px(frame, ring) for ring in region.rings]
    return _path(f"region {region.kind}", rings, region.title, closed=True)


def _px(frame: Frame, ring: Ring) -> Float64:
    return frame.at([(y, x) for x, y in ring])


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


def _scale_box(frame: Frame, marks: Sequence[tuple[Point, Place]]) -> Rectangle:
    """Where the scale stands: in the first corner in which no mark is."""
    ends = ((WIDTH_PX - 16, frame.height_px - 24), (260.0, frame.height_px - 24), (260.0, 32.0))
    corners = [(x - _SCALE_PX - 14, y - 26, x, y + 4) for x, y in ends]
    taken = [placement.label_box(*one) for one in marks]
    free = (one for one in corners if not any(placement.overlap(one, other) for other in taken))
    return next(free, corners[0])


def _scale_bar(frame: Frame, box: Rectangle) -> str:
    metres, name = graticule.scale_bar(_SCALE_PX * frame.m_per_px)
    length = _number(metres / frame.m_per_px)
    at = f"{_number(box[2] - 4)} {_number(box[3] - 4)}"
    return (
        f'<g class="scale" transform="translate({at})"><path d="M0 -5V0H-{length}V-5"/>'
        f'<text y="-9" text-anchor="end">{name}</text></g>'
    )


def _number(value: float) -> str:
    return f"{round(value, 1) + 0.0:.1f}"
