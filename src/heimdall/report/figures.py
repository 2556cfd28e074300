"""The figures of a run with their meaning: targets, the strongest rival, coverage, the bound, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from scipy import special

from heimdall.metrics import metrics
from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import ellipses, words
from heimdall.report.run import ERROR_BOUND, SLICES, Run

Pair = tuple[float, float]
_RESAMPLES = 2000
_SEED = 42
_INTERVAL = (0.025, 0.975)
_FEWEST = 3  # sessions of a slice that is named in a sentence


@dataclass(frozen=True)
class Target:
    """A target of the specification.

    Attributes:
        key: Of the figure in metrics/eval_full.json.
        value: What was found; metres or a share.
        limit: What was asked for.
        met: Whether it is reached.
    """

    key: str
    value: float
    limit: float
    met: bool


@dataclass(frozen=True)
class Rival:
    """The method without learning that has the least mean error.

    Attributes:
        name: As in metrics/eval_full.json.
        mae_m: Its mean error, metres.
        difference_m: The localizer's mean error less its, metres.
        interval_m: The 95 % interval of the difference; None where one transmitter gives none.
    """

    name: str
    mae_m: float
    difference_m: float
    interval_m: Pair | None

    @property
    def told_apart(self) -> bool:
        """Whether the interval of the difference leaves 0 out."""
        return self.interval_m is not None and not self.interval_m[0] <= 0 <= self.interval_m[1]


@dataclass(frozen=True)
class Coverage:
    """How many truths lie in the regions that should hold a share of them.

    Attributes:
        nominal: That share.
        inside: How many lie inside.
        n: How many there are.
        interval: 95 % interval of the share.
        resampled: Whether the interval is of resamples of whole transmitters; else it is the exact binomial
            one of as many independent cases as there are transmitters.
    """

    nominal: float
    inside: int
    n: int
    interval: Pair
    resampled: bool

    @property
    def share(self) -> float:
        """The share inside."""
        return self.inside / self.n

    @property
    def how(self) -> str:
        """How the interval is made, in words."""
        return "whole transmitters resampled" if self.resampled else words.EXACT

    @property
    def verdict(self) -> str:
        """Whether the shares agree; else "too few" or "too many", where chance does not explain it."""
        low, high = self.interval
        return "too few" if high < self.nominal else "too many" if low > self.nominal else "agrees"


@dataclass(frozen=True)
class Slice:
    """A part of the test sessions.

    Attributes:
        kind: By what it is cut, a key of `words.SLICES`.
        value: Which.
        figures: Those of `metrics.summary`.
    """

    kind: str
    value: str
    figures: Mapping[str, Any]

    @property
    def n(self) -> int:
        """Its sessions."""
        return int(self.figures["n"])

    @property
    def mae_m(self) -> float:
        """Mean error, metres."""
        return float(self.figures["mae_m"])

    @property
    def name(self) -> str:
        """What a sentence calls its sessions."""
        return {
            "receivers_heard": f"heard by {_few(self.value)} receivers",
            "clock": f"with {_few(self.value)} arrival times",
            "snr": f"with a highest SNR of {self.value}".replace("of <", "below ").replace("of >", "above "),
            "modulation": f"of the kind {self.value}",
            "region": f"near {self.value}",
        }.get(self.kind, f"with {self.kind} {self.value}")


def _few(value: str) -> str:
    return {"<3": "fewer than 3", "7+": "7 or more", "5+": "5 or more", "0-2": "at most 2"}.get(value, value)


def test(run: Run) -> Mapping[str, Any]:
    """The localizer's figures of the test sessions."""
    found: Mapping[str, Any] = run.figures["test"][LOCALIZER]
    return found


def targets(run: Run) -> list[Target]:
    """The targets that the run was judged by."""
    found = []
    for key, limit in run.figures["targets"].items():
        value = float(test(run)[key])
        met = value > limit if key.startswith("accuracy_") else value < limit
        found.append(Target(key, value, float(limit), met))
    return found


def rival(run: Run) -> Rival:
    """The strongest rival on the test sessions."""
    methods = {name: own for name, own in run.figures["test"].items() if name != LOCALIZER}
    name = min(methods, key=lambda one: float(methods[one]["mae_m"]))
    key = f"mae_minus_{name}_m"
    return Rival(name, float(methods[name]["mae_m"]), float(test(run)[key]), words.interval(test(run), key))


def coverage(run: Run, nominal: float, observed: float | None = None) -> Coverage:
    """The coverage of the localizer's regions on the test sessions.

    Args:
        run: The run.
        nominal: The share that the regions state.
        observed: The share of the sessions inside; None for what the figures say, of 0.68 and 0.95.
    """
    levels = [one.level for one in run.sessions if one.level is not None]
    if levels and len(levels) == len(run.sessions):
        return _resampled(run, nominal, [level <= nominal for level in levels])
    own = test(run)
    share = share_inside(own, nominal) if observed is None else observed
    return _exact(nominal, round(share * own["n"]), own["n"], own["clusters"])


