"""Tables and the picture of an evaluation, from its cases; what `dvc plots` shows.

Each table holds the test split and has one column a predictor, so that one template draws them all.
"""

from __future__ import annotations

import io
import math
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from heimdall.evaluation import LOCALIZER, LOCALIZER_SESSION, MEAN_POSITION, PREDICTORS, errors_of
from heimdall.metrics import ACCURACY_WITHIN_M, coverage

_SPLIT = "test"
_GRID_M = np.round(10 ** np.linspace(1, 6, 101), 3)  # 10 m to 1000 km, 20 steps a decade
_NOMINAL = np.round(np.linspace(0.05, 0.95, 19), 2)
_MAP_COLUMNS = [
    "session_id",
    "latitude_deg",
    "longitude_deg",
    "estimated_latitude_deg",
    "estimated_longitude_deg",
    "sigma_east_m",
    "sigma_north_m",
    "error_m",
]

# Colours that stay apart for colour-blind readers and in grey (Okabe and Ito, 2008).
_STYLE: dict[str, dict[str, Any]] = {
    LOCALIZER: {"color": "#0072B2", "linestyle": "-", "label": "localizer, one recording"},
    LOCALIZER_SESSION: {"color": "#D55E00", "linestyle": "-", "label": "localizer, session combined"},
    MEAN_POSITION: {"color": "#666666", "linestyle": "--", "label": "mean position"},
}


def error_cdf(cases: pd.DataFrame) -> pd.DataFrame:
    """Share of test cases with an error up to `error_m`, one column a predictor.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        `error_m` on a fixed logarithmic grid, and a share for each predictor.
    """
    table = {"error_m": _GRID_M}
    for predictor in PREDICTORS:
        error_m = np.sort(_chosen(cases, predictor)["error_m"].to_numpy())
        table[predictor] = np.searchsorted(error_m, _GRID_M, side="right") / len(error_m)
    return pd.DataFrame(table)


def reliability(cases: pd.DataFrame) -> pd.DataFrame:
    """Share of test truths inside the ellipse that should hold `nominal` of them, one column a predictor.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        `nominal` from 0.05 to 0.95, `ideal` (the same), and an observed share for each predictor.
    """
    table = {"nominal": _NOMINAL, "ideal": _NOMINAL}
    for predictor in PREDICTORS:
        errors = errors_of(_chosen(cases, predictor))
        table[predictor] = np.array([coverage(errors, nominal) for nominal in _NOMINAL])
    return pd.DataFrame(table)


def estimate_map(cases: pd.DataFrame) -> pd.DataFrame:
    """Truth and estimate of every test session.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        One row a session: `session_id`, true and `estimated_` degrees, sigmas and `error_m`.
    """
    return _chosen(cases, LOCALIZER_SESSION)[_MAP_COLUMNS]


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV: UTF-8, line feeds, shortest exact numbers, no index."""
    return table.to_csv(index=False, lineterminator="\n").encode("utf-8")


def picture(cases: pd.DataFrame, receivers: pd.DataFrame, data: str) -> bytes:
    """The evaluation on the test split in four panels.

    Args:
        cases: As in `evaluation.Evaluation`.
        receivers: `name`, `latitude_deg`, `longitude_deg` of each receiver.
        data: "simulated", "recorded" or "mixed", for the title.

    Returns:
        PNG bytes that depend on the arguments alone.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # nobody's matplotlibrc
        mpl.rc("font", family="DejaVu Sans", size=9)
        mpl.rc("axes", grid=True)
        mpl.rc("grid", color="#dddddd")
        figure = Figure(figsize=(12, 9), dpi=100, layout="constrained")
        figure.suptitle(f"Single-receiver localizer, {_SPLIT} split ({data} data)", fontsize=13)
        axes = figure.subplots(2, 2)
        _draw_cdf(axes[0, 0], cases)
        _draw_reliability(axes[0, 1], cases)
        _draw_map(axes[1, 0], cases, receivers)
        _draw_heard(axes[1, 1], cases)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw_cdf(axes: Axes, cases: pd.DataFrame) -> None:
    table = error_cdf(cases)
    for predictor, style in _STYLE.items():
        axes.plot(table["error_m"], 100 * table[predictor], **style)
    for within_m in ACCURACY_WITHIN_M:
        axes.axvline(within_m, color="#009E73", linewidth=0.8, linestyle=":")
        axes.text(within_m, 101, f"{within_m}", color="#009E73", ha="center", va="bottom", fontsize=7)
    axes.set(
        xscale="log",
        xlim=(_GRID_M[0], _GRID_M[-1]),
        ylim=(0, 100),
        xlabel="position error (geodesic)",
        ylabel="share of cases with at most this error, %",
    )
    axes.set_title("Position error; dotted: 30, 50 and 100 m", pad=14)
    axes.xaxis.set_major_formatter(FuncFormatter(_length))
    axes.legend(loc="upper left")


