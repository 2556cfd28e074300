"""What each receiver's arrival time says of the known position and of the answer."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from heimdall.geometry.propagation import SPEED_OF_LIGHT_M_S
from heimdall.session.detail import Detail
from heimdall.session.located import Located


@dataclass(frozen=True)
class Deviation:
    """By how much an arrival time is off, in every unit.

    Attributes:
        late_s: By how much it is later than expected, seconds.
        sigma_s: Its stated standard deviation, noise and clock together, seconds.
    """

    late_s: float
    sigma_s: float

    @property
    def metres(self) -> float:
        """How far light travels in that time, metres."""
        return self.late_s * SPEED_OF_LIGHT_M_S

    @property
    def sigmas(self) -> float:
        """The same in stated standard deviations."""
        return self.late_s / self.sigma_s


@dataclass(frozen=True)
class Residual:
    """One receiver that has an arrival time.

    Attributes:
        receiver: Its number and name.
        sigma_s: Stated standard deviation of the arrival time, seconds.
        against_truth: None where the position is not known.
        against_answer: None without an answer, or where the answer rests on no time at all.
        left_out: Why the answer does not rest on the time, as "its time is 1 ms late"; "" if it does.
    """

    receiver: str
    sigma_s: float
    against_truth: Deviation | None
    against_answer: Deviation | None
    left_out: str = ""

    @property
    def label(self) -> str:
        """The receiver, and whether its time is left out."""
        return f"{self.receiver} (left out)" if self.left_out else self.receiver


def of(detail: Detail, answer: Located | None) -> list[Residual]:
    """The residuals of a session, receiver by receiver.

    Args:
        detail: The session.
        answer: The answer; None for none.
    """
    given = {} if answer is None else {one.receiver: one for one in answer.fix.residuals}
    # Without a time that is used, the residuals are those of a place that is not the answer.
    rests_on_times = any(one.used for one in given.values())
    found = []
    for one in detail.receivers:
        sigma_s = one.delay_sigma_s
        if sigma_s is None:
            continue
        said = given.get(one.label)
        late_s = said.residual_s if said is not None and rests_on_times else np.nan
        left_out = "" if said is None or said.used else said.reason or "its time is not used"
        found.append(
            Residual(
                one.label,
                sigma_s,
                None if one.late_s is None else Deviation(one.late_s, sigma_s),
                Deviation(late_s, sigma_s) if np.isfinite(late_s) else None,
                left_out,
            )
        )
    return found
