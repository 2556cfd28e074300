"""KiwiSDR files into a real database and bucket, and from there into a snapshot."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime as dt
import json
import re
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner

from heimdall.commands import ingest as ingest_command_module
from heimdall.commands.ingest import ingest as ingest_command
from heimdall.core.errors import HeimdallError
from heimdall.core.params import SnapshotParams
from heimdall.formats import gps_time
from heimdall.formats.gps_time import SECOND_NS
from heimdall.formats.recording import TimedRecording, TimingSigma
from heimdall.ingest import ingest
from heimdall.ingest.ingest import Approval, Recorded, Site, Transmission
from heimdall.pipeline.snapshot import snapshot
from heimdall.recordings import archive, iq
from heimdall.storage import connection, embedded, tables
from heimdall.storage.approved import MARGIN
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectMissing, object_key
from heimdall.storage.tables import Receiver
from tests.conftest import Buckets, Services, heimdall
from tests.database_rows import QUERIES, read_approved
from tests.formats.test_kiwi import BLOCK, WEEK_START_NS, true_ns, wav
from tests.recorded import cut_sessions, stretches

NORTH, SOUTH, WEST = (
    Site("NORTH", 53.6, 7.2, 5.0),
    Site("SOUTH", 45.7, 0.6, 200.0),
    Site("WEST", 47.1, 8.4, 450.0),
)
START_NS = WEEK_START_NS + 124_934 * SECOND_NS
START_UTC_NS = gps_time.utc_ns(gps_time.to_utc(START_NS + 2_900_000_000))
TRANSMISSION = Transmission(50.0152, 9.0112, 0.0775, "dcf77", "am")
APPROVED = dt.datetime(2026, 2, 1, tzinfo=dt.UTC)


def recording(start_ns: int, seconds: float, seed: int, rate_hz: float = 12001.1) -> TimedRecording:
    random = np.random.default_rng(seed)
    count = round(seconds * rate_hz)
    samples = (random.normal(size=count) + 1j * random.normal(size=count)).astype(np.complex64)
    return TimedRecording(samples, rate_hz, start_ns, TimingSigma.constant(20.0))


def three() -> dict[Site, list[TimedRecording]]:
    """Whole GPS seconds: NORTH 1-3, SOUTH 1-2, WEST 3-4 after START_NS."""
    return {
        WEST: [recording(START_NS + 2_900_000_000, 2.2, 3)],
        NORTH: [recording(START_NS + 400_000_000, 3.7, 1, rate_hz=12001.3)],
        SOUTH: [recording(START_NS + 999_999_000, 2.1, 2)],
    }


def test_sessions_are_the_whole_seconds_of_at_least_two_receivers() -> None:
    sessions = cut_sessions(three(), 0.0775)
    heard = [[part.site.name for part in session.parts] for session in sessions]
    assert heard == [["NORTH", "SOUTH"], ["NORTH", "SOUTH"], ["NORTH", "WEST"]]
    for second, session in enumerate(sessions, start=1):
        for part in session.parts:
            late_ns = part.nominal_start_ns - (START_NS + second * SECOND_NS)
            assert 0 <= late_ns <= SECOND_NS / part.sample_rate_hz + 1


def test_part_holds_the_samples_of_its_second() -> None:
    source = three()[NORTH][0]
    part = cut_sessions(three(), 0.0775)[1].parts[0]
    samples = iq.decode(part.content([source]), part.sample_rate_hz, 1.0)
    with pytest.raises(HeimdallError, match="NORTH: it changed while it was read"):
        part.content([dataclasses.replace(source, samples=source.samples + 1)])
    first = source.first_sample_at(START_NS + 2 * SECOND_NS)
    assert len(samples) == 12001
    np.testing.assert_array_equal(samples, source.samples[first : first + 12001])
    assert part.start_gps_ns == source.time_ns(first)


def test_session_identifiers_come_from_the_content() -> None:
    first = [session.session_id for session in cut_sessions(three(), 0.0775)]
    assert first == [session.session_id for session in cut_sessions(dict(reversed(three().items())), 0.0775)]
    assert len({*first, *(session.session_id for session in cut_sessions(three(), 0.06))}) == 6
    other = cut_sessions(three() | {WEST: [recording(START_NS + 2_900_000_000, 2.2, 9)]}, 0.0775)
    assert [session.session_id for session in other][:2] == first[:2]
    assert other[2].session_id != first[2]


def test_receiver_keeps_its_number_and_a_taken_one_moves_on() -> None:
    fresh = ingest.receiver_ids([NORTH, SOUTH], [])
    assert fresh == ingest.receiver_ids([SOUTH, NORTH], [])
    assert min(fresh.values()) >= 1000
    other = Receiver(fresh["NORTH"], "other", 0.0, 0.0, 0.0)
    assert ingest.receiver_ids([NORTH], [other]) == {"NORTH": fresh["NORTH"] + 1}
    known = Receiver(7, "NORTH", NORTH.latitude_deg, NORTH.longitude_deg, NORTH.altitude_m)
    assert ingest.receiver_ids([NORTH], [known]) == {"NORTH": 7}
    with pytest.raises(HeimdallError, match=r"receiver NORTH: the database has it at 53\.6,7\.2,6\.0"):
        ingest.receiver_ids([NORTH], [dataclasses.replace(known, altitude_m=6.0)])


def stored_rows(services: Services) -> int:
    with closing(connection.connect(services.endpoints.database)) as opened:
        return len(read_approved(opened))


def test_second_run_adds_nothing_and_a_snapshot_takes_them_in(
    database: Services, buckets: Buckets, tmp_path: Path
) -> None:
    sessions = cut_sessions(three(), 0.0775)
    report = ingest.store(sessions, TRANSMISSION, Approval(APPROVED), database.endpoints)
    assert (report.recordings, report.new, stored_rows(database)) == (6, 6, 6)
    objects = buckets.raw.head_all("")
    assert object_key(sessions[0].session_id, report.receivers["NORTH"]) in objects
    # Who may only read the bucket can do that, and approve; new recordings need the right to write.
    state = embedded.load(database.root)
    assert state is not None
    may_read = dataclasses.replace(database.endpoints.s3, keys=state.s3_keys(Identity.READER))
    reading = dataclasses.replace(database.endpoints, s3=may_read)
    again = ingest.store(sessions, TRANSMISSION, Approval(APPROVED), reading)
    buckets.raw.delete(object_key(sessions[0].session_id, report.receivers["NORTH"]))
    with pytest.raises(HeimdallError, match="the credentials may not write the object"):
        ingest.store(sessions, TRANSMISSION, Approval(APPROVED), reading)
    ingest.store(sessions, TRANSMISSION, Approval(APPROVED), database.endpoints)
    assert (again.receivers, again.new, stored_rows(database)) == (report.receivers, 0, 6)
    assert buckets.raw.head_all("") == objects

    params = SnapshotParams(
        as_of=APPROVED,
        source="own",
        max_quarantined_fraction=0.0,
        shard_sessions=4,
        max_duration_s=10.0,
        download_threads=2,
    )
    summary = snapshot.take(params, database.endpoints, tmp_path, queries=QUERIES)
    assert (summary.data, summary.sessions, summary.recordings, summary.transmitters) == ("recorded", 3, 6, 1)
    rows = archive.read_measurements(tmp_path).sort_values(["start_gps_ns"], ignore_index=True)
    starts = sorted(part.nominal_start_ns for session in sessions for part in session.parts)
    assert [int(value) for value in rows["start_gps_ns"]] == starts
    assert rows["timing_sigma_ns"].tolist() == [20.0] * 6
    assert set(rows["sample_rate_hz"]) == {12001.1, 12001.3}
    assert rows["timestamp"].tolist() == [gps_time.to_utc(value) for value in starts]
    assert not rows["simulated"].any()


@pytest.mark.parametrize(
    ("transmission", "message"),
    [
        (dataclasses.replace(TRANSMISSION, latitude_deg=51.0), "the database has it at 50.0152, 9.0112"),
        (dataclasses.replace(TRANSMISSION, source_id="other"), "source dcf77"),
    ],
)
def test_contradiction_to_what_is_stored_is_refused(
    database: Services,
    buckets: Buckets,
    transmission: Transmission,
    message: str,
) -> None:
    sessions = cut_sessions(three(), 0.0775)[:1]
    ingest.store(sessions, TRANSMISSION, Approval(APPROVED), database.endpoints)
    before = buckets.raw.head_all("")
    with pytest.raises(HeimdallError, match=message):
        ingest.store(sessions, transmission, Approval(APPROVED), database.endpoints)
    assert (stored_rows(database), buckets.raw.head_all("")) == (2, before)


def rows_of(services: Services, columns: str) -> list[tuple[Any, ...]]:
    with closing(connection.connect(services.endpoints.database)) as opened, opened.cursor() as cursor:
        cursor.execute(f"SELECT {columns} FROM measurements ORDER BY 1, 2")  # noqa: S608 - of these tests
        return cursor.fetchall()


def test_receiver_that_comes_later_joins_the_sessions_that_are_stored(
    database: Services, buckets: Buckets
) -> None:
    parts = three() | {WEST: [recording(START_NS + 900_000_000, 4.2, 3)]}
    two = cut_sessions({NORTH: parts[NORTH], SOUTH: parts[SOUTH]}, 0.0775)
    ingest.store(two, TRANSMISSION, Approval(APPROVED), database.endpoints)
    before = buckets.raw.head_all("")
    everyone, fewer = cut_sessions(parts, 0.0775), cut_sessions(parts | {SOUTH: []}, 0.0775)
    detuned = dataclasses.replace(TRANSMISSION, frequency_mhz=0.0779)
    runs = [(everyone, TRANSMISSION, 4), (everyone, TRANSMISSION, 0), (fewer, TRANSMISSION, 0)]
    for sessions, transmission, new in [
        *runs,
        (cut_sessions(parts, 0.0779), detuned, 0),
        (two, TRANSMISSION, 0),
    ]:
        assert ingest.store(sessions, transmission, Approval(APPROVED), database.endpoints).new == new
    rows = rows_of(database, "session_id::text, websdr_id, start_gps_ns")
    assert {session for session, _, _ in rows} > {session.session_id for session in two}
    assert len({(receiver, start) for _, receiver, start in rows}) == len(rows) == 8
    assert before.items() <= buckets.raw.head_all("").items()
    moved = cut_sessions(
        {dataclasses.replace(WEST, name="Renamed"): parts[WEST], SOUTH: parts[SOUTH]}, 0.0775
    )
    for beside in ({"Renamed": WEST.name}, {}):  # said once
        assert ingest.store(moved, TRANSMISSION, Approval(APPROVED), database.endpoints).beside == beside


def test_other_samples_of_a_stored_second_are_another_session(database: Services, buckets: Buckets) -> None:
    def store(parts: dict[Site, list[TimedRecording]]) -> ingest.Ingested:
        return ingest.store(cut_sessions(parts, 0.0775), TRANSMISSION, Approval(APPROVED), database.endpoints)

    parts = {site: found for site, found in three().items() if site != WEST}
    store(parts)
    before = buckets.raw.head_all("")
    other = parts | {SOUTH: [recording(START_NS + 999_999_000, 2.1, 9)]}
    assert [(found.new, found.twice) for found in (store(other), store(other), store(parts))] == [
        (4, {"SOUTH": 2}),
        (0, {}),
        (0, {}),
    ]
    assert before.items() <= buckets.raw.head_all("").items()
    # A third receiver joins the session whose samples its files' others have.
    west = {WEST: [recording(START_NS + 900_000_000, 4.2, 3)]}
    assert (store(other | west).new, store(parts | west).new) == (4, 2)
    receivers: dict[str, set[int]] = {}
    for session, number in rows_of(database, "session_id::text, websdr_id"):
        receivers.setdefault(session, set()).add(number)
    assert sorted(len(found) for found in receivers.values()) == [2, 3, 3, 3, 3]


def test_sessions_of_different_receivers_at_one_second_become_one_where_files_of_both_are_given(
    database: Services, buckets: Buckets
) -> None:
    parts = {site: found for site, found in three().items() if site != WEST}
    apart = {Site("EAST", 1.0, 2.0, 3.0): parts[NORTH], Site("FAR", 4.0, 5.0, 6.0): parts[SOUTH]}
    news = [
        ingest.store(cut_sessions(given, 0.0775), TRANSMISSION, Approval(APPROVED), database.endpoints).new
        for given in (parts, apart, parts | apart, parts | apart)
    ]
    assert news == [4, 4, 6, 0]


def test_no_row_gets_the_samples_of_another_recording(
    database: Services, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(one: TimedRecording) -> ingest.Ingested:
        sessions = cut_sessions(parts | {WEST: [one]}, 0.0775)
        return ingest.store(sessions, TRANSMISSION, None, database.endpoints)

    def lengths() -> list[tuple[int, int]]:
        """Samples that a row of WEST should have, and has."""
        number = ingest.receiver_ids([WEST], [])["WEST"]
        return [
            (int(rate_hz), iq.decode(buckets.raw.get(object_key(session, number), 10**6), rate_hz, 1.0).size)
            for session, receiver, rate_hz in rows_of(database, "session_id::text, websdr_id, sample_rate_hz")
            if receiver == number
        ]

    parts = {NORTH: [recording(START_NS + 400_000_000, 1.7, 1)], SOUTH: [recording(START_NS, 2.1, 2)]}
    ingest.store(cut_sessions(parts, 0.0775), TRANSMISSION, None, database.endpoints)
    west = [recording(START_NS + 500_000_000, 1.7, seed, rate_hz=12000.0 + seed) for seed in (3, 4, 5)]

    # Two at once add another recording each to the session that is there.
    planned, planning = threading.Barrier(2), ingest._plan

    def plan(*arguments: Any) -> object:  # noqa: ANN401 - whatever it takes
        made = planning(*arguments)
        with contextlib.suppress(threading.BrokenBarrierError):
            planned.wait(5)
            planned.abort()
        return made

    monkeypatch.setattr(ingest, "_plan", plan)
    with ThreadPoolExecutor(2) as pool:
        assert sorted(found.new for found in pool.map(store, west[:2])) == [1, 3]
    monkeypatch.setattr(ingest, "_plan", planning)
    assert sorted(lengths()) == [(12003, 12003), (12004, 12004)]

    # An object is lost, and another recording of the same second is given.
    for key in buckets.raw.head_all("sessions/"):
        if key.endswith(f"websdr_{ingest.receiver_ids([WEST], [])['WEST']}.npy"):
            buckets.raw.delete(key)
    assert store(west[2]).new == 3
    with pytest.raises(ObjectMissing):
        lengths()


def test_better_time_reaches_what_is_not_approved_and_a_contradiction_to_the_approved_is_said(
    database: Services, buckets: Buckets
) -> None:
    def timed(sigma_ns: float | None) -> list[ingest.Session]:
        return cut_sessions(
            {
                site: [
                    dataclasses.replace(
                        one,
                        start_gps_ns=None if sigma_ns is None else one.start_gps_ns,
                        timing_sigma=None if sigma_ns is None else TimingSigma.constant(sigma_ns),
                        start_utc_ns=gps_time.EPOCHS_APART_NS + (one.start_gps_ns or 0) - 18 * SECOND_NS,
                    )
                    for one in found
                ]
                for site, found in three().items()
            },
            0.0775,
        )

    runs: list[tuple[float | None, Approval | None, int, int, float | None]] = [
        (None, None, 0, 0, None),
        (100.0, None, 6, 0, 100.0),
        (None, None, 0, 0, 100.0),
        (50.0, Approval(APPROVED), 6, 0, 50.0),
        (20.0, Approval(APPROVED), 0, 6, 50.0),
        (None, Approval(APPROVED), 0, 0, 50.0),
    ]
    for sigma_ns, approval, changed, otherwise, stored in runs:
        report = ingest.store(timed(sigma_ns), TRANSMISSION, approval, database.endpoints)
        assert (report.changed, report.otherwise) == (changed, otherwise)
        rows = rows_of(database, "timing_sigma_ns, start_gps_ns IS NULL")
        assert set(rows) == {(stored, stored is None)}


def test_approval_before_the_recording_is_refused(database: Services, buckets: Buckets) -> None:
    sessions = cut_sessions(three(), 0.0775)[:1]
    early = dt.datetime(2017, 11, 27, 10, tzinfo=dt.UTC)
    with pytest.raises(HeimdallError, match=r"approval at 2017-11-27T10:00:00\+00:00: the recordings go on"):
        ingest.store(sessions, TRANSMISSION, Approval(early), database.endpoints)
    assert (stored_rows(database), buckets.raw.head_all("")) == (0, {})


def test_recordings_of_different_years_are_no_session_and_take_no_time() -> None:
    late = recording(START_NS + 30 * 365 * 86_400 * SECOND_NS, 2.2, 3)
    assert cut_sessions({NORTH: [recording(START_NS, 2.2, 1)], SOUTH: [late]}, 0.0775) == []


def together(services: Services, *jobs: tuple[list[ingest.Session], Transmission]) -> list[str]:
    """Store all of these at once; how each came out."""

    def run(job: tuple[list[ingest.Session], Transmission]) -> str:
        try:
            return f"{ingest.store(*job, Approval(), services.endpoints).new} new"
        except HeimdallError as error:
            return str(error)

    with ThreadPoolExecutor(len(jobs)) as pool:
        return list(pool.map(run, jobs))


def test_of_two_at_once_none_has_its_receiver_under_the_position_of_the_other(
    database: Services, buckets: Buckets
) -> None:
    moved = dataclasses.replace(NORTH, latitude_deg=40.0)
    here = cut_sessions(three(), 0.0775)
    there = cut_sessions({moved: three()[NORTH], SOUTH: three()[SOUTH]}, 0.06)
    for _ in range(3):
        first, second = sorted(together(database, (here, TRANSMISSION), (there, TRANSMISSION)))
        assert first in {"0 new", "4 new", "6 new"}
        assert "receiver NORTH: the database has it at" in second
    with closing(connection.connect(database.endpoints.database)) as opened:
        (north,) = [one for one in tables.read_receivers(opened) if one.name == "NORTH"]
    assert stored_rows(database) == (6 if north.latitude_deg == NORTH.latitude_deg else 4)


def test_the_same_twice_at_once_is_stored_once(database: Services, buckets: Buckets) -> None:
    job = (cut_sessions(three(), 0.0775), TRANSMISSION)
    assert sorted(together(database, job, job, job)) == ["0 new", "0 new", "6 new"]
    assert (stored_rows(database), len(buckets.raw.head_all(""))) == (6, 6)


def test_receivers_whose_first_number_is_the_same_get_two(
    database: Services, buckets: Buckets, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number only to begin with, so that every name meets every other."""
    monkeypatch.setattr(ingest, "RECEIVER_IDS", 1)
    parts = three()
    east, far = Site("EAST", 1.0, 2.0, 3.0), Site("FAR", 4.0, 5.0, 6.0)
    jobs = [
        (cut_sessions({NORTH: parts[NORTH], SOUTH: parts[SOUTH]}, 0.0775), TRANSMISSION),
        (cut_sessions({east: parts[NORTH], far: parts[SOUTH]}, 0.0775), TRANSMISSION),
    ]
    assert together(database, *jobs) == ["4 new", "4 new"]
    with closing(connection.connect(database.endpoints.database)) as opened:
        known = {one.name: one for one in tables.read_receivers(opened)}
        rows = read_approved(opened)
    assert {one.websdr_id for one in known.values()} == {1000, 1001, 1002, 1003}
    assert known["FAR"].latitude_deg == 4.0
    objects = buckets.raw.head_all("")
    assert {object_key(row.session_id, row.websdr_id) for row in rows.itertuples()} <= objects.keys()


