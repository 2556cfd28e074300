"""Tables of arrival times, in every form in which people have them, are the same events."""

from __future__ import annotations

import datetime as dt
import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.formats import receivers_file
from heimdall.formats.receivers_file import Site
from heimdall.localize import arrival_table
from heimdall.localize.arrival_table import Table
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.solver import USUAL_SIGMA_S

SITES = (
    Site("NORTH", 53.6, 7.2, 5.0),
    Site("south pier", 45.7, 0.6, 200.0, timing_sigma_ns=30.0),
    Site("WEST", 47.1, 8.4, 450.0),
)
LATE_NS = [1_768_000_000_000_000_017, 1_768_000_000_001_234_530, 1_768_000_000_000_900_121]
LATE_S = np.array([0.0, 1_234_513, 900_104]) * 1e-9  # after NORTH's


def table(folder: Path, text: str, unit: str | None = None) -> Table:
    path = folder / "times.csv"
    path.write_bytes(text.encode())
    assert arrival_table.is_table(path)
    return arrival_table.read(path, SITES, unit)


def late_s(found: Table) -> np.ndarray:
    """Of the only event, after NORTH's time."""
    (event,) = found.events
    return event.arrival_s - event.arrival_s[event.receiver.index("NORTH")]


LONG = "receiver,time_ns,sigma_us,level_db\nNORTH,{},0.1,-50\nsouth pier,{},,-60\nWEST,{},0.2,-70\n"
FORMS = {
    "long": LONG,
    "a mark of the encoding, comments and capitals": "\ufeff# made by hand\n\nStation;Time (ns)\n"
    "north;{}\n# a comment\nSouth Pier;{}\nWest;{}\n",
    "tabs, and numbers of a spreadsheet": "sensor\tTOA_ns\nNORTH\t{}.0\nsouth pier\t{}.00\nWEST\t{}\n",
    "wide": "name,time_s,NORTH_ns,south pier_ns,WEST_ns\n1,12.5,{},{},{}\n",
    "messages": 'id,measurements\n1,"[[""NORTH"", {}, -50], [""south pier"", {}, 3], [""WEST"", {}]]"\n',
}


@pytest.mark.parametrize("form", FORMS.values(), ids=FORMS)
def test_no_digit_of_nanoseconds_since_1970_is_lost(form: str, tmp_path: Path) -> None:
    found = table(tmp_path, form.format(*LATE_NS))
    np.testing.assert_allclose(late_s(found), LATE_S, atol=1e-15)
    assert found.events[0].receiver == ("NORTH", "south pier", "WEST")
    assert found.events[0].heard.all()
    np.testing.assert_array_equal(found.events[0].altitude_m, [5, 200, 450])


@pytest.mark.parametrize(
    ("unit", "times", "step_s"),
    [
        ("s", [repr(one / 1e9) for one in LATE_NS], 2**-22),
        ("ns", [repr(float(one)) for one in LATE_NS], 2**-22),
        ("us", ["1768000000000000", "1768000000001234", "1768000000000900"], 1e-6),
        ("s", ["0.0000000", "0.0012345", "0.0009001"], 1e-7),
        ("s", ["0", "0.0012345130", "0.0009001040"], 0.0),
    ],
)
def test_times_that_lost_digits_are_as_uncertain_as_their_step(
    unit: str, times: list[str], step_s: float, tmp_path: Path
) -> None:
    lines = [f"{site.name},{time},30" for site, time in zip(SITES, times, strict=True)]
    (event,) = table(tmp_path, "\n".join([f"receiver,time_{unit},sigma_ns", *lines])).events
    np.testing.assert_allclose(event.sigma_s, np.hypot(30e-9, step_s / 12**0.5), rtol=1e-6)
    assert any("in steps of" in one for one in event.remarks) == (step_s > 0)
    assert any("subtract the common second" in one for one in event.remarks) == (times[0][0] == "1")


