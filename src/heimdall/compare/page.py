"""A contest as one HTML page: the verdict, differences by slice with their intervals, a map, all sessions."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.compare import scorecard
from heimdall.compare.contest import Contest
from heimdall.pages import chart, elements, page, vector_map
from heimdall.pages.elements import Markup
from heimdall.pages.vector_map import Line, Map, Mark

_ALL = "all sessions"
_WIDTH_PX, _SLICES_PX = 248, 180  # so narrow that a telephone shows them in full size
_LEGEND = {
    "place": "the answer of A",
    "model": "the answer of B",
    "truths": "the true position; its number is that of the table of sessions",
    "receiver": "a receiver",
    "error": "from the true position to an answer",
}
_TICKS_M = [sign * 10**power for sign in (-1, 1) for power in range(1, 7)]
# Below it differences are drawn to scale, above it by their logarithm.
_LINEAR_M = 10


def text(contest: Contest, receivers: pd.DataFrame) -> str:
    """The page, with a newline at its end.

    Args:
        contest: The contest.
        receivers: `name`, `latitude_deg`, `longitude_deg` of each receiver.
    """
    overall = contest.overall
    count = f"{overall['sessions']} test sessions of {overall['transmitters']} transmitters"
    sections = [
        elements.section("The two models", _models(contest)),
        elements.section(
            "Figures",
            elements.table(scorecard.overall_table(contest), caption=f"Figures of both models on {count}"),
            elements.note(
                "Intervals are those of 95 %; whole transmitters are resampled. Latency is measured from a "
                "session's features to its posterior, in one thread, of both models by turns on one machine."
            ),
        ),
        _slices(contest),
        _map(contest, receivers),
        _sessions(contest),
        elements.section(
            "How many sessions tell them apart",
            elements.paragraphs(
                [
                    scorecard.sample_size_sentence(contest.sample_size),
                    *scorecard.canary_sentences(contest.canary, contest.rising_canary),
                ]
            ),
        ),
    ]
    names = " and ".join(side.model.name for _, side in contest.sides)
    lead = [scorecard.verdict(overall), f"Both models located the same {count}."]
    # In Markdown the beginning is bold.
    lead += [warning.replace("**", "") for warning in scorecard.warnings(contest)]
    return page.text(page.Page(f"{names}, compared", contest.data, lead, sections))


def _models(contest: Contest) -> Markup:
    pairs = []
    for letter, side in contest.sides:
        commit = f", commit {side.model.commit}" if side.model.commit else ""
        pairs.append(
            (letter, f"{side.model.name}{commit}: {side.model.file.kind}, SHA-256 {side.model.sha256}")
        )
    return elements.definitions([*pairs, ("data", f"fingerprint {contest.data_fingerprint}")])


def _slices(contest: Contest) -> Markup:
    named = [(_ALL, contest.overall)]
    named += [(f"{one['slice'].replace('_', ' ')}: {one['value']}", one) for one in contest.slices]
    rows = []
    for name, one in named:
        low_m, high_m = one["mae_difference_m_low"], one["mae_difference_m_high"]
        interval = "none: one transmitter" if low_m is None else f"{low_m:+z.0f} to {high_m:+z.0f}"
        rows.append(
            (
                name,
                str(one["sessions"]),
                str(one["transmitters"]),
                f"{one['a']['mae_m']:.0f}",
                f"{one['b']['mae_m']:.0f}",
                f"{one['mae_difference_m']:+z.0f}",
                interval,
                *(f"{100 * one[side]['coverage_95']:.0f}" for side in "ab"),
            )
        )
    headings = (
        *("slice", "sessions", "transmitters", "mean error of A, m", "mean error of B, m"),
        *("B - A, m", "its interval, m", "A: inside the 95 % region, %", "B: inside the 95 % region, %"),
    )
    table = elements.Table(headings, tuple(rows), "lrrrrrrrr")
    drawn = chart.svg(
        _differences(named),
        title="Difference of the mean errors by slice",
        description="For each slice of the sessions a point, B's mean error less A's, and a bar, its 95 % "
        "interval. Left of the line at 0 B is better. The table below has the values.",
    )
    return elements.section(
        "Differences by slice",
        elements.figure(
            drawn,
            "B's mean error less A's, with 95 % intervals. Where the bar meets the line at 0 the two are not "
            f"told apart. Beyond {_LINEAR_M} m the axis is logarithmic. Of so many intervals some miss 0 by "
            "chance.",
        ),
        elements.table(table, caption="Mean errors by slice"),
    )


def _differences(named: list[tuple[str, dict[str, Any]]]) -> dict[str, Any]:
    values = [
        {
            "slice": name,
            "difference_m": one["mae_difference_m"],
            "low_m": one["mae_difference_m_low"],
            "high_m": one["mae_difference_m_high"],
        }
        for name, one in named
    ]
    reach_m = max(abs(value[key] or 0.0) for value in values for key in ("difference_m", "low_m", "high_m"))
    x = {
        "type": "quantitative",
        "title": "mean error of B less that of A, m",
        "scale": {"type": "symlog", "constant": _LINEAR_M, "domain": [-1.1 * reach_m - 1, 1.1 * reach_m + 1]},
        "axis": {
            # Nearer to 0 their names would lie on one another.
            "values": [0, *(tick for tick in _TICKS_M if reach_m / 1000 <= abs(tick) <= reach_m)],
            "format": "+,d",
            "labelOverlap": True,
        },
    }
    y = {
        "field": "slice",
        "type": "nominal",
        "sort": [name for name, _ in named],
        "title": None,
        "axis": {"labelLimit": 300, "grid": True},
    }
    return {
        "width": _SLICES_PX,
        "height": {"step": 22},
        "data": {"values": values},
        "layer": [
            {"mark": "rule", "encoding": {"x": {"datum": 0, **x}}},
            {
                "mark": {"type": "rule", "strokeWidth": 2, "color": chart.COLOURS[0]},
                "encoding": {"x": {"field": "low_m", **x}, "x2": {"field": "high_m"}, "y": y},
            },
            {
                "mark": {
                    "type": "point",
                    "filled": True,
                    "size": 70,
                    "color": chart.COLOURS[0],
                    "opacity": 1,
                },
                "encoding": {"x": {"field": "difference_m", **x}, "y": y},
            },
        ],
    }


def _map(contest: Contest, receivers: pd.DataFrame) -> Markup:
    chosen = contest.disagreements.index[: scorecard.SHOWN].tolist()
    truth_deg = contest.sessions[["latitude_deg", "longitude_deg"]].to_numpy(np.float64)
    marks = [
        Mark(_position(place_deg), "receiver", str(name), f"receiver {name}")
        for name, place_deg in zip(
            receivers["name"],
            receivers[["latitude_deg", "longitude_deg"]].to_numpy(np.float64),
            strict=True,
        )
    ]
    lines, truths = [], []
    for number, row in reversed(list(enumerate(chosen, start=1))):
        for (letter, side), kind in zip(reversed(contest.sides), ("model", "place"), strict=True):
            error = f"session {number}: {letter} is wrong by {side.errors.distance_m[row]:.0f} m"
            marks.append(Mark(_position(side.estimated_deg[row]), kind, "", error))
            lines.append(Line(np.array([truth_deg[row], side.estimated_deg[row]]), "error", error))
        truths.append(Mark(_position(truth_deg[row]), "truths", str(number), f"session {number}: the truth"))
    title = f"the {len(chosen)} sessions in which the answers are furthest apart"
    shown = Map(title, marks + truths, (), lines, legend=_LEGEND)
    return elements.section("Map", vector_map.figure(shown, f"{title[0].upper()}{title[1:]}."))


def _position(place_deg: npt.NDArray[np.float64]) -> tuple[float, float]:
    latitude_deg, longitude_deg = place_deg.tolist()
    return latitude_deg, longitude_deg


def _sessions(contest: Contest) -> Markup:
    a_m, b_m = (np.maximum(side.errors.distance_m, 1.0) for side in (contest.a, contest.b))
    values = [{"a_m": a, "b_m": b} for a, b in zip(a_m.tolist(), b_m.tolist(), strict=True)]
    span_m = [float(min(a_m.min(), b_m.min())), float(max(a_m.max(), b_m.max()))]
    scale = {"type": "log", "domain": span_m, "nice": True}
    powers = range(math.floor(math.log10(span_m[0])), math.ceil(math.log10(span_m[1])) + 1)

    def axis(field: str, letter: str) -> dict[str, Any]:
        return {
            "field": field,
            "type": "quantitative",
            "title": f"position error of {letter}, m",
            "scale": scale,
            "axis": {"format": "~s", "values": [10**power for power in powers]},
        }

    encoding = {"x": axis("a_m", "A"), "y": axis("b_m", "B")}
    spec = {
        "width": _WIDTH_PX,
        "height": _WIDTH_PX,
        "layer": [
            {
                "data": {"values": [{"a_m": value, "b_m": value} for value in span_m]},
                "mark": {"type": "line", "color": "var(--faint)", "strokeDash": [4, 4]},
                "encoding": encoding,
            },
            {
                "data": {"values": values},
                "mark": {"type": "point", "color": chart.COLOURS[0], "opacity": 0.8},
                "encoding": encoding,
            },
        ],
    }
    drawn = chart.svg(
        spec,
        title="Errors of both models by session",
        description="A circle for each test session, the error of A to the right and that of B upwards, both "
        "logarithmic, with a line on which both are equal. The table below has the values.",
    )
    return elements.section(
        "Sessions",
        elements.figure(
            drawn, "Each circle is a session. Below the dashed line B is nearer to the truth than A."
        ),
        elements.table(
            scorecard.disagreement_table(contest, len(contest.sessions)),
            caption="All sessions, the one in which the answers are furthest apart first",
        ),
    )
