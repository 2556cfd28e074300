"""The rows of our own tables as a snapshot reads them, for the tests of what writes them."""

from __future__ import annotations

import tempfile
from datetime import UTC, datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heimdall.storage import approved, sources
from heimdall.storage.connection import Connection
from tests import REPOSITORY

QUERIES = REPOSITORY / "sql"


def read_approved(connection: Connection, as_of: datetime | None = None) -> pd.DataFrame:
    """Rows approved by then; None: by the last moment that a snapshot may have."""
    moment = as_of or datetime.now(UTC) - 2 * approved.MARGIN
    with tempfile.TemporaryDirectory() as folder:
        spool = Path(folder) / "rows.parquet"
        approved.read_from(connection, sources.load("own", QUERIES), moment, spool)
        return pq.read_table(spool).to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)
