"""`heimdall session show --html --plot`: why is this answer right or wrong?"""

from __future__ import annotations

import io
import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import matplotlib.image
import numpy as np
import pytest
from click.testing import CliRunner

from heimdall.commands.session import session
from heimdall.core import paths
from heimdall.maps.projection import Projection
from heimdall.multilateration.fix import Fix, Place, Residual
from heimdall.session import (
    account,
    catalogue,
    correlations,
    detail,
    lateness,
    located,
    residuals,
    session_map,
)
from heimdall.session.detail import Detail
from heimdall.session.located import Located
from heimdall.signal.arrival import stamped_late
from tests.accessibility import faults
from tests.browser import Browser
from tests.session import shown_world

Write = Callable[[str], Path]
KINDS = ("well", "two", "none", "quarantined")


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, str]]:
    """A clone with a session of each kind, and their identifiers."""
    root = tmp_path_factory.mktemp("shown")
    return root, shown_world.write(root)


@pytest.fixture(scope="module")
def write(world: tuple[Path, dict[str, str]], tmp_path_factory: pytest.TempPathFactory) -> Write:
    """The page of a session of a kind, written once."""
    folder, written = tmp_path_factory.mktemp("pages"), dict[str, Path]()

    def page(kind: str) -> Path:
        if kind not in written:
            with pytest.MonkeyPatch.context() as patch:
                patch.chdir(world[0])
                file = folder / f"{kind}.html"
                given = ["show", world[1][kind], "--html", str(file)]
                assert CliRunner().invoke(session, given, catch_exceptions=False).exit_code == 0
            written[kind] = file
        return written[kind]

    return page


@pytest.fixture
def read(world: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Detail]:
    monkeypatch.chdir(world[0])
    every = {one.session_id: one for one in catalogue.sessions(paths.FEATURES, 0.2)}
    return lambda kind: detail.read_session(every[world[1][kind]])


WIDE, NARROW = (1400, "light"), (400, "dark")


@pytest.mark.parametrize(
    ("kind", "width_px", "scheme"),
    [
        *(("well", *WIDE), ("two", *NARROW), ("none", *WIDE), ("quarantined", *NARROW)),
        *(
            pytest.param(*values, marks=pytest.mark.series)
            for values in (("well", *NARROW), ("two", *WIDE), ("none", *NARROW), ("quarantined", *WIDE))
        ),
    ],
)
def test_a_page_asks_for_nothing_and_every_drawing_is_drawn(
    write: Write, browser: Browser, kind: str, width_px: int, scheme: str
) -> None:
    with browser.open(write(kind), width_px, scheme) as opened:
        assert (opened.requests, opened.problems) == ([], [])
        assert opened.beyond_px() <= 0
        assert "simulated" in opened.page.locator(".data").inner_text()
        drawings = opened.page.locator("svg.map, svg.chart")
        assert drawings.count() > 5
        for number in range(drawings.count()):
            assert opened.colours(f"svg.map, svg.chart >> nth={number}") > 20
        pictures = opened.page.locator("svg.chart image")
        assert pictures.count() == len(opened.page.locator("figcaption", has_text="Waterfall.").all()) > 0
        # A waterfall has both ends of its colours: of the signal, and beyond the receiver's filter.
        waterfall = opened.page.locator("svg.chart:has(image)").first
        shown = matplotlib.image.imread(io.BytesIO(waterfall.screenshot()), format="png")[..., :3]
        yellow = (shown[..., 0] > 0.8) & (shown[..., 1] > 0.7) & (shown[..., 2] < 0.5)
        blue = (shown[..., 0] < 0.1) & (shown[..., 1] < 0.3) & (shown[..., 2] > 0.2)
        assert yellow.mean() > 0.001
        assert blue.mean() > 0.05


@pytest.mark.parametrize("kind", KINDS)
def test_a_page_is_for_everybody(write: Write, browser: Browser, kind: str) -> None:
    assert faults(browser, write(kind)) == []


def test_marks_and_rows_lead_to_the_recordings_by_keyboard(write: Write, browser: Browser) -> None:
    with browser.open(write("well")) as opened:
        link = opened.page.locator("td a").first
        name = link.inner_text()
        link.focus()
        opened.page.keyboard.press("Enter")
        target = opened.page.locator(":target")
        assert target.locator("h3").inner_text() == name
        assert target.locator("figure").count() >= 2
        assert opened.page.locator("svg.map a").count() >= 5


