"""What was located as one HTML page, which needs no network: sentences, maps, tables and remarks."""

from __future__ import annotations

from heimdall.localize import fix_map, fix_words
from heimdall.localize.answer import Answer
from heimdall.pages import elements, page, picture, vector_map
from heimdall.pages.elements import Markup
from heimdall.pages.page import Page


def text(answer: Answer) -> str:
    """The page, with a newline at its end. It loads nothing, and only its own style and script run."""
    main = answer.main
    lead = fix_words.summary(answer) if main is None else fix_words.sentences(answer, main)
    return page.text(Page(answer.title, fix_words.data(answer), lead, _sections(answer)))


def png(answer: Answer) -> bytes:
    """The maps as a PNG file."""
    return picture.png(answer.title, fix_words.data(answer), fix_map.maps(answer))


def _sections(answer: Answer) -> list[Markup]:
    main = answer.main
    maps = [vector_map.figure(one, name) for name, one in fix_map.maps(answer)]
    parts = [elements.section("Map" if len(maps) == 1 else "Maps", *maps, elements.note(vector_map.HINT))]
    if main is not None and len(fix_words.shown(main)) > 1:
        parts.append(elements.section("Places", elements.table(fix_words.places(main))))
    said = fix_words.common_remarks(answer) if main is None else fix_words.remarks(main)
    if said:
        parts.append(elements.section("Remarks", elements.bullets(said)))
    if main is not None and main.residuals:
        parts.append(elements.section("Receivers", elements.table(fix_words.residuals(main))))
    if len(answer.fixes) > 1:
        events = [elements.table(fix_words.events(answer))]
        if main is not None:
            events.append(elements.paragraphs(fix_words.summary(answer)))
        parts.append(elements.section("Events", *events))
    return parts
