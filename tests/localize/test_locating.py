"""`heimdall locate FILE...` and `heimdall.locate`: from anybody's files to an answer, without training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

import heimdall
from heimdall.commands.locate import NOTHING_KNOWN, locate
from heimdall.core.errors import HeimdallError
from heimdall.geometry import geo
from heimdall.localize.answer import Answer
from tests.localize import recorded_files as files
from tests.localize.recorded_files import PLACES, RATE_HZ, START, TRUTH


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two seconds: SigMF of two receivers, .npy of one, .cu8 of one; and a table with the true times."""
    path = tmp_path_factory.mktemp("recorded")
    iq = files.samples(0.0, 2.0)
    files.write_sigmf(path, "north", iq["north"])
    files.write_sigmf(path, "east pier", iq["east pier"])
    files.write_npy(path, "SOUTH", iq["SOUTH"])
    files.write_cu8(path, "west", iq["west"])
    files.write_receivers(path, dict.fromkeys(PLACES, files.SIGMA_NS))
    rows = [f"{name},{1_768_000_000_000_000_000 + round(files.delay_s(name) * 1e9)},20" for name in PLACES]
    (path / "times.csv").write_text("\n".join(["receiver,time_ns,sigma_ns", *rows]) + "\n")
    return path


RECORDINGS = ("north.sigmf-meta", "east pier.sigmf-meta", "SOUTH.npy", "west.cu8")
RAW = ("--sample-rate", str(RATE_HZ), "--start", START)


def run(folder: Path, *arguments: str) -> Result:
    given = [str(folder / one) if (folder / one).is_file() else one for one in arguments]
    return CliRunner().invoke(locate, [*given, "--receivers", str(folder / "receivers.csv")])


def message_of(folder: Path, *arguments: str) -> str:
    result = run(folder, *arguments)
    assert isinstance(result.exception, HeimdallError), result.output
    assert "\n" not in str(result.exception)
    return str(result.exception)


def error_m(answer: Answer) -> float:
    assert answer.main is not None
    place = answer.main.places[0]
    return float(geo.distance_m(place.latitude_deg, place.longitude_deg, *TRUTH[:2])[0])


def test_recordings_of_any_format_are_one_answer(folder: Path) -> None:
    answer = heimdall.locate(
        [folder / name for name in RECORDINGS], folder / "receivers.csv", sample_rate_hz=RATE_HZ, start=START
    )
    assert [event.name for event in answer.events] == ["2026-01-09T12:00:00Z", "2026-01-09T12:00:01Z"]
    assert len(answer.fixes) == 2
    place = answer.fixes[0].places[0]
    error = geo.distance_m(place.latitude_deg, place.longitude_deg, *TRUTH[:2])[0]
    assert error < min(300, 5 * np.sqrt(np.trace(place.covariance_m2)))
    assert answer.origin_utc is not None
    assert answer.origin_utc.isoformat() == "2026-01-09T12:00:00+00:00"


def test_the_command_says_the_same_and_writes_every_format(folder: Path, tmp_path: Path) -> None:
    outputs = {kind: tmp_path / f"answer.{kind}" for kind in ("csv", "geojson", "kml", "html")}
    options = [text for kind, path in outputs.items() for text in (f"--{kind}", str(path))]
    result = run(folder, *RECORDINGS, *RAW, *options)
    assert result.exit_code == 0, (result.output, result.exception)
    assert "4 receivers at 145.5 MHz" in result.stdout
    assert "locate: west: 2.0 s at 24000.0000 Hz from 2026-01-09T12:00:00+00:00, GPS time" in result.stderr
    assert all(path.stat().st_size > 0 for path in outputs.values())
    assert not list(tmp_path.glob(".partial*"))
    assert json.loads(outputs["geojson"].read_text())["type"] == "FeatureCollection"
    assert len(outputs["csv"].read_text().splitlines()) >= 3
    again = run(folder, *RECORDINGS, *RAW, "--json")
    assert again.stdout == run(folder, *RECORDINGS, *RAW, "--json").stdout
    assert json.loads(again.stdout)


def test_a_table_of_times_is_located_to_metres(folder: Path) -> None:
    answer = heimdall.locate(
        folder / "times.csv", folder / "receivers.csv", altitude=TRUTH[2], frequency_mhz=145
    )
    assert answer.main is answer.fixes[0]
    assert error_m(answer) < 50
    assert run(folder, "times.csv", "--altitude", str(TRUTH[2])).exit_code == 0