@pytest.mark.parametrize(
    ("kind", "said"),
    [
        ("well", "more than a place needs|three times give a place"),
        ("two", "two times leave a line of possible places"),
        ("none", "the answer rests on levels alone"),
        ("none", "No receiver has an arrival time, so that there are no residuals"),
        ("quarantined", f"a recording is in the quarantine and was not used .{shown_world.QUARANTINED}"),
        ("quarantined", "from that nothing is concluded"),
    ],
)
def test_the_page_says_what_matters_of_a_session(write: Write, kind: str, said: str) -> None:
    assert re.search(said, write(kind).read_text("utf-8"))


def test_the_page_says_how_wrong_each_answer_is_and_whether_its_region_says_so(
    write: Write, read: Callable[[str], Detail]
) -> None:
    said: list[str] = []
    trained, untrained = located.locate_session(read("well"), say=said.append)
    assert said == []
    assert (trained.method, untrained.method) == (located.LOCALIZER, located.WITHOUT_LEARNING)
    assert trained.error_m is not None
    assert untrained.error_m is not None
    assert untrained.error_m < 2000  # three times or more, in a world with light multipath
    text = write("well").read_text("utf-8")
    lead = re.search('<div class="lead"><p>(.*?)</p>', text)
    assert lead is not None
    assert lead[1].startswith("The trained localizer: the answer is ")
    outside = trained.held_within == 1.0
    assert ("outside of the 95 % region" in lead[1]) == outside


def test_without_a_localizer_the_page_says_so_and_has_the_other_answer(
    read: Callable[[str], Detail], tmp_path: Path
) -> None:
    said: list[str] = []
    (only,) = located.locate_session(read("well"), tmp_path / "none.safetensors", say=said.append)
    assert only.method == located.WITHOUT_LEARNING
    assert said[0].startswith("the localizer is left out: ")


def test_what_was_taken_of_a_correlation_lies_at_its_peak_and_near_the_truth(
    read: Callable[[str], Detail],
) -> None:
    found = read("well")
    curves = correlations.with_reference(found, None)
    timed = [curve for curve in curves.values() if curve.taken_s is not None]
    assert len(timed) >= 2
    for curve in timed:
        assert curve.taken_s is not None
        assert curve.true_s is not None
        assert curve.sigma_s is not None
        at_taken = float(np.interp(curve.taken_s, curve.lag_s, curve.magnitude))
        assert at_taken > 0.9  # of the largest, however flat the signal makes the peak
        assert abs(curve.taken_s - curve.true_s) < 10e-6
        assert abs(curve.taken_s) < curve.reach_s


def test_where_no_time_is_known_none_is_marked(read: Callable[[str], Detail]) -> None:
    for curve in correlations.with_reference(read("none"), None).values():
        assert (curve.timed, curve.taken_s, curve.true_s) == (False, None, None)