def test_modulation_of_a_known_source_is_added_once_and_never_changed(
    database: Services, buckets: Buckets
) -> None:
    sessions = cut_sessions(three(), 0.0775)
    unknown = dataclasses.replace(TRANSMISSION, modulation=None)
    runs = ((unknown, None, []), (TRANSMISSION, Approval(), ["am"]), (unknown, Approval(), ["am"]))
    for transmission, approval, stored in runs:
        ingest.store(sessions, transmission, approval, database.endpoints)
        with closing(connection.connect(database.endpoints.database)) as opened:
            rows = read_approved(opened)
        assert rows["modulation"].dropna().unique().tolist() == stored
    other = dataclasses.replace(TRANSMISSION, modulation="fm")
    with pytest.raises(HeimdallError, match="source dcf77: its modulation is am in the database, not fm"):
        ingest.store(sessions, other, Approval(), database.endpoints)


def test_modulation_that_comes_after_an_approval_does_not_change_former_snapshots(
    database: Services, buckets: Buckets
) -> None:
    sessions = cut_sessions(three(), 0.0775)
    unknown = dataclasses.replace(TRANSMISSION, modulation=None)
    ingest.store(sessions, unknown, Approval(), database.endpoints)
    with pytest.raises(HeimdallError, match=r"approved without a modulation.*Leave --modulation out"):
        ingest.store(sessions, TRANSMISSION, Approval(), database.endpoints)


