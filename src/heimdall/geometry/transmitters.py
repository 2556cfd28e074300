"""Which sessions are of one transmitter: those that have its name, and those that stand where it stands."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from heimdall.geometry import geo

SAME_PLACE_M = 100.0  # what stands as close as this is taken for one transmitter
_CUBE_M = SAME_PLACE_M / 2  # its longest diagonal is 87 m
_NEAREST = 8
_ARC_LESS_CHORD_M = 1e-3  # over 100 m the ellipsoid is a millionth of this longer than the chord

Pairs = npt.NDArray[np.int64]
Points = npt.NDArray[np.float64]
Rows = npt.NDArray[np.int64]


def by_place(table: pd.DataFrame) -> pd.Series[str]:
    """The transmitter of each row, by name and by place.

    Rows of one session, of one `source_id`, and within 100 m of each other on the ellipsoid are of one
    transmitter; so is what such rows link (single linkage). A session may have no name, and known names may
    be several names of one transmitter: taken for two, it could be in training and in test.

    Args:
        table: A row a session or a recording, with `session_id`, `source_id` (missing where unknown),
            `latitude_deg` and `longitude_deg` (NaN where unknown: then the place joins nothing).

    Returns:
        A name for each row, with the table's index: "name " and the smallest `source_id` of the transmitter,
        or, if it has none, "session " and the smallest `session_id`. The order of the rows does not matter.
    """
    session, source = table["session_id"].astype(str), table["source_id"]
    name = ("name " + source.astype(str)).where(source.notna(), "session " + session)
    places = table[["latitude_deg", "longitude_deg"]].drop_duplicates().dropna()
    place = pd.MultiIndex.from_frame(places).get_indexer(
        pd.MultiIndex.from_frame(table[["latitude_deg", "longitude_deg"]])
    )
    # Nodes: rows, places, sessions and names. Edges join a row with its own, and two places that are close.
    rows, nodes = np.arange(len(table)), len(table)
    edges = [_close(places) + nodes]
    for value in (place, pd.factorize(session)[0], pd.factorize(name)[0]):
        known = value >= 0
        edges.append(np.stack([rows[known], nodes + value[known]], axis=1))
        nodes += int(value.max(initial=-1)) + 1
    component = pd.Series(_components(np.concatenate(edges), nodes)[: len(table)], index=table.index)
    return name.groupby(component).transform("min").rename("transmitter")


def _close(places: pd.DataFrame) -> Pairs:
    """Pairs of rows of `places` at most `SAME_PLACE_M` apart that join all such places, shape (pairs, 2).

    They are not all such pairs, for a thousand places on one hill have half a million. In a cube with edges
    of half that length all places are close; of two cubes one close pair is enough.
    """
    if len(places) < 2:
        return np.empty((0, 2), np.int64)
    degrees = places.to_numpy(np.float64)
    points = np.stack([geo.ecef_m(latitude, longitude, 0.0) for latitude, longitude in degrees])
    cubes, cube = np.unique(np.floor(points / _CUBE_M), axis=0, return_inverse=True)
    order = np.argsort(cube, kind="stable")
    starts = np.flatnonzero(np.diff(cube[order], prepend=-1))
    first = order[starts]
    of_cube = np.stack([first[cube], np.arange(len(points))], axis=1)
    joined = np.concatenate([of_cube, _within(_neighbours(points), degrees)])

    # A chord is no longer than its arc: of two close places in two cubes, no coordinate differs by more.
    a, b = cKDTree(cubes).query_pairs(SAME_PLACE_M / _CUBE_M, p=np.inf, output_type="ndarray").T
    low, high = (bound.reduceat(points[order], starts) for bound in (np.minimum, np.maximum))
    gap = np.maximum(0.0, np.maximum(low[a] - high[b], low[b] - high[a]))
    known = _components(joined, len(points))[first]
    open_pairs = (known[a] != known[b]) & (np.linalg.norm(gap, axis=1) <= SAME_PLACE_M)
    members = np.split(order, starts[1:])
    found = [
        _closest(members[i], members[k], points, degrees)
        for i, k in zip(a[open_pairs], b[open_pairs], strict=True)
    ]
    return np.concatenate([joined, *found])


def _neighbours(points: Points) -> Pairs:
    """Each place with the nearest few; most of what is close is joined by them."""
    ranks = np.arange(2, 2 + min(_NEAREST, len(points) - 1))
    distance_m, other = (np.atleast_2d(found) for found in cKDTree(points).query(points, ranks))
    pairs = np.stack([np.repeat(np.arange(len(points)), other.shape[1]), other.ravel()], axis=1)
    return pairs[distance_m.ravel() <= SAME_PLACE_M]


def _closest(one: Rows, other: Rows, points: Points, degrees: Points) -> Pairs:
    """A close pair of two groups, or the few of which that cannot be told from the chord; else none."""
    few, many = sorted((one, other), key=len)
    tree = cKDTree(points[many])
    distance_m, nearest = (np.atleast_1d(found) for found in tree.query(points[few]))
    best = int(np.argmin(distance_m))
    if distance_m[best] <= SAME_PLACE_M - _ARC_LESS_CHORD_M:
        return np.array([[few[best], many[nearest[best]]]])
    within = tree.query_ball_point(points[few], SAME_PLACE_M)
    pairs = [(few[row], many[place]) for row, found in enumerate(within) for place in found]
    return _within(np.array(pairs, np.int64).reshape(-1, 2), degrees)


def _within(pairs: Pairs, degrees: Points) -> Pairs:
    """Those pairs that are at most `SAME_PLACE_M` apart on the ellipsoid."""
    (lat_a, lon_a), (lat_b, lon_b) = (degrees[side].T for side in pairs.T)
    return pairs[geo.distance_m(lat_a, lon_a, lat_b, lon_b) <= SAME_PLACE_M]


def _components(edges: Pairs, nodes: int) -> Rows:
    """The number of the component of each node, shape (nodes,)."""
    start, end = edges.T
    graph = coo_array((np.ones(len(edges), np.int8), (start, end)), shape=(nodes, nodes))
    return np.asarray(connected_components(graph, directed=False)[1])
