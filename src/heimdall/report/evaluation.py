"""The figures of a report: against the targets, against the other methods, by slice, and their charts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from heimdall.pages import chart, elements
from heimdall.pages.elements import Markup, Table
from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import charts, figures, words
from heimdall.report.figures import Coverage, Pair, Slice, Target
from heimdall.report.run import ERROR_BOUND, ERROR_CDF, RELIABILITY, Run
from heimdall.reproduce.paths import CURVE, PRETRAINING_CURVE

Figures = Mapping[str, Any]

_NOMINAL = (0.68, 0.95)  # probabilities of regions
_NAN = float("nan")  # the key of what has no value: it is sorted last
# Label, key, and whether it is a share, of which more is better; else it is a length.
_ROWS = (
    ("mean error", "mae_m", False),
    ("median error", "median_m", False),
    ("within 30 m", "accuracy_30m", True),
    ("within 100 m", "accuracy_100m", True),
    ("calibration error", "calibration_error_m", False),
)


def headline(run: Run) -> Markup:
    """The headline figures beside the targets and the strongest rival."""
    own, rival = figures.test(run), figures.rival(run)
    other = run.figures["test"][rival.name]
    targets = {one.key: one for one in figures.targets(run)}
    rows = [_row(own, other, targets, row) for row in _ROWS]
    covered = {f"the {words.percent(one)} region": figures.coverage(run, one) for one in _NOMINAL}
    rows += [
        _coverage_row(name, one, words.percent(one.nominal), figures.share_inside(other, one.nominal))
        for name, one in covered.items()
    ]
    single = figures.ellipse_coverage(run, 0.95)
    if single is not None:
        name = "the 95 % ellipse alone"
        covered[name] = single
        rows.append(_coverage_row(name, single, "", None))
    exact = [name for name, one in covered.items() if not one.resampled]
    sharpness = words.length(own["sharpness_m"]), "", "", "", words.length(other["sharpness_m"])
    rows.append(("median radius of a circle as large as the 95 % ellipse", *sharpness))
    headings = (
        "figure",
        "localizer",
        "95 % interval",
        "target",
        "result",
        f"strongest rival: {words.method(rival.name)}",
    )
    caption = (
        f"Figures of the {words.counted(int(own['n']), 'test session')}. Intervals: whole transmitters "
        f"resampled{f'; of {words.listed(exact)}: {words.EXACT}' if exact else ''}."
    )
    content = Table(headings, tuple(rows), "lrrrlr", sortable=False)  # each row has a unit of its own
    return elements.table(content, caption=caption)


def _row(
    own: Figures, other: Figures, targets: Mapping[str, Target], row: tuple[str, str, bool]
) -> tuple[str, ...]:
    label, key, is_share = row
    say = words.share if is_share else words.length
    interval = words.interval(own, key)
    limit, result = "", ""
    if (target := targets.get(key)) is not None:
        limit = f"{'>' if is_share else '<'} {say(target.limit)}"
        result = _result(target, interval)
    return label, say(own[key]), _range(say, interval), limit, result, say(other[key])


def _coverage_row(name: str, mine: Coverage, target: str, theirs: float | None) -> tuple[str, ...]:
    return (
        f"inside {name}",
        words.share(mine.share),
        _range(words.share, mine.interval),
        target,
        mine.verdict,
        "" if theirs is None else words.share(theirs),
    )


def _range(say: Callable[[float], str], interval: Pair | None) -> str:
    return "" if interval is None else " to ".join(map(say, interval))


def _result(target: Target, interval: Pair | None) -> str:
    if not target.met:
        return "missed"
    if interval is None or not interval[0] <= target.limit <= interval[1]:
        return "met"
    return "met, by chance perhaps: the target lies in the interval"


def methods(run: Run) -> tuple[Markup, ...]:
    """The localizer beside every method without learning, on the same sessions."""
    test = run.figures["test"]
    own = figures.test(run)
    rows = []
    less: list[float] = []
    lowest: list[float] = []
    for name, found in test.items():
        between = words.interval(own, f"mae_minus_{name}_m")
        difference_m = None if name == LOCALIZER else float(own[f"mae_minus_{name}_m"])
        less.append(_NAN if difference_m is None else difference_m)
        lowest.append(_NAN if between is None else between[0])
        rows.append(
            (
                words.method(name),
                f"{found['mae_m']:.0f}",
                f"{found['median_m']:.0f}",
                f"{100 * found['accuracy_100m']:.1f}",
                f"{100 * found['coverage_95']:.1f}",
                f"{found['nll_nats']:.2f}",
                "" if difference_m is None else words.difference(difference_m),
                _range(words.difference, between),
            )
        )
    headings = (
        "method",
        "mean error, m",
        "median error, m",
        "within 100 m, %",
        "in the 95 % region, %",
        "NLL, nats",
        "localizer's mean error less its",
        "95 % interval",
    )
    caption = (
        "Every method on the same test sessions. NLL is the mean negative logarithm of the density that a "
        "method gives to the true place: smaller is better."
    )
    return (
        elements.definitions((words.method(name), words.HOW[name]) for name in test if name in words.HOW),
        elements.table(Table(headings, tuple(rows), "lrrrrrrr", {6: less, 7: lowest}), caption=caption),
    )


def drawn(run: Run) -> Markup:
    """The charts of the test sessions."""
    rival, n = figures.rival(run).name, int(figures.test(run)["n"])
    parts = []
    if (table := run.tables.get(ERROR_CDF)) is not None:
        target = 30.0 if "accuracy_30m" in run.figures["targets"] else None
        spec = charts.error_cdf(table, target)
        title = "Error of the position"
        half = words.length(figures.test(run)["median_m"])
        seen = (
            f"Share of the {n} test sessions with at most each error, for each method. Half of the "
            f"localizer's errors are below {half}."
        )
        parts.append(_figure(spec, title, seen))
    if (table := run.tables.get(RELIABILITY)) is not None:
        title = "Reliability of the regions"
        band = [
            figures.coverage(run, wanted, observed)
            for wanted, observed in zip(table["nominal"].tolist(), table[LOCALIZER].tolist(), strict=True)
        ]
        how = words.listed(sorted({one.how for one in band}, reverse=True))
        seen = (
            "Share of the transmitters inside the regions, over the probability that the regions state. On "
            "the thin line both are equal; below it the regions are too small. Shaded: the 95 % interval "
            f"of the localizer's share ({how})."
        )
        spec = charts.reliability(table, rival, [one.interval for one in band])
        parts.append(_figure(spec, title, seen))
    if (table := run.tables.get(ERROR_BOUND)) is not None and len(table):
        title = "Error over the Cramer-Rao bound"
        seen = (
            f"Error of each of the {len(table)} sessions that have a bound, over this bound. On the thin "
            "line both are equal. A single error may lie below it, because the bound is one of root mean "
            "squares, and because levels and the known area tell more than arrival times alone."
        )
        parts.append(_figure(charts.error_bound(table, rival), title, seen))
    return elements.beside(*parts)


def slices(run: Run) -> tuple[Markup, ...]:
    """The slices as a chart and as a table; a sentence where their table is missing."""
    found = figures.slices(run)
    if not found:
        return (elements.paragraphs(["The table of the slices is missing, see the last section."]),)
    own = figures.test(run)
    spec = charts.slices(found, own["mae_m"])
    seen = (
        "Mean error of the localizer in each slice, with its 95 % interval where the slice has more than one "
        "transmitter. In brackets the number of sessions; dashed: all sessions, "
        f"{words.length(own['mae_m'])}."
    )
    headings = (
        "by",
        "slice",
        "sessions",
        "mean error, m",
        "95 % interval, m",
        "median error, m",
        "in the 68 % region",
        "in the 95 % region",
        "95 % interval of that, %",
    )
    rows = tuple(_slice_row(run, one) for one in found)
    keys = {
        4: [(words.interval(one.figures, "mae_m") or (_NAN,))[0] for one in found],
        6: [figures.share_inside(one.figures, 0.68) for one in found],
        7: [figures.share_inside(one.figures, 0.95) for one in found],
        8: [figures.slice_coverage(run, one, 0.95).interval[0] for one in found],
    }
    caption = (
        "The localizer in each slice of the test sessions. A heading sorts by its column. Intervals of the "
        f"mean error: whole transmitters resampled; of the region: {figures.how_of_slices(run)}."
    )
    return (
        _figure(spec, "Mean error by slice", seen),
        elements.table(Table(headings, rows, "llrrrrrrr", keys), caption=caption),
    )


def _slice_row(run: Run, one: Slice) -> tuple[str, ...]:
    narrow, wide = (figures.slice_coverage(run, one, nominal) for nominal in _NOMINAL)
    between = words.interval(one.figures, "mae_m")
    return (
        words.SLICES.get(one.kind, one.kind),
        one.value,
        str(one.n),
        f"{one.mae_m:.0f}",
        "" if between is None else f"{between[0]:.0f} to {between[1]:.0f}",
        f"{one.figures['median_m']:.0f}",
        f"{narrow.inside} of {narrow.n}",
        f"{wide.inside} of {wide.n}",
        f"{100 * wide.interval[0]:.0f} to {100 * wide.interval[1]:.0f}",
    )


def training(run: Run) -> tuple[Markup, ...]:
    """The curves of pretraining and training."""
    parts = []
    for path, name in ((PRETRAINING_CURVE, "Pretraining"), (CURVE, "Training")):
        table = run.tables.get(path)
        if table is None or not len(table):
            continue
        first, last = (f"{table['val_loss'].iloc[end]:.2f} nats" for end in (0, -1))
        seen = f"Over the epochs the loss of the validation sessions goes from {first} to {last}."
        parts.append(_figure(charts.losses(table), f"{name}: loss", seen))
        which, column = ("median", "val_median_m") if "val_median_m" in table else ("mean", "val_mae_m")
        first, last = (words.length(float(table[column].iloc[end])) for end in (0, -1))
        seen = f"Over the epochs the {which} error of the validation sessions goes from {first} to {last}."
        parts.append(_figure(charts.validation_errors(table), f"{name}: errors", seen))
    if not parts:
        return (elements.paragraphs(["The curves are missing, see the last section."]),)
    return (elements.beside(*parts),)


def _figure(spec: charts.Spec, title: str, seen: str) -> Markup:
    return elements.figure(chart.svg(spec, title=title, description=seen), f"{title}. {seen}")
