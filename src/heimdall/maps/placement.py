"""Where labels stand beside their points, and how far a map must be enlarged until each has its room.

A label has room at a size of letters if it covers no point and no label that is more important, neither at
that size nor at a smaller one. So each label needs one number, and a script only compares.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

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
    return scaled(point, _box(point, place) if point.label else _symbol(point), size)


def overlap(one: Rectangle, other: Rectangle) -> bool:
    """Whether two rectangles have an area in common."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def inside(box: Rectangle, outer: Rectangle) -> bool:
    """Whether a rectangle lies in another one."""
    return box[0] > outer[0] and box[1] > outer[1] and box[2] < outer[2] and box[3] < outer[3]


def places(points: Sequence[Point], *, always: int, frame: Rectangle) -> list[Place]:
    """A place for the label of each point.

    Args:
        points: The most important first.
        always: So many of the first are shown at every level; the others only with their labels.
        frame: What the map shows at first, with letters as large as its units or larger: no label of these
            first ones is cut by it.
    """
    found = [_sides(point)[0] for point in points]
    shown: set[int] = set()
    taken = {level: _Taken(2.0**-level) for level in LEVELS}
    for level, of_level in taken.items():
        for point in points[:always]:
            of_level.add(scaled(point, _symbol(point), 2.0**-level))
    for level in LEVELS:
        for number, point in enumerate(points):
            if number in shown or not point.label:
                continue
            for side in _sides(point):
                cut = number < always and level <= 0
                if cut and not inside(label_box(point, side, 2.0**-level), frame):
                    continue
                if all(
                    taken[finer].has_room(point, side, with_symbol=number >= always)
                    for finer in range(level, LEVELS.stop)
                ):
                    found[number] = replace(side, level=level)
                    shown.add(number)
                    for finer in range(level, LEVELS.stop):
                        taken[finer].add(label_box(point, side, 2.0**-finer))
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


def label(point: Point, place: Place) -> Rectangle:
    """Of a label alone, around the point."""
    height = LINE_PX * point.letter / 12
    return place.left, place.dy - 0.8 * height, place.left + place.width, place.dy + 0.25 * height


def _box(point: Point, place: Place) -> Rectangle:
    """Of a label with its symbol, around the point."""
    one, own = label(point, place), _symbol(point)
    return min(one[0], own[0]), min(one[1], own[1]), max(one[2], own[2]), max(one[3], own[3])


def scaled(point: Point, box: Rectangle, size: float) -> Rectangle:
    """A rectangle around a point in the map's units, for letters that are `size` times as large."""
    left, top, right, bottom = box
    return point.x + size * left, point.y + size * top, point.x + size * right, point.y + size * bottom


class _Taken:
    """Rectangles in a grid, so that only neighbours are compared."""

    def __init__(self, size: float) -> None:
        self._size = size
        self._cell = _CELL_PX * size
        self._grid: dict[tuple[int, int], list[Rectangle]] = {}

    def add(self, box: Rectangle) -> None:
        for cell in self._cells(box):
            self._grid.setdefault(cell, []).append(box)

    def has_room(self, point: Point, place: Place, *, with_symbol: bool) -> bool:
        """Whether a label overlaps none of the rectangles; with its symbol, or beside it if that is there."""
        box = scaled(point, (_box if with_symbol else label)(point, place), self._size)
        return not any(overlap(box, other) for cell in self._cells(box) for other in self._grid.get(cell, ()))

    def _cells(self, box: Rectangle) -> Iterator[tuple[int, int]]:
        left, top, right, bottom = (int(edge // self._cell) for edge in box)
        for column in range(left, right + 1):
            for row in range(top, bottom + 1):
                yield column, row
