"""What was located as lines of text for a terminal: sentences first, then tables."""

from __future__ import annotations

from heimdall.core.table import lines
from heimdall.localize import fix_words
from heimdall.localize.answer import ALONE, Answer
from heimdall.pages import elements
from heimdall.pages.elements import Table, printable

SHOWN_EVENTS = 20


def text(answer: Answer) -> str:
    """The answer, with a newline at its end."""
    parts = [[printable(answer.title), *filter(None, [fix_words.provenance(answer)])]]
    main = answer.main
    if answer.alone:
        return "\n\n".join("\n".join(part) for part in [*parts, [f"{ALONE}."]]) + "\n"
    if main is not None:
        parts.append(fix_words.sentences(answer, main))
        if len(fix_words.shown(main)) > 1:
            parts.append(_aligned(fix_words.places(main)))
        if main.residuals:
            parts.append(_aligned(fix_words.residuals(main)))
        parts.append(fix_words.remarks(main))
    if len(answer.fixes) > 1:
        parts += [_events(answer), fix_words.summary(answer)]
        if main is None:
            parts.append(fix_words.common_remarks(answer))
    return "\n\n".join("\n".join(part) for part in parts if part) + "\n"


def _events(answer: Answer) -> list[str]:
    table = fix_words.events(answer)
    more = len(table.rows) - SHOWN_EVENTS
    shown = _aligned(Table(table.headings, table.rows[:SHOWN_EVENTS], table.align))
    return shown + ([f"... and {more} more, which --csv and --json have"] if more > 0 else [])


def _aligned(table: Table) -> list[str]:
    return lines(table.headings, elements.plain(table), table.align)
