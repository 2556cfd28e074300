"""The page of two models: the verdict first, differences with their intervals, a map, every session."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.compare import page, scorecard
from heimdall.compare.contest import Contest
from tests.browser import NARROW_PX, WIDE_PX, Browser
from tests.compare import contests


@pytest.fixture(scope="module")
def contest() -> Contest:
    return contests.made()


@pytest.fixture(scope="module")
def file(contest: Contest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("compare") / "compare.html"
    path.write_text(page.text(contest, contests.RECEIVERS), encoding="utf-8")
    return path


@pytest.mark.parametrize("width_px", [WIDE_PX, NARROW_PX])
def test_the_verdict_stands_first_and_everything_is_drawn(
    browser: Browser, contest: Contest, file: Path, width_px: int
) -> None:
    with browser.open(file, width_px) as opened:
        said = opened.page.locator(".lead p").all_inner_texts()
        assert said[0] == scorecard.verdict(contest.overall)
        assert any(line.startswith("Not held out from A:") for line in said)
        assert opened.page.inner_text("h1") == "v0.1.0 and v0.2.0, compared"
        assert opened.colours("svg.chart >> nth=0") > 20
        assert opened.colours("svg.chart >> nth=1") > 20
        assert opened.colours("svg.map") > 50


def test_each_slice_has_its_difference_in_the_chart_and_in_the_table(
    browser: Browser, contest: Contest, file: Path
) -> None:
    with browser.open(file) as opened:
        rows = opened.page.locator("table", has=opened.page.get_by_text("Mean errors by slice")).locator(
            "tbody tr"
        )
        shown = {row[0]: row[5:7] for row in (one.locator("td").all_inner_texts() for one in rows.all())}
        assert len(shown) == 1 + len(contest.slices)
        low_m, high_m = (contest.overall[f"mae_difference_m_{end}"] for end in ("low", "high"))
        assert shown["all sessions"] == [
            f"{contest.overall['mae_difference_m']:+.0f}",
            f"{low_m:+.0f} to {high_m:+.0f}",
        ]
        assert shown["region: Genova"][1] == "none: one transmitter"
        drawn = opened.page.locator("svg.chart").first.text_content()
        assert all(name in str(drawn) for name in shown)


def test_the_worst_session_leads_the_table_and_stands_on_the_map(browser: Browser, file: Path) -> None:
    with browser.open(file) as opened:
        first = (
            opened.page.locator("table", has=opened.page.get_by_text("All sessions, the one"))
            .locator("tbody tr")
            .first
        )
        number, session, *_, error_b = first.locator("td").all_inner_texts()
        assert (number, session) == ("1", "00000000-0000-4000-8000-000000000003")
        titles = opened.page.locator("svg.map .mark title").all_text_contents()
        assert f"session 1: B is wrong by {error_b} m" in titles
        assert "receiver Milano & <Baggio>" in titles


def test_the_page_depends_on_the_contest_alone_and_names_are_text() -> None:
    hostile = "<script>alert(1)</script>"
    text = page.text(contests.made(hostile), contests.RECEIVERS)
    assert hostile not in text
    assert "&lt;script&gt;alert(1)" in text
    assert text == page.text(contests.made(hostile), contests.RECEIVERS)
