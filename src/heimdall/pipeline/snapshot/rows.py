"""Rows in a Parquet file that are read some at a time, so that memory does not hold all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Self

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

BATCH_ROWS = 2000
_NULLABLE = {pa.int64(): pd.Int64Dtype(), pa.bool_(): pd.BooleanDtype()}

Positions = npt.NDArray[np.int64]


class Rows:
    """The rows of a file; two of its row groups are in memory at most.

    Args:
        path: A Parquet file whose row groups have about `BATCH_ROWS` rows.
        prepared: What is done to rows when they have been read.
    """

    def __init__(
        self, path: Path, prepared: Callable[[pd.DataFrame], pd.DataFrame] = lambda rows: rows
    ) -> None:
        self._file = pq.ParquetFile(path)
        self._prepared = prepared
        described = self._file.metadata
        sizes = [described.row_group(group).num_rows for group in range(described.num_row_groups)]
        self._starts = np.cumsum([0, *sizes])
        self._group = lru_cache(maxsize=2)(self._file.read_row_group)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._group.cache_clear()
        self._file.close()

    def __len__(self) -> int:
        return int(self._starts[-1])

    def batches(self) -> Iterator[pd.DataFrame]:
        """All rows in their order; the index is their position."""
        for start in range(0, len(self), BATCH_ROWS):
            yield self.take(np.arange(start, min(start + BATCH_ROWS, len(self))))

    def take(self, positions: Positions) -> pd.DataFrame:
        """Some rows.

        Args:
            positions: Of the rows in the file, shape (n,), in any order; near each other it is faster.

        Returns:
            Those rows in that order; the index is their position.
        """
        groups = np.searchsorted(self._starts, positions, "right") - 1
        parts = [self._file.schema_arrow.empty_table()]
        places = [np.empty(0, np.int64)]
        for group in np.unique(groups):
            chosen = np.flatnonzero(groups == group)
            parts.append(self._group(int(group)).take(pa.array(positions[chosen] - self._starts[group])))
            places.append(chosen)
        back = np.argsort(np.concatenate(places))
        rows = pa.concat_tables(parts).to_pandas(types_mapper=_NULLABLE.get).iloc[back]
        return self._prepared(rows.set_index(positions))


def slices(positions: Positions) -> Iterator[Positions]:
    """The positions in runs of `BATCH_ROWS`."""
    for start in range(0, len(positions), BATCH_ROWS):
        yield positions[start : start + BATCH_ROWS]
