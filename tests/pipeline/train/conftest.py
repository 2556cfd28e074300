"""The environment of a stage, and one undisturbed training that many tests compare with."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from heimdall.core import determinism
from heimdall.pipeline.train.training import Training, TrainingResult
from tests import tiny_features
from tests.single_training import settings


@pytest.fixture(scope="package", autouse=True)
def _recipe() -> Iterator[None]:
    """The environment of a stage; a checkpoint of another one is not gone on from."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in determinism.recipe(threads=1).items():
            patch.setenv(name, value)
        yield


@pytest.fixture(scope="package")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    tiny_features.write(folder, count=10)
    return folder


@pytest.fixture(scope="package")
def undisturbed(data_dir: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, TrainingResult]:
    folder = tmp_path_factory.mktemp("undisturbed")
    pipeline = Training(settings(), data_dir, folder / "work")
    return folder / "out", pipeline.run(folder / "out", keep_checkpoints=True)