def test_times_of_iso_8601_keep_their_nanoseconds(tmp_path: Path) -> None:
    rows = "receiver,time\nNORTH,2026-01-09T23:06:40.000000017Z\n"
    rows += "south pier,2026-01-09T23:06:40.001234530Z\nWEST,2026-01-10T00:06:40.000900121+01:00\n"
    found = table(tmp_path, rows)
    np.testing.assert_allclose(late_s(found), LATE_S, atol=1e-15)
    assert found.origin_utc == dt.datetime(2026, 1, 9, 23, 6, 40, tzinfo=dt.UTC)


@pytest.mark.parametrize(
    ("header", "times", "step_s"),
    [
        ("time", [f"2026-01-09T23:06:40{end}Z" for end in ("", ".001234", ".000900")], 1e-6),
        ("time", [f"2026-01-09T23:06:40.{end}+01:00" for end in ("000", "123", "900")], 1e-3),
        ("time", [f"2026-01-09T23:06:40,{end}Z" for end in ("0000001", "0012345", "0009000")], 1e-7),
        ("time", [f"2026-01-09T23:06:{end}Z" for end in (40, 41, 50)], 1.0),
        ("time", [f"2026-01-09T23:06:40.{end}Z" for end in ("000000017", "001234530", "000900000")], 0.0),
    ],
)
def test_a_sigma_has_the_step_of_the_digits_that_were_written(
    header: str, times: list[str], step_s: float, tmp_path: Path
) -> None:
    lines = [f'{site.name},"{time}",30' for site, time in zip(SITES, times, strict=True)]
    (event,) = table(tmp_path, "\n".join([f"receiver,{header},sigma_ns", *lines])).events
    np.testing.assert_allclose(event.sigma_s, np.hypot(30e-9, step_s / 12**0.5), rtol=1e-6)
    assert any(f"in steps of {step_s * 1e9:.0f} ns" in one for one in event.remarks) == (step_s > 0)


@pytest.mark.parametrize(("digits", "step_s"), [(0, 1.0), (3, 1e-3), (6, 1e-6)])
def test_a_coarse_step_states_a_sigma_where_nothing_else_does(
    digits: int, step_s: float, tmp_path: Path
) -> None:
    ends = [f".{late}"[: digits + 1] if digits else "" for late in ("000000", "001234", "000900")]
    lines = [f"{site.name},2026-01-09T23:06:40{end}Z" for site, end in zip(SITES, ends, strict=True)]
    (event,) = table(tmp_path, "\n".join(["receiver,time", *lines])).events
    other_s = [USUAL_SIGMA_S, 30e-9, USUAL_SIGMA_S]
    np.testing.assert_allclose(event.sigma_s, np.hypot(other_s, step_s / 12**0.5), rtol=1e-6)
    assert event.remarks == (
        f"the times are written in steps of {step_s * 1e9:.0f} ns, which their sigma has, "
        "beside 150 ns where nothing states one",
    )


def test_a_fine_step_states_no_sigma(tmp_path: Path) -> None:
    (event,) = table(tmp_path, "receiver,time_s\nNORTH,0.0000001\nWEST,0.0009001\n").events
    assert np.isnan(event.sigma_s).all()
    assert event.remarks == ()
    rows = "receiver,time_s\nNORTH,0.0000001\nsouth pier,0.0009001\n"
    (event,) = table(tmp_path, rows).events
    np.testing.assert_allclose(event.sigma_s, [np.nan, np.hypot(30e-9, 1e-7 / 12**0.5)])
    assert event.remarks == (
        "the times are written in steps of 100 ns, which their sigma has where one is stated",
    )


@pytest.mark.parametrize(
    ("header", "time", "step_s"),
    [
        ("time", "2026-01-09T23:06:40.{:06d}000Z", 1e-6),
        ("time_ns", "1768000000{:06d}000", 1e-6),
        ("time_ns", "1768000000{:06d}001", 0.0),
    ],
)
def test_zeros_at_the_end_of_all_times_are_no_digits(
    header: str, time: str, step_s: float, tmp_path: Path
) -> None:
    random = np.random.default_rng(1)
    lines = [
        f"{event},{site.name},{time.format(random.integers(10**6))},30"
        for event in range(3)
        for site in SITES
    ]
    for event in table(tmp_path, "\n".join([f"event,receiver,{header},sigma_ns", *lines])).events:
        np.testing.assert_allclose(event.sigma_s, np.hypot(30e-9, step_s / 12**0.5), rtol=1e-6)


