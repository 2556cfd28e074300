"""What benchmarks/ablation.py asks of the network: for each criterion its target and what was reached."""

from __future__ import annotations

import math

import pandas as pd
from ablation_bound import Bounds, known
from ablation_faults import FOUR_TIMES, LATE_S, MANY_TIMES, OPEN, SINGLE, UNLIKE, late_name
from ablation_parts import AS_IT_IS, BLIND, BLIND_UNTUNED, UNTUNED
from ablation_tables import FIXED, chosen, difference
from accuracy_criteria import Line, words

from heimdall.baselines.methods import Method
from heimdall.core.params import EvaluateParams
from heimdall.metrics import metrics
from heimdall.simulate import Multipath

COMBINED: Method = "combined"
RIVALS: tuple[Method, ...] = (COMBINED, "time_of_arrival")
OWN_KINDS: tuple[Multipath, ...] = ("light", "strong")
FOREIGN_KINDS: tuple[Multipath, ...] = ("rma", "uma", "cost207", "cost207_bu", "cost207_ht")
AIM_MAE_RATIO = {"light": 0.8, "strong": 0.7}
LEAST_WORLDS, LEAST_SESSIONS, LEAST_FOREIGN_SESSIONS = 10, 1000, 300
COVERAGE_POINTS, FOREIGN_POINTS = 0.04, 0.07
LATE_RATIO, LATE_COVERAGE = 1.3, 0.9
OPEN_RATIO = 0.6
BOUND_RATIO = 1.3


def acceptance(kind: str, cases: pd.DataFrame, params: EvaluateParams) -> list[Line]:
    """What is asked of the network, as far as these cases can tell.

    Args:
        kind: Of the worlds.
        cases: As of `ablation.measure`.
        params: How intervals are made.
    """
    own = chosen(cases, AS_IT_IS)
    worlds = own.index.get_level_values("world").nunique()
    sessions = LEAST_SESSIONS if kind in OWN_KINDS else LEAST_FOREIGN_SESSIONS
    lines = [
        Line(kind, "worlds", f">= {LEAST_WORLDS}", str(worlds), worlds >= LEAST_WORLDS),
        Line(kind, "test sessions", f">= {sessions}", str(len(own)), len(own) >= sessions),
    ]
    groups = {
        "": own,
        ", two times": own[own["timed"] == 2],
        ", three times": own[own["timed"] == 3],
        f", {FIXED} times or more": own[own["timed"] >= FIXED],
    }
    compared = [("mae", "", 0), ("median", f", {FIXED} times or more", 0)]
    compared += [("nll", group, 2) for group in groups]
    for figure, group, digits in compared:
        if len(groups[group]):
            lines.append(_against_best(kind, cases, groups[group], (figure, group, digits), params))
    if kind in AIM_MAE_RATIO:
        ratio = own["error_m"].mean() / min(chosen(cases, name)["error_m"].mean() for name in RIVALS)
        aim = AIM_MAE_RATIO[kind]
        lines.append(Line(kind, "aim: MAE to the best rival's", f"<= {aim:g}", f"{ratio:.2f}", ratio <= aim))
    if known(cases):
        # With fewer, the prior and the levels decide, and few sessions the mean.
        fixed = {name: rows for name, rows in groups.items() if len(rows) and rows["timed"].min() > 2}
        lines += [_over_bound(kind, rows, name) for name, rows in fixed.items()]
    if kind in OWN_KINDS:
        lines += _coverage(kind, own, "", COVERAGE_POINTS)
    else:
        first, blind = chosen(cases, UNTUNED), chosen(cases, BLIND_UNTUNED)
        lines += _coverage(kind, first, f", {UNTUNED}", FOREIGN_POINTS)
        lines.append(_beside_blind(kind, first, blind, UNTUNED, params))
    return lines + _faults(kind, cases, params)


