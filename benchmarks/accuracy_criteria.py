"""What benchmarks/accuracy.py asks of the localizer: for each criterion its target and what was reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from heimdall.core.params import Params
from heimdall.metrics import metrics
from heimdall.pipeline.evaluate.cases import WITHOUT_GPS
from heimdall.pipeline.evaluate.figures import figures, slice_figures
from heimdall.pipeline.evaluate.predictors import LOCALIZER, RECEIVED_POWER, UNCALIBRATED

LEAST_DB = 30.0  # of the clean world
MAE_RATIO = {"light": 0.9, "strong": 0.7}
MEDIAN_RATIO = 1.0
SLICE_RATIO = 1.1
SLICE_SESSIONS = 30
TEST_SESSIONS = 300
COVERAGE_POINTS = 0.04
UNFIXED = "0-2"  # arrival times, of the slice "clock"
MEAN_POSITION = "mean_position"
BY_TIME = ("time_of_arrival", "direct_position", "combined")
CLEAN_TARGETS = {"median_m": 20.0, "accuracy_30m": 0.9, "calibration_error_m": 5.0}


@dataclass(frozen=True)
class Line:
    """One line of the acceptance.

    Attributes:
        kind: Of the worlds.
        criterion: What is asked.
        target: How much of it.
        reached: What was measured (simulated).
        met: Whether that is enough.
    """

    kind: str
    criterion: str
    target: str
    reached: str
    met: bool

    @property
    def verdict(self) -> str:
        """The last word."""
        return "met" if self.met else "MISSED"


def acceptance(kind: str, cases: pd.DataFrame, settings: Params) -> list[Line]:
    """What is asked in worlds with multipath.

    Args:
        kind: Of multipath.
        cases: Test cases of all worlds.
        settings: How intervals are made.
    """
    found = figures(cases, settings.evaluate)
    test, timeless = found["test"], found[WITHOUT_GPS]
    own, rivals = test[LOCALIZER], {name: part for name, part in test.items() if name != LOCALIZER}
    lines = [Line(kind, "test sessions", f">= {TEST_SESSIONS}", str(own["n"]), own["n"] >= TEST_SESSIONS)]
    for name in rivals:
        value, low, high = (own[f"mae_minus_{name}_m{end}"] for end in ("", "_low", "_high"))
        said = f"{value:.0f} m [{low:.0f}, {high:.0f}]"
        lines.append(Line(kind, f"MAE less that of {words(name)}, 95 %", "< 0", said, high < 0))
    tested = cases[cases["split"] == "test"]
    timed = tested[tested["clock"] != UNFIXED]
    compared = {"": tested}
    if len(timed):
        compared[f", three arrival times or more (n={timed['session_id'].nunique()})"] = timed
    lines += [
        ratio_line(kind, label, rows, key, settings)
        for label, rows in compared.items()
        for key in ("mae_m", "median_m")
    ]
    lines.append(ratio_line(kind, ", each by itself", unaided(tested), "mae_m", settings))
    lines.append(ratio_line(kind, ", carriers untimed", untimed_carriers(tested), "mae_m", settings))
    lines.append(slice_line(kind, cases, settings))
    lines += coverage_lines(kind, own)
    three = cases[cases["receivers_heard"] == "3"]
    groups = {"all": test}
    if len(three):
        groups["three receivers"] = figures(three, settings.evaluate)["test"]
    for where, part in groups.items():
        best = min(rivals, key=lambda name: float(part[name]["nll_nats"]))
        mine, theirs = part[LOCALIZER]["nll_nats"], part[best]["nll_nats"]
        criterion = f"NLL, {where} (n={part[LOCALIZER]['n']}), best {words(best)}"
        lines.append(Line(kind, criterion, f"< {theirs:.2f}", f"{mine:.2f} nats", mine < theirs))
    value, low, high = (
        timeless[LOCALIZER][f"mae_minus_{RECEIVED_POWER}_m{end}"] for end in ("", "_low", "_high")
    )
    criterion = f"without GPS time, MAE less {timeless[RECEIVED_POWER]['mae_m']:.0f} m of received power"
    lines.append(Line(kind, criterion, "<= 0", f"{value:.0f} m [{low:.0f}, {high:.0f}]", round(value) <= 0))
    return lines


def ratio_line(kind: str, label: str, rows: pd.DataFrame, key: str, settings: Params) -> Line:
    """How large the localizer's MAE or median is beside the best baseline's.

    Args:
        kind: Of multipath.
        label: Which sessions, for the reader.
        rows: Their cases.
        key: `mae_m` or `median_m`.
        settings: How intervals are made.
    """
    errors_m = rows[rows["predictor"] != UNCALIBRATED].groupby("predictor", sort=False)["error_m"]
    found_m = errors_m.mean() if key == "mae_m" else errors_m.median()
    best = str(found_m.drop(LOCALIZER).idxmin())
    ratio = float(found_m[LOCALIZER] / found_m[best])
    low, high = ratio_interval(rows, best, key, settings)
    said = f"{ratio:.2f} [{low:.2f}, {high:.2f}] ({found_m[LOCALIZER]:.0f} m to {found_m[best]:.0f} m)"
    word, target = {"mae_m": ("MAE", MAE_RATIO[kind]), "median_m": ("median", MEDIAN_RATIO)}[key]
    return Line(kind, f"{word} to the best, {words(best)}{label}", f"<= {target:g}", said, ratio <= target)


def ratio_interval(rows: pd.DataFrame, rival: str, key: str, settings: Params) -> tuple[float, float]:
    """The paired 95 % interval, over whole transmitters, of the localizer's figure to a rival's."""
    statistic = {"mae_m": metrics.weighted_mean, "median_m": metrics.weighted_median}[key]
    own, other = (rows[rows["predictor"] == name].set_index("session_id") for name in (LOCALIZER, rival))
    judge = settings.evaluate
    weights = metrics.cluster_weights(own["cluster"].tolist(), judge.bootstrap_resamples, judge.seed)
    own_m, other_m = own["error_m"].to_numpy(), other.loc[own.index, "error_m"].to_numpy()
    low, high = np.quantile(statistic(own_m, weights) / statistic(other_m, weights), (0.025, 0.975))
    return float(low), float(high)


def unaided(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases, had the methods by arrival time no answer but the mean position where these fix none.

    As `baselines` has them they use levels there: rivals that are stronger than their names.
    """
    open_ = cases["clock"] == UNFIXED
    mean = cases[open_ & (cases["predictor"] == MEAN_POSITION)]
    kept = cases[~(open_ & cases["predictor"].isin(BY_TIME))]
    return pd.concat([kept, *(mean.assign(predictor=name) for name in BY_TIME)], ignore_index=True)


