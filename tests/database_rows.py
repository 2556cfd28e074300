"""The rows of our own tables as a snapshot reads them, for the tests of what writes them."""

from __future__ import annotations

import tempfile
from datetime import datetime
from pathlib import Path

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from heimdall.storage import approved, columns, sources
from heimdall.storage.connection import Connection, transaction, use_own_tables
from tests import REPOSITORY

QUERIES = REPOSITORY / "sql"


def read_approved(connection: Connection, as_of: datetime | None = None) -> pd.DataFrame:
    """Rows approved by then; None: every approved row, also one that is too new for a snapshot."""
    own = sources.load("own", QUERIES)
    if as_of is None:
        table = _every_approved(connection, own.measurements)
    else:
        with tempfile.TemporaryDirectory() as folder:
            spool = Path(folder) / "rows.parquet"
            approved.read_from(connection, own, as_of, spool)
            table = pq.read_table(spool)
    return table.to_pandas(types_mapper={pa.int64(): pd.Int64Dtype()}.get)


def _every_approved(connection: Connection, select: str) -> pa.Table:
    with transaction(connection, read_only=True) as cursor:
        use_own_tables(cursor)
        given = columns.given_by(cursor, select, columns.MEASUREMENTS)
        cursor.execute(approved.selection(select, given, datetime.max))
        return columns.table(given, cursor.fetchall())
