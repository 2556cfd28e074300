"""The tables of benchmarks/ablation.py: figures by row, and what a part is worth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from ablation_parts import AS_IT_IS
from accuracy_criteria import words

from heimdall.core import table
from heimdall.core.params import EvaluateParams
from heimdall.metrics import metrics
from heimdall.pipeline.evaluate.cases import errors_of

UNDISTURBED = "undisturbed"
TOGETHER = "all sessions of a transmitter together"
FIXED = 4  # arrival times that fix a position whatever the error of one is
HEADINGS = (
    "simulated",
    "n",
    "MAE, m",
    "median",
    "of 4+",
    "NLL",
    "68 %",
    "95 %",
    "MAE less the network's",
    "NLL less the network's",
)
_STATISTICS = {"mae": metrics.weighted_mean, "nll": metrics.weighted_mean, "median": metrics.weighted_median}


@dataclass(frozen=True)
class Difference:
    """A paired difference with its 95 % interval by bootstrap over worlds."""

    value: float
    low: float
    high: float

    def words(self, digits: int) -> str:
        """For a table."""
        return f"{self.value:.{digits}f} [{self.low:.{digits}f}, {self.high:.{digits}f}]"


def chosen(cases: pd.DataFrame, method: str, condition: str = UNDISTURBED) -> pd.DataFrame:
    """The cases of one row of the tables, by world and session."""
    rows = cases[(cases["predictor"] == method) & (cases["split"] == condition)]
    return rows.set_index(["world", "session_id"])


def figures(rows: pd.DataFrame) -> dict[str, Any]:
    """`metrics.summary` without intervals, and `fixed_median_m` of the sessions with enough times."""
    fixed_m = rows.loc[rows["timed"] >= FIXED, "error_m"]
    return metrics.summary(errors_of(rows), None) | {
        "fixed_median_m": float(fixed_m.median()) if len(fixed_m) else float("nan")
    }


def difference(one: pd.DataFrame, other: pd.DataFrame, figure: str, params: EvaluateParams) -> Difference:
    """How much larger a figure of one method is than that of another on the sessions of the first.

    Args:
        one: As of `chosen`.
        other: The same; has all sessions of `one`.
        figure: "mae" or "median", metres, or "nll", nats for densities per square metre.
        params: How many resamples, and their seed.
    """
    column, sign = ("log_density", -1.0) if figure == "nll" else ("error_m", 1.0)
    values = [sign * rows[column].to_numpy(np.float64) for rows in (one, other.loc[one.index])]
    statistic = _STATISTICS[figure]
    worlds = one.index.get_level_values("world").astype(str).tolist()
    weights = metrics.cluster_weights(worlds, params.bootstrap_resamples, params.seed)
    drawn = statistic(values[0], weights) - statistic(values[1], weights)
    each = np.ones((1, len(one)), np.int64)
    found = statistic(values[0], each) - statistic(values[1], each)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return Difference(float(found[0]), float(low), float(high))


def parts_table(cases: pd.DataFrame, params: EvaluateParams) -> list[str]:
    """The network as it is, without its parts, and its rivals."""
    own = chosen(cases, AS_IT_IS)
    names = list(dict.fromkeys(cases.loc[cases["split"] == UNDISTURBED, "predictor"]))
    rows = [table_row(AS_IT_IS, own, None, params)]
    for name in names[1:]:
        rows.append(table_row(words(name), chosen(cases, name), own, params))
    return table.lines(HEADINGS, rows, "l" + "r" * (len(HEADINGS) - 1))


def faults_table(cases: pd.DataFrame, params: EvaluateParams) -> list[str]:
    """Each fault: the network before and under it, and what else was asked under it."""
    rows = []
    for split in dict.fromkeys(cases["split"]):
        if split == UNDISTURBED:
            continue
        own = chosen(cases, AS_IT_IS, split)
        before = chosen(cases, AS_IT_IS).loc[own.index]
        rows.append([split] + [""] * (len(HEADINGS) - 1))
        rows.append(table_row("- network, undisturbed", before, None, params))
        rows.append(table_row("- network", own, before, params))
        names = dict.fromkeys(cases.loc[cases["split"] == split, "predictor"])
        for name in list(names)[1:]:
            rows.append(table_row(f"- {words(name)}", chosen(cases, name, split), own, params))
    return table.lines(HEADINGS, rows, "l" + "r" * (len(HEADINGS) - 1))


def table_row(
    label: str, rows: pd.DataFrame, beside: pd.DataFrame | None, params: EvaluateParams
) -> list[str]:
    """One line of a table; differences to `beside`, or none."""
    own = figures(rows)
    less: list[Difference | None] = [
        None if beside is None else difference(rows, beside, figure, params) for figure in ("mae", "nll")
    ]
    return [
        label,
        str(own["n"]),
        f"{own['mae_m']:.0f}",
        f"{own['median_m']:.0f}",
        f"{own['fixed_median_m']:.0f}",
        f"{own['nll_nats']:.2f}",
        f"{own['coverage_68']:.1%}",
        f"{own['coverage_95']:.1%}",
        *("" if found is None else found.words(digits) for found, digits in zip(less, (0, 2), strict=True)),
    ]
