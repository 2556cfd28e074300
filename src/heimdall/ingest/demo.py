"""The demo world in the database and the bucket, in the contract's form, broken parts included.

Everything follows from the seed, and every rule goes by a session's number: more sessions leave the first
ones as they are. Objects come before rows, so that no row shows up whose recording is still to come.
"""

from __future__ import annotations

import functools
import io
import multiprocessing
import signal
import uuid
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall import simulate
from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator
from heimdall.recordings import iq
from heimdall.recordings.iq import Samples
from heimdall.simulate import SessionPlan, World
from heimdall.storage import connection, tables
from heimdall.storage.endpoints import RAW_BUCKET, Database, Endpoints
from heimdall.storage.objectstore import OBJECT_PREFIX, ObjectStore, object_key
from heimdall.storage.s3_access import S3Access
from heimdall.storage.tables import Measurement, Receiver, Source

# 279 sessions of three receivers and 1316 good recordings after the bad ones and the unapproved, in 2.3 GB.

LATE = datetime(2026, 3, 1, tzinfo=UTC)  # as_of of params.yaml as the demo begins: some approvals come later
UNKNOWN_RECEIVER_ID = 99

# Which sessions are special. No two of these rules meet, and broken recordings stay below a tenth.
_BROKEN_EVERY, _BROKEN_FIRST = 4, 2
_UNAPPROVED_EVERY, _UNAPPROVED_FIRST = 18, 3
_LATE_EVERY, _LATE_FIRST = 30, 5
_DOUBLE_EVERY, _DOUBLE_FIRST = 45, 7  # stored as complex128, as the specification has it
_NAMELESS_EVERY, _NAMELESS_FIRST = 20, 13  # no source_id: an unknown transmitter


def _saved(array: npt.NDArray[np.generic]) -> bytes:
    """`.npy` bytes of anything, which `iq.encode` rightly refuses."""
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=True)
    return stream.getvalue()


def _with_value(samples: Samples, value: complex) -> bytes:
    spoilt = samples.copy()
    spoilt[1_000] = value
    return iq.encode(spoilt)


