"""Recordings that are there twice: the same samples in two rows, which may fall into training and test."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.pipeline.snapshot.candidates import Good
from heimdall.pipeline.snapshot.checked import Reasons
from heimdall.pipeline.snapshot.rows import Positions, Rows, slices

_SAME = ["websdr_id", "latitude_deg", "longitude_deg"]


@dataclass(frozen=True)
class Repeated:
    """Rows whose samples another row has, too, which are not used.

    Attributes:
        rows: Positions among the approved rows, ascending, shape (n,).
        others: For each of them a row with the same samples, shape (n,).
    """

    rows: Positions
    others: Positions

    def others_of(self, rows: Positions) -> Positions:
        """For each of some of `rows` the other row."""
        return self.others[np.searchsorted(self.rows, rows)]


def repeated(rows: Rows, reasons: Reasons, good: Good, outcomes: Rows) -> Repeated:
    """The rows whose samples another row has, too.

    Of those of one receiver and one place, in several sessions, the first one is not among them. Where they
    contradict each other all are, for nothing says which one is right.

    Args:
        rows: All approved rows.
        reasons: Why rows are not used.
        good: The candidates.
        outcomes: The verdict on each of them.
    """
    places = np.flatnonzero(~reasons.bad[good.order])
    digests = _digests(places, outcomes)
    order = np.argsort(digests, kind="stable")
    again = np.zeros(len(order) + 1, bool)
    again[1:-1] = digests[order[1:]] == digests[order[:-1]]
    members = order[again[:-1] | again[1:]]
    same = pd.DataFrame({"row": good.order[places[members]], "digest": digests[members]})
    found = same.join(_compared(rows, np.sort(same["row"].to_numpy())), on="row")
    groups = found.groupby("digest", sort=False)
    agree = (groups[_SAME].transform("nunique") == 1).all(axis=1)
    agree &= groups["session"].transform("nunique") == groups["row"].transform("size")
    first, second = (found[groups.cumcount() == place].set_index("digest")["row"] for place in (0, 1))
    is_first = found["row"] == found["digest"].map(first)
    bad = found[~(agree & is_first)]
    others = bad["digest"].map(first).where(~is_first[bad.index], bad["digest"].map(second))
    order = np.argsort(bad["row"].to_numpy())
    return Repeated(bad["row"].to_numpy(np.int64)[order], others.to_numpy(np.int64)[order])


def _digests(places: Positions, outcomes: Rows) -> npt.NDArray[np.uint64]:
    """The first 64 bits of the hash of each candidate's samples."""
    found = [np.empty(0, np.uint64)]
    for part in slices(places):
        texts = outcomes.take(part)["sha256"]
        found.append(np.array([int(text[:16], 16) for text in texts], np.uint64))
    return np.concatenate(found)


def _compared(rows: Rows, positions: Positions) -> pd.DataFrame:
    """What is compared of some rows, by position: the columns of `_SAME`, and 64 bits for the session."""
    parts = [pd.DataFrame(columns=[*_SAME, "session"], dtype="float64")]
    for part in slices(positions):
        batch = rows.take(part)
        session = pd.util.hash_array(batch["session_id"].to_numpy(object))
        parts.append(batch[_SAME].astype("float64").assign(session=session))
    return pd.concat(parts[1:] or parts)
