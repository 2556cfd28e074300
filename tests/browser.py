"""A real browser for the tests: opens a file as a reader would, and tells its requests and errors.

    python -m tests.browser PAGE.html PREFIX     four pictures of a page: wide and narrow, light and dark

`make browser` (scripts/browser.py) provides it.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import matplotlib.pyplot as plt
import numpy as np
import pytest
from numpy.typing import NDArray
from playwright.sync_api import Browser as Chromium
from playwright.sync_api import BrowserContext, Error, Page, sync_playwright

from scripts import browser as provided

WIDE_PX, NARROW_PX = 1400, 400
HEIGHT_PX = 1000
TIMEOUT_MS = 20_000
# What belongs to the file itself.
OWN = ("data:", "blob:", "about:")
Scheme = Literal["light", "dark"]


@dataclass(frozen=True)
class Opened:
    """A page in the browser.

    Attributes:
        page: As Playwright drives it.
        requests: Address of everything that the page asked for beside itself, also in vain.
        problems: What stands in the console as an error or a warning, and every error of a script.
    """

    page: Page
    requests: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def pixels(self, selector: str | None = None, whole: bool = False) -> NDArray[np.uint8]:
        """What is seen.

        Args:
            selector: The first element that it names, or else what the window shows.
            whole: The whole page, also what must be scrolled to.

        Returns:
            Red, green and blue, 0 to 255. Shape (height, width, 3).
        """
        if selector is None:
            png = self.page.screenshot(full_page=whole)
        else:
            png = self.page.locator(selector).first.screenshot()
        return np.round(plt.imread(io.BytesIO(png), format="png")[..., :3] * 255).astype(np.uint8)

    def colours(self, selector: str) -> int:
        """How many colours the first such element shows: an empty picture has one or two."""
        return count_colours(self.pixels(selector))

    def beyond_px(self) -> int:
        """By how much the page is wider than the window; above 0 a reader scrolls sideways."""
        wider = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        return int(self.page.evaluate(wider))


def count_colours(picture: NDArray[np.uint8]) -> int:
    """How many different pixels there are. Shape (height, width, 3) or (height, width, 4)."""
    weights = 256 ** np.arange(picture.shape[2])  # of one number a pixel, which sorts ten times faster
    return len(np.unique(picture @ weights))


class Browser:
    """A Chromium that shows files."""

    def __init__(self, chromium: Chromium) -> None:
        self._chromium = chromium

    @contextmanager
    def open(self, file: Path, width_px: int = WIDE_PX, scheme: Scheme = "light") -> Iterator[Opened]:
        """Show a file in a window of its own, without a network, until the block ends."""
        context: BrowserContext = self._chromium.new_context(
            viewport={"width": width_px, "height": HEIGHT_PX},
            color_scheme=scheme,
            reduced_motion="reduce",
            locale="en-GB",
            timezone_id="UTC",
            offline=True,
        )
        try:
            context.set_default_timeout(TIMEOUT_MS)
            address = file.resolve().as_uri()
            opened = Opened(context.new_page())
            opened.page.on(
                "request",
                lambda request: (
                    None
                    if request.url.split("#")[0] == address or request.url.startswith(OWN)
                    else opened.requests.append(request.url)
                ),
            )
            opened.page.on(
                "console",
                lambda said: opened.problems.append(said.text) if said.type in ("error", "warning") else None,
            )
            opened.page.on("pageerror", lambda error: opened.problems.append(str(error)))
            opened.page.goto(address)
            yield opened
        finally:
            context.close()


@contextmanager
def started() -> Iterator[Browser]:
    """A browser with an empty profile, until the block ends.

    Raises:
        AssertionError: There is none, or it does not start.
    """
    program = provided.FOLDER / "chromium"
    assert program.exists(), f"{program} is missing: run `make browser`"
    with sync_playwright() as playwright:
        try:
            chromium = playwright.chromium.launch(executable_path=program, args=provided.flags())
        except Error as error:
            raise AssertionError(f"Remove {program} and run `make browser`: {error}") from None
        yield Browser(chromium)
        chromium.close()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """The browser of a module of tests, which pytest-xdist gives to one worker.

    Not of the whole session: as long as Playwright's connection is open, an event loop runs in this thread,
    and what else wants one fails, such as a notebook.
    """
    with started() as one:
        yield one


def main(page: str, prefix: str) -> int:
    """Write four pictures of a page; say what it asked for and complained about."""
    with started() as one:
        for width_px in (WIDE_PX, NARROW_PX):
            for scheme in ("light", "dark"):
                with one.open(Path(page), width_px, scheme) as opened:
                    picture = f"{prefix}-{width_px}-{scheme}.png"
                    opened.page.screenshot(path=picture, full_page=True)
                    said = [
                        f"{picture}: {opened.beyond_px()} px too wide",
                        *opened.requests,
                        *opened.problems,
                    ]
                    print(*said, sep="\n  ")
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
