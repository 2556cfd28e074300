"""Every kind of page is for everybody; and the look for faults finds them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from heimdall.compare import page as compare_page
from heimdall.localize import fix_page
from heimdall.monitor import page as monitor_page
from heimdall.report import report, run
from tests.accessibility import faults
from tests.browser import Browser
from tests.compare import contests
from tests.localize import answers
from tests.monitor import findings
from tests.report import runs


def of_run(folder: Path) -> str:
    return report.text(run.read(runs.write(folder / "run"), None, lambda _: None))


PAGES: dict[str, Callable[[Path], str]] = {
    "locate": lambda _: fix_page.text(answers.normal()),
    "locate, two places": lambda _: fix_page.text(answers.ambiguous()),
    "locate, many receivers": lambda _: fix_page.text(answers.many_receivers()),
    "locate, nothing": lambda _: fix_page.text(answers.nothing()),
    "compare": lambda _: compare_page.text(contests.made(), contests.RECEIVERS),
    "monitor": lambda _: monitor_page.text(findings.made(worse=20.0, moved=3.0)),
    "monitor, nothing": lambda _: monitor_page.text(findings.nothing()),
    "report": of_run,
}


@pytest.mark.parametrize("name", PAGES)
def test_a_page_is_for_everybody(browser: Browser, tmp_path: Path, name: str) -> None:
    file = tmp_path / "page.html"
    file.write_text(PAGES[name](tmp_path), encoding="utf-8")
    assert faults(browser, file) == []


GOOD = """<!DOCTYPE html><html lang="en"><head><meta charset="utf-8"><title>A page</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<style>body { color: #222; background: #fff }</style></head>
<body><h1>A page</h1><p>It is simulated. <a href="#end">To the end</a></p><h2 id="end">The end</h2>
<svg role="img" width="200" height="40"><title>A drawing</title><text x="10" y="20">text</text></svg>
</body></html>"""
# Each page has several faults: by what is found, what is replaced and by what.
BAD = (
    {
        "the page does not say its language": ('<html lang="en">', "<html>"),
        "the page has no title": ("<title>A page</title>", ""),
        "not one h1": ("<h1>A page</h1>", "<h1>A page</h1><h1>Another</h1>"),
        "a drawing without a name": ("<title>A drawing</title>", ""),
        "a heading of a table without scope": ("<h2", "<table><tr><th>x</th></tr></table><h2"),
        "a tabindex above 0": ("<h2", '<p tabindex="2">x</p><h2'),
        "a control without a name": ("<h2", "<button></button><h2"),
        "cut off: text": ('x="10"', 'x="190"'),
        "no visible focus": ("<a ", '<a style="outline: none" '),
        "names a place: /home/somebody": ("It is", "It is /home/somebody and"),
        "does not say whether its data are": ("simulated", "made up"),
    },
    {
        "heading 2 leaves a level out": ('<h2 id="end">The end</h2>', '<h3 id="end">The end</h3>'),
        "a picture without alternative text": (
            "<h3",
            '<img src="data:image/gif;base64,R0lGODlhAQABAAAAACw="><h3',
        ),
        "an id twice": ("<h1>", '<h1 id="end">'),
        "a link to nothing": ('href="#end"', 'href="#nowhere"'),
        "contrast 2.32 of p.": ("<p>", '<p style="color: #aaa">'),
        "one over the other: text and over": ("</svg>", '<text x="12" y="21">over</text></svg>'),
        "focus out of sight": ("<a ", '<a style="position: absolute; left: -999px" '),
        "px too wide": ("<h1", '<p style="width: 2000px">x</p><h1'),
        "asks for https://a.example/x.png": ("<h3", '<img alt="x" src="https://a.example/x.png"><h3'),
        "names a place: https://b.example": ("It is", "It is https://b.example and"),
        "complains: no": ("<h3", '<script>console.error("no")</script><h3'),
    },
    {"nothing can be reached by Tab": (' href="#end"', "")},
)


def test_a_page_without_faults_has_none(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "page.html"
    file.write_text(GOOD, encoding="utf-8")
    assert faults(browser, file) == []


@pytest.mark.parametrize("replaced", BAD, ids=len)
def test_every_fault_is_found(browser: Browser, tmp_path: Path, replaced: dict[str, tuple[str, str]]) -> None:
    text = GOOD
    for right, wrong in replaced.values():
        assert right in text
        text = text.replace(right, wrong, 1)
    file = tmp_path / "page.html"
    file.write_text(text, encoding="utf-8")
    found = faults(browser, file)
    assert [fault for fault in replaced if not any(fault in one for one in found)] == []
