"""A map of an answer as SVG: receivers, regions, places and hyperbolas."""

from __future__ import annotations

import html
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.localize import fix_chart, fix_lines, fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.error_ellipse import ellipse_95
from heimdall.localize.fix_chart import Chart
from heimdall.localize.fix_lines import Box, Line
from heimdall.localize.fix_words import printable
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix, Place, Region

Float64 = npt.NDArray[np.float64]
Degrees = tuple[float, float]  # latitude and longitude

WIDTH_PX = 960.0
_HEIGHTS_PX = (480.0, 760.0)
_MARGIN_PX = 90.0  # on every side
_DETAIL = 6  # a place has a map of its own if the whole one is more times as wide
_MAX_DETAILS = 3
_FEW = 5  # of more events only the outlines of the 95 % regions are drawn
_LARGEST_M = 9e6  # from the middle to a side
_SMALLEST_M = 10.0
_LETTER_PX, _LINE_PX = 6.6, 13.0  # of a label
_LABEL_LETTERS = 24
_SYMBOL_PX = 7.0  # half of a symbol's width
_SCALE_PX = 200.0  # of the bar at most


@dataclass(frozen=True)
class Frame:
    """A part of a chart as a picture, x to the right and y down.

    Attributes:
        chart: The chart.
        west_m: East of the left side, metres.
        north_m: North of the upper side, metres.
        m_per_px: Metres to one of the picture's units.
        height_px: Of the picture, which is `WIDTH_PX` wide.
    """

    chart: Chart
    west_m: float
    north_m: float
    m_per_px: float
    height_px: float

    @classmethod
    def around(cls, chart: Chart, positions: Iterable[Degrees]) -> Frame:
        """The picture in which positions are, with a margin around them."""
        east_m, north_m = (
            np.clip(one, -_LARGEST_M, _LARGEST_M) for one in chart.to_m(*zip(*positions, strict=True))
        )
        (west, south), (east, north) = (
            (float(east_m.min()), float(north_m.min())),
            (float(east_m.max()), float(north_m.max())),
        )
        inner_px = WIDTH_PX - 2 * _MARGIN_PX
        lowest_px, highest_px = (height - 2 * _MARGIN_PX for height in _HEIGHTS_PX)
        m_per_px = max((east - west) / inner_px, (north - south) / highest_px, _SMALLEST_M / inner_px)
        height_px = max((north - south) / m_per_px, lowest_px) + 2 * _MARGIN_PX
        return cls(
            chart,
            (west + east - WIDTH_PX * m_per_px) / 2,
            (south + north + height_px * m_per_px) / 2,
            m_per_px,
            height_px,
        )

    @property
    def box(self) -> Box:
        """What the picture shows."""
        east_m = self.west_m + WIDTH_PX * self.m_per_px
        return Box(self.west_m, self.north_m - self.height_px * self.m_per_px, east_m, self.north_m)

    def px(self, points_m: Float64) -> Float64:
        """Points of the chart, shape (n, 2), in the picture."""
        return (points_m - [self.west_m, self.north_m]) * [1, -1] / self.m_per_px

    def at(self, positions: Iterable[Degrees]) -> Float64:
        """Positions in the picture, shape (n, 2)."""
        return self.px(np.stack(self.chart.to_m(*zip(*positions, strict=True)), axis=1))


@dataclass(frozen=True)
class Mark:
    """A symbol at a position.

    Attributes:
        position: Latitude and longitude, degrees.
        symbol: Its kind, which `fix_page` draws.
        label: What stands beside it, or "".
        title: What a pointer on it shows.
    """

    position: Degrees
    symbol: str
    label: str
    title: str


def maps(answer: Answer) -> list[tuple[str, str]]:
    """The maps of an answer, each with what it shows: all of it, then the places that are small on that."""
    marks = [*_receivers(answer), *_events(answer), *_places(answer)]
    main = answer.main
    places = () if main is None else fix_words.shown(main)
    shown = [main] if main is not None else list(answer.fixes)
    corners = [(y, x) for fix in shown for region in fix.regions for ring in region.rings for x, y in ring]
    positions = [*(mark.position for mark in marks), *corners]
    first = (places[0].latitude_deg, places[0].longitude_deg) if places else _middle(positions)
    whole = Frame.around(Chart(*first), positions)
    frames = [("Receivers and places", whole)]
    others = [mark.position for mark in marks if mark.symbol in ("truth", "model")]
    for place in places[:_MAX_DETAILS]:
        name = "The place" if len(places) == 1 else f"The place with {fix_words.share(place.probability)}"
        frames.append((f"{name}, enlarged", _around(place, others)))
    if main is None and corners:
        frames.append(("The events, enlarged", Frame.around(Chart(*_middle(corners)), corners)))
    shown_frames = frames[:1] + [one for one in frames[1:] if one[1].m_per_px * _DETAIL < whole.m_per_px]
    return [(name, _svg(answer, shown, marks, frame)) for name, frame in shown_frames]


