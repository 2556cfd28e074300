"""The figures of merit of a table of cases, overall and by slice."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.baselines.methods import METHODS
from heimdall.core.params import EvaluateParams
from heimdall.metrics.metrics import Counts, calibration, cluster_weights, mae_difference, summary
from heimdall.pipeline.evaluate.cases import SLICES, WITHOUT_GPS, errors_of, reading_order
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, UNCALIBRATED

Split = Literal["val", "test"]

SPLITS: tuple[Split, ...] = ("val", "test")
# What fits a screen when `dvc metrics show` puts the splits below each other.
HEADLINE = ("n", "mae_m", "median_m", "accuracy_30m", "calibration_error_m", "coverage_95")
_FEW_METRES = 30.0  # the specification's accuracy, asked of the bound too


def figures(cases: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    """The figures of merit of a table of cases.

    Args:
        cases: As in `evaluation.Evaluation`.
        params: How the intervals are made.

    Returns:
        For each of "val", "test" and "test_without_gps" that has cases a dictionary by predictor: `clusters`,
        the figures of `metrics.summary`, and for the localizer `mae_minus_..._m` for each other predictor
        there, and `before_calibration`. And `cramer_rao` of the test sessions: how many there are (`n`) and
        how many have a bound (`bounded`), its `median_m` and `p90_m` over the latter, null if there are none,
        and `share_30m`, the share of all that have one of at most 30 m. And `strongest_rival`, for val and
        test the method without learning that has the least mean error.
    """
    answer: dict[str, Any] = {}
    for split in (*SPLITS, WITHOUT_GPS):
        by_predictor = {
            str(name): part for name, part in cases[cases["split"] == split].groupby("predictor", sort=False)
        }
        if not by_predictor:
            continue
        before = by_predictor.pop(UNCALIBRATED, None)
        answer[split] = {name: _summary(part, params) for name, part in by_predictor.items()}
        own = by_predictor[LOCALIZER]
        for name, part in by_predictor.items():
            if name != LOCALIZER:
                key = f"mae_minus_{name}_m"
                difference = mae_difference(
                    errors_of(own), errors_of(part), transmitter_weights(own, params), key
                )
                answer[split][LOCALIZER] |= difference
        if before is not None:
            answer[split][LOCALIZER]["before_calibration"] = calibration(errors_of(before))
    test = cases[(cases["split"] == "test") & (cases["predictor"] == LOCALIZER)]
    answer["strongest_rival"] = {
        split: min(METHODS, key=lambda name: float(answer[split][name]["mae_m"]))
        for split in SPLITS
        if split in answer
    }
    answer["cramer_rao"] = _bound_figures(test["bound_m"].to_numpy(np.float64))
    return answer


def headline(metrics: Mapping[str, Any], split: Split) -> dict[str, Any]:
    """The few figures of the localizer by which a change is judged.

    Args:
        metrics: As in `evaluation.Evaluation`.
        split: Whose.

    Returns:
        `data`, and the figures of `HEADLINE`, unrounded.
    """
    own = metrics[split][LOCALIZER]
    return {"data": metrics["data"]} | {name: own[name] for name in HEADLINE}


def slice_figures(cases: pd.DataFrame, params: EvaluateParams) -> pd.DataFrame:
    """The figures of merit of every slice of the cases of val and test.

    Args:
        cases: As in `evaluation.Evaluation`.
        params: How the intervals are made.

    Returns:
        One row for each split, predictor, slice and value that has members, in a fixed order.
    """
    rows = []
    for split in SPLITS:
        for predictor in PREDICTORS:
            chosen = cases[(cases["split"] == split) & (cases["predictor"] == predictor)]
            for column in SLICES:
                for value, part in sorted(chosen.groupby(column), key=lambda group: reading_order(group[0])):
                    key = {"split": split, "predictor": predictor, "slice": column, "value": value}
                    rows.append(key | summary(errors_of(part), transmitter_weights(part, params)))
    return pd.DataFrame(rows)


def transmitter_weights(cases: pd.DataFrame, params: EvaluateParams) -> Counts | None:
    """Bootstrap weights of the cases; None for a single cluster, which says nothing of its own spread."""
    if cases["cluster"].nunique() < 2:
        return None
    return cluster_weights(cases["cluster"].tolist(), params.bootstrap_resamples, params.seed)


def _summary(cases: pd.DataFrame, params: EvaluateParams) -> dict[str, Any]:
    return {"clusters": cases["cluster"].nunique()} | summary(
        errors_of(cases), transmitter_weights(cases, params)
    )


def _bound_figures(bound_m: npt.NDArray[np.float64]) -> dict[str, Any]:
    finite = bound_m[np.isfinite(bound_m)]
    return {
        "n": len(bound_m),
        "bounded": len(finite),
        "median_m": float(np.median(finite)) if len(finite) else None,
        "p90_m": float(np.quantile(finite, 0.9)) if len(finite) else None,
        "share_30m": float(np.mean(bound_m <= _FEW_METRES)),
    }
