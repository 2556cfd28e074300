"""benchmarks/real.py says of real data what anybody would compute, and gives no truth to what it judges."""

from __future__ import annotations

import csv
import importlib.util
import itertools
import json
import math
import re
import statistics
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from pyproj import Geod

import heimdall
from heimdall.multilateration.event import Position
from heimdall.multilateration.fix import Fix, Place, Region
from tests import REPOSITORY

SPEED_OF_LIGHT_M_S = 299_792_458.0
GEOD = Geod(ellps="WGS84")
RECEIVERS = {
    "r1": (48.00, 9.00, 400.0),
    "r2": (48.25, 9.40, 500.0),
    "r3": (48.30, 8.60, 600.0),
    "r4": (47.70, 8.70, 450.0),
    "r5": (47.75, 9.45, 550.0),
}
TRANSMITTER = (48.1, 9.1, 300.0)
MESSAGES = 12
RATE_HZ = 12_000
SECONDS = 2


@pytest.fixture(scope="module")
def real() -> ModuleType:
    sys.path.insert(0, str(REPOSITORY / "benchmarks"))
    spec = importlib.util.spec_from_file_location("real", REPOSITORY / "benchmarks" / "real.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules["real"] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    sys.path.pop(0)
    return module


def earth_centred_m(place: tuple[float, float, float]) -> np.ndarray:
    latitude, longitude = np.radians(place[:2])
    flattening = 1 / 298.257223563
    normal_m = 6378137.0 / math.sqrt(1 - flattening * (2 - flattening) * math.sin(latitude) ** 2)
    ring_m = (normal_m + place[2]) * math.cos(latitude)
    axis_m = (normal_m * (1 - flattening) ** 2 + place[2]) * math.sin(latitude)
    return np.array([ring_m * math.cos(longitude), ring_m * math.sin(longitude), axis_m])


def delays_s(transmitter: tuple[float, float, float]) -> np.ndarray:
    """To each receiver along a straight line."""
    rays = [earth_centred_m(place) - earth_centred_m(transmitter) for place in RECEIVERS.values()]
    return np.linalg.norm(rays, axis=1) / SPEED_OF_LIGHT_M_S


def write_receivers(folder: Path) -> None:
    rows = [f"{name},{a},{b},{c}" for name, (a, b, c) in RECEIVERS.items()]
    (folder / "receivers.csv").write_text("\n".join(["name,latitude_deg,longitude_deg,altitude_m", *rows]))


def write_arrivals(folder: Path, moved_deg: float = 0.0) -> None:
    """Messages of four aircraft, timed to 30 ns; `moved_deg` falsifies the latitude that a row says."""
    folder.mkdir()
    write_receivers(folder)
    random = np.random.default_rng(3)
    with (folder / "set_1.csv").open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(
            ["id", "timeAtServer", "aircraft", "latitude", "longitude", "geoAltitude", "measurements"]
        )
        for number in range(MESSAGES):
            place = (48 + 0.2 * random.normal(), 9 + 0.3 * random.normal(), random.uniform(3e3, 11e3))
            arrival_ns = 1e9 * (number + 1 + delays_s(place)) + random.normal(0, 30, len(RECEIVERS))
            measurements = [[name, round(time), 50] for name, time in zip(RECEIVERS, arrival_ns, strict=True)]
            said = (place[0] + moved_deg, *place[1:])
            table.writerow([7, number, f"aircraft {number % 4}", *said, json.dumps(measurements)])
    (folder / "set.yaml").write_text(
        "kind: arrivals\nfiles: 'set_*.csv'\nreceivers: receivers.csv\nfrequency_mhz: 1090\ntruth: rows\n"
        "yardstick_m: 57\nnewer_key: 1\n"
    )


def write_recordings(folder: Path) -> None:
    """Two seconds of noise from one transmitter, 20 dB above that of the receivers."""
    folder.mkdir()
    write_receivers(folder)
    random = np.random.default_rng(4)
    samples = RATE_HZ * SECONDS
    spectrum = random.normal(size=(samples, 2)) @ [1, 1j]
    frequency_hz = np.fft.fftfreq(samples, 1 / RATE_HZ)
    spectrum[np.abs(frequency_hz) > 4000] = 0
    for name, delay_s in zip(RECEIVERS, delays_s(TRANSMITTER), strict=True):
        carrier = np.exp(-2j * np.pi * (145.5e6 + frequency_hz) * delay_s)
        noise = 0.1 * random.normal(size=(samples, 2)) @ [1, 1j]
        heard = np.fft.ifft((spectrum * carrier + noise) * math.sqrt(samples) * 1e-3)
        np.save(folder / f"{name}.npy", heard.astype(np.complex64))
        start = {"start_gps_ns": 1_400_000_000_000_000_000, "timing_sigma_ns": 50, "receiver": name}
        sidecar = {"sample_rate_hz": RATE_HZ, "frequency_hz": 145.5e6, **start}
        (folder / f"{name}.json").write_text(json.dumps(sidecar))
    (folder / "set.yaml").write_text(
        "kind: iq\nfiles: '*.npy'\nreceivers: receivers.csv\nfrequency_mhz: 145.5\nyardstick_m: 500\n"
        f"truth: {{latitude_deg: {TRANSMITTER[0]}, longitude_deg: {TRANSMITTER[1]}}}\n"
    )


def encloses(ring: Sequence[tuple[float, float]], longitude_deg: float, latitude_deg: float) -> bool:
    """By the angles under which the position sees the edges: they add up to a whole turn, or to nothing."""
    around = np.array(ring) - (longitude_deg, latitude_deg)
    direction = around[:, 0] + 1j * around[:, 1]
    return bool(abs(np.angle(direction[1:] / direction[:-1]).sum()) > math.pi)


def figures_of(fixes: Sequence[Fix], truths: Sequence[tuple[float, float]]) -> dict[str, Any]:
    errors = [
        GEOD.inv(fix.places[0].longitude_deg, fix.places[0].latitude_deg, truth[1], truth[0])[2]
        for fix, truth in zip(fixes, truths, strict=True)
    ]
    inside = [
        [sum(encloses(ring, truth[1], truth[0]) for ring in region.rings) == 1 for region in fix.regions]
        for fix, truth in zip(fixes, truths, strict=True)
    ]
    return {
        "events": len(fixes),
        "median_m": statistics.median(errors),
        "claimed_m": statistics.median(math.sqrt(fix.places[0].covariance_m2.trace()) for fix in fixes),
        "inside_68": statistics.mean(map(float, (one[0] for one in inside))),
        "inside_95": statistics.mean(map(float, (one[1] for one in inside))),
        "flagged": statistics.mean(float(fix.flagged) for fix in fixes),
        "within_300m": statistics.mean(float(error <= 300) for error in errors),
    }


@pytest.fixture(scope="module")
def sets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("sets")
    write_arrivals(folder / "aircraft")
    write_arrivals(folder / "moved", moved_deg=0.1)
    write_recordings(folder / "station")
    (folder / "no-set").mkdir()
    return folder


@pytest.fixture(scope="module")
def printed(sets: Path) -> dict[str, dict[str, Any]]:
    """Lines of the benchmark by their set and what they are."""
    run = subprocess.run(
        [sys.executable, "benchmarks/real.py", str(sets), "--json"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    )
    document = json.loads(run.stdout)
    assert "aircraft: not understood in set.yaml and ignored: newer_key" in document["remarks"]
    return {f"{line['set']}: {line['what']}": line for line in document["lines"]}


def test_the_figures_of_recordings_are_those_of_the_public_call(
    sets: Path, printed: dict[str, dict[str, Any]]
) -> None:
    folder = sets / "station"
    answer = heimdall.locate(sorted(folder.glob("*.npy")), folder / "receivers.csv")
    expected = figures_of(answer.fixes, [TRANSMITTER[:2]] * SECONDS)
    del expected["within_300m"]
    line = printed["station: each second"]
    assert {key: line[key] for key in expected} == pytest.approx(expected)
    assert line["events"] == SECONDS
    assert line["median_m"] < 500
    together = printed["station: all together"]
    assert answer.together is not None
    assert together["median_m"] == pytest.approx(figures_of([answer.together], [TRANSMITTER[:2]])["median_m"])
    assert together["yardstick_m"] == 500


def test_the_figures_of_arrival_times_are_those_of_the_public_call(
    sets: Path, printed: dict[str, dict[str, Any]], tmp_path: Path
) -> None:
    with (sets / "aircraft" / "set_1.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    table = tmp_path / "times.csv"
    with table.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["id", "timeAtServer", "geoAltitude", "measurements"])
        for number, row in enumerate(rows):
            writer.writerow([number, row["timeAtServer"], row["geoAltitude"], row["measurements"]])
    answer = heimdall.locate([table], sets / "aircraft" / "receivers.csv")
    truths = [(float(row["latitude"]), float(row["longitude"])) for row in rows]
    expected = figures_of(answer.fixes, truths)
    line = printed["aircraft: altitude known"]
    assert {key: line[key] for key in expected} == pytest.approx(expected)
    assert line["median_m"] < 60
    assert line["yardstick_m"] == 57
    assert printed["aircraft: errors off, without it"]["events"] == MESSAGES


def test_what_locates_does_not_know_the_truth(printed: dict[str, dict[str, Any]]) -> None:
    for what in ("altitude known", "altitude unknown", "errors off, without it"):
        honest, moved = printed[f"aircraft: {what}"], printed[f"moved: {what}"]
        assert moved["claimed_m"] == honest["claimed_m"]
        assert moved["median_m"] == pytest.approx(11_120, rel=0.1)
        assert moved["inside_95"] == 0
        assert moved["within_300m"] == 0


def fix(east_deg: float, *, consistent: bool = True) -> Fix:
    """An answer at (0, east_deg) with square regions around it, of which the larger has a hole."""

    def square(half_deg: float) -> tuple[tuple[float, float], ...]:
        corners = [(-1, -1), (1, -1), (1, 1), (-1, 1), (-1, -1)]
        return tuple((east_deg + half_deg * x, half_deg * y) for x, y in corners)

    place = Place(0.0, east_deg, 0.0, 0.0, np.diag([9.0, 16.0]), 1.0)
    regions = (Region(0.68, (square(0.2),), 1.0), Region(0.95, (square(1.0), square(0.1)[::-1]), 1.0))
    return Fix("", "position", (place,), regions, (), consistent, ())


def test_errors_are_told_along_the_way_of_the_transmitter_and_across_it(real: ModuleType) -> None:
    eastwards = [
        real.Row(name, {}, time_s, "aircraft", Position(0.0, longitude_deg))
        for name, time_s, longitude_deg in [("a", 0.0, 0.0), ("b", 60.0, 0.1), ("c", 500.0, 1.0)]
    ]
    courses = real.real_sets.courses(eastwards)
    assert [one and one.azimuth_deg for one in courses] == [pytest.approx(90), pytest.approx(90), None]
    assert courses[0].speed_m_s == pytest.approx(11_132 / 60, rel=1e-3)
    ahead = real.judged(fix(0.001), "a", "a", Position(0.0, 0.0), courses[0])
    assert (ahead.along_m, ahead.across_m) == (pytest.approx(111.3, abs=0.1), pytest.approx(0, abs=0.1))
    assert ahead.covariance_m2 == (pytest.approx((9, 0)), pytest.approx((0, 16)))  # of 3 m east, 4 m north
    assert not ahead.is_straight  # only one side of time tells the course
    left = real.judged(fix(0.0), "a", "a", Position(-0.001, 0.0), courses[0])
    assert (left.along_m, left.across_m) == (pytest.approx(0, abs=0.1), pytest.approx(-110.6, abs=0.1))


def test_reports_are_moved_by_a_lateness_that_other_messages_of_their_aircraft_tell(real: ModuleType) -> None:
    random = np.random.default_rng(5)

    def flown(name: str, late_s: Sequence[float]) -> list[Any]:
        """Messages of an aircraft of 200 m/s, whose places are this late, with errors of 10 m."""
        away = random.normal(0, 10, (len(late_s), 2))
        return [
            real.Judged(
                "", name, 0.0, 14.0, (False, False), False, "position",
                200 * late + along, across, ((100.0, 0.0), (0.0, 100.0)), 200.0,
            )
            for late, (along, across) in zip(late_s, away, strict=True)
        ]  # fmt: skip

    steady = [one for n in range(100) for one in flown(f"{n}", [0.3 + 0.003 * n] * 8)]
    found = real.moved([*steady, *flown("too few", [9.0, 9.0])])
    assert len(found.error_m) == len(steady)
    assert np.median(found.late_s) == pytest.approx(0.45, abs=0.02)
    assert np.mean(found.inside, axis=0) == pytest.approx([0.68, 0.95], abs=0.05)
    # Who is late by a second in every other message is judged by what the others say: it is not taken off.
    jumping = real.moved(flown("jumps", [0.0, 1.0] * 20))
    assert min(jumping.error_m) > 100


def test_a_region_holds_what_is_inside_and_not_in_a_hole(real: ModuleType) -> None:
    found = {
        east: real.judged(fix(0.0), "a", "a", Position(0.01, east)).inside for east in (0.05, 0.15, 0.5, 1.5)
    }
    assert found == {0.05: (True, False), 0.15: (True, True), 0.5: (False, True), 1.5: (False, False)}


def test_the_shares_are_of_all_messages_also_of_those_without_an_answer(real: ModuleType) -> None:
    truth = Position(0.0, 0.001)  # 111 m east of 0
    nothing = Fix("", "nothing", (), (), (), True, ())
    answers = [fix(0.0), fix(1.0), fix(2.0, consistent=False), nothing]
    judged = tuple(real.judged(one, str(n), f"tx{n % 2}", truth) for n, one in enumerate(answers))
    found = real.Line("a", "b", "arrivals", judged, None, 1.0).figures()
    assert judged[0].error_m == pytest.approx(111.3, abs=0.1)
    assert found["claimed_m"] == 5.0
    assert found["within_300m"] == 0.25
    assert found["within_300m_or_flagged"] == 0.75  # the answer at 1 degree is wrong and does not say so
    assert (found["far"], found["far_flagged"], found["flagged"]) == (3, 2, 0.5)
    assert found["p90_m"] == math.inf
    assert real.row(real.Line("a", "b", "arrivals", judged, None, 1.0))["p90, m"] == "none"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: iq\nfiles: a.wav\n", "missing: receivers, truth"),
        ("kind: maps\nfiles: a\nreceivers: r.csv\ntruth: rows\n", "kind is 'maps'"),
        ("kind: iq\nfiles: '*.wav'\nreceivers: r.csv\ntruth: rows\n", "recordings have no rows"),
        ("kind: arrivals\nfiles: '*.wav'\nreceivers: r.csv\ntruth: rows\n", r"no file is called \*.wav"),
        ("kind: arrivals\nfiles: r.csv\nreceivers: x.csv\ntruth: rows\n", "there is no file x.csv"),
        ("kind: arrivals\nfiles: r.csv\nreceivers: r.csv\ntruth: {latitude_deg: 95}\n", "on earth"),
        ("kind: iq\nkind: iq\n", "kind stands twice"),
        ("- iq\n", "no mapping"),
    ],
)
def test_a_set_that_is_wrong_is_named_and_fails(
    real: ModuleType, tmp_path: Path, capsys: pytest.CaptureFixture[str], text: str, said: str
) -> None:
    (tmp_path / "r.csv").write_text("a,b\n1,2\n")
    (tmp_path / "set.yaml").write_text(text)
    lines, _, whole = real.judge(real.real_sets.folders(tmp_path))
    assert (lines, whole) == ([], False)
    message = capsys.readouterr().err
    assert str(tmp_path / "set.yaml") in message
    assert re.search(said, message)