def test_units_come_from_the_column_or_from_the_user(tmp_path: Path) -> None:
    for header, unit in (("time_us", None), ("arrival", "us"), ("time of arrival [us]", None)):
        rows = f"{header};receiver\n0,25;NORTH\n1234,75;south pier\n-900;WEST\n"
        np.testing.assert_allclose(
            late_s(table(tmp_path, rows, unit)), np.array([0, 1234.5, -900.25]) * 1e-6, atol=1e-15
        )
    with pytest.raises(HeimdallError, match=r"line 2: nothing says the unit of arrival\. .*--unit"):
        table(tmp_path, "arrival,receiver\n0,NORTH\n1,WEST\n")


def test_sigma_is_that_of_the_table_or_of_the_receivers_clock(tmp_path: Path) -> None:
    (event,) = table(tmp_path, LONG.format(*LATE_NS)).events
    np.testing.assert_allclose(event.sigma_s, [0.1e-6, 30e-9, 0.2e-6])
    np.testing.assert_array_equal(event.level_db, [-50, -60, -70])
    (event,) = table(tmp_path, "receiver,time_ns\nNORTH,1\nWEST,2\n").events
    assert np.isnan(event.sigma_s).all(), "what nobody says is found from the residuals"


def test_rows_of_several_events_are_told_by_their_column(tmp_path: Path) -> None:
    rows = "message,receiver,time_s,frequency_khz,transmitter\n"
    rows += "a,NORTH,10,7100,x\nb,NORTH,12,7100,y\na,WEST,10.001,7100,x\nb,WEST,12.002,,y\n"
    a, b = table(tmp_path, rows).events
    assert (a.name, b.name, a.transmitter, b.transmitter) == ("a", "b", "x", "y")
    assert a.arrival_s[1] - a.arrival_s[0] == pytest.approx(1e-3)
    assert (b.time_s - a.time_s, a.frequency_hz) == (2.0, 7.1e6)
    with pytest.raises(HeimdallError, match=r"4 rows of 2 receivers.*Add a column event"):
        table(tmp_path, rows.replace("message", "comment"))


def test_an_aircrafts_own_message_is_truth_and_altitude(tmp_path: Path) -> None:
    header = (
        "id,timeAtServer,aircraft,latitude,longitude,baroAltitude,geoAltitude,numMeasurements,measurements\n"
    )
    rows = '7,1.5,401,48.5,9.25,10050,9875.5,2,"[[""NORTH"",25780127406,75],[""WEST"",25780556062,46]]"\n'
    rows += '8,2.5,401,nan,,10050,,2,"[[""NORTH"",25780127406,75],[""WEST"",25780556062,46]]"\n'
    one, other = table(tmp_path, header + rows).events
    assert one.truth == Position(48.5, 9.25, 9875.5)
    assert (one.altitude_known_m, one.name, one.transmitter, one.frequency_hz) == (9875.5, "7", "401", 1090e6)
    assert (one.time_s, other.time_s, other.truth, other.altitude_known_m) == (0.0, 1.0, None, None)
    assert one.arrival_s[1] - one.arrival_s[0] == pytest.approx(428_656e-9, abs=1e-15)


def test_a_wrong_stamp_costs_the_others_no_digits(tmp_path: Path) -> None:
    """Were it the origin, a float would have microseconds left for the others."""
    rows = LONG.format(*LATE_NS) + "north mast,0,,\n"
    sites = (*SITES, Site("north mast", 53.7, 7.2, 5.0))
    path = tmp_path / "times.csv"
    path.write_text(rows)
    (event,) = arrival_table.read(path, sites).events
    np.testing.assert_allclose(event.arrival_s[:3] - event.arrival_s[0], LATE_S, atol=1e-14)
    assert event.arrival_s[3] < -1e9


