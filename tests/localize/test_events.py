"""Recordings of several receivers become events: the seconds, and what each receiver has of them."""

from __future__ import annotations

import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.formats import receivers_file
from heimdall.formats.gps_time import Moment
from heimdall.formats.reader import Hints
from heimdall.localize import events
from heimdall.localize.events import Cut, Stretch
from heimdall.multilateration.event import Event
from tests.localize import recorded_files as files
from tests.localize.recorded_files import PLACES, RATE_HZ, START, START_GPS_NS

THREE = ("north", "east pier", "SOUTH")


def quiet(line: str) -> None:
    """Nobody is told."""


def stretches(folder: Path, paths: dict[str, Path], hints: Hints | None = None) -> list[Stretch]:
    known = {site.name: site for site in receivers_file.read(files.write_receivers(folder))}
    return events.stretches({path: known[name] for name, path in paths.items()}, hints or Hints(), quiet)


def cuts(folder: Path, begin_s: dict[str, float], duration_s: dict[str, float] | float) -> list[Cut]:
    """Of recordings that begin so long after START."""
    paths = {}
    for name, begin in begin_s.items():
        length = duration_s if isinstance(duration_s, float) else duration_s[name]
        iq = files.samples(begin, length, [name])[name]
        paths[name] = files.write_npy(folder, name, iq, files.later_ns(begin))
    return events.cuts(stretches(folder, paths), quiet)


def heard(cut: Cut) -> dict[str, int]:
    """How many samples each receiver has."""
    return {stretch.site.name: part.end - part.first for stretch, part in cut.parts}


def measured(cut: Cut) -> Event:
    return events.event(cut, 145.5e6, START_GPS_NS)


def test_events_are_the_whole_gps_seconds_of_two_receivers(tmp_path: Path) -> None:
    found = cuts(tmp_path, {"north": 0.4, "east pier": 1.0, "SOUTH": 1.7}, 2.2)
    assert [cut.name for cut in found] == ["2026-01-09T12:00:01Z", "2026-01-09T12:00:02Z"]
    # North ends at 2.6 s, and has more than half of the last second; the south begins at 1.7 s.
    assert heard(found[0]) == {"SOUTH": round(0.3 * RATE_HZ), "east pier": RATE_HZ, "north": RATE_HZ}
    assert heard(found[1]) == {"SOUTH": RATE_HZ, "east pier": RATE_HZ, "north": round(0.6 * RATE_HZ)}
    two = measured(found[1])
    assert (two.time_s, two.name, two.frequency_hz) == (2.0, found[1].name, 145.5e6)
    assert two.heard.all()


def test_arrival_times_are_those_of_the_geometry(tmp_path: Path) -> None:
    (cut,) = cuts(tmp_path, dict.fromkeys(PLACES, 0.0), 1.0)
    event = measured(cut)
    expected_s = np.array([files.delay_s(name) for name in event.receiver])
    error_s = (event.arrival_s - event.arrival_s.mean()) - (expected_s - expected_s.mean())
    assert (np.abs(error_s) < 5 * event.sigma_s).all()
    assert (event.sigma_s > files.SIGMA_NS * 1e-9).all(), "noise adds to the clock"
    assert (event.sigma_s < 2e-6).all()


@pytest.mark.parametrize("duration_s", [0.5, 0.9])
def test_recordings_without_a_common_whole_second_are_used(duration_s: float, tmp_path: Path) -> None:
    (cut,) = cuts(tmp_path, {"north": 0.8, "east pier": 0.9, "SOUTH": 0.7}, duration_s)
    assert heard(cut).keys() == {"north", "east pier", "SOUTH"}
    assert cut.name == "2026-01-09T12:00:00.900Z"
    shortest = round((duration_s - 0.2) * RATE_HZ)
    assert all(abs(count - shortest) <= 1 for count in heard(cut).values())
    assert np.isfinite(measured(cut).arrival_s).all()


def test_recordings_without_time_in_common_are_refused_with_their_beginnings(tmp_path: Path) -> None:
    with pytest.raises(
        HeimdallError, match=r"no two receivers have 0\.2 s in common; they begin at: .*12:00:07"
    ):
        cuts(tmp_path, {"north": 0.0, "SOUTH": 7.0}, 1.0)


