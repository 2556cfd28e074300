"""A database and a bucket with eight good sessions of three receivers, for the tests of the snapshot."""

from __future__ import annotations

import dataclasses
import datetime as dt
import uuid
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from heimdall.core import paths
from heimdall.core.params import SnapshotParams
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import iq
from heimdall.storage import connection as db
from heimdall.storage import tables
from heimdall.storage.objectstore import ObjectStore, object_key
from heimdall.storage.tables import Measurement, Receiver, Source
from tests import REPOSITORY
from tests.conftest import Services

QUERIES = REPOSITORY / "sql"
RATE_HZ = 1000.0
COUNT = 200
SESSIONS = 8
AS_OF = dt.datetime(2026, 3, 1, tzinfo=dt.UTC)
APPROVED = dt.datetime(2026, 1, 1, tzinfo=dt.UTC)
PARAMS = SnapshotParams(
    as_of=AS_OF,
    source="own",
    max_quarantined_fraction=0.3,
    shard_sessions=3,
    max_duration_s=1.0,
    download_threads=4,
)
RECEIVERS = [Receiver(number, f"receiver {number}", 45.0 + number / 10, 8.0, 100.0) for number in (1, 2, 3)]


def session_id(number: int) -> str:
    return str(uuid.UUID(bytes=bytes([number, 77]) * 8, version=4))


def samples(session: int, websdr_id: int) -> npt.NDArray[np.complex64]:
    random = np.random.default_rng([session, websdr_id])
    return (random.normal(size=COUNT) + 1j * random.normal(size=COUNT)).astype(np.complex64)


def measurement(session: int, websdr_id: int) -> Measurement:
    return Measurement(
        measurement_id=str(uuid.UUID(bytes=bytes([session, websdr_id]) * 8, version=4)),
        session_id=session_id(session),
        websdr_id=websdr_id,
        latitude_deg=45.0 + session / 100,
        longitude_deg=8.5,
        frequency_mhz=145.5,
        snr_db=None,
        timestamp=APPROVED - dt.timedelta(days=1) + dt.timedelta(hours=session),
        created_at=APPROVED,
        approved=True,
        approved_at=APPROVED + dt.timedelta(days=session),
        sample_rate_hz=RATE_HZ,
        source_id="tx" if session % 2 else None,
        start_gps_ns=1_451_304_245_000_000_123 if websdr_id < 3 else None,
        timing_sigma_ns=50.0 if websdr_id < 3 else None,
        simulated=True,
    )


@dataclasses.dataclass(frozen=True)
class World:
    """A database and a bucket with eight good sessions of three receivers, and an empty repository."""

    services: Services
    bucket: ObjectStore
    root: Path

    def take(self, *, queries: Path = QUERIES, **changes: Any) -> snapshot.Summary:  # noqa: ANN401
        settings = dataclasses.replace(PARAMS, **changes)
        return snapshot.take(settings, self.services.endpoints, self.root, queries=queries)

    def add(self, *rows: Measurement) -> None:
        with closing(db.connect(self.services.endpoints.database)) as connection:
            tables.insert(connection, RECEIVERS, [Source("tx", "tx", "nfm")], rows)

    def add_session(self, number: int) -> None:
        self.add(*(measurement(number, receiver) for receiver in (1, 2, 3)))
        for receiver in (1, 2, 3):
            self.bucket.put(object_key(session_id(number), receiver), iq.encode(samples(number, receiver)))

    def execute(self, statement: str, *values: object) -> None:
        with (
            closing(db.connect(self.services.endpoints.database)) as connection,
            db.transaction(connection) as cursor,
        ):
            db.use_own_tables(cursor)
            cursor.execute(statement, values)

    def outputs(self) -> dict[str, bytes]:
        folders = [self.root / "data", self.root / "metrics"]
        files = [path for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()]
        return {str(path.relative_to(self.root)): path.read_bytes() for path in files}

    def quarantine(self) -> list[tuple[str, int, str]]:
        rows = pq.read_table(self.root / paths.QUARANTINE).to_pylist()
        return [(row["session_id"], row["websdr_id"], row["reason"]) for row in rows]
