"""The tables of docs/physics.md, section 5, as benchmarks/ablation.py prints them with --markdown."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pandas as pd
from ablation_criteria import COMBINED, OWN_KINDS
from ablation_parts import AS_IT_IS, BLIND, UNTUNED
from ablation_tables import FIXED, UNDISTURBED, chosen, difference, figures
from accuracy_criteria import Line, words

from heimdall import simulate
from heimdall.core import table
from heimdall.core.params import EvaluateParams

_OWN_FAULTS = "light"  # of our own kinds, the one whose faults are told


def tables(
    cases: Mapping[simulate.Multipath, pd.DataFrame],
    lines: Sequence[Line],
    params: EvaluateParams,
    seen: Sequence[simulate.Multipath],
) -> list[str]:
    """The tables as lines of Markdown, an empty line between two.

    Args:
        cases: As of `ablation.measure`, by kind of echoes.
        lines: The criteria.
        params: How intervals are made.
        seen: The kinds that the pretraining has.
    """
    named = {kind: _named(kind, seen) for kind in cases}
    found = _figures(cases, named)
    found += ["", *_differences(cases, named, params)]
    if _OWN_FAULTS in cases:
        found += ["", *_faults(cases[_OWN_FAULTS], params)]
    missed = [[line.kind, line.criterion, line.target, line.reached] for line in lines if not line.met]
    found += ["", *table.markdown(("echoes", "criterion", "target", "reached"), missed, "llll")]
    return [*found, "", f"{len(lines) - len(missed)} of {len(lines)} criteria are met."]


def _named(kind: simulate.Multipath, seen: Sequence[simulate.Multipath]) -> str:
    name = kind if kind in OWN_KINDS else f"`{kind}`"
    return name if kind in seen else f"{name} (unseen)"


def _figures(
    cases: Mapping[simulate.Multipath, pd.DataFrame], named: Mapping[simulate.Multipath, str]
) -> list[str]:
    rows = []
    for kind, found in cases.items():
        for method in (AS_IT_IS, UNTUNED, COMBINED):
            if method == UNTUNED and kind in OWN_KINDS:
                continue
            own = figures(chosen(found, method))
            first = f"{named[kind]}, {own['n']}" if method == AS_IT_IS else ""
            label = {AS_IT_IS: "fusion", UNTUNED: "fusion, not fine-tuned"}.get(method, words(method))
            each = [f"{own[name]:.0f}" for name in ("mae_m", "median_m", "fixed_median_m")]
            rows.append([first, label, *each, f"{own['nll_nats']:.2f}", _coverage(own)])
    headings = ("echoes, sessions", "method", "MAE, m", "median", f"of {FIXED}+", "NLL", "68 / 95 %")
    return table.markdown(headings, rows, "llrrrrr")


def _coverage(own: Mapping[str, float]) -> str:
    return f"{100 * own['coverage_68']:.0f} / {100 * own['coverage_95']:.0f}"


def _differences(
    cases: Mapping[simulate.Multipath, pd.DataFrame],
    named: Mapping[simulate.Multipath, str],
    params: EvaluateParams,
) -> list[str]:
    rows = []
    for kind, found in cases.items():
        own, rival = chosen(found, AS_IT_IS), chosen(found, COMBINED)
        groups = [own, own[own["timed"] == 2], own[own["timed"] == 3], own[own["timed"] >= FIXED]]
        mae = difference(own, rival, "mae", params).words(0)
        nll = [
            difference(group, rival, "nll", params).words(2) if len(group) else "no session"
            for group in groups
        ]
        rows.append([named[kind], mae, *nll])
    headings = ("echoes", "MAE less combined's, m", "NLL less combined's")
    return table.markdown((*headings, "with two times", "with three", "with four or more"), rows, "llllll")


def _faults(found: pd.DataFrame, params: EvaluateParams) -> list[str]:
    rows = []
    for condition in dict.fromkeys(found["split"]):
        if condition == UNDISTURBED:
            continue
        own, rival = chosen(found, AS_IT_IS, condition), chosen(found, COMBINED, condition)
        calm, blind = chosen(found, AS_IT_IS).loc[own.index], chosen(found, BLIND, condition)
        before, after, other = figures(calm), figures(own), figures(rival)
        less = difference(own, blind, "nll", params).words(2) if len(blind) else ""
        rows.append(
            [
                f"{condition.removeprefix('rendered: ')}, {len(own)}",
                f"{before['median_m']:.0f}, {before['mae_m']:.0f}",
                f"{after['median_m']:.0f}, {after['mae_m']:.0f}",
                f"{after['nll_nats']:.2f}",
                _coverage(after),
                f"{other['median_m']:.0f}, {other['mae_m']:.0f}, {other['nll_nats']:.2f}",
                less,
            ]
        )
    headings = (
        f"{_OWN_FAULTS}, disturbed; sessions",
        "median and MAE before, m",
        "median, MAE",
        "NLL",
        "68 / 95 %",
        "combined: median, MAE, NLL",
        "NLL less the blind network's",
    )
    return table.markdown(headings, rows, "lllllll")