def test_a_stamp_an_hour_away_is_left_out_and_said(folder: Path, tmp_path: Path) -> None:
    more = {"fifth": (45.6, 8.7, 300.0)}
    line_m = geo.ecef_m(*more["fifth"]) - geo.ecef_m(*TRUTH)
    late_ns = round(float(np.sqrt((line_m**2).sum())) / 0.299792458)
    rows = (folder / "times.csv").read_text() + f"fifth,{1_768_000_000_000_000_000 + late_ns},20\n"
    sites = (folder / "receivers.csv").read_text() + "fifth,45.6,8.7,300,\n"
    (tmp_path / "receivers.csv").write_text(sites)
    wrong = rows.replace("SOUTH,1768", "SOUTH,1771600")  # in another era, too
    for text in (rows.replace("SOUTH,17680000", "SOUTH,17680036"), wrong):
        (tmp_path / "times.csv").write_text(text)
        answer = heimdall.locate(tmp_path / "times.csv", tmp_path / "receivers.csv", altitude=TRUTH[2])
        assert error_m(answer) < 100
        assert answer.main is not None
        assert [one.receiver for one in answer.main.residuals if not one.used] == ["SOUTH"]
        assert any("SOUTH" in remark for remark in answer.main.remarks)


def test_levels_alone_are_no_position_with_a_small_ellipse(folder: Path, tmp_path: Path) -> None:
    files.write_receivers(tmp_path)
    answer = heimdall.locate(
        [folder / name for name in RECORDINGS if name != "SOUTH.npy"],
        tmp_path / "receivers.csv",
        sample_rate_hz=RATE_HZ,
        start="2026-01-09T12:00:00Z",
    )
    assert all(np.isnan(event.arrival_s).all() for event in answer.events)
    assert all(fix.kind in ("region", "nothing") for fix in answer.fixes)


def test_nothing_known_has_an_exit_code_of_its_own(folder: Path) -> None:
    result = run(folder, "SOUTH.npy")
    assert result.exit_code == NOTHING_KNOWN, result.output


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("name,latitude,longitude\nEAST,45,7\n")
    for arguments, told in (
        (["none.wav"], "none.wav: its name does not have the name of exactly one receiver"),
        (["west.cu8"], "west.cu8: nothing says its sample rate. Give --sample-rate"),
        (["times.csv", "SOUTH.npy"], "times.csv: a table of arrival times, beside recordings such as"),
        (["times.csv", "--altitude", "none.asc"], "none.asc: it cannot be read"),
        (["times.csv", "--altitude", "-9000"], "no altitude of a transmitter in metres"),
    ):
        assert told in message_of(folder, *arguments)
    for file in ("times.csv", "SOUTH.npy"):
        result = CliRunner().invoke(locate, [str(folder / file)])
        assert "no place of a receiver is given. Give the file of receivers with --receivers" in str(
            result.exception
        )
    other = ["--receivers", str(tmp_path / "other.csv")]
    told = str(CliRunner().invoke(locate, [str(folder / "times.csv"), *other]).exception)
    assert "none of its receivers (north, east pier, SOUTH, west) is in the receivers file" in told


def test_options_of_sessions_and_of_files_are_told_apart(folder: Path) -> None:
    result = run(folder, "times.csv", "--method", "fusion")
    assert (result.exit_code, "--method is for sessions: leave it out" in result.stderr) == (2, True)
    result = CliRunner().invoke(locate, ["6f1c2a9e", "--altitude", "unknown"])
    assert (result.exit_code, "--altitude is for files: leave it out" in result.stderr) == (2, True)


def test_exchanged_coordinates_are_told(folder: Path, tmp_path: Path) -> None:
    text = (folder / "receivers.csv").read_text()
    (tmp_path / "receivers.csv").write_text(text.replace("44.6,8.2", "8.2,44.6"))
    said: list[str] = []
    with pytest.raises(HeimdallError, match="with latitude and longitude exchanged it would be"):
        heimdall.locate(folder / "times.csv", tmp_path / "receivers.csv", say=said.append)
    (tmp_path / "receivers.csv").write_text(text.replace("44.6,8.2", "44.6,-8.2"))
    heimdall.locate(folder / "times.csv", tmp_path / "receivers.csv", say=said.append)
    assert any("receiver SOUTH stands" in line and "other sign of its longitude" in line for line in said)


def test_no_slow_library_is_loaded(folder: Path) -> None:
    script = (
        "import sys, heimdall\n"
        f"heimdall.locate({str(folder / 'times.csv')!r}, {str(folder / 'receivers.csv')!r})\n"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert not {"torch", "pandas", "pyarrow", "onnxruntime", "matplotlib", "pydantic"} & set(
        done.stdout.split()
    )
