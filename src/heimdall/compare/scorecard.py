"""A contest as people and machines read it: Markdown for a pull request, JSON, a picture."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import matplotlib as mpl
import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from heimdall.compare.contest import Contest, Side
from heimdall.compare.sample_size import POWER, SIGNIFICANCE, Canary

SHOWN = 10  # sessions in which the two disagree most
# Resampled clusters give too narrow intervals below it (Cameron, Gelbach and Miller, Review of Economics and
# Statistics 90 (2008), 414-427: from 5 to 30 of them).
FEW_TRANSMITTERS = 30
_COLOURS = {"A": "#0072B2", "B": "#D55E00"}  # Okabe and Ito, 2008
# Heading and key of `metrics.summary`, with how the value is written.
_FIGURES = (
    ("median error, m", "median_m", ".0f"),
    ("within 100 m", "accuracy_100m", ".1%"),
    ("inside the 68 % region", "coverage_68", ".1%"),
    ("inside the 95 % region", "coverage_95", ".1%"),
    ("NLL, nats", "nll_nats", ".2f"),
    ("calibration error, m", "calibration_error_m", ".0f"),
)


def as_dict(contest: Contest) -> dict[str, Any]:
    """Everything, for machines: canonical JSON takes it.

    Latencies are measured; all else depends on the two files and the sessions alone.
    """
    return {
        "data": contest.data,
        "data_fingerprint": contest.data_fingerprint,
        "a": _side(contest.a),
        "b": _side(contest.b),
        "overall": contest.overall,
        "slices": contest.slices,
        "canary": None
        if contest.canary is None
        else asdict(contest.canary) | {"power": POWER, "significance": SIGNIFICANCE},
        "sessions": _disagreements(contest).to_dict("records"),
    }


def markdown(contest: Contest) -> str:
    """The report of a pull request.

    Args:
        contest: The contest.

    Returns:
        GitHub's Markdown, which ends with a line feed.
    """
    overall = contest.overall
    count = f"{overall['sessions']} test sessions of {overall['transmitters']} transmitters"
    lines = [
        f"### A and B on the same {count} ({contest.data} data)",
        "",
        *(f"- **{letter}** {_named(side)}" for letter, side in _sides(contest)),
        *(f"- {warning}" for warning in warnings(contest)),
        "",
        verdict(overall),
        "",
        *_overall_table(contest),
        "",
        "<details><summary>By slice (A / B)</summary>",
        "",
        *_slice_table(contest.slices),
        "",
        "</details>",
        "",
        f"<details><summary>The {min(SHOWN, len(contest.sessions))} sessions in which they disagree most"
        "</summary>",
        "",
        *_disagreement_table(contest),
        "",
        "</details>",
        "",
        canary_sentence(contest.canary),
        "",
        f"Figures from {contest.data} data; intervals: 95 %, paired, whole transmitters resampled; of the "
        "slices' intervals some miss 0 by chance. Latency: from a session's features to its posterior, one "
        "thread, measured by turns on this machine.",
    ]
    return "\n".join(lines) + "\n"


def warnings(contest: Contest) -> list[str]:
    """What a reader must know before he believes the figures, a sentence each."""
    total, found = len(contest.sessions), []
    for letter, side in _sides(contest):
        if side.seen is None:
            made_of = str(side.model.file.metadata.get("data_fingerprint"))[:12]
            found.append(
                f"**{letter} may know test sessions**: it was made of other data (fingerprint {made_of}), "
                "and a file does not name its sessions. Compare it by its git revision."
            )
        elif side.seen.known_transmitter:
            found.append(
                f"**Not held out from {letter}**: it was trained on {side.seen.sessions} of the {total} test "
                "sessions or its epoch was chosen by them, and it knew the transmitters of "
                f"{side.seen.known_transmitter}. Its figures are better than on transmitters it never heard."
            )
    transmitters = contest.overall["transmitters"]
    if transmitters < FEW_TRANSMITTERS:
        found.append(
            f"**Few transmitters**: with {transmitters}, fewer than {FEW_TRANSMITTERS}, intervals are too "
            "narrow and the numbers of sessions rough."
        )
    return found


def verdict(overall: Mapping[str, Any]) -> str:
    """Whether the mean errors differ, in a sentence."""
    difference_m = overall["mae_difference_m"]
    low_m, high_m = overall["mae_difference_m_low"], overall["mae_difference_m_high"]
    if difference_m == 0 and low_m == high_m:
        return "Both have the same mean error."
    size = (
        f"B's mean error is {abs(difference_m):.1f} m {'smaller' if difference_m < 0 else 'larger'} than A's"
    )
    if low_m is None:
        return f"{size}; with one transmitter there is no interval."
    interval = f"95 % interval of the difference {low_m:+z.1f} to {high_m:+z.1f} m"
    told = "they are not told apart" if low_m <= 0 <= high_m else "they are told apart"
    return f"{size} ({interval}): {told}."


def canary_sentence(found: Canary | None) -> str:
    """How many sessions it would take, in a sentence or two."""
    if found is None:
        return "Canary: one transmitter alone does not tell how many sessions are needed."
    chance = f"with {POWER:.0%} power at {SIGNIFICANCE:.0%} (two-sided)"
    basis = (
        f"one difference scatters by {found.std_m:.1f} m, design effect {found.design_effect:.2f} at "
        f"{found.sessions_per_transmitter:.1f} sessions a transmitter"
    )
    if found.sessions is None:
        needed = "Canary: the mean errors are equal here, and no number of sessions tells them apart"
    else:
        needed = (
            f"Canary: to tell a difference of {abs(found.difference_m):.1f} m {chance}, {found.sessions} "
            f"sessions of {found.transmitters} transmitters are needed"
        )
    return f"{needed} ({basis}). These sessions would show a difference of {found.detectable_m:.1f} m."


def picture(contest: Contest, receivers: pd.DataFrame) -> bytes:
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
        names = " and ".join(f"{letter}: {side.model.name}" for letter, side in _sides(contest))
        figure.suptitle(f"{names}, the same test sessions ({contest.data} data)", fontsize=13)
        grid = figure.add_gridspec(1, 5)
        _draw_map(figure.add_subplot(grid[0, :3]), contest, receivers)
        _draw_errors(figure.add_subplot(grid[0, 3:]), contest)
        stream = io.BytesIO()
        figure.savefig(stream, format="png", metadata={"Software": None})
    return stream.getvalue()


def _sides(contest: Contest) -> tuple[tuple[str, Side], tuple[str, Side]]:
    return ("A", contest.a), ("B", contest.b)


def _side(side: Side) -> dict[str, Any]:
    metadata = side.model.file.metadata
    return {
        "name": side.model.name,
        "commit": side.model.commit,
        "sha256": side.model.sha256,
        "kind": side.model.file.kind,
        "trained_on": metadata.get("data"),
        "data_fingerprint": metadata.get("data_fingerprint"),
        "seen": None if side.seen is None else asdict(side.seen),
        "latency": {"answers": len(side.latency_ms)} | _latency_ms(side),
    }


def _latency_ms(side: Side) -> dict[str, float]:
    median_ms, p95_ms = np.quantile(side.latency_ms, [0.5, 0.95]).tolist()
    return {"median_ms": median_ms, "p95_ms": p95_ms}


def _named(side: Side) -> str:
    model = side.model
    commit = "" if model.commit is None else f", commit {model.commit[:12]}"
    return f"`{model.name}`{commit}: {model.file.kind}, sha256 {model.sha256[:12]}"


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    aligned = ["---", *["---:"] * (len(headings) - 1)]
    return ["| " + " | ".join(line) + " |" for line in (headings, aligned, *rows)]


def _interval(figures: Mapping[str, Any], key: str, sign: str = "") -> str:
    """A length in metres with its interval, where there is one."""
    low_m, high_m = figures[f"{key}_low"], figures[f"{key}_high"]
    value = f"{figures[key]:{sign}z.0f}"
    return value if low_m is None else f"{value} ({low_m:{sign}z.0f} to {high_m:{sign}z.0f})"


def _overall_table(contest: Contest) -> list[str]:
    overall = contest.overall
    a, b = overall["a"], overall["b"]
    rows = [
        [
            "mean error, m",
            _interval(a, "mae_m"),
            _interval(b, "mae_m"),
            _interval(overall, "mae_difference_m", "+"),
        ]
    ]
    for heading, key, form in _FIGURES:
        rows.append([heading, f"{a[key]:{form}}", f"{b[key]:{form}}", _change(b[key] - a[key], form)])
    times = [_latency_ms(side) for side in (contest.a, contest.b)]
    for heading, key in (("latency, median, ms", "median_ms"), ("latency, p95, ms", "p95_ms")):
        first, second = (one[key] for one in times)
        rows.append([heading, f"{first:.1f}", f"{second:.1f}", f"{second - first:+z.1f}"])
    return _table(["", "A", "B", "B - A"], rows)


def _change(value: float, form: str) -> str:
    """A difference; that of two shares is in percentage points."""
    return f"{100 * value:+z.1f} points" if form.endswith("%") else f"{value:+z{form}}"


def _slice_table(slices: Sequence[Mapping[str, Any]]) -> list[str]:
    headings = ["slice", "sessions", "transmitters", "mean error, m", "B - A, m"]
    rows = []
    for one in slices:
        a, b = one["a"], one["b"]
        cells = [
            f"{one['slice'].replace('_', ' ')} {one['value']}",
            str(one["sessions"]),
            str(one["transmitters"]),
        ]
        cells += [f"{a['mae_m']:.0f} / {b['mae_m']:.0f}", _interval(one, "mae_difference_m", "+")]
        cells += [f"{a[key]:{form}} / {b[key]:{form}}" for _, key, form in _FIGURES]
        rows.append([cell.replace("|", "\\|") for cell in cells])
    return _table([*headings, *(heading for heading, _, _ in _FIGURES)], rows)


def _disagreements(contest: Contest) -> pd.DataFrame:
    """One row a session, the one in which they disagree most first: errors and distance apart, metres."""
    table = contest.sessions[["session_id", "cluster", "receivers_heard"]].rename(
        columns={"cluster": "transmitter"}
    )
    table = table.assign(
        apart_m=contest.apart_m, a_error_m=contest.a.errors.distance_m, b_error_m=contest.b.errors.distance_m
    )
    return table.sort_values(["apart_m", "session_id"], ascending=[False, True])


def _disagreement_table(contest: Contest) -> list[str]:
    rows = [
        [
            str(number),
            f"`{row['session_id']}`",
            str(row["receivers_heard"]),
            *(f"{row[name]:.0f}" for name in ("apart_m", "a_error_m", "b_error_m")),
        ]
        for number, (_, row) in enumerate(_disagreements(contest).head(SHOWN).iterrows(), start=1)
    ]
    return _table(["", "session", "receivers heard", "apart, m", "error of A, m", "error of B, m"], rows)


def _draw_map(axes: Axes, contest: Contest, receivers: pd.DataFrame) -> None:
    """Both answers of the sessions in which they disagree most, each with a line to the truth."""
    chosen = _disagreements(contest).index[:SHOWN].to_numpy()
    truth_deg = contest.sessions[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
    axes.scatter(truth_deg[:, 1], truth_deg[:, 0], s=8, color="#999999", label="truth, all sessions")
    for letter, side in _sides(contest):
        for row in chosen:
            (true_lat, true_lon), (latitude, longitude) = truth_deg[row], side.estimated_deg[row]
            axes.plot([true_lon, longitude], [true_lat, latitude], color=_COLOURS[letter], linewidth=0.8)
        found = side.estimated_deg[chosen]
        axes.scatter(found[:, 1], found[:, 0], s=20, color=_COLOURS[letter], label=letter, zorder=3)
    axes.scatter(truth_deg[chosen, 1], truth_deg[chosen, 0], s=30, marker="x", color="black", zorder=4)
    for number, row in enumerate(chosen, start=1):
        axes.annotate(
            str(number),
            (truth_deg[row, 1], truth_deg[row, 0]),
            xytext=(4, 4),
            textcoords="offset points",
            fontsize=8,
            zorder=5,
        )
    axes.scatter(
        receivers["longitude_deg"],
        receivers["latitude_deg"],
        s=50,
        marker="^",
        color="#009E73",
        edgecolors="white",
        label="receiver",
        zorder=5,
    )
    axes.set_aspect(1 / math.cos(math.radians(float(truth_deg[:, 0].mean()))), adjustable="datalim")
    axes.set(
        xlabel="longitude, degrees",
        ylabel="latitude, degrees",
        title=f"The {len(chosen)} sessions in which A and B disagree most, with lines to the truth",
    )
    axes.legend(loc="best", fontsize=8)


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
