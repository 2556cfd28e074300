"""Real recordings into database and bucket, as sessions of one second on common GPS time.

Everything that identifies a recording comes from its content, so a second run adds nothing; one with further
receivers adds theirs to the sessions that are stored. Files are read
one by one, first to find the seconds that receivers have in common and then to upload them: memory holds the
samples of one file at a time, however many there are.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import uuid
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from tqdm import tqdm

from heimdall.core import artifacts, variables
from heimdall.core.errors import HeimdallError
from heimdall.formats import seconds
from heimdall.formats.gps_time import SECOND_NS, to_utc
from heimdall.formats.receivers_file import Site
from heimdall.formats.recording import TimedRecording
from heimdall.formats.tuning import MAX_DETUNING_HZ
from heimdall.recordings import iq
from heimdall.storage import connection, ingestion, objectstore, tables
from heimdall.storage.connection import Cursor
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import ObjectMissing, ObjectStore
from heimdall.storage.tables import Measurement, Present, Receiver, Source

__all__ = [
    "Ingested",
    "Part",
    "Recorded",
    "Session",
    "Site",
    "Stretch",
    "Transmission",
    "copies",
    "cut_sessions",
    "read_stretches",
    "receiver_ids",
    "store",
]

MIN_RECEIVERS = 2  # one receiver alone has no arrival-time difference
UPLOAD_THREADS = 8
TRIES = 10  # each begins again only if another ingest has stored something of the same meanwhile
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


@dataclass(frozen=True, eq=False)
class Recorded:
    """What one receiver recorded, read anew each time it is needed: all of it does not fit into memory.

    Attributes:
        name: Of the file, for messages.
        site: The receiver.
        read: Gives the stretches, the same each time.
    """

    name: str
    site: Site
    read: Callable[[], Sequence[TimedRecording]]


@dataclass(frozen=True)
class Part:
    """One receiver's second, without its samples.

    Attributes:
        recorded: Where its samples are.
        stretch: Number of the stretch there.
        first: Number of its first sample in the stretch.
        sample_rate_hz: Samples a second; it has as many, without the fraction.
        nominal_start_ns: Time of the first sample by the receiver's clock, GPS nanoseconds since 1980-01-06.
        timing_sigma_ns: Standard deviation of that; None if the clock is not on GPS time.
        sha256: Of its `.npy` bytes.
    """

    recorded: Recorded
    stretch: int
    first: int
    sample_rate_hz: float
    nominal_start_ns: int
    timing_sigma_ns: float | None
    sha256: str

    @property
    def site(self) -> Site:
        """The receiver."""
        return self.recorded.site

    def content(self, stretches: Sequence[TimedRecording]) -> bytes:
        """Its `.npy` bytes, of the stretches that `recorded` gives.

        Raises:
            HeimdallError: They are not those that were read before.
        """
        if self.stretch < len(stretches):
            content = _content(stretches[self.stretch], self.first)
            if artifacts.sha256_bytes(content) == self.sha256:
                return content
        raise HeimdallError(
            self.recorded.name,
            "it changed while it was read",
            "Give a file that is finished, and run it again",
        )

    @property
    def rank(self) -> tuple[bool, float]:
        """What is smaller is the better one of two parts for the same second."""
        return seconds.rank(self.timing_sigma_ns)

    @property
    def start_gps_ns(self) -> int | None:
        """GPS time of the first sample, if it is known."""
        return None if self.timing_sigma_ns is None else self.nominal_start_ns


@dataclass(frozen=True)
class Stretch:
    """A stretch of samples without a gap, without its samples.

    Attributes:
        recorded: Where its samples are.
        about: All else that is known of it; its samples are as many zeros, which take no memory.
        parts: By GPS second, each that it holds whole and that has a signal.
        contents: Hashes of its parts, and of its first second if that has a signal.
    """

    recorded: Recorded
    about: TimedRecording
    parts: Mapping[int, Part]
    contents: frozenset[str]


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
        changed: Those that it had without an approval, and that have another place, source,
            GPS time or approval now.
        otherwise: Approved ones that have another GPS time in the database, which stays.
        before: Those that were approved before.
        placed: Whether the place of the transmitter is known.
        approved_at: When they were approved, if they were.
        twice: By name of a receiver, how many of its seconds are stored with other samples in other sessions.
        altitudes: By name of a receiver, in metres, those that nobody had said before.
        beside: By name of a new receiver, the one that the database has at its place.
    """

    receivers: dict[str, int]
    recordings: int
    new: int
    changed: int
    otherwise: int
    before: int
    placed: bool
    approved_at: dt.datetime | None
    twice: dict[str, int]
    altitudes: dict[str, float]
    beside: dict[str, str]