def _draw_reliability(axes: Axes, cases: pd.DataFrame) -> None:
    table = reliability(cases)
    axes.plot([0, 100], [0, 100], color="black", linewidth=0.8, label="ideal")
    for predictor, style in _STYLE.items():
        axes.plot(100 * table["nominal"], 100 * table[predictor], marker="o", markersize=3, **style)
    axes.set(
        xlim=(0, 100),
        ylim=(0, 100),
        aspect="equal",
        xlabel="nominal probability of the predicted ellipse, %",
        ylabel="truths found inside, %",
        title="Reliability: below the line is overconfident",
    )
    axes.legend(loc="upper left")


def _draw_map(axes: Axes, cases: pd.DataFrame, receivers: pd.DataFrame) -> None:
    sessions = _chosen(cases, LOCALIZER_SESSION)
    axes.plot(
        [sessions["longitude_deg"], sessions["estimated_longitude_deg"]],
        [sessions["latitude_deg"], sessions["estimated_latitude_deg"]],
        color="#D55E00",
        linewidth=0.5,
        alpha=0.5,
    )
    axes.scatter(
        sessions["estimated_longitude_deg"],
        sessions["estimated_latitude_deg"],
        s=14,
        color="#D55E00",
        label="estimate (session)",
        zorder=3,
    )
    axes.scatter(
        sessions["longitude_deg"],
        sessions["latitude_deg"],
        s=22,
        marker="x",
        color="black",
        label="truth",
        zorder=4,
    )
    axes.scatter(
        receivers["longitude_deg"],
        receivers["latitude_deg"],
        s=50,
        marker="^",
        color="#0072B2",
        edgecolors="white",
        label="receiver",
        zorder=5,
    )
    # Neighbours get their names on different sides.
    for number, row in enumerate(receivers.sort_values("longitude_deg").itertuples()):
        axes.annotate(
            str(row.name),
            (row.longitude_deg, row.latitude_deg),
            xytext=(0, 6 if number % 2 else -12),
            textcoords="offset points",
            ha="center",
            fontsize=7,
            zorder=6,
        )
    axes.set_aspect(1 / math.cos(math.radians(float(receivers["latitude_deg"].mean()))), adjustable="datalim")
    axes.set(
        xlabel="longitude, degrees", ylabel="latitude, degrees", title="Truth and estimate, test sessions"
    )
    axes.legend(loc="best", fontsize=8)


def _draw_heard(axes: Axes, cases: pd.DataFrame) -> None:
    """Median and middle 80 % of the session error by receivers heard, beside the number of sessions."""
    order = [label for label in ("<3", "3", "4", "5", "6", "7+") if (cases["receivers_heard"] == label).any()]
    shift = np.linspace(-0.2, 0.2, 3)
    for offset, (predictor, style) in zip(shift, _STYLE.items(), strict=True):
        own = _chosen(cases, predictor)
        for position, label in enumerate(order):
            error_m = own.loc[own["receivers_heard"] == label, "error_m"]
            if not len(error_m):
                continue
            low, middle, high = np.quantile(error_m, [0.1, 0.5, 0.9])
            axes.plot([position + offset] * 2, [low, high], color=style["color"], linewidth=2, alpha=0.5)
            axes.plot(position + offset, middle, "o", color=style["color"])
            if predictor == LOCALIZER_SESSION:
                axes.text(
                    position, 1.02, f"n={len(error_m)}", transform=axes.get_xaxis_transform(), ha="center"
                )
    axes.set_xticks(range(len(order)), order)
    axes.set(yscale="log", xlabel="receivers that heard the session", ylabel="position error (geodesic)")
    axes.set_title("Error by receivers heard: median, 10-90 %; n sessions", pad=18)
    axes.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
    axes.yaxis.set_major_formatter(FuncFormatter(_length))
    axes.yaxis.set_minor_formatter(NullFormatter())


def _chosen(cases: pd.DataFrame, predictor: str) -> pd.DataFrame:
    return cases[(cases["split"] == _SPLIT) & (cases["predictor"] == predictor)]


def _length(value_m: float, _: object) -> str:
    return f"{value_m / 1000:g} km" if value_m >= 1000 else f"{value_m:g} m"