def _against_best(
    kind: str, cases: pd.DataFrame, own: pd.DataFrame, asked: tuple[str, str, int], params: EvaluateParams
) -> Line:
    """A figure less the best rival's, whose interval must lie below 0."""
    figure, group, digits = asked
    found = {name: difference(own, chosen(cases, name), figure, params) for name in RIVALS}
    best = max(found, key=lambda name: found[name].value)  # the rival that is beaten by least
    word = {"mae": "MAE, m", "median": "median, m", "nll": "NLL, nats"}[figure]
    criterion = f"{word}{group} (n={len(own)}), less that of {words(best)}"
    return Line(kind, criterion, "< 0", found[best].words(digits), found[best].high < 0)


def _over_bound(kind: str, rows: pd.DataFrame, group: str) -> Line:
    """The median error over the sessions' own bounds: 1 for round Gaussian errors of that size."""
    ratio = float((rows["error_m"] / Bounds.of(rows).each_m).median()) / math.sqrt(math.log(2))
    criterion = f"error to the sessions' bounds{group} (n={len(rows)})"
    return Line(kind, criterion, f"<= {BOUND_RATIO:g}", f"{ratio:.2f}", ratio <= BOUND_RATIO)


def _coverage(kind: str, rows: pd.DataFrame, when: str, points: float) -> list[Line]:
    lines = []
    for nominal in metrics.COVERAGE_PROBABILITIES:
        share = float((rows["level"] <= nominal).mean())
        asked, met = f"+-{points * 100:.0f} points", abs(share - nominal) <= points
        lines.append(Line(kind, f"coverage at {nominal:.0%}{when}", asked, f"{share:.1%}", met))
    return lines


def _faults(kind: str, cases: pd.DataFrame, params: EvaluateParams) -> list[Line]:
    """What is asked when a time is late, without a squelch, and when receivers differ or drift."""
    lines, calm = [], chosen(cases, AS_IT_IS)
    for by in LATE_S:
        for count in (MANY_TIMES, FOUR_TIMES):
            condition = late_name(by, count)
            rows = chosen(cases, AS_IT_IS, condition)
            if rows.empty:
                continue
            named = f", {condition} (n={len(rows)})"
            if count == MANY_TIMES:
                ratio = rows["error_m"].median() / calm.loc[rows.index, "error_m"].median()
                met = ratio <= LATE_RATIO
                lines.append(
                    Line(kind, f"median to the undisturbed{named}", f"<= {LATE_RATIO:g}", f"{ratio:.2f}", met)
                )
            share = float((rows["level"] <= 0.95).mean())
            met = share >= LATE_COVERAGE
            lines.append(
                Line(kind, f"coverage at 95%{named}", f">= {LATE_COVERAGE:.0%}", f"{share:.1%}", met)
            )
    unheard = chosen(cases, AS_IT_IS, OPEN)
    if kind == "light" and len(unheard):
        ratio = unheard["error_m"].mean() / calm.loc[unheard.index, "error_m"].mean()
        criterion, met = f"MAE to that with a squelch (n={len(unheard)})", ratio <= OPEN_RATIO
        lines.append(Line(kind, criterion, f"<= {OPEN_RATIO:g}", f"{ratio:.2f}", met))
    for condition in (UNLIKE, *SINGLE):
        rows, blind = (chosen(cases, name, condition) for name in (AS_IT_IS, BLIND))
        if rows.empty:
            continue
        lines += _coverage(kind, rows, f", {condition}", FOREIGN_POINTS)
        lines.append(_beside_blind(kind, rows, blind, condition, params))
    return lines


def _beside_blind(
    kind: str, rows: pd.DataFrame, blind: pd.DataFrame, when: str, params: EvaluateParams
) -> Line:
    less = difference(rows, blind, "nll", params)
    criterion = f"NLL, nats, {when}, less that blind to tilt and variance"
    return Line(kind, criterion, "<= 0", less.words(2), less.value <= 0)