def read_stretches(recorded: Recorded) -> list[Stretch]:
    """Read what a receiver recorded, and cut it at whole GPS seconds. The samples are not kept.

    Raises:
        HeimdallError: It cannot be read, or nothing says when a stretch of it began.
    """
    stretches = []
    for number, recording in enumerate(recorded.read()):
        if recording.nominal_start_ns is None:
            told = f" ({'; '.join(recording.remarks)})" if recording.remarks else ""
            cause = f"nothing says when it began{told}"
            raise HeimdallError(recorded.name, cause, "Give --start with a time in UTC")
        parts = {
            second: _part(recorded, number, recording, held)
            for second, held in seconds.whole(recording).items()
        }
        contents = {part.sha256 for part in parts.values()}
        if recording.samples[: int(recording.sample_rate_hz)].any():
            contents.add(artifacts.sha256_bytes(_content(recording, 0)))
        stretches.append(Stretch(recorded, recording.without_samples(), parts, frozenset(contents)))
    return stretches


def copies(stretches: Iterable[Stretch]) -> list[tuple[str, str]]:
    """Names of receivers with the same samples, though each has noise of its own: a file under two names.

    They have a second in common, or begin alike. A snapshot uses neither.
    """
    seen: dict[str, str] = {}
    found = {
        (seen.setdefault(content, stretch.recorded.site.name), stretch.recorded.site.name)
        for stretch in stretches
        for content in stretch.contents
    }
    return sorted(pair for pair in found if pair[0] != pair[1])


def cut_sessions(stretches: Iterable[Stretch], frequency_mhz: float) -> list[Session]:
    """Make a session of each whole GPS second that two receivers hold.

    Where two stretches of one receiver hold the same second, the one with the better time is taken, then the
    one that begins first. A second whose samples are all zero is none.

    Args:
        stretches: Of all receivers.
        frequency_mhz: Tuned frequency; the same samples at another one are another session.

    Returns:
        Sessions in order of time.
    """
    found: dict[int, dict[str, Part]] = {}
    for stretch in stretches:
        for second, part in stretch.parts.items():
            heard = found.setdefault(second, {})
            name = part.site.name
            if name not in heard or part.rank < heard[name].rank:
                heard[name] = part
    sessions = []
    for second, heard in sorted(found.items()):
        if len(heard) >= MIN_RECEIVERS:
            parts = tuple(heard[name] for name in sorted(heard))
            content = [(part.site.name, part.sha256) for part in parts]
            session_id = str(uuid.uuid5(_NAMESPACE, json.dumps([second, frequency_mhz, content])))
            sessions.append(Session(session_id, parts))
    return sessions


