"""ONNX files, the parity gate, the card, and the two stages that end the pipeline, on a tiny world."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import onnxruntime as ort
import pytest

from heimdall import artifacts, evaluation, export, params
from heimdall import model as models
from heimdall.dataset import DatasetConfig, HeimdallDataset
from heimdall.errors import HeimdallError
from heimdall.inference import OnnxLocalizer
from heimdall.metrics import Estimates
from heimdall.model import LocalizationNet
from tests.feature_world import RECORD, VALIDATION_SPLIT, untrained, write_features

ROOT = Path(__file__).parent.parent
PARAMS = params.load(ROOT / "params.yaml")
OUTPUTS = ("models/localizer.onnx", "models/localizer.int8.onnx", "models/README.md", "metrics/export.json")


@pytest.fixture(scope="module")
def model() -> LocalizationNet:
    return untrained()


@pytest.fixture(scope="module")
def reference(model: LocalizationNet, tmp_path_factory: pytest.TempPathFactory) -> export.Reference:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    dataset = HeimdallDataset(DatasetConfig(folder), "test", None, VALIDATION_SPLIT)
    return export.Reference(
        features=np.stack([dataset.features(position) for position in range(len(dataset))]),
        truth_deg=dataset.index[["latitude_deg", "longitude_deg"]].to_numpy(np.float64),
        estimates=evaluation.estimate(model, dataset),
    )


@pytest.fixture(scope="module")
def exported(model: LocalizationNet, reference: export.Reference) -> export.Exported:
    return export.export(model, RECORD, reference, PARAMS.export)


def moved(estimates: Estimates, north_deg: float = 0.0, sigma_factor: float = 1.0) -> Estimates:
    return dataclasses.replace(
        estimates,
        latitude_deg=estimates.latitude_deg + north_deg,
        sigma_east_m=estimates.sigma_east_m * sigma_factor,
    )


def test_graph_has_the_agreed_inputs_and_outputs(exported: export.Exported) -> None:
    graph = onnx.load_model_from_string(exported.float32).graph
    shapes = {
        value.name: (
            value.type.tensor_type.elem_type,
            [d.dim_param or d.dim_value for d in value.type.tensor_type.shape.dim],
        )
        for value in (*graph.input, *graph.output)
    }
    assert shapes == {
        "features": (onnx.TensorProto.FLOAT, ["batch", 3, 128, 32]),
        "positions": (onnx.TensorProto.DOUBLE, ["batch", 2]),
        "uncertainties": (onnx.TensorProto.FLOAT, ["batch", 2]),
    }


def test_same_network_gives_the_same_bytes(model: LocalizationNet, exported: export.Exported) -> None:
    assert export.onnx_bytes(model, RECORD, (3, 128, 32), PARAMS.export.opset) == exported.float32
    assert export.quantized_bytes(exported.float32, RECORD) == exported.int8


def test_files_say_what_they_were_made_of_and_not_where(exported: export.Exported) -> None:
    for content in (exported.float32, exported.int8):
        model = onnx.load_model_from_string(content)
        stored = {entry.key: entry.value for entry in model.metadata_props}
        assert {key: json.loads(value) for key, value in stored.items()} == RECORD
        assert list(stored) == sorted(stored)
        del model.graph.initializer[:]  # weights hold every short string by chance
        rest = model.SerializeToString()
        assert b"features" in rest
        for place in (b"/tmp", b"/home", b"site-packages", b".py", str(ROOT).encode()):
            assert place not in rest


@pytest.mark.parametrize("variant", ["float32", "int8"])
def test_any_batch_is_answered(exported: export.Exported, reference: export.Reference, variant: str) -> None:
    localizer = OnnxLocalizer(getattr(exported, variant), variant)
    for n in (1, 5):
        answer = localizer.estimate(reference.features[:n], batch_size=n)
        assert len(answer) == n
        np.testing.assert_allclose(answer.latitude_deg, reference.estimates.latitude_deg[:n], atol=0.1)
        np.testing.assert_allclose(answer.sigma_east_m, reference.estimates.sigma_east_m[:n], rtol=0.2)


def test_float32_is_at_par_and_int8_is_smaller(exported: export.Exported) -> None:
    assert exported.parity.n == 8
    assert exported.parity.share == 1
    assert exported.parity.max_distance_m < PARAMS.export.parity_tolerance_m
    assert len(exported.int8) < len(exported.float32) / 3
    assert exported.int8_shift_m.max() > exported.parity.max_distance_m


def test_parity_counts_both_tolerances(reference: export.Reference) -> None:
    own = reference.estimates
    assert export.compare(own, own, PARAMS.export) == export.Parity(8, 0.0, 0.0, 1.0)
    shifted = export.compare(own, moved(own, north_deg=1e-6), PARAMS.export)  # 0.11 m
    assert shifted.max_distance_m == pytest.approx(0.111, abs=0.001)
    assert shifted.share == 0
    assert export.compare(own, moved(own, north_deg=8e-7), PARAMS.export).share == 1
    assert export.compare(own, moved(own, sigma_factor=1.011), PARAMS.export).share == 0
    assert export.compare(own, moved(own, sigma_factor=0.991), PARAMS.export).share == 1


def test_other_network_fails_the_gate(model: LocalizationNet, reference: export.Reference) -> None:
    perturbed = dataclasses.replace(reference, estimates=moved(reference.estimates, north_deg=1e-4))
    with pytest.raises(HeimdallError, match=r"agrees with PyTorch .* on 0\.00% of 8 .*Nothing was written"):
        export.export(model, RECORD, perturbed, PARAMS.export)


def test_cost_of_int8_is_measured_against_the_truth(
    exported: export.Exported, reference: export.Reference
) -> None:
    localizer = OnnxLocalizer(exported.int8, "int8", portable=True)
    one_by_one = localizer.estimate(reference.features, batch_size=1)
    shift = export.compare(reference.estimates, one_by_one, PARAMS.export)
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
    model: LocalizationNet, exported: export.Exported, reference: export.Reference
) -> None:
    portable, fast = (
        OnnxLocalizer(exported.float32, "float32", portable=portable).estimate(reference.features, 8)
        for portable in (True, False)
    )
    assert export.compare(reference.estimates, portable, PARAMS.export) == exported.parity
    distance_m = [
        export.compare(reference.estimates, answer, PARAMS.export).max_distance_m
        for answer in (portable, fast)
    ]
    assert distance_m[0] != distance_m[1]
    between = dataclasses.replace(PARAMS.export, parity_tolerance_m=sum(distance_m) / 2)
    with pytest.raises(HeimdallError, match="agrees with PyTorch"):
        export.export(model, RECORD, reference, between)


def test_report_holds_every_digit_that_was_measured(exported: export.Exported) -> None:
    parity = export.Parity(n=200, max_distance_m=0.013123456789, max_sigma_share=2.3456e-7, share=0.995)
    made = dataclasses.replace(
        exported, parity=parity, int8_shift_m=np.array([90.0, 127.125, 1000.0]), int8_mae_change_m=-0.0412
    )
    figures = export.report(made, "simulated", PARAMS.export)
    assert figures["parity"] == dataclasses.asdict(parity) | {"tolerance_m": 0.1, "tolerance_sigma": 0.01}
    assert figures["int8"]["median_shift_m"] == 127.125
    assert figures["int8"]["mae_change_m"] == -0.0412
    assert figures["float32"]["size_mb"] == round(len(exported.float32) / 1e6, 3)
    assert figures["float32"]["below_100_mb"] is True


def test_export_onnx_takes_the_input_that_the_features_have(model: LocalizationNet, tmp_path: Path) -> None:
    features = RECORD["params"]["features"] | {"n_mels": 64, "frames": 48}
    record = RECORD | {"params": RECORD["params"] | {"features": features}}
    export.export_onnx(model, tmp_path / "localizer.onnx", record, PARAMS.export.opset)
    (value,) = onnx.load_model(tmp_path / "localizer.onnx").graph.input
    assert [d.dim_value for d in value.type.tensor_type.shape.dim[1:]] == [3, 64, 48]


def test_export_onnx_replaces_a_file_whole(
    model: LocalizationNet, exported: export.Exported, tmp_path: Path
) -> None:
    target = tmp_path / "models" / "localizer.onnx"
    export.export_onnx(model, target, RECORD, PARAMS.export.opset)
    assert target.read_bytes() == exported.float32
    assert list(target.parent.iterdir()) == [target]


def test_foreign_bytes_are_no_localizer(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="no ONNX localizer"):
        OnnxLocalizer(b"not a graph", "x.onnx")
    with pytest.raises(HeimdallError, match=r"missing\.onnx: it cannot be read"):
        OnnxLocalizer.open(tmp_path / "missing.onnx")


def stage(name: str) -> ModuleType:
    """A stage script as a module, so that its `main` runs in this process."""
    spec = importlib.util.spec_from_file_location(f"stage_{name}", ROOT / "stages" / f"{name}.py")
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
    """A folder in which the stages can run, after train."""
    monkeypatch.chdir(tmp_path)
    shutil.copy(ROOT / "params.yaml", "params.yaml")
    write_features(Path("data/features"))
    models.save(model, Path("models/localizer.safetensors"), Path("models/localizer.json"), dict(RECORD))
    return tmp_path


def test_stages_write_metrics_plots_models_and_card(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("evaluate", monkeypatch)
    said = capsys.readouterr().out
    assert "simulated data: 8 recordings, 4 sessions" in said
    assert "within 30 m, %" in said
    assert "> 90%" in said
    for name in ("error_cdf.csv", "reliability.csv", "map.csv", "slices.csv", "evaluation.png"):
        assert (repository / "plots" / name).stat().st_size > 200
    measured = artifacts.read_json(repository / "metrics" / "eval.json")

    run("export", monkeypatch)
    assert "100.00% agree with PyTorch" in capsys.readouterr().out
    card = (repository / "models" / "README.md").read_text(encoding="utf-8")
    assert "from **simulated** data" in card
    assert str(RECORD["data_fingerprint"]) in card
    mae = {key: f"{measured['test']['localizer'][f'mae_m{key}'] / 1000:.1f}" for key in ("", "_low", "_high")}
    assert f"| mean error, km | {mae['']} [{mae['_low']}, {mae['_high']}] |" in card
    assert all((repository / name).is_file() for name in OUTPUTS)


def test_failed_gate_leaves_the_former_files(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    artifacts.write_json(repository / "metrics" / "eval.json", {"data": "simulated"})
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
