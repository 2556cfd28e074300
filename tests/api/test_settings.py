"""Where a data set comes from when Python code asks for one."""

from __future__ import annotations

from pathlib import Path

import pytest

import heimdall
from heimdall.api import settings
from heimdall.core.errors import HeimdallError
from tests import tiny_features
from tests.conftest import SERVICE_VARIABLES


def test_features_that_are_there_are_taken(tmp_path: Path) -> None:
    tiny_features.write(tmp_path / "a", count=10)
    tiny_features.write(tmp_path / "b/data/features", count=10)
    for folder in ("a", "b"):
        assert len(heimdall.HeimdallDataset(heimdall.Settings(tmp_path / folder))) == 12


def test_without_features_and_servers_both_remedies_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in SERVICE_VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(settings.paths, "CLONE", tmp_path / "clone")
    with pytest.raises(HeimdallError, match=r"holds no features.*dvc repro featurize.*heimdall services up"):
        heimdall.Settings(tmp_path / "empty").features()
    assert not (tmp_path / "empty").exists()
