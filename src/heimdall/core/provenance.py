"""The word that stands beside every figure: were the recordings simulated?"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

Provenance = Literal["simulated", "recorded", "mixed"]


def provenance(simulated: Iterable[bool]) -> Provenance:
    """Where recordings come from.

    Args:
        simulated: For each recording, at least one, whether a simulator made it.
    """
    kinds = {bool(value) for value in simulated}
    if len(kinds) > 1:
        return "mixed"
    return "simulated" if kinds == {True} else "recorded"
