"""metrics/eval_full.json as lines of text: the test figures beside the targets and the bound."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from heimdall.core import table
from heimdall.metrics.metrics import TARGETS
from heimdall.pipeline.evaluate.predictors import LOCALIZER, PREDICTORS

# What a row is called, its key in the metrics, how it is written, and how its target is.
ROWS = (
    ("mean error, m", "mae_m", "{:.0f}", "< {:g}"),
    ("median error, m", "median_m", "{:.0f}", None),
    ("within 30 m", "accuracy_30m", "{:.1%}", "> {:.0%}"),
    ("within 100 m", "accuracy_100m", "{:.1%}", None),
    ("calibration error, m", "calibration_error_m", "{:.0f}", "< {:g}"),
    ("NLL, nats", "nll_nats", "{:.2f}", None),
    ("inside the 68 % region", "coverage_68", "{:.1%}", None),
    ("inside the 95 % region", "coverage_95", "{:.1%}", None),
)


def lines(metrics: Mapping[str, Any]) -> list[str]:
    """The table.

    Args:
        metrics: The content of metrics/eval_full.json.
    """
    test, bound = metrics["test"], metrics["cramer_rao"]
    headings = ["", "target", *(name.replace("_", " ") for name in PREDICTORS)]
    rows = [
        [
            label,
            target.format(TARGETS[key]) if target else "",
            *(form.format(test[name][key]) for name in PREDICTORS),
        ]
        for label, key, form, target in ROWS
    ]
    found = [
        f"Test split by {metrics['split_by']}, {metrics['data']} data: {test[LOCALIZER]['n']} sessions",
        *table.lines(headings, rows, "l" + "r" * (len(headings) - 1)),
    ]
    if bound["bounded"]:
        found.append(
            f"Cramer-Rao bound, without multipath: {bound['median_m']:.0f} m in the median of the "
            f"{bound['bounded']} sessions that have one; at most 30 m in {bound['share_30m']:.1%} of all"
        )
    timeless = metrics["test_without_gps"]
    rival = metrics["strongest_rival"]["test"]
    difference_m, low_m, high_m = (
        test[LOCALIZER][f"mae_minus_{rival}_m{end}"] for end in ("", "_low", "_high")
    )
    interval = "" if low_m is None else f" [{low_m:+.0f}, {high_m:+.0f}]"
    found.append(
        f"Strongest rival: {rival.replace('_', ' ')}; the localizer's mean error less that of it: "
        f"{difference_m:+.0f} m{interval}"
    )
    told = ", ".join(f"{name.replace('_', ' ')} {timeless[name]['mae_m']:.0f} m" for name in timeless)
    return [*found, f"Mean error without GPS time: {told}", *_warnings(test, bound)]


def _warnings(test: Mapping[str, Any], bound: Mapping[str, Any]) -> list[str]:
    """Why the localizer is no better, in whole sentences."""
    found = []
    if not bound["bounded"]:
        found.append(
            "Warning: in no test session three receivers know GPS time, so only levels tell where the "
            "transmitter is. The columns start_gps_ns and timing_sigma_ns bring it: see Time in "
            "docs/recordings.md."
        )
    best = min(PREDICTORS, key=lambda name: test[name]["mae_m"])
    low_m = test[LOCALIZER].get(f"mae_minus_{best}_m_low")
    if best != LOCALIZER and (low_m is None or low_m > 0):
        found.append(
            f"Warning: the localizer is worse than {best.replace('_', ' ')}, which needs no training: "
            f"{test[LOCALIZER]['mae_m']:.0f} m against {test[best]['mae_m']:.0f} m. Train with more sessions "
            f"or use `heimdall locate SESSION --method {best.replace('_', '-')}`."
        )
    return found
