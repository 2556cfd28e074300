"""`heimdall predict` on real files."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from heimdall import export, iq, params
from heimdall.commands.predict import predict
from heimdall.errors import HeimdallError
from heimdall.features import iq_to_mel_spectrogram
from heimdall.inference import OnnxLocalizer
from heimdall.randomness import generator
from tests.feature_world import RECORD, untrained

RATE_HZ = 48_000.0
# Not those of params.yaml: the file must be believed.
FEATURES = dataclasses.replace(
    params.load(Path(__file__).parent.parent / "params.yaml").features, f_max=20_000.0
)


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "localizer.onnx"
    record = RECORD | {"params": RECORD["params"] | {"features": dataclasses.asdict(FEATURES)}}
    export.export_onnx(untrained(), path, record, opset=18)
    return path


@pytest.fixture
def recording(tmp_path: Path) -> Path:
    random = generator(1, "test predict")
    samples = 0.1 * (random.normal(size=24_000) + 1j * random.normal(size=24_000))
    path = tmp_path / "recording.npy"
    path.write_bytes(iq.encode(samples.astype(np.complex64)))
    return path


def test_json_is_what_the_model_says_of_the_models_own_features(model: Path, recording: Path) -> None:
    arguments = [str(recording), str(recording), "--model", str(model), "--sample-rate-hz", "48000", "--json"]
    result = CliRunner().invoke(predict, arguments, catch_exceptions=False)
    first, second = json.loads(result.stdout)
    kept = ("n_mels", "n_fft", "hop_length", "f_min", "f_max", "frames")
    mel_db = iq_to_mel_spectrogram(
        np.load(recording, allow_pickle=False), RATE_HZ, **{name: getattr(FEATURES, name) for name in kept}
    )
    estimate = OnnxLocalizer.open(model).estimate(mel_db[np.newaxis], batch_size=1)
    assert first["latitude_deg"] == estimate.latitude_deg[0]
    assert first["longitude_deg"] == estimate.longitude_deg[0]
    assert first["sigma_north_m"] == estimate.sigma_north_m[0]
    assert first["ellipse_95_east_m"] == pytest.approx(math.sqrt(5.991465) * first["sigma_east_m"])
    assert first["latency_ms"] > 0
    assert first["file"] == str(recording)
    del first["latency_ms"], second["latency_ms"]
    assert first == second


def test_table_has_units_and_one_line_a_recording(model: Path, recording: Path) -> None:
    arguments = [str(recording), "--model", str(model), "--sample-rate-hz", "48000"]
    lines = CliRunner().invoke(predict, arguments, catch_exceptions=False).stdout.splitlines()
    assert len(lines) == 3
    assert "sigma E x N, m" in lines[0]
    assert lines[1].startswith(str(recording))
    assert lines[2] == "The model was trained on simulated data."


def test_bad_files_are_named(model: Path, recording: Path, tmp_path: Path) -> None:
    def message_of(file: Path, model: Path, *options: str) -> str:
        with pytest.raises(HeimdallError) as caught:
            CliRunner().invoke(predict, [str(file), "--model", str(model), *options], catch_exceptions=False)
        return str(caught.value)

    silent = tmp_path / "silent.npy"
    silent.write_bytes(iq.encode(np.zeros(192_000, np.complex64)))
    assert message_of(silent, model).startswith(f"{silent}: all 192000 samples are zero")
    short = tmp_path / "short.npy"
    short.write_bytes(iq.encode(np.ones(2_000, np.complex64)))
    assert message_of(short, model, "--sample-rate-hz", "16000").startswith(
        f"{short}: 2000 samples are too few"
    )
    assert "cannot be read" in message_of(tmp_path / "missing.npy", model)
    assert "no ONNX localizer" in message_of(recording, recording)


def test_model_without_feature_parameters_is_refused(model: Path, recording: Path, tmp_path: Path) -> None:
    graph = onnx.load_model(model)
    del graph.metadata_props[:]
    path = tmp_path / "localizer.onnx"
    onnx.save_model(graph, path)
    with pytest.raises(HeimdallError, match="how its features are made"):
        CliRunner().invoke(predict, [str(recording), "--model", str(path)], catch_exceptions=False)