def slice_coverage(run: Run, one: Slice, nominal: float) -> Coverage:
    """The coverage in a slice, whose sessions no table tells: as if it had as many of a transmitter as all.

    Args:
        run: The run.
        one: The slice.
        nominal: 0.68 or 0.95.
    """
    own = test(run)
    inside = round(share_inside(one.figures, nominal) * one.n)
    return _exact(nominal, inside, one.n, one.n * own["clusters"] / own["n"])


def how_of_slices(run: Run) -> str:
    """How the interval of `slice_coverage` is made, in words."""
    own = test(run)
    return f"{words.EXACT}, of {own['n'] / own['clusters']:.2g} sessions in the mean"


def share_inside(figures: Mapping[str, Any], nominal: float) -> float:
    """The share of truths in the regions that should hold 0.68 or 0.95 of them, in figures of `summary`."""
    return float(figures[f"coverage_{round(100 * nominal)}"])


def ellipse_coverage(run: Run, nominal: float) -> Coverage | None:
    """The coverage of the ellipses of the likeliest parts; None in revisions that do not tell their shape.

    Args:
        run: The run.
        nominal: The share that an answer of one part has in its ellipse.
    """
    held = [ellipses.holds(one, nominal) for one in run.sessions]
    if not held or None in held:
        return None
    return _resampled(run, nominal, list(map(bool, held)))


def _resampled(run: Run, nominal: float, held: Sequence[bool]) -> Coverage:
    """By whole transmitters, as the intervals of lengths; where all agree, every resample does."""
    transmitters = [one.transmitter for one in run.sessions]
    inside, n = sum(held), len(held)
    if inside in (0, n) or len(set(transmitters)) == 1:
        return _exact(nominal, inside, n, len(set(transmitters)))
    weights = metrics.cluster_weights(transmitters, _RESAMPLES, _SEED)
    shares = metrics.weighted_mean(np.asarray(held, np.float64), weights)
    low, high = np.quantile(shares, _INTERVAL)
    return Coverage(nominal, inside, n, (float(low), float(high)), resampled=True)


def _exact(nominal: float, inside: int, n: int, independent: float) -> Coverage:
    """The same share of as many independent cases as there are transmitters."""
    interval = words.exact_interval(inside / n * independent, independent)
    return Coverage(nominal, inside, n, interval, resampled=False)


def slices(run: Run) -> list[Slice]:
    """The slices of the test sessions, in the order of plots/slices.csv; none where that is missing."""
    table = run.tables.get(SLICES)
    if table is None:
        return []
    own = table[(table["split"] == "test") & (table["predictor"] == LOCALIZER)]
    return [
        Slice(str(row["slice"]), str(row["value"]), {str(name): value for name, value in _known(row).items()})
        for row in own.to_dict("records")
    ]


def _known(row: Mapping[Any, Any]) -> dict[Any, Any]:
    return {name: None if pd.isna(value) else value for name, value in row.items()}


def worst(found: Sequence[Slice], times: float, overall_m: float) -> list[Slice]:
    """The slices of three or more sessions whose mean error is so many times the overall one, worst first.

    Args:
        found: Slices.
        times: How many times.
        overall_m: The mean error of all, metres.
    """
    bad = [one for one in found if one.n >= _FEWEST and one.mae_m >= times * overall_m]
    return sorted(bad, key=lambda one: -one.mae_m)


def best(found: Sequence[Slice]) -> Slice | None:
    """The slice of at least three sessions that has the least mean error."""
    return min((one for one in found if one.n >= _FEWEST), key=lambda one: one.mae_m, default=None)


def error_over_bound(run: Run, name: str) -> float | None:
    """Root mean square of a method's error over the bound of its session; 1 where the bound is reached.

    Args:
        run: The run.
        name: The method.

    Returns:
        The ratio; None where no session has a bound, or the table is missing.
    """
    table = run.tables.get(ERROR_BOUND)
    if table is None or not len(table) or name not in table:
        return None
    return float(np.sqrt(np.mean((table[name] / table["bound_m"]) ** 2)))


def share_by_the_bound(run: Run, within_m: float) -> float | None:
    """The share of the test sessions that errors as large as their bounds let lie within a distance, at best.

    Args:
        run: The run.
        within_m: The distance, metres.

    Returns:
        The mean of the probability that a normal error whose root mean square is the bound is within the
        distance: the larger one of an error that is equal in all directions and of one along a line, between
        which nearly all others are. A session without a bound counts 0. None where the table is missing.
    """
    table = run.tables.get(ERROR_BOUND)
    if table is None:
        return None
    ratio = within_m / table["bound_m"].to_numpy(np.float64)
    likely = np.maximum(-np.expm1(-(ratio**2)), special.erf(ratio / np.sqrt(2)))
    return float(likely.sum()) / int(test(run)["n"])


def share_of_the_worst(run: Run, count: int) -> float:
    """Which share of the sum of all errors so many sessions have, those of the largest errors."""
    error_m = sorted((one.error_m for one in run.sessions), reverse=True)
    return sum(error_m[:count]) / sum(error_m)
