"""What benchmarks/ablation.py says of the bound: how far above van Trees' bound the errors are.

The bound knows the same levels, arrival times and prior as the method `combined`, with what that was fitted
to in the world. Times err by a Gaussian whose variance is that of noise and clock and the square of the
fitted excess. That is the bound of errors without heavy tails; that of the fitted law stands beside it. The
network may go below either: its radio map knows more of levels than their law by distance, and it takes
from each time what the channel's shape tells of its error.

Two figures stand beside the errors. The bound of van Trees is far below what can be reached where some places
are seen much better than others: the mean of the information is that of the best of them. The root mean
square of the sessions' own bounds is what a good estimator comes near (`heimdall.baselines.van_trees`). Both
are yardsticks here and no proofs: the simulator's transmitters are even over hull and margin, not drawn from
the prior; a session exists only if enough receivers hear it; and multipath is not Gaussian.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd
from ablation_parts import AS_IT_IS
from ablation_tables import FIXED, chosen

from heimdall.baselines import cells, van_trees
from heimdall.baselines.cramer_rao import times_information_m2
from heimdall.baselines.fitted import Baselines
from heimdall.core import table
from heimdall.position.received_power import Levels
from heimdall.signal.arrival import Observation

Float64 = npt.NDArray[np.float64]

HEADINGS = (
    "error over the bound (simulated)",
    "n",
    "RMS error, m",
    "combined's",
    "bound, m",
    "ratio",
    "combined's",
    "one by one, m",
    "ratio",
    "combined's",
    "by the fitted law, m",
    "median ratio",
    "combined's",
)
TIMES, LEVELS, PRIOR = "times", "levels", "prior"
LAW = "law_information"
_PRIOR_FINER = 8  # than the first grid of the baselines


def informations(
    sessions: Sequence[Observation], truth_m: Float64, rivals: Baselines
) -> dict[str, Float64 | float]:
    """What is known of each position, as columns: three numbers of F of times and of levels, and of J.

    Args:
        sessions: The test sessions of a world.
        truth_m: Their transmitters' east and north, metres, shape (n, 2).
        rivals: The baselines of the world.

    Returns:
        1/m^2, each of shape (n,) or one for all; and the fitted law's information over that of a Gaussian.
    """
    tuned, plane, area = rivals.tuned, rivals.plane, rivals.area
    times, levels = [], []
    for item, at_m in zip(sessions, truth_m, strict=True):
        told, session = item.arrivals.information_s2, item.session
        receiver_m, excess_s = session.position_enu_m, tuned.times.excess_s
        times.append(
            times_information_m2(at_m, told, session.timing_sigma_s, receiver_m, plane, excess_s=excess_s)
        )
        heard = Levels.of(item, rivals.receivers)
        levels.append(van_trees.levels_information_m2(at_m, tuned.levels, heard, plane))
    grid_m = area.grid_m(cells.first_side_m(area) / _PRIOR_FINER)
    prior = van_trees.prior_information_m2(area.log_prior, grid_m)
    return {
        **_columns(TIMES, np.array(times)),
        **_columns(LEVELS, np.array(levels)),
        **_columns(PRIOR, prior),
        LAW: tuned.times.information,
    }


def known(cases: pd.DataFrame) -> bool:
    """Whether the cases have what the bound is made of, which older ones lack."""
    return LAW in cases


@dataclass(frozen=True, eq=False)
class Bounds:
    """What some cases' errors are compared with.

    Attributes:
        strict_m: The bound of van Trees on their root mean squared error, metres.
        each_m: Root of the trace of the inverse information of each, metres, shape (n,).
        by_law_m: The same if times err by the fitted law, metres, shape (n,).
    """

    strict_m: float
    each_m: Float64
    by_law_m: Float64

    @classmethod
    def of(cls, cases: pd.DataFrame) -> Bounds:
        """Of cases that have the columns of `informations`."""
        times, levels, prior = (_matrices(cases, part) for part in (TIMES, LEVELS, PRIOR))
        law = cases[LAW].to_numpy(np.float64)[:, None, None]
        return cls(
            van_trees.bound_m(times + levels, prior),
            van_trees.sigma_m(times + levels + prior),
            van_trees.sigma_m(law * times + levels + prior),
        )


def rms_m(values_m: npt.ArrayLike) -> float:
    """Root mean square."""
    return float(np.sqrt(np.mean(np.square(np.asarray(values_m, np.float64)))))


def bound_table(cases: pd.DataFrame, rival: str) -> list[str]:
    """The errors of the network and of a rival over the bound, by how many arrival times there are."""
    if not known(cases):
        return ["These cases are without the numbers of the bound: measure them again, without --show."]
    own = chosen(cases, AS_IT_IS)
    other = chosen(cases, rival).loc[own.index]
    timed = own["timed"]
    groups = {
        "no times": timed < 2,
        "two times": timed == 2,
        "three times": timed == 3,
        f"{FIXED} times or more": timed >= FIXED,
        "all": timed >= 0,
    }
    rows = [_row(label, own[which], other[which]) for label, which in groups.items() if which.any()]
    return table.lines(HEADINGS, rows, "l" + "r" * (len(HEADINGS) - 1))


def _row(label: str, own: pd.DataFrame, other: pd.DataFrame) -> list[str]:
    bounds = Bounds.of(own)
    errors_m = [rows["error_m"].to_numpy(np.float64) for rows in (own, other)]
    all_m = rms_m(bounds.each_m)
    return [
        label,
        str(len(own)),
        *(f"{rms_m(error_m):.0f}" for error_m in errors_m),
        f"{bounds.strict_m:.0f}",
        *(f"{rms_m(error_m) / bounds.strict_m:.2f}" for error_m in errors_m),
        f"{all_m:.0f}",
        *(f"{rms_m(error_m) / all_m:.2f}" for error_m in errors_m),
        f"{rms_m(bounds.by_law_m):.0f}",
        *(f"{np.median(error_m / bounds.each_m):.2f}" for error_m in errors_m),
    ]


def _columns(part: str, information_m2: Float64) -> dict[str, Float64 | float]:
    return {
        f"{part}_{name}_m2": information_m2[..., row, column]
        for name, row, column in (("ee", 0, 0), ("en", 0, 1), ("nn", 1, 1))
    }


def _matrices(rows: pd.DataFrame, part: str) -> Float64:
    """The matrices of a part, shape (n, 2, 2)."""
    east, cross, north = (rows[f"{part}_{name}_m2"].to_numpy(np.float64) for name in ("ee", "en", "nn"))
    return np.stack([np.stack([east, cross], -1), np.stack([cross, north], -1)], axis=-2)
