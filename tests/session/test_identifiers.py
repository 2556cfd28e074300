"""Which session a person means, by what was typed of its identifier."""

from __future__ import annotations

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.session import identifiers

EXISTING = [
    "6f1c2a9e-0b7d-4c3e-9a51-2f8e4d7b1c60",
    "6f1d0000-0b7d-4c3e-9a51-2f8e4d7b1c60",
    "7e088111-b8d8-4db7-8119-ab6a8c94731c",
    "7e088111-b8d8-4db7-8119-ab6a8c94731c",  # once a recording
]


@pytest.mark.parametrize("typed", ["7", "7E088111", "7e088111-b8d8", EXISTING[2]])
def test_the_beginning_that_no_other_has_is_enough(typed: str) -> None:
    assert identifiers.find(typed, EXISTING, "data") == EXISTING[2]


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("6f1", "data: 2 sessions begin with 6f1. Type more of it, such as 6f1c2a9e-0b7d"),
        ("7e088112", "no session 7e088112. Did you mean 7e088111-b8d8-4db7-8119-ab6a8c94731c?"),
        ("00000000", "no session 00000000. `heimdall session list` shows all, such as 6f1c2a9e"),
        ("session-1", "'session-1': no session's identifier"),
        ("../secret", "'../secret': no session's identifier"),
    ],
)
def test_what_means_no_session_is_told_what_it_may_mean(typed: str, said: str) -> None:
    with pytest.raises(HeimdallError) as caught:
        identifiers.find(typed, EXISTING, "data")
    assert said in str(caught.value)
