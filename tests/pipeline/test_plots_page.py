"""`dvc plots show` and `dvc plots diff` draw every chart once, in a real browser and without a network."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from heimdall.services import dvc_remote
from scripts import plots_page
from tests import REPOSITORY
from tests.browser import NARROW_PX, WIDE_PX, Browser, Opened, Scheme
from tests.projects import Project

DEFINITIONS = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["plots"]
CHARTS = {name: given for one in DEFINITIONS if isinstance(one, dict) for name, given in one.items()}
PICTURES = [one for one in DEFINITIONS if isinstance(one, str)]


@pytest.fixture(scope="module")
def prepared(built: Project, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A built project whose DVC was told of the page, as `make setup` does it; the last test changes it."""
    folder = tmp_path_factory.mktemp("plots")
    project, page = built.copy(folder / "heimdall"), folder / "plots.html"
    page.write_text(plots_page.text(), encoding="utf-8")
    dvc_remote.set_plots_page(project.root, page)
    return project


def check(opened: Opened, revisions: Sequence[str]) -> None:
    """Every chart and every picture is drawn once, and nothing but the pictures' files was asked for."""
    page = opened.page
    page.wait_for_function(
        "count => document.querySelectorAll('svg.marks').length === count", arg=len(CHARTS)
    )
    assert opened.problems == []
    pictures = [f"{revision}_{picture.replace('/', '_')}" for revision in revisions for picture in PICTURES]
    assert sorted(Path(one).name for one in opened.requests) == sorted(pictures)
    assert all(one.startswith("file:") for one in opened.requests)
    assert page.locator("h1").count() == 1
    assert sorted(page.locator("h2").all_inner_texts()) == sorted([*CHARTS, *PICTURES])
    for number in range(len(CHARTS)):
        assert opened.colours(f"svg.marks >> nth={number}") > 20
    drawn = page.locator("svg.marks").all_text_contents()
    for given in CHARTS.values():
        assert any(given["x_label"] in text and given["y_label"] in text for text in drawn)
    images = page.locator("img")
    assert images.count() == len(pictures)
    for image in images.all():
        assert image.get_attribute("alt")
        assert image.evaluate("image => image.complete && image.naturalWidth > 500")
    assert opened.beyond_px() <= 0


@pytest.fixture(scope="module")
def shown(prepared: Project) -> Path:
    """The page of `dvc plots show`, for all tests of it."""
    prepared.run("dvc", "plots", "show", "--out", "shown")
    return prepared.root / "shown" / "index.html"


@pytest.mark.parametrize(("width_px", "scheme"), [(WIDE_PX, "light"), (NARROW_PX, "dark")])
def test_the_plots_are_drawn_without_a_network(
    shown: Path, browser: Browser, width_px: int, scheme: Scheme
) -> None:
    with browser.open(shown, width_px, scheme) as opened:
        check(opened, ["workspace"])


def test_no_chart_loads_a_script(shown: Path) -> None:
    text = shown.read_text(encoding="utf-8")
    assert "<script src" not in text
    assert "cdn.jsdelivr.net/npm/vega@" not in text


def test_two_revisions_are_told_apart(prepared: Project, browser: Browser) -> None:
    curve = prepared.root / "plots/training.csv"
    first, *rest = curve.read_text(encoding="utf-8").splitlines(keepends=True)
    curve.write_text(first + "".join(reversed(rest)), encoding="utf-8")
    prepared.run("dvc", "plots", "diff", "HEAD")
    with browser.open(prepared.root / "dvc_plots" / "index.html") as opened:
        check(opened, ["workspace", "HEAD"])
        for text in opened.page.locator("svg.marks").all_text_contents():
            assert all(name in text for name in ("revision", "workspace", "HEAD"))
