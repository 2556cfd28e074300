"""One HTML page that is complete in itself: it makes no request, and only its own style and script run."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from heimdall.pages import style
from heimdall.pages.elements import Markup, escaped, paragraphs

Data = Literal["simulated", "recorded", "mixed", "unknown"]

SENTENCES: dict[Data, str] = {
    "simulated": "The recordings are simulated.",
    "recorded": "The recordings are real: they were recorded from the air.",
    "mixed": "Some of the recordings are simulated, and others were recorded from the air.",
    "unknown": "Nothing says whether the recordings are simulated or recorded from the air.",
}


@dataclass(frozen=True)
class Page:
    """A page.

    Attributes:
        title: Its heading, in a few words.
        data: Whether what it shows is simulated.
        lead: What a reader should know first: sentences, the most important one first.
        sections: What follows, of `elements`.
    """

    title: str
    data: Data
    lead: Sequence[str]
    sections: Sequence[Markup]


def text(page: Page) -> str:
    """The page as HTML, with a newline at its end."""
    title, sheet, script = escaped(page.title), style.sheet(), style.script()
    policy = (
        f"default-src 'none'; style-src {_hash(sheet)}; script-src {_hash(script)}; img-src data:; "
        "base-uri 'none'; form-action 'none'"
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>\n<style>{sheet}</style>\n</head>\n<body>",
        '<a class="skip" href="#main">Skip to the content</a>',
        f'<header>\n<h1>{title}</h1>\n<p class="data {page.data}">{SENTENCES[page.data]}</p>\n</header>',
        f'<main id="main">\n<div class="lead">{paragraphs(page.lead)}</div>',
        *page.sections,
        f"</main>\n<script>{script}</script>\n</body>\n</html>",
    ]
    return "\n".join(parts) + "\n"


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"