def test_approval_is_stamped_by_the_database_when_the_rows_are_written(
    database: Services, buckets: Buckets
) -> None:
    sessions = cut_sessions(three(), 0.0775)
    before = dt.datetime.now(dt.UTC)
    report = ingest.store(sessions, TRANSMISSION, Approval(), database.endpoints)
    assert report.approved_at is not None
    assert before <= report.approved_at <= dt.datetime.now(dt.UTC)


def test_recordings_of_an_unknown_place_are_stored_but_not_approved(
    database: Services, buckets: Buckets
) -> None:
    sessions = cut_sessions(three(), 0.0775)
    nowhere = dataclasses.replace(TRANSMISSION, latitude_deg=None, longitude_deg=None)
    for _ in range(2):
        before = buckets.raw.head_all("")
        with pytest.raises(HeimdallError, match="the place of the transmitter is not known"):
            ingest.store(sessions, nowhere, Approval(), database.endpoints)
        assert buckets.raw.head_all("") == before
        ingest.store(sessions, nowhere, None, database.endpoints)
    assert ingest.store(sessions, nowhere, None, database.endpoints).new == 0
    assert stored_rows(database) == 0


HERE, UNKNOWN = (50.0152, 9.0112), (None, None)


@dataclasses.dataclass(frozen=True)
class Given:
    """What somebody says of the same recordings in one run."""

    place: tuple[float | None, float | None] = UNKNOWN
    source: str | None = None
    approve: bool = False