def _around(place: Place, others: Sequence[Degrees]) -> Frame:
    """A place with its ellipse, and what else is said of it if that is near."""
    chart = Chart(place.latitude_deg, place.longitude_deg)
    reach_m = 1.2 * ellipse_95(place.covariance_m2).major_m
    corners = zip(*chart.to_degrees([reach_m, 0, -reach_m, 0], [0, reach_m, 0, -reach_m]), strict=True)
    near = [one for one in others if np.hypot(*chart.to_m(*one)).item() < _DETAIL * reach_m]
    return Frame.around(chart, [*((float(y), float(x)) for y, x in corners), *near])


def _middle(positions: Sequence[Degrees]) -> Degrees:
    """The middle of positions: the direction of the sum of their unit vectors."""
    latitude, longitude = np.radians(np.array(positions)).T
    x = float((np.cos(latitude) * np.cos(longitude)).sum())
    y = float((np.cos(latitude) * np.sin(longitude)).sum())
    z = float(np.sin(latitude).sum())
    return float(np.degrees(np.arctan2(z, np.hypot(x, y)))), float(np.degrees(np.arctan2(y, x)))


def _receivers(answer: Answer) -> list[Mark]:
    """Those that no answer rests on are drawn apart."""
    fixes = answer.fixes if answer.main is None else (answer.main,)
    used = {one.receiver for fix in fixes for one in fix.residuals if one.used}
    return [
        _mark(one, "receiver" if name in used else "unused", printable(name), f"Receiver {printable(name)}")
        for name, one in answer.receivers().items()
    ]


def _events(answer: Answer) -> list[Mark]:
    """The events' own places, where there are several events, and the truth where each has its own."""
    marks = []
    if answer.truth is None:
        for event in answer.events:
            if event.truth is not None:
                title = f"Truth of {printable(event.name)}: {_exact(event.truth)}"
                marks.append(_mark(event.truth, "truths", "", title))
    if len(answer.fixes) > 1:
        for fix in answer.fixes:
            for place in fix.places[:1]:
                title = f"{printable(fix.name)}: {fix_words.where(place)}"
                marks.append(_mark(_of(place), "event", "", title))
    return marks


def _places(answer: Answer) -> list[Mark]:
    """What a model says, the places of the answer, and the truth, the most important last."""
    marks = []
    if answer.beside is not None and answer.beside.place is not None:
        place, name = answer.beside.place, printable(answer.beside.name)
        marks.append(_mark(_of(place), "model", "model", f"Trained model {name}: {fix_words.where(place)}"))
    places = () if answer.main is None else fix_words.shown(answer.main)
    for number, place in reversed(list(enumerate(places))):
        share = fix_words.share(place.probability)
        label = "" if len(places) == 1 else share
        title = f"{fix_words.where(place)}, probability {share}"
        marks.append(_mark(_of(place), "alternative" if number else "place", label, title))
    if answer.truth is not None:
        marks.append(_mark(answer.truth, "truth", "truth", f"Truth: {_exact(answer.truth)}"))
    return marks


def _mark(position: Position, symbol: str, label: str, title: str) -> Mark:
    return Mark((position.latitude_deg, position.longitude_deg), symbol, label, title)


def _exact(position: Position) -> str:
    return f"{position.latitude_deg:.5f}, {position.longitude_deg:.5f}"


def _of(place: Place) -> Position:
    return Position(place.latitude_deg, place.longitude_deg)


def _svg(answer: Answer, shown: Sequence[Fix], marks: Sequence[Mark], frame: Frame) -> str:
    title = html.escape(printable(answer.title))
    many = len(shown) > _FEW
    parts = [
        f'<svg class="map{" many" if many else ""}" viewBox="0 0 {WIDTH_PX:.0f} {_number(frame.height_px)}" '
        f'role="img" tabindex="0" '
        f'aria-label="Map: {title}" data-metres="{frame.m_per_px:.6g}">',
        *_graticule(frame),
    ]
    if answer.main is not None:
        lines = fix_lines.hyperbolas(answer.main, answer.receivers(), frame.chart, frame.box)
        parts += [_path("hyperbola", [frame.px(line.points_m)], line.name) for line in lines]
    for fix in shown:
        largest_first = sorted(fix.regions, key=lambda region: -region.probability)
        for one in largest_first[:1] if many else largest_first:
            parts.append(_region(frame, one, f"region p{100 * one.probability:.0f}"))
    if answer.beside is not None and answer.beside.place is not None:
        parts.append(_region(frame, fix_chart.ellipse(answer.beside.place), "region by-model"))
    parts += [*_symbols(frame, marks), _scale_bar(frame), "</svg>"]
    return "\n".join(parts)


