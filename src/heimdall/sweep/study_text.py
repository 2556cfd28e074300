"""A study's trials as lines of text, and for machines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import optuna

from heimdall.core import table
from heimdall.sweep import study


def lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The trials as a table, the commit without its later digits, and the best one."""
    if not rows:
        return ["There are no trials yet."]
    found = table.lines(list(rows[0]), [[_text(name, value) for name, value in row.items()] for row in rows])
    best = _best(rows)
    if best is None:
        return found
    name, value = best[study.EXPERIMENT], f"{study.METRIC} {best[study.METRIC]:.4f}"
    return [
        *found,
        f"best: {name}, {value}; `dvc exp apply {name}` brings it to the workspace",
    ]


def content(found: optuna.Study) -> dict[str, Any]:
    """What `lines` show, and what the study was begun with: `json.dumps` takes it."""
    rows = study.rows(found)
    best = _best(rows)
    begun = dict(found.user_attrs)
    name = None if best is None else best[study.EXPERIMENT]
    return {"study": found.study_name, **begun, "metric": study.METRIC, "best": name, "trials": rows}


def _best(rows: Sequence[Mapping[str, Any]]) -> Mapping[str, Any] | None:
    """The complete trial of the lowest value."""
    complete = [row for row in rows if row["state"] == "COMPLETE"]
    return min(complete, key=lambda row: float(row[study.METRIC]), default=None)


def _text(name: str, value: object) -> str:
    """A cell."""
    if value is None:
        return "-"
    if name == study.COMMIT:
        return str(value)[:12]
    return f"{value:.6g}" if isinstance(value, float) else str(value)
