"""MLflow's registry holds a release once, whoever else registers it at the same moment."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import mlflow
import pytest

from heimdall.core.errors import HeimdallError
from heimdall.release import mlflow_registry
from heimdall.release.mlflow_registry import ALIAS, NAME, VERSION_TAG, Wanted


def test_two_that_register_the_same_release_at_once_leave_one_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = f"sqlite:///{tmp_path}/mlflow.db"
    wanted = Wanted("v1.0.0", "s3://models/v1.0.0", {"release_sha256": "0" * 64}, champion=True)
    create = mlflow.MlflowClient.create_model_version

    def together(client: mlflow.MlflowClient, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401
        """The other process saw no version either, and makes its own first."""
        create(client, *arguments, **named)
        return create(client, *arguments, **named)

    monkeypatch.setattr(mlflow.MlflowClient, "create_model_version", together)
    assert mlflow_registry.apply(uri, wanted)
    client = mlflow.MlflowClient(uri)
    (version,) = client.search_model_versions(f"name = '{NAME}'")
    assert (int(version.version), version.tags[VERSION_TAG]) == (1, "v1.0.0")
    assert client.get_registered_model(NAME).aliases == {ALIAS: 1}

    assert not mlflow_registry.apply(uri, wanted)
    other = Wanted("v1.0.0", "s3://models/v1.0.0", {"release_sha256": "1" * 64}, champion=True)
    with pytest.raises(ValueError, match=r"version 1 of heimdall-localizer is another"):
        mlflow_registry.apply(uri, other)

    # Before a release: MLflow must not hold a model of its name.
    monkeypatch.setenv("HEIMDALL_TRACKING", "on")
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    mlflow_registry.require_free(tmp_path, "v1.0.1")
    with pytest.raises(HeimdallError, match=r"version 1 of .* is another model.*Delete that version there"):
        mlflow_registry.require_free(tmp_path, "v1.0.0")