def test_a_directory_without_sets_fails(tmp_path: Path) -> None:
    run = subprocess.run(
        [sys.executable, "benchmarks/real.py", str(tmp_path)],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 1
    assert "no folder of it has a set.yaml" in run.stderr


def table_after(page: str, heading: str) -> list[list[str]]:
    """The cells of the first table of a page whose columns begin so."""
    lines = (REPOSITORY / page).read_text(encoding="utf-8").split("\n")
    first = next(number for number, line in enumerate(lines) if line.startswith(heading))
    rows = itertools.takewhile(lambda line: line.startswith("|"), lines[first:])
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in rows]


def test_the_readme_and_the_page_have_one_table(real: ModuleType) -> None:
    page = table_after("docs/real.md", "| set | what | events |")
    columns = [page[0].index(heading) for heading in real.SHORT]
    assert table_after("README.md", "| set | what | events |") == [[row[k] for k in columns] for row in page]
    readme = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    assert readme.index("| set | what | events |") < readme.index("simulated")


def test_the_table_of_the_page_on_locating_is_located_as_it_says(tmp_path: Path) -> None:
    page = (REPOSITORY / "docs" / "locate.md").read_text(encoding="utf-8")
    for name in ("receivers.csv", "times.csv"):
        block = page.partition(f"`{name}`:\n\n```text\n")[2].partition("```")[0]
        (tmp_path / name).write_text(block)
    answer = heimdall.locate([tmp_path / "times.csv"], tmp_path / "receivers.csv", frequency_mhz=433.92)
    assert answer.main is not None
    said = re.search(
        r"times.csv: 5 receivers.*?\n\nThe transmitter is at ([\d.]+), ([\d.]+)", page, re.DOTALL
    )
    assert said is not None
    place = answer.main.places[0]
    for there in ((float(said[1]), float(said[2])), (47.32, 8.4)):
        assert GEOD.inv(place.longitude_deg, place.latitude_deg, there[1], there[0])[2] < 50
    assert [one.receiver for one in answer.main.residuals if not one.used] == ["mill"]
