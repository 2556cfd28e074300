"""The parity gate, what int8 costs, and the stage that writes it all, on a tiny world."""

from __future__ import annotations

import dataclasses
import importlib.util
import shutil
from pathlib import Path
from types import ModuleType

import numpy as np
import onnx
import pytest

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.inference.onnx_model import OnnxLocalizer
from heimdall.network import model_file
from heimdall.network.dataset import DatasetConfig
from heimdall.network.localization_net import LocalizationNet
from heimdall.pipeline.export import export
from heimdall.pipeline.export.export import Exported
from heimdall.pipeline.export.graphs import Graph
from heimdall.pipeline.export.parity import Parity, compare
from heimdall.pipeline.export.reference import Reference
from tests import REPOSITORY, known_sessions
from tests.feature_world import RECORD, write_features
from tests.pipeline.export.conftest import EVALUATION, PARAMS, moved

OUTPUTS = ("models/localizer.onnx", "models/localizer.int8.onnx", "models/README.md", "metrics/export.json")


def test_float32_is_at_par_and_int8_is_smaller(exported: Exported) -> None:
    assert exported.parity.n == 8
    assert exported.parity.share == 1
    assert exported.parity.max_distance_m < PARAMS.export.parity_tolerance_m
    assert len(exported.int8) < len(exported.float32) / 3
    assert exported.int8_shift_m.max() > exported.parity.max_distance_m


def test_other_network_fails_the_gate(graph: Graph, reference: Reference) -> None:
    perturbed = dataclasses.replace(reference, answers=moved(reference.answers, north_deg=1e-4))
    with pytest.raises(HeimdallError, match=r"agrees with PyTorch .* on 0\.00% of 8 .*Nothing was written"):
        export.export(graph, RECORD, perturbed, PARAMS.export)


def test_cost_of_int8_is_measured_against_the_truth(exported: Exported, reference: Reference) -> None:
    localizer = OnnxLocalizer(exported.int8, "int8", portable=True)
    one_by_one = localizer.answer(reference.batches(1))
    shift = compare(reference.answers, one_by_one, PARAMS.export)
    assert exported.int8_shift_m.max() == shift.max_distance_m
    bound_m = float(exported.int8_shift_m.mean())
    assert 0 < abs(exported.int8_mae_change_m) <= bound_m


def test_figures_are_of_the_portable_way_and_both_ways_must_pass_the_gate(
    graph: Graph, exported: Exported, reference: Reference
) -> None:
    portable, fast = (
        OnnxLocalizer(exported.float32, "float32", portable=portable).answer(reference.batches(8))
        for portable in (True, False)
    )
    assert compare(reference.answers, portable, PARAMS.export) == exported.parity
    distances_m = [
        compare(reference.answers, answer, PARAMS.export).max_distance_m for answer in (portable, fast)
    ]
    assert distances_m[0] != distances_m[1]
    between = dataclasses.replace(PARAMS.export, parity_tolerance_m=sum(distances_m) / 2)
    with pytest.raises(HeimdallError, match="agrees with PyTorch"):
        export.export(graph, RECORD, reference, between)


def test_report_holds_every_digit_that_was_measured(exported: Exported) -> None:
    parity = Parity(8, 0.013123456789, 2.3456e-7, 1.25e-8, 0.995)
    made = dataclasses.replace(
        exported, parity=parity, int8_shift_m=np.array([90.0, 127.125, 1000.0]), int8_mae_change_m=-0.0412
    )
    figures = export.figures(made, "simulated", PARAMS.export)
    assert figures["model"] == "single"
    assert figures["parity"] == dataclasses.asdict(parity) | {"tolerance_m": 0.1, "tolerance_sigma": 0.01}
    assert figures["int8"]["median_shift_m"] == 127.125
    assert figures["int8"]["mae_change_m"] == -0.0412
    assert figures["float32"]["size_mb"] == round(len(exported.float32) / 1e6, 3)
    assert figures["float32"]["below_100_mb"] is True


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
    model: LocalizationNet, exported: Exported, tmp_path: Path
) -> None:
    target = tmp_path / "models" / "localizer.onnx"
    export.export_onnx(model, target, RECORD, PARAMS.export.opset, DatasetConfig(tmp_path))
    assert target.read_bytes() == exported.float32
    assert list(target.parent.iterdir()) == [target]


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
    artifacts.write_json(Path("metrics/eval_full.json"), EVALUATION)
    return tmp_path


def test_stage_writes_models_metrics_and_card(
    repository: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run("export", monkeypatch)
    said = capsys.readouterr().out
    assert "100.00% of 8 test cases agree with PyTorch" in said
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
