"""The charts of a session as Vega-Lite specifications."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any

from heimdall.session.correlations import Curve
from heimdall.session.residuals import Residual
from heimdall.session.spectra import Spectrum

Spec = dict[str, Any]

WIDTH = 270  # of a receiver's charts: three stand side by side, and one in a telephone
_HEIGHT = 170
_WIDE, _ROW = 200, 34  # of the residuals
_POINTS = 400  # of a curve: there are no more pixels
_LANES = {"taken": 1.45, "true": 1.27, "answer": 1.12}  # above the curve, one for each time that is marked
_TOP = 1.58
_EXTENT = 46  # of the axis at the left, so that its title is off the numbers in every font
_LETTER = 7.5  # of a label: letters are wider where a browser has another font
_SIGMAS = (2.0, 1.0)
_LEAST_SIGMAS = 3.5  # that the residuals' axis shows


def spectrum(one: Spectrum) -> Spec:
    """Power density over frequency."""
    points = zip((one.offset_hz / 1e3).tolist(), one.level_db.tolist(), strict=True)
    low, high = float(one.level_db.min()), float(one.level_db.max())
    return {
        "width": WIDTH,
        "height": _HEIGHT,
        "data": {"values": [{"x": round(x, 3), "y": round(y, 1)} for x, y in points]},
        "mark": {"type": "line", "strokeWidth": 1, "color": "var(--text)"},
        "encoding": {
            "x": _kilohertz(one),
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": "power density, dBFS/Hz",
                "scale": {"domain": [low - 3, high + 3], "nice": False},
                "axis": {"tickCount": 5, "minExtent": _EXTENT},
            },
        },
    }


def waterfall(one: Spectrum) -> Spec:
    """The picture of power density over frequency and time, between axes."""
    picture = f"data:image/png;base64,{base64.b64encode(one.picture()).decode()}"
    return {
        "width": WIDTH,
        "height": _HEIGHT,
        "data": {"values": [{"x": 0, "y": one.duration_s / 2, "url": picture}]},
        "mark": {"type": "image", "width": WIDTH, "height": _HEIGHT, "aspect": False},
        "encoding": {
            "x": _kilohertz(one),
            "y": {
                "field": "y",
                "type": "quantitative",
                "title": "time, s",
                "scale": {"domain": [one.duration_s, 0], "nice": False},
                "axis": {"tickCount": 5, "grid": False, "minExtent": _EXTENT},
            },
            "url": {"field": "url", "type": "nominal"},
        },
    }


def _kilohertz(one: Spectrum) -> Spec:
    ends = [float(one.offset_hz[0]) / 1e3, float(one.offset_hz[-1]) / 1e3]
    return {
        "field": "x",
        "type": "quantitative",
        "title": "frequency less the tuned one, kHz",
        "scale": {"domain": ends, "nice": False},
        "axis": {"tickCount": 5, "grid": False},
    }


def correlation(curve: Curve) -> Spec:
    """The magnitude over the lag, and above it the times that are compared with its peak."""
    reach_us = curve.reach_s * 1e6
    shown = abs(curve.lag_s) <= curve.reach_s * 1.001
    every = max(1, int(shown.sum()) // _POINTS)
    lags_us, values = curve.lag_s[shown][::every] * 1e6, curve.magnitude[shown][::every]
    points = [
        {"x": round(x, 2), "y": round(y, 4)} for x, y in zip(lags_us.tolist(), values.tolist(), strict=True)
    ]
    times = {"taken": curve.taken_s, "true": curve.true_s, "answer": curve.answered_s}
    marks = [
        {"x": round(value * 1e6, 3), "y": _LANES[what], "foot": 0, "what": what}
        for what, value in times.items()
        if value is not None and abs(value) <= curve.reach_s
    ]
    axis = {
        "field": "x",
        "type": "quantitative",
        "title": "later than at the reference, µs",
        "scale": {"domain": [-reach_us, reach_us], "nice": False},
        "axis": {"tickCount": 5},
    }
    height = {
        "field": "y",
        "type": "quantitative",
        "title": "relative correlation",
        "scale": {"domain": [0, _TOP], "nice": False},
        "axis": {"values": [0, 0.5, 1], "minExtent": _EXTENT},
    }
    layers: list[Spec] = [
        {
            "data": {"values": points},
            "mark": {"type": "line", "strokeWidth": 1.2, "color": "var(--text)"},
            "encoding": {"x": axis, "y": height},
        },
        {
            "data": {"values": marks},
            "mark": {"type": "rule", "strokeWidth": 1},
            "encoding": {
                "x": axis,
                "y": height,
                "y2": {"field": "foot"},
                "color": _OF_TIMES["color"],
                "strokeDash": _OF_TIMES["strokeDash"],
            },
        },
        {
            "data": {"values": marks},
            "mark": {"type": "point", "filled": True, "size": 70, "opacity": 1},
            "encoding": {"x": axis, "y": height, "color": _OF_TIMES["color"], "shape": _OF_TIMES["shape"]},
        },
    ]
    if curve.taken_s is not None and curve.sigma_s is not None and abs(curve.taken_s) <= curve.reach_s:
        ends_us = [(curve.taken_s + side * curve.sigma_s) * 1e6 for side in (-1, 1)]
        ends_us = [min(max(one, -reach_us), reach_us) for one in ends_us]
        layers.append(
            {
                "data": {"values": [{"x": ends_us[0], "x2": ends_us[1], "y": _LANES["taken"]}]},
                "mark": {"type": "rule", "strokeWidth": 3, "color": "var(--receiver)"},
                "encoding": {"x": axis, "x2": {"field": "x2"}, "y": height},
            }
        )
    return {"width": WIDTH, "height": _HEIGHT, "layer": layers}


# The same shape and colour for the same time, wherever it is drawn.
_X = "M-1 -.6L-.6 -1L0 -.4L.6 -1L1 -.6L.4 0L1 .6L.6 1L0 .4L-.6 1L-1 .6L-.4 0Z"  # as the maps have it
_NAMES = ["taken", "true", "answer"]
_OF_TIMES: Spec = {
    "color": {
        "field": "what",
        "type": "nominal",
        "scale": {"domain": _NAMES, "range": ["var(--receiver)", "var(--truth)", "var(--place)"]},
        "legend": None,
    },
    "shape": {
        "field": "what",
        "type": "nominal",
        "scale": {"domain": _NAMES, "range": ["triangle-down", _X, "circle"]},
        "legend": None,
    },
    "strokeDash": {
        "field": "what",
        "type": "nominal",
        "scale": {"domain": _NAMES, "range": [[1, 0], [6, 3], [2, 2]]},
        "legend": None,
    },
}


def residuals(rows: Sequence[Residual]) -> Spec:
    """Of each receiver, its residuals against the known position and against the answer, in sigmas."""
    points = [
        {"receiver": one.label, "x": round(value.sigmas, 3), "what": what}
        for one in rows
        for what, value in (("true", one.against_truth), ("answer", one.against_answer))
        if value is not None
    ]
    most = max([_LEAST_SIGMAS, *(1.1 * abs(float(str(point["x"]))) for point in points)])
    names = [one.label for one in rows]
    axis = {
        "field": "x",
        "type": "quantitative",
        "title": "late, in stated sigmas",
        "scale": {"domain": [-most, most], "nice": False},
    }
    of_receiver = {
        "field": "receiver",
        "type": "nominal",
        "title": None,
        "scale": {"domain": names},
        "axis": {"labelLimit": 0, "minExtent": _LETTER * max(map(len, names))},
    }
    bands: list[Spec] = [
        {
            "data": {"values": [{"x": -size, "x2": size}]},
            "mark": {"type": "rect", "color": "var(--faint)", "opacity": 0.12},
            "encoding": {"x": axis, "x2": {"field": "x2"}},
        }
        for size in _SIGMAS
    ]
    return {
        "width": _WIDE,
        "height": {"step": _ROW},
        "layer": [
            *bands,
            {
                "data": {"values": [{"x": 0}]},
                "mark": {"type": "rule", "color": "var(--text)", "strokeWidth": 1},
                "encoding": {"x": axis},
            },
            {
                "data": {"values": points},
                "mark": {"type": "point", "filled": True, "size": 90, "opacity": 1},
                "encoding": {
                    "x": axis,
                    "y": of_receiver,
                    "yOffset": {"field": "what", "type": "nominal", "scale": {"domain": ["true", "answer"]}},
                    "color": _OF_TIMES["color"],
                    "shape": _OF_TIMES["shape"],
                },
            },
        ],
    }
