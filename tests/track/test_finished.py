"""What MLflow gets of a finished pipeline, of today's and of an earlier commit."""

from __future__ import annotations

from heimdall.track import finished

EXPORT = {"metrics/export.json": {"data": "simulated", "int8": {"size_mb": 4.5}}}


def test_the_headline_of_both_splits_and_the_export_have_names_of_their_own() -> None:
    figures = {
        "metrics/eval.json": {"data": "simulated", "mae_m": 20.0, "n": 31},
        "metrics/eval_val.json": {"data": "simulated", "mae_m": 10.0, "n": 26},
    }
    assert finished.later_metrics(figures | EXPORT) == {
        "test.mae_m": 20.0,
        "test.n": 31.0,
        "val.mae_m": 10.0,
        "val.n": 26.0,
        "export.int8.size_mb": 4.5,
    }


def test_an_earlier_commit_has_every_figure_in_one_file() -> None:
    figures = {"metrics/eval.json": {"data": "simulated", "test": {"localizer": {"mae_m": 20.0}}}}
    assert finished.later_metrics(figures | EXPORT) == {
        "test.localizer.mae_m": 20.0,
        "export.int8.size_mb": 4.5,
    }
