"""The browser of the tests sees a page's requests and errors; where there is none, that is said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from scripts import browser as provided
from tests import REPOSITORY
from tests.browser import Browser
from tests.conftest import clean_environment

PAGE = """<!DOCTYPE html><html lang="en"><meta charset="utf-8"><title>A page</title>
<style>@media (prefers-color-scheme: dark) { body { background: #000 } } circle { fill: #f00 }</style>
"""


def written(folder: Path, body: str) -> Path:
    page = folder / "a page.html"
    page.write_text(PAGE + body, encoding="utf-8")
    return page


def test_a_quiet_page_is_seen_and_nothing_is_found(browser: Browser, tmp_path: Path) -> None:
    drawn = '<svg width="90" height="90"><circle cx="45" cy="45" r="40"/></svg>'
    page = written(tmp_path, f'{drawn}<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw=">')
    with browser.open(page, 400) as opened:
        assert (opened.requests, opened.problems) == ([], [])
        assert opened.beyond_px() == 0
        assert opened.pixels("svg")[45, 45].tolist() == [255, 0, 0]
        assert opened.pixels().shape[1] == 400
        assert opened.colours("svg") > 2
        assert np.all(opened.pixels()[-1] == 255)
    with browser.open(page, scheme="dark") as opened:
        assert np.all(opened.pixels()[-1] == 0)


def test_requests_errors_and_what_is_too_wide_are_found(browser: Browser, tmp_path: Path) -> None:
    body = '<img src="https://a.example/x.png"><script>fetch("https://b.example"); nowhere()</script>'
    with browser.open(written(tmp_path, body + '<p style="width: 900px">wide</p>'), 400) as opened:
        opened.page.wait_for_load_state()
        assert sorted(opened.requests) == ["https://a.example/x.png", "https://b.example/"]
        assert any("nowhere is not defined" in problem for problem in opened.problems)
        assert opened.beyond_px() >= 500


def test_where_no_way_leads_to_a_browser_each_is_named(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "scripts/browser.py"],
        cwd=REPOSITORY,
        env=clean_environment() | {"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    for said in ("of machine: none of chromium", "of debian: there is no apt-get", "of npm: there is no npm"):
        assert said in done.stderr
    assert "Install Chromium or Chrome" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_program_that_shows_no_page_is_no_browser(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As Ubuntu's `chromium-browser`, which asks for another installation."""
    (tmp_path / "chromium-browser").write_text("#!/bin/sh\nexit 1\n", encoding="utf-8")
    (tmp_path / "chromium-browser").chmod(0o755)
    monkeypatch.setattr(provided, "FOLDER", tmp_path / "browser")
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    monkeypatch.setattr(provided, "NAMES", ("chromium-browser",))
    with pytest.raises(provided.NotHereError, match=r"chromium-browser does not start: .+"):
        provided.of_machine()
    assert not (tmp_path / "browser" / "chromium").exists()