def _graticule(frame: Frame) -> list[str]:
    lines = fix_lines.graticule(frame.chart, frame.box)
    drawn = [_path("graticule", [frame.px(line.points_m)]) for line in lines]
    return drawn + [_graticule_label(frame, line) for line in lines]


def _graticule_label(frame: Frame, line: Line) -> str:
    """The name of a line where it meets the lower side or the left one; the script moves it with the view."""
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
    return f'<text class="degrees {side}" transform="translate({at})"{hidden}>{line.name}</text>'


def _region(frame: Frame, region: Region, style: str) -> str:
    rings = [frame.at([(y, x) for x, y in ring]) for ring in region.rings]
    name = "model" if style.endswith("model") else f"{100 * region.probability:.0f} % region"
    return _path(style, rings, f"{name}, {fix_words.area(region.area_km2)}", closed=True)


def _path(style: str, lines: Sequence[Float64], title: str = "", *, closed: bool = False) -> str:
    end = "Z" if closed else ""
    data = "".join(
        "M" + "L".join(f"{_number(x)} {_number(y)}" for x, y in line.tolist()) + end for line in lines
    )
    said = f"<title>{html.escape(printable(title))}</title>" if title else ""
    return f'<path class="{style}" d="{data}">{said}</path>'


def _symbols(frame: Frame, marks: Sequence[Mark]) -> list[str]:
    """The marks with their labels; a label that would cover another is shown when the map is enlarged."""
    points = frame.at([mark.position for mark in marks]).tolist()
    taken = [_rectangle(x, y, 0.0, 0.0, _SYMBOL_PX) for x, y in points]
    labels = [""] * len(marks)
    # The most important, which are drawn last, choose first.
    for number in reversed(range(len(marks))):
        label = marks[number].label
        if label:
            short = label if len(label) <= _LABEL_LETTERS else f"{label[: _LABEL_LETTERS - 1]}…"
            labels[number] = _label(short, points[number], taken, frame)
    drawn = []
    for mark, (x, y), label in zip(marks, points, labels, strict=True):
        at = f"{_number(x)} {_number(y)}"
        title = f"<title>{html.escape(mark.title)}</title>"
        drawn.append(
            f'<g class="mark" transform="translate({at})">{title}<use href="#{mark.symbol}"/>{label}</g>'
        )
    return drawn


def _label(text: str, at: Sequence[float], taken: list[tuple[float, ...]], frame: Frame) -> str:
    (x, y), width = at, _LETTER_PX * len(text)
    sides = (
        ("start", 10.0, 4.0, 10.0),
        ("end", -10.0, 4.0, -10.0 - width),
        ("middle", 0.0, -11.0, -width / 2),
        ("middle", 0.0, 20.0, -width / 2),
    )
    style = ' class="crowded"'
    anchor, right, down, _ = sides[0]
    for way, dx, dy, left in sides:
        box = _rectangle(x + left, y + dy - _LINE_PX + 3, width, _LINE_PX, 0.0)
        within = box[0] > 0 and box[1] > 0 and box[2] < WIDTH_PX and box[3] < frame.height_px
        if within and not any(_overlap(box, other) for other in taken):
            taken.append(box)
            anchor, right, down, style = way, dx, dy, ""
            break
    said = html.escape(text)
    return f'<text{style} x="{_number(right)}" y="{_number(down)}" text-anchor="{anchor}">{said}</text>'


def _rectangle(x: float, y: float, width: float, height: float, around: float) -> tuple[float, ...]:
    return x - around, y - around, x + width + around, y + height + around


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _scale_bar(frame: Frame) -> str:
    metres = fix_lines.round_below(_SCALE_PX * frame.m_per_px)
    length = _number(metres / frame.m_per_px)
    name = f"{metres / 1e3:g} km" if metres >= 1e3 else f"{metres:g} m"
    at = f"{_number(WIDTH_PX - 20)} {_number(frame.height_px - 28)}"
    return (
        f'<g class="scale" transform="translate({at})"><path d="M0 -5V0H-{length}V-5"/>'
        f'<text y="-9" text-anchor="end">{name}</text></g>'
    )


def _number(value: float) -> str:
    return f"{value + 0.0:.1f}".replace("-0.0", "0.0") if abs(value) < 0.05 else f"{value:.1f}"
