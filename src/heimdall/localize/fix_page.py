"""What was located as one HTML page, which needs no network: sentences, maps, tables and remarks."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Sequence
from importlib import resources

from heimdall.localize import fix_map, fix_words
from heimdall.localize.answer import Answer
from heimdall.localize.fix_words import Table, printable

_OPEN_ROWS = 60  # a longer table is closed at first
_FILES = ("fix_page.css", "fix_page.js")

# Each is drawn about 14 units wide around 0, 0.
_SYMBOLS = {
    "receiver": '<path d="M0 -7L7 6H-7Z"/>',
    "unused": '<path d="M0 -6L6 5H-6Z"/>',
    "event": '<circle r="3"/>',
    "model": '<path d="M-5 -5H5V5H-5Z"/>',
    "alternative": '<circle r="5.5"/>',
    "place": '<circle r="6.5"/>',
    "truth": '<path d="M-7 -7L7 7M-7 7L7 -7"/>',
    "truths": '<path d="M-4 -4L4 4M-4 4L4 -4"/>',
}
_LEGEND = {
    "place": "the likeliest place",
    "alternative": "another place",
    "event": "a single event",
    "truth": "where it truly was",
    "truths": "where it truly was",
    "model": "what the trained model says",
    "receiver": "a receiver that is used",
    "unused": "a receiver that is not used",
}


def text(answer: Answer) -> str:
    """The page, with a newline at its end. It loads nothing, and only its own style and script run."""
    title = html.escape(printable(answer.title))
    style, script = (resources.files(__package__).joinpath(name).read_text("utf-8") for name in _FILES)
    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; base-uri 'none'; "
        "form-action 'none'"
    )
    parts = [
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        '<meta name="referrer" content="no-referrer">',
        f"<title>{title}</title>\n<style>{style}</style>\n</head>\n<body>\n<h1>{title}</h1>",
        *_body(answer),
        f"<script>{script}</script>\n</body>\n</html>",
    ]
    return "\n".join(parts) + "\n"


def _hash(content: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()}'"


def _body(answer: Answer) -> list[str]:
    main = answer.main
    known = fix_words.summary(answer) if main is None else fix_words.sentences(answer, main)
    parts = [f'<div class="lead">{_paragraphs(known)}</div>']
    provenance = fix_words.provenance(answer)
    if provenance:
        style = "note simulated" if answer.simulated else "note"
        parts.append(f'<p class="{style}">{provenance}</p>')
    parts += _maps(answer)
    if main is not None and len(fix_words.shown(main)) > 1:
        parts.append(_table("Places", fix_words.places(main)))
    said = fix_words.common_remarks(answer) if main is None else fix_words.remarks(main)
    if said:
        parts.append(
            "<h2>Remarks</h2>\n<ul>" + "".join(f"<li>{html.escape(one)}</li>" for one in said) + "</ul>"
        )
    if main is not None and main.residuals:
        parts.append(_table("Receivers", fix_words.residuals(main)))
    if len(answer.fixes) > 1:
        parts.append(_table("Events", fix_words.events(answer)))
        if main is not None:
            parts.append(_paragraphs(fix_words.summary(answer)))
    return parts


def _paragraphs(sentences: Sequence[str]) -> str:
    return "".join(f"<p>{html.escape(one)}</p>" for one in sentences)


def _maps(answer: Answer) -> list[str]:
    symbols = "".join(f'<g id="{name}">{shape}</g>' for name, shape in _SYMBOLS.items())
    parts = [f'<svg class="symbols" aria-hidden="true"><defs>{symbols}</defs></svg>']
    maps = fix_map.maps(answer)
    parts += [f"<figure>\n{svg}\n<figcaption>{name}</figcaption>\n</figure>" for name, svg in maps]
    drawn = "".join(svg for _, svg in maps)
    legend = [
        f'<li><svg viewBox="-10 -10 20 20" aria-hidden="true"><use href="#{name}"/></svg>{words}</li>'
        for name, words in _LEGEND.items()
        if f'href="#{name}"' in drawn
    ]
    if 'class="hyperbola"' in drawn:
        legend.append("<li>thin lines: equal difference of arrival times at two receivers</li>")
    if 'class="map many"' in drawn:
        legend.append("<li>outlines: 95 % regions of the events</li>")
    elif 'class="region' in drawn:
        legend.append("<li>areas: 68 % (dark) and 95 % (light) regions</li>")
    note = "Drag moves a map, the buttons or + and - enlarge and reduce it."
    return [*parts, f'<ul class="legend">{"".join(legend)}</ul>\n<p class="note hint">{note}</p>']


def _table(name: str, table: Table) -> str:
    head = "".join(
        f'<th class="{side}">{html.escape(one)}</th>' for one, side in _cells(table.headings, table)
    )
    rows = "".join(
        "<tr>"
        + "".join(f'<td class="{side}">{html.escape(one)}</td>' for one, side in _cells(row, table))
        + "</tr>\n"
        for row in table.rows
    )
    shown = (
        f'<div class="scroll"><table>\n<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>'
    )
    if len(table.rows) <= _OPEN_ROWS:
        return f"<h2>{name}</h2>\n{shown}"
    return f"<h2>{name}</h2>\n<details><summary>{len(table.rows)} rows</summary>{shown}</details>"


def _cells(row: Sequence[str], table: Table) -> list[tuple[str, str]]:
    return list(zip(row, table.align, strict=True))
