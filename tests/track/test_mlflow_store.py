"""Where runs go: credentials stay where they belong, and out of every text."""

from __future__ import annotations

from pathlib import Path

import pytest

from heimdall.storage import endpoints
from heimdall.storage.identities import Identity
from heimdall.track import mlflow_store, spool, training
from tests.conftest import Services
from tests.track.runs import EPOCHS, METRICS, STARTED_MS


def test_another_s3_server_keeps_its_own_credentials(
    services: Services, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example")
    ours = mlflow_store.resolve(services.root).environment
    keys = endpoints.s3(services.root, Identity.TRACKER).keys
    assert keys is not None
    assert ours["AWS_SECRET_ACCESS_KEY"] == keys.secret_key
    monkeypatch.setenv("MLFLOW_S3_ENDPOINT_URL", "https://s3.example")
    assert not {"AWS_SECRET_ACCESS_KEY", "MLFLOW_S3_ENDPOINT_URL"} & set(
        mlflow_store.resolve(services.root).environment
    )


def test_secrets_are_left_out(tmp_path: Path) -> None:
    text = "postgresql+psycopg2://heimdall:p%40ss@db:5432/mlflow failed for http://a:b@c/"
    assert mlflow_store.without_secrets(text) == "postgresql+psycopg2://db:5432/mlflow failed for http://c/"
    assert mlflow_store.without_secrets("postgresql://u:p@s/s@db/x?password=p&a=1") == (
        "postgresql://db/x?password=&a=1"
    )
    given = {"source": "http://user:hunter2@host/"}
    path = spool.write(
        tmp_path,
        training.training_run(tmp_path, given, EPOCHS, METRICS, started_ms=STARTED_MS, stage="train"),
    )
    run = spool.read(path)
    assert run.params == {"source": "http://host/"}
    assert b"hunter2" not in path.read_bytes() + run.files["params.yaml"]


@pytest.mark.parametrize("scheme", ["postgresql", "postgres", "postgresql+psycopg2"])
def test_postgresql_is_reached_by_the_driver_that_is_installed(
    scheme: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"{scheme}://user:secret@db:5432/mlflow")
    assert mlflow_store.address(tmp_path) == "postgresql+psycopg2://user:secret@db:5432/mlflow"
