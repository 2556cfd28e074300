"""Real recordings into database and bucket, as sessions of one second on common GPS time.

Everything that identifies a recording comes from its content, so a second run adds nothing.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass

from tqdm import tqdm

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.formats.kiwi import SECOND_NS, TimedRecording, to_utc
from heimdall.recordings import iq
from heimdall.storage import connection, objectstore, tables
from heimdall.storage.endpoints import RAW_BUCKET, Endpoints
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.tables import Measurement, Present, Receiver, Source

MIN_RECEIVERS = 2  # one receiver alone has no arrival-time difference
UPLOAD_THREADS = 8
FIRST_RECEIVER_ID = 1000  # below are the network's own receivers
RECEIVER_IDS = 1_000_000
_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "heimdall:ingest")


@dataclass(frozen=True)
class Site:
    """A receiver as the user names it.

    Attributes:
        name: Unique name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Altitude, metres.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float


@dataclass(frozen=True)
class Transmission:
    """What was recorded.

    Attributes:
        latitude_deg: Of the transmitter, degrees.
        longitude_deg: Of the transmitter, degrees.
        frequency_mhz: Tuned frequency.
        source_id: Which known transmitter, if any.
        modulation: Of that transmitter, if known.
    """

    latitude_deg: float
    longitude_deg: float
    frequency_mhz: float
    source_id: str | None
    modulation: str | None


@dataclass(frozen=True)
class Part:
    """One receiver's second.

    Attributes:
        site: The receiver.
        content: `.npy` bytes, complex64.
        sample_rate_hz: Samples a second.
        start_gps_ns: GPS time of the first sample, nanoseconds since 1980-01-06.
        timing_sigma_ns: Standard deviation of that.
    """

    site: Site
    content: bytes
    sample_rate_hz: float
    start_gps_ns: int
    timing_sigma_ns: float


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
    """

    receivers: dict[str, int]
    recordings: int
    new: int


def cut_sessions(recordings: Mapping[Site, TimedRecording], frequency_mhz: float) -> list[Session]:
    """Cut recordings at whole GPS seconds; each second that two receivers hold whole becomes a session.

    Args:
        recordings: One for each receiver.
        frequency_mhz: Tuned frequency; the same samples at another one are another session.

    Returns:
        Sessions in order of time.
    """
    seconds = {
        second
        for recording in recordings.values()
        for second in range(
            recording.start_gps_ns // SECOND_NS, recording.time_ns(len(recording.samples)) // SECOND_NS + 1
        )
    }
    sites = sorted(recordings, key=lambda site: site.name)
    sessions = []
    for second in sorted(seconds):
        found = [_part(site, recordings[site], second) for site in sites]
        parts = tuple(part for part in found if part is not None)
        if len(parts) >= MIN_RECEIVERS:
            content = [(part.site.name, artifacts.sha256_bytes(part.content)) for part in parts]
            session_id = str(uuid.uuid5(_NAMESPACE, json.dumps([second, frequency_mhz, content])))
            sessions.append(Session(session_id, parts))
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
        elif site == Site(receiver.name, receiver.latitude_deg, receiver.longitude_deg, receiver.altitude_m):
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
    sessions: Sequence[Session],
    transmission: Transmission,
    approved_at: dt.datetime | None,
    endpoints: Endpoints,
) -> Ingested:
    """Write objects, then receivers, source and rows in one transaction. A second run adds nothing.

    Args:
        sessions: What to store.
        transmission: What was recorded.
        approved_at: When an operator approved them; None leaves them unapproved.
        endpoints: Where PostgreSQL and S3 are.

    Returns:
        What was stored.

    Raises:
        HeimdallError: A service fails, the database has these recordings with another position, source or
            approval, or they would be approved before they were made.
    """
    made_at = to_utc(max(part.start_gps_ns for session in sessions for part in session.parts))
    if approved_at is not None and approved_at < made_at:
        raise HeimdallError(
            f"approval at {approved_at.isoformat()}",
            f"the recordings go on until {made_at.isoformat()}",
            "Give a later time, or a snapshot sends them to quarantine",
        )
    with closing(connection.connect(endpoints)) as opened:
        sites = {part.site.name: part.site for session in sessions for part in session.parts}
        numbers = receiver_ids(sites.values(), tables.read_receivers(opened))
        rows = [
            _measurement(session, part, numbers[part.site.name], transmission, approved_at)
            for session in sessions
            for part in session.parts
        ]
        stored = tables.present(opened, [row.measurement_id for row in rows])
        _refuse_contradiction(rows, stored)
        bucket = ObjectStore(endpoints, RAW_BUCKET)
        objects = {
            objectstore.object_key(session.session_id, numbers[part.site.name]): part.content
            for session in sessions
            for part in session.parts
        }
        with ThreadPoolExecutor(UPLOAD_THREADS) as pool:
            done = pool.map(bucket.put, objects.keys(), objects.values())
            for _ in tqdm(done, desc="upload", total=len(objects), unit="recording", disable=None):
                pass
        tables.insert(
            opened,
            [
                Receiver(numbers[name], name, site.latitude_deg, site.longitude_deg, site.altitude_m)
                for name, site in sorted(sites.items())
            ],
            [Source(transmission.source_id, transmission.source_id, transmission.modulation)]
            if transmission.source_id
            else [],
            rows,
        )
    return Ingested(numbers, len(rows), len(rows) - len(stored))


def _part(site: Site, recording: TimedRecording, second: int) -> Part | None:
    """The samples of one GPS second, or None where the recording does not hold it whole."""
    first = recording.first_sample_at(second * SECOND_NS)
    end = first + int(recording.sample_rate_hz)
    if first < 0 or end > len(recording.samples):
        return None
    content = iq.encode(recording.samples[first:end])
    return Part(site, content, recording.sample_rate_hz, recording.time_ns(first), recording.timing_sigma_ns)


def _measurement(
    session: Session, part: Part, websdr_id: int, transmission: Transmission, approved_at: dt.datetime | None
) -> Measurement:
    made_at = to_utc(part.start_gps_ns)
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
