"""The model beside the mean position, on a tiny world of real files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from heimdall import artifacts, evaluation
from heimdall.dataset import DatasetConfig, HeimdallDataset
from heimdall.errors import HeimdallError
from heimdall.evaluation import LOCALIZER, LOCALIZER_SESSION, MEAN_POSITION, PREDICTORS, Evaluation
from heimdall.geo import distance_m
from heimdall.metrics import Estimates
from heimdall.model import LocalizationNet
from heimdall.params import EvaluateParams
from tests.feature_world import FRAME, VALIDATION_SPLIT, untrained, write_features

PARAMS = EvaluateParams(bootstrap_resamples=50, seed=42)


@pytest.fixture(scope="module")
def model() -> LocalizationNet:
    return untrained()


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> DatasetConfig:
    folder = tmp_path_factory.mktemp("features")
    write_features(folder)
    return DatasetConfig(folder)


@pytest.fixture(scope="module")
def found(model: LocalizationNet, data: DatasetConfig) -> Evaluation:
    return evaluation.evaluate(model, data, VALIDATION_SPLIT, PARAMS)


def test_metrics_name_data_split_targets_and_every_predictor(found: Evaluation) -> None:
    metrics = found.metrics
    assert metrics["data"] == "simulated"
    assert metrics["split_by"] == "transmitter"
    assert metrics["targets"] == {"mae_m": 30, "accuracy_30m": 0.9, "calibration_error_m": 5}
    for split in ("val", "test"):
        assert tuple(metrics[split]) == PREDICTORS
        assert [metrics[split][name]["n"] for name in PREDICTORS] == [8, 4, 8, 4]
        assert all(metrics[split][name]["clusters"] == 2 for name in PREDICTORS)
    figures = metrics["test"][LOCALIZER]
    assert figures["mae_m_low"] <= figures["mae_m"] <= figures["mae_m_high"]
    artifacts.json_text(metrics)  # refuses NaN


def test_figures_are_not_rounded(found: Evaluation) -> None:
    chosen = found.cases.query("split == 'test' and predictor == @LOCALIZER")
    mae_m = float(np.mean(chosen["error_m"].to_numpy()))
    assert mae_m != round(mae_m, 6)
    assert found.metrics["test"][LOCALIZER]["mae_m"] == mae_m
    part = found.slices.query("split == 'test' and predictor == @LOCALIZER and slice == 'modulation'")
    in_parts_m = np.average(part["mae_m"], weights=part["n"])
    assert in_parts_m == pytest.approx(mae_m, rel=1e-14)


def test_evaluation_repeats(model: LocalizationNet, data: DatasetConfig, found: Evaluation) -> None:
    again = evaluation.evaluate(model, data, VALIDATION_SPLIT, PARAMS)
    assert artifacts.json_text(again.metrics) == artifacts.json_text(found.metrics)
    pd.testing.assert_frame_equal(again.cases, found.cases, check_exact=True)


def test_each_recording_gets_its_own_answer(
    model: LocalizationNet, data: DatasetConfig, found: Evaluation
) -> None:
    dataset = HeimdallDataset(data, "test", None, VALIDATION_SPLIT)
    cases = found.cases.query("split == 'test' and predictor == @LOCALIZER").reset_index()
    for row in (0, 3, 7):
        with torch.inference_mode():
            latitude, longitude, sigma_east, _ = model(dataset[row][0][None]).numpy()[0]
        assert cases["estimated_latitude_deg"][row] == pytest.approx(latitude, abs=1e-5)
        assert cases["sigma_east_m"][row] == pytest.approx(sigma_east, rel=1e-4)
        truth = dataset.index.iloc[row]
        error_m = distance_m(latitude, longitude, truth["latitude_deg"], truth["longitude_deg"])[0]
        assert cases["error_m"][row] == pytest.approx(error_m, abs=1)
        assert cases["session_id"][row] == truth["session_id"]


def test_baseline_is_the_training_splits_mean(data: DatasetConfig, found: Evaluation) -> None:
    training = HeimdallDataset(data, "train", None, VALIDATION_SPLIT).index
    cases = found.cases.query("predictor == @MEAN_POSITION")
    np.testing.assert_allclose(cases["estimated_latitude_deg"], training["latitude_deg"].mean())
    np.testing.assert_allclose(cases["estimated_longitude_deg"], training["longitude_deg"].mean())
    _, north_m = FRAME.to_local(training["latitude_deg"], training["longitude_deg"])
    np.testing.assert_allclose(cases["sigma_north_m"], north_m.std())


def test_difference_from_the_baseline_is_that_of_the_means(found: Evaluation) -> None:
    test = found.metrics["test"]
    difference = test[LOCALIZER]["mae_m"] - test[MEAN_POSITION]["mae_m"]
    assert test[LOCALIZER]["mae_minus_mean_position_m"] == pytest.approx(difference, abs=1e-9)
    assert "mae_minus_mean_position_m" in test[LOCALIZER_SESSION]
    assert "mae_minus_mean_position_m" not in test[MEAN_POSITION]


def test_slices_divide_the_cases(found: Evaluation) -> None:
    sums = found.slices.groupby(["split", "predictor", "slice"])["n"].sum()
    for (_, predictor, _), n in sums.items():
        assert n == (4 if predictor.endswith("session") else 8)
    chosen = found.slices.query("split == 'test' and predictor == @LOCALIZER")
    assert chosen.query("slice == 'snr'")["value"].tolist() == ["<10 dB", "10-30 dB", ">30 dB"]
    assert chosen.query("slice == 'receivers_heard'")["value"].tolist() == ["<3", "4", "7+"]
    assert chosen.query("slice == 'modulation'")["value"].tolist() == ["dmr", "nfm"]
    sessions = found.slices.query("split == 'test' and predictor == @LOCALIZER_SESSION and slice == 'snr'")
    assert dict(zip(sessions["value"], sessions["n"], strict=True)) == {
        "10-30 dB": 1,
        ">30 dB": 3,
    }  # the best


def test_product_of_gaussians_by_hand() -> None:
    latitude_deg, longitude_deg = FRAME.to_degrees([0.0, 3000.0, 500.0], [0.0, 1000.0, 600.0])
    estimates = Estimates(
        latitude_deg, longitude_deg, np.array([1000.0, 2000, 7]), np.array([1000.0, 1000, 8])
    )
    combined = evaluation.combine(estimates, np.array([1, 1, 0]), FRAME)
    east_m, north_m = FRAME.to_local(combined.latitude_deg, combined.longitude_deg)
    np.testing.assert_allclose(east_m, [500, 600], atol=1e-6)  # weights 4 : 1
    np.testing.assert_allclose(north_m, [600, 500], atol=1e-6)
    np.testing.assert_allclose(combined.sigma_east_m, [7, 1000 * np.sqrt(0.8)])
    np.testing.assert_allclose(combined.sigma_north_m, [8, 1000 * np.sqrt(0.5)])


def test_single_transmitter_has_no_interval_and_unknown_ones_stand_for_their_sessions(
    model: LocalizationNet, data: DatasetConfig, tmp_path: Path
) -> None:
    write_features(tmp_path)
    index = pd.read_parquet(tmp_path / "index.parquet")
    test = index["split"] == "test"
    index.loc[test, "source_id"] = "one"
    index.loc[~test, "source_id"] = None
    index.to_parquet(tmp_path / "index.parquet")
    found = evaluation.evaluate(model, DatasetConfig(tmp_path), VALIDATION_SPLIT, PARAMS)
    assert found.metrics["test"][LOCALIZER]["clusters"] == 1
    assert found.metrics["test"][LOCALIZER]["mae_m_low"] is None
    assert found.metrics["val"][LOCALIZER]["clusters"] == 4
    assert found.metrics["val"][LOCALIZER]["mae_m_low"] > 0


def test_split_without_members_is_an_error(model: LocalizationNet, tmp_path: Path) -> None:
    write_features(tmp_path)
    index = pd.read_parquet(tmp_path / "index.parquet")
    index[index["split"] != "test"].to_parquet(tmp_path / "index.parquet")
    with pytest.raises(HeimdallError, match='the split "test" has no members'):
        evaluation.evaluate(model, DatasetConfig(tmp_path), VALIDATION_SPLIT, PARAMS)
