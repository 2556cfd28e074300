"""A contest as people and machines read it: Markdown for a pull request, and JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

import numpy as np

from heimdall.compare.contest import Contest, Side
from heimdall.compare.sample_size import FEW_TRANSMITTERS, POWER, SIGNIFICANCE, CanaryStep, SampleSize
from heimdall.core import table
from heimdall.pages.elements import Table, plain

SHOWN = 10  # sessions in which the two disagree most

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
        if contest.sample_size is None
        else asdict(contest.sample_size)
        | {
            "power": POWER,
            "significance": SIGNIFICANCE,
            "unpaired": _steps(contest.canary),
            "unpaired_rising": _steps(contest.rising_canary),
        },
        "sessions": contest.disagreements.to_dict("records"),
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
        *(f"- **{letter}** {_named(side)}" for letter, side in contest.sides),
        *(f"- {warning}" for warning in warnings(contest)),
        "",
        verdict(overall),
        "",
        *_in_markdown(overall_table(contest)),
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
        *_in_markdown(disagreement_table(contest, SHOWN)),
        "",
        "</details>",
        "",
        sample_size_sentence(contest.sample_size),
        *canary_sentences(contest.canary, contest.rising_canary),
        "",
        f"Figures from {contest.data} data; intervals: 95 %, paired, whole transmitters resampled; of the "
        "slices' intervals some miss 0 by chance. Latency: from a session's features to its posterior, one "
        "thread, measured by turns on this machine.",
    ]
    return "\n".join(lines) + "\n"


def warnings(contest: Contest) -> list[str]:
    """What a reader must know before he believes the figures, a sentence each."""
    total, found = len(contest.sessions), []
    for letter, side in contest.sides:
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


def sample_size_sentence(found: SampleSize | None) -> str:
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


def canary_sentences(alone: Sequence[CanaryStep] | None, rising: Sequence[CanaryStep] | None) -> list[str]:
    """How many sessions a canary takes, whose models answer different sessions; none where it cannot tell."""
    if alone is None or rising is None:
        return []
    (only,) = alone
    steps = ", ".join(f"{step.canary_sessions:,} at {step.share:.0%}" for step in rising)
    return [
        f"If B answers all sessions of {only.share:.0%} of the transmitters and A the others, B needs "
        f"{only.canary_sessions:,} sessions ({only.sessions:,} in all) for the same power; with a "
        f"share that rises in equal steps {steps} ({sum(step.sessions for step in rising):,} in all)."
    ]


def _steps(steps: Sequence[CanaryStep] | None) -> list[dict[str, Any]] | None:
    return None if steps is None else [asdict(step) for step in steps]


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


def _interval(figures: Mapping[str, Any], key: str, sign: str = "") -> str:
    """A length in metres with its interval, where there is one."""
    low_m, high_m = figures[f"{key}_low"], figures[f"{key}_high"]
    value = f"{figures[key]:{sign}z.0f}"
    return value if low_m is None else f"{value} ({low_m:{sign}z.0f} to {high_m:{sign}z.0f})"


def overall_table(contest: Contest) -> Table:
    """The figures of both models on all sessions, and their differences."""
    overall = contest.overall
    a, b = overall["a"], overall["b"]
    rows = [
        (
            "mean error, m",
            _interval(a, "mae_m"),
            _interval(b, "mae_m"),
            _interval(overall, "mae_difference_m", "+"),
        )
    ]
    for heading, key, form in _FIGURES:
        rows.append((heading, f"{a[key]:{form}}", f"{b[key]:{form}}", _change(b[key] - a[key], form)))
    times = [_latency_ms(side) for side in (contest.a, contest.b)]
    for heading, key in (("latency, median, ms", "median_ms"), ("latency, p95, ms", "p95_ms")):
        first, second = (one[key] for one in times)
        rows.append((heading, f"{first:.1f}", f"{second:.1f}", f"{second - first:+z.1f}"))
    return Table(("figure", "A", "B", "B - A"), tuple(rows), "lrrr", sortable=False)  # a unit in each row


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
        rows.append(cells)
    headings += [heading for heading, _, _ in _FIGURES]
    return table.markdown(headings, rows, "l" + "r" * (len(headings) - 1))


def disagreement_table(contest: Contest, shown: int) -> Table:
    """The sessions in which the two disagree most, `shown` of them at most, with both errors."""
    rows = [
        (
            str(number),
            row["session_id"],
            str(row["receivers_heard"]),
            *(f"{row[name]:.0f}" for name in ("apart_m", "a_error_m", "b_error_m")),
        )
        for number, (_, row) in enumerate(contest.disagreements.head(shown).iterrows(), start=1)
    ]
    headings = ("number", "session", "receivers heard", "apart, m", "error of A, m", "error of B, m")
    return Table(headings, tuple(rows), "rlrrrr")


def _in_markdown(content: Table) -> list[str]:
    return table.markdown(content.headings, plain(content), content.align)