def test_what_cannot_be_used_is_said_and_the_rest_is_used(tmp_path: Path) -> None:
    rows = "event,receiver,time_ns\n1,NORTH,5\n1,south pier,nan\n1,WEST,\n1,EAST,7\n"
    rows += "2,NORTH,3\n2,NORTH,9\n2,WEST,1\n"
    found = table(tmp_path, rows)
    one, two = found.events
    assert one.receiver == ("NORTH", "south pier", "WEST")
    np.testing.assert_array_equal(np.isfinite(one.arrival_s), [True, False, False])
    assert one.remarks == ("no place is given of EAST",)
    np.testing.assert_array_equal(np.isfinite(two.arrival_s), [False, True])
    assert two.remarks == ("NORTH has several times in one event, of which none is used",)
    assert found.remarks == ("receivers without a place, which are left out: EAST",)


def test_differences_of_two_receivers_are_times(tmp_path: Path) -> None:
    rows = "receiver_a,receiver_b,tdoa_us,sigma_us\nsouth pier,NORTH,1234.5,0.2\nWEST,NORTH,-900.25,0.2\n"
    found = table(tmp_path, rows)
    np.testing.assert_allclose(
        late_s(found)[[found.events[0].receiver.index(one.name) for one in SITES]],
        np.array([0, 1234.5, -900.25]) * 1e-6,
        atol=1e-14,
    )
    np.testing.assert_allclose(found.events[0].sigma_s, 0.2e-6 / 2**0.5)


def test_the_error_of_one_receiver_is_that_of_no_other_whose_times_are_compared_with_it(
    tmp_path: Path,
) -> None:
    rows = "receiver_a,receiver_b,tdoa_ns,sigma_ns\n"
    for pairs in (
        "south pier,NORTH,1234500,50\nWEST,NORTH,-900250,3000\n",
        "NORTH,WEST,900250,3000\nsouth pier,NORTH,1234500,50\nWEST,south pier,-2134750,3000\n",
    ):
        (event,) = table(tmp_path, rows + pairs).events
        sigma_ns = dict(zip(event.receiver, event.sigma_s * 1e9, strict=True))
        assert sigma_ns["NORTH"] == pytest.approx(50 / 2**0.5)
        assert sigma_ns["south pier"] == pytest.approx(50 / 2**0.5)
        assert sigma_ns["WEST"] == pytest.approx(3000, rel=1e-3)
        np.testing.assert_allclose(
            late_s(table(tmp_path, rows + pairs))[[event.receiver.index("south pier")]], 1234.5e-6
        )


@pytest.mark.parametrize("sigma", ["30", ""])
def test_differences_of_which_any_may_be_wrong_are_as_unsure_as_they_contradict(
    sigma: str, tmp_path: Path
) -> None:
    rows = f"receiver_a,receiver_b,tdoa_ns,sigma_ns\nNORTH,WEST,900250,{sigma}\n"
    rows += f"south pier,NORTH,1234500,{sigma}\nWEST,south pier,-2034750,{sigma}\n"
    (event,) = table(tmp_path, rows).events
    assert (event.sigma_s > 30e-6).all()


FOUR = (*SITES, Site("EAST", 50.0, 15.0, 100.0))
TIME_NS = {"NORTH": 0, "south pier": 1_234_500, "WEST": -900_250, "EAST": 420_700}


def differences(folder: Path, error_ns: Sequence[float], sigma: Sequence[str]) -> Event:
    """Of four receivers, each from each."""
    lines = [
        f"{a},{b},{TIME_NS[a] - TIME_NS[b] + error},{stated}"
        for (a, b), error, stated in zip(itertools.combinations(TIME_NS, 2), error_ns, sigma, strict=True)
    ]
    path = folder / "times.csv"
    path.write_text("\n".join(["receiver_a,receiver_b,tdoa_ns,sigma_ns", *lines]))
    (event,) = arrival_table.read(path, FOUR).events
    return event


@pytest.mark.parametrize("sigma", [["30"] * 6, [""] * 6, ["30", "", "30", "30", "30", "30"]])
def test_a_difference_that_contradicts_the_others_is_left_out(sigma: list[str], tmp_path: Path) -> None:
    event = differences(tmp_path, [0, 1e5, 0, 0, 0, 0], sigma)
    found = event.arrival_s - event.arrival_s[event.receiver.index("NORTH")]
    np.testing.assert_allclose(found * 1e9, [TIME_NS[name] for name in event.receiver], atol=1e-3)
    assert not (event.sigma_s > 31e-9).any(), "what contradicts no more widens nothing"


