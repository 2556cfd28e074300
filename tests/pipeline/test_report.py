"""`heimdall report` of a real run: of the working tree and of a commit, in a browser."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from heimdall.commands.report import report
from tests.browser import NARROW_PX, Browser
from tests.projects import Project


def test_a_revision_is_reported_without_a_checkout_and_its_page_opens_without_a_network(
    built: Project, browser: Browser, tmp_path: Path
) -> None:
    deep = built.root / "docs"
    said = built.run("bash", "-c", f"cd {deep} && heimdall report --output {tmp_path}/tree.html").stdout
    assert said.splitlines()[-1].startswith(f"{tmp_path}/tree.html")
    assert built.run_here(report, "HEAD", "--output", f"{tmp_path}/head.html").returncode == 0
    assert built.run("git", "status", "--porcelain").stdout == ""
    content = (tmp_path / "head.html").read_bytes()
    # What git does not hold came from DVC's cache: a clean working tree is its commit.
    assert (tmp_path / "tree.html").read_bytes() == content
    assert str(built.root) not in content.decode()
    test = pd.read_csv(built.root / "plots/map.csv")
    with browser.open(tmp_path / "head.html", NARROW_PX) as opened:
        assert (opened.requests, opened.problems) == ([], [])
        assert opened.beyond_px() == 0
        assert opened.page.locator("#missing").count() == 0
        assert opened.page.locator("#sessions-map a").count() == len(test)
        for number in range(opened.page.locator("svg.chart").count()):
            assert opened.colours(f"svg.chart >> nth={number}") > 20, number
        worst = test.sort_values("error_m")["session_id"].iloc[-1]
        opened.page.locator("#sessions td a").first.click()
        card = opened.page.locator("details[open][id^=session-]").first
        card.locator("dd").first.wait_for()
        assert card.locator("dd").first.text_content() == worst


def test_what_cannot_be_reported_is_one_line_and_writes_nothing(built: Project, tmp_path: Path) -> None:
    unknown = built.run("heimdall", "report", "v9.9.9", "--output", f"{tmp_path}/a.html", check=False)
    assert unknown.returncode == 1
    assert unknown.stdout.splitlines()[-1].startswith("heimdall: 'v9.9.9': git knows no such revision here.")
    folder = built.run("heimdall", "report", "--output", f"{tmp_path}/none/a.html", check=False)
    assert folder.returncode == 2
    assert "does not exist" in folder.stdout
    assert list(tmp_path.iterdir()) == []
