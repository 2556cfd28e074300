"""`heimdall session`: what is in the data, one session, its recordings as files."""

from __future__ import annotations

import json
import shlex
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner, Result

import heimdall
from heimdall.commands.session import session
from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.geometry import geo
from heimdall.pipeline.featurize import featurize
from heimdall.recordings import archive
from heimdall.session import start_times
from tests import tiny_snapshot
from tests.conftest import as_clone
from tests.tiny_snapshot import GPS_NS, session_id

Run = Callable[..., Result]


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with a snapshot of six sessions of two receivers, and its features."""
    root = as_clone(tmp_path_factory.mktemp("sessions"))
    tiny_snapshot.write_snapshot(root)
    artifacts.write_bytes(root / "requirements/runtime.txt", b"")
    featurize.run(tiny_snapshot.PARAMS, tiny_snapshot.SPLIT, root)
    return root


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    monkeypatch.chdir(data)

    def invoke(*arguments: object) -> Result:
        return CliRunner().invoke(session, [str(item) for item in arguments], catch_exceptions=False)

    return invoke


def test_the_list_has_every_session_and_is_filtered(data: Path, run: Run) -> None:
    every = json.loads(run("list", "--json").stdout)
    index = pd.read_parquet(data / "data/features/index.parquet").drop_duplicates("session_id")
    assert {one["session_id"] for one in every} == set(index["session_id"])
    first = next(one for one in every if one["session_id"] == session_id(0))
    assert first["time"] == "2026-01-02T03:04:05Z"
    assert (first["frequency_mhz"], first["receivers"], first["modulation"]) == (145.5, 2, "unknown")
    assert (first["source_id"], first["simulated"]) == ("tx-0", True)
    tested = json.loads(run("list", "--split", "test", "--json").stdout)
    assert {one["session_id"] for one in tested} == set(index["session_id"][index["split"] == "test"])
    assert 0 < len(tested) < len(every)
    assert json.loads(run("list", "--limit", "2", "--json").stdout) == every[-2:]
    lines = run("list", "--limit", "2").stdout.splitlines()
    assert [line.split()[0] for line in lines[1:3]] == [one["session_id"] for one in every[-2:]]
    assert lines[-1] == "2 of 6 sessions, simulated data"


def test_one_session_is_shown_receiver_by_receiver(data: Path, run: Run) -> None:
    shown = json.loads(run("show", session_id(3), "--json").stdout)
    index = pd.read_parquet(data / "data/features/index.parquet")
    rows = index[index["session_id"] == session_id(3)].set_index("websdr_id")
    north, south = shown["receivers"]
    assert (north["name"], south["name"]) == ("North", "South")
    assert north["snr_db"] == pytest.approx(float(rows["snr_db"][1]))
    assert south["detected"] == bool(rows["detected"][2])
    assert (north["has_gps_time"], south["has_gps_time"]) == (True, False)
    assert not north["delay_usable"]  # nobody else knows the time
    assert north["distance_m"] == pytest.approx(geo.distance_m(45.4, 8.1, 45.3, 8.0).item())
    text = run("show", session_id(3)).stdout
    assert "2 South" in text
    assert "simulated" in text


def test_a_time_that_the_other_contradicts_is_left_out_and_said(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = as_clone(tmp_path)
    artifacts.write_bytes(root / "requirements/runtime.txt", b"")
    rows = tiny_snapshot.write_snapshot(root)
    second = rows["websdr_id"] == 2
    rows.loc[second, "timing_sigma_ns"] = 50.0
    rows.loc[second, "start_gps_ns"] = rows["start_gps_ns"].shift(1)
    for number, late_ns in ((3, 20 * 10**6), (4, 10**9)):
        rows.loc[second & (rows["session_id"] == session_id(number)), "start_gps_ns"] += late_ns
    archive.write_table(
        root / archive.SNAPSHOT / archive.MEASUREMENTS_FILE, rows, archive.MEASUREMENTS_SCHEMA
    )
    said: list[str] = []
    summary = featurize.run(tiny_snapshot.PARAMS, tiny_snapshot.SPLIT, root, say=said.append)
    assert summary["times_left_out"] == {"contradicts_the_others": 2, "starts_at_another_time": 1}
    why = "in session 00000000, its start time is left out:"
    assert said == [
        f"receiver 1 (North): {why} the other recordings contradict it. Check its clock",
        f"receiver 2 (South): {why} the other recordings contradict it. Check its clock",
        f"receiver 2 (South): {why} it is far from those of the others",
    ]
    monkeypatch.chdir(root)
    shown = {
        number: CliRunner()
        .invoke(session, ["show", session_id(number), *form], catch_exceptions=False)
        .stdout
        for number, form in ((2, ["--json"]), (3, []), (4, ["--json"]))
    }
    healthy, elsewhere = (json.loads(shown[number])["receivers"] for number in (2, 4))
    assert [one["time_left_out"] for one in healthy] == [None, None]
    assert [one["delay_usable"] for one in healthy] == [True, True]
    assert [one["time_left_out"] for one in elsewhere] == [None, "starts_at_another_time"]
    assert shown[3].count("contradicts others") == 2


def test_a_receiver_without_a_recording_is_no_receiver_that_hears_nothing(data: Path, run: Run) -> None:
    file = data / archive.SNAPSHOT / archive.RECEIVERS_FILE
    content = file.read_bytes()
    receivers = pd.read_parquet(file)
    third = receivers.iloc[:1].assign(websdr_id=3, name="West")
    archive.write_table(file, pd.concat([receivers, third]), archive.RECEIVERS_SCHEMA)
    try:
        shown = json.loads(run("show", session_id(3), "--json").stdout)["receivers"][2]
        text = run("show", session_id(3)).stdout
    finally:
        file.write_bytes(content)
    assert (shown["recorded"], shown["snr_db"]) == (False, None)
    assert [line.split()[2:4] for line in text.splitlines() if line.startswith("3 West")] == [
        ["no", "recording"]
    ]


def test_fetched_recordings_and_times_are_those_of_the_snapshot(run: Run, tmp_path: Path) -> None:
    folder = tmp_path / "my recordings"
    done = run("fetch", session_id(4), "--output", folder)
    assert sorted(path.name for path in folder.iterdir()) == [
        "receivers.csv", "times.csv", "websdr_1.json", "websdr_1.npy", "websdr_2.json", "websdr_2.npy",
    ]  # fmt: skip
    for websdr_id in (1, 2):
        stored = np.load(folder / f"websdr_{websdr_id}.npy", allow_pickle=False)
        np.testing.assert_array_equal(stored, tiny_snapshot.samples(4, websdr_id))
    assert start_times.read(folder / "times.csv") == {1: (GPS_NS + 4, 50.0)}
    assert shlex.split(done.stdout) == [
        "heimdall", "predict", str(folder / "websdr_1.npy"), str(folder / "websdr_2.npy"),
        "--frequency-mhz", "145.5", "--times", str(folder / "times.csv"), "--sample-rate-hz", "16000.0",
    ]  # fmt: skip
    assert "2 recordings are in" in done.stderr
    said = json.loads(run("fetch", session_id(4), "--output", folder, "--json").stdout)
    assert said["predict"] == done.stdout.strip()
    assert said["times"] == str(folder / "times.csv")
    program, command, *files, _, listed = shlex.split(said["locate"])
    assert (program, command, listed) == ("heimdall", "locate", str(folder / "receivers.csv"))
    answer = heimdall.locate(files, listed)
    (event,) = answer.events
    assert event.receiver == ("websdr_1", "websdr_2")
    assert event.frequency_hz == 145.5e6
    assert answer.fixes[0].kind == "nothing", "one of two receivers has a time"


def test_a_damaged_shard_is_named_and_no_recording_of_it_written(
    data: Path, run: Run, tmp_path: Path
) -> None:
    (shard,) = archive.read_measurements(data).query(f"session_id == '{session_id(4)}'")["shard"].unique()
    file = archive.shard_path(shard, data)
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    try:
        with pytest.raises(HeimdallError, match=shard):
            run("fetch", session_id(4), "--output", tmp_path / "none")
    finally:
        file.write_bytes(content)
    assert not (tmp_path / "none").exists()
