"""The page of monitoring: what is wrong first, then coverage, errors and drift beside the claims."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from heimdall.monitor import alerts, page
from tests.browser import NARROW_PX, WIDE_PX, Browser
from tests.monitor import findings


@pytest.mark.parametrize("width_px", [WIDE_PX, NARROW_PX])
def test_alarms_stand_first_and_everything_is_drawn(browser: Browser, tmp_path: Path, width_px: int) -> None:
    found = findings.made(worse=20.0, moved=3.0)
    assert found.figures is not None
    alarms = alerts.alarms(found.figures)
    assert len(alarms) >= 2
    file = tmp_path / "monitor.html"
    file.write_text(page.text(found), encoding="utf-8")
    with browser.open(file, width_px) as opened:
        said = opened.page.locator(".lead p").all_inner_texts()
        assert said[0].startswith(f"{len(alarms)} alarms:")
        assert said[1 : 1 + len(alarms)] == [f"Alarm: {alarm}." for alarm in alarms]
        assert "approved from 2026-11-01 06:00 UTC to 2026-11-12 18:00 UTC" in said[-1]
        for number in range(opened.page.locator("svg.chart").count()):
            assert opened.colours(f"svg.chart >> nth={number}") > 20
        assert opened.page.locator("svg.chart").count() == 4
        assert opened.colours("svg.map") > 50
        verdicts = opened.page.locator("tbody td:last-child").all_inner_texts()
        assert sum(verdict.startswith("alarm") for verdict in verdicts) == len(alarms)


def test_without_a_verdict_the_page_says_why() -> None:
    few = page.text(findings.made(sessions=4))
    assert f"No verdict: {alerts.TOO_FEW}." in few
    assert "4 new sessions of 4 transmitters" in few
    none = page.text(findings.nothing())
    assert "There are no new sessions." in none
    assert "<figure" not in none


def test_the_band_holds_the_share_that_the_claim_gives() -> None:
    share, low, high = page.so_far(np.array([True, False, True, True]), 0.75)
    assert share.tolist() == [1.0, 0.5, pytest.approx(2 / 3), 0.75]
    assert (low[0], high[0]) == (0.0, 1.0)
    # Of many sessions the band is the normal one: 0.68 +- 1.96 sqrt(0.68 * 0.32 / n).
    _, low, high = page.so_far(np.ones(2000, bool), 0.68)
    half = 1.96 * np.sqrt(0.68 * 0.32 / 2000)
    assert low[-1] == pytest.approx(0.68 - half, abs=0.001)
    assert high[-1] == pytest.approx(0.68 + half, abs=0.001)