# Every bad case of the contract: one session each, in this order, one recording of it.
MISSING = "object missing"
BROKEN_OBJECTS: dict[str, Callable[[Samples], bytes]] = {
    "object truncated": lambda samples: iq.encode(samples)[: samples.nbytes // 2],
    "not complex": lambda samples: _saved(samples.real),
    "two-dimensional": lambda samples: _saved(samples.reshape(2, -1)),
    "not a number": lambda samples: _with_value(samples, complex("nan")),
    "infinite": lambda samples: _with_value(samples, complex("inf")),
    "all zero": lambda samples: iq.encode(np.zeros_like(samples)),
    "pickled objects": lambda _: _saved(np.full(16, None, dtype=object)),
    "longer than its header says": lambda samples: iq.encode(samples) + bytes(4_096),
}
BROKEN_ROWS: dict[str, Callable[[Measurement], list[Measurement]]] = {
    "longer than 10 s": lambda row: [replace(row, sample_rate_hz=12_000.0)],  # 192,000 samples: 16 s
    "latitude out of range": lambda row: [replace(row, latitude_deg=(row.latitude_deg or 0.0) + 90.0)],
    "longitude not a number": lambda row: [replace(row, longitude_deg=float("nan"))],
    "unknown receiver": lambda row: [replace(row, websdr_id=UNKNOWN_RECEIVER_ID)],
    "duplicate": lambda row: [row, replace(row, measurement_id=_next_uuid(row.measurement_id))],
    "made in the future": lambda row: [replace(row, timestamp=row.timestamp.replace(year=2099))],
    "approved before it was made": lambda row: [replace(row, approved_at=row.timestamp - timedelta(days=1))],
}
BROKEN = (MISSING, *BROKEN_OBJECTS, *BROKEN_ROWS)


@dataclass(frozen=True)
class Stored:
    """One recording of the world as it is stored.

    Attributes:
        key: Of its object.
        receiver: Position in `World.receivers`.
        rows: Its rows: one, unless the case says otherwise.
        broken: Name of its bad case, or None.
        double: Whether its object holds complex128.
    """

    key: str
    receiver: int
    rows: tuple[Measurement, ...]
    broken: str | None
    double: bool

    @property
    def has_object(self) -> bool:
        """Whether there is an object to write at all."""
        return self.broken != MISSING

    def content(self, samples: Samples) -> bytes:
        """The bytes of its object.

        Args:
            samples: The recording, shape (n,).

        Returns:
            `.npy` bytes, or whatever the bad case makes of them.
        """
        if self.broken in BROKEN_OBJECTS:
            return BROKEN_OBJECTS[self.broken](samples)
        return iq.encode(samples.astype(np.complex128) if self.double else samples)


@dataclass(frozen=True)
class StoredSession:
    """A session and its recordings as they are stored."""

    plan: SessionPlan
    recordings: tuple[Stored, ...]


@dataclass(frozen=True)
class Summary:
    """What the demo world is, and what this run wrote of it.

    Attributes:
        transmitters: That transmit in it.
        sessions: In it.
        recordings: Rows of measurements.
        bytes_stored: Of all its objects.
        unapproved: Rows that are not approved.
        late: Rows that are approved after `LATE`.
        broken: Names of the bad cases in it.
        objects_written: In this run.
        rows_written: Rows of measurements, in this run.
    """

    transmitters: int
    sessions: int
    recordings: int
    bytes_stored: int
    unapproved: int
    late: int
    broken: tuple[str, ...]
    objects_written: int
    rows_written: int


def contents(world: World, sessions: int, *, with_broken: bool = True) -> list[StoredSession]:
    """What the world consists of in the database and the bucket, but for the samples.

    Args:
        world: The simulated world.
        sessions: How many.
        with_broken: Whether bad cases are among them, one in every fourth session.

    Returns:
        The sessions, by number.
    """
    return [_stored_session(world, plan, with_broken) for plan in simulate.sessions(world, sessions)]


def object_bytes(
    seed: int, transmitters: int, session: StoredSession, keys: Iterable[str]
) -> Iterator[tuple[str, bytes]]:
    """The objects of a session.

    Args:
        seed: Of the world.
        transmitters: Of the world.
        session: The session.
        keys: Which of its objects.

    Yields:
        Key and content.
    """
    wanted = set(keys)
    rendered = {r.reception.receiver: r.iq for r in simulate.render(_world(seed, transmitters), session.plan)}
    for recording in session.recordings:
        if recording.key in wanted:
            yield recording.key, recording.content(rendered[recording.receiver])


def seed_world(
    endpoints: Endpoints,
    *,
    seed: int,
    sessions: int,
    transmitters: int,
    processes: int = 2,
    with_broken: bool = True,
) -> Summary:
    """Write the demo world; what is there already is left as it is.

    Args:
        endpoints: Where to.
        seed: Another seed is another world, beside the first.
        sessions: How many.
        transmitters: How many; those without a session stay unknown.
        processes: That render and write; the bytes do not depend on it.
        with_broken: Whether bad cases are among them.

    Returns:
        What it is, and what was written.

    Raises:
        HeimdallError: A service cannot be reached or refuses, the database has other receivers under these
            numbers, or a process was killed. What was written until then stays and is not written again.
    """
    world = _world(seed, transmitters)
    stored = contents(world, sessions, with_broken=with_broken)
    store = ObjectStore(endpoints.s3, RAW_BUCKET)
    store.ensure_bucket()
    there = store.head_all(OBJECT_PREFIX)
    keys = {r.key for session in stored for r in session.recordings if r.has_object}
    missing = [
        (session, tuple(sorted(wanted)))
        for session in stored
        if (wanted := {r.key for r in session.recordings if r.has_object} - there.keys())
    ]
    with closing(connection.connect(endpoints.database)) as opened:
        _refuse_other_receivers(tables.read_receivers(opened), _receivers(world), endpoints.database)
    written = _write_objects(endpoints.s3, seed, transmitters, missing, processes)
    rows = [row for session in stored for r in session.recordings for row in r.rows]
    # The former connection may have been closed by an idle time-out while the objects were written.
    with closing(connection.connect(endpoints.database)) as opened:
        with connection.transaction(opened) as cursor:
            known = tables.present(cursor, [row.measurement_id for row in rows])
        fresh = [row for row in rows if row.measurement_id not in known]
        if fresh:
            tables.insert(opened, _receivers(world), _sources(world, stored), fresh)
    return Summary(
        transmitters=len({session.plan.transmitter for session in stored}),
        sessions=len(stored),
        recordings=len(rows),
        bytes_stored=written + sum(there[key].size for key in keys & there.keys()),
        unapproved=sum(not row.approved for row in rows),
        late=sum(row.approved_at is not None and row.approved_at > LATE for row in rows),
        broken=tuple(r.broken for session in stored for r in session.recordings if r.broken is not None),
        objects_written=sum(len(wanted) for _, wanted in missing),
        rows_written=len(fresh),
    )


def _stored_session(world: World, plan: SessionPlan, with_broken: bool) -> StoredSession:
    random = generator(world.seed, "demo.session", plan.index)
    broken = _bad_case(plan.index) if with_broken else None
    worst = plan.index % len(plan.receptions)
    timestamp = datetime.fromtimestamp(plan.unix_s, UTC)
    created_at = timestamp + timedelta(seconds=int(random.integers(5, 120)))
    approved_at = created_at + timedelta(seconds=int(random.integers(3_600, 6 * 86_400)))
    if _is(plan.index, _LATE_EVERY, _LATE_FIRST):
        approved_at = LATE + timedelta(seconds=int(random.integers(3_600, 30 * 86_400)))
    approved = not _is(plan.index, _UNAPPROVED_EVERY, _UNAPPROVED_FIRST)
    transmitter = world.transmitters[plan.transmitter]
    recordings = []
    for place, reception in enumerate(plan.receptions):
        row = Measurement(
            measurement_id=str(uuid.UUID(bytes=random.bytes(16), version=4)),
            session_id=plan.session_id,
            websdr_id=reception.websdr_id,
            latitude_deg=transmitter.latitude_deg,
            longitude_deg=transmitter.longitude_deg,
            frequency_mhz=plan.frequency_hz / 1e6,
            snr_db=reception.reported_snr_db,
            timestamp=timestamp,
            created_at=created_at,
            approved=approved,
            approved_at=approved_at if approved else None,
            sample_rate_hz=float(simulate.SAMPLE_RATE_HZ),
            source_id=None
            if _is(plan.index, _NAMELESS_EVERY, _NAMELESS_FIRST)
            else _source_id(world, plan.transmitter),
            start_gps_ns=reception.start_gps_ns,
            timing_sigma_ns=reception.timing_sigma_ns,
            simulated=True,
        )
        case = broken if place == worst else None
        rows = BROKEN_ROWS[case](row) if case in BROKEN_ROWS else [row]
        key = object_key(row.session_id, rows[0].websdr_id)
        double = _is(plan.index, _DOUBLE_EVERY, _DOUBLE_FIRST)
        recordings.append(Stored(key, reception.receiver, tuple(rows), case, double))
    return StoredSession(plan, tuple(recordings))


def _bad_case(index: int) -> str | None:
    place = (index - _BROKEN_FIRST) // _BROKEN_EVERY
    return BROKEN[place] if _is(index, _BROKEN_EVERY, _BROKEN_FIRST) and place < len(BROKEN) else None


def _is(index: int, every: int, first: int) -> bool:
    return index % every == first


def _source_id(world: World, transmitter: int) -> str:
    """With the seed in it: two worlds in one database have different transmitters."""
    return f"sim-{world.seed}-{transmitter:03d}"


def _next_uuid(text: str) -> str:
    return str(uuid.UUID(int=uuid.UUID(text).int ^ 1))


def _refuse_other_receivers(
    known: Iterable[Receiver], wanted: Iterable[Receiver], database: Database
) -> None:
    """Recordings simulated at one place must not pass for those of a receiver at another."""
    by_id = {receiver.websdr_id: receiver for receiver in known}
    for receiver in wanted:
        if by_id.get(receiver.websdr_id, receiver) != receiver:
            raise HeimdallError(
                f"PostgreSQL {database.name}",
                f"its receiver {receiver.websdr_id} is not the demo's {receiver.name}",
                "Seed the demo world into a database of its own",
            )


def _receivers(world: World) -> list[Receiver]:
    return [
        Receiver(r.websdr_id, r.name, r.latitude_deg, r.longitude_deg, r.altitude_m) for r in world.receivers
    ]


def _sources(world: World, stored: Iterable[StoredSession]) -> list[Source]:
    used = sorted({session.plan.transmitter for session in stored})
    return [
        Source(_source_id(world, i), f"Simulated transmitter {i}", world.transmitters[i].modulation)
        for i in used
    ]


@functools.cache
def _world(seed: int, transmitters: int) -> World:
    """The world, made once in each process."""
    return simulate.make_world(seed, transmitters)


@functools.cache
def _store(access: S3Access, bucket: str) -> ObjectStore:
    """A client, made once in each process."""
    return ObjectStore(access, bucket)


def _write_objects(
    access: S3Access,
    seed: int,
    transmitters: int,
    missing: list[tuple[StoredSession, tuple[str, ...]]],
    processes: int,
) -> int:
    """Render and write what is missing; returns its bytes."""
    if not missing:
        return 0
    work = functools.partial(_write_session, access, RAW_BUCKET, seed, transmitters)
    bar = functools.partial(tqdm, total=len(missing), desc="simulated sessions", unit="session", disable=None)
    if min(processes, len(missing)) == 1:
        return sum(bar(map(work, missing)))
    # A fresh interpreter for each: a fork would share the parent's locks.
    pool = ProcessPoolExecutor(
        processes, multiprocessing.get_context("spawn"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
    )
    try:
        futures: list[Future[int]] = [pool.submit(work, item) for item in missing]
        return sum(future.result() for future in bar(as_completed(futures)))
    except BrokenProcessPool:
        raise HeimdallError(
            "demo seed", "a worker process was killed", "Run it again: what is written is kept"
        ) from None
    finally:
        pool.shutdown(cancel_futures=True)


def _write_session(
    access: S3Access,
    bucket: str,
    seed: int,
    transmitters: int,
    item: tuple[StoredSession, tuple[str, ...]],
) -> int:
    session, keys = item
    store = _store(access, bucket)
    size = 0
    for key, content in object_bytes(seed, transmitters, session, keys):
        store.put(key, content)
        size += len(content)
    return size