def test_a_stamp_a_second_wrong_leaves_a_receiver_out_and_is_said(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    paths = {name: files.write_npy(tmp_path, name, iq[name]) for name in PLACES}
    files.write_npy(tmp_path, "west", iq["west"], files.later_ns(1.0))
    (cut,) = events.cuts(stretches(tmp_path, paths), quiet)
    event = measured(cut)
    assert event.receiver == ("SOUTH", "east pier", "north")
    assert event.remarks == ("west: its recording has no time in common with the others",)


def test_one_receiver_has_its_own_seconds(tmp_path: Path) -> None:
    found = cuts(tmp_path, {"north": 0.0}, 2.0)
    assert [heard(cut) for cut in found] == [{"north": RATE_HZ}] * 2
    assert measured(found[0]).receiver == ("north",)


def test_of_two_files_for_a_second_the_one_with_the_better_time_is_used(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    good = files.write_npy(tmp_path, "north", iq["north"])
    (tmp_path / "other").mkdir()
    untimed = files.write_npy(tmp_path / "other", "north", iq["north"], None)
    south = files.write_npy(tmp_path, "SOUTH", iq["SOUTH"])
    known = {site.name: site for site in receivers_file.read(files.write_receivers(tmp_path))}
    for order in ((good, untimed), (untimed, good)):
        assigned = dict.fromkeys(order, known["north"]) | {south: known["SOUTH"]}
        (cut,) = events.cuts(events.stretches(assigned, Hints(), quiet), quiet)
        assert {stretch.file for stretch, _ in cut.parts} == {good, south}


def test_a_recording_without_gps_time_has_a_level_and_no_time(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    paths = {name: files.write_npy(tmp_path, name, iq[name]) for name in ("north", "SOUTH")}
    paths["west"] = files.write_npy(tmp_path, "west", iq["west"], None)
    said: list[str] = []
    known = {site.name: site for site in receivers_file.read(files.write_receivers(tmp_path))}
    given = events.stretches({path: known[name] for name, path in paths.items()}, Hints(), said.append)
    assert said[-1].startswith("west: levels alone, without arrival times. The column timing_sigma_ns of the")
    (cut,) = events.cuts(given, quiet)
    event = measured(cut)
    row = event.receiver.index("west")
    np.testing.assert_array_equal(np.isnan(event.arrival_s), [name == "west" for name in event.receiver])
    assert event.heard[row]
    assert event.level_db[row] == pytest.approx(event.level_db[event.receiver.index("SOUTH")], abs=1.0)
    assert any(remark.startswith("west: ") for remark in event.remarks)


def test_recordings_of_no_known_time_have_levels_and_no_date(tmp_path: Path) -> None:
    iq = files.samples(0.0, 2.0)
    found = events.cuts(
        stretches(tmp_path, {name: files.write_npy(tmp_path, name, iq[name], None) for name in THREE}), quiet
    )
    assert [cut.name for cut in found] == ["second 1", "second 2"]
    event = measured(found[0])
    assert np.isnan(event.arrival_s).all()
    assert event.heard.all()


def test_the_users_word_puts_a_raw_file_on_gps_time(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    paths = {name: files.write_cu8(tmp_path, name, iq[name]) for name in PLACES}
    clocks = files.write_receivers(tmp_path, dict.fromkeys(PLACES, 80.0))
    known = {site.name: site for site in receivers_file.read(clocks)}
    hints = Hints(start=Moment.parse(START), sample_rate_hz=RATE_HZ)
    given = events.stretches({path: known[name] for name, path in paths.items()}, hints, quiet)
    (cut,) = events.cuts(given, quiet)
    assert np.isfinite(measured(cut).arrival_s).all()


def test_a_file_under_two_names_gives_no_time(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    iq["SOUTH"] = iq["north"]
    paths = {name: files.write_npy(tmp_path, name, iq[name]) for name in PLACES}
    (cut,) = events.cuts(stretches(tmp_path, paths), quiet)
    event = measured(cut)
    copied = [name in ("north", "SOUTH") for name in event.receiver]
    np.testing.assert_array_equal(np.isnan(event.arrival_s), copied)
    np.testing.assert_array_equal(np.isnan(event.level_db), copied)
    assert event.remarks[-1].startswith("SOUTH and north have the same samples, so neither time nor level")


def test_files_that_begin_muted_alike_keep_their_times(tmp_path: Path) -> None:
    paths = {}
    for name, iq in files.samples(0.0, 1.0).items():
        iq[:6000] = 0.0
        paths[name] = files.write_npy(tmp_path, name, iq)
    (cut,) = events.cuts(stretches(tmp_path, paths), quiet)
    assert np.isfinite(measured(cut).arrival_s).all()


def test_a_stuck_receiver_is_none_however_it_is_tuned(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    for name in ("SOUTH", "west"):
        iq[name][:] = 0.5 + 0.01 * (np.arange(RATE_HZ) % 2) + 0.01j * (np.arange(RATE_HZ) // 2 % 2)
    paths = {name: files.write_npy(tmp_path, name, iq[name]) for name in PLACES}
    event = events.event(events.cuts(stretches(tmp_path, paths), quiet)[0], 145.5e6 - 1500, START_GPS_NS)
    stuck = [name in ("SOUTH", "west") for name in event.receiver]
    np.testing.assert_array_equal(np.isnan(event.arrival_s), stuck)
    np.testing.assert_array_equal(np.isnan(event.level_db), stuck)
    assert all(
        f"{name}: its samples repeat one value" in " ".join(event.remarks) for name in ("SOUTH", "west")
    )


def test_files_at_several_frequencies_need_the_users_word(tmp_path: Path) -> None:
    iq = files.samples(0.0, 1.0)
    paths = {name: files.write_npy(tmp_path, name, iq[name]) for name in THREE}
    other = paths["SOUTH"].with_suffix(".json")
    other.write_text(other.read_text().replace("145500000", "7100000"))
    given = stretches(tmp_path, paths)
    with pytest.raises(HeimdallError, match=r"the files say 7\.1, 145\.5 MHz\. Give --frequency-mhz"):
        events.at_frequency(given, None, quiet)
    kept, frequency_hz = events.at_frequency(given, 145.5e6, quiet)
    assert ({one.site.name for one in kept}, frequency_hz) == ({"north", "east pier"}, 145.5e6)


def test_memory_holds_one_second_of_all_receivers(tmp_path: Path) -> None:
    """Not all files: 60 s of seven receivers at 2.4 MHz are 8 GB."""
    iq = files.samples(0.0, 20.0, ["north"])["north"]
    paths = {name: files.write_npy(tmp_path, name, iq) for name in PLACES}
    tracemalloc.start()
    given = stretches(tmp_path, paths)
    kept, _ = tracemalloc.get_traced_memory()
    first, *_ = events.cuts(given, quiet)
    tracemalloc.reset_peak()
    events.recordings(first, 145.5e6)
    _, second = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 0.1 * iq.nbytes
    assert second < 0.5 * iq.nbytes


@pytest.mark.parametrize("timed", [True, False])
def test_noise_is_not_heard_with_or_without_gps_time(timed: bool, tmp_path: Path) -> None:
    paths = {}
    for seed, name in enumerate(PLACES):
        random = np.random.default_rng(seed)
        noise = (random.normal(size=(RATE_HZ, 2)) @ [0.02, 0.02j]).astype(np.complex64)
        paths[name] = files.write_npy(tmp_path, name, noise, START_GPS_NS if timed else None)
    (cut,) = events.cuts(stretches(tmp_path, paths), quiet)
    event = measured(cut)
    assert not event.heard.any()
    assert np.isnan(event.arrival_s).all()


def test_receivers_may_be_tuned_beside_the_transmitter_each_elsewhere(tmp_path: Path) -> None:
    """As who keeps the signal off the spur in the middle of the band."""
    iq = files.samples(0.0, 1.0)
    paths = {}
    for name, off_hz in zip(PLACES, (0, 1500, -2250, 3000), strict=True):
        turned = iq[name] * np.exp(-2j * np.pi * off_hz * np.arange(RATE_HZ) / RATE_HZ)
        paths[name] = files.write_npy(tmp_path, name, turned.astype(np.complex64))
        beside = paths[name].with_suffix(".json")
        beside.write_text(beside.read_text().replace("145500000", str(145_500_000 + off_hz)))
    given, frequency_hz = events.at_frequency(stretches(tmp_path, paths), 145.5e6, quiet)
    (cut,) = events.cuts(given, quiet)
    event = events.event(cut, frequency_hz, START_GPS_NS)
    expected_s = np.array([files.delay_s(name) for name in event.receiver])
    error_s = (event.arrival_s - event.arrival_s.mean()) - (expected_s - expected_s.mean())
    assert (np.abs(error_s) < 5 * event.sigma_s).all()
    assert (event.sigma_s < 2e-6).all()


def test_carriers_count_where_gps_disciplines_the_clock_by_its_owners_word(tmp_path: Path) -> None:
    """Time stamps in a file are good without that: a KiwiSDR's tuning follows another clock."""
    iq = files.samples(0.0, 1.0)
    paths = {name: files.write_sigmf(tmp_path, name, iq[name]) for name in ("north", "east pier", "west")}
    paths["SOUTH"] = files.write_npy(tmp_path, "SOUTH", iq["SOUTH"])
    clocks = files.write_receivers(tmp_path, dict.fromkeys(PLACES, 80.0))
    known = {site.name: site for site in receivers_file.read(clocks)}
    given = events.stretches({path: known[name] for name, path in paths.items()}, Hints(), quiet)
    (cut,) = events.cuts(given, quiet)
    event = measured(cut)
    assert np.isfinite(event.arrival_s).all()
    locked = [name != "SOUTH" for name in event.receiver]
    np.testing.assert_array_equal(np.isfinite(event.offset_hz), locked)
    assert (event.offset_sigma_hz[locked] > 80e-9 * 145.5e6 * 0.9).all()
