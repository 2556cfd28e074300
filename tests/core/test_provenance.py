"""No figure from simulated data passes for a recorded one."""

from __future__ import annotations

import pandas as pd
import pytest

from heimdall.core.provenance import provenance


@pytest.mark.parametrize(
    ("simulated", "wanted"),
    [([True, True], "simulated"), ([False], "recorded"), ([True, False], "mixed"), ([False, True], "mixed")],
)
def test_one_other_recording_changes_the_word(simulated: list[bool], wanted: str) -> None:
    assert provenance(simulated) == wanted
    assert provenance(pd.Series(simulated)) == wanted
