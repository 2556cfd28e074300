"""Two real ONNX files on the same tiny sessions, and the report of it."""

from __future__ import annotations

import copy
import dataclasses
import io
import json
from pathlib import Path

import matplotlib.image
import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from heimdall.commands.compare import compare
from heimdall.compare import contest, figure, scorecard
from heimdall.compare.contest import Contest, Model, Seen
from heimdall.core import artifacts, params
from heimdall.core.errors import HeimdallError
from heimdall.metrics import metrics
from heimdall.network.dataset import DatasetConfig, observations, read_network
from heimdall.network.localize import localize
from heimdall.pipeline.evaluate.cases import SLICES
from heimdall.pipeline.evaluate.localizers import product
from heimdall.pipeline.export.graphs import recording_graph
from heimdall.pipeline.export.onnx_file import onnx_bytes, quantized_bytes
from tests import REPOSITORY, known_sessions, session_world
from tests.feature_world import RECORD, untrained

PARAMS = params.load(REPOSITORY / "params.yaml")
# Made of the sessions of session_world, with its split.
MADE_OF = RECORD | {
    "data_fingerprint": "session world",
    "params": RECORD["params"] | {"split": {"by": "transmitter", "test_fraction": 0.2, "seed": 42}},
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    folder = tmp_path_factory.mktemp("features")
    session_world.write(folder, mels=128)
    return DatasetConfig(folder)


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A single-receiver model that says what it was made of, and a fusion model made of other data."""
    folder = tmp_path_factory.mktemp("models")
    single = onnx_bytes(recording_graph(untrained(), (3, 128, 32)), MADE_OF, opset=18)
    paths = folder / "single.onnx", folder / "fusion.onnx"
    for path, content in zip(paths, (single, known_sessions.exported()), strict=True):
        path.write_bytes(content)
    return paths


@pytest.fixture(scope="module")
def held(data: DatasetConfig, files: tuple[Path, Path]) -> Contest:
    a, b = (contest.load(REPOSITORY, str(path)) for path in files)
    return contest.hold(REPOSITORY, a, b, data, PARAMS)


def test_answers_are_those_of_the_networks_in_pytorch(held: Contest, data: DatasetConfig) -> None:
    test, plane = observations(data, "test", 0.2), read_network(data).plane
    truth_deg = test.table[["latitude_deg", "longitude_deg"]].to_numpy().T
    placed = [
        dataclasses.replace(
            item,
            session=dataclasses.replace(
                item.session,
                position_enu_m=known_sessions.RECEIVERS.position_m[item.session.websdr_id - 1],
            ),
        )
        for item in test.observations
    ]
    answers = (
        product(untrained(), test.observations, read_network(data).plane),
        localize(known_sessions.network(), placed, known_sessions.RECEIVERS),
    )
    for side, answer in zip((held.a, held.b), answers, strict=True):
        expected = metrics.errors(answer, *truth_deg, plane)
        np.testing.assert_allclose(side.errors.distance_m, expected.distance_m, atol=0.5)
        np.testing.assert_allclose(side.errors.log_density, expected.log_density, atol=0.01)
        np.testing.assert_allclose(side.errors.level, expected.level, atol=0.01)
        assert len(side.latency_ms) >= 100
        assert (side.latency_ms > 0).all()
    assert [side.model.file.kind for side in (held.a, held.b)] == ["single", "fusion"]


def test_slices_hold_every_session_once_and_their_difference(held: Contest) -> None:
    table = pd.DataFrame(held.slices)
    assert set(table["slice"]) == set(SLICES)
    assert (table.groupby("slice")["sessions"].sum() == 4).all()
    assert table[table["slice"] == "receivers_heard"]["value"].tolist() == ["<3", "3", "4", "5"]
    for one in (*held.slices, held.overall):
        assert one["mae_difference_m"] == pytest.approx(one["b"]["mae_m"] - one["a"]["mae_m"])
        assert (one["mae_difference_m_low"] is None) == (one["transmitters"] == 1)
    assert held.overall["mae_difference_m_low"] < held.overall["mae_difference_m_high"]
    assert held.sample_size is not None
    assert held.sample_size.difference_m == pytest.approx(held.overall["mae_difference_m"])


def test_a_pair_is_steadier_than_two_strangers() -> None:
    """B is 10 m worse in every session: paired, that is certain, however the sessions differ."""
    error_m = np.array([10.0, 5000, 200, 90_000])
    ones = np.ones(4)
    a = metrics.Errors(error_m, ones, ones, ones, ones, ones, ones)
    b = dataclasses.replace(a, distance_m=error_m + 10)
    found = contest.figures(a, b, pd.DataFrame({"cluster": list("abcd")}), PARAMS.evaluate)
    assert found["mae_difference_m"] == pytest.approx(10)
    assert found["mae_difference_m_low"] == pytest.approx(10)
    assert found["mae_difference_m_high"] == pytest.approx(10)
    assert scorecard.verdict(found).endswith("m): they are told apart.")
    assert "10.0 m larger" in scorecard.verdict(found)
    assert scorecard.verdict(found | {"mae_difference_m_low": -3.0}).endswith("they are not told apart.")
    assert "(95 % interval of the difference -0.3 to" in scorecard.verdict(
        found | {"mae_difference_m_low": -0.3}
    )


def test_what_a_model_knew_is_counted_and_said(held: Contest) -> None:
    test = pd.DataFrame({"session_id": ["1", "2", "3", "4"], "source_id": ["x", "y", None, "z"]})
    test = test.assign(latitude_deg=[44.0, 44.1, 44.2, 44.3], longitude_deg=8.0)
    development = pd.DataFrame({"session_id": ["2", "9", "8"], "source_id": ["y", "x", None]})
    development = development.assign(latitude_deg=[44.1, 44.0, 44.2005], longitude_deg=8.0)  # 56 m from "3"
    assert contest.seen(test, development) == Seen(sessions=1, known_transmitter=3)
    assert contest.seen(test, development.iloc[:0]) == Seen(0, 0)
    assert contest.seen(test, None) is None
    assert held.a.seen == Seen(0, 0)
    assert held.b.seen is None
    may_know, few = scorecard.warnings(held)
    assert may_know.startswith("**B may know test sessions**")
    assert few.startswith("**Few transmitters**: with 2, fewer than 30,")
    many = dataclasses.replace(held, overall=held.overall | {"transmitters": 30})
    assert scorecard.warnings(many) == [may_know]
    knowing = dataclasses.replace(held, a=dataclasses.replace(held.a, seen=Seen(1, 2)))
    assert "trained on 1 of the 4 test sessions" in scorecard.warnings(knowing)[0]


def saying(model: Model, **metadata: object) -> Model:
    """The same model, whose file says something else of its making."""
    file = copy.copy(model.file)
    file.metadata = file.metadata | metadata
    return dataclasses.replace(model, file=file)


def test_another_split_of_the_same_data_is_worked_out(held: Contest, data: DatasetConfig) -> None:
    model, split = held.a.model, MADE_OF["params"]["split"] | {"seed": 49}
    found = contest.hold(
        REPOSITORY, model, saying(model, params=MADE_OF["params"] | {"split": split}), data, PARAMS
    )
    assert found.a.seen == Seen(0, 0)
    assert found.b.seen == Seen(2, 2)  # seed 49 holds tx4-1 out, not tx4-0
    assert scorecard.verdict(found.overall) == "Both have the same mean error."


def test_a_file_with_a_damaged_split_is_one_line(held: Contest, data: DatasetConfig) -> None:
    model = held.a.model
    damaged = saying(model, params=MADE_OF["params"] | {"split": {"by": "moon"}})
    with pytest.raises(HeimdallError, match="its file names no split") as raised:
        contest.hold(REPOSITORY, model, damaged, data, PARAMS)
    assert "\n" not in str(raised.value)


def test_a_model_of_other_features_is_refused(held: Contest, data: DatasetConfig) -> None:
    other = saying(held.a.model, params={"features": MADE_OF["params"]["features"] | {"n_fft": 2048}})
    with pytest.raises(HeimdallError, match=r"other features \(n_fft 2048, here 4096\)"):
        contest.localizer(other.file, "other", read_network(data))
    cepstral = saying(held.a.model, params={"features": MADE_OF["params"]["features"] | {"n_mfcc": 13}})
    with pytest.raises(HeimdallError, match=r"other features \(n_mfcc 13, here None\)"):
        contest.localizer(cepstral.file, "cepstral", read_network(data))


def test_an_unknown_receiver_is_named(held: Contest, data: DatasetConfig) -> None:
    preprocessing = held.b.model.file.metadata["preprocessing"]
    receivers = preprocessing["receivers"] | {"websdr_id": [9, 2, 3, 4, 5]}
    other = saying(held.b.model, preprocessing=preprocessing | {"receivers": receivers})
    locate = contest.localizer(other.file, "other.onnx", read_network(data))
    with pytest.raises(HeimdallError, match=r"other\.onnx: it does not know receiver 1,"):
        locate(observations(data, "test", 0.2).observations[0])


def test_the_command_writes_markdown_json_and_a_picture(
    data: DatasetConfig, files: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(REPOSITORY)
    quantized = tmp_path / "int8.onnx"
    quantized.write_bytes(quantized_bytes(files[0].read_bytes()))
    targets = {name: str(tmp_path / name) for name in ("report.md", "all.json", "map.png", "page.html")}
    options = (
        "--markdown",
        targets["report.md"],
        "--json-file",
        targets["all.json"],
        "--plot",
        targets["map.png"],
        "--html",
        targets["page.html"],
    )
    done = CliRunner().invoke(
        compare, [str(files[0]), str(quantized), "--data-dir", str(data.data_dir), *options]
    )
    assert done.exit_code == 0, done.output
    report, figures, page = (
        Path(targets[name]).read_text() for name in ("report.md", "all.json", "page.html")
    )
    assert str(tmp_path) not in report + figures + page
    assert str(data.data_dir) not in report + figures + page
    assert "<h1>single.onnx and int8.onnx, compared</h1>" in page
    found = json.loads(figures)
    assert found["data"] == "simulated"
    assert len(found["sessions"]) == 4
    assert found["sessions"][0]["apart_m"] == max(one["apart_m"] for one in found["sessions"])
    tables = [line for line in report.splitlines() if line.startswith("|")]
    assert (
        len({line.count("|") for line in tables if line.startswith(("| receivers", "| clock", "| snr"))}) == 1
    )
    mean = next(line for line in tables if line.startswith("| mean error, m |"))
    assert mean.split("|")[2].split()[0] == f"{found['overall']['a']['mae_m']:.0f}"
    assert mean.split("|")[4].split()[0] == f"{found['overall']['mae_difference_m']:+.0f}"
    assert "simulated data" in report
    assert f"{found['canary']['sessions']} sessions" in report
    (only,) = found["canary"]["unpaired"]
    assert only["share"] == 0.1
    assert f"B needs {only['canary_sessions']:,} sessions ({only['sessions']:,} in all)" in report
    assert [step["share"] for step in found["canary"]["unpaired_rising"]] == [0.1, 0.25, 0.5]
    assert matplotlib.image.imread(io.BytesIO(Path(targets["map.png"]).read_bytes())).std() > 0


def test_the_same_contest_draws_the_same_picture(held: Contest, data: DatasetConfig) -> None:
    receivers = pd.read_parquet(data.receivers_file)
    first = figure.draw(held, receivers)
    assert first == figure.draw(held, receivers)
    assert first.startswith(b"\x89PNG")
    assert b"Software" not in first


def test_what_is_no_model_is_refused(tmp_path: Path) -> None:
    for name, content in (("missing.onnx", None), ("text.onnx", b"text")):
        if content is not None:
            artifacts.write_bytes(tmp_path / name, content)
        with pytest.raises(HeimdallError, match=name):
            contest.load(REPOSITORY, str(tmp_path / name))
