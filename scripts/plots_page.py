"""The page of `dvc plots show` and `dvc plots diff`, which needs no network: `make setup` calls this.

    python scripts/plots_page.py      writes plots.html into the environment of this Python; DVC is told of it

DVC's own page loads Vega from the network. This one has Vega in it, from the package vl-convert-python:
900 kB that git need not hold. DVC is told in .dvc/config.local: without that setting it writes its own page.
"""

from __future__ import annotations

import sys
from pathlib import Path

import vl_convert

from heimdall.core import artifacts
from heimdall.services import dvc_remote

PAGE = Path(sys.prefix) / "plots.html"
SOURCE = Path(__file__).with_suffix(".html")
BUNDLE, OF_DVC = "{bundle}", ("{scripts}", "{plot_divs}", "{refresh_tag}")


def text() -> str:
    """The page with Vega in it, and places that DVC fills.

    Raises:
        ValueError: Vega has something that DVC would replace, or that would end the script.
    """
    bundle = vl_convert.javascript_bundle()
    for ending in (*OF_DVC, "</script", "<!--"):
        if ending in bundle:
            raise ValueError(f"Vega's bundle contains {ending}")
    return SOURCE.read_text(encoding="utf-8").replace(BUNDLE, bundle)


def main(root: Path = Path()) -> None:
    """Write the page, and have the DVC of a clone use it."""
    artifacts.write_bytes(PAGE, text().encode("utf-8"))
    dvc_remote.set_plots_page(root, PAGE)


if __name__ == "__main__":
    main()
