"""Receivers that made no usable recording of a session though they may have heard it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import numpy as np
import pandas as pd

from heimdall.pipeline.snapshot.checked import Reasons
from heimdall.pipeline.snapshot.rows import Rows, slices
from heimdall.recordings import archive

_PAIR: list[str] = archive.ABSENT_SCHEMA.names


def absent(
    rows: Rows, reasons: Reasons, measurements: Iterable[pd.DataFrame], receivers: pd.DataFrame
) -> pd.DataFrame:
    """data/snapshot/absent.parquet: where no recording does not mean that nothing was heard.

    Args:
        rows: All approved ones.
        reasons: Of those in the quarantine.
        measurements: The rows of the snapshot, in batches.
        receivers: Those of the snapshot, as `receivers.selected` or `receivers.pinned` gives them: a row for
            each period in which a receiver stands.

    Returns:
        `session_id` and `websdr_id` of a receiver without a row in a session of the snapshot: its row is in
        the quarantine, or the session lies in none of its periods.
    """
    lost = pd.concat([pd.DataFrame(columns=_PAIR), *_bad(rows, reasons, receivers)])
    found = [_without(batch, lost, receivers) for batch in _whole_sessions(measurements)]
    return pd.concat([lost.iloc[:0], *found], ignore_index=True).astype({"websdr_id": "int32"})


def _whole_sessions(batches: Iterable[pd.DataFrame]) -> Iterator[pd.DataFrame]:
    """The same rows, cut only between sessions."""
    waiting: pd.DataFrame | None = None
    for batch in batches:
        rows = batch if waiting is None else pd.concat([waiting, batch])
        last = (rows["session_id"] == rows["session_id"].iloc[-1]).to_numpy(bool)
        if not last.all():
            yield rows[~last]
        waiting = rows[last]
    if waiting is not None:
        yield waiting


def _without(batch: pd.DataFrame, lost: pd.DataFrame, receivers: pd.DataFrame) -> pd.DataFrame:
    """The absent receivers of the sessions of a batch."""
    sessions = batch.drop_duplicates("session_id")
    pairs = [lost[lost["session_id"].isin(sessions["session_id"])], *_elsewhere(sessions, receivers)]
    without = pd.concat(pairs).astype({"websdr_id": "int32"}).drop_duplicates()
    marked = without.merge(batch[_PAIR], on=_PAIR, how="left", indicator="of")
    return marked.loc[marked["of"] == "left_only", _PAIR].sort_values(_PAIR)


def _bad(rows: Rows, reasons: Reasons, receivers: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Session and receiver of the rows in the quarantine, of known receivers."""
    for part in slices(np.flatnonzero(reasons.bad)):
        batch = rows.take(part)
        yield batch.loc[batch["websdr_id"].isin(receivers["websdr_id"]).to_numpy(bool), _PAIR]


def _elsewhere(sessions: pd.DataFrame, receivers: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Sessions of a batch, each with the receivers that do not stand at its time."""
    for websdr_id, periods in receivers.groupby("websdr_id"):
        inside = np.zeros(len(sessions), bool)
        for begin, end in zip(periods["from"], periods["until"], strict=True):
            after = True if pd.isna(begin) else sessions["timestamp"].ge(begin).to_numpy(bool)
            before = True if pd.isna(end) else sessions["timestamp"].lt(end).to_numpy(bool)
            inside |= np.logical_and(after, before)
        yield sessions.loc[~inside, ["session_id"]].assign(websdr_id=websdr_id)