@pytest.mark.parametrize(
    ("runs", "changed", "stored"),
    [
        ([Given(), Given(HERE, "dcf77", approve=True)], 2, (*HERE, "dcf77", True)),
        ([Given(), Given(HERE), Given(approve=True)], 2, (*HERE, None, True)),
        ([Given((1.0, 2.0), "typo"), Given(HERE, "dcf77")], 2, (*HERE, "dcf77", False)),
        ([Given(HERE, "dcf77"), Given()], 0, (*HERE, "dcf77", False)),
        ([Given(HERE, approve=True), Given(HERE, approve=True)], 0, (*HERE, None, True)),
        ([Given(HERE, approve=True), Given((1.0, 2.0), approve=True)], None, (*HERE, None, True)),
        ([Given(HERE, approve=True), Given(HERE)], 0, (*HERE, None, True)),
        ([Given(HERE, "dcf77", approve=True), Given()], 0, (*HERE, "dcf77", True)),
        ([Given(HERE, approve=True), Given(HERE, "dcf77", approve=True)], None, (*HERE, None, True)),
        ([Given(), Given(approve=True)], None, (None, None, None, False)),
    ],
)
def test_what_is_stored_takes_a_place_and_an_approval_later_and_is_never_changed_after_it(
    database: Services,
    buckets: Buckets,
    runs: list[Given],
    changed: int | None,
    stored: tuple[object, ...],
) -> None:
    """`changed` is that of the last run; None if it is refused."""
    sessions = cut_sessions(three(), 0.0775)[:1]

    def run(given: Given) -> ingest.Ingested:
        transmission = Transmission(*given.place, 0.0775, given.source, None)
        return ingest.store(sessions, transmission, Approval() if given.approve else None, database.endpoints)

    def rows() -> list[tuple[object, ...]]:
        with closing(connection.connect(database.endpoints.database)) as opened, opened.cursor() as cursor:
            cursor.execute("SELECT latitude, longitude, source_id, approved, approved_at FROM measurements")
            return cursor.fetchall()

    for given in runs[:-1]:
        run(given)
    former = rows()
    if changed is None:
        with pytest.raises(HeimdallError, match=r"what is approved is not changed|Give --latitude"):
            run(runs[-1])
    else:
        report = run(runs[-1])
        assert (report.new, report.changed, report.recordings) == (0, changed, 2)
        assert report.before == 2 * any(given.approve for given in runs[:-1])
    assert {row[:4] for row in rows()} == {stored}
    if not changed:
        assert rows() == former  # the moment of an approval, too


