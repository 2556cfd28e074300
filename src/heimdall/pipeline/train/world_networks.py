"""What a network that stood in each simulated world would have measured there before it locates a session.

Filters are measured in every world. Some worlds have other receivers than the rest. There the law of levels
is the world's own, too, and so are the offsets of its radio map. Its terrain is not: hundreds of numbers fit
the few dozen sessions of a world so well that levels seem to tell the place to a decibel (docs/physics.md).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from heimdall.core.params import FeatureParams
from heimdall.geometry import transmitters
from heimdall.geometry.area import Receivers
from heimdall.network import filters
from heimdall.network.dataset import Sessions
from heimdall.network.filters import Filters
from heimdall.network.tokens import Tokenizer
from heimdall.position import radio_map, received_power
from heimdall.signal.arrival import Observation

# Of a world's transmitters; those of one part are not among the known ones for its own sessions.
PARTS = 5


@dataclass(frozen=True, eq=False)
class Measured:
    """What the tokens of a session are made with.

    Attributes:
        tokenizer: Of the network that stood there: its receivers, levels and radio map.
        filters: Of these receivers.
    """

    tokenizer: Tokenizer
    filters: Filters


def at_home(sessions: Sessions, elsewhere: Collection[str]) -> Sessions:
    """The sessions of those worlds that have the receivers of the network.

    Args:
        sessions: Of simulated worlds.
        elsewhere: Names of the worlds that have others.
    """
    return sessions.rows(np.flatnonzero(~_worlds(sessions).isin(list(elsewhere))))


def measured(
    sessions: Sessions, network: Tokenizer, features: FeatureParams, elsewhere: Mapping[str, Receivers]
) -> Sequence[Measured]:
    """What is measured for each session by the other transmitters of its world.

    Args:
        sessions: Of simulated worlds.
        network: What all worlds share: plane and area, and of those that have the network's receivers also
            these, levels and radio map.
        features: The parameters of the features.
        elsewhere: Of each other world all its receivers, by the world's name.

    Returns:
        One for each session, in their order.
    """
    sender, world = transmitters.by_place(sessions.table), _worlds(sessions)
    truth_m = sessions.truth_m(network.plane)
    found = [Measured(network, network.filters)] * len(world)
    for name in world.unique():
        rows = np.flatnonzero(world == name)
        seen, part = list(sessions.rows(rows).observations), pd.factorize(sender.iloc[rows])[0] % PARTS
        for number in range(PARTS):
            known = np.flatnonzero(part != number)
            others, others_m = [seen[row] for row in known], truth_m[rows[known]]
            here = network
            if name in elsewhere:
                here = _of_receivers(elsewhere[name], network, others, others_m)
            own = filters.fit(
                others,
                others_m,
                here.plane,
                features,
                transmitter=list(sender.iloc[rows[known]]),
                websdr_id=here.receivers.websdr_id,
            )
            for row in rows[part == number].tolist():
                found[row] = Measured(here, own)
    return found


def _worlds(sessions: Sessions) -> pd.Series[str]:
    """The world of each session: the name of its transmitter up to the last hyphen."""
    return sessions.table["source_id"].str.rsplit("-", n=1).str[0]


def _of_receivers(
    receivers: Receivers, network: Tokenizer, seen: Sequence[Observation], truth_m: npt.NDArray[np.float64]
) -> Tokenizer:
    """The tokenizer of other receivers in the same plane and area, by n sessions of their world."""
    if not seen:
        return replace(network, receivers=receivers)  # whose gains are unknown to it
    sessions = seen, truth_m, receivers, network.plane
    law = received_power.fit(*sessions)
    known = network.radio.of_others(law, receivers)
    radio = radio_map.fit(*sessions, law=law, area=network.area, known=known)
    return replace(network, power=law, radio=radio, receivers=receivers)
