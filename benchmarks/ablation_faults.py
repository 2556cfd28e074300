"""What may go wrong with a session's receivers, as benchmarks/ablation.py has it happen.

Most faults change the features of recordings that are right: delays, and correlations about them. What the
stage featurize would find in faulty recordings, such as that the others contradict one, is not in those. It
is in those that the simulator renders, world by world, of the same transmissions.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall import simulate
from heimdall.core.params import FeatureParams
from heimdall.core.randomness import generator
from heimdall.geometry.area import Receivers
from heimdall.signal.arrival import Observation, arrivals, without_receiver
from heimdall.signal.interpolation import interpolate
from heimdall.signal.sessions import SessionFeatures

Float64 = npt.NDArray[np.float64]

LATE_S = {"10 us": 10e-6, "3 ms": 3e-3}
MANY = 5  # arrival times, of which one may be wrong by any amount and is found out
UNLIKE_SIGMA_S = 200e-9
UNLIKE = "delays of N(0, 200 ns) by receiver"


@dataclass(frozen=True)
class Twin:
    """How the same transmissions are rendered again.

    Attributes:
        faults: What disturbs the receivers.
        squelched: Whether they have a squelch.
    """

    faults: simulate.Faults = simulate.NO_FAULTS
    squelched: bool = True


SINGLE = {
    "rendered: clocks drift by up to 1e-8": Twin(simulate.Faults(clock_drift=1e-8)),
    "rendered: Doppler to 15 Hz": Twin(simulate.Faults(doppler_hz=15.0)),
    "rendered: filters' ripple of 0.5 dB": Twin(simulate.Faults(ripple_db=0.5)),
    "rendered: filters' delays to 200 ns": Twin(simulate.Faults(filter_delay_s=UNLIKE_SIGMA_S)),
    "rendered: altitude of 1500 m": Twin(simulate.Faults(altitude_m=1500.0)),
}
OPEN = "rendered: receivers without a squelch"
RENDERED = SINGLE | {OPEN: Twin(squelched=False)}
KNOWN_LATE = "one of five or more times left out: the late one, had an oracle named it"
_LEFT = 2  # recordings at least, when one is removed


@dataclass(frozen=True, eq=False)
class Condition:
    """Test sessions that something befell.

    Attributes:
        row: Their numbers among all test sessions, shape (n,).
        observations: What is seen of each then.
    """

    row: npt.NDArray[np.intp]
    observations: list[Observation]

    @classmethod
    def of(cls, found: Sequence[tuple[int, Observation]]) -> Condition:
        """Of numbers and observations."""
        return cls(np.array([row for row, _ in found], np.intp), [item for _, item in found])


def timed(observation: Observation) -> npt.NDArray[np.intp]:
    """Rows of the recordings that have an arrival time."""
    return np.flatnonzero(observation.arrivals.information_s2 > 0)


MANY_TIMES, FOUR_TIMES = f"{MANY} or more", "4"


def late_name(by: str, count: str) -> str:
    """The name of the condition that one of so many arrival times is late."""
    return f"one of {count} times late by {by}"


def rendered(
    sessions: Sequence[tuple[str, Observation]], twins: Mapping[str, Mapping[str, Observation]]
) -> dict[str, Condition]:
    """The same for faults that were rendered.

    Args:
        sessions: Identifiers and observations of the test sessions of a world, undisturbed.
        twins: What is seen of each twin of `RENDERED`, by identifier.
    """
    return {
        name: Condition.of(
            [(row, twin[session]) for row, (session, _) in enumerate(sessions) if session in twin]
        )
        for name, twin in twins.items()
    }


def conditions(
    sessions: Sequence[Observation], receivers: Receivers, params: FeatureParams, seed: int
) -> dict[str, Condition]:
    """Every fault of features, by its name.

    Args:
        sessions: The test sessions of a world.
        receivers: All receivers of the network.
        params: The parameters that the features were made with.
        seed: Of the world: which receiver is late or removed, and how unlike their delays are.
    """
    found = {}
    for by, late_s in LATE_S.items():
        for count, least, most in ((MANY_TIMES, MANY, len(receivers.websdr_id)), (FOUR_TIMES, 4, 4)):
            found[late_name(by, count)] = Condition.of(
                [
                    (row, _one_late(item, late_s, params, generator(seed, "ablation.late", row)))
                    for row, item in enumerate(sessions)
                    if least <= len(timed(item)) <= most
                ]
            )
    found[KNOWN_LATE] = Condition.of(
        [
            (row, _one_untimed(item, params, generator(seed, "ablation.late", row)))
            for row, item in enumerate(sessions)
            if len(timed(item)) >= MANY
        ]
    )
    found[UNLIKE] = Condition.of(list(enumerate(unlike(sessions, receivers, params, seed))))
    lost = [(row, item) for row, item in enumerate(sessions) if len(item.session.websdr_id) > _LEFT]
    gone = [
        int(generator(seed, "ablation.removed", row).integers(len(item.session.websdr_id)))
        for row, item in lost
    ]
    left = [(row, without_receiver(item, k, params)) for (row, item), k in zip(lost, gone, strict=True)]
    silent = [(row, replace(item, absent=())) for row, item in left]
    found["a receiver removed, taken for silent"] = Condition.of(silent)
    found["a receiver removed, known to be absent"] = Condition.of(left)
    return found


def unlike(
    sessions: Sequence[Observation], receivers: Receivers, params: FeatureParams, seed: int
) -> list[Observation]:
    """The sessions, had each receiver a delay of its own; arguments as of `conditions`."""
    drawn_s = UNLIKE_SIGMA_S * generator(seed, "ablation.delay").standard_normal(len(receivers.websdr_id))
    delay_s = dict(zip(receivers.websdr_id.tolist(), drawn_s.tolist(), strict=True))
    return [
        delayed(item, np.array([delay_s[k] for k in item.session.websdr_id.tolist()]), params)
        for item in sessions
    ]


def _one_late(
    observation: Observation, late_s: float, params: FeatureParams, random: np.random.Generator
) -> Observation:
    delay_s = np.zeros(len(observation.session.websdr_id))
    delay_s[random.choice(timed(observation))] = late_s
    return delayed(observation, delay_s, params)


def _one_untimed(observation: Observation, params: FeatureParams, random: np.random.Generator) -> Observation:
    """Without the time that `_one_late` of the same generator makes late; its level stays."""
    sigma_s = observation.session.timing_sigma_s.copy()
    sigma_s[random.choice(timed(observation))] = np.inf
    return _observed(observation, replace(observation.session, timing_sigma_s=sigma_s), params)


def delayed(observation: Observation, delay_s: Float64, params: FeatureParams) -> Observation:
    """The same session, had each recording come later.

    Args:
        observation: A session of R recordings.
        delay_s: By how much, shape (R,).
        params: The parameters that its features were made with.

    Returns:
        The session with its delays and correlations moved. What lies beyond the lags is 0.
    """
    session = observation.session
    first, second = session.pair.T
    limit = session.xcorr.shape[1] // 2
    moved = (delay_s[first] - delay_s[second]) * params.correlation_rate_hz
    lag = np.arange(-limit, limit + 1) - moved[:, None]  # (P, lags)
    series = interpolate(session.xcorr.astype(np.complex128), np.clip(lag, -limit, limit))
    xcorr = np.where(np.abs(lag) <= limit, series, 0.0).astype(np.complex64)
    return _observed(observation, replace(session, delay_s=session.delay_s + delay_s, xcorr=xcorr), params)


def _observed(observation: Observation, session: SessionFeatures, params: FeatureParams) -> Observation:
    return replace(observation, session=session, arrivals=arrivals(session, params))
