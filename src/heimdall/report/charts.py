"""The charts of a report as specifications of Vega-Lite, from the tables in plots/."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pandas as pd

from heimdall.pages.chart import COLOURS, DASHES, SHAPES
from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import words
from heimdall.report.figures import Pair, Slice

Spec = dict[str, Any]

_WIDTH_PX, _HEIGHT_PX, _SLICES_PX = 248, 220, 190  # so narrow that a telephone shows it in full size
_ROW_PX = 19
_PADDING_PX = (
    12  # between labels and title of an axis: a browser's letters may be wider than those that were measured
)
_LEAST_M = 1.0  # of what is drawn on a logarithmic axis
# A title of a vertical axis that stands above the labels.
_ABOVE = {"titleAngle": 0, "titleAlign": "left", "titleAnchor": "start", "titleX": -126, "titleY": -7}
_ERRORS = {"val_mae_m": "mean", "val_median_m": "median"}
# The one that a chart is about is first, then the stronger ones.
_ORDER = (LOCALIZER, "combined", "time_of_arrival", "direct_position", "received_power", "mean_position")
_LENGTHS = "datum.value >= 1000 ? datum.value / 1000 + ' km' : datum.value + ' m'"
_LEGEND = {"title": None, "orient": "bottom", "columns": 2, "columnPadding": 24, "symbolStrokeWidth": 2}


def error_cdf(table: pd.DataFrame, target_m: float | None) -> Spec:
    """Which share of the sessions has at most which error, a line for each method.

    Args:
        table: plots/error_cdf.csv.
        target_m: The length of the target, metres; None where there is none.
    """
    methods = _methods(table.columns.drop("error_m"))
    shares = table[methods].to_numpy()
    full = np.flatnonzero((shares >= 1).all(axis=1))
    shown = table.iloc[: int(full[0]) + 1 if len(full) else len(table)]
    rows = [
        {"x": length_m, "y": 100 * share, "method": words.method(name)}
        for name in methods
        for length_m, share in zip(shown["error_m"].tolist(), shown[name].tolist(), strict=True)
    ]
    domain_m = [float(shown["error_m"].iloc[0]), float(shown["error_m"].iloc[-1])]
    line = {
        "mark": {"type": "line", "interpolate": "step-after", "strokeWidth": 2},
        "encoding": {
            "x": _lengths("x", "error of the position", domain_m),
            "y": _percent("y", "sessions with at most this error, %"),
            **_series(methods),
        },
        "data": {"values": rows},
    }
    return _chart([line, *_target(target_m)])


def reliability(table: pd.DataFrame, rival: str, intervals: Sequence[Pair]) -> Spec:
    """Which share of the transmitters is inside the regions that should hold a share of them.

    Args:
        table: plots/reliability.csv.
        rival: The method that is drawn beside the localizer.
        intervals: The 95 % interval of the localizer's share in each row.
    """
    methods = [name for name in (LOCALIZER, rival) if name in table]
    nominal = table["nominal"].tolist()
    rows, band = [], []
    for name in methods:
        for wanted, observed in zip(nominal, table[name].tolist(), strict=True):
            rows.append({"x": 100 * wanted, "y": 100 * observed, "method": words.method(name)})
    for wanted, (low, high) in zip(nominal, intervals, strict=True):
        band.append({"x": 100 * wanted, "low": 100 * low, "high": 100 * high})
    x = _percent("x", "probability that the region states, %")
    title = "transmitters inside, %"
    interval = {
        "data": {"values": band},
        "mark": {"type": "area", "color": COLOURS[0], "opacity": 0.18},
        "encoding": {"x": x, "y": _percent("low", title), "y2": {"field": "high"}},
    }
    ideal = {
        "data": {"values": [{"x": 0, "y": 0}, {"x": 100, "y": 100}]},
        "mark": {"type": "line", "color": "var(--faint)", "strokeWidth": 1},
        "encoding": {"x": x, "y": _percent("y", title)},
    }
    lines = {
        "data": {"values": rows},
        "mark": {"type": "line", "strokeWidth": 2},
        "encoding": {"x": x, "y": _percent("y", title), **_series(methods)},
    }
    points = _on_lines(rows, methods, {"x": x, "y": _percent("y", title)})
    return _chart([interval, ideal, lines, *points])


def error_bound(table: pd.DataFrame, rival: str) -> Spec:
    """The error of each session over its Cramer-Rao bound.

    Args:
        table: plots/error_bound.csv.
        rival: The method that is drawn beside the localizer.
    """
    methods = [name for name in (LOCALIZER, rival) if name in table]
    rows = [
        {"x": bound_m, "y": error_m, "method": words.method(name)}
        for name in methods
        for bound_m, error_m in zip(table["bound_m"].tolist(), table[name].tolist(), strict=True)
    ]
    x_m, y_m = (_decades([row[axis] for row in rows]) for axis in ("x", "y"))
    x, y = _lengths("x", "Cramer-Rao bound", x_m), _lengths("y", "error of the position", y_m)
    ends = max(x_m[0], y_m[0]), min(x_m[1], y_m[1])
    equal = {
        "data": {"values": [{"x": end, "y": end} for end in ends]},
        "mark": {"type": "line", "color": "var(--faint)", "strokeWidth": 1},
        "encoding": {"x": x, "y": y},
    }
    points = {
        "data": {"values": rows},
        "mark": {"type": "point", "size": 45, "strokeWidth": 1.5, "opacity": 1},
        "encoding": {"x": x, "y": y, **_series(methods, with_shape=True)},
    }
    return _chart([equal, points])


def slices(found: Sequence[Slice], overall_m: float) -> Spec:
    """The mean error of each slice with its interval.

    Args:
        found: The slices, of one kind after the other.
        overall_m: The mean error of all sessions, metres.
    """
    kinds = list(dict.fromkeys(one.kind for one in found))
    ends_m = [end for one in found for end in words.interval(one.figures, "mae_m") or (one.mae_m,)]
    domain_m = _decades([*(max(end, _LEAST_M) for end in ends_m), overall_m])
    parts = [
        _of_kind([one for one in found if one.kind == kind], overall_m, domain_m, is_last=kind == kinds[-1])
        for kind in kinds
    ]
    return {"vconcat": parts, "spacing": 22, "resolve": {"scale": {"x": "shared"}}}


def _of_kind(found: Sequence[Slice], overall_m: float, domain_m: Sequence[float], *, is_last: bool) -> Spec:
    """The slices of one kind below each other."""
    rows = []
    for one in found:
        row: Spec = {"slice": f"{one.value} ({one.n})", "mean": one.mae_m}
        if (interval := words.interval(one.figures, "mae_m")) is not None:
            row |= {"low": max(interval[0], domain_m[0]), "high": interval[1]}
        rows.append(row)
    x = _lengths("mean", "mean error, with its 95 % interval" if is_last else "", domain_m)
    if not is_last:
        x["axis"] |= {"labels": False, "ticks": False}
    y = {
        "field": "slice",
        "type": "nominal",
        "sort": [row["slice"] for row in rows],
        "axis": {
            "title": words.SLICES.get(found[0].kind, found[0].kind),
            **_ABOVE,
            "labelLimit": 128,
            "grid": True,
        },
    }
    layers = [
        {
            "transform": [{"filter": "isValid(datum.low)"}],
            "mark": {"type": "rule", "color": COLOURS[0], "strokeWidth": 2},
            "encoding": {"x": x | {"field": "low"}, "x2": {"field": "high"}, "y": y},
        },
        {
            "mark": {"type": "point", "filled": True, "color": COLOURS[0], "size": 60, "opacity": 1},
            "encoding": {"x": x, "y": y},
        },
        {
            "data": {"values": [{"x": overall_m}]},
            "mark": {"type": "rule", "color": "var(--text)", "strokeDash": [4, 3]},
            "encoding": {"x": x | {"field": "x"}},
        },
    ]
    return {"width": _SLICES_PX, "height": {"step": _ROW_PX}, "data": {"values": rows}, "layer": layers}


def losses(table: pd.DataFrame) -> Spec:
    """The loss of the training and of the validation by epoch.

    Args:
        table: plots/training.csv or plots/pretraining.csv.
    """
    names = {"train_loss": "training", "val_loss": "validation"}
    return _curves(table, names, {"title": "loss, nats"}, {"zero": False})


def validation_errors(table: pd.DataFrame) -> Spec:
    """The mean and the median error of the validation sessions by epoch.

    Args:
        table: As of `losses`; former revisions have no median.
    """
    names = {name: said for name, said in _ERRORS.items() if name in table}
    y = _lengths("y", "error of the position", _decades(table[list(names)].to_numpy().ravel().tolist()))
    return _curves(table, names, y["axis"], y["scale"])


def _curves(table: pd.DataFrame, names: dict[str, str], axis: Spec, scale: Spec) -> Spec:
    rows = [
        {"x": epoch, "y": value, "method": said}
        for column, said in names.items()
        for epoch, value in zip(table["epoch"].tolist(), table[column].tolist(), strict=True)
    ]
    encoding = {
        "x": {
            "field": "x",
            "type": "quantitative",
            "axis": {"title": "epoch", "tickMinStep": 1, "format": "d"},
            "scale": {"nice": False},
        },
        "y": {"field": "y", "type": "quantitative", "axis": axis, "scale": scale},
    }
    called, places = list(names.values()), range(len(names))
    lines = {"mark": {"type": "line", "strokeWidth": 2}, "data": {"values": rows}}
    lines["encoding"] = encoding | _named(called, places)
    return _chart([lines, *_points(rows, called, places, encoding)], height=180)


def _on_lines(rows: Sequence[Spec], methods: Sequence[str], encoding: Spec) -> list[Spec]:
    return _points(rows, [words.method(name) for name in methods], _places(methods), encoding)


def _points(rows: Sequence[Spec], names: Sequence[str], places: Iterable[int], encoding: Spec) -> list[Spec]:
    """The points on the lines of series, which the legend of the lines explains."""
    return [
        {
            "data": {"values": [row for row in rows if row["method"] == name]},
            "mark": {
                "type": "point",
                "filled": True,
                "size": 24,
                "opacity": 1,
                "color": COLOURS[place % len(COLOURS)],
                "shape": SHAPES[place % len(SHAPES)],
            },
            "encoding": encoding,
        }
        for name, place in zip(names, places, strict=True)
    ]


def _chart(layers: list[Spec], height: int = _HEIGHT_PX) -> Spec:
    return {"width": _WIDTH_PX, "height": height, "layer": layers}


def _target(target_m: float | None) -> list[Spec]:
    if target_m is None:
        return []
    place = {"x": {"field": "x", "type": "quantitative"}}
    data = {"values": [{"x": target_m, "text": f"target: {target_m:g} m"}]}
    return [
        {
            "data": data,
            "mark": {"type": "rule", "color": "var(--text)", "strokeDash": [4, 3]},
            "encoding": place,
        },
        {
            "data": data,
            "mark": {
                "type": "text",
                "align": "left",
                "dx": 5,
                "y": 10,
                "color": "var(--text)",
                "fontSize": 12,
            },
            "encoding": {**place, "text": {"field": "text"}},
        },
    ]


def _methods(columns: Iterable[str]) -> list[str]:
    """Methods in the order of legends."""
    there = list(columns)
    return [name for name in _ORDER if name in there] + [name for name in there if name not in _ORDER]


def _places(methods: Sequence[str]) -> list[int]:
    """The number of each method among the looks of series: it has the same look in every chart."""
    return [_ORDER.index(name) if name in _ORDER else len(_ORDER) for name in methods]


def _series(methods: Sequence[str], *, with_shape: bool = False) -> Spec:
    """How methods differ: by colour, and by dash or shape."""
    names = [words.method(name) for name in methods]
    return _named(names, _places(methods), with_shape=with_shape)


def _named(names: Sequence[str], places: Sequence[int], *, with_shape: bool = False) -> Spec:
    channels: Spec = {"color": COLOURS} | ({"shape": SHAPES} if with_shape else {"strokeDash": DASHES})
    look = {"symbolSize": 80} if with_shape else {"symbolType": "stroke", "symbolSize": 500}
    return {
        channel: {
            "field": "method",
            "type": "nominal",
            "scale": {"domain": list(names), "range": [looks[place % len(looks)] for place in places]},
            "legend": _LEGEND | look,
        }
        for channel, looks in channels.items()
    }


def _percent(field: str, title: str) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"domain": [0, 100], "nice": False},
        "axis": {"title": title, "values": list(range(0, 101, 20))},
    }


def _lengths(field: str, title: str, domain_m: Sequence[float]) -> Spec:
    return {
        "field": field,
        "type": "quantitative",
        "scale": {"type": "log", "domain": list(domain_m), "nice": False},
        "axis": {
            "title": title,
            "titlePadding": _PADDING_PX,
            "labelExpr": _LENGTHS,
            "values": _ticks(domain_m),
        },
    }


def _ticks(domain_m: Sequence[float]) -> list[float]:
    """The powers of ten in a domain, and between them as many multiples as have room for their labels."""
    low, high = domain_m
    span = high / low
    factors = (1, 2, 5) if span < 10 else (1, 3) if span < 100 else (1,)
    return [tick for n in range(-1, 8) for factor in factors if low <= (tick := factor * 10.0**n) <= high]


def _decades(values: Sequence[float]) -> list[float]:
    """The domain of a logarithmic axis on which values lie, with some room at both ends."""
    known = np.array([value for value in values if np.isfinite(value) and value > 0] or [1.0, 10.0])
    return [float(f"{known.min() / 1.3:.3g}"), float(f"{known.max() * 1.3:.3g}")]
