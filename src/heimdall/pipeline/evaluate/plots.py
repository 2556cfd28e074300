"""Tables and the figure of an evaluation, from its cases; what `dvc plots` shows.

Each table holds the test split and has one column a predictor, so that one template draws them all. What is
counted is sessions.
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
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from heimdall.maps import axes as map_axes
from heimdall.metrics.metrics import ACCURACY_WITHIN_M, chi_square_2, coverage
from heimdall.pipeline.evaluate.cases import errors_of
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS, UNCALIBRATED

_SPLIT = "test"
_RADIUS_95 = math.sqrt(chi_square_2(0.95))  # of an ellipse, in standard deviations
_MAP_RATIO = 1.8  # of the map's width to its height
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
    "correlation",
    "level",
    "error_m",
]

# Colours that stay apart for colour-blind readers and in grey (Okabe and Ito, 2008).
_STYLE: dict[str, dict[str, Any]] = {
    "mean_position": {"color": "#666666", "linestyle": ":", "label": "mean position"},
    "received_power": {"color": "#009E73", "linestyle": "-.", "label": "received power"},
    "time_of_arrival": {"color": "#E69F00", "linestyle": "--", "label": "time of arrival"},
    "direct_position": {"color": "#D55E00", "linestyle": "--", "label": "direct position"},
    "combined": {"color": "#CC79A7", "linestyle": "-", "label": "combined"},
    LOCALIZER: {"color": "#0072B2", "linestyle": "-", "label": "localizer"},
}
# Where there are no lines, shapes tell apart what colours do.
_MARKER = dict(zip(_STYLE, "XvsD^o", strict=True))
_BEFORE_STYLE = {"color": "#56B4E9", "linestyle": "-", "label": "localizer before calibration"}


def error_cdf(cases: pd.DataFrame) -> pd.DataFrame:
    """Share of test sessions with an error up to `error_m`, one column a predictor.

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
    """Share of test truths inside the region of highest density that should hold `nominal` of them.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        `nominal` from 0.05 to 0.95, `ideal` (the same), and an observed share for each predictor and for the
        localizer before its calibration.
    """
    table = {"nominal": _NOMINAL, "ideal": _NOMINAL}
    for predictor in (*PREDICTORS, UNCALIBRATED):
        errors = errors_of(_chosen(cases, predictor))
        table[predictor] = np.array([coverage(errors, nominal) for nominal in _NOMINAL])
    return pd.DataFrame(table)


def estimate_map(cases: pd.DataFrame) -> pd.DataFrame:
    """Truth and estimate of every test session.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        One row a session: `session_id`, true and `estimated_` degrees, the ellipse of the answer (its two
        sigmas in metres and their `correlation`), `level` and `error_m`.
    """
    return _chosen(cases, LOCALIZER)[_MAP_COLUMNS]


def error_bound(cases: pd.DataFrame) -> pd.DataFrame:
    """Errors of the test sessions whose arrival times bound the position, one column a predictor.

    Args:
        cases: As in `evaluation.Evaluation`.

    Returns:
        One row a session, from the lowest bound to the highest: `session_id`, `bound_m` (root of the trace of
        the Cramer-Rao bound, in which there is no multipath) and an error in metres for each predictor.
    """
    own = _chosen(cases, LOCALIZER)
    table = own[["session_id", "bound_m"]].reset_index(drop=True)
    for predictor in PREDICTORS:
        table[predictor] = _chosen(cases, predictor)["error_m"].to_numpy()
    bounded = table.loc[np.isfinite(table["bound_m"].to_numpy(np.float64))]
    return pd.DataFrame(bounded.sort_values(["bound_m", "session_id"], ignore_index=True))


def csv_bytes(table: pd.DataFrame) -> bytes:
    """A table as CSV: UTF-8, line feeds, shortest exact numbers, no index."""
    return table.to_csv(index=False, lineterminator="\n").encode("utf-8")