def untimed_carriers(cases: pd.DataFrame) -> pd.DataFrame:
    """The cases, had the methods by arrival time no times of keyed carriers, as is usual.

    As `baselines` has them they are given those that `arrival` finds, and answer better than by levels.
    """
    keyed = cases["modulation"] == "cw"
    levels = cases[keyed & (cases["predictor"] == RECEIVED_POWER)]
    kept = cases[~(keyed & cases["predictor"].isin(BY_TIME))]
    return pd.concat([kept, *(levels.assign(predictor=name) for name in BY_TIME)], ignore_index=True)


def slice_line(kind: str, cases: pd.DataFrame, settings: Params) -> Line:
    """The slice of enough sessions whose median is worst beside the best baseline's."""
    table = slice_figures(cases, settings.evaluate).query("split == 'test' and n >= @SLICE_SESSIONS")
    worst, said = 0.0, "no slice"
    for (column, value), part in table.groupby(["slice", "value"]):
        median_m = part.set_index("predictor")["median_m"]
        rivals_m = median_m.drop(LOCALIZER)
        ratio = float(median_m[LOCALIZER] / rivals_m.min())
        if ratio > worst:
            rows = cases[(cases["split"] == "test") & (cases[column].astype(str) == value)]
            low, high = ratio_interval(rows, str(rivals_m.idxmin()), "median_m", settings)
            worst = ratio
            said = f"{ratio:.2f} [{low:.2f}, {high:.2f}] ({column} {value}, n={part['n'].iloc[0]})"
    criterion = f"worst median to the best in a slice of {SLICE_SESSIONS} or more, 95 %"
    return Line(kind, criterion, f"<= {SLICE_RATIO:g}", said, 0 < worst <= SLICE_RATIO)


def coverage_lines(kind: str, own: dict[str, Any]) -> list[Line]:
    """How many truths lie in the regions that should hold 68 and 95 % of them."""
    lines = []
    for nominal in (0.68, 0.95):
        share = own[f"coverage_{nominal * 100:.0f}"]
        asked = f"+-{COVERAGE_POINTS * 100:.0f} points"
        met = abs(share - nominal) <= COVERAGE_POINTS
        lines.append(Line(kind, f"coverage at {nominal:.0%}", asked, f"{share:.1%}", met))
    return lines


def clean_lines(cases: pd.DataFrame, settings: Params) -> list[Line]:
    """What is asked where physics allows the specification's targets."""
    clean = cases[cases["clean"]]
    if clean.empty:
        return [Line("clean", f"sessions above {LEAST_DB:g} dB everywhere", "> 0", "0", False)]
    own = figures(clean, settings.evaluate)["test"][LOCALIZER]
    reached = {name: own[name] for name in CLEAN_TARGETS}
    return [
        Line(
            "clean",
            f"median error, n={own['n']}",
            f"< {CLEAN_TARGETS['median_m']:g} m",
            f"{reached['median_m']:.1f} m",
            reached["median_m"] < CLEAN_TARGETS["median_m"],
        ),
        Line(
            "clean",
            "within 30 m",
            f"> {CLEAN_TARGETS['accuracy_30m']:.0%}",
            f"{reached['accuracy_30m']:.1%}",
            reached["accuracy_30m"] > CLEAN_TARGETS["accuracy_30m"],
        ),
        Line(
            "clean",
            "calibration error",
            f"< {CLEAN_TARGETS['calibration_error_m']:g} m",
            f"{reached['calibration_error_m']:.1f} m",
            reached["calibration_error_m"] < CLEAN_TARGETS["calibration_error_m"],
        ),
    ]


def words(name: str) -> str:
    """A predictor's name for readers."""
    return name.replace("_", " ")
