"""ONNX files of both networks, the parity gate, the card, and the stage that writes them, on a tiny world."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from heimdall.core import artifacts, params
from heimdall.core.errors import HeimdallError
from heimdall.geometry.geo import distance_m
from heimdall.inference.onnx_model import SESSION_INPUTS, Arrays, OnnxLocalizer
from heimdall.network import model_file, tokens
from heimdall.network.dataset import DatasetConfig, observations, read_receivers
from heimdall.network.localization_net import LocalizationNet
from heimdall.network.localize import localize
from heimdall.network.model_file import PRETRAINED_HASH
from heimdall.pipeline.export import card, export
from tests import REPOSITORY, known_sessions, session_world
from tests.feature_world import RECORD, VALIDATION_SPLIT, untrained, write_features

PARAMS = params.load(REPOSITORY / "params.yaml")
OUTPUTS = ("models/localizer.onnx", "models/localizer.int8.onnx", "models/README.md", "metrics/export.json")
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


@pytest.fixture(scope="module")
def model() -> LocalizationNet:
    return untrained()


@pytest.fixture(scope="module")
def graph(model: LocalizationNet) -> export.Graph:
    return export.recording_graph(model, (3, 128, 32))


@pytest.fixture(scope="module")
def reference(
    model: LocalizationNet, graph: export.Graph, tmp_path_factory: pytest.TempPathFactory
) -> export.Reference:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return export.held_out(model, graph, DatasetConfig(folder), VALIDATION_SPLIT)


@pytest.fixture(scope="module")
def exported(graph: export.Graph, reference: export.Reference) -> export.Exported:
    return export.export(graph, RECORD, reference, PARAMS.export)


@pytest.fixture(scope="module")
def sessions() -> export.Reference:
    """Ten sessions of one to five receivers, as PyTorch answers them."""
    return export.sessions(known_sessions.graph(), *known_sessions.sessions())


@pytest.fixture(scope="module")
def fusion_file() -> OnnxLocalizer:
    return OnnxLocalizer(known_sessions.exported(), "fusion")


@pytest.fixture(scope="module")
def fusion_int8() -> bytes:
    return export.quantized_bytes(known_sessions.exported())


def moved(answers: Arrays, north_deg: float = 0.0, sigma_factor: float = 1.0) -> Arrays:
    return answers | {
        "positions": answers["positions"] + [north_deg, 0],
        "uncertainties": answers["uncertainties"] * np.float32(sigma_factor),
    }


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


def test_graph_of_recordings_has_the_agreed_inputs_and_outputs(exported: export.Exported) -> None:
    assert shapes_of(exported.float32) == {
        "features": (onnx.TensorProto.FLOAT, ["batch", 3, 128, 32]),
        "positions": (onnx.TensorProto.DOUBLE, ["batch", 2]),
        "uncertainties": (onnx.TensorProto.FLOAT, ["batch", 2]),
    }


def test_graph_of_sessions_has_the_agreed_inputs_and_outputs(sessions: export.Reference) -> None:
    gaussians = ["batch", sessions.answers["weights"].shape[1]]
    single, double, boolean = onnx.TensorProto.FLOAT, onnx.TensorProto.DOUBLE, onnx.TensorProto.BOOL
    rows, tiles = ["batch", "receivers"], ["batch", tokens.TILES + 1]
    assert shapes_of(known_sessions.exported()) == {
        "mel": (single, [*rows, 3, 128, 32]),
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
        "positions": (double, ["batch", 2]),
        "uncertainties": (single, ["batch", 2]),
        "covariance": (double, ["batch", 2, 2]),
        "localizable": (double, ["batch"]),
        "weights": (double, gaussians),
        "means_deg": (double, [*gaussians, 2]),
        "covariances": (double, [*gaussians, 2, 2]),
    }


def test_same_network_gives_the_same_bytes(graph: export.Graph, exported: export.Exported) -> None:
    assert export.onnx_bytes(graph, RECORD, PARAMS.export.opset) == exported.float32
    assert export.quantized_bytes(exported.float32) == exported.int8


@pytest.mark.parametrize("kind", ["single", "fusion"])
def test_files_say_what_they_were_made_of_and_not_where(
    exported: export.Exported, fusion_int8: bytes, kind: str
) -> None:
    contents = {
        "single": (exported.float32, exported.int8),
        "fusion": (known_sessions.exported(), fusion_int8),
    }[kind]
    said = dict(RECORD) | (known_sessions.graph().metadata if kind == "fusion" else {})
    for content in contents:
        model = onnx.load_model_from_string(content)
        stored = {entry.key: entry.value for entry in model.metadata_props}
        assert {key: json.loads(value) for key, value in stored.items()} == json.loads(json.dumps(said))
        assert list(stored) == sorted(stored)
        weights = {item.name for item in model.graph.initializer}
        del model.graph.initializer[:]  # weights hold every short string by chance
        for node in model.graph.node:
            if node.op_type == "Constant":
                node.ClearField("attribute")
        rest = model.SerializeToString()
        assert weights
        assert b"positions" in rest
        for place in (b"/tmp", b"/home", b"site-packages", b".py", str(REPOSITORY).encode()):
            assert place not in rest


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_any_batch_is_answered(exported: export.Exported, reference: export.Reference, variant: str) -> None:
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
    fusion_file: OnnxLocalizer, sessions: export.Reference, size: int, spare: int
) -> None:
    parity = export.compare(
        sessions.answers, fusion_file.answer(sessions.batches(size, spare)), PARAMS.export
    )
    assert parity.n == 10
    assert parity.share == 1
    assert parity.max_distance_m < 0.01
    assert parity.max_probability_change < 1e-4


def test_unused_rows_may_hold_anything_finite_and_the_order_of_receivers_does_not_matter(
    fusion_file: OnnxLocalizer, sessions: export.Reference
) -> None:
    (batch,) = sessions.batches(10, 2)
    unused = ~batch["mask"]
    assert unused.any(axis=1).all()
    filled = {name: value.copy() for name, value in batch.items()}
    for name in set(SESSION_INPUTS) - {"mask", "centre_m", "prior_m2", "log_power"}:
        filled[name][unused] = 3.0
    turned = {
        name: value if name in ("centre_m", "prior_m2", "log_power") else value[:, ::-1].copy()
        for name, value in filled.items()
    }
    for changed in (filled, turned):
        assert export.compare(sessions.answers, fusion_file.answer([changed]), PARAMS.export).share == 1


def test_session_answer_is_one_of_the_gaussians(sessions: export.Reference) -> None:
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


def test_solver_in_the_graph_finds_transmitters_that_five_receivers_hear(sessions: export.Reference) -> None:
    five = slice(4, None, 5)
    error_m = distance_m(*sessions.answers["positions"][five].T, *sessions.truth_deg[five].T)
    assert error_m.max() < 300  # arrival times are off by 100 ns, and the untrained network adds biases


def test_sessions_of_the_test_split_are_the_reference_and_its_answers_those_of_the_evaluation(
    tmp_path: Path,
) -> None:
    session_world.write(tmp_path)
    config = DatasetConfig(tmp_path)
    network = known_sessions.network()
    record = RECORD | {"params": {"features": RECORD["params"]["features"] | {"n_mels": 32}}}
    graph = export.graph(network, record, config)
    assert graph.metadata["preprocessing"]["receivers"]["websdr_id"] == [1, 2, 3, 4, 5]
    reference = export.held_out(network, graph, config, session_world.VALIDATION_SPLIT)
    found = observations(config, "test", session_world.VALIDATION_SPLIT)
    posterior = localize(network, found.observations, read_receivers(config))
    places_deg = np.stack(session_world.PLANE.to_degrees(*posterior.position_m.T), -1)
    assert len(reference.truth_deg) == 4
    assert distance_m(*reference.answers["positions"].T, *places_deg.T).max() < 0.01
    np.testing.assert_allclose(reference.answers["localizable"], posterior.within(1000.0), atol=0.01)


def test_float32_is_at_par_and_int8_is_smaller(exported: export.Exported) -> None:
    assert exported.parity.n == 8
    assert exported.parity.share == 1
    assert exported.parity.max_distance_m < PARAMS.export.parity_tolerance_m
    assert len(exported.int8) < len(exported.float32) / 3
    assert exported.int8_shift_m.max() > exported.parity.max_distance_m


def test_int8_of_a_session_keeps_the_solver_in_float64(
    sessions: export.Reference, fusion_int8: bytes
) -> None:
    graph = onnx.load_model_from_string(fusion_int8).graph
    integer = [node for node in graph.node if node.op_type in ("ConvInteger", "MatMulInteger")]
    assert integer
    assert all("/backbone/" in node.name for node in integer)
    assert len(fusion_int8) < len(known_sessions.exported()) / 2.5
    answers = OnnxLocalizer(fusion_int8, "int8", portable=True).answer(sessions.batches(1))
    shift = export.compare(sessions.answers, answers, PARAMS.export)
    assert 1e-3 < shift.max_distance_m < 500


def test_parity_counts_both_tolerances(reference: export.Reference) -> None:
    own = reference.answers
    assert export.compare(own, own, PARAMS.export) == export.Parity(8, 0.0, 0.0, 0.0, 1.0)
    shifted = export.compare(own, moved(own, north_deg=1e-6), PARAMS.export)  # 0.11 m
    assert shifted.max_distance_m == pytest.approx(0.111, abs=0.001)
    assert shifted.share == 0
    assert export.compare(own, moved(own, north_deg=8e-7), PARAMS.export).share == 1
    assert export.compare(own, moved(own, sigma_factor=1.011), PARAMS.export).share == 0
    assert export.compare(own, moved(own, sigma_factor=0.991), PARAMS.export).share == 1


def test_parity_of_sessions_counts_every_gaussian_that_is_shown(sessions: export.Reference) -> None:
    own = sessions.answers
    shown = own["weights"] >= export.SHOWN_WEIGHT

    def share(**changed: np.ndarray[Any, Any]) -> float:
        return export.compare(own, own | changed, PARAMS.export).share

    assert share() == 1
    off_deg = np.array([1e-5, 0])
    assert share(means_deg=own["means_deg"] + off_deg * ~shown[..., None]) == 1
    assert share(means_deg=own["means_deg"] + off_deg * shown[..., None]) == 0
    assert share(covariances=own["covariances"] * 1.03) == 0
    assert share(weights=own["weights"] + 0.02) == 0
    assert share(localizable=own["localizable"] + 0.02) == 0


def test_other_network_fails_the_gate(graph: export.Graph, reference: export.Reference) -> None:
    perturbed = dataclasses.replace(reference, answers=moved(reference.answers, north_deg=1e-4))
    with pytest.raises(HeimdallError, match=r"agrees with PyTorch .* on 0\.00% of 8 .*Nothing was written"):
        export.export(graph, RECORD, perturbed, PARAMS.export)


def test_cost_of_int8_is_measured_against_the_truth(
    exported: export.Exported, reference: export.Reference
) -> None:
    localizer = OnnxLocalizer(exported.int8, "int8", portable=True)
    one_by_one = localizer.answer(reference.batches(1))
    shift = export.compare(reference.answers, one_by_one, PARAMS.export)
    assert exported.int8_shift_m.max() == shift.max_distance_m
    bound_m = float(exported.int8_shift_m.mean())
    assert 0 < abs(exported.int8_mae_change_m) <= bound_m


def domains(localizer: OnnxLocalizer, content: bytes, file: Path) -> set[str]:
    """Where the operators come from that ONNX Runtime really runs."""
    options = localizer._session.get_session_options()
    options.optimized_model_filepath = str(file)
    ort.InferenceSession(content, options, providers=["CPUExecutionProvider"])
    return {node.domain for node in onnx.load_model(file).graph.node}


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_portable_way_has_no_layout_as_wide_as_the_cpus_vectors(
    exported: export.Exported, variant: str, tmp_path: Path
) -> None:
    content = getattr(exported, variant)
    found = {
        portable: domains(OnnxLocalizer(content, variant, portable=portable), content, tmp_path / "x.onnx")
        for portable in (True, False)
    }
    assert "com.microsoft.nchwc" in found[False]
    assert "com.microsoft.nchwc" not in found[True]


def test_figures_are_of_the_portable_way_and_both_ways_must_pass_the_gate(
    graph: export.Graph, exported: export.Exported, reference: export.Reference
) -> None:
    portable, fast = (
        OnnxLocalizer(exported.float32, "float32", portable=portable).answer(reference.batches(8))
        for portable in (True, False)
    )
    assert export.compare(reference.answers, portable, PARAMS.export) == exported.parity
    distances_m = [
        export.compare(reference.answers, answer, PARAMS.export).max_distance_m for answer in (portable, fast)
    ]
    assert distances_m[0] != distances_m[1]
    between = dataclasses.replace(PARAMS.export, parity_tolerance_m=sum(distances_m) / 2)
    with pytest.raises(HeimdallError, match="agrees with PyTorch"):
        export.export(graph, RECORD, reference, between)


def test_report_holds_every_digit_that_was_measured(exported: export.Exported) -> None:
    parity = export.Parity(8, 0.013123456789, 2.3456e-7, 1.25e-8, 0.995)
    made = dataclasses.replace(
        exported, parity=parity, int8_shift_m=np.array([90.0, 127.125, 1000.0]), int8_mae_change_m=-0.0412
    )
    figures = export.report(made, "simulated", PARAMS.export)
    assert figures["model"] == "single"
    assert figures["parity"] == dataclasses.asdict(parity) | {"tolerance_m": 0.1, "tolerance_sigma": 0.01}
    assert figures["int8"]["median_shift_m"] == 127.125
    assert figures["int8"]["mae_change_m"] == -0.0412
    assert figures["float32"]["size_mb"] == round(len(exported.float32) / 1e6, 3)
    assert figures["float32"]["below_100_mb"] is True


@pytest.mark.parametrize("kind", ["single", "fusion"])
def test_card_tells_figures_interface_and_limits(exported: export.Exported, kind: str) -> None:
    figures = export.report(exported, "simulated", PARAMS.export) | {"model": kind}
    text = card.card(RECORD, EVALUATION, figures)
    assert "from **simulated** data" in text
    assert "weights of **simulated** sessions" not in text
    assert "weights of **simulated** sessions" in card.card(
        RECORD | {PRETRAINED_HASH: "0"}, EVALUATION, figures
    )
    assert str(RECORD["data_fingerprint"]) in text
    assert "| mean error, m | 512 [400, 700] |" in text
    assert "8 sessions of 3 transmitters, held out by transmitter" in text
    made = known_sessions.graph() if kind == "fusion" else export.recording_graph(untrained(), (3, 128, 32))
    for name in (*made.example, *made.outputs):
        assert f"`{name}`" in text
    assert "3, 128, 32)" in text
    assert "30 m" in text.partition("## Limits")[2]
    assert "{" not in text.partition("## Made of")[0]


def test_export_onnx_takes_the_input_that_the_features_have(model: LocalizationNet, tmp_path: Path) -> None:
    features = RECORD["params"]["features"] | {"n_mels": 64, "frames": 48}
    record = RECORD | {"params": RECORD["params"] | {"features": features}}
    nowhere = DatasetConfig(tmp_path / "none")  # a single-receiver network knows no receivers
    export.export_onnx(model, tmp_path / "localizer.onnx", record, PARAMS.export.opset, nowhere)
    (value,) = onnx.load_model(tmp_path / "localizer.onnx").graph.input
    assert [d.dim_value for d in value.type.tensor_type.shape.dim[1:]] == [3, 64, 48]
    with pytest.raises(HeimdallError, match="receivers"):
        export.export_onnx(
            known_sessions.network(), tmp_path / "x.onnx", record, PARAMS.export.opset, nowhere
        )
    assert not (tmp_path / "x.onnx").exists()


def test_export_onnx_replaces_a_file_whole(
    model: LocalizationNet, exported: export.Exported, tmp_path: Path
) -> None:
    target = tmp_path / "models" / "localizer.onnx"
    export.export_onnx(model, target, RECORD, PARAMS.export.opset, DatasetConfig(tmp_path))
    assert target.read_bytes() == exported.float32
    assert list(target.parent.iterdir()) == [target]


def test_foreign_bytes_are_no_localizer(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="no ONNX localizer"):
        OnnxLocalizer(b"not a graph", "x.onnx")
    with pytest.raises(HeimdallError, match=r"missing\.onnx: it cannot be read"):
        OnnxLocalizer.open(tmp_path / "missing.onnx")
    value = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [1]) for name in ("x", "y")]
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", value[:1], value[1:])
    opsets = [onnx.helper.make_opsetid("", 18)]
    onnx.save_model(
        onnx.helper.make_model(graph, opset_imports=opsets, ir_version=9), tmp_path / "other.onnx"
    )
    with pytest.raises(HeimdallError, match=r"no ONNX localizer \(it takes x\)"):
        OnnxLocalizer.open(tmp_path / "other.onnx")


def stage(name: str) -> ModuleType:
    """A stage script as a module, so that its `main` runs in this process."""
    spec = importlib.util.spec_from_file_location(f"stage_{name}", REPOSITORY / "stages" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def run(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", [f"stages/{name}.py"])
    stage(name).main()


@pytest.fixture
def repository(model: LocalizationNet, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in which the stage can run, after evaluate."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(REPOSITORY / "params.yaml", "params.yaml")
    write_features(Path("data/features"))
    model_file.save(model, Path("models/localizer.safetensors"), Path("models/localizer.json"), dict(RECORD))
    artifacts.write_json(Path("metrics/eval.json"), EVALUATION)
    return tmp_path


def test_stage_writes_models_metrics_and_card(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", monkeypatch)
    said = capsys.readouterr().out
    assert "of 8 test cases 100.00% agree with PyTorch" in said
    assert "(simulated data)" in said
    assert all((repository / name).is_file() for name in OUTPUTS)
    written = artifacts.read_json(repository / "metrics" / "export.json")
    assert written["model"] == "single"
    assert "# Heimdall localizer" in (repository / "models" / "README.md").read_text(encoding="utf-8")


def test_failed_gate_leaves_the_former_files(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    text = (repository / "params.yaml").read_text(encoding="utf-8")
    strict = text.replace("parity_tolerance_m: 0.1", "parity_tolerance_m: 1.0e-12")
    assert strict != text
    (repository / "params.yaml").write_text(strict, encoding="utf-8")
    for name in OUTPUTS:
        artifacts.write_bytes(repository / name, b"former")
    before = sorted(path for path in repository.rglob("*"))
    with pytest.raises(HeimdallError, match="agrees with PyTorch"):
        run("export", monkeypatch)
    assert all((repository / name).read_bytes() == b"former" for name in OUTPUTS)
    assert sorted(path for path in repository.rglob("*")) == before