def test_altitude_that_nobody_said_is_corrected_until_a_recording_is_approved(
    database: Services, buckets: Buckets
) -> None:
    def store(altitude_m: float | None, approval: Approval | None = None) -> ingest.Ingested:
        site = dataclasses.replace(SOUTH, altitude_m=altitude_m or 0.0, altitude_known=altitude_m is not None)
        sessions = cut_sessions({NORTH: three()[NORTH], site: three()[SOUTH]}, 0.0775)
        return ingest.store(sessions, TRANSMISSION, approval, database.endpoints)

    runs = (
        (None, None, {}),
        (200.0, None, {"SOUTH": 200.0}),
        (200.0, Approval(), {}),
        (None, Approval(), {}),
    )
    for altitude_m, approval, corrected in runs:
        assert store(altitude_m, approval).altitudes == corrected
    with closing(connection.connect(database.endpoints.database)) as opened:
        assert {one.altitude_m for one in tables.read_receivers(opened)} == {NORTH.altitude_m, 200.0}
        with opened, opened.cursor() as cursor:
            connection.use_own_tables(cursor)
            cursor.execute("UPDATE websdrs SET altitude_m = 0 WHERE name = 'SOUTH'")
    remedy = r"UPDATE heimdall\.websdrs SET latitude = 45\.7, .* altitude_m = 200\.0 WHERE id = \d+\."
    with pytest.raises(HeimdallError, match=rf"has it at 45\.7,0\.6,0\.0\. .* {remedy}"):
        store(200.0, Approval())


def test_of_two_that_approve_the_same_at_once_one_stamps_it(database: Services, buckets: Buckets) -> None:
    sessions = cut_sessions(three(), 0.0775)
    nowhere = dataclasses.replace(TRANSMISSION, latitude_deg=None, longitude_deg=None)
    ingest.store(sessions, nowhere, None, database.endpoints)
    with ThreadPoolExecutor(3) as pool:
        jobs = [
            pool.submit(ingest.store, sessions, TRANSMISSION, Approval(), database.endpoints) for _ in "abc"
        ]
        reports = [job.result() for job in jobs]
    assert sorted(report.changed for report in reports) == [0, 0, 6]
    (stamp,) = {report.approved_at for report in reports} - {None}
    with closing(connection.connect(database.endpoints.database)) as opened:
        rows = read_approved(opened)
    assert len(rows) == 6
    assert {moment.to_pydatetime() for moment in rows["approved_at"]} == {stamp}


