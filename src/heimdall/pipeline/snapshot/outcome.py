"""What was found in each object, kept in a file; from it the rows of the snapshot and the quarantine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heimdall.pipeline.snapshot import schemas
from heimdall.pipeline.snapshot.candidates import Good
from heimdall.pipeline.snapshot.checked import Reasons
from heimdall.pipeline.snapshot.former import Verdict
from heimdall.pipeline.snapshot.receivers import NUMBER
from heimdall.pipeline.snapshot.repeated import Repeated
from heimdall.pipeline.snapshot.rows import BATCH_ROWS, Positions, Rows, slices
from heimdall.recordings import archive

QUARANTINE_SCHEMA = pa.schema(
    [
        ("measurement_id", pa.string()),
        ("session_id", pa.string()),
        ("websdr_id", pa.int32()),
        ("object_key", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
    ]
)
_OUTCOMES = pa.schema(
    [
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("samples", pa.int64()),
        ("sha256", pa.string()),
        ("shard", pa.string()),
    ]
)


class Outcomes:
    """Writes the verdict on each candidate, in their order, and its shard.

    Args:
        path: A new Parquet file, for `Rows`.
    """

    def __init__(self, path: Path) -> None:
        self._writer = pq.ParquetWriter(path, _OUTCOMES, compression="zstd")
        self._waiting: list[dict[str, Any]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._flush()
        self._writer.close()

    def add(self, verdict: Verdict, shard: str | None) -> None:
        """The next candidate's."""
        self._waiting.append(vars(verdict) | {"shard": shard})
        if len(self._waiting) == BATCH_ROWS:
            self._flush()

    def _flush(self) -> None:
        self._writer.write_table(pa.Table.from_pylist(self._waiting, _OUTCOMES))
        self._waiting = []


def measurements(rows: Rows, reasons: Reasons, good: Good, outcomes: Rows) -> Iterator[pd.DataFrame]:
    """data/snapshot/measurements.parquet in batches, in the order of the shards."""
    for places in slices(np.flatnonzero(~reasons.bad[good.order])):
        batch, found = rows.take(good.order[places]), outcomes.take(places)
        table: pd.DataFrame = batch.assign(
            samples=found["samples"].to_numpy(np.int64),
            object_etag=good.etags.take(pa.array(places)).to_pylist(),
            object_bytes=good.sizes[places],
            object_sha256=found["sha256"].tolist(),
            shard=found["shard"].tolist(),
        )
        columns: list[str] = archive.MEASUREMENTS_SCHEMA.names
        yield table[columns].reset_index(drop=True)


def quarantine(
    rows: Rows, reasons: Reasons, good: Good, outcomes: Rows | None, same: Repeated | None
) -> Iterator[pd.DataFrame]:
    """data/quarantine.parquet in batches, in the order of the approved rows.

    Args:
        rows: All approved ones.
        reasons: Of the bad ones.
        good: Those whose objects were looked for.
        outcomes: What was found in the objects; None where none was fetched.
        same: Those of the bad ones that are there twice; None where no object was fetched.
    """
    places = np.flatnonzero(reasons.bad[good.order])  # of rows that were good until their object was seen
    places = places[np.argsort(good.order[places])]
    for part in slices(np.flatnonzero(reasons.bad)):
        batch, found = rows.take(part), reasons.of(part)
        mine = places[np.isin(good.order[places], part, assume_unique=True)]
        details = {}
        if outcomes is not None:
            said = outcomes.take(mine)[["reason", "detail"]].values
            details = {
                row: detail
                for row, (reason, detail) in zip(good.order[mine].tolist(), said, strict=True)
                if isinstance(reason, str)
            }
        if same is not None:
            details |= _others(rows, same, part[[reason == schemas.REPEATED for reason in found]])
        records = batch.to_dict("records")
        for row, reason, record in zip(part.tolist(), found, records, strict=True):
            if row not in details:
                details[row] = schemas.detail(reason, record)
        numbers = batch[NUMBER]
        yield batch.assign(
            websdr_id=numbers.where(numbers.between(-(2**31), 2**31 - 1)),  # as far as 32 bits have room
            reason=found,
            detail=[details[row] for row in part.tolist()],
        ).reset_index(drop=True)


def _others(rows: Rows, same: Repeated, repeated: Positions) -> dict[int, str]:
    """What to say of some rows that are there twice, by position: where the same samples are."""
    found = rows.take(same.others_of(repeated))
    said = zip(found[NUMBER], found["session_id"], found["measurement_id"], strict=True)
    return {
        row: f"the same samples as receiver {number} in session {session_id} (measurement {measurement_id})"
        for row, (number, session_id, measurement_id) in zip(repeated.tolist(), said, strict=True)
    }
