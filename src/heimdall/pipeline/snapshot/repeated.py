"""Recordings that are there twice: the same samples in two rows, which may fall into training and test."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from heimdall.pipeline.snapshot.candidates import Good
from heimdall.pipeline.snapshot.checked import Reasons
from heimdall.pipeline.snapshot.rows import Positions, Rows, slices

_SAME = ["websdr_id", "latitude_deg", "longitude_deg"]


def repeated(rows: Rows, reasons: Reasons, good: Good, outcomes: Rows) -> Positions:
    """The rows whose samples another row has, too.

    Of those of one receiver and one place, in several sessions, the first one is not among them. Where they
    contradict each other all are, for nothing says which one is right.

    Args:
        rows: All approved rows.
        reasons: Why rows are not used.
        good: The candidates.
        outcomes: The verdict on each of them.

    Returns:
        Positions among the approved rows.
    """
    found: list[npt.NDArray[np.int64]] = [np.empty(0, np.int64)]
    for places in _equal(~reasons.bad[good.order], outcomes):
        group = rows.take(good.order[places])
        agree = (group[_SAME].nunique() == 1).all() and group["session_id"].is_unique
        found.append(good.order[places[1:] if agree else places])
    return np.concatenate(found)


def _equal(good: npt.NDArray[np.bool_], outcomes: Rows) -> Iterator[Positions]:
    """Groups of candidates with equal samples; 16 bytes a candidate are in memory."""
    digests = np.zeros(len(good), np.uint64)
    for places in slices(np.flatnonzero(good)):
        texts = outcomes.take(places)["sha256"]
        digests[places] = [int(text[:16], 16) for text in texts]
    places = np.flatnonzero(good)
    order = places[np.argsort(digests[places], kind="stable")]
    starts = np.flatnonzero(np.diff(digests[order], prepend=digests[order][:1] ^ np.uint64(1)) != 0)
    for group in np.split(order, starts[1:]):
        if len(group) > 1:
            yield group
