"""Regions as polygons that maps take: cut at 180 degrees of longitude and closed over the poles."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from heimdall.maps.projection import wrapped
from heimdall.multilateration.fix import Region

Point = tuple[float, float]
Ring = tuple[Point, ...]

DECIMALS = 7  # of a degree: 1 cm
_NUDGE_DEG = 1e-9  # off the meridian of 180 degrees: then a corner is on one side of it


@dataclass(frozen=True)
class Polygon:
    """An outline with holes, longitudes within [-180, 180].

    Attributes:
        outline: (longitude, latitude) in degrees, closed, counterclockwise.
        holes: Closed rings in the outline, clockwise.
    """

    outline: Ring
    holes: tuple[Ring, ...]


def polygons(region: Region) -> tuple[Polygon, ...]:
    """The polygons of a region, rounded to 7 digits of a degree.

    The longitudes of a ring may jump by 360 degrees or go on beyond 180; neighbouring corners are less than
    180 degrees apart. A ring that crosses 180 degrees becomes several (RFC 7946, section 3.1.9), and one that
    goes around a pole is closed along latitude 90.
    """
    closed: list[Ring] = []
    pieces: list[Ring] = []
    for ring in region.rings:
        whole, cut = _cut(ring)
        closed += whole
        pieces += cut
    rounded = [_rounded(ring) for ring in (*closed, *_joined(pieces))]
    rings = [ring for ring in rounded if len(ring) > 3 and signed_area(ring) != 0]
    outlines = [ring for ring in rings if signed_area(ring) > 0 and not _is_covered(ring, rings)]
    holes: dict[int, list[Ring]] = {number: [] for number in range(len(outlines))}
    for hole in rings:
        if signed_area(hole) < 0:
            inside = _corner(hole, outlines)
            around = [number for number, outline in enumerate(outlines) if _holds(outline, inside)]
            if around:
                holes[min(around, key=lambda number: signed_area(outlines[number]))].append(hole)
    return tuple(Polygon(ring, tuple(holes[number])) for number, ring in enumerate(outlines))


def signed_area(ring: Sequence[Point]) -> float:
    """The area of a closed ring in square degrees, above 0 if it is counterclockwise."""
    west, south = ring[0]
    return 0.5 * sum(
        (a[0] - west) * (b[1] - south) - (b[0] - west) * (a[1] - south) for a, b in pairwise(ring)
    )


def point(latitude_deg: float, longitude_deg: float) -> Point:
    """A position as (longitude, latitude), rounded to 7 digits of a degree."""
    return round(wrapped(longitude_deg), DECIMALS) + 0.0, round(latitude_deg, DECIMALS) + 0.0


def box(parts: Iterable[Sequence[Point]]) -> tuple[float, float, float, float]:
    """West, south, east and north of points and rings, degrees (RFC 7946, section 5).

    The box is the narrowest one; west is greater than east if it goes across 180 degrees.
    """
    known = [part for part in parts if part]
    latitudes = [latitude for part in known for _, latitude in part]
    spans = sorted((min(x for x, _ in part), max(x for x, _ in part)) for part in known)
    joined = [spans[0]]
    for west, east in spans[1:]:
        if west <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], east))
        else:
            joined.append((west, east))
    # The widest gap between two spans is outside; the last one is across 180 degrees.
    following = [*(west for west, _ in joined[1:]), joined[0][0] + 360]
    gaps = [west - east for (_, east), west in zip(joined, following, strict=True)]
    widest = max(range(len(gaps)), key=lambda number: (gaps[number], number))
    west, east = joined[(widest + 1) % len(joined)][0], joined[widest][1]
    return west, min(latitudes), east, max(latitudes)


def _cut(ring: Sequence[Point]) -> tuple[list[Ring], list[Ring]]:
    """A ring as it is, if it crosses no 180 degrees; else its pieces from one crossing to the next."""
    path = _unwrapped(ring)
    cells = [math.floor((longitude + 180) / 360) for longitude, _ in path]
    pieces: list[list[Point]] = [[(path[0][0] - 360 * cells[0], path[0][1])]]
    for (a, b), (cell, following) in zip(pairwise(path), pairwise(cells), strict=True):
        if following != cell:
            step = 1 if following > cell else -1
            edge = 360 * max(cell, following) - 180
            latitude = a[1] + (b[1] - a[1]) * (edge - a[0]) / (b[0] - a[0])
            pieces[-1].append((180.0 * step, latitude))
            pieces.append([(-180.0 * step, latitude)])
        pieces[-1].append((b[0] - 360 * following, b[1]))
    if len(pieces) == 1:
        return [tuple(pieces[0])], []
    # The ring began within a piece: its last piece goes on with the first.
    return [], [tuple(piece) for piece in ([*pieces[-1], *pieces[0][1:]], *pieces[1:-1])]


def _unwrapped(ring: Sequence[Point]) -> list[Point]:
    """A ring whose longitudes do not jump; its end is 360 degrees from its begin if it is around a pole."""
    path: list[Point] = []
    for longitude, latitude in ring:
        wanted = longitude - _NUDGE_DEG if wrapped(longitude) == -180 else longitude
        before = path[-1][0] if path else wanted
        path.append((before + wrapped(wanted - before), latitude))
    return path


def _joined(pieces: list[Ring]) -> list[Ring]:
    """Rings of the pieces, joined along the edges of the world, the inside on the left.

    Each piece goes from an edge of the world to an edge. From where one ends the ring goes on along the
    edges, counterclockwise, to where the next one begins: the way over a corner is that over a pole.
    """
    left = list(pieces)
    rings: list[Ring] = []
    while left:
        ring = list(left.pop(0))
        first = ring[0]
        while True:
            here = _along(ring[-1])
            number, start = min(
                [(-1, first), *((number, piece[0]) for number, piece in enumerate(left))],
                key=lambda one: (_along(one[1]) - here) % _AROUND,
            )
            ring += _corners(here, (_along(start) - here) % _AROUND)
            if number < 0:
                ring.append(first)
                break
            ring += left.pop(number)
        rings.append(tuple(ring))
    return rings


# Around the edge of the world, counterclockwise, in degrees from its south-eastern corner.
_AROUND = 1080.0
_CORNERS = (
    (0.0, (180.0, -90.0)),
    (180.0, (180.0, 90.0)),
    (540.0, (-180.0, 90.0)),
    (720.0, (-180.0, -90.0)),
)


def _along(point: Point) -> float:
    """How far along the edge of the world a point of its eastern or western edge is."""
    return point[1] + 90 if point[0] > 0 else 540 + 90 - point[1]


def _corners(begin: float, way: float) -> list[Point]:
    """The corners that lie on a way along the edge of the world."""
    passed = sorted(((along - begin) % _AROUND, corner) for along, corner in _CORNERS)
    return [corner for distance, corner in passed if 0 < distance < way]


def _rounded(ring: Ring) -> Ring:
    """A closed ring with rounded corners, none twice in a row."""
    points = [(round(x, DECIMALS) + 0.0, round(y, DECIMALS) + 0.0) for x, y in ring]
    kept = points[:1] + [b for a, b in pairwise(points) if b != a]
    return (*kept, kept[0]) if kept[0] != kept[-1] else tuple(kept)


def _is_covered(outline: Ring, rings: Sequence[Ring]) -> bool:
    """Whether an outline lies in the inside of the other rings, and not in a hole of them."""
    others = [(ring, 1 if signed_area(ring) > 0 else -1) for ring in rings if ring is not outline]
    return bool(others) and all(
        sum(sign for ring, sign in others if _holds(ring, corner)) > 0 for corner in outline
    )


def _corner(ring: Ring, others: Sequence[Ring]) -> Point:
    """A corner that is none of the others, if there is one."""
    known = {corner for other in others for corner in other}
    return next((corner for corner in ring if corner not in known), ring[0])


def _holds(ring: Ring, point: Point) -> bool:
    """Whether a point is inside a ring."""
    longitude, latitude = point
    inside = False
    for (x_a, y_a), (x_b, y_b) in pairwise(ring):
        if (y_a > latitude) != (y_b > latitude):
            inside ^= longitude < x_a + (x_b - x_a) * (latitude - y_a) / (y_b - y_a)
    return inside
