"""Monitoring as one HTML page: alarms, coverage and errors over time beside the claims, drift, a map."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import stats

from heimdall.monitor import alerts
from heimdall.monitor.alerts import Figures
from heimdall.monitor.monitor import PROBABILITIES, Answers, Finding
from heimdall.pages import chart, elements, page, vector_map
from heimdall.pages.elements import Markup
from heimdall.pages.vector_map import Map, Mark

# So narrow that a telephone shows them in full size.
_WIDTH_PX, _DRIFT_PX, _HEIGHT_PX = 248, 190, 220
_BAND = (0.025, 0.975)
_CLAIM = {"strokeDash": [6, 4], "color": "var(--text)"}
_LEGEND = {
    "event": "a session whose truth lies in its 95 % region",
    "truths": "a session whose truth lies outside its 95 % region",
}


def text(found: Finding) -> str:
    """The page, with a newline at its end."""
    new = found.new
    sections = []
    if found.figures is not None:
        sections.append(_figures(found.figures))
    if new is not None:
        sections += [_coverage(found, new), _errors(found, new), _map(new)]
    about = [
        ("model", f"{found.model.name}, SHA-256 {found.model.sha256}"),
        ("claims", f"of the {len(found.claimed.errors)} sessions of its own test split"),
        ("left out", f"{found.known} sessions that the model already knew"),
    ]
    sections.append(elements.section("What was compared", elements.definitions(about)))
    name = f"{found.model.name}: new sessions against its claims"
    return page.text(page.Page(name, found.data or "unknown", _lead(found), sections))


def _lead(found: Finding) -> list[str]:
    new = found.new
    count = "There are no new sessions."
    if new is not None:
        first, last = (moment.strftime("%Y-%m-%d %H:%M UTC") for moment in _ends(found.approved_at))
        count = (
            f"{len(new.clusters)} new sessions of {len(set(new.clusters))} transmitters, approved from "
            f"{first} to {last}."
        )
    if found.figures is None:
        return [f"No verdict: {alerts.TOO_FEW}.", count]
    alarms = alerts.alarms(found.figures)
    if not alarms:
        return ["No alarm: the new sessions agree with what the model claims.", count]
    several = "s" if len(alarms) > 1 else ""
    return [
        f"{len(alarms)} alarm{several}: the new sessions contradict what the model claims.",
        *(f"Alarm: {alarm}." for alarm in alarms),
        count,
    ]


def _ends(moments: list[datetime]) -> tuple[datetime, datetime]:
    return min(moments), max(moments)


def _figures(figures: Figures) -> Markup:
    values = [
        {
            "statistic": one.statistic,
            "distance": one.distance,
            "verdict": "alarm" if one.verdict == "alarm" else "no alarm",
        }
        for one in figures.drift
    ]
    verdicts = ["no alarm", "alarm"]
    marks = {
        "color": {"scale": {"domain": verdicts, "range": list(chart.COLOURS[:2])}},
        "shape": {"scale": {"domain": verdicts, "range": list(chart.SHAPES[:2])}},
    }
    x = {"type": "quantitative", "scale": {"domain": [0, 1]}, "title": "Kolmogorov-Smirnov distance, 0 to 1"}
    spec = {
        "width": _DRIFT_PX,
        "height": {"step": 26},
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": {"field": "distance", **x},
                    "y": {
                        "field": "statistic",
                        "type": "nominal",
                        "sort": None,
                        "title": None,
                        "axis": {"grid": True, "labelLimit": 300},
                    },
                    **{
                        channel: {
                            "field": "verdict",
                            "type": "nominal",
                            "title": None,
                            "legend": {"orient": "bottom"},
                            **how,
                        }
                        for channel, how in marks.items()
                    },
                },
            },
            {"mark": {"type": "rule", **_CLAIM}, "encoding": {"x": {"datum": alerts.MIN_DRIFT, **x}}},
        ],
    }
    drawn = chart.svg(
        spec,
        title="Drift of the features",
        description="For each statistic of a session a point at the distance of its distribution from that "
        "of the training. The table above has the values.",
    )
    return elements.section(
        "Figures and verdicts",
        elements.table(alerts.summary(figures), caption="The new sessions beside the claim or the training"),
        elements.note(
            "In brackets stand 95 % intervals. Where the verdict is uncertain, more sessions are needed."
        ),
        elements.figure(
            drawn,
            "How far the new sessions have moved from the training: 0 is not at all, 1 is without any "
            "overlap. There is an alarm only at the right of the dashed line, and only if chance does not "
            "explain it.",
        ),
    )


def _coverage(found: Finding, new: Answers) -> Markup:
    figures = [_covered(found, new, probability) for probability in PROBABILITIES]
    return elements.section("Coverage over time", *figures)


def _covered(found: Finding, new: Answers, probability: float) -> Markup:
    claimed = float(np.mean(found.claimed.errors.level <= probability))
    shares, low, high = so_far(new.errors.level <= probability, claimed)
    values = [
        {"approved": _moment(moment), "share": share, "low": below, "high": above}
        for moment, share, below, above in zip(
            found.approved_at, *((100 * part).tolist() for part in (shares, low, high)), strict=True
        )
    ]
    y = {
        "type": "quantitative",
        "scale": {"domain": [0, 100]},
        "title": f"truths in the {probability:.0%} regions so far, %",
    }
    x = {"field": "approved", **_time()}
    spec = {
        "width": _WIDTH_PX,
        "height": _HEIGHT_PX,
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "area", "opacity": 0.25, "color": chart.COLOURS[0]},
                "encoding": {"x": x, "y": {"field": "low", **y}, "y2": {"field": "high"}},
            },
            {"mark": {"type": "rule", **_CLAIM}, "encoding": {"y": {"datum": 100 * claimed, **y}}},
            {
                "mark": {"type": "line", "point": {"size": 25}, "color": chart.COLOURS[1]},
                "encoding": {"x": x, "y": {"field": "share", **y}},
            },
        ],
    }
    drawn = chart.svg(
        spec,
        title=f"Coverage of the {probability:.0%} regions over time",
        description=f"A line, the share of truths so far that lay in their {probability:.0%} region: at the "
        f"end {shares[-1]:.0%}, with {claimed:.0%} claimed.",
    )
    return elements.figure(
        drawn,
        f"Line: the share of truths so far that lay in their {probability:.0%} region. Dashed: the model's "
        "claim. Area: where the share lies with a chance of 95 %, if the claim is true and sessions are "
        "independent.",
    )


def so_far(
    inside: npt.NDArray[np.bool_], claimed: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """The share of truths covered so far, and the band in which the claim would have it.

    Args:
        inside: Whether each truth was covered, in the order of approval, shape (n,).
        claimed: The share that the model claims.

    Returns:
        The share, and the lower and the upper end of the central 95 % of the binomial distribution, each of
        shape (n,) and in [0, 1].
    """
    count = np.arange(1, len(inside) + 1)
    low, high = (stats.binom.ppf(level, count, claimed) / count for level in _BAND)
    return np.cumsum(inside) / count, np.maximum(low, 0.0), high


def _errors(found: Finding, new: Answers) -> Markup:
    error_m = np.maximum(new.errors.distance_m, 1.0)
    mean_m = np.cumsum(new.errors.distance_m) / np.arange(1, len(error_m) + 1)
    claimed_m = float(found.claimed.errors.distance_m.mean())
    values = [
        {"approved": _moment(moment), "error_m": error, "mean_m": max(mean, 1.0)}
        for moment, error, mean in zip(found.approved_at, error_m.tolist(), mean_m.tolist(), strict=True)
    ]
    y = {
        "type": "quantitative",
        "scale": {"type": "log"},
        "title": "position error, m",
        "axis": {"format": ",d"},
    }
    x = {"field": "approved", **_time()}
    spec = {
        "width": _WIDTH_PX,
        "height": _HEIGHT_PX,
        "data": {"values": values},
        "layer": [
            {
                "mark": {"type": "point", "color": chart.COLOURS[0]},
                "encoding": {"x": x, "y": {"field": "error_m", **y}},
            },
            {
                "mark": {"type": "line", "color": chart.COLOURS[1]},
                "encoding": {"x": x, "y": {"field": "mean_m", **y}},
            },
            {"mark": {"type": "rule", **_CLAIM}, "encoding": {"y": {"datum": claimed_m, **y}}},
        ],
    }
    drawn = chart.svg(
        spec,
        title="Position errors over time",
        description="A circle for each new session, and a line, the mean error so far: at the end "
        f"{mean_m[-1]:.0f} m, with {claimed_m:.0f} m claimed.",
    )
    return elements.section(
        "Errors over time",
        elements.figure(
            drawn,
            "Circles: the error of each session. Line: the mean so far. Dashed: the mean that is claimed.",
        ),
    )


def _map(new: Answers) -> Markup:
    inside = new.errors.level <= PROBABILITIES[-1]
    places_deg = new.sessions[["latitude_deg", "longitude_deg"]].to_numpy(np.float64).tolist()
    marks = [
        Mark(
            (latitude_deg, longitude_deg),
            "event" if covered else "truths",
            "",
            f"session {session}: wrong by {error_m:.0f} m",
        )
        for session, (latitude_deg, longitude_deg), covered, error_m in zip(
            new.sessions["session_id"],
            places_deg,
            inside.tolist(),
            new.errors.distance_m.tolist(),
            strict=True,
        )
    ]
    # Those that fail lie above the others.
    marks.sort(key=lambda mark: mark.kind == "truths")
    shown = Map("true positions of the new sessions", marks, legend=_LEGEND)
    return elements.section("Map", vector_map.figure(shown, "True positions of the new sessions."))


def _moment(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%S.%fZ")


def _time() -> dict[str, Any]:
    axis = {"tickCount": 3, "labelOverlap": True, "format": "%d %b"}
    return {"type": "temporal", "title": "approved, UTC", "scale": {"type": "utc"}, "axis": axis}
