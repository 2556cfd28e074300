"""Whether a receiver's samples are made by the oscillator that tunes it, and what that does to its delay.

An oscillator that is fast by e makes the carrier seem lower by e f and the samples come early: between the
stamp of a recording and the middle of what is compared, the delay grows by e a second. Other receivers have
samples by another clock, and their carriers are off for other reasons. The delay's growth over the recording
tells which it is; where it does not, both are possible.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Float64 = npt.NDArray[np.float64]

_SHARES = (0.1, 0.5, 0.9)  # of receivers of the first kind, which networks mostly have or have not
_ROUNDS = 10


@dataclass(frozen=True, eq=False)
class Oscillators:
    """Of R receivers.

    Attributes:
        frequency_hz: Tuned frequency of all.
        free: Whether nothing disciplines the receiver's oscillator, nor measures its samples' rate, (R,).
        stamp_s: How long before its first sample the time stamp of a recording holds, seconds, shape (R,).
    """

    frequency_hz: float
    free: npt.NDArray[np.bool_]
    stamp_s: Float64

    def rows(self, kept: Sequence[int]) -> Oscillators:
        """Those of some of the receivers."""
        return Oscillators(self.frequency_hz, self.free[list(kept)], self.stamp_s[list(kept)])


class Growth(NamedTuple):
    """How the delays of R receivers grow, over one of them: seconds a second, shape (R,) each."""

    rate: Float64
    sigma: Float64


class Correction(NamedTuple):
    """What is to be added to delays, and its standard deviation, seconds, shape (R,) each."""

    delay_s: Float64
    sigma_s: Float64


def expected(oscillators: Oscillators, rows: npt.NDArray[np.intp], offset_hz: Float64) -> Float64:
    """Growth of the delays of some receivers if their oscillators make the samples, seconds a second, (K,).

    The transmitter's own offset is that of receivers with disciplined oscillators, or else the median.

    Args:
        oscillators: Of R receivers.
        rows: K of them.
        offset_hz: Their carriers' offsets, shape (K,).
    """
    free = oscillators.free[rows]
    sent_hz = float(np.median(offset_hz if free.all() else offset_hz[~free]))
    return np.where(free, (sent_hz - offset_hz) / oscillators.frequency_hz, 0.0)


def correction(growth: Growth, rate: Float64, since_s: Float64) -> Correction:
    """The correction of delays by the growth of each.

    Receivers of the first kind have the growth that their offsets say, the others none; one growth, which the
    reference's measurement leaves open, is common to all.

    Args:
        growth: As measured; a standard deviation that is infinite says nothing.
        rate: What receivers of the first kind have by their carriers' offsets, as of `expected`, shape (R,).
        since_s: For how long the delay has grown when it is measured, seconds, shape (R,).
    """
    weight = 1 / (growth.sigma * growth.sigma)
    total = float(weight.sum())
    fits = []
    for share in _SHARES:
        for start in (0.0, 1.0):
            first = np.full(len(rate), start)
            for _ in range(_ROUNDS):
                left = growth.rate - first * rate
                common = float((weight * left).sum()) / total if total > 0 else 0.0
                none = -0.5 * weight * (growth.rate - common) ** 2
                some = -0.5 * weight * (growth.rate - common - rate) ** 2
                higher = np.maximum(none, some)
                odds = [_exp(none - higher) * (1 - share), _exp(some - higher) * share]
                first = odds[1] / (odds[0] + odds[1])
            nats = float(higher.sum()) + math.fsum(math.log(one) for one in (odds[0] + odds[1]).tolist())
            fits.append((nats, first))
    best = max(nats for nats, _ in fits)
    by = [math.exp(nats - best) for nats, _ in fits]
    first = sum((one * fit for one, (_, fit) in zip(by, fits, strict=True)), np.zeros(len(rate))) / sum(by)
    late_s = rate * since_s
    return Correction(-first * late_s, np.sqrt(first * (1 - first)) * np.abs(late_s))


def _exp(values: Float64) -> Float64:
    """exp() of the C library, the same on every CPU."""
    return np.array([math.exp(one) for one in values.tolist()])
