"""What receivers' own filters add to arrival times and to the shapes of channels, and sessions without it.

It is measured by sessions of known transmitters: delays by `receiver_delays`, magnitudes within the band by
`receiver_responses`. The correlations are then those of receivers without filters, and what they tell of
echoes is measured again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from heimdall.core.params import FeatureParams
from heimdall.geometry.geo import TangentPlane
from heimdall.position import receiver_delays, receiver_responses
from heimdall.position.receiver_delays import NO_DELAYS, Delays
from heimdall.position.receiver_responses import NO_RESPONSES, Responses
from heimdall.signal.arrival import Arrivals, Observation, arrivals
from heimdall.signal.passband import hears_best

Float64 = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Filters:
    """By receiver, for those that enough transmitters tell of.

    Attributes:
        responses: What they do within the band.
        delays: What they add to arrival times.
    """

    responses: Responses = NO_RESPONSES
    delays: Delays = NO_DELAYS

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Filters:
        """What `dataclasses.asdict` made, also of JSON."""
        return cls(Responses.from_dict(values["responses"]), Delays.from_dict(values["delays"]))

    def taken_off(self, observation: Observation) -> Arrivals:
        """The arrivals of a session as if all known receivers had one filter.

        What may be left of filters is no echo: tilts are less by that, and the standard deviation of spreads
        has it.
        """
        seen = observation.arrivals
        if self.delays != NO_DELAYS:
            seen = replace(seen, delay_s=self.delays.taken_off(observation))
        best = hears_best(observation)
        if best is None or self.responses.features is None:
            return seen
        session = self.responses.without(observation)
        found = arrivals(session, self.responses.features, observation.duration_s)
        tilt_s, spread_s2 = self.responses.left(session, best)
        shaped = (found.tilt_s != 0) | (found.spread_s2 != 0)
        return replace(
            seen,
            shape=found.shape,
            tilt_s=_more_than(found.tilt_s, tilt_s),
            spread_s2=found.spread_s2,
            spread_sigma_s2=np.hypot(found.spread_sigma_s2, spread_s2 * shaped),
        )


NO_FILTERS = Filters()


def fit(
    observations: Sequence[Observation],
    truth_m: Float64,
    plane: TangentPlane,
    features: FeatureParams,
    *,
    transmitter: Sequence[str],
    websdr_id: npt.NDArray[np.int32],
) -> Filters:
    """The filters of a network's receivers.

    Args:
        observations: n sessions of known transmitters.
        truth_m: Where these are, east and north, metres, shape (n, 2).
        plane: Of the positions.
        features: The parameters of the features.
        transmitter: A name for the transmitter of each.
        websdr_id: The receivers of the network, shape (R,).
    """
    return Filters(
        receiver_responses.fit(observations, features, transmitter=transmitter, websdr_id=websdr_id),
        receiver_delays.fit(observations, truth_m, plane, transmitter=transmitter, websdr_id=websdr_id),
    )


def _more_than(value: Float64, left: Float64) -> Float64:
    """Values whose squares are less by those of what filters may have left, with the same signs."""
    return np.asarray(np.sign(value) * np.sqrt(np.maximum(value * value - left * left, 0.0)), np.float64)