def receiver_ids(
    sites: Iterable[Site], known: Sequence[Receiver], approved: Collection[int] = ()
) -> dict[str, int]:
    """Identifiers of receivers: the one in the database, or a new one from the hash of the name.

    Args:
        sites: The receivers in question.
        known: The receivers of the database. One at 0 m may have another altitude that nobody gave before.
        approved: Those of them that have approved recordings: they stay as they are, for a snapshot may have
            them.

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
        elif (site.latitude_deg, site.longitude_deg) == (receiver.latitude_deg, receiver.longitude_deg) and (
            not site.altitude_known
            or site.altitude_m == receiver.altitude_m
            or (receiver.altitude_m == 0 and receiver.websdr_id not in approved)
        ):
            found[site.name] = receiver.websdr_id
        else:
            place = f"{receiver.latitude_deg},{receiver.longitude_deg},{receiver.altitude_m}"
            statement = (
                f"UPDATE {variables.DATABASE_SCHEMA.read()}.websdrs "  # noqa: S608 - a person runs it
                f"SET latitude = {site.latitude_deg}, longitude = {site.longitude_deg}, "
                f"altitude_m = {site.altitude_m} WHERE id = {receiver.websdr_id}"
            )
            raise HeimdallError(
                f"receiver {site.name}",
                f"the database has it at {place}",
                "Give that position, or another name if it is another receiver. If it is wrong there, the "
                f"owner of the database runs: {statement}. Snapshots that have it cannot be taken again then",
            )
    return found


def store(
    sessions: Sequence[Session], transmission: Transmission, approval: Approval | None, endpoints: Endpoints
) -> Ingested:
    """Write objects, then receivers, source and rows in one transaction. A second run adds nothing.

    A row that is there and is not approved takes the place, the source and the GPS time that are given, and
    the approval. One that is approved never changes, for snapshots may have it. A session with a second of a
    receiver that is stored already, at this frequency and with the same samples, is that stored session, and
    other receivers are added to it. With other samples it is another recording, and a session of its own.

    Two at once are safe: numbers of receivers are decided before the upload, for they are in the objects'
    keys, and once more under a lock in the transaction; if another ingest took one of them meanwhile, the
    objects are written again under the right one. What is added to a stored session is written only where no
    object is.

    Args:
        sessions: What to store.
        transmission: What was recorded.
        approval: None leaves the recordings unapproved.
        endpoints: Where PostgreSQL and S3 are.

    Returns:
        What was stored.

    Raises:
        HeimdallError: A service fails; the database has a receiver of one of these names elsewhere, or these
            recordings approved with another position or source, or the source with another modulation; or
            they would be approved before they were made, or without a place of the transmitter.
    """
    sites = {part.site.name: part.site for session in sessions for part in session.parts}
    bucket = ObjectStore(endpoints.s3, RAW_BUCKET)
    for _ in range(TRIES):
        with _transaction(endpoints.database) as cursor:
            there = _there(cursor, sessions, sites, transmission)
        plan = _plan(bucket, sessions, there)
        with _transaction(endpoints.database) as cursor:  # says what is wrong before anything is uploaded
            _refuse_other_places(cursor, plan, transmission)
            _checked_rows(cursor, plan.sessions, transmission, approval, there.numbers)
        if not _upload(bucket, plan, there.numbers):
            continue
        with _transaction(endpoints.database) as cursor:
            ingestion.lock(cursor)
            if there == _there(cursor, sessions, sites, transmission):
                _refuse_other_places(cursor, plan, transmission)
                rows = _checked_rows(cursor, plan.sessions, transmission, approval, there.numbers)
                tables.insert_rows(cursor, _receivers(sites, there.numbers), _sources(transmission), rows.new)
                tables.correct_altitudes(
                    cursor, {there.numbers[name]: height_m for name, height_m in there.altitudes.items()}
                )
                tables.change_unapproved(cursor, rows.changed)
                ingestion.complete(cursor, _sources(transmission))
                if approval and approval.at is None and rows.approved_at:
                    ingestion.refuse_late(cursor, rows.approved_at)
                break
    else:
        cause = f"other ingests of the same recordings were faster {TRIES} times, or it refuses what is new"
        raise HeimdallError(f"bucket {RAW_BUCKET}", cause, "Run the same command again when they are done")
    return Ingested(
        there.numbers,
        len(rows.new) + len(rows.changed) + rows.kept,
        len(rows.new),
        len(rows.changed),
        rows.otherwise,
        rows.before,
        rows.placed,
        rows.approved_at,
        plan.twice,
        there.altitudes,
        there.beside,
    )


@dataclass(frozen=True)
class _There:
    """What the database has of the receivers.

    Attributes:
        numbers: Of the receivers, by name.
        altitudes: By name, those in metres that the database does not know, and has at 0 m.
        beside: By name of one that the database does not have, the one that it has at the same place.
        sessions: The stored sessions that hold a second of one of them, by its number and the second.
    """

    numbers: dict[str, int]
    altitudes: dict[str, float]
    beside: dict[str, str]
    sessions: dict[tuple[int, dt.datetime], set[str]]


@dataclass(frozen=True)
class _Plan:
    """Where everything goes.

    Attributes:
        sessions: With the identifiers under which they are stored.
        joined: Those of them that another run made, by identifier: numbers of all their receivers.
        added: Keys of what is added to these.
        twice: By name of a receiver, how many of its seconds are stored with other samples in other sessions.
    """

    sessions: list[Session]
    joined: dict[str, list[int]]
    added: set[str]
    twice: dict[str, int]


def _there(
    cursor: Cursor, sessions: Sequence[Session], sites: Mapping[str, Site], transmission: Transmission
) -> _There:
    """Find the numbers of receivers, and the stored sessions that have a receiver's second already.

    Raises:
        HeimdallError: The database has a receiver of one of these names elsewhere.
    """
    known = tables.receivers(cursor)
    given = {name: site.altitude_m for name, site in sites.items() if site.altitude_known}
    unsaid = {
        receiver.websdr_id: receiver.name
        for receiver in known
        if receiver.altitude_m == 0 and given.get(receiver.name, 0.0) != 0
    }
    numbers = receiver_ids(sites.values(), known, tables.approved_receivers(cursor, list(unsaid)))
    altitudes = {name: given[name] for name in unsaid.values()}
    names = {receiver.name for receiver in known}
    at_place = {(receiver.latitude_deg, receiver.longitude_deg): receiver.name for receiver in known}
    places = {name: (site.latitude_deg, site.longitude_deg) for name, site in sites.items()}
    beside = {
        name: at_place[place] for name, place in places.items() if name not in names and place in at_place
    }
    stored: dict[tuple[int, dt.datetime], set[str]] = {}
    seconds = sorted({_second(session) for session in sessions})
    tolerance_mhz = MAX_DETUNING_HZ / 1e6 * (1 + 1e-9)
    for row in tables.at_seconds(
        cursor, sorted(numbers.values()), seconds, transmission.frequency_mhz, tolerance_mhz
    ):
        stored.setdefault((row.websdr_id, row.second), set()).add(row.session_id)
    return _There(numbers, altitudes, beside, stored)


def _plan(bucket: ObjectStore, sessions: Sequence[Session], there: _There) -> _Plan:
    """Find for each session the stored one that it belongs to: it has the same samples, and no others.

    Of several the one that has most of them is taken. Where none is, it is a session of its own: another
    recording of the same second.

    Raises:
        HeimdallError: The bucket cannot be read.
    """
    found: list[Session] = []
    joined: dict[str, list[int]] = {}
    added: set[str] = set()
    twice: dict[str, int] = {}
    for session in sessions:
        same: dict[str, int] = {}
        other: dict[str, list[str]] = {}
        for part in session.parts:
            number = there.numbers[part.site.name]
            for stored in there.sessions.get((number, _second(session)), ()):
                key = objectstore.object_key(stored, number)
                if stored == session.session_id or _samples(bucket, key, part) is True:
                    same[stored] = same.get(stored, 0) + 1
                else:
                    other.setdefault(stored, []).append(part.site.name)
        fitting = sorted(
            (-count, stored != session.session_id, stored)
            for stored, count in same.items()
            if stored not in other
        )
        for _, foreign, stored in fitting:
            numbers = {part: there.numbers[part.site.name] for part in session.parts}
            keys = {
                objectstore.object_key(stored, number): part
                for part, number in numbers.items()
                if foreign and stored not in there.sessions.get((number, _second(session)), ())
            }
            # Somebody else may be adding another recording of that receiver, or was killed while doing so.
            if any(_samples(bucket, key, part) is False for key, part in keys.items()):
                continue
            found.append(replace(session, session_id=stored))
            added |= keys.keys()
            if foreign:
                joined[stored] = list(numbers.values())
            break
        else:
            found.append(session)
            for name in {name for names in other.values() for name in names}:
                twice[name] = twice.get(name, 0) + 1
    return _Plan(found, joined, added, twice)


def _refuse_other_places(cursor: Cursor, plan: _Plan, transmission: Transmission) -> None:
    """Keep receivers that are not given from standing in one session with another place of its transmitter.

    Raises:
        HeimdallError: They would.
    """
    place = (transmission.latitude_deg, transmission.longitude_deg)
    if None in place:
        return
    for session_id, number, *other in tables.places(cursor, list(plan.joined)):
        if number not in plan.joined[session_id] and tuple(other) != place:
            cause = f"other receivers have it at {other[0]}, {other[1]}"
            raise HeimdallError(f"session {session_id}", cause, "Give that place, or their files, too")


def _second(session: Session) -> dt.datetime:
    """The whole second in UTC at which it begins; its parts begin up to a sample later."""
    return to_utc(session.parts[0].nominal_start_ns + SECOND_NS // 1000).replace(microsecond=0)


def _samples(bucket: ObjectStore, key: str, part: Part) -> bool | None:
    """Whether an object is what would be written; None where there is none.

    Raises:
        HeimdallError: The bucket cannot be read.
    """
    limit = len(iq.encode(np.zeros(1, np.complex64))) + 8 * int(part.sample_rate_hz)
    try:
        content = bucket.get(key, limit)
    except ObjectMissing:
        return None
    return artifacts.sha256_bytes(content) == part.sha256


@contextmanager
def _transaction(where: Database) -> Iterator[Cursor]:
    """One on a connection of its own: a server may close one that is idle through a long upload."""
    with closing(connection.connect(where)) as opened, connection.transaction(opened) as cursor:
        yield cursor


def _upload(bucket: ObjectStore, plan: _Plan, numbers: Mapping[str, int]) -> bool:
    """Put all parts that the bucket does not hold, those of one file after those of another.

    So who only approves what is stored needs no right to write objects.

    Returns:
        False where another ingest was faster with other samples, so that the plan is none any more.
    """
    by_file: dict[Recorded, dict[str, Part]] = {}
    for session in plan.sessions:
        for part in session.parts:
            key = objectstore.object_key(session.session_id, numbers[part.site.name])
            by_file.setdefault(part.recorded, {})[key] = part
    listed = bucket.head_many(key for parts in by_file.values() for key in parts)

    def put(key: str, part: Part, content: bytes) -> bool:
        if bucket.holds(key, content, listed.get(key)):
            return True
        if key not in plan.added:
            bucket.put(key, content)
            return True
        return bucket.put_new(key, content) or _samples(bucket, key, part) is True

    total = sum(map(len, by_file.values()))
    with (
        ThreadPoolExecutor(UPLOAD_THREADS) as pool,
        tqdm(desc="upload", total=total, unit="recording", disable=None) as bar,
    ):
        return all(_upload_file(put, recorded, parts, pool, bar) for recorded, parts in by_file.items())


def _upload_file(
    put: Callable[[str, Part, bytes], bool],
    recorded: Recorded,
    parts: Mapping[str, Part],
    pool: ThreadPoolExecutor,
    bar: tqdm[Any],
) -> bool:
    """Put the parts of one file, by key; its samples are dropped at the end. Whether all are there now."""
    stretches = recorded.read()
    there = True
    for done in pool.map(lambda key: put(key, parts[key], parts[key].content(stretches)), parts):
        there &= done
        bar.update()
    return there


def _receivers(sites: Mapping[str, Site], numbers: Mapping[str, int]) -> list[Receiver]:
    return [
        Receiver(numbers[name], name, site.latitude_deg, site.longitude_deg, site.altitude_m)
        for name, site in sorted(sites.items())
    ]


def _sources(transmission: Transmission) -> list[Source]:
    if not transmission.source_id:
        return []
    return [Source(transmission.source_id, transmission.source_id, transmission.modulation)]


@dataclass(frozen=True)
class _Rows:
    """What is to be done with the rows of the sessions.

    Attributes:
        new: Those that the database does not have.
        changed: As they will be, those that it has and that are not approved, if anything of them changes.
        kept: How many stay as they are.
        otherwise: How many of these are approved with another GPS time.
        before: How many of these are approved.
        placed: Whether all have a place of the transmitter.
        approved_at: Of those that are new or changed, and approved.
    """

    new: list[Measurement]
    changed: list[Measurement]
    kept: int
    otherwise: int
    before: int
    placed: bool
    approved_at: dt.datetime | None


def _checked_rows(
    cursor: Cursor,
    sessions: Sequence[Session],
    transmission: Transmission,
    approval: Approval | None,
    numbers: Mapping[str, int],
) -> _Rows:
    """What is to be written; errors as of `store`."""
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
    otherwise = sum(_contradicts(row, stored.get(row.measurement_id)) for row in rows)
    rows = [_completed(row, stored.get(row.measurement_id)) for row in rows]
    if approved_at is not None and any(row.latitude_deg is None for row in rows):
        raise HeimdallError(
            "approval",
            "the place of the transmitter is not known, and training needs it",
            "Give --latitude and --longitude, or leave --approve out",
        )
    new = [row for row in rows if row.measurement_id not in stored]
    changed = [
        row for row in rows if row.measurement_id in stored and stored[row.measurement_id] != Present.of(row)
    ]
    return _Rows(
        new,
        changed,
        len(rows) - len(new) - len(changed),
        otherwise,
        sum(found.approved for found in stored.values()),
        all(row.latitude_deg is not None for row in rows),
        approved_at if new or changed else None,
    )


def _part(recorded: Recorded, number: int, recording: TimedRecording, held: seconds.Part) -> Part:
    """One GPS second of the stretch of this number."""
    return Part(
        recorded=recorded,
        stretch=number,
        first=held.first,
        sample_rate_hz=recording.sample_rate_hz,
        nominal_start_ns=held.nominal_start_ns,
        timing_sigma_ns=held.timing_sigma_ns,
        sha256=artifacts.sha256_bytes(_content(recording, held.first)),
    )


def _content(recording: TimedRecording, first: int) -> bytes:
    """The `.npy` bytes of a second that begins with this sample."""
    return iq.encode(recording.samples[first : first + int(recording.sample_rate_hz)])


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


def _contradicts(row: Measurement, found: Present | None) -> bool:
    """Whether it is approved with another GPS time than this one, or without any."""
    if found is None or not found.approved or row.start_gps_ns is None:
        return False
    return (row.start_gps_ns, row.timing_sigma_ns) != (found.start_gps_ns, found.timing_sigma_ns)


def _completed(row: Measurement, found: Present | None) -> Measurement:
    """A row with what the database has of it and nobody gave now.

    Raises:
        HeimdallError: It is approved there as something else: silence would leave the user believing that it
            was changed.
    """
    if found is None:
        return row
    if found.approved or row.start_gps_ns is None:
        row = replace(row, start_gps_ns=found.start_gps_ns, timing_sigma_ns=found.timing_sigma_ns)
    if row.latitude_deg is None:
        row = replace(row, latitude_deg=found.latitude_deg, longitude_deg=found.longitude_deg)
    row = replace(row, source_id=row.source_id or found.source_id, approved=row.approved or found.approved)
    if found.approved and found != Present.of(row):
        cause = (
            f"the database has it at {found.latitude_deg}, {found.longitude_deg}, "
            f"source {found.source_id}, approved"
        )
        remedy = "Give the same: what is approved is not changed, for a snapshot may have it"
        raise HeimdallError(f"measurement {row.measurement_id}", cause, remedy)
    return row
