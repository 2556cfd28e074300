"""`heimdall locate FILE...` and `heimdall.locate`: from anybody's files to an answer, without training."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner, Result

import heimdall
from heimdall.commands.locate import NOTHING_KNOWN, locate
from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator
from heimdall.formats.gps_time import SECOND_NS
from heimdall.geometry import geo
from heimdall.localize.answer import Answer
from tests.formats.test_kiwi import BLOCK, true_ns, wav
from tests.formats.test_kiwi import RATE_HZ as KIWI_RATE_HZ
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
    assert answer.together is not None
    assert answer.together.events == 2
    assert error_m(answer) < 300
    place = answer.together.places[0]
    assert error_m(answer) < 5 * np.sqrt(np.trace(place.covariance_m2))
    assert answer.origin_utc is not None
    assert answer.origin_utc.isoformat() == "2026-01-09T12:00:00+00:00"


def test_the_command_says_the_same_and_writes_every_format(folder: Path, tmp_path: Path) -> None:
    outputs = {kind: tmp_path / f"answer.{kind}" for kind in ("csv", "geojson", "kml", "html", "png")}
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
    assert result.stdout.split("\n\n")[1:] == [
        "One receiver alone cannot locate: give what two others or more have of the same time.\n"
    ]
    said = json.loads(run(folder, "SOUTH.npy", "--json").stdout)
    assert "no receiver hears" not in str(said).lower()


def test_what_is_missing_is_named(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "other.csv").write_text("name,latitude,longitude\nEAST,45,7\n")
    (tmp_path / "empty.csv").touch()
    for arguments, told in (
        (["none.wav"], "none.wav: it cannot be read (No such file or directory). Check the name"),
        (["north=none.wav"], "none.wav: it cannot be read (No such file or directory). Check the name"),
        (["none*.wav"], "none*.wav: there is no such file. Check the pattern and the folder"),
        ([str(tmp_path / "empty.csv")], "empty.csv: the file is empty. Record or export it again"),
        (["west.cu8"], "west.cu8: nothing says its sample rate. Give --sample-rate"),
        (["times.csv", "SOUTH.npy"], "times.csv: a table of arrival times, beside recordings such as"),
        (["times.csv", "--altitude", "none.asc"], "none.asc: it cannot be read"),
        (["times.csv", "--altitude", "500m"], "altitude 500m: neither a number of metres, nor a file. Give"),
        (["times.csv", "--altitude", "-9000"], "no altitude of a transmitter in metres"),
    ):
        assert told in message_of(folder, *arguments)
    assert "none.wav: it cannot be read" in str(CliRunner().invoke(locate, ["none.wav"]).exception)
    with pytest.raises(
        HeimdallError, match=r"none is given\. Name recordings of one transmission, or a table"
    ):
        heimdall.locate([], folder / "receivers.csv")
    for file in ("times.csv", "SOUTH.npy"):
        result = CliRunner().invoke(locate, [str(folder / file)])
        assert "no place of a receiver is given. Give the file of receivers with --receivers" in str(
            result.exception
        )
    other = ["--receivers", str(tmp_path / "other.csv")]
    told = str(CliRunner().invoke(locate, [str(folder / "times.csv"), *other]).exception)
    assert "none of its receivers (north, east pier, SOUTH, west) is in the receivers file" in told


@pytest.mark.parametrize(
    ("argument", "told"),
    [
        (
            {"frequency_mhz": 1090e6},
            r"between 0\.003 and 3000 MHz\. It looks like a frequency in Hz: did you mean 1090\?",
        ),
        ({"propagation": "los"}, "propagation: 'los' is not one of 'line-of-sight', 'ground-wave'"),
        ({"unit": "nanoseconds"}, "unit: 'nanoseconds' is not one of 's', 'ms'"),
        (
            {"receivers": {"north": (47.0, 8.0, 400.0)}},
            "receivers: neither a file nor a list of receivers. Give",
        ),
    ],
)
def test_python_refuses_what_the_command_refuses(folder: Path, argument: dict[str, Any], told: str) -> None:
    with pytest.raises(HeimdallError, match=told):
        heimdall.locate(folder / "times.csv", **{"receivers": folder / "receivers.csv"} | argument)


def test_a_folder_that_is_mistyped_is_not_made(folder: Path, tmp_path: Path) -> None:
    result = run(folder, "times.csv", "--kml", str(tmp_path / "mistyped" / "answer.kml"))
    assert result.exit_code == 2
    assert f"Invalid value for '--kml': the folder {tmp_path / 'mistyped'} does not exist" in result.stderr
    assert not (tmp_path / "mistyped").exists()
    assert "and - is the name of none" in run(folder, "times.csv", "--csv", "-").stderr


def test_what_is_assumed_of_receivers_of_a_table_is_said(folder: Path, tmp_path: Path) -> None:
    assert "count" not in run(folder, "times.csv").stderr
    bare = "\n".join(line.rsplit(",", 1)[0] for line in (folder / "times.csv").read_text().splitlines())
    (tmp_path / "times.csv").write_text(bare)
    (tmp_path / "receivers.csv").write_text(
        "\n".join(["name,latitude,longitude", *(f"{name},{y},{x}" for name, (y, x, _) in PLACES.items())])
    )
    said: list[str] = []
    heimdall.locate(tmp_path / "times.csv", tmp_path / "receivers.csv", say=said.append)
    assert said == [
        "The altitude of north, east pier, SOUTH, west is not given, and counts as 0 m.",
        "Nothing says the standard deviation of the times of all receivers: it counts as 150 ns.",
    ]


def test_differences_of_the_other_sign_are_told(folder: Path, tmp_path: Path) -> None:
    names = list(PLACES)
    for sign, told in ((1, False), (-1, True)):
        rows = [
            f"{name},{names[0]},{sign * (files.delay_s(name) - files.delay_s(names[0])) * 1e9:.1f},20"
            for name in names[1:]
        ]
        table = tmp_path / "tdoa.csv"
        table.write_text("\n".join(["receiver_a,receiver_b,tdoa_ns,sigma_ns", *rows, ""]))
        said: list[str] = []
        heimdall.locate(table, folder / "receivers.csv", say=said.append)
        assert any("With the other sign the times would fit" in line for line in said) == told
    # Times are no differences: they have no other sign.
    rows = [f"{name},{-files.delay_s(name) * 1e9:.1f},20" for name in names]
    table.write_text("\n".join(["receiver,time_ns,sigma_ns", *rows, ""]))
    said = []
    heimdall.locate(table, folder / "receivers.csv", say=said.append)
    assert not any("With the other sign" in line for line in said)


def test_a_unit_that_is_not_used_is_said(folder: Path) -> None:
    result = run(folder, "times.csv", "--unit", "us")
    assert "times.csv: the unit us is not used where the name of a column ends with ns" in result.stderr
    assert "is not used" not in run(folder, "times.csv", "--unit", "ns").stderr


def test_options_of_sessions_and_of_files_are_told_apart(folder: Path) -> None:
    result = run(folder, "times.csv", "--method", "fusion")
    assert (result.exit_code, "--method is for sessions: leave it out" in result.stderr) == (2, True)
    result = CliRunner().invoke(locate, ["6f1c2a9e", "--altitude", "unknown"])
    assert (result.exit_code, "--altitude is for files: leave it out" in result.stderr) == (2, True)


def test_sessions_need_a_clone_and_files_none(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    told = str(CliRunner().invoke(locate, ["6f1c2a9e"]).exception)
    assert "not inside a clone of Heimdall's repository, which has the sessions" in told
    assert run(folder, "times.csv").exit_code == 0


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


def write_kiwi(folder: Path, name: str, late_ns: int) -> Path:
    """3.4 s of many tones at 7.1 MHz as a KiwiSDR has them, begun so many nanoseconds after the others."""
    blocks, begin_ns = 80, 124_934 * SECOND_NS + 300_000_000 + late_ns
    random = generator(3, "test kiwi signal")
    tone_hz, phase = random.uniform(-1800, 1800, 150), random.uniform(0, 2 * np.pi, 150)
    time_s = np.arange(blocks * BLOCK) / KIWI_RATE_HZ + late_ns * 1e-9 - files.delay_s(name)
    turns = np.exp(2j * np.pi * tone_hz[0] * time_s + 1j * phase[0])
    for hertz, start in zip(tone_hz[1:], phase[1:], strict=True):
        turns += np.exp(1j * (2 * np.pi * hertz * time_s + start))
    own = generator(3, f"test kiwi noise of {name}")
    iq = 300 * turns + own.normal(size=len(turns)) * 300 + 1j * own.normal(size=len(turns)) * 300
    path = folder / f"20171127T104156Z_7100000_{name}_iq.wav"
    path.write_bytes(wav([(time, 2) for time in true_ns(blocks, begin_ns)], np.stack([iq.real, iq.imag], 1)))
    return path


def test_kiwisdr_files_need_nothing_but_the_receivers(tmp_path: Path) -> None:
    late_ns = {"north": 0, "east pier": 170_000_003, "SOUTH": 20_000_001, "west": 99_999_999}
    paths = [write_kiwi(tmp_path, name, late) for name, late in late_ns.items()]
    answer = heimdall.locate(paths, files.write_receivers(tmp_path), propagation="line-of-sight")
    assert [event.name for event in answer.events] == [f"2017-11-27T10:41:{second}Z" for second in (57, 58)]
    assert {event.frequency_hz for event in answer.events} == {7.1e6}
    assert error_m(answer) < 500
    assert answer.main is not None
    assert error_m(answer) < 4 * np.sqrt(np.trace(answer.main.places[0].covariance_m2))


def test_sigmf_that_says_its_place_needs_no_file_of_receivers(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    paths = []
    for name, (latitude, longitude, altitude) in PLACES.items():
        paths.append(files.write_sigmf(tmp_path, name, iq[name]))
        meta = json.loads(paths[-1].read_text())
        point = {"type": "Point", "coordinates": [longitude, latitude, altitude]}
        meta["global"]["core:geolocation"] = point
        paths[-1].write_text(json.dumps(meta))
    answer = heimdall.locate(paths, [])
    assert sorted(answer.receivers()) == sorted(PLACES)
    assert all(np.isnan(event.arrival_s).all() for event in answer.events), (
        "nothing says how good the clocks are"
    )


def test_a_table_with_a_column_for_each_receiver_takes_the_users_unit(folder: Path, tmp_path: Path) -> None:
    times = ",".join(f"{files.delay_s(name) * 1e6:.4f}" for name in PLACES)
    (tmp_path / "wide.csv").write_text(f"{','.join(PLACES)}\n{times}\n")
    with pytest.raises(HeimdallError, match="nothing says the unit of north"):
        heimdall.locate(tmp_path / "wide.csv", folder / "receivers.csv")
    answer = heimdall.locate(tmp_path / "wide.csv", folder / "receivers.csv", altitude=TRUTH[2], unit="us")
    assert error_m(answer) < 50


def test_a_terrain_file_says_the_altitude(folder: Path, tmp_path: Path) -> None:
    rows = "\n".join(" ".join(["250"] * 40) for _ in range(40))
    header = "ncols 40\nnrows 40\nxllcorner 6\nyllcorner 43\ncellsize 0.1\nNODATA_value -9999\n"
    (tmp_path / "ground.asc").write_text(header + rows + "\n")
    answer = heimdall.locate(folder / "times.csv", folder / "receivers.csv", altitude=tmp_path / "ground.asc")
    assert answer.main is not None
    assert answer.main.places[0].altitude_m == pytest.approx(TRUTH[2], abs=30)
    assert error_m(answer) < 50
