"""What newly approved sessions say against a model's claims: figures with their uncertainty, and alarms.

Pure functions of arrays. A transmitter's sessions fail together, so what is drawn at random, in intervals and
in the test of drift alike, is whole transmitters ("clusters").
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import pandas as pd
from scipy import stats

from heimdall.core import table
from heimdall.core.randomness import generator
from heimdall.metrics.metrics import Counts, cluster_weights, weighted_mean, weighted_median
from heimdall.pages.elements import Table, plain

Array = npt.NDArray[np.float64]
Verdict = Literal["ok", "uncertain", "alarm"]

# The specification's thresholds, and what it aims at below them. (Its uptime is the service's to measure.)
MAX_LATENCY_MS = 1000.0
TARGET_LATENCY_MS = 500.0
MAX_ACCURACY_DROP = 0.1
# Ours. Fewer sessions, or fewer transmitters to resample, say nothing.
MIN_SESSIONS = 10
MIN_TRANSMITTERS = 5
SIGNIFICANCE = 0.01  # of coverage and of drift, each over all of its comparisons: an alarm wakes somebody
MIN_DRIFT = 0.2  # of the Kolmogorov-Smirnov distance: with enough sessions any difference is significant
RESAMPLES = 2000
PERMUTATIONS = 2999
_SEED = 42
_INTERVAL = (0.025, 0.975)


@dataclass(frozen=True)
class Interval:
    """A figure and its 95 % interval."""

    value: float
    low: float
    high: float


@dataclass(frozen=True)
class Accuracy:
    """Errors of the new sessions against those of the claim.

    Attributes:
        mae_m: Mean error of the new sessions, metres.
        median_m: Median error of the new sessions, metres.
        claimed_mae_m: Mean error of the test sessions, metres.
        claimed_median_m: Median error of the test sessions, metres.
        drop: mae_m / claimed_mae_m - 1. Its interval holds the uncertainty of both.
        verdict: "alarm" if the drop is above `MAX_ACCURACY_DROP` and its interval excludes 0, "uncertain" if
            it is above and the interval does not.
    """

    mae_m: Interval
    median_m: Interval
    claimed_mae_m: Interval
    claimed_median_m: Interval
    drop: Interval
    verdict: Verdict


@dataclass(frozen=True)
class Coverage:
    """How many truths lie within the region that should hold a probability of them.

    Attributes:
        probability: Nominal share.
        n: New sessions.
        covered: Share of them, with the exact binomial interval.
        claimed: Share of the test sessions.
        below_nominal: Whether the whole interval lies below the nominal share.
        p_value: That so few are covered by chance if the claim holds, over all levels (Holm).
        verdict: "alarm" if p_value is below `SIGNIFICANCE`.
    """

    probability: float
    n: int
    covered: Interval
    claimed: float
    below_nominal: bool
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class Drift:
    """How far one statistic of the sessions has moved from the training.

    Attributes:
        statistic: Its name.
        median: Of the new sessions; None if it is infinite, as a clock without GPS is.
        trained_median: Of the training's, likewise.
        distance: Kolmogorov-Smirnov distance of the two, in [0, 1].
        p_value: Of a distance this large without any drift, over all statistics (Holm).
        verdict: "alarm" if p_value is below `SIGNIFICANCE` and the distance at least `MIN_DRIFT`.
    """

    statistic: str
    median: float | None
    trained_median: float | None
    distance: float
    p_value: float
    verdict: Verdict


@dataclass(frozen=True)
class Latency:
    """Time of one session's answer, from its features in memory to the posterior.

    Attributes:
        p50_ms: Median, milliseconds.
        p95_ms: 95th percentile, milliseconds.
        target_met: Whether p95_ms is below `TARGET_LATENCY_MS`.
        verdict: "alarm" if p95_ms is above `MAX_LATENCY_MS`.
    """

    p50_ms: float
    p95_ms: float
    target_met: bool
    verdict: Verdict


@dataclass(frozen=True)
class Figures:
    """All that is compared."""

    accuracy: Accuracy
    coverage: tuple[Coverage, ...]
    drift: tuple[Drift, ...]
    latency: Latency


def enough(sessions: int, transmitters: int) -> bool:
    """Whether that many sessions of that many transmitters say anything."""
    return sessions >= MIN_SESSIONS and transmitters >= MIN_TRANSMITTERS


def accuracy(
    error_m: Array, clusters: Sequence[str], claimed_error_m: Array, claimed_clusters: Sequence[str]
) -> Accuracy:
    """Compare errors with those of the claim.

    Args:
        error_m: Of n new sessions, metres, shape (n,).
        clusters: Transmitter of each.
        claimed_error_m: Of m test sessions, metres, shape (m,).
        claimed_clusters: Transmitter of each.
    """
    weights = cluster_weights(clusters, RESAMPLES, _SEED)
    # Another seed: equal numbers of clusters would be drawn alike, and the two must be independent.
    claimed_weights = cluster_weights(claimed_clusters, RESAMPLES, _SEED + 1)
    mae_m, median_m = _interval(error_m, weights, weighted_mean), _interval(error_m, weights, weighted_median)
    claimed_mae_m = _interval(claimed_error_m, claimed_weights, weighted_mean)
    ratio = weighted_mean(error_m, weights) / weighted_mean(claimed_error_m, claimed_weights)
    low, high = (np.quantile(ratio, _INTERVAL) - 1).tolist()
    drop = Interval(mae_m.value / claimed_mae_m.value - 1, low, high)
    verdict: Verdict = "ok"
    if drop.value > MAX_ACCURACY_DROP:
        verdict = "alarm" if drop.low > 0 else "uncertain"
    return Accuracy(
        mae_m=mae_m,
        median_m=median_m,
        claimed_mae_m=claimed_mae_m,
        claimed_median_m=_interval(claimed_error_m, claimed_weights, weighted_median),
        drop=drop,
        verdict=verdict,
    )


def coverages(level: Array, claimed: dict[float, float], claimed_n: int) -> tuple[Coverage, ...]:
    """Compare coverage with its nominal value and with the claim.

    Against the claim, itself a count of few sessions, with Fisher's exact test (one-sided: fewer covered).

    Args:
        level: Smallest probability of a region that holds the truth, of n new sessions, shape (n,).
        claimed: Share of the test sessions that were covered, by nominal probability.
        claimed_n: Number of the test sessions.
    """
    n = len(level)
    counts = {probability: int(np.count_nonzero(level <= probability)) for probability in claimed}
    p_values = []
    for probability, share in claimed.items():
        covered, claimed_covered = counts[probability], round(share * claimed_n)
        counted = np.array([[covered, n - covered], [claimed_covered, claimed_n - claimed_covered]])
        p_values.append(float(stats.fisher_exact(counted, alternative="less").pvalue))
    found = []
    for (probability, share), p_value in zip(claimed.items(), holm(p_values), strict=True):
        exact = stats.binomtest(counts[probability], n).proportion_ci(0.95, method="exact")
        found.append(
            Coverage(
                probability=probability,
                n=n,
                covered=Interval(counts[probability] / n, float(exact.low), float(exact.high)),
                claimed=share,
                below_nominal=bool(exact.high < probability),
                p_value=p_value,
                verdict="alarm" if p_value < SIGNIFICANCE else "ok",
            )
        )
    return tuple(found)


def drifts(
    new: pd.DataFrame, clusters: Sequence[str], trained: pd.DataFrame, trained_clusters: Sequence[str]
) -> tuple[Drift, ...]:
    """Compare the statistics of the new sessions with those of the training.

    The Kolmogorov-Smirnov distance, the largest difference of two distribution functions (Smirnov 1939, "On
    the estimation of the discrepancy between empirical curves of distribution"), judged by exchanging whole
    transmitters between the two groups at random: its tables hold for independent sessions without ties, and
    these are neither. Over all statistics Holm's correction (1979, "A simple sequentially rejective multiple
    test procedure").

    Args:
        new: One row a new session, one column a statistic; infinite values are larger than all others.
        clusters: Transmitter of each row.
        trained: One row a session of the training, the same columns.
        trained_clusters: Transmitter of each row.

    Returns:
        One for each statistic, in the order of the columns.
    """
    # One transmitter in both groups is two clusters: the exchange must be able to tell them apart.
    names = [f"new {name}" for name in clusters] + [f"trained {name}" for name in trained_clusters]
    units, unit = np.unique(np.array(names, dtype=str), return_inverse=True)
    is_new = np.char.startswith(units, "new ")
    random = generator(_SEED, "monitor.drift")
    labels = np.stack([is_new, *(random.permutation(is_new) for _ in range(PERMUTATIONS))])
    members = labels[:, unit]  # (1 + permutations, sessions); the first is what happened
    distances, p_values = [], []
    for name in new.columns:
        distance = _distances(np.concatenate([new[name], trained[name]]).astype(np.float64), members)
        distances.append(float(distance[0]))
        p_values.append(float(np.mean(distance >= distance[0] - 1e-9)))
    return tuple(
        Drift(
            statistic=str(name),
            median=_finite_median(new[name]),
            trained_median=_finite_median(trained[name]),
            distance=distance,
            p_value=p_value,
            verdict="alarm" if p_value < SIGNIFICANCE and distance >= MIN_DRIFT else "ok",
        )
        for name, distance, p_value in zip(new.columns, distances, holm(p_values), strict=True)
    )


def latency(latency_ms: Array) -> Latency:
    """The distribution of answering times, milliseconds, shape (n,), n > 0."""
    p50_ms, p95_ms = np.quantile(latency_ms, (0.5, 0.95)).tolist()
    verdict: Verdict = "alarm" if p95_ms > MAX_LATENCY_MS else "ok"
    return Latency(p50_ms, p95_ms, p95_ms < TARGET_LATENCY_MS, verdict)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values of several tests, corrected so that any false rejection among them is as rare as one alone."""
    order = np.argsort(p_values, kind="stable")
    factors = np.arange(len(p_values), 0, -1)
    raised = np.minimum(np.maximum.accumulate(np.asarray(p_values)[order] * factors), 1.0)
    corrected = np.empty(len(p_values))
    corrected[order] = raised
    return [float(value) for value in corrected]


def alarms(figures: Figures) -> list[str]:
    """One sentence for each alarm."""
    found = []
    if figures.accuracy.verdict == "alarm":
        drop, mae_m = figures.accuracy.drop, figures.accuracy.mae_m
        found.append(
            f"accuracy: mean error {mae_m.value:.0f} m, {drop.value:+.0%} ({drop.low:+.0%} to "
            f"{drop.high:+.0%}) against the claim of {figures.accuracy.claimed_mae_m.value:.0f} m, more than "
            f"{MAX_ACCURACY_DROP:.0%}"
        )
    for item in figures.coverage:
        if item.verdict == "alarm":
            found.append(
                f"calibration: the {item.probability:.0%} regions hold {item.covered.value:.0%} of {item.n} "
                f"truths, claimed {item.claimed:.0%} (p {item.p_value:.2g})"
            )
    for moved in figures.drift:
        if moved.verdict == "alarm":
            found.append(
                f"drift: {moved.statistic} is {_text(moved.median)} in the median, "
                f"{_text(moved.trained_median)} in training (distance {moved.distance:.2f}, "
                f"p {moved.p_value:.2g})"
            )
    if figures.latency.verdict == "alarm":
        found.append(f"latency: p95 {figures.latency.p95_ms:.0f} ms, more than {MAX_LATENCY_MS:.0f} ms")
    return found


TOO_FEW = (
    f"too few for a verdict: at least {MIN_SESSIONS} sessions of {MIN_TRANSMITTERS} transmitters are needed"
)


def summary(figures: Figures) -> Table:
    """The figures as a table: of the new sessions, beside the claim or the training, with each verdict."""
    right, late = figures.accuracy, figures.latency
    drop = f"{right.drop.value:+.1%} ({right.drop.low:+.1%} to {right.drop.high:+.1%})"
    rows = [
        ("mean error, m", _range(right.mae_m), _range(right.claimed_mae_m), ""),
        ("median error, m", _range(right.median_m), _range(right.claimed_median_m), ""),
        ("accuracy drop", drop, f"at most {MAX_ACCURACY_DROP:.0%}", right.verdict),
    ]
    for item in figures.coverage:
        share = f"{item.covered.value:.0%} ({item.covered.low:.0%} to {item.covered.high:.0%})"
        note = ", below nominal" if item.below_nominal else ""
        rows.append(
            (f"coverage at {item.probability:.0%}", share, f"{item.claimed:.0%}", item.verdict + note)
        )
    for moved in figures.drift:
        how = f"{moved.verdict} (distance {moved.distance:.2f}, p {moved.p_value:.2g})"
        rows.append((moved.statistic, _text(moved.median), _text(moved.trained_median), how))
    times = f"p50 {late.p50_ms:.0f}, p95 {late.p95_ms:.0f}"
    limits = f"target below {TARGET_LATENCY_MS:.0f}, at most {MAX_LATENCY_MS:.0f}"
    rows.append(("latency, ms", times, limits, late.verdict + ("" if late.target_met else ", target missed")))
    headings = ("figure", "new sessions", "claim or training", "verdict")
    return Table(headings, tuple(rows), "lrrl", sortable=False)  # a unit in each row


def lines(figures: Figures) -> list[str]:
    """The figures as lines of text."""
    found = summary(figures)
    return table.lines(("", *found.headings[1:]), plain(found), found.align)


def _interval(values: Array, weights: Counts, statistic: Callable[[Array, Counts], Array]) -> Interval:
    """A statistic and the 95 % percentile interval of its resamples."""
    value = statistic(values, np.ones((1, len(values)), np.int64))[0]
    low, high = np.quantile(statistic(values, weights), _INTERVAL)
    return Interval(float(value), float(low), float(high))


def _distances(values: Array, members: npt.NDArray[np.bool_]) -> Array:
    """Kolmogorov-Smirnov distances of values (n,) in and out of each group of members (B, n), shape (B,)."""
    order = np.argsort(values, kind="stable")
    ordered = values[order]
    last_of_ties = np.append(ordered[1:] != ordered[:-1], True)
    inside = members[:, order]
    below_inside = inside.cumsum(axis=1)[:, last_of_ties] / inside.sum(axis=1, keepdims=True)
    below_outside = (~inside).cumsum(axis=1)[:, last_of_ties] / (~inside).sum(axis=1, keepdims=True)
    return np.asarray(np.abs(below_inside - below_outside).max(axis=1), np.float64)


def _finite_median(values: pd.Series[float]) -> float | None:
    median = float(np.median(values.to_numpy(np.float64)))
    return median if np.isfinite(median) else None


def _range(figure: Interval) -> str:
    return f"{figure.value:.0f} ({figure.low:.0f} to {figure.high:.0f})"


def _text(value: float | None) -> str:
    return "none" if value is None else f"{value:.4g}"
