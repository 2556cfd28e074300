"""The page of a run, as a reader sees it in a browser."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pandas as pd
import pytest

from heimdall.core import paths
from heimdall.report import making, report, run, sessions
from tests.browser import NARROW_PX, WIDE_PX, Browser, Opened, Scheme
from tests.report import runs
from tests.report.runs import World

HOSTILE = '<script>alert("x")</script>&'


def page(root: Path, typed: str | None = None) -> str:
    return report.text(run.read(root, typed, lambda _: None))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return runs.write(tmp_path_factory.mktemp("run"))


@pytest.fixture(scope="module")
def file(root: Path) -> Path:
    path = root / "report.html"
    path.write_text(page(root), encoding="utf-8")
    return path


OPEN = "details[open][id^=session-]"


def opened_session(opened: Opened) -> str | None:
    """The session whose card opens before the reader's eyes."""
    card = opened.page.locator(OPEN).first
    card.locator("dd").first.wait_for()
    assert card.evaluate("one => one.getBoundingClientRect().top < innerHeight")
    return card.locator("dd").first.text_content()


@pytest.mark.parametrize(
    ("width_px", "scheme"),
    [
        *((WIDE_PX, "light"), (NARROW_PX, "dark")),
        pytest.param(WIDE_PX, "dark", marks=pytest.mark.series),
        pytest.param(NARROW_PX, "light", marks=pytest.mark.series),
    ],
)
def test_the_page_asks_for_nothing_and_every_drawing_is_drawn(
    browser: Browser, file: Path, width_px: int, scheme: Scheme
) -> None:
    with browser.open(file, width_px, scheme) as opened:
        assert "simulated" in str(opened.page.locator("header").text_content())
        assert (opened.requests, opened.problems) == ([], [])
        assert opened.beyond_px() == 0
        charts = opened.page.locator("svg.chart")
        assert charts.count() == 8
        for number in range(charts.count()):
            assert opened.colours(f"svg.chart >> nth={number}") > 20, number
            edges = charts.nth(number).evaluate("svg => [svg.getBoundingClientRect().right, innerWidth]")
            assert edges[0] <= edges[1], number  # nobody needs to move it sideways
        assert opened.colours("#sessions-map svg.map") > 50
        # No text of a chart lies over another.
        overlaps = """svg => {
          const boxes = [...svg.querySelectorAll("text")].filter(one => one.textContent.trim())
            .map(one => [one.textContent, one.getBoundingClientRect()]);
          return boxes.flatMap(([a, one], n) => boxes.slice(n + 1)
            .filter(([, other]) => one.left < other.right - 1 && other.left < one.right - 1
              && one.top < other.bottom - 1 && other.top < one.bottom - 1).map(([b]) => `${a} / ${b}`));
        }"""
        assert [one for svg in charts.all() for one in svg.evaluate(overlaps)] == []


def test_tables_sort_by_click_and_by_key(browser: Browser, file: Path) -> None:
    with browser.open(file) as opened:
        table = opened.page.locator("#sessions table")
        heading = table.locator("th", has_text="error, m")

        def errors() -> list[float]:
            return [float(text) for text in table.locator("tbody tr td:nth-child(2)").all_text_contents()]

        given = errors()
        assert given == sorted(given, reverse=True)  # the largest first
        heading.locator("button").click()
        assert heading.get_attribute("aria-sort") == "ascending"
        assert errors() == sorted(given)
        heading.locator("button").press("Enter")
        assert heading.get_attribute("aria-sort") == "descending"
        assert errors() == given
        # By the bounds of intervals, which are no single numbers.
        slices = opened.page.locator("#slices table")
        slices.locator("th", has_text="95 % interval, m").locator("button").press("Enter")
        low = [
            float(text.split(" ")[0])
            for text in slices.locator("tbody tr td:nth-child(5)").all_text_contents()
            if text
        ]
        assert len(low) > 4
        assert low == sorted(low)


def test_a_table_whose_rows_have_different_units_does_not_sort(browser: Browser, file: Path) -> None:
    with browser.open(file) as opened:
        assert opened.page.locator("#figures table").count() == 1
        assert opened.page.locator("#figures table button").count() == 0
        assert opened.page.locator("#methods table button").count() == 8


def test_intervals_of_lengths_sort_by_their_lower_end_whatever_its_unit(
    browser: Browser, tmp_path: Path
) -> None:
    file = tmp_path / "report.html"
    file.write_text(page(runs.write(tmp_path / "near", World(rival_factor=1.05))), encoding="utf-8")
    with browser.open(file) as opened:
        table = opened.page.locator("#methods table")
        table.locator("th", has_text="95 % interval").locator("button").press("Enter")
        shown = [text.split(" to ")[0] for text in table.locator("td:nth-child(8)").all_text_contents()]
        assert shown[-1] == ""  # the localizer itself is last
        ends = [text.replace("−", "-").split(" ") for text in shown[:-1]]
        low_m = [float(value) * {"m": 1, "km": 1000}[unit] for value, unit in ends]
        assert {unit for _, unit in ends} == {"m", "km"}
        assert low_m == sorted(low_m)


