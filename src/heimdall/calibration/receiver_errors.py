"""What is a receiver's own in every session: a delay of clock or cable, and the shape of its filter.

Echoes and noise differ from transmitter to transmitter; what a receiver adds does not. So where transmitters
are known, the median over sessions of how much later one receiver has a signal than another, less what their
distances make of it, is the difference of their own delays. All pairs are solved together by least squares.
Nobody knows what is common to all receivers: the median receiver is taken to add nothing.

Keyed carriers, whose times err by microseconds, do not count.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy.sparse.csgraph import connected_components

from heimdall.geometry import transmitters
from heimdall.geometry.geo import TangentPlane
from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S, distances_m
from heimdall.metrics import metrics
from heimdall.network.dataset import Sessions
from heimdall.signal.correlation import NARROW_HZ

Float64 = npt.NDArray[np.float64]

EDGE_HZ = 4_000.0  # where a response is told
RESAMPLES = 200
SIGNIFICANT = 4.0  # standard deviations
# Less than this is left to chance and to the echoes of a receiver's surroundings.
LEAST_DELAY_S, LEAST_EDGE_DB = 100e-9, 0.02
LEAST_TRANSMITTERS = 5  # that two receivers share; a bootstrap of fewer is too sure
# A channel whose delays have the variance v has at f the gain exp(-v (2 pi f)^2 / 2).
_EDGE_DB = -10 * math.log10(math.e) * (2 * math.pi * EDGE_HZ) ** 2


@dataclass(frozen=True)
class Hardware:
    """What one receiver adds to every recording, beside the median receiver.

    Attributes:
        websdr_id: The receiver.
        sessions: Sessions of known transmitters to which it has an arrival time.
        delay_s: How late it is, seconds; nan where too few transmitters tell.
        delay_sigma_s: Standard deviation of that, by a bootstrap over transmitters.
        edge_db: Gain `EDGE_HZ` away from the signal's centre beside that in the centre, dB.
        edge_sigma_db: Standard deviation of that.
    """

    websdr_id: int
    sessions: int
    delay_s: float
    delay_sigma_s: float
    edge_db: float
    edge_sigma_db: float

    @property
    def is_late(self) -> bool:
        """Whether it is early or late beyond chance."""
        return abs(self.delay_s) > max(SIGNIFICANT * self.delay_sigma_s, LEAST_DELAY_S)

    @property
    def is_bent(self) -> bool:
        """Whether its response is another than the others' beyond chance."""
        return abs(self.edge_db) > max(SIGNIFICANT * self.edge_sigma_db, LEAST_EDGE_DB)


def development(sessions: Sessions) -> Sessions:
    """The sessions that are not held out for the test."""
    return sessions.rows(np.flatnonzero(sessions.table["split"] != "test"))


def differences(sessions: Sessions, plane: TangentPlane) -> pd.DataFrame:
    """How any two receivers of a session differ, other than by their distances.

    Args:
        sessions: Of known transmitters.
        plane: Of their positions.

    Returns:
        One row for two receivers that know the time of one session: `cluster` (transmitter, by name and
        by place), `session_id`, `first` and `second` (websdr_id), `delay_s` (how much later the first is)
        and `edge_db`, nan in sessions with two arrival times.
    """
    table = sessions.table
    rows = []
    for observation, truth_m, cluster, session_id in zip(
        sessions.observations,
        sessions.truth_m(plane),
        transmitters.by_place(table),
        table["session_id"],
        strict=True,
    ):
        arrivals = observation.arrivals
        if arrivals.rms_bandwidth_hz < NARROW_HZ:
            continue
        flight_s = distances_m(truth_m, observation.session.position_enu_m, plane) / SPEED_OF_LIGHT_M_S
        late_s = arrivals.delay_s - flight_s
        edge_db = _EDGE_DB * arrivals.spread_s2.real
        names = observation.session.websdr_id
        timed = np.flatnonzero(arrivals.information_s2 > 0)
        for place, a in enumerate(timed):
            for b in timed[place + 1 :]:
                edge = edge_db[a] - edge_db[b] if len(timed) > 2 else math.nan
                row = (cluster, session_id, int(names[a]), int(names[b]), late_s[a] - late_s[b], edge)
                rows.append(row)
    return pd.DataFrame(
        rows, columns=["cluster", "session_id", "first", "second", "delay_s", "edge_db"]
    ).astype({"delay_s": np.float64, "edge_db": np.float64})


def measure(pairs: pd.DataFrame, websdr_ids: Sequence[int], seed: int) -> list[Hardware]:
    """What each receiver adds.

    Args:
        pairs: As `differences` gives them.
        websdr_ids: The receivers.
        seed: The user's seed, of the bootstrap.

    Returns:
        One for each of `websdr_ids`, in their order.
    """
    delay_s, delay_sigma_s = _each(pairs, "delay_s", websdr_ids, seed)
    edge_db, edge_sigma_db = _each(pairs, "edge_db", websdr_ids, seed)
    found = []
    for row, name in enumerate(websdr_ids):
        there = pairs[(pairs["first"] == name) | (pairs["second"] == name)]
        values = (delay_s[row], delay_sigma_s[row], edge_db[row], edge_sigma_db[row])
        found.append(Hardware(name, there["session_id"].nunique(), *map(float, values)))
    return found


def _each(pairs: pd.DataFrame, column: str, websdr_ids: Sequence[int], seed: int) -> tuple[Float64, Float64]:
    """Values of R receivers beside their median, from differences of two, and their sigmas: each (R,)."""
    pairs = pairs.dropna(subset=[column])
    groups = [
        rows
        for _, rows in sorted(pairs.groupby(["first", "second"]).indices.items())
        if pairs["cluster"].iloc[rows].nunique() >= LEAST_TRANSMITTERS
    ]
    unknown = np.full(len(websdr_ids), np.nan)
    if not groups:
        return unknown, unknown
    drawn = metrics.cluster_weights(pairs["cluster"].tolist(), RESAMPLES, seed)
    weights = np.concatenate([np.ones_like(drawn[:1]), drawn])  # the first sample is the data themselves
    values = pairs[column].to_numpy()
    place = {name: row for row, name in enumerate(websdr_ids)}
    firsts = [rows[0] for rows in groups]
    ends = np.array([[place[pairs[end].iloc[row]] for end in ("first", "second")] for row in firsts])
    medians = np.stack([metrics.weighted_median(values[rows], weights[:, rows]) for rows in groups], axis=-1)
    counts = np.stack([weights[:, rows].sum(axis=1) for rows in groups], axis=-1)  # (samples, pairs)
    found = np.stack(
        [_solved(ends, *sample, len(place)) for sample in zip(medians, counts, strict=True)]
    )  # (samples, R)
    known = ~np.isnan(found[0])
    sigma = unknown.copy()
    sigma[known] = np.nanstd(found[1:, known], axis=0)
    return found[0], sigma


def _solved(
    ends: npt.NDArray[np.intp], difference: Float64, weight: npt.NDArray[np.int64], count: int
) -> Float64:
    """Values (R,) beside their median, of given differences (P,); nan for those that are tied to few."""
    here = weight > 0
    first, second = ends[here].T
    tied = np.zeros((count, count), bool)
    tied[first, second] = True
    label = connected_components(tied, directed=False)[1]
    most = label == np.bincount(label).argmax()
    scale = np.sqrt(weight[here])[:, np.newaxis]
    design = np.eye(count)[first] - np.eye(count)[second]
    value = np.linalg.lstsq(scale * design, scale[:, 0] * difference[here], rcond=None)[0]
    return np.where(most, value - np.median(value[most]), np.nan)
