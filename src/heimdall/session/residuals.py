"""What each receiver's arrival time says of the known position and of the answer."""

from __future__ import annotations

from dataclasses import dataclass

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
        against_answer: None without an answer, or where the method used another time.
    """

    receiver: str
    sigma_s: float
    against_truth: Deviation | None
    against_answer: Deviation | None


def of(detail: Detail, answer: Located | None) -> list[Residual]:
    """The residuals of a session, receiver by receiver.

    Args:
        detail: The session.
        answer: The answer; None for none.
    """
    answered = {}
    if answer is not None:
        answered = {one.receiver: one.residual_s for one in answer.fix.residuals if one.used}
    found = []
    for one in detail.receivers:
        sigma_s = one.delay_sigma_s
        if sigma_s is None:
            continue
        late_s = answered.get(one.label)
        found.append(
            Residual(
                one.label,
                sigma_s,
                None if one.late_s is None else Deviation(one.late_s, sigma_s),
                None if late_s is None else Deviation(late_s, sigma_s),
            )
        )
    return found
