"""Which stages are rebuilt, and from which inputs."""

from __future__ import annotations

import pytest

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import verify
from heimdall.reproduce.dvc_lock import Lock


def test_what_is_rebuilt_and_from_which_inputs(lock: Lock) -> None:
    def names(first: str | None, source: bool) -> list[str]:
        return [stage.name for stage in verify.chosen(lock, first, source)]

    assert names(None, False) == ["featurize", "train"]
    assert names(None, True) == ["snapshot", "featurize", "train"]
    assert names("train", False) == ["train"]
    assert names("snapshot", True) == ["snapshot", "featurize", "train"]
    assert verify.inputs(lock, verify.chosen(lock, "train", False)) == [
        "data/featurize",
        "metrics/featurize.json",
    ]
    assert verify.inputs(lock, verify.chosen(lock, None, True)) == []


def test_a_lock_without_outputs_proves_nothing(lock: Lock) -> None:
    with pytest.raises(HeimdallError, match="names no output"):
        verify.chosen({"snapshot": lock["snapshot"]}, None, False)
