"""`heimdall locate` on a tiny data/features/ whose transmitters are known."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from click import UsageError
from click.testing import CliRunner

from heimdall.baselines import baselines, tuned_file
from heimdall.commands.locate import METHODS, locate
from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.geometry import transmitters
from heimdall.metrics import metrics
from heimdall.network import dataset, model_file
from heimdall.network.dataset import DatasetConfig
from tests import REPOSITORY, feature_world
from tests.fusion_world import untrained
from tests.synthetic_sessions import session_id, write_features

TEST, TRAIN = session_id(4), session_id(0)


@pytest.fixture(scope="module")
def data_dir(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return folder


@pytest.fixture(autouse=True)
def at_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(REPOSITORY)  # where params.yaml is


def run(data_dir: Path, *arguments: str) -> str:
    given = [*arguments, "--data-dir", str(data_dir), "--model", str(data_dir / "none.safetensors")]
    return CliRunner().invoke(locate, given, catch_exceptions=False).stdout


def test_json_says_where_and_how_far_that_is_from_the_truth(data_dir: Path) -> None:
    found = json.loads(run(data_dir, TEST, TRAIN, "--method", "time-of-arrival", "--json"))
    assert [(one["session_id"], one["split"]) for one in found] == [(TEST, "test"), (TRAIN, "train")]
    index = dataset.read_index(DatasetConfig(data_dir)).drop_duplicates("session_id").set_index("session_id")
    for one in found:
        assert one["error_m"] < 300
        assert one["latitude_deg"] == pytest.approx(index["latitude_deg"][one["session_id"]], abs=0.003)
        assert one["longitude_deg"] == pytest.approx(index["longitude_deg"][one["session_id"]], abs=0.003)
        # Both ways of saying the same covariance.
        radius_squared = metrics.chi_square_2(0.95)
        trace_m2 = one["sigma_east_m"] ** 2 + one["sigma_north_m"] ** 2
        axes_m2 = one["ellipse_95_major_m"] ** 2 + one["ellipse_95_minor_m"] ** 2
        assert axes_m2 == pytest.approx(radius_squared * trace_m2)
        longer_east = one["sigma_east_m"] > one["sigma_north_m"]
        assert longer_east == (45 < one["ellipse_azimuth_deg"] < 135)


def test_sessions_of_one_place_have_an_answer_together(data_dir: Path, tmp_path: Path) -> None:
    """Each of several transmitters has one session here, so that their places contradict each other."""
    given = [TEST, TRAIN, "--data-dir", str(data_dir), "--method", "received-power", "--json", "--together"]
    result = CliRunner().invoke(locate, given, catch_exceptions=False)
    found = json.loads(result.stdout)
    assert [one["session_id"] for one in found] == [TEST, TRAIN, "together"]
    assert (found[2]["split"], found[2]["error_m"]) == ("train", None)
    assert "said to be of one place, but their known places are up to" in result.stderr
    spread_m = [one["sigma_east_m"] * one["sigma_north_m"] for one in found]
    assert spread_m[2] < min(spread_m[:2])
    # The truth is known where the sessions agree on it.
    index = pd.read_parquet(data_dir / "index.parquet")
    place = index.loc[index["session_id"] == TEST, ["latitude_deg", "longitude_deg"]].iloc[0]
    same = tmp_path / "features"
    shutil.copytree(data_dir, same)
    rows = index["session_id"] == TRAIN
    index.loc[rows, ["latitude_deg", "longitude_deg"]] = place.to_numpy()
    index.to_parquet(same / "index.parquet")
    page = tmp_path / "answer.html"
    lines = run(
        same, TEST, TRAIN, "--method", "received-power", "--together", "--html", str(page)
    ).splitlines()
    assert lines[6] == "All 2 sessions together, said to be of one transmitter at one place"
    assert "unknown" not in lines[8]
    assert "All 2 sessions together" in page.read_text(encoding="utf-8")
    with pytest.raises(UsageError, match="two sessions or more"):
        locate.main([TEST, "--together"], standalone_mode=False)


def test_no_output_replaces_an_input_or_another_output(tmp_path: Path) -> None:
    times, places = tmp_path / "times.csv", tmp_path / "receivers.csv"
    for file in (times, places):
        file.write_text("as it was", encoding="utf-8")
    for outputs in (
        ["--html", str(times)],
        ["--kml", str(places)],
        ["--csv", str(tmp_path / "a"), "--html", f"{tmp_path}/b/../a"],
    ):
        (tmp_path / "b").mkdir(exist_ok=True)
        given = ["-m", "heimdall", "locate", str(times), "--receivers", str(places), *outputs]
        done = subprocess.run([sys.executable, *given], capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert "name another file" in done.stderr or "name two" in done.stderr
        assert {file.read_text(encoding="utf-8") for file in (times, places)} == {"as it was"}
        assert not (tmp_path / "a").exists()


def test_table_has_a_line_for_every_method_and_says_what_the_data_are(data_dir: Path) -> None:
    lines = run(data_dir, TEST.upper()).splitlines()
    assert lines[0] == f"{TEST} (test): nfm at 145.5000 MHz; 5 receivers hear it, 5 have an arrival time"
    assert "sigma E x N, m" in lines[1]
    assert [line.split()[0] for line in lines[2:7]] == list(METHODS[:5])
    assert lines[7] == "Data: simulated."


def test_without_a_fusion_model_all_goes_on_and_says_so(data_dir: Path) -> None:
    given = [TEST, "--data-dir", str(data_dir), "--model", str(data_dir / "none.safetensors")]
    result = CliRunner().invoke(locate, given, catch_exceptions=False)
    assert result.stderr.startswith("locate: the method fusion is left out: ")
    with pytest.raises(HeimdallError, match="none"):
        CliRunner().invoke(locate, [*given, "--method", "fusion"], catch_exceptions=False)


def test_a_fusion_model_answers_beside_the_others_and_another_model_does_not(
    data_dir: Path, tmp_path: Path
) -> None:
    network = untrained()
    file = tmp_path / "localizer.safetensors"
    arguments = [TEST, "--data-dir", str(data_dir), "--model", str(file), "--method", "fusion"]
    model_file.save(network, file, tmp_path / "localizer.json", {})
    given = [*arguments, "--method", "mean-position", "--json"]
    mean, found = json.loads(CliRunner().invoke(locate, given, catch_exceptions=False).stdout)
    assert (mean["method"], found["method"]) == ("mean-position", "fusion")
    assert found["ellipse_95_minor_m"] > 0
    model_file.save(feature_world.untrained(), file, tmp_path / "localizer.json", {})
    with pytest.raises(HeimdallError, match="it is not a fusion model"):
        CliRunner().invoke(locate, arguments, catch_exceptions=False)


def test_methods_are_tuned_once_and_kept_beside_the_features(data_dir: Path) -> None:
    given = [TEST, "--data-dir", str(data_dir), "--method", "combined", "--json"]
    first = CliRunner().invoke(locate, given, catch_exceptions=False)
    assert "baselines.json is missing beside the features" in first.stderr
    config = DatasetConfig(data_dir)
    network, known = dataset.read_network(config), dataset.observations(config, "train", 0.2)
    tuned = baselines.fit(
        known.observations,
        known.truth_m(network.plane),
        dataset.read_receivers(config),
        network.plane,
        network.features["correlation_rate_hz"],
        transmitter=list(transmitters.by_place(known.table)),
    ).tuned
    kept = data_dir.parent / "baselines.json"
    artifacts.write_json(kept, tuned_file.content(tuned, tuned_file.made_of(data_dir, 0.2)))
    second = CliRunner().invoke(locate, given, catch_exceptions=False)
    kept.unlink()
    assert second.stdout == first.stdout
    assert "tuned" not in second.stderr


def test_an_unknown_session_is_told_one_that_is_like_it_or_some_that_exist(data_dir: Path) -> None:
    for typed, told in ((f"{TEST[:-2]}ff", f"Did you mean {TRAIN[:-2]}"), ("6f1c2a9e", "shows all, such as")):
        with pytest.raises(HeimdallError) as caught:
            run(data_dir, TEST, typed)
        assert f"no session {typed}" in caught.value.cause
        assert told in caught.value.remedy


def test_pages_and_a_picture_show_what_every_method_says(data_dir: Path, tmp_path: Path) -> None:
    page, picture = tmp_path / "one.html", tmp_path / "one.png"
    given = (TEST, "--method", "time-of-arrival", "--method", "received-power")
    said = run(data_dir, *given, "--html", str(page), "--png", str(picture))
    assert said == run(data_dir, *given)
    text = page.read_text("utf-8")
    assert "The recordings are simulated." in text
    for words in ("received-power", "a receiver with an arrival time", "where it truly was", "95 % ellipse"):
        assert words in text
    assert len(page.read_bytes()) < 500_000
    assert picture.read_bytes().startswith(b"\x89PNG")
    first = page.read_bytes(), picture.read_bytes()
    run(data_dir, *given, "--html", str(page), "--png", str(picture))
    assert (page.read_bytes(), picture.read_bytes()) == first
    run(data_dir, TEST, TRAIN, "--method", "time-of-arrival", "--html", str(page))
    both = page.read_text("utf-8")
    for session in (TEST, TRAIN):
        assert f'href="#session-{session}"' in both
        assert f'id="session-{session}"' in both


def test_a_picture_is_of_one_session(data_dir: Path, tmp_path: Path) -> None:
    given = [TEST, TRAIN, "--data-dir", str(data_dir), "--png", str(tmp_path / "two.png")]
    result = CliRunner().invoke(locate, given)
    assert result.exit_code == 2
    assert "--png shows one session" in result.stderr


def test_the_fusion_model_is_read_first_with_its_other_places(data_dir: Path, tmp_path: Path) -> None:
    model_file.save(untrained(), tmp_path / "localizer.safetensors", tmp_path / "localizer.json", {})
    page = tmp_path / "one.html"
    model = str(tmp_path / "localizer.safetensors")
    given = [TEST, "--method", "fusion", "--method", "mean-position", "--data-dir", str(data_dir)]
    result = CliRunner().invoke(
        locate, [*given, "--model", model, "--html", str(page)], catch_exceptions=False
    )
    assert result.exit_code == 0
    lead = page.read_text("utf-8").split('class="lead">')[1].split("</p>")[0]
    assert lead.endswith(", by the method fusion.")
