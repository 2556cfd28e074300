"""A store of its own for each test, and one that they share: its tables take seconds."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.track import tracking
from tests.conftest import as_clone
from tests.track.runs import EPOCHS, METRICS, PARAMS, STARTED_MS, VARIABLES


@pytest.fixture(autouse=True)
def _untied(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store, no experiment and no repository but the test's own."""
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A folder with an embedded store, and the first run in it. Its tables take seconds: others share it."""
    root = tmp_path_factory.mktemp("embedded")
    (root / "params.yaml").write_text("lr: 1\nsnapshot: {shard_sessions: 4}\n")
    as_clone(root)
    with pytest.MonkeyPatch.context() as patch:
        for name in VARIABLES:
            patch.delenv(name, raising=False)
        patch.chdir(root)
        run_id = tracking.track(PARAMS, EPOCHS, METRICS, STARTED_MS)
    assert run_id is not None
    return root, run_id
