"""A tiny data/features/ for the tests of this room."""

from __future__ import annotations

import pytest

from heimdall.network.dataset import DatasetConfig, Sessions, observations
from tests import session_world
from tests.session_world import VALIDATION_SPLIT


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    folder = tmp_path_factory.mktemp("features")
    session_world.write(folder)
    return DatasetConfig(folder)


@pytest.fixture(scope="module")
def held_out(data: DatasetConfig) -> Sessions:
    return observations(data, "test", VALIDATION_SPLIT)
