"""Which approved rows are good, in what order: row by row in batches, then by what all rows say together.

All rows at once are only compact columns, 64 bytes a row and some more while they are sorted, and each name
of a transmitter once.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.pipeline.snapshot import schemas
from heimdall.pipeline.snapshot.rows import Positions

_NEVER_US = np.iinfo(np.int64).max
_COLUMNS = (
    ("high", np.uint64),  # session_id, in two halves
    ("low", np.uint64),
    ("receiver", np.int32),  # -1: none that exists
    ("approved_us", np.int64),
    ("latitude_deg", np.float64),
    ("longitude_deg", np.float64),
    ("frequency_mhz", np.float64),
    ("made_us", np.int64),
    ("source", np.int32),
)


_Column = npt.NDArray[Any]


class Reasons:
    """Why each approved row is not used; a byte a row.

    Args:
        count: Of approved rows.
    """

    def __init__(self, count: int) -> None:
        self._names = [""]
        self._codes = np.zeros(count, np.uint8)

    def __len__(self) -> int:
        return len(self._codes)

    def say(self, rows: Positions | int, reason: str) -> None:
        """The rows at these positions are bad."""
        if reason not in self._names:
            self._names.append(reason)
        self._codes[rows] = self._names.index(reason)

    @property
    def bad(self) -> npt.NDArray[np.bool_]:
        """Shape (rows,)."""
        bad: npt.NDArray[np.bool_] = self._codes != 0
        return bad

    def of(self, rows: Positions) -> list[str]:
        """The reason of each of some rows, empty for a good one."""
        return [self._names[code] for code in self._codes[rows]]

    def first(self, reason: str) -> int:
        """Position of the first row that has this reason."""
        return int(np.argmax(self._codes == self._names.index(reason)))

    def counts(self) -> dict[str, int]:
        """Rows of each reason, the most frequent first."""
        codes, numbers = np.unique(self._codes[self.bad], return_counts=True)
        found = {self._names[code]: int(number) for code, number in zip(codes, numbers, strict=True)}
        return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def check(
    batches: Iterable[pd.DataFrame], count: int, receiver_ids: Iterable[int]
) -> tuple[Reasons, Positions]:
    """The rows that cannot be used, and the order of the others.

    Sessions are compared within what is left when all other faults are out: one row with an impossible
    position does not condemn its session.

    Args:
        batches: All rows in their order, as the source gives them, with the identifiers of their receivers.
        count: Of the rows.
        receiver_ids: The receivers that exist and have a position.

    Returns:
        The reasons, and the positions of the good rows: by the first approval of a row of their session,
        good or bad, then by session and receiver.
    """
    known = sorted(receiver_ids)
    schema = schemas.measurement_schema(known)
    reasons = Reasons(count)
    columns = {name: np.empty(count, kind) for name, kind in _COLUMNS}
    sources: dict[str, int] = {}
    start = 0
    for batch in batches:
        for reason, rows in schemas.faults(schema, batch).items():
            reasons.say(start + rows, reason)
        for name, values in _compact(batch, known, sources).items():
            columns[name][start : start + len(batch)] = values
        start += len(batch)
    return reasons, _compared(columns, reasons)


def _compact(batch: pd.DataFrame, known: list[int], sources: dict[str, int]) -> dict[str, _Column]:
    """The columns of `_COLUMNS`; `sources` gets the numbers of new names."""
    ids, receivers = batch["session_id"], batch["websdr_id"]
    valid = ids.str.fullmatch(schemas.UUID, na=False).to_numpy(bool)
    halves = np.zeros((len(batch), 2), np.uint64)
    digits = "".join(ids[valid]).replace("-", "")
    halves[valid] = np.frombuffer(bytes.fromhex(digits), ">u8").reshape(-1, 2)
    exists = valid & receivers.isin(known).to_numpy(bool)
    approved = batch["approved_at"]
    dated = valid & approved.notna().to_numpy(bool)
    approved_us = np.full(len(batch), _NEVER_US)
    approved_us[dated] = approved[dated].dt.as_unit("us").astype("int64")
    made = batch["timestamp"]
    timed = made.notna().to_numpy(bool)
    made_us = np.zeros(len(batch), np.int64)
    made_us[timed] = made[timed].dt.as_unit("us").astype("int64")
    codes, names = pd.factorize(batch["source_id"])
    numbers = [sources.setdefault(str(name), len(sources)) for name in names]
    return {
        "high": halves[:, 0],
        "low": halves[:, 1],
        "receiver": receivers.where(exists, -1).to_numpy(np.int32),
        "approved_us": approved_us,
        "latitude_deg": batch["latitude_deg"].to_numpy(np.float64),
        "longitude_deg": batch["longitude_deg"].to_numpy(np.float64),
        "frequency_mhz": batch["frequency_mhz"].to_numpy(np.float64),
        "made_us": made_us,
        "source": np.array([*numbers, -1], np.int32)[codes],
    }


def _compared(columns: dict[str, _Column], reasons: Reasons) -> Positions:
    """Find two rows for one recording, and sessions that are not one; the order of the rest."""
    receiver = columns["receiver"]
    order: Positions = np.lexsort((receiver, columns["low"], columns["high"]))
    session = np.zeros(len(order), np.int32)  # its number, in the order of identifiers, of each row
    session[order] = np.cumsum(_changes(order, columns["high"], columns["low"]), dtype=np.int32)
    starts = np.flatnonzero(_changes(order, session))
    first_us = np.minimum.reduceat(columns["approved_us"][order], starts) if len(order) else np.empty(0)

    again = np.flatnonzero(~_changes(order, session, receiver) & (receiver[order] >= 0))
    twice = np.union1d(order[again], order[again - 1])
    reasons.say(twice[~reasons.bad[twice]], schemas.DUPLICATE)

    order = order[~reasons.bad[order]]
    moved = _changes(order, columns["latitude_deg"], columns["longitude_deg"], columns["source"])
    torn = np.unique(session[order[moved & ~_changes(order, session)]])
    inconsistent = np.isin(session[order], torn)
    reasons.say(order[inconsistent], schemas.INCONSISTENT_SESSION)

    order = order[~inconsistent]
    apart = _apart(columns, order, np.flatnonzero(_changes(order, session)))
    torn = np.unique(session[order[apart]])
    inconsistent = np.isin(session[order], torn)
    reasons.say(order[inconsistent], schemas.NOT_ONE_TRANSMISSION)

    order = order[~inconsistent]
    rank = first_us[session[order] - 1]
    return order[np.argsort(rank, kind="stable")]


def _apart(columns: dict[str, _Column], order: Positions, starts: Positions) -> Positions:
    """Where, in this order, sessions begin whose recordings are of other times or frequencies."""
    if not len(order):
        return starts
    made_us, frequency = columns["made_us"][order], columns["frequency_mhz"][order]
    latest, earliest = (np.maximum.reduceat(made_us, starts), np.minimum.reduceat(made_us, starts))
    highest, lowest = (np.maximum.reduceat(frequency, starts), np.minimum.reduceat(frequency, starts))
    late = latest - earliest > schemas.MAX_SPREAD_S * 1e6
    found: Positions = starts[late | (highest - lowest > schemas.MAX_FREQUENCY_SPREAD * highest)]
    return found


def _changes(order: Positions, *columns: _Column) -> npt.NDArray[np.bool_]:
    """Which rows, in this order, differ from the row before in one of the columns; the first does."""
    found = np.zeros(len(order), bool)
    found[:1] = True
    for column in columns:
        values = column[order]
        found[1:] |= values[1:] != values[:-1]
    return found
