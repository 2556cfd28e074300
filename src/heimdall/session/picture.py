"""A session as one picture, as the page has it: maps, residuals, and what each recording holds."""

from __future__ import annotations

from collections.abc import Sequence

from heimdall.core.provenance import provenance
from heimdall.pages import chart, style, vector_map
from heimdall.pages.elements import Markup, escaped
from heimdall.pages.frame import WIDTH_PX
from heimdall.session import account, figures, session_map
from heimdall.session.detail import Detail
from heimdall.session.located import Located
from heimdall.session.session_text import heading

_KEY = (
    "Cross: the known position. Circle: the answer. Triangle in a correlation: the time that was taken. "
    "Receivers on the map: filled with an arrival time, pale without one, hollow if they hear nothing, "
    "dotted without a recording."
)
_MARGIN = 20
_TITLE = 94  # height of the title, of the first sentence and of the key
_MAP = 760  # width of the map
_COLUMN = 345  # width of one of a receiver's charts
_NAME = 22  # height of a receiver's name
_SCALE = 1.5  # pixels of a unit


def draw_session(detail: Detail, answers: Sequence[Located]) -> bytes:
    """The picture of a session.

    Args:
        detail: The session; its recordings are read from the snapshot.
        answers: Of `located.locate_session`, the one to look at first.

    Returns:
        PNG bytes that depend on the session and the answers alone.

    Raises:
        HeimdallError: The snapshot is missing or damaged, or what draws is not installed.
    """
    title = f"{heading(detail.session)} ({provenance([detail.session.simulated])} data)"
    parts = [
        _text(_MARGIN, 30, title, size=20),
        _text(_MARGIN, 56, account.sentences(detail, answers)[0], size=15),
        _text(_MARGIN, 79, _KEY, size=13),
    ]
    below = float(_TITLE)
    for _, drawn in session_map.maps(detail, answers):
        height = _MAP * drawn.shown.height_px / WIDTH_PX
        sized = vector_map.svg(drawn).replace("<svg ", f'<svg width="{_MAP}" height="{height:.1f}" ', 1)
        parts.append(_at(_MARGIN, below, Markup(sized)))
        below += height + _MARGIN
    residuals = figures.of_residuals(detail, answers[0])
    if residuals is not None:
        parts.append(_at(_MARGIN, below, residuals.drawing))
        below += residuals.height + _MARGIN
    left, top = _MAP + 2 * _MARGIN, float(_TITLE)
    names = {one.websdr_id: one.label for one in detail.receivers}
    for number, row in figures.of_recordings(detail, answers[0]).items():
        parts.append(_text(left, top + 16, names[number], size=15))
        parts += [_at(left + k * _COLUMN, top + _NAME, one.drawing) for k, one in enumerate(row)]
        top += _NAME + max(one.height for one in row) + _MARGIN
    sheet = style.text_of("vector_map.css").replace("system-ui, sans-serif", f"'{style.FONT}'")
    whole = (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{left + 3 * (_COLUMN + _MARGIN)}" '
        f'height="{max(below, top):.0f}"><style>{sheet}</style>'
        f'<rect width="100%" height="100%" fill="var(--back)"/>{"".join(parts)}</svg>'
    )
    return chart.png(Markup(whole), scale=_SCALE)


def _at(x: float, y: float, drawing: Markup) -> str:
    return f'<g transform="translate({x:.1f} {y:.1f})">{drawing}</g>'


def _text(x: float, y: float, text: str, *, size: int) -> str:
    font = f'font-family="{style.FONT}" font-size="{size}" font-weight="600" fill="var(--text)"'
    return f'<text x="{x:.1f}" y="{y:.1f}" {font}>{escaped(text)}</text>'