def test_of_differences_that_all_contradict_each_other_none_is_left_out(tmp_path: Path) -> None:
    error_ns = [20e3, -15e3, 9e3, 17e3, -21e3, 12e3]
    event = differences(tmp_path, error_ns, [""] * 6)
    mean_ns = {  # of four receivers' differences from each to each, least squares are the means of each
        name: sum(
            (error if name == a else -error) / 4
            for (a, b), error in zip(itertools.combinations(TIME_NS, 2), error_ns, strict=True)
            if name in (a, b)
        )
        for name in TIME_NS
    }
    found_ns = event.arrival_s * 1e9 - [TIME_NS[name] + mean_ns[name] for name in event.receiver]
    np.testing.assert_allclose(found_ns, found_ns[0], atol=1e-3)
    assert (event.sigma_s > 10e-6).all()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a,b\n1,2\n", r"times\.csv, line 1: no arrival times of known receivers in its columns \(a, b\)"),
        (
            "receiver,time_ns\nEAST,1\nFAR,2\n",
            r"none of its receivers \(EAST, FAR\) is in the receivers file",
        ),
        ("receiver,time_ns\nNORTH,12x\n", r"line 2: time_ns is '12x', which is no number"),
        ("receiver,time_ns\nNORTH,1,2\n", "line 2: 3 columns instead of 2"),
        ("# one\nreceiver,time_ns\n# two\nNORTH,1\n,2\n", r"line 5: no receiver\. Fill the column receiver"),
        ("receiver,time_ns\n", "no arrival time in it"),
        (
            "receiver,time\nNORTH,2026-13-01T00:00:00Z\n",
            "line 2: time is '2026-13-01T00:00:00Z', which is no time",
        ),
        ("receiver,time_ns,sigma_ns\nNORTH,1,-5\n", "line 2: a standard deviation of -5"),
        ("receiver,time_ns,Time [ns]\nNORTH,1,5\n", "line 1: two columns"),
        (
            'id,measurements\n1,"[[""NORTH"", 1"\n',
            "line 2: its measurements are no list of receivers and times",
        ),
    ],
)
def test_what_is_wrong_is_said_in_one_line(text: str, told: str, tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=told) as caught:
        table(tmp_path, text)
    assert "\n" not in str(caught.value)


def test_a_file_of_samples_is_no_table(tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    for name, content in (
        ("a.cu8", random.integers(90, 160, 9000).astype(np.uint8).tobytes()),
        ("silence.cu8", bytes([127]) * 9000),
        ("b.cs16", bytes(9000)),
        ("c.sigmf-meta", b'{"global": {"core:datatype": "cf32_le"}, "captures": []}'),
    ):
        (tmp_path / name).write_bytes(content)
        assert not arrival_table.is_table(tmp_path / name)
    assert not arrival_table.is_table(tmp_path / "none.csv")


def test_sensors_of_locards_are_receivers(tmp_path: Path) -> None:
    path = tmp_path / "sensors.csv"
    path.write_text("serial,latitude,longitude,height,type,good\n263,48.9,9.2,303.7,Radarcape,TRUE\n")
    assert receivers_file.read(path) == (Site("263", 48.9, 9.2, 303.7),)


def test_times_of_a_clock_that_is_not_good_are_not_used(tmp_path: Path) -> None:
    """Most sensors of LocaRDS count from whenever they were switched on."""
    path = tmp_path / "sensors.csv"
    path.write_text(
        "serial,latitude,longitude,height,good\n1,48,9,300,TRUE\n2,48,10,300,FALSE\n3,49,9,300,TRUE\n"
    )
    (tmp_path / "set.csv").write_text('id,measurements\n7,"[[1,1000,50],[2,77000000,50],[3,2000,50]]"\n')
    (event,) = arrival_table.read(tmp_path / "set.csv", receivers_file.read(path)).events
    np.testing.assert_array_equal(np.isfinite(event.arrival_s), [True, False, True])
    assert event.remarks == (
        "the receivers file says that the clock of 2 is not good, and its time is not used",
    )
