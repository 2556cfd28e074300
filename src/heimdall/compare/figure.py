"""A contest as a figure: where the two models disagree most, on a map, and all errors against each other."""

from __future__ import annotations

import io

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from heimdall.compare.contest import Contest
from heimdall.compare.scorecard import SHOWN
from heimdall.maps import axes as map_axes

_COLOURS = {"A": "#0072B2", "B": "#D55E00"}  # Okabe and Ito, 2008
_MARKERS = {"A": "o", "B": "s"}
_MAP_RATIO = 1.25  # of the map's width to its height


def draw(contest: Contest, receivers: pd.DataFrame) -> bytes:
    """Where the two disagree most, on a map, and all errors against each other.

    Args:
        contest: The contest.
        receivers: `name`, `latitude_deg`, `longitude_deg` of each receiver.

    Returns:
        PNG bytes that depend on the arguments alone.
    """
    with mpl.rc_context():
        mpl.rcdefaults()  # nobody's matplotlibrc
        mpl.rc("font", family="DejaVu Sans", size=9)
        mpl.rc("axes", grid=True)
        mpl.rc("grid", color="#dddddd")
        figure = Figure(figsize=(16, 8), dpi=100, layout="constrained")
        names = " and ".join(f"{letter}: {side.model.name}" for letter, side in contest.sides)
        figure.suptitle(f"{names}, the same test sessions ({contest.data} data)", fontsize=13)
        grid = figure.add_gridspec(1, 5)
        _draw_map(figure.add_subplot(grid[0, :3]), contest, receivers)
        _draw_errors(figure.add_subplot(grid[0, 3:]), contest)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _draw_map(axes: Axes, contest: Contest, receivers: pd.DataFrame) -> None:
    """Both answers of the sessions in which they disagree most, each with a line to the truth."""
    chosen = contest.disagreements.index[:SHOWN].to_numpy()
    truth_deg = contest.sessions[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
    stations = map_axes.named(receivers)
    found_deg = {letter: side.estimated_deg[chosen] for letter, side in contest.sides}
    positions = np.concatenate([[one.position for one in stations], truth_deg, *found_deg.values()])
    ground = map_axes.draw(
        axes,
        [(latitude, longitude) for latitude, longitude in positions.tolist()],
        stations,
        ratio=_MAP_RATIO,
    )
    axes.scatter(*ground.at(*truth_deg.T), s=8, color="#777777", label="truth, all sessions", zorder=2)
    truth = np.stack(ground.at(*truth_deg[chosen].T))
    for letter, estimated_deg in found_deg.items():
        found = np.stack(ground.at(*estimated_deg.T))
        axes.plot(*np.stack([truth, found], axis=1), color=_COLOURS[letter], linewidth=0.8, zorder=2)
        axes.scatter(
            found[0], found[1], s=20, color=_COLOURS[letter], marker=_MARKERS[letter], label=letter, zorder=3
        )
    axes.scatter(truth[0], truth[1], s=30, marker="x", color="black", zorder=4)
    for number, at in enumerate(truth.T.tolist(), start=1):
        axes.annotate(str(number), at, xytext=(4, 4), textcoords="offset points", fontsize=8, zorder=5)
    at = ground.at(*zip(*(one.position for one in stations), strict=True))
    axes.scatter(*at, s=50, marker="^", color="#009E73", edgecolors="white", label="receiver", zorder=5)
    axes.set_title(f"The {len(chosen)} sessions in which A and B disagree most, with lines to the truth")
    axes.legend(loc=ground.legend, fontsize=8)


def _draw_errors(axes: Axes, contest: Contest) -> None:
    a_m, b_m = (np.maximum(side.errors.distance_m, 1.0) for side in (contest.a, contest.b))
    axes.scatter(a_m, b_m, s=14, color="#666666")
    axes.axline((100, 100), (1000, 1000), color="black", linewidth=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="error of A (geodesic)",
        ylabel="error of B (geodesic)",
        title="Below the line B is better",
    )
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_formatter(FuncFormatter(_length))


def _length(value_m: float, _: object) -> str:
    return f"{value_m / 1000:g} km" if value_m >= 1000 else f"{value_m:g} m"
