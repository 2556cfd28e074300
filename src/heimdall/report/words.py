"""Figures as a person reads them: lengths, shares, intervals and names."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from scipy import special

from heimdall.pipeline.evaluate.predictors import LOCALIZER, UNCALIBRATED

_METHODS = {
    LOCALIZER: "localizer",
    UNCALIBRATED: "localizer before calibration",
    "mean_position": "mean position",
    "received_power": "received power",
    "time_of_arrival": "time of arrival",
    "direct_position": "direct position",
    "combined": "combined",
}
HOW = {
    LOCALIZER: "the trained model that this page is about",
    "mean_position": "always the mean place of the training's transmitters",
    "received_power": "levels alone",
    "time_of_arrival": "arrival times alone",
    "direct_position": "correlations, without choosing an arrival time first",
    "combined": "levels and arrival times on a grid, without training of a network",
}
SLICES = {
    "receivers_heard": "receivers",
    "clock": "arrival times",
    "snr": "SNR",
    "modulation": "signal",
    "region": "nearest receiver",
}
EXACT = "exact binomial, each transmitter counted as one case"
_FEW = (
    "no",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
)


def method(name: str) -> str:
    """What a reader calls a predictor of metrics/eval_full.json."""
    return _METHODS.get(name, name.replace("_", " "))


def length(value_m: float) -> str:
    """A length with its unit, to two or three digits."""
    size = abs(value_m)
    if size >= 99_950:
        return f"{value_m / 1000:.0f} km"
    if size >= 999.5:
        return f"{value_m / 1000:.1f} km"
    return f"{value_m:.0f} m" if size >= 9.95 or value_m == round(value_m) else f"{value_m:.1f} m"


def difference(value_m: float) -> str:
    """A length with its sign and unit."""
    return f"{'−' if value_m < 0 else '+'}{length(abs(value_m))}"


def share(value: float) -> str:
    """A share in per cent."""
    return f"{100 * value:.1f} %"


def percent(value: float) -> str:
    """A share in whole per cent."""
    return f"{100 * value:.0f} %"


def number(count: int) -> str:
    """A count in words as far as twelve."""
    return _FEW[count] if count < len(_FEW) else str(count)


def counted(count: int, one: str, many: str = "") -> str:
    """A count with its noun."""
    return f"{count} {one if count == 1 else many or one + 's'}"


def listed(parts: list[str]) -> str:
    """Parts of a sentence with commas and an `and`."""
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"


def interval(figures: Mapping[str, Any], key: str) -> tuple[float, float] | None:
    """The 95 % interval of a figure; None where it has none."""
    low, high = figures.get(f"{key}_low"), figures.get(f"{key}_high")
    return None if low is None or high is None else (float(low), float(high))


def exact_interval(covered: float, n: float) -> tuple[float, float]:
    """The exact 95 % binomial interval of a share (Clopper and Pearson, 1934), of independent cases.

    Args:
        covered: How many of them; no whole number where dependent cases count as fewer independent ones, as
            of Korn and Graubard (1998).
        n: How many there are, above 0.
    """
    low = special.betaincinv(covered, n - covered + 1, 0.025) if covered > 0 else 0.0
    high = special.betaincinv(covered + 1, n - covered, 0.975) if covered < n else 1.0
    return float(low), float(high)
