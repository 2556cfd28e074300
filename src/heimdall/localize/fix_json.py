"""What was located as JSON."""

from __future__ import annotations

from typing import Any

from heimdall.localize.answer import Answer


def document(answer: Answer) -> dict[str, Any]:
    """The answer as one JSON object, as `core.artifacts.json_text` writes it."""
    return {"title": answer.title}