def test_memory_holds_one_file_at_a_time(database: Services, buckets: Buckets) -> None:
    """Twenty receivers need no more than two: of the files that were read before nothing is left."""
    peaks = {}
    for receivers in (2, 20):
        files = [
            Recorded(site.name, site, partial(lambda seed: [recording(START_NS, 10.0, seed, 48_000.0)], seed))
            for seed, site in enumerate(Site(f"R{n}", 45.0 + n, 7.0, 100.0) for n in range(receivers))
        ]
        tracemalloc.start()
        found = [stretch for file in files for stretch in ingest.read_stretches(file)]
        sessions = ingest.cut_sessions(found, 0.0775)[:2]
        ingest.store(sessions, TRANSMISSION, None, database.endpoints)
        peaks[receivers] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert len(sessions[0].parts) == receivers
    samples_bytes = 10 * 48_000 * 8
    assert peaks[20] < peaks[2] + samples_bytes


def test_second_without_gps_time_has_none_in_the_database(database: Services, buckets: Buckets) -> None:
    """SOUTH loses its fix within its first second, and WEST knows its start only by its own clock."""
    recordings = three()
    (south,), (west,) = recordings[SOUTH], recordings[WEST]
    lost = TimingSigma(np.array([0, 13_000]), np.array([20.0, np.inf]))
    recordings[SOUTH] = [dataclasses.replace(south, timing_sigma=lost)]
    recordings[WEST] = [
        dataclasses.replace(west, start_gps_ns=None, timing_sigma=None, start_utc_ns=START_UTC_NS)
    ]
    sessions = cut_sessions(recordings, 0.0775)
    known = [[(part.site.name, part.timing_sigma_ns) for part in session.parts] for session in sessions]
    assert known[0] == [("NORTH", 20.0), ("SOUTH", 20.0)]
    assert known[1] == [("NORTH", 20.0), ("SOUTH", None)]
    assert known[2] == [("NORTH", 20.0), ("WEST", None)]
    ingest.store(sessions, TRANSMISSION, Approval(), database.endpoints)
    with closing(connection.connect(database.endpoints.database)) as opened:
        rows = read_approved(opened)
    assert rows["start_gps_ns"].isna().sum() == rows["timing_sigma_ns"].isna().sum() == 2


def test_places_that_may_be_mistaken_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    """A receiver 1200 km away may be right: it is told, and nothing is refused."""
    places = ((45.0, 7.7), (44.4, 7.5), (44.9, -8.2))
    sites = [Site(f"R{number}", *place, 0.0) for number, place in enumerate(places)]
    ingest_command_module._check_places(sites, 45.1, 7.6)
    assert re.fullmatch(
        r"Check the places: receiver R2 stands 12\d\d km from the nearest of the others; with the other sign "
        r"of its longitude it would be \d+ km\.\n",
        capsys.readouterr().out,
    )


def test_same_samples_of_two_receivers_are_noticed() -> None:
    """Whether they have the same second, or the same file with another start, or one of another length."""
    (one,) = three()[NORTH]
    late = dataclasses.replace(one, start_gps_ns=START_NS + 777_000_000)
    longer = dataclasses.replace(
        one,
        samples=np.concatenate([recording(0, 2.0, 5).samples, one.samples]),
        start_gps_ns=one.time_ns(0)
        - round(len(recording(0, 2.0, 5).samples) * SECOND_NS / one.sample_rate_hz),
    )
    for other in (one, late, longer):
        given = stretches({NORTH: [one], WEST: [other], SOUTH: three()[SOUTH]})
        assert ingest.copies(given) == [("NORTH", "WEST")]
    assert ingest.copies(stretches(three() | {NORTH: [one, late]})) == []


def test_of_two_stretches_for_a_second_the_one_with_the_better_time_is_taken() -> None:
    good, other = three()[NORTH][0], recording(START_NS, 4.0, 8)
    poor = dataclasses.replace(other, timing_sigma=TimingSigma.constant(900.0))
    for pair in ([good, poor], [poor, good]):
        sessions = cut_sessions({NORTH: pair, SOUTH: three()[SOUTH]}, 0.0775)
        assert {part.timing_sigma_ns for session in sessions for part in session.parts} == {20.0}
    silent = dataclasses.replace(good, samples=np.zeros_like(good.samples))
    assert cut_sessions({NORTH: [silent], SOUTH: three()[SOUTH]}, 0.0775) == []


def wav_files(folder: Path, blocks: int = 80) -> list[str]:
    """Two files of 3.4 s on the same GPS time, named as KiwiSDR clients name them."""
    names = []
    for number, site in enumerate((NORTH, SOUTH)):
        noise = np.random.default_rng(number).integers(-999, 999, (blocks * BLOCK, 2)).astype(np.int16)
        times = true_ns(blocks, START_NS - WEEK_START_NS + number * 300_000_000)
        names.append(f"20171127T104156Z_77500_{site.name}_iq.wav")
        (folder / names[-1]).write_bytes(wav([(time, 2) for time in times], noise))
    return names


PLACE = ["--latitude", "50.0152", "--longitude", "9.0112", "--frequency-mhz", "0.0775"]
RECEIVERS = ["--receiver", "NORTH,53.6,7.2,5", "--receiver", "SOUTH,45.7,0.6,200"]
APPROVAL = ["--approve", "--approved-at", "2026-02-01T00:00:00Z"]


