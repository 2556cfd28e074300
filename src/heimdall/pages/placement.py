"""Where labels stand beside their points, and how far a map must be enlarged until each has its room.

A label has room at a size of letters if it covers no point and no label that is more important. A label with
its point is star-shaped around the point: what has room has it in every larger picture, too. So each label
needs one number, and a script only compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

LETTER_PX, LINE_PX = 7.2, 14.0  # of a letter of 12 px in a wide font: its width, and the height of a line
LEVELS = range(-2, 9)  # letters are 2 ** -level as large as the map's units
Rectangle = tuple[float, float, float, float]  # left, top, right and bottom

_BOLD = 1.1
_NEVER = LEVELS.stop
_CELL_PX = 64.0  # of the grid in which neighbours are looked for


@dataclass(frozen=True)
class Point:
    """A point that may have a label.

    Attributes:
        x: In the map's units.
        y: In the map's units, down.
        radius: Half of its symbol's width, for letters of 12 px.
        label: What stands beside it, or "".
        letter: Height of its letters, px.
        bold: Whether they are bold, and wider.
    """

    x: float
    y: float
    radius: float
    label: str
    letter: float = 12.0
    bold: bool = False


@dataclass(frozen=True)
class Place:
    """Where a label stands.

    Attributes:
        level: The first of `LEVELS` at which it has room; `LEVELS.stop` if none.
        anchor: "start", "middle" or "end", as of SVG.
        dx: To the right of its point, for letters of 12 px.
        dy: Its base line down of its point.
        width: Its width.
    """

    level: int
    anchor: str
    dx: float
    dy: float
    width: float

    @property
    def left(self) -> float:
        """Its left side, to the right of its point."""
        return self.dx - {"start": 0.0, "middle": self.width / 2, "end": self.width}[self.anchor]


def label_box(point: Point, place: Place, size: float = 1.0) -> Rectangle:
    """Of a label with its symbol, in the map's units, for letters that are `size` times as large."""
    return _scaled(point, _box(point, place) if point.label else _symbol(point), size)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles have an area in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def places(points: Sequence[Point], *, always: int) -> list[Place]:
    """A place for the label of each point.

    Args:
        points: The most important first.
        always: So many of the first are shown at every level; the others only with their labels.
    """
    found = [_sides(point)[0] for point in points]
    shown: set[int] = set()
    for level in LEVELS:
        size = 2.0**-level
        taken = _Taken(size)
        for number, point in enumerate(points):
            if number < always:
                taken.add(_scaled(point, _symbol(point), size))
        for number in sorted(shown):
            taken.add(label_box(points[number], found[number], size))
        for number, point in enumerate(points):
            if number in shown or not point.label:
                continue
            own = _scaled(point, _symbol(point), size) if number < always else None
            for side in _sides(point):
                box = label_box(point, side, size)
                if not taken.covers(box, own):
                    found[number] = Place(level, side.anchor, side.dx, side.dy, side.width)
                    shown.add(number)
                    taken.add(box)
                    break
    return found


def _sides(point: Point) -> list[Place]:
    width = LETTER_PX * (_BOLD if point.bold else 1.0) * len(point.label) * point.letter / 12
    beside, middle = point.radius + 3.5, 0.35 * point.letter
    return [
        Place(_NEVER, "start", beside, middle, width),
        Place(_NEVER, "end", -beside, middle, width),
        Place(_NEVER, "middle", 0.0, -point.radius - 4, width),
        Place(_NEVER, "middle", 0.0, point.radius + point.letter + 1, width),
    ]


def _symbol(point: Point) -> Rectangle:
    return -point.radius, -point.radius, point.radius, point.radius


def _box(point: Point, place: Place) -> Rectangle:
    """Of a label with its symbol, around the point."""
    left = place.left
    height = LINE_PX * point.letter / 12
    own = _symbol(point)
    return (
        min(left, own[0]),
        min(place.dy - 0.8 * height, own[1]),
        max(left + place.width, own[2]),
        max(place.dy + 0.25 * height, own[3]),
    )


def _scaled(point: Point, box: Rectangle, size: float) -> Rectangle:
    left, top, right, bottom = box
    return point.x + size * left, point.y + size * top, point.x + size * right, point.y + size * bottom


class _Taken:
    """Rectangles in a grid, so that only neighbours are compared."""

    def __init__(self, size: float) -> None:
        self._cell = _CELL_PX * size
        self._grid: dict[tuple[int, int], list[Rectangle]] = {}

    def add(self, box: Rectangle) -> None:
        for cell in self._cells(box):
            self._grid.setdefault(cell, []).append(box)

    def covers(self, box: Rectangle, but: Rectangle | None) -> bool:
        """Whether any of the rectangles, but one, overlaps another one."""
        return any(
            other != but and overlap(box, other)
            for cell in self._cells(box)
            for other in self._grid.get(cell, ())
        )

    def _cells(self, box: Rectangle) -> Iterator[tuple[int, int]]:
        left, top, right, bottom = (int(edge // self._cell) for edge in box)
        for column in range(left, right + 1):
            for row in range(top, bottom + 1):
                yield column, row
