"""What was located as KML 2.2."""

from __future__ import annotations

from heimdall.localize.answer import Answer


def text(answer: Answer) -> str:
    """The answer, with a newline at its end."""
    return answer.title + "\n"
