"""`heimdall receivers FILE...` measures a network by its own events, and `heimdall locate` takes it off."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from click.testing import CliRunner

import heimdall
from heimdall.commands.receivers import receivers
from heimdall.core.errors import HeimdallError
from heimdall.core.randomness import generator
from heimdall.localize import receiver_errors_file
from heimdall.multilateration.event import Position
from tests.localize.networks import line_of_sight_delay_s
from tests.multilateration.test_receiver_errors import Network, network


@pytest.fixture(scope="module")
def world() -> Network:
    return network(9, events=60)


@pytest.fixture(scope="module")
def folder(world: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A simulated table of arrival times, and its receivers."""
    folder = tmp_path_factory.mktemp("table")
    rows = ["event,receiver,time_ns,frequency_mhz,altitude_known_m"]
    rows += [
        f"{event.name},{name},{arrival * 1e9:.3f},1090,{event.altitude_known_m}"
        for event in world.events
        for name, arrival in zip(event.receiver, event.arrival_s, strict=True)
    ]
    (folder / "times.csv").write_text("\n".join(rows) + "\n")
    places = [f"R{k},{a},{b},{c}" for k, (a, b, c) in enumerate(world.stated)]
    (folder / "receivers.csv").write_text("\n".join(["name,latitude,longitude,altitude_m", *places, ""]))
    return folder


def test_the_errors_of_a_table_are_written_and_taken_off(world: Network, folder: Path) -> None:
    table, places, errors = (str(folder / name) for name in ("times.csv", "receivers.csv", "errors.csv"))
    result = CliRunner().invoke(receivers, [table, "--receivers", places, "--output", errors, "--json"])
    assert result.exit_code == 0, result.output
    said = json.loads(result.stdout)
    table_of_errors = receiver_errors_file.read(Path(errors))
    found = table_of_errors.errors
    assert said["events"] == 60
    assert said["known_sigma_m"] is None
    assert [one["receiver"] for one in said["errors"]] == [error.receiver for error in found]
    assert table_of_errors.correlation is not None
    assert table_of_errors.correlation.shape == (4 * len(found), 4 * len(found))
    offset = [error.offset_s for error in found]
    assert max(offset) - min(offset) == pytest.approx(world.offset_s.max() - world.offset_s.min(), abs=150e-9)
    few = folder / "few.csv"
    few.write_text("\n".join(Path(table).read_text().splitlines()[:7]) + "\n")
    before = heimdall.locate(few, places).fixes[0].residuals
    after = heimdall.locate(few, places, errors=errors).fixes[0].residuals
    assert max(one.sigma_s for one in after) < 0.8 * min(one.sigma_s for one in before)


def test_offsets_written_by_hand_are_taken_off_and_unknown_names_are_said(folder: Path) -> None:
    table, places, errors = (folder / name for name in ("times.csv", "receivers.csv", "hand.csv"))
    one = folder / "one.csv"
    one.write_text("\n".join(table.read_text().splitlines()[:7]) + "\n")
    before = heimdall.locate(one, places).events[0]
    name, other = before.receiver[:2]
    errors.write_text(f"receiver,offset_ns\n{name},400\nelsewhere,90\n")
    said: list[str] = []
    after = heimdall.locate(one, places, errors=errors, say=said.append).events[0]
    late_s = dict(zip(before.receiver, before.arrival_s - after.arrival_s, strict=True))
    assert (late_s[name], late_s[other]) == (pytest.approx(400e-9), 0)
    assert any("nobody knows the place of elsewhere" in line for line in said)
    errors.write_text("receiver,offset_ns\nelsewhere,90\n")
    with pytest.raises(HeimdallError, match=r"none of the receivers here, but of elsewhere\. Name the rec"):
        heimdall.locate(one, places, errors=errors)


def test_the_text_names_each_receiver(folder: Path) -> None:
    places = ["--receivers", str(folder / "receivers.csv")]
    result = CliRunner().invoke(receivers, [str(folder / "times.csv"), *places])
    assert all(f"R{k} " in result.stdout for k in range(8))
    assert "Measured in 60 events" in result.stdout


def test_three_receivers_of_a_known_transmitter_are_enough(tmp_path: Path) -> None:
    place, noise = (47.32, 8.40), generator(1, "noise")
    stands = [
        Position(47.3769, 8.5417, 640.0),
        Position(47.2266, 8.8184, 420.0),
        Position(47.166, 8.5155, 700.0),
    ]
    way_s = [line_of_sight_delay_s(Position(*place, 500.0), one) for one in stands]
    late_s = (0, 300e-9, 0)
    rows = [
        f"{number},R{k},{(way_s[k] + late_s[k] + noise.normal(0, 20e-9)) * 1e9:.2f}"
        for number in range(40)
        for k in range(3)
    ]
    table, places = tmp_path / "times.csv", tmp_path / "receivers.csv"
    table.write_text("\n".join(["event,receiver,time_ns", *rows, ""]))
    rows = [f"R{k},{one.latitude_deg},{one.longitude_deg},{one.altitude_m}" for k, one in enumerate(stands)]
    places.write_text("\n".join(["name,latitude,longitude,altitude_m", *rows, ""]))
    given = [str(table), "--receivers", str(places), "--frequency-mhz", "433"]
    result = CliRunner().invoke(receivers, [*given, "--transmitter", "47.32,8.40"])
    late = [line for line in result.stdout.splitlines() if line.startswith("Receiver ")]
    assert len(late) == 1
    assert re.fullmatch(r"Receiver R1 is (2[5-9]|3[0-4])\d ns late\.", late[0])
    # Without the place nothing is told, and what is advised works.
    assert "by --transmitter" in CliRunner().invoke(receivers, given).stdout
    refused = CliRunner().invoke(receivers, [*given, "--known"]).exception
    assert "no true position of a transmitter. Give --transmitter LAT,LON" in str(refused)
    wrong = CliRunner().invoke(receivers, [*given, "--transmitter", "147.32,8.40"])
    assert (wrong.exit_code, "out of range" in wrong.stderr) == (2, True)


def test_options_of_sessions_and_of_files_are_told_apart(folder: Path) -> None:
    for arguments, told in (
        ([str(folder / "times.csv"), "--data-dir", "data"], "--data-dir is for sessions: leave it out"),
        (["--known"], "--known is for files: leave it out"),
    ):
        result = CliRunner().invoke(receivers, arguments)
        assert (result.exit_code, told in result.stderr) == (2, True)
