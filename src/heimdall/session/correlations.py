"""The correlation of each receiver with the reference, and what was taken from it as the arrival time."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from heimdall.session import lateness
from heimdall.session.detail import Detail
from heimdall.session.located import Located

Float64 = npt.NDArray[np.float64]

_LEAST_REACH_S = 200e-6  # of the lags that are shown: a voice signal's peak is as wide
_BEYOND = 1.3  # of the farthest time that is marked
_LOBE = 0.5  # the main lobe ends where the correlation falls below it,
_LOBES = 3.0  # and so many of its half widths are shown


@dataclass(frozen=True, eq=False)
class Curve:
    """Correlation of one receiver with the reference: how alike they are if one is moved in time.

    Attributes:
        websdr_id: The receiver.
        reference: Number and name of the reference, with which all receivers of a session are correlated.
        lag_s: Later than at the reference by so much, seconds, shape (L,).
        magnitude: Of the correlation, of its largest value, in [0, 1], shape (L,).
        peak_s: Where it is largest, seconds.
        timed: Whether the GPS times of both recordings are used; without them the lags mean nothing, and no
            time is marked.
        taken_s: What was taken as the difference of the arrival times, seconds; None where one of the two has
            no arrival time.
        sigma_s: Its stated standard deviation, noise and clocks together, seconds; None as that.
        true_s: What the difference is from the known position, seconds; None where that is not known.
        answered_s: What it is from the answer, seconds; None without one.
    """

    websdr_id: int
    reference: str
    lag_s: Float64
    magnitude: Float64
    peak_s: float
    timed: bool
    taken_s: float | None
    sigma_s: float | None
    true_s: float | None
    answered_s: float | None

    @property
    def reach_s(self) -> float:
        """So much of the lags, on either side, shows the main lobe and everything that is marked, seconds."""
        marked = [self.peak_s, self.taken_s, self.true_s, self.answered_s]
        farthest_s = max(abs(one) for one in marked if one is not None) + (self.sigma_s or 0.0)
        below_s = np.abs(self.lag_s[self.magnitude < _LOBE] - self.peak_s)
        lobe_s = float(below_s.min()) if len(below_s) else float(self.lag_s[-1])
        wanted_s = max(_BEYOND * farthest_s, abs(self.peak_s) + _LOBES * lobe_s, _LEAST_REACH_S)
        return min(wanted_s, float(self.lag_s[-1]))


def reference_row(detail: Detail) -> int:
    """The row with the best arrival time, or where there is none, that hears the signal best."""
    information_s2 = detail.observation.arrivals.information_s2
    values = information_s2 if information_s2.any() else detail.observation.session.snr_db
    return int(np.argmax(values))


def with_reference(detail: Detail, answer: Located | None) -> dict[int, Curve]:
    """The curves of a session, by the number of the receiver; the reference itself has none.

    Args:
        detail: The session.
        answer: Whose place is marked; None marks none.
    """
    observation, stored = detail.observation, detail.observation.session
    reference = reference_row(detail)
    half = stored.xcorr.shape[1] // 2
    lag_s = np.arange(-half, half + 1) / detail.params.correlation_rate_hz
    sigma_s = lateness.sigma_s(observation)
    delay_s = np.where(np.isfinite(sigma_s), observation.arrivals.delay_s, np.nan)
    true_s = answered_s = np.full(len(delay_s), np.nan)
    if detail.has_truth:
        true_s = lateness.travel_s(observation, detail.latitude_deg, detail.longitude_deg, detail.plane)
    place = None if answer is None else answer.place
    if place is not None:
        answered_s = lateness.travel_s(observation, place.latitude_deg, place.longitude_deg, detail.plane)
    found = {}
    for (a, b), values in zip(stored.pair.tolist(), stored.xcorr, strict=True):
        if reference not in (a, b):
            continue
        row = b if a == reference else a
        # The peak is at the delay of the first less that of the second.
        magnitude = np.abs(values if row == a else values[::-1]).astype(np.float64)
        number = int(stored.websdr_id[row])

        timed = bool(np.isfinite(stored.timing_sigma_s[[row, reference]]).all())

        def later(times_s: Float64, row: int = row, timed: bool = timed) -> float | None:
            return _known(float(times_s[row] - times_s[reference])) if timed else None

        found[number] = Curve(
            websdr_id=number,
            reference=detail.name(reference),
            lag_s=lag_s,
            magnitude=magnitude / max(float(magnitude.max()), np.finfo(np.float64).tiny),
            peak_s=float(lag_s[int(np.argmax(magnitude))]),
            timed=timed,
            taken_s=later(delay_s),
            sigma_s=_known(float(np.hypot(sigma_s[row], sigma_s[reference]))),
            true_s=later(true_s),
            answered_s=later(answered_s),
        )
    return found


def _known(value: float) -> float | None:
    return value if np.isfinite(value) else None
