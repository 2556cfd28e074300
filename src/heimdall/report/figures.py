"""The figures of a run with their meaning: targets, the strongest rival, coverage, the bound, slices."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from heimdall.pipeline.evaluate.predictors import LOCALIZER
from heimdall.report import ellipses, words
from heimdall.report.run import ERROR_BOUND, SLICES, Run

Pair = tuple[float, float]
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
        interval: Exact 95 % binomial interval of the share, of independent sessions.
    """

    nominal: float
    inside: int
    n: int
    interval: Pair

    @property
    def share(self) -> float:
        """The share inside."""
        return self.inside / self.n

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


def coverage(figures: Mapping[str, Any], nominal: float) -> Coverage:
    """The coverage in some figures.

    Args:
        figures: Those of `metrics.summary`.
        nominal: 0.68 or 0.95.
    """
    n = int(figures["n"])
    inside = round(float(figures[f"coverage_{nominal:.0%}".rstrip("%")]) * n)
    return Coverage(nominal, inside, n, words.exact_interval(inside, n))


def ellipse_coverage(run: Run, nominal: float) -> Coverage | None:
    """The coverage of the ellipses of the likeliest parts; None in revisions that do not tell their shape.

    Args:
        run: The run.
        nominal: The share that an answer of one part has in its ellipse.
    """
    held = [ellipses.holds(one, nominal) for one in run.sessions]
    if not held or None in held:
        return None
    inside = sum(map(bool, held))
    return Coverage(nominal, inside, len(held), words.exact_interval(inside, len(held)))


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


def share_of_the_worst(run: Run, count: int) -> float:
    """Which share of the sum of all errors so many sessions have, those of the largest errors."""
    error_m = sorted((one.error_m for one in run.sessions), reverse=True)
    return sum(error_m[:count]) / sum(error_m)
