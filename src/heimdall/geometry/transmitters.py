"""Which sessions are of one transmitter: those that have its name, and those that stand where it stands."""

from __future__ import annotations

import numpy as np
import pandas as pd
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components
from scipy.spatial import cKDTree

from heimdall.geometry import geo

SAME_PLACE_M = 100.0  # what stands as close as this is taken for one transmitter


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
    start, end = np.concatenate(edges).T
    graph = coo_array((np.ones(len(start), np.int8), (start, end)), shape=(nodes, nodes))
    component = pd.Series(connected_components(graph, directed=False)[1][: len(table)], index=table.index)
    return name.groupby(component).transform("min").rename("transmitter")


def _close(places: pd.DataFrame) -> np.ndarray[tuple[int, int], np.dtype[np.int64]]:
    """Pairs of rows of `places` at most `SAME_PLACE_M` apart, shape (pairs, 2)."""
    if len(places) < 2:
        return np.empty((0, 2), np.int64)
    points = np.stack(
        [geo.ecef_m(latitude, longitude, 0.0) for latitude, longitude in places.to_numpy(np.float64)]
    )
    # A chord is no longer than its arc, so none is missed.
    pairs = cKDTree(points).query_pairs(SAME_PLACE_M, output_type="ndarray")
    (lat_a, lon_a), (lat_b, lon_b) = (places.to_numpy(np.float64)[side].T for side in pairs.T)
    return pairs[geo.distance_m(lat_a, lon_a, lat_b, lon_b) <= SAME_PLACE_M].astype(np.int64)