def test_command_ingests_files_and_says_what_to_do_next(
    database: Services, buckets: Buckets, tmp_path: Path
) -> None:
    command = ["ingest", "kiwi", *wav_files(tmp_path), *PLACE, *RECEIVERS, "--source", "dcf77", *APPROVAL]
    done = heimdall(tmp_path, *command, env=database.env)
    assert done.returncode == 0, done.stderr
    line = r"NORTH: 3\.4 s at 12001\.1300 Hz from 2017-11-27T10:41:56\+00:00, .*, GPS time with a sigma of"
    assert re.search(line + r" \d+ ns\n", done.stdout)
    assert "2 sessions of 1 s (2 with 2 receivers): 4 recordings, 4 new" in done.stdout
    assert 'snapshot.as_of in params.yaml is "2026-02-01T00:00:00Z" or later' in done.stdout
    assert "as_of from 2026-02-01T00:00:00Z on that was taken before now lacks them" in done.stdout
    assert (stored_rows(database), len(buckets.raw.head_all("sessions/"))) == (4, 4)


def be_in(folder: Path, services: Services, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let commands of this process work in a folder, with these servers."""
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(folder)


def test_without_approval_nothing_is_approved(
    database: Services, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(tmp_path, database, monkeypatch)
    done = CliRunner().invoke(ingest_command, ["kiwi", *wav_files(tmp_path), *PLACE, *RECEIVERS])
    assert done.exit_code == 0, done.output
    assert "A snapshot includes them only after approval: run the same command with --approve." in done.output
    assert (stored_rows(database), len(buckets.raw.head_all("sessions/"))) == (0, 4)
    again = ["kiwi", *wav_files(tmp_path), PLACE[-2], PLACE[-1], *RECEIVERS, "--approve"]
    done = CliRunner().invoke(ingest_command, again)
    assert "4 recordings, 0 new, 4 changed" in done.output
    assert "The recordings are approved at" in done.output
    assert "Without --source the transmitter has no name, and gets none after the approval." in done.output
    assert stored_rows(database) == 4
    for repeated in (again[:-1], again):
        done = CliRunner().invoke(ingest_command, repeated)
        assert (done.exit_code, "The recordings were approved before." in done.output) == (0, True)


def test_files_that_make_no_session_are_told_why(
    database: Services, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(tmp_path, database, monkeypatch)
    north, south = wav_files(tmp_path)
    (tmp_path / "folder").mkdir()
    noise = np.random.default_rng(3).integers(0, 255, 2 * 2 * 12_000).astype(np.uint8)
    (tmp_path / "SOUTH.cu8").write_bytes(noise.tobytes())
    raw = ["--sample-rate", "12000", "--start"]
    other_day = [north, south, "SOUTH=SOUTH.cu8", *PLACE, *RECEIVERS, *raw, "2017-11-28 10:41"]
    for arguments, told in (
        ([north, *PLACE, *RECEIVERS], "all files are of receiver NORTH, and a session needs two"),
        (
            ["SOUTH.cu8", *PLACE, *RECEIVERS, "--sample-rate", "48000", "--start", "2017-11-28"],
            "its 0.5 s at 48000",
        ),
        (["folder", *PLACE, *RECEIVERS], "folder: is a folder"),
        (["*.cs8", *PLACE, *RECEIVERS], "*.cs8: there is no such file"),
        (other_day, "SOUTH.cu8 shares no whole second with another receiver, and is left out."),
        (other_day, "--start 2017-11-28 10:41 has no time zone, and counts as UTC."),
    ):
        done = CliRunner().invoke(ingest_command, arguments)
        assert told in f"{done.output} {done.exception}"


def test_an_approval_of_this_moment_says_from_when_a_snapshot_can_have_it(
    database: Services, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(tmp_path, database, monkeypatch)
    done = CliRunner().invoke(ingest_command, ["kiwi", *wav_files(tmp_path), *PLACE, *RECEIVERS, "--approve"])
    assert done.exit_code == 0, done.output
    said = re.search(r'as_of in params\.yaml is "(\S+)" or later\.\nSuch .* taken from (\S+) on', done.output)
    assert said is not None, done.output
    first, taken = map(dt.datetime.fromisoformat, said.groups())
    assert taken - first == MARGIN
    with closing(connection.connect(database.endpoints.database)) as opened:
        assert set(read_approved(opened)["approved_at"] <= first) == {True}


def test_files_of_any_format_become_sessions_of_receivers_from_a_file(
    database: Services, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A KiwiSDR, a SigMF recording of a disciplined clock, and two raw files of one receiver."""
    be_in(tmp_path, database, monkeypatch)
    kiwi_file = wav_files(tmp_path)[0]
    first, second = recording(0, 4.0, 5).samples, recording(0, 2.0, 6).samples
    begin = gps_time.to_utc(START_NS)
    moment = begin.strftime("%Y-%m-%dT%H:%M:%S.%f000Z")
    whole = {"core:datatype": "cf32_le", "core:version": "1.0.0", "core:sample_rate": 12_000}
    capture = {"core:sample_start": 0, "core:datetime": moment, "core:frequency": 77_500}
    meta = {"global": whole, "captures": [capture], "annotations": []}
    Path("x-south_pier.sigmf-meta").write_text(json.dumps(meta))
    first.tofile("x-south_pier.sigmf-data")
    for part, seconds in ((recording(0, 4.0, 7).samples, 0), (second, 2)):
        clock = (begin + dt.timedelta(seconds=seconds)).strftime("%Y%m%d_%H%M%S")
        part.tofile(f"gqrx_{clock}_77500_12000_fc.raw")
    Path("receivers.csv").write_text(
        "name,lat,lon,alt,timing_sigma_ns\nNORTH,53.6,7.2,5,\nsouth_pier,45.7,0.6,200,30\nWEST,47,8,,20\n"
    )
    files = [
        kiwi_file,
        "x-south_pier.sigmf-meta",
        *(f"WEST={file}" for file in sorted(map(str, Path().glob("gqrx*")))),
    ]
    done = CliRunner().invoke(ingest_command, [*files, "--receivers", "receivers.csv"])
    assert done.exit_code == 0, (done.output, done.exception)
    assert "WEST: recordings overlap by 2.0 s" in done.output
    assert "The altitude of WEST is not given, and counts as 0 m." in done.output
    assert re.search(r"south_pier: 4\.0 s at 12000\.0000 Hz from \S+, GPS time .* 30 ns\n", done.output)
    assert re.search(
        r"WEST: 4\.0 s at \S+ Hz from \S+, no GPS time: .* 577 ms is more than 10 ms; say its start finer",
        done.output,
    )
    assert "cannot be until the place of the transmitter is known" in done.output
    assert "of the recordings have no GPS time: only their levels help to locate" in done.output
    with closing(connection.connect(database.endpoints.database)) as opened, opened.cursor() as cursor:
        cursor.execute(
            "SELECT w.name, count(*), count(start_gps_ns), min(m.latitude), min(frequency_mhz), "
            "max(timing_sigma_ns) FROM measurements m JOIN websdrs w ON w.id = m.websdr_id "
            "GROUP BY 1 ORDER BY 1"
        )
        rows = cursor.fetchall()
    assert [row[:5] for row in rows] == [
        ("NORTH", 3, 3, None, 0.0775),
        ("WEST", 4, 0, None, 0.0775),
        ("south_pier", 4, 4, None, 0.0775),
    ]
    assert rows[2][5] == pytest.approx(30, rel=0.01)


def test_stretches_at_another_frequency_are_left_out_and_said(capsys: pytest.CaptureFixture[str]) -> None:
    parts = three()
    tuned = {
        site: [dataclasses.replace(one, frequency_hz=hz) for one in parts[site] for hz in frequencies]
        for site, frequencies in ((NORTH, (77_500.0, 198_000.0)), (SOUTH, (77_501.0,)), (WEST, (198_000.0,)))
    }
    kept = ingest_command_module._tuned(stretches(tuned), 0.0775)
    assert sorted((one.recorded.site.name, one.about.frequency_hz) for one in kept) == [
        ("NORTH", 77_500.0),
        ("SOUTH", 77_501.0),
    ]
    assert "Stretches at another frequency than 0.0775 MHz are left out: 2" in capsys.readouterr().out
    alike = {site: [dataclasses.replace(one, frequency_hz=77_500.0) for one in parts[site]] for site in parts}
    assert capsys.readouterr().out == ""
    ingest_command_module._tuned(stretches(alike), 77.5)
    assert "The files say 0.0775 MHz, far from 77.5 MHz, which counts" in capsys.readouterr().out
    assert len(ingest_command_module._tuned(stretches(alike), 0.0775)) == len(stretches(alike))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*PLACE, "--receiver", "NORTH,53.6,7.2"], "is not NAME,LATITUDE,LONGITUDE,ALTITUDE"),
        ([*PLACE, "--receiver", "NORTH,153.6,7.2,5"], "the latitude, longitude or altitude is out of range"),
        ([*PLACE, "--receiver", "\udcff,45,7,1"], "the name is empty, too long, or no text"),
        ([*PLACE, *RECEIVERS, "--source", "a\u2028\x07"], "empty, too long, or no text"),
        (["--latitude", "nan", *PLACE[2:], *RECEIVERS], "nan is no finite number"),
        ([*PLACE, *RECEIVERS, *RECEIVERS], "the same name"),
        ([*PLACE, *RECEIVERS, "--modulation", "am"], "give --source"),
        ([*PLACE[2:], *RECEIVERS], "needs both --latitude and --longitude"),
        ([*PLACE, "--receivers", "none.csv"], "none.csv: it cannot be read"),
        (
            [*PLACE, *RECEIVERS, "--approved-at", "2026-02-01"],
            "--approved-at is the time of an approval: give --approve, too",
        ),
        ([*PLACE, *RECEIVERS, "--approve", "--approved-at", "yesterday"], "not an ISO 8601 time"),
        (["--latitude", "91", *PLACE[2:], *RECEIVERS], "91"),
        (
            [*PLACE, "--receiver", "SOUTH,0.6,45.7,200"],
            "with latitude and longitude exchanged it would be 79",
        ),
        ([*PLACE, "--receiver", "NORTH,53.6,7.2,5"], "it is of station SOUTH, whose place is not given"),
    ],
)
def test_wrong_arguments_are_refused_before_any_work(
    services: Services, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], message: str
) -> None:
    for name, value in services.env.items():
        monkeypatch.setenv(name, value)
    done = CliRunner().invoke(ingest_command, ["kiwi", "20171127T104156Z_77500_SOUTH_iq.wav", *arguments])
    assert done.exit_code != 0
    assert message in f"{done.output} {done.exception}"


def test_date_is_asked_for_where_the_name_does_not_say(
    database: Services, buckets: Buckets, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    be_in(tmp_path, database, monkeypatch)
    renamed = []
    for name in wav_files(tmp_path):
        renamed.append(name.removeprefix("20171127T104156Z_"))
        Path(name).rename(renamed[-1])
    command = ["kiwi", *renamed, *PLACE, *RECEIVERS]
    refused = CliRunner().invoke(ingest_command, command)
    assert isinstance(refused.exception, HeimdallError)
    assert "Give --date" in str(refused.exception)
    done = CliRunner().invoke(ingest_command, [*command, "--date", "2017-11-28"])
    assert "from 2017-11-27T10:41:56" in done.output
    assert len(buckets.raw.head_all("sessions/")) == 4