def draw(cases: pd.DataFrame, receivers: pd.DataFrame, data: str) -> bytes:
    """The evaluation on the test split in five panels.

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
        figure = Figure(figsize=(16, 10), dpi=100, layout="constrained")
        figure.suptitle(f"Localizer and baselines by session, {_SPLIT} split ({data} data)", fontsize=13)
        grid = figure.add_gridspec(2, 6)
        _draw_cdf(figure.add_subplot(grid[0, :2]), cases)
        _draw_reliability(figure.add_subplot(grid[0, 2:4]), cases)
        _draw_bound(figure.add_subplot(grid[0, 4:]), cases)
        _draw_map(figure.add_subplot(grid[1, :3]), cases, receivers)
        _draw_heard(figure.add_subplot(grid[1, 3:]), cases)
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
        ylabel="share of sessions with at most this error, %",
    )
    axes.set_title("Position error; dotted: 30, 50 and 100 m", pad=14)
    axes.xaxis.set_major_formatter(FuncFormatter(_length))
    axes.legend(loc="upper left")


def _draw_reliability(axes: Axes, cases: pd.DataFrame) -> None:
    table = reliability(cases)
    axes.plot([0, 100], [0, 100], color="black", linewidth=0.8, label="ideal")
    for predictor, style in (_STYLE | {UNCALIBRATED: _BEFORE_STYLE}).items():
        axes.plot(100 * table["nominal"], 100 * table[predictor], marker="o", markersize=3, **style)
    axes.set(
        xlim=(0, 100),
        ylim=(0, 100),
        aspect="equal",
        xlabel="nominal probability of the predicted region, %",
        ylabel="truths found inside, %",
        title="Reliability: below the line is overconfident",
    )
    axes.legend(loc="lower right", fontsize=7)


def _draw_bound(axes: Axes, cases: pd.DataFrame) -> None:
    """Errors below the line are those of single sessions: the bound holds for their mean square."""
    table = error_bound(cases)
    for predictor in ("time_of_arrival", "direct_position", "combined", LOCALIZER):
        style = {name: _STYLE[predictor][name] for name in ("color", "label")}
        marker = _MARKER[predictor]
        axes.scatter(table["bound_m"], table[predictor], s=12, alpha=0.7, marker=marker, **style)
    axes.axline((100, 100), (1000, 1000), color="black", linewidth=0.8, label="error = bound")
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="Cramer-Rao bound (root of its trace)",
        ylabel="position error (geodesic)",
        title=f"Error against the bound, {len(table)} sessions that have one",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_length))
    axes.legend(loc="lower right", fontsize=7)


def _draw_map(axes: Axes, cases: pd.DataFrame, receivers: pd.DataFrame) -> None:
    sessions = _chosen(cases, LOCALIZER)
    names = ("latitude_deg", "longitude_deg", "estimated_latitude_deg", "estimated_longitude_deg")
    truth_lat, truth_lon, lat, lon = (sessions[name].to_numpy(np.float64) for name in names)
    stations = map_axes.named(receivers)
    positions = [
        *(one.position for one in stations),
        *zip(truth_lat.tolist(), truth_lon.tolist(), strict=True),
        *zip(lat.tolist(), lon.tolist(), strict=True),
    ]
    ground = map_axes.draw(axes, positions, stations, ratio=_MAP_RATIO)
    spread = sessions[["sigma_east_m", "sigma_north_m", "correlation"]].to_numpy(np.float64).tolist()
    for where, (east_m, north_m, correlation) in zip(zip(lat, lon, strict=True), spread, strict=True):
        cross = correlation * east_m * north_m
        covariance_m2 = np.array([[east_m**2, cross], [cross, north_m**2]])
        outline = ground.ellipse(where, covariance_m2, _RADIUS_95)
        axes.plot(*outline, color="#0072B2", linewidth=0.5, alpha=0.45, zorder=2)
    axes.plot([], [], color="#0072B2", linewidth=0.8, alpha=0.6, label="95 % ellipse")
    truth, estimate = ground.at(truth_lat, truth_lon), ground.at(lat, lon)
    lines = [np.stack(ends) for ends in zip(estimate, truth, strict=True)]
    axes.plot(*lines, color="#D55E00", linewidth=0.7, alpha=0.7, zorder=2.5)
    axes.scatter(*estimate, s=14, color="#0072B2", label="estimate", zorder=3)
    axes.scatter(*truth, s=22, marker="x", color="black", label="truth", zorder=4)
    at = ground.at(*zip(*(one.position for one in stations), strict=True))
    axes.scatter(*at, s=50, marker="^", color="#D55E00", edgecolors="white", label="receiver", zorder=5)
    axes.set_title("Truth and estimate of the test sessions, with lines between them")
    axes.legend(loc=ground.legend, fontsize=8)


def _draw_heard(axes: Axes, cases: pd.DataFrame) -> None:
    """Median and middle 80 % of the error by receivers heard, beside the number of sessions."""
    order = [label for label in ("<3", "3", "4", "5", "6", "7+") if (cases["receivers_heard"] == label).any()]
    shift = np.linspace(-0.3, 0.3, len(_STYLE))
    for offset, (predictor, style) in zip(shift, _STYLE.items(), strict=True):
        own = _chosen(cases, predictor)
        for position, label in enumerate(order):
            error_m = own.loc[own["receivers_heard"] == label, "error_m"]
            if not len(error_m):
                continue
            low, middle, high = np.quantile(error_m, [0.1, 0.5, 0.9])
            axes.plot([position + offset] * 2, [low, high], color=style["color"], linewidth=2, alpha=0.5)
            axes.plot(position + offset, middle, _MARKER[predictor], color=style["color"])
            if predictor == LOCALIZER:
                axes.text(
                    position, 1.02, f"n={len(error_m)}", transform=axes.get_xaxis_transform(), ha="center"
                )
    keys = [
        Line2D([], [], linestyle="", marker=_MARKER[predictor], color=style["color"], label=style["label"])
        for predictor, style in _STYLE.items()
    ]
    axes.legend(handles=keys, loc="lower left", fontsize=7)
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
