"""Tables that others made become a snapshot and features by one setting, with the right to read alone."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from heimdall.core import artifacts, params, paths
from heimdall.core.errors import HeimdallError
from heimdall.pipeline.featurize import featurize
from heimdall.pipeline.snapshot import receivers, snapshot
from heimdall.recordings import archive
from heimdall.simulate.world import RECEIVERS
from heimdall.storage.endpoints import RAW_BUCKET
from tests import REPOSITORY, foreign_databases
from tests.conftest import Buckets, Services
from tests.foreign_databases import NUMBERS, Foreign, Session

COUNT = 8
SETTINGS = params.load(REPOSITORY / "params.yaml")
QUERIES = REPOSITORY / "sql"
Put = Callable[[str, Sequence[Session]], Foreign]


@pytest.fixture(scope="module")
def made() -> dict[str, list[Session]]:
    """Sessions by the source that holds them."""
    return {
        "specification": list(foreign_databases.sessions(COUNT)),
        "acquisition": list(foreign_databases.sessions(COUNT, NUMBERS, slow=3)),
    }


@pytest.fixture
def put(services: Services, buckets: Buckets) -> Put:
    """Makes the database of a source with some sessions."""

    def make(source: str, sessions: Sequence[Session]) -> Foreign:
        if source == "specification":
            return foreign_databases.specification(services, buckets.raw, sessions)
        return foreign_databases.acquisition(services, buckets.raw, sessions, raw_bucket=RAW_BUCKET)

    return make


@dataclasses.dataclass(frozen=True)
class Taken:
    """A snapshot of a foreign database."""

    summary: snapshot.Summary
    said: list[str]


def take(foreign: Foreign, root: Path, source: str, queries: Path = QUERIES, **changes: object) -> Taken:
    settings = dataclasses.replace(SETTINGS.snapshot, source=source, **changes)
    said: list[str] = []
    summary = snapshot.take(settings, foreign.reader.endpoints, root, queries=queries, say=said.append)
    return Taken(summary, said)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        (
            "specification",
            (0, "192000 Hz of this SELECT count; no moment of approval: created_at counts (56 rows)"),
        ),
        ("acquisition", (COUNT, "acquisition.receivers.csv to pin which number is which")),
    ],
)
def test_a_foreign_database_becomes_features_and_stays_as_it_was(
    source: str,
    expected: tuple[int, str],
    put: Put,
    made: dict[str, list[Session]],
    tmp_path: Path,
) -> None:
    transmitters, said = expected
    foreign = put(source, made[source])
    before = foreign.dump()
    taken = take(foreign, tmp_path, source)
    assert len(taken.said) == 1
    assert taken.said[0].endswith(said)
    assert (taken.summary.recordings, taken.summary.quarantined) == (7 * COUNT, {})
    assert (taken.summary.data, taken.summary.transmitters) == ("recorded", transmitters)
    rows = archive.read_measurements(tmp_path)
    assert rows[["snr_db", "start_gps_ns", "timing_sigma_ns", "modulation"]].isna().all().all()
    assert set(rows["sample_rate_hz"]) == {session.rate_hz for session in made[source]}
    found = archive.read_receivers(tmp_path).set_index("websdr_id")
    numbers = NUMBERS if source == "acquisition" else [site.websdr_id for site in RECEIVERS]
    assert [found.loc[number, "name"] for number in numbers] == [site.name for site in RECEIVERS]

    (tmp_path / "requirements").mkdir()
    shutil.copy(REPOSITORY / "requirements" / "runtime.txt", tmp_path / "requirements")
    features = featurize.run(SETTINGS.features, SETTINGS.split, tmp_path)
    assert (features["recordings_detected"], features["data"]) == (7 * COUNT, "recorded")
    assert foreign.dump() == before


def test_the_record_names_the_select_and_the_pinned_file(
    put: Put, made: dict[str, list[Session]], tmp_path: Path
) -> None:
    foreign = put("specification", made["specification"][:1])
    assert take(foreign, tmp_path, "specification").summary.source == {
        "name": "specification",
        "sha256": artifacts.sha256_file(QUERIES / "specification.sql"),
        "receivers": "specification.receivers.csv",
        "receivers_sha256": artifacts.sha256_file(QUERIES / "specification.receivers.csv"),
    }


EXTRA = {
    "approved_at": ("timestamptz", "2026-02-01Z"),
    "sample_rate_hz": ("int", "96000"),
    "source_id": ("int", "7"),
    "modulation": ("text", "nfm"),
    "simulated": ("boolean", "true"),
    "start_gps_ns": ("bigint", "1451649845000000123"),
    "timing_sigma_ns": ("real", "50"),
}


def test_the_specifications_table_may_have_more_or_fewer_columns(
    put: Put, made: dict[str, list[Session]], tmp_path: Path
) -> None:
    foreign = put("specification", made["specification"][:2])
    first, second = made["specification"][:2]
    foreign.execute("UPDATE measurements SET created_at = NULL")
    taken = take(foreign, tmp_path / "timestamp", "specification")
    assert "no moment of approval: timestamp counts (14 rows)" in taken.said[0]
    rows = archive.read_measurements(tmp_path / "timestamp")
    assert (rows["approved_at"] == rows["timestamp"]).all()

    foreign.execute(f"UPDATE measurements SET approved = session_id = '{first.session_id}'")  # noqa: S608
    assert take(foreign, tmp_path / "one", "specification").summary.sessions == 1
    foreign.execute(
        "ALTER TABLE measurements DROP COLUMN approved, DROP COLUMN created_at, DROP COLUMN snr_db"
    )
    taken = take(foreign, tmp_path / "all", "specification")
    assert taken.summary.sessions == 2
    assert "the table has no column approved, so every row counts as approved" in taken.said[0]

    for name, (kind, value) in EXTRA.items():
        foreign.execute(f"ALTER TABLE measurements ADD {name} {kind} DEFAULT '{value}'")
    taken = take(foreign, tmp_path / "more", "specification")
    row = archive.read_measurements(tmp_path / "more").iloc[0]
    assert {name: str(row[name]) for name in EXTRA} == {
        "approved_at": "2026-02-01 00:00:00+00:00",
        "sample_rate_hz": "96000.0",
        "source_id": "7",
        "modulation": "nfm",
        "simulated": "True",
        "start_gps_ns": "1451649845000000123",
        "timing_sigma_ns": "50.0",
    }
    assert second.session_id in set(archive.read_measurements(tmp_path / "more")["session_id"])


def test_a_transmitter_without_a_place_and_a_session_that_is_not_approved_are_left_out(
    put: Put, made: dict[str, list[Session]], tmp_path: Path
) -> None:
    foreign = put("acquisition", made["acquisition"][:4])
    foreign.execute(
        "UPDATE heimdall.known_sources SET latitude = NULL WHERE name = 'beacon 0'",
        "UPDATE heimdall.recording_sessions SET approval_status = 'rejected' WHERE known_source_id = "
        "(SELECT id FROM heimdall.known_sources WHERE name = 'beacon 1')",
        "UPDATE measurements SET s3_path = 's3://heimdall-raw-iq/sessions/2026-02/torino.npy' WHERE id = 20",
        "UPDATE heimdall.known_sources SET error_margin_meters = 101 WHERE name = 'beacon 2'",
        "UPDATE heimdall.recording_sessions SET status = 'failed' WHERE known_source_id = "
        "(SELECT id FROM heimdall.known_sources WHERE name = 'beacon 3')",
    )
    taken = take(foreign, tmp_path, "acquisition", max_quarantined_fraction=0.5)
    assert taken.summary.quarantined == {"bad_position": 7, "missing": 1}
    assert taken.summary.sessions == 2
    bad = pq.read_table(tmp_path / paths.QUARANTINE).to_pylist()
    assert [row["object_key"] for row in bad if row["reason"] == "missing"] == ["sessions/2026-02/torino.npy"]
    said = " ".join(taken.said)
    assert "the place of the transmitter is uncertain by more than 100 m (7 rows)" in said
    assert "the session failed, and is approved all the same (7 rows)" in said


PINNED = "number,name,latitude,longitude,altitude_m,from,until\n"


def pin(folder: Path, *lines: str) -> Path:
    """A copy of sql/ with a file of receivers for the acquisition service."""
    shutil.copytree(QUERIES, folder)
    (folder / "acquisition.receivers.csv").write_text(PINNED + "\n".join(lines) + "\n", encoding="utf-8")
    return folder


def test_a_pinned_file_says_which_number_was_which_station_when(
    put: Put, made: dict[str, list[Session]], tmp_path: Path
) -> None:
    foreign = put("acquisition", made["acquisition"])
    day = made["acquisition"][4].begin.isoformat()
    # Genova (3) and Passo dei Giovi (6) changed their numbers, and number 4 was a station that is no more.
    sites = dict(zip(NUMBERS, RECEIVERS, strict=True))
    lines = [
        f"{number},{site.name},{site.latitude_deg},{site.longitude_deg},{site.altitude_m},,"
        for number, site in sorted(sites.items())
        if number not in (3, 4, 6)
    ]
    lines += [
        f"3,Genova,44.395,8.956,100,,{day}",
        f"6,Passo,44.561,8.956,480,,{day}",
        f"6,Genova,44.395,8.956,100,{day},",
        f"3,Passo,44.561,8.956,480,{day},",
        f"4,Gone,44.9,8.1,90,,{day}",
        f"4,{sites[4].name},{sites[4].latitude_deg},{sites[4].longitude_deg},0,{day},",
    ]
    taken = take(foreign, tmp_path / "data", "acquisition", queries=pin(tmp_path / "sql", *lines))
    assert taken.said == []
    assert taken.summary.source["receivers"] == "acquisition.receivers.csv"
    root = tmp_path / "data"
    rows = archive.read_measurements(root).merge(archive.read_receivers(root), on="websdr_id")
    keys = rows["object_key"].str.extract(r"websdr_(\d)\.npy")[0]
    late = rows["timestamp"] >= made["acquisition"][4].begin
    named = set(zip(keys[~late], rows["name"][~late], strict=True))
    assert {("3", "Genova"), ("6", "Passo"), ("4", "Gone")} < named
    named = set(zip(keys[late], rows["name"][late], strict=True))
    assert {("6", "Genova"), ("3", "Passo"), ("4", sites[4].name)} < named
    assert rows.groupby("name")["websdr_id"].nunique().max() == 1
    # The station that is no more, and its successor, say nothing of the time when they did not stand.
    absent = archive.read_absent(root).merge(archive.read_receivers(root), on="websdr_id")
    begun = rows.groupby("session_id")["timestamp"].first() >= made["acquisition"][4].begin
    assert {(name, bool(begun[session])) for session, name in absent[["session_id", "name"]].values} == {
        ("Gone", True),
        (sites[4].name, False),
    }
    assert len(absent) == len(begun)


def test_a_line_more_changes_no_identifier(tmp_path: Path) -> None:
    file = tmp_path / "receivers.csv"
    lines = ["5,A,45,8,0,,2026-01-01T00:00Z", "5,NA,45,9,0,2026-01-01T00:00Z,"]
    file.write_text(PINNED + "\n".join(lines), encoding="utf-8")
    before = receivers.pinned(file)["websdr_id"].tolist()
    file.write_text(PINNED + "\n".join([*lines, "1001,C,45,7,0,,"]), encoding="utf-8")
    assert receivers.pinned(file)["websdr_id"].tolist() == [*before, 1002] == [5, 1001, 1002]


def test_a_spreadsheets_semicolons_and_decimal_commas_are_read(tmp_path: Path) -> None:
    file = tmp_path / "receivers.csv"
    file.write_text(
        PINNED.replace(",", ";") + "5;A, B;45,04;7,67;250;2026-02-01 12:00:00+01;2026-02-01 12:00 UTC\n",
        "utf-8",
    )
    (found,) = receivers.pinned(file).to_dict("records")
    assert (found["name"], found["latitude_deg"], found["longitude_deg"]) == ("A, B", 45.04, 7.67)
    assert [found[name].isoformat() for name in ("from", "until")] == [  # as psql writes them
        "2026-02-01T11:00:00+00:00",
        "2026-02-01T12:00:00+00:00",
    ]


def test_a_number_that_means_another_station_than_before_is_said(tmp_path: Path) -> None:
    file = tmp_path / "receivers.csv"
    file.write_text(PINNED + "1,A,45,8,0,,\n2,B,45,9,0,,\n", encoding="utf-8")
    before = receivers.used(receivers.pinned(file), {1, 2})
    file.write_text(PINNED + "1,A,45,8,0,,\n2,C,45,7,0,,\n3,B,45,9,0,,\n", encoding="utf-8")
    (said,) = receivers.renamed(before, receivers.pinned(file))
    assert said.startswith("number 2 is C now, and was B in the former snapshot")
    assert receivers.renamed(None, receivers.pinned(file)) == []


@pytest.mark.parametrize(
    ("lines", "words"),
    [
        (["1,A,45,8,0,,2026-01-01T00:00Z", "1,B,45,9,0,2025-12-01T00:00Z,"], "number 1 overlap"),
        (["1,A,45,8,0,2026-01-02T00:00Z,2026-01-01T00:00Z"], "end before they begin"),
        (["1,A,45,8,0,,", "2,A,45,9,0,,"], "A has more than one place"),
        (["1,A,45,8,0,2026-01-01,"], "line 2: from '2026-01-01' is no time with a zone"),
        (["1,A,45,8,0,,", "", "2,B,95,9,0,,"], "line 4: latitude '95'"),
        (["1,A,45,8,,,"], "line 2: no altitude_m"),
        (["1,A,45,04,8,20,0,,"], "line 2: 9 values instead of 7.*decimal point"),
        (["x,A,45,8,0,,"], "line 2: number 'x'"),
        ([], "no receiver in it"),
    ],
)
def test_a_pinned_file_that_contradicts_itself_is_refused(
    lines: list[str], words: str, put: Put, tmp_path: Path
) -> None:
    one = list(foreign_databases.sessions(1, NUMBERS))
    foreign = put("acquisition", one)
    with pytest.raises(HeimdallError, match=rf"acquisition\.receivers\.csv.*{words}"):
        take(foreign, tmp_path / "data", "acquisition", queries=pin(tmp_path / "sql", *lines))