def test_the_picture_has_the_same_and_is_the_same_twice(
    world: tuple[Path, dict[str, str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.chdir(world[0])
    files = [tmp_path / "a.png", tmp_path / "b.png"]
    for file in files:
        given = ["show", world[1]["two"], "--plot", str(file), "--json"]
        done = CliRunner().invoke(session, given, catch_exceptions=False)
    assert files[0].read_bytes() == files[1].read_bytes()
    height, width, _ = matplotlib.image.imread(files[0]).shape
    assert width > 2500
    assert height > 1000
    late_s = [one["late_s"] for one in json.loads(done.stdout)["receivers"]]
    assert sum(value is not None for value in late_s) == 2


def test_a_page_is_the_same_twice_and_small(write: Write, world: tuple[Path, dict[str, str]]) -> None:
    first = write("two").read_bytes()
    again = write("two").with_name("again.html")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(world[0])
        CliRunner().invoke(session, ["show", world[1]["two"], "--html", str(again)], catch_exceptions=False)
    assert again.read_bytes() == first
    assert len(first) < 3_000_000


def test_answers_sort_by_metres_and_square_kilometres_whatever_unit_is_shown(write: Write) -> None:
    table = re.search(
        r"<caption><span>The answers</span>.*?</table>", write("well").read_text("utf-8"), re.DOTALL
    )
    assert table is not None
    scale = {"m": 1.0, "km": 1e3, "m²": 1e-6, "km²": 1.0}
    cells = re.findall(r'<td class="r" data-key="([^"]+)">([^<]*)</td>', table.group())
    rows = len(re.findall(r'<tr><td class="l">', table.group()))
    assert len(cells) == 3 * rows > 0  # two regions and the error
    for key, said in cells:
        value, unit = said.replace(",", "").split(" ")
        assert float(key) == pytest.approx(float(value) * scale[unit], rel=0.06)


def test_lines_of_right_times_cross_at_the_known_position(read: Callable[[str], Detail]) -> None:
    found = read("well")
    truth = found.latitude_deg, found.longitude_deg
    numbers = found.observation.session.websdr_id.tolist()
    travelled_s = lateness.travel_s(found.observation, *truth, found.plane)
    travel_s = dict(zip(numbers, travelled_s.tolist(), strict=True))
    right = tuple(
        one if one.delay_s is None else replace(one, delay_s=travel_s[one.websdr_id])
        for one in found.receivers
    )
    place = Place(truth[0] + 0.003, truth[1] - 0.002, 260.0, 0.0, np.diag([1e4, 1e4]), 1.0)
    fix = Fix("it", "position", (place,), (), (), True, ())
    answer = Located("a method", fix, None, None)
    enlarged = session_map.maps(replace(found, receivers=right), [answer])[-1][1]
    lines = [one for one in enlarged.lines if one.kind == "hyperbola"]
    assert len(lines) >= 3
    for line in lines:
        east_m, north_m = Projection(*truth).to_m(*line.positions.T)
        assert np.hypot(east_m, north_m).min() < 20


def _with_time(detail: Detail, row: int, late_s: float) -> Detail:
    """The session, had the arrival time of one row come later."""
    observation = stamped_late(detail.observation, row, late_s)
    travelled_s = lateness.travel_s(observation, detail.latitude_deg, detail.longitude_deg, detail.plane)
    numbers = observation.session.websdr_id.tolist()
    late = dict(zip(numbers, lateness.late_s(observation, travelled_s).tolist(), strict=True))
    receivers = tuple(
        replace(one, late_s=late[one.websdr_id]) if one.delay_usable else one for one in detail.receivers
    )
    return replace(detail, observation=observation, receivers=receivers)


def _by_solver(detail: Detail) -> Located:
    (only,) = located.locate_session(detail, Path("none.safetensors"))
    return only


@pytest.mark.parametrize("which", [0, 1])
def test_of_two_times_the_page_blames_neither(read: Callable[[str], Detail], which: int) -> None:
    found = read("two")
    timed = np.flatnonzero(found.observation.arrivals.information_s2 > 0)
    wrong = _with_time(found, int(timed[which]), 1e-3)
    said = " ".join(account.sentences(wrong, [_by_solver(wrong)]))
    late, early = (found.name(int(timed[row])) for row in (which, 1 - which))
    assert re.search(rf"the two differ by (9\d\d|10\d\d)\.\d\d µs .*{late} is later than {early}", said)
    assert "nothing says at which of the two" in said
    assert "contradicts the known position most" not in said
    well = " ".join(account.sentences(found, [_by_solver(found)]))
    assert re.search(r"the two differ by \d\.\d\d µs", well)


def test_a_time_that_the_answer_leaves_out_is_named(read: Callable[[str], Detail]) -> None:
    found = read("well")
    timed = np.flatnonzero(found.observation.arrivals.information_s2 > 0)
    wrong = _with_time(found, int(timed[0]), 1e-3)
    name = found.name(int(timed[0]))
    right = _by_solver(found)
    # As the solver has it, which of five times throws one out.
    place = right.place
    assert place is not None
    kept = [
        Residual(
            found.name(row),
            1e-3 if row == timed[0] else 1e-9,
            1e-6,
            used=bool(row != timed[0]),
            reason=reason,
        )
        for row in timed.tolist()
        for reason in ["its time is 1 ms late" if row == timed[0] else ""]
    ]
    answer = replace(right, fix=replace(right.fix, residuals=tuple(kept)))
    said = account.sentences(wrong, [answer])
    method = f"{answer.method[0].upper()}{answer.method[1:]}"
    assert f"{method}: left out: {name} (its time is 1 ms late)." in said
    assert any("of which the answer leaves out 1" in one for one in said)
    assert "The answer explains every arrival time" not in " ".join(said)
    (left,) = [one for one in residuals.of(wrong, answer) if one.left_out]
    assert left.label == f"{name} (left out)"
    assert left.against_answer is not None
    assert left.against_answer.late_s == pytest.approx(1e-3)
    assert not [one for one in account.sentences(found, [right]) if "left out:" in one]
