"""Real recordings into database and bucket, as sessions of one second on common GPS time.

Everything that identifies a recording comes from its content, so a second run adds nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass

from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.formats.gps_time import SECOND_NS, to_utc
from heimdall.formats.receivers_file import Site
from heimdall.formats.recording import TimedRecording
from heimdall.recordings import iq
from heimdall.recordings.iq import Samples
from heimdall.storage import connection, ingestion, objectstore, tables
from heimdall.storage.connection import Cursor
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.tables import Measurement, Present, Receiver, Source

__all__ = ["Ingested", "Part", "Session", "Site", "Transmission", "cut_sessions", "receiver_ids", "store"]

MIN_RECEIVERS = 2  # one receiver alone has no arrival-time difference
UPLOAD_THREADS = 8
FIRST_RECEIVER_ID = 1000  # below are the network's own receivers
RECEIVER_IDS = 1_000_000
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "heimdall:ingest")


@dataclass(frozen=True)
class Transmission:
    """What was recorded.

    Attributes:
        latitude_deg: Of the transmitter, degrees; None if its place is not known.
        longitude_deg: As the latitude.
        frequency_mhz: Tuned frequency.
        source_id: Which known transmitter, if any.
        modulation: Of that transmitter, if known.
    """

    latitude_deg: float | None
    longitude_deg: float | None
    frequency_mhz: float
    source_id: str | None
    modulation: str | None


@dataclass(frozen=True)
class Approval:
    """That an operator approved the recordings.

    Attributes:
        at: When; None is the moment at which the rows are written, by the database's clock.
    """

    at: dt.datetime | None = None


@dataclass(frozen=True)
class Part:
    """One receiver's second.

    Attributes:
        site: The receiver.
        samples: IQ samples, shape (n,), complex64.
        sample_rate_hz: Samples a second.
        nominal_start_ns: Time of the first sample by the receiver's clock, GPS nanoseconds since 1980-01-06.
        timing_sigma_ns: Standard deviation of that; None if the clock is not on GPS time.
    """

    site: Site
    samples: Samples
    sample_rate_hz: float
    nominal_start_ns: int
    timing_sigma_ns: float | None

    @property
    def content(self) -> bytes:
        """`.npy` bytes, made anew each time: the samples of all parts are in memory once."""
        return iq.encode(self.samples)

    @property
    def start_gps_ns(self) -> int | None:
        """GPS time of the first sample, if it is known."""
        return None if self.timing_sigma_ns is None else self.nominal_start_ns


@dataclass(frozen=True)
class Session:
    """One second, heard by at least two receivers.

    Attributes:
        session_id: UUID made of the content.
        parts: By name of the receiver.
    """

    session_id: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Ingested:
    """What was stored.

    Attributes:
        receivers: Identifier by name.
        recordings: Recordings in all sessions.
        new: Those that the database did not have.
        approved_at: When they were approved, if they were.
    """

    receivers: dict[str, int]
    recordings: int
    new: int
    approved_at: dt.datetime | None


def cut_sessions(recordings: Mapping[Site, Sequence[TimedRecording]], frequency_mhz: float) -> list[Session]:
    """Cut recordings at whole GPS seconds; each second that two receivers hold whole becomes a session.

    Where two stretches of one receiver hold the same second, the one with the better time is taken, then the
    one that begins first. A second whose samples are all zero is none.

    Args:
        recordings: The stretches of each receiver; all say when they began.
        frequency_mhz: Tuned frequency; the same samples at another one are another session.

    Returns:
        Sessions in order of time.
    """
    found: dict[int, list[Part]] = {}
    for site in sorted(recordings, key=lambda site: site.name):
        parts: dict[int, Part] = {}
        for recording in recordings[site]:
            first = recording.time_ns(0) // SECOND_NS
            for second in range(first, recording.time_ns(len(recording.samples)) // SECOND_NS + 1):
                part = _part(site, recording, second)
                if part is not None and (second not in parts or _rank(part) < _rank(parts[second])):
                    parts[second] = part
        for second, part in parts.items():
            found.setdefault(second, []).append(part)
    sessions = []
    for second, heard in tqdm(
        sorted(found.items()), desc="sessions", unit="session", delay=2.0, leave=False, disable=None
    ):
        if len(heard) >= MIN_RECEIVERS:
            content = [(part.site.name, artifacts.sha256_bytes(part.content)) for part in heard]
            session_id = str(uuid.uuid5(_NAMESPACE, json.dumps([second, frequency_mhz, content])))
            sessions.append(Session(session_id, tuple(heard)))
    return sessions


def receiver_ids(sites: Iterable[Site], known: Sequence[Receiver]) -> dict[str, int]:
    """Identifiers of receivers: the one in the database, or a new one from the hash of the name.

    Args:
        sites: The receivers in question.
        known: The receivers of the database.

    Returns:
        Identifier by name; new ones are at least 1000, the next free one if the hash is taken.

    Raises:
        HeimdallError: The database has a receiver of this name elsewhere.
    """
    by_name = {receiver.name: receiver for receiver in known}
    taken = {receiver.websdr_id for receiver in known}
    found: dict[str, int] = {}
    for site in sorted(sites, key=lambda site: site.name):
        receiver = by_name.get(site.name)
        if receiver is None:
            digest = hashlib.sha256(site.name.encode()).digest()
            number = FIRST_RECEIVER_ID + int.from_bytes(digest[:8], "big") % RECEIVER_IDS
            while number in taken:
                number += 1
            taken.add(number)
            found[site.name] = number
        elif site == Site(
            receiver.name,
            receiver.latitude_deg,
            receiver.longitude_deg,
            receiver.altitude_m if site.altitude_known else site.altitude_m,
        ):
            found[site.name] = receiver.websdr_id
        else:
            place = f"{receiver.latitude_deg},{receiver.longitude_deg},{receiver.altitude_m}"
            raise HeimdallError(
                f"receiver {site.name}",
                f"the database has it at {place}",
                "Give that position, or another name if it is another receiver",
            )
    return found


def store(
    sessions: Sequence[Session], transmission: Transmission, approval: Approval | None, endpoints: Endpoints
) -> Ingested:
    """Write objects, then receivers, source and rows in one transaction. A second run adds nothing.

    Two at once are safe: numbers of receivers are decided before the upload, for they are in the objects'
    keys, and once more under a lock in the transaction; if another ingest took one of them meanwhile, the
    objects are written again under the right one.

    Args:
        sessions: What to store.
        transmission: What was recorded.
        approval: None leaves the recordings unapproved.
        endpoints: Where PostgreSQL and S3 are.

    Returns:
        What was stored.

    Raises:
        HeimdallError: A service fails; the database has a receiver of one of these names elsewhere, or these
            recordings with another position, source or approval, or the source with another modulation; or
            they would be approved before they were made, or without a place of the transmitter.
    """
    if approval and (transmission.latitude_deg is None or transmission.longitude_deg is None):
        raise HeimdallError(
            "approval",
            "the place of the transmitter is not known, and training needs it",
            "Give --latitude and --longitude, or leave --approve out",
        )
    sites = {part.site.name: part.site for session in sessions for part in session.parts}
    bucket = ObjectStore(endpoints.s3, RAW_BUCKET)
    with _transaction(endpoints.database) as cursor:  # says what is wrong before anything is uploaded
        numbers = receiver_ids(sites.values(), tables.receivers(cursor))
        _checked_rows(cursor, sessions, transmission, approval, numbers)
    while True:
        _upload(bucket, sessions, numbers)
        with _transaction(endpoints.database) as cursor:
            ingestion.lock(cursor)
            used, numbers = numbers, receiver_ids(sites.values(), tables.receivers(cursor))
            if numbers == used:
                rows, stored = _checked_rows(cursor, sessions, transmission, approval, numbers)
                tables.insert_rows(cursor, _receivers(sites, numbers), _sources(transmission), rows)
                ingestion.complete(cursor, _sources(transmission))
                approved_at = max((row.approved_at for row in rows if row.approved_at), default=None)
                if approved_at and approval and approval.at is None:
                    ingestion.refuse_late(cursor, approved_at)
                break
    return Ingested(numbers, len(rows), len(rows) - stored, approved_at)


@contextmanager
def _transaction(where: Database) -> Iterator[Cursor]:
    """One on a connection of its own: a server may close one that is idle through a long upload."""
    with closing(connection.connect(where)) as opened, connection.transaction(opened) as cursor:
        yield cursor


def _upload(bucket: ObjectStore, sessions: Sequence[Session], numbers: Mapping[str, int]) -> None:
    parts = {
        objectstore.object_key(session.session_id, numbers[part.site.name]): part
        for session in sessions
        for part in session.parts
    }

    def put(key: str) -> None:
        bucket.put(key, parts[key].content)

    with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
        for _ in tqdm(pool.map(put, parts), desc="upload", total=len(parts), unit="recording", disable=None):
            pass


def _receivers(sites: Mapping[str, Site], numbers: Mapping[str, int]) -> list[Receiver]:
    return [
        Receiver(numbers[name], name, site.latitude_deg, site.longitude_deg, site.altitude_m)
        for name, site in sorted(sites.items())
    ]


def _sources(transmission: Transmission) -> list[Source]:
    if not transmission.source_id:
        return []
    return [Source(transmission.source_id, transmission.source_id, transmission.modulation)]


def _checked_rows(
    cursor: Cursor,
    sessions: Sequence[Session],
    transmission: Transmission,
    approval: Approval | None,
    numbers: Mapping[str, int],
) -> tuple[list[Measurement], int]:
    """The rows, and how many of them are there already; errors as of `store`."""
    approved_at = None if approval is None else approval.at or ingestion.now(cursor)
    made_at = max(to_utc(part.nominal_start_ns) for session in sessions for part in session.parts)
    if approved_at is not None and approved_at < made_at:
        raise HeimdallError(
            f"approval at {approved_at.isoformat()}",
            f"the recordings go on until {made_at.isoformat()}",
            "Give a later time, or a snapshot sends them to quarantine",
        )
    for source in _sources(transmission):
        ingestion.refuse_other_modulation(cursor, source)
    rows = [
        _measurement(session, part, numbers[part.site.name], transmission, approved_at)
        for session in sessions
        for part in session.parts
    ]
    stored = tables.present(cursor, [row.measurement_id for row in rows])
    _refuse_contradiction(rows, stored)
    return rows, len(stored)


def _rank(part: Part) -> tuple[bool, float]:
    """What is smaller is the better one of two parts for the same second."""
    sigma_ns = part.timing_sigma_ns
    return sigma_ns is None, sigma_ns or 0.0


def _part(site: Site, recording: TimedRecording, second: int) -> Part | None:
    """The samples of one GPS second, or None where the recording does not hold it whole, or all are zero."""
    first = recording.first_sample_at(second * SECOND_NS)
    end = first + int(recording.sample_rate_hz)
    if first < 0 or end > len(recording.samples) or not recording.samples[first:end].any():
        return None
    sigma_ns = recording.timing_sigma_ns(first, end)
    samples = recording.samples[first:end]
    return Part(site, samples, recording.sample_rate_hz, recording.time_ns(first), sigma_ns)


def _measurement(
    session: Session, part: Part, websdr_id: int, transmission: Transmission, approved_at: dt.datetime | None
) -> Measurement:
    made_at = to_utc(part.nominal_start_ns)
    return Measurement(
        measurement_id=str(uuid.uuid5(uuid.UUID(session.session_id), f"websdr_{websdr_id}")),
        session_id=session.session_id,
        websdr_id=websdr_id,
        latitude_deg=transmission.latitude_deg,
        longitude_deg=transmission.longitude_deg,
        frequency_mhz=transmission.frequency_mhz,
        snr_db=None,
        timestamp=made_at,
        created_at=approved_at or made_at,
        approved=approved_at is not None,
        approved_at=approved_at,
        sample_rate_hz=part.sample_rate_hz,
        source_id=transmission.source_id,
        start_gps_ns=part.start_gps_ns,
        timing_sigma_ns=part.timing_sigma_ns,
        simulated=False,
    )


def _refuse_contradiction(rows: Sequence[Measurement], stored: Mapping[str, Present]) -> None:
    """Stored rows are never changed here; silence would leave the user believing that they were."""
    for row in rows:
        wanted = Present(row.latitude_deg, row.longitude_deg, row.source_id, row.approved)
        found = stored.get(row.measurement_id, wanted)
        if found != wanted:
            cause = (
                f"the database has it at {found.latitude_deg}, {found.longitude_deg}, "
                f"source {found.source_id}, {'approved' if found.approved else 'not approved'}"
            )
            raise HeimdallError(
                f"measurement {row.measurement_id}", cause, "Change the rows there, or give the same"
            )
