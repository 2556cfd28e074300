"""A database and a bucket of a benchmark's own, filled as operators would, and removed at the end."""

from __future__ import annotations

import dataclasses
import uuid
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass

import pandas as pd
from obstore.store import S3Store
from psycopg2 import sql
from psycopg2.extras import execute_values

from heimdall.core import variables
from heimdall.recordings import iq
from heimdall.recordings.archive import Samples
from heimdall.storage import connection, database_url, endpoints, migrate
from heimdall.storage.endpoints import Database, Endpoints
from heimdall.storage.identities import Identity
from heimdall.storage.s3_access import S3Access

THREADS = 8
_ROW = {  # of measurements: what its columns are called in measurements.parquet
    "id": "measurement_id",
    "session_id": "session_id",
    "websdr_id": "websdr_id",
    "latitude": "latitude_deg",
    "longitude": "longitude_deg",
    "frequency_mhz": "frequency_mhz",
    "timestamp": "timestamp",
    "created_at": "timestamp",
    "approved_at": "approved_at",
    "sample_rate_hz": "sample_rate_hz",
    "source_id": "source_id",
    "start_gps_ns": "start_gps_ns",
    "timing_sigma_ns": "timing_sigma_ns",
    "simulated": "simulated",
}
_RECEIVER = {
    "id": "websdr_id",
    "name": "name",
    "latitude": "latitude_deg",
    "longitude": "longitude_deg",
    "altitude_m": "altitude_m",
}


@dataclass(frozen=True)
class Services:
    """A database and a bucket that nobody else uses.

    Attributes:
        database: The database, as its owner.
        access: Where the bucket is, as who may read it.
        bucket: Its name.
    """

    database: Database
    access: S3Access
    bucket: str

    @property
    def environment(self) -> dict[str, str]:
        """The variables by which stage snapshot finds them. They hold credentials."""
        found = Endpoints(self.database, self.access).as_environment()
        return found | {variables.RAW_BUCKET.name: self.bucket}


@contextmanager
def own_services() -> Iterator[Services]:
    """Both, empty, on the servers of `heimdall services up` or the configured ones; removed at the end."""
    server, access = endpoints.administrator(), endpoints.s3(identity=Identity.ADMIN)
    mark = uuid.uuid4().hex[:8]
    bucket, database = f"heimdall-scale-{mark}", f"heimdall_scale_{mark}"
    where = dataclasses.replace(server, url=database_url.parse(server.url).with_database(database))
    store = obstore_of(access, bucket)
    with ExitStack() as stack:
        access.client().create_bucket(Bucket=bucket)  # fails where it is there
        stack.callback(_remove_bucket, access, bucket, store)
        connection.create_if_missing(where)
        stack.callback(_drop, server, database)
        with closing(connection.connect(where)) as opened:
            migrate.apply(opened)
        yield Services(where, access, bucket)


def _remove_bucket(access: S3Access, bucket: str, store: S3Store) -> None:
    for listed in store.list():
        store.delete([found["path"] for found in listed])
    access.client().delete_bucket(Bucket=bucket)


def _drop(server: Database, database: str) -> None:
    with closing(connection.connect(server)) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor:
            cursor.execute(sql.SQL("DROP DATABASE {}").format(sql.Identifier(database)))


def fill(
    services: Services,
    rows: pd.DataFrame,
    receivers: pd.DataFrame,
    samples_of: Callable[[str], Mapping[int, Samples]],
) -> None:
    """Put rows and recordings in, in place of what is there.

    Args:
        services: As of `own_services`.
        rows: As `archive.read_measurements` gives them.
        receivers: As `archive.read_receivers` gives them.
        samples_of: The recordings of a session, by receiver.
    """
    with (
        closing(connection.connect(services.database)) as opened,
        connection.transaction(opened) as cursor,
    ):
        connection.use_own_tables(cursor)
        for table, columns, found in (("websdrs", _RECEIVER, receivers), ("measurements", _ROW, rows)):
            named = found[list(columns.values())].astype(object)
            if table == "measurements":
                named = named.assign(approved=True)
            names = sql.SQL(", ").join(map(sql.Identifier, [*columns, "approved"][: named.shape[1]]))
            cursor.execute(sql.SQL("DELETE FROM {}").format(sql.Identifier(table)))
            statement = sql.SQL("INSERT INTO {} ({}) VALUES %s").format(sql.Identifier(table), names)
            execute_values(cursor, statement, named.itertuples(index=False, name=None), page_size=1000)
    bucket = obstore_of(services.access, services.bucket)

    def put(session_id: str) -> None:
        for receiver, samples in samples_of(session_id).items():
            bucket.put(f"sessions/{session_id}/websdr_{receiver}.npy", iq.encode(samples))

    with ThreadPoolExecutor(THREADS) as pool:
        list(pool.map(put, rows["session_id"].unique()))


def obstore_of(access: S3Access, bucket: str) -> S3Store:
    """A bucket as obstore sees it."""
    if access.keys is None:
        raise SystemExit("the embedded server, or two keys in the environment, are needed")
    return S3Store(
        bucket,
        endpoint=access.endpoint_url,
        access_key_id=access.keys.access_key,
        secret_access_key=access.keys.secret_key,
        region=access.region or "us-east-1",
        virtual_hosted_style_request=False,
        client_options={"allow_http": True},
    )