def test_what_a_missing_table_would_say_is_not_known_and_not_none(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    none = "<dt>Cramer-Rao bound</dt><dd>none: fewer than three arrival times"
    unknown = "<dt>Cramer-Rao bound</dt><dd>not known</dd>"
    written = page(root)
    assert (written.count(none), written.count(unknown)) == (4, 0)
    assert "not known" not in "".join(sessions.parts(run.read(root, None, lambda _: None)))
    (root / run.ERROR_BOUND).unlink()
    (root / run.INDEX).unlink()
    written = page(root)
    assert (written.count(none), written.count(unknown)) == (0, runs.SESSIONS)
    assert (
        written.count("<dt>Time, frequency, kind of signal, receivers</dt><dd>not known</dd>")
        == runs.SESSIONS
    )
    row = re.search(r"<tr><td class=\"l\"><a href=\"#session-.*?</tr>", written)
    assert row is not None
    assert row.group().count(">not known<") == 6  # the bound and five columns of the data


def test_a_session_opens_from_the_map_and_from_the_table(browser: Browser, file: Path) -> None:
    with browser.open(file) as opened:
        assert opened.page.locator(OPEN).count() == 0
        # The answers of the least error lie on top.
        marks = opened.page.locator("#sessions-map a")
        assert marks.count() == runs.SESSIONS
        last = marks.nth(runs.SESSIONS - 1)
        wanted = str(last.get_attribute("href")).removeprefix("#session-")
        last.locator(".symbol").click()
        assert opened_session(opened) == wanted
    with browser.open(file) as opened:
        first = opened.page.locator("#sessions-map a").first
        wanted = str(first.get_attribute("href")).removeprefix("#session-")
        first.focus()
        opened.page.keyboard.press("Enter")
        assert opened_session(opened) == wanted
    with browser.open(file, NARROW_PX) as opened:
        link = opened.page.locator("#sessions td a").first
        link.focus()
        opened.page.keyboard.press("Enter")
        card = opened.page.locator(OPEN).first
        assert f"heimdall session show {link.text_content()} --html" in str(card.text_content())


def test_the_same_run_gives_the_same_bytes_and_names_no_place(root: Path, file: Path) -> None:
    written = file.read_text(encoding="utf-8")
    assert page(root) == written
    assert str(root) not in written
    assert [one for one in re.findall(r"https?://[^\s\"'<]+", written) if "w3.org" not in one] == []


def test_a_working_tree_with_changes_is_no_commit_and_says_so(root: Path) -> None:
    file = root / "reference.json"
    committed = file.read_text()
    file.write_text(committed + "\n")
    changed = page(root)
    file.write_text(committed)
    assert "Report of the working tree after commit" in changed
    assert "not committed: reference.json" in changed
    assert "Commit them, and write the report again." in changed


def test_names_from_the_data_and_from_git_are_text(browser: Browser, tmp_path: Path) -> None:
    world = World(names=("Torino", HOSTILE, "Milano"), subject=f"Break {HOSTILE}", data="recorded")
    root = runs.write(tmp_path / "hostile", world)
    file = root / "report.html"
    file.write_text(page(root), encoding="utf-8")
    assert HOSTILE not in file.read_text(encoding="utf-8")
    with browser.open(file) as opened:
        assert opened.problems == []
        assert HOSTILE in str(opened.page.locator(".lead").first.text_content())
        assert HOSTILE in str(opened.page.locator("#slices table").text_content())
        assert "recorded from the air" in str(opened.page.locator("header").text_content())


def test_of_very_many_sessions_an_even_choice_is_shown_and_said(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "MOST", 10)
    found = run.read(root, None, lambda _: None)
    written = "".join(sessions.parts(found))
    assert f"Of {runs.SESSIONS} sessions 8 are shown" in written
    shown = re.findall(r'<details id="session-([0-9a-f-]+)"', written)
    by_error = sorted(found.sessions, key=lambda one: -one.error_m)
    assert shown == [one.session_id for one in by_error[::3]]  # the largest error among them


def test_the_quarantine_is_counted_and_each_refused_recording_named(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = run.read(root, None, lambda _: None)
    written = "".join(making.data(found))
    assert "2 recordings (0.7 %) were refused" in written
    assert "Each of the 2 refused recordings" in written
    assert written.count(runs.session_id(90)) == 1
    monkeypatch.setattr(making, "_MOST_REFUSED", 1)
    assert "The first 1 of 2 refused recordings" in "".join(making.data(found))


def test_without_times_there_is_no_bound_and_the_page_says_why(tmp_path: Path) -> None:
    written = page(runs.write(tmp_path, World(timed=False)))
    assert "only levels tell where the transmitter is" in written
    assert "Error over the Cramer-Rao bound" not in written
    assert written.count('<svg class="chart"') == 7


def test_a_former_revision_is_reported_without_what_it_did_not_write(tmp_path: Path) -> None:
    root = runs.write(tmp_path)
    for name, columns in (("map", ["correlation", "level"]), ("training", ["val_median_m"])):
        path = root / f"plots/{name}.csv"
        pd.read_csv(path).drop(columns=columns).to_csv(path, index=False)
    runs.relock(root)
    written = page(root)
    assert "its ellipses are drawn without their tilt" in written
    assert "95 % ellipse alone" not in written
    assert "the mean error of the validation sessions goes from 2.0 km to 1.4 km" in written


def test_what_is_missing_is_said_with_its_remedy_and_the_rest_is_shown(
    browser: Browser, tmp_path: Path
) -> None:
    root = runs.write(tmp_path / "few")
    shutil.rmtree(root / "data")
    shutil.rmtree(root / "models")
    (root / "plots/reliability.csv").unlink()
    file = root / "report.html"
    file.write_text(page(root), encoding="utf-8")
    with browser.open(file) as opened:
        assert (opened.requests, opened.problems) == ([], [])
        missing = str(opened.page.locator("#missing").text_content())
        for path in (run.INDEX, run.RECEIVERS, str(paths.QUARANTINE), run.MODEL_RECORD, run.RELIABILITY):
            assert path in missing
        assert "dvc pull" in missing
        assert opened.page.locator("svg.chart").count() == 7
        assert opened.page.locator("#sessions-map a").count() == runs.SESSIONS
