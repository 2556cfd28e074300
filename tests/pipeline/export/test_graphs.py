"""What goes into the exported graphs, and what comes out."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from heimdall.geometry.geo import distance_m
from heimdall.inference.onnx_model import SESSION_INPUTS, TILE_INPUTS, OnnxLocalizer
from heimdall.network import tokens
from heimdall.pipeline.export.export import Exported
from heimdall.pipeline.export.parity import compare
from heimdall.pipeline.export.reference import Reference
from tests import known_sessions
from tests.pipeline.export.conftest import PARAMS


def shapes_of(content: bytes) -> dict[str, tuple[int, list[str | int]]]:
    """Type and shape of each input and output."""
    graph = onnx.load_model_from_string(content).graph
    return {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }


def test_graph_of_recordings_has_the_agreed_inputs_and_outputs(exported: Exported) -> None:
    assert shapes_of(exported.float32) == {
        "features": (onnx.TensorProto.FLOAT, ["batch", 3, 128, 32]),
        "positions": (onnx.TensorProto.DOUBLE, ["batch", 2]),
        "uncertainties": (onnx.TensorProto.FLOAT, ["batch", 2]),
    }


def test_graph_of_sessions_has_the_agreed_inputs_and_outputs(sessions: Reference) -> None:
    gaussians = ["batch", sessions.answers["weights"].shape[1]]
    single, double, boolean = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL
    rows, tiles = ["batch", "receivers"], ["batch", tokens.TILES + 1]
    assert shapes_of(known_sessions.exported()) == {
        "mask": (boolean, rows),
        "delay_s": (double, rows),
        "information_s2": (double, rows),
        "timing_sigma_s": (double, rows),
        "receiver_m": (double, [*rows, 3]),
        "physical": (single, [*rows, len(tokens.PHYSICAL)]),
        "shape": (single, [*rows, tokens.SHAPE]),
        "centre_m": (double, [*tiles, 2]),
        "prior_m2": (double, [*tiles, 2, 2]),
        "log_power": (double, tiles),
        "start_m": (double, [*tiles, 2]),
        "positions": (double, ["batch", 2]),
        "uncertainties": (single, ["batch", 2]),
        "covariance": (double, ["batch", 2, 2]),
        "localizable": (double, ["batch"]),
        "weights": (double, gaussians),
        "means_deg": (double, [*gaussians, 2]),
        "covariances": (double, [*gaussians, 2, 2]),
    }


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_any_batch_is_answered(exported: Exported, reference: Reference, variant: str) -> None:
    localizer = OnnxLocalizer(getattr(exported, variant), variant)
    assert localizer.kind == "single"
    (batch,) = reference.batches(8)
    for n in (1, 5):
        answer = localizer.estimate(batch["features"][:n], batch_size=n)
        assert len(answer) == n
        np.testing.assert_allclose(answer.latitude_deg, reference.answers["positions"][:n, 0], atol=0.1)
        np.testing.assert_allclose(answer.sigma_east_m, reference.answers["uncertainties"][:n, 0], rtol=0.2)


@pytest.mark.parametrize(("size", "spare"), [(1, 0), (10, 0), (3, 2), (10, 7)])
def test_sessions_are_answered_alike_in_any_batch_and_with_any_unused_rows(
    fusion_file: OnnxLocalizer, sessions: Reference, size: int, spare: int
) -> None:
    parity = compare(sessions.answers, fusion_file.answer(sessions.batches(size, spare)), PARAMS.export)
    assert parity.n == 10
    assert parity.share == 1
    assert parity.max_distance_m < 0.01
    assert parity.max_probability_change < 1e-4


def test_unused_rows_may_hold_anything_finite_and_the_order_of_receivers_does_not_matter(
    fusion_file: OnnxLocalizer, sessions: Reference
) -> None:
    (batch,) = sessions.batches(10, 2)
    unused = ~batch["mask"]
    assert unused.any(axis=1).all()
    filled = {name: value.copy() for name, value in batch.items()}
    for name in set(SESSION_INPUTS) - {"mask", *TILE_INPUTS}:
        filled[name][unused] = 3.0
    turned = {name: value if name in TILE_INPUTS else value[:, ::-1].copy() for name, value in filled.items()}
    for changed in (filled, turned):
        assert compare(sessions.answers, fusion_file.answer([changed]), PARAMS.export).share == 1


def test_session_answer_is_one_of_the_gaussians(sessions: Reference) -> None:
    answers = sessions.answers
    off = (answers["means_deg"] - answers["positions"][:, None]) ** 2
    row, medoid = np.arange(len(off)), off.sum(-1).argmin(1)
    np.testing.assert_array_equal(answers["positions"], answers["means_deg"][row, medoid])
    np.testing.assert_array_equal(answers["covariance"], answers["covariances"][row, medoid])
    np.testing.assert_allclose(
        answers["uncertainties"], np.sqrt(np.diagonal(answers["covariance"], axis1=1, axis2=2)), rtol=1e-6
    )
    np.testing.assert_allclose(answers["weights"].sum(1), 1)
    assert answers["localizable"].max() > 0.9  # five timed receivers
    assert answers["localizable"].min() < 0.1  # one


def test_solver_in_the_graph_finds_transmitters_that_five_receivers_hear(sessions: Reference) -> None:
    five = slice(4, None, 5)
    error_m = distance_m(*sessions.answers["positions"][five].T, *sessions.truth_deg[five].T)
    assert error_m.max() < 300  # arrival times are off by 100 ns, and the untrained network adds biases
