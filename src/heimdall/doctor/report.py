"""What was looked at, as text and as JSON."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

OK, WARNING, MISSING = "ok", "warning", "missing"


@dataclass(frozen=True)
class Check:
    """One thing that was looked at.

    Attributes:
        name: What, in a word or two.
        state: `OK`; `WARNING` where the demo works, but not as promised; `MISSING` where it would stop.
        found: What was found, in words, without secrets.
        remedy: What to do; empty where all is well.
    """

    name: str
    state: str
    found: str
    remedy: str = ""


def passes(found: Sequence[Check]) -> bool:
    """Whether nothing is missing."""
    return all(check.state != MISSING for check in found)


def lines(found: Sequence[Check]) -> list[str]:
    """One line a check, its remedy below it, and a last line with the verdict.

    Args:
        found: At least one check.
    """
    # Aligned by hand: the library that prints our other tables may not be installed yet.
    width = max(len(check.name) for check in found)
    shown = []
    for check in found:
        shown.append(f"{check.state:<7}  {check.name:<{width}}  {check.found}")
        if check.remedy:
            shown.append(f"{'':<7}  {'':<{width}}  Remedy: {check.remedy}.")
    missing = [check.name for check in found if check.state == MISSING]
    warnings = sum(check.state == WARNING for check in found)
    if missing:
        return [*shown, f"The demo cannot run here yet. Missing: {', '.join(missing)}."]
    said = {0: "", 1: " One warning: see above."}.get(warnings, f" {warnings} warnings: see above.")
    return [*shown, f"Nothing is missing.{said}"]


def as_json(found: Sequence[Check]) -> dict[str, Any]:
    """The same for programs: whether nothing is missing, and the checks."""
    return {"ready": passes(found), "checks": [dataclasses.asdict(check) for check in found]}
