"""A model beside the baselines and the bound, on a tiny world of real files."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from heimdall.baselines.cramer_rao import cramer_rao_m2
from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.core.params import EvaluateParams, FeatureParams
from heimdall.geometry.geo import distance_m
from heimdall.metrics import metrics
from heimdall.network.dataset import DatasetConfig, Sessions
from heimdall.pipeline.evaluate import evaluation, figures, table
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS, errors_of
from heimdall.pipeline.evaluate.evaluation import Evaluation
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, RECEIVED_POWER, UNCALIBRATED
from heimdall.position.posterior import Posterior
from heimdall.signal.arrival import Observation, without_gps
from tests import session_world
from tests.session_world import PLANE, VALIDATION_SPLIT
from tests.tiny_features import FEATURES

PARAMS = EvaluateParams(bootstrap_resamples=50, seed=42)
SIGMA_M = 20_000.0
CORRELATION = 0.25


def centre(sessions: Sequence[Observation], sigma_m: float = SIGMA_M) -> Posterior:
    """A model that answers the middle of the receivers, and is surer of it where they know the time."""
    position_m = np.array([item.session.position_enu_m[:, :2].mean(axis=0) for item in sessions])
    timed = np.array([np.isfinite(item.session.timing_sigma_s).all() for item in sessions])
    variance_m2 = (sigma_m * np.where(timed, 1, 2)) ** 2
    tilted = np.array([[1, CORRELATION], [CORRELATION, 1]])
    return Posterior.gaussian(position_m, variance_m2[:, np.newaxis, np.newaxis] * tilted)


def both(sessions: Sequence[Observation]) -> tuple[Posterior, Posterior]:
    """After calibration, and before it surer than it should be."""
    return centre(sessions), centre(sessions, SIGMA_M / 100)


@pytest.fixture(scope="module")
def found(data: DatasetConfig) -> Evaluation:
    return evaluation.evaluate(both, data, VALIDATION_SPLIT, PARAMS)


def chosen(found: Evaluation, predictor: str, split: str = "test") -> pd.DataFrame:
    cases = found.cases
    return cases[(cases["split"] == split) & (cases["predictor"] == predictor)].reset_index(drop=True)


def test_metrics_name_data_split_targets_and_every_predictor(found: Evaluation) -> None:
    metrics = found.metrics
    assert metrics["data"] == "simulated"
    assert metrics["split_by"] == "transmitter"
    assert metrics["targets"] == {"mae_m": 30, "accuracy_30m": 0.9, "calibration_error_m": 5}
    for split in ("val", "test"):
        assert tuple(metrics[split]) == PREDICTORS
        assert all(metrics[split][name]["n"] == 4 for name in PREDICTORS)
        assert all(metrics[split][name]["clusters"] == 2 for name in PREDICTORS)
    own = metrics["test"][LOCALIZER]
    assert own["mae_m_low"] <= own["mae_m"] <= own["mae_m_high"]
    artifacts.json_text(metrics)  # refuses NaN


def test_the_headline_is_the_localizers_own_figures(found: Evaluation) -> None:
    for split in ("val", "test"):
        headline = figures.headline(found.metrics, split)
        own = found.metrics[split][LOCALIZER]
        assert headline == {"data": "simulated"} | {name: own[name] for name in figures.HEADLINE}


def test_figures_are_not_rounded(found: Evaluation) -> None:
    mae_m = float(np.mean(chosen(found, LOCALIZER)["error_m"].to_numpy()))
    assert mae_m != round(mae_m, 6)
    assert found.metrics["test"][LOCALIZER]["mae_m"] == mae_m
    part = found.slices.query("split == 'test' and predictor == @LOCALIZER and slice == 'modulation'")
    in_parts_m = np.average(part["mae_m"], weights=part["n"])
    assert in_parts_m == pytest.approx(mae_m, rel=1e-14)


def test_each_session_gets_its_own_answer(found: Evaluation, held_out: Sessions) -> None:
    cases, answer = chosen(found, LOCALIZER), centre(held_out.observations)
    assert cases["session_id"].tolist() == held_out.table["session_id"].tolist()
    latitude_deg, longitude_deg = PLANE.to_degrees(*answer.position_m.T)
    np.testing.assert_allclose(cases["estimated_latitude_deg"], latitude_deg, rtol=1e-12)
    truth_deg = cases[["latitude_deg", "longitude_deg"]].to_numpy(np.float64).T
    np.testing.assert_allclose(cases["error_m"], distance_m(latitude_deg, longitude_deg, *truth_deg))
    np.testing.assert_allclose(cases["sigma_north_m"], SIGMA_M)
    np.testing.assert_allclose(cases["correlation"], CORRELATION)
    truth_m = held_out.truth_m(PLANE)
    np.testing.assert_allclose(cases["log_density"], answer.log_density(truth_m))
    np.testing.assert_allclose(cases["level"], answer.level(truth_m))


def test_difference_to_every_other_predictor_is_that_of_the_means(found: Evaluation) -> None:
    test = found.metrics["test"]
    for name in PREDICTORS[1:]:
        difference = test[LOCALIZER]["mae_m"] - test[name]["mae_m"]
        assert test[LOCALIZER][f"mae_minus_{name}_m"] == pytest.approx(difference, abs=1e-9)
        assert test[LOCALIZER][f"mae_minus_{name}_m_low"] <= difference + 1e-9
        assert not any(key.startswith("mae_minus") for key in test[name])


def test_baselines_meet_the_same_sessions(found: Evaluation, held_out: Sessions) -> None:
    by_time, constant = chosen(found, "time_of_arrival"), chosen(found, "mean_position")
    by_level = chosen(found, "received_power")
    assert by_time["session_id"].tolist() == held_out.table["session_id"].tolist()
    assert (by_time.loc[by_time["clock"].isin(["4", "5+"]), "error_m"] < 10).all()  # exact delays
    assert constant["estimated_latitude_deg"].nunique() == 1
    together = chosen(found, "combined")
    assert (
        by_time["error_m"].tolist()[3] == together["error_m"].tolist()[3]
    )  # two receivers fix nothing alone
    assert by_level["session_id"].tolist() == together["session_id"].tolist()


def test_the_strongest_rival_is_the_one_of_the_least_mean_error(found: Evaluation) -> None:
    for split in ("val", "test"):
        mae_m = {name: found.metrics[split][name]["mae_m"] for name in PREDICTORS if name != LOCALIZER}
        assert mae_m[found.metrics["strongest_rival"][split]] == min(mae_m.values())
    shown = "\n".join(table.lines(found.metrics))
    assert f"Strongest rival: {found.metrics['strongest_rival']['test'].replace('_', ' ')}" in shown


def test_calibration_stands_before_and_after(found: Evaluation) -> None:
    after = found.metrics["test"][LOCALIZER]
    before = after["before_calibration"]
    assert before["sharpness_m"] == pytest.approx(after["sharpness_m"] / 100)
    assert before["nll_nats"] > after["nll_nats"]
    assert before["coverage_95"] == 0
    assert before == metrics.calibration(errors_of(chosen(found, UNCALIBRATED)))
    assert UNCALIBRATED not in found.metrics["test"]


def test_table_says_if_the_localizer_is_worse_than_what_needs_no_training_and_if_gps_time_is_missing(
    found: Evaluation,
) -> None:
    def warnings(**changes: Any) -> list[str]:  # noqa: ANN401
        test = found.metrics["test"] | {LOCALIZER: found.metrics["test"][LOCALIZER] | changes}
        bound = found.metrics["cramer_rao"] | ({"bounded": 0} if "bounded" in changes else {})
        lines = table.lines(found.metrics | {"test": test, "cramer_rao": bound})
        return [line for line in lines if line.startswith("Warning")]

    (worse,) = warnings()
    assert "the localizer is worse than " in worse
    best = min(PREDICTORS, key=lambda name: found.metrics["test"][name]["mae_m"])
    assert worse.endswith(f"`heimdall locate SESSION --method {best.replace('_', '-')}`.")
    assert warnings(**{f"mae_minus_{best}_m_low": -1.0}) == []  # it may be chance
    assert warnings(mae_m=0.0) == []
    (timeless, _) = warnings(bounded=0)
    assert "start_gps_ns and timing_sigma_ns" in timeless


def test_sessions_without_gps_time_are_answered_by_levels_alone(found: Evaluation) -> None:
    figures = found.metrics[WITHOUT_GPS]
    assert tuple(figures) == (LOCALIZER, RECEIVED_POWER)
    difference = figures[LOCALIZER]["mae_m"] - figures[RECEIVED_POWER]["mae_m"]
    assert figures[LOCALIZER]["mae_minus_received_power_m"] == pytest.approx(difference, abs=1e-9)
    cases = chosen(found, LOCALIZER, WITHOUT_GPS)
    assert set(cases["clock"]) == {"0-2"}
    assert np.isinf(cases["bound_m"]).all()
    assert (cases["sigma_east_m"] == 2 * SIGMA_M).all()  # the model was told
    levels = chosen(found, RECEIVED_POWER)["error_m"]
    np.testing.assert_array_equal(chosen(found, RECEIVED_POWER, WITHOUT_GPS)["error_m"], levels)


def test_without_gps_forgets_the_times_and_nothing_else(data: DatasetConfig, held_out: Sessions) -> None:
    before = held_out.observations[1]
    after = without_gps(before, FeatureParams(**FEATURES))
    assert (before.arrivals.information_s2 > 0).all()
    assert (after.arrivals.information_s2 == 0).all()
    assert np.isinf(after.session.timing_sigma_s).all()
    assert after.session.snr_db is before.session.snr_db
    assert after.frequency_hz == before.frequency_hz
    assert np.isfinite(before.session.timing_sigma_s).all()


def test_bound_is_that_of_the_true_position(found: Evaluation, held_out: Sessions) -> None:
    bound_m = chosen(found, LOCALIZER)["bound_m"].to_numpy()
    item, truth_m = held_out.observations[1], held_out.truth_m(PLANE)[1]
    session = item.session
    expected = cramer_rao_m2(
        truth_m, item.arrivals.information_s2, session.timing_sigma_s, session.position_enu_m, PLANE
    )
    assert bound_m[1] == pytest.approx(np.sqrt(np.trace(expected)))
    assert np.isfinite(bound_m).tolist() == [True, True, True, False]  # the last one has two receivers
    figures = found.metrics["cramer_rao"]
    assert (figures["n"], figures["bounded"]) == (4, 3)
    assert figures["median_m"] == np.median(bound_m[:3])
    assert figures["share_30m"] == np.mean(bound_m <= 30)


def test_slices_divide_the_cases(found: Evaluation) -> None:
    sums = found.slices.groupby(["split", "predictor", "slice"])["n"].sum()
    assert (sums == 4).all()
    assert len(sums) == 2 * len(PREDICTORS) * 5
    own = found.slices.query("split == 'test' and predictor == @LOCALIZER")
    assert own.query("slice == 'receivers_heard'")["value"].tolist() == ["<3", "3", "4", "5"]
    assert own.query("slice == 'clock'")["value"].tolist() == ["0-2", "3", "4", "5+"]
    assert own.query("slice == 'snr'")["value"].tolist() == ["<10 dB", "10-30 dB", ">30 dB"]
    assert own.query("slice == 'modulation'")["value"].tolist() == ["dmr", "nfm"]


def test_single_transmitter_has_no_interval_and_unknown_ones_stand_for_their_sessions(
    tmp_path: Path,
) -> None:
    index = session_world.write(tmp_path)
    test = index["split"] == "test"
    index.loc[test, "source_id"] = "one"
    index.loc[~test, "source_id"] = None
    index.to_parquet(tmp_path / "index.parquet")
    found = evaluation.evaluate(both, DatasetConfig(tmp_path), VALIDATION_SPLIT, PARAMS)
    assert found.metrics["test"][LOCALIZER]["clusters"] == 1
    assert found.metrics["test"][LOCALIZER]["mae_m_low"] is None
    assert found.metrics["val"][LOCALIZER]["clusters"] == 4
    assert found.metrics["val"][LOCALIZER]["mae_m_low"] > 0


def test_split_without_members_is_an_error(tmp_path: Path) -> None:
    index = session_world.write(tmp_path)
    index[index["split"] != "test"].to_parquet(tmp_path / "index.parquet")
    with pytest.raises(HeimdallError, match='the split "test" has no members'):
        evaluation.evaluate(both, DatasetConfig(tmp_path), VALIDATION_SPLIT, PARAMS)


def test_evaluation_repeats_however_many_processes_make_it(
    data: DatasetConfig, found: Evaluation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(evaluation, "_LEAST", 1)
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})
    again = evaluation.evaluate(both, data, VALIDATION_SPLIT, PARAMS)
    assert artifacts.json_text(again.metrics) == artifacts.json_text(found.metrics)
    pd.testing.assert_frame_equal(again.cases, found.cases, check_exact=True)
