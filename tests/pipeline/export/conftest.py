"""Both networks exported on a tiny world, once for the tests of this room."""

from __future__ import annotations

import numpy as np
import pytest

from heimdall.core import params
from heimdall.inference.onnx_model import Arrays, OnnxLocalizer
from heimdall.network.dataset import DatasetConfig
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.export import card, export
from heimdall.pipeline.export import reference as test_set
from heimdall.pipeline.export.export import Exported
from heimdall.pipeline.export.graphs import Graph, recording_graph
from heimdall.pipeline.export.onnx_file import quantized_bytes
from heimdall.pipeline.export.reference import Reference
from tests import REPOSITORY, known_sessions
from tests.feature_world import RECORD, VALIDATION_SPLIT, untrained, write_features

PARAMS = params.load(REPOSITORY / "params.yaml")
FIGURES = {
    "mae_m": 512.4,
    "mae_m_low": 400.0,
    "mae_m_high": 700.0,
    "median_m": 90.0,
    "p90_m": 1500.0,
    "accuracy_30m": 0.125,
    "accuracy_100m": 0.5,
    "calibration_error_m": 40.0,
    "nll_nats": 11.25,
    "coverage_68": 0.66,
    "coverage_95": 0.94,
    "n": 8,
    "clusters": 3,
}
EVALUATION = {
    "data": "simulated",
    "split_by": "transmitter",
    "targets": {"mae_m": 30.0},
    "test": dict.fromkeys(card.COLUMNS, FIGURES),
}


@pytest.fixture(scope="package")
def model() -> LocalizationNet:
    return untrained()


@pytest.fixture(scope="package")
def graph(model: LocalizationNet) -> Graph:
    return recording_graph(model, (3, 128, 32))


@pytest.fixture(scope="package")
def reference(model: LocalizationNet, graph: Graph, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return test_set.held_out(model, graph, DatasetConfig(folder), VALIDATION_SPLIT)


@pytest.fixture(scope="package")
def exported(graph: Graph, reference: Reference) -> Exported:
    return export.export(graph, RECORD, reference, PARAMS.export)


@pytest.fixture(scope="package")
def sessions() -> Reference:
    """Ten sessions of one to five receivers, as PyTorch answers them."""
    return test_set.sessions(known_sessions.graph(), *known_sessions.sessions())


@pytest.fixture(scope="package")
def fusion_file() -> OnnxLocalizer:
    return OnnxLocalizer(known_sessions.exported(), "fusion")


@pytest.fixture(scope="package")
def fusion_int8() -> bytes:
    return quantized_bytes(known_sessions.exported())


def moved(answers: Arrays, north_deg: float = 0.0, sigma_factor: float = 1.0) -> Arrays:
    return answers | {
        "positions": answers["positions"] + [north_deg, 0],
        "uncertainties": answers["uncertainties"] * np.float32(sigma_factor),
    }
