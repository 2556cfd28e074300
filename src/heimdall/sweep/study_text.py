"""A study's trials as lines of text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from heimdall.core import table
from heimdall.sweep import study


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The trials as a table, the commit without its later digits, and the best one."""
    if not rows:
        return ["no trials yet"]
    found = table.lines(list(rows[0]), [[_text(name, value) for name, value in row.items()] for row in rows])
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    if not complete:
        return found
    best = min(complete, key=lambda row: float(row[study.METRIC]))
    value = f"{study.METRIC} {best[study.METRIC]:.4f}"
    return [
        *found,
        f"best: {best[study.EXPERIMENT]}, {value}; `dvc exp apply {best[study.EXPERIMENT]}`",
    ]


def _text(name: str, value: object) -> str:
    """A cell."""
    if value is None:
        return "-"
    if name == study.COMMIT:
        return str(value)[:12]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
