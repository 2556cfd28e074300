"""The receivers' filters of each simulated world, as a network that stood there would have measured them."""

from __future__ import annotations

import numpy as np
import pandas as pd

from heimdall.geometry import transmitters
from heimdall.geometry.area import Receivers
from heimdall.geometry.geo import TangentPlane
from heimdall.network import filters
from heimdall.network.dataset import Sessions
from heimdall.network.filters import NO_FILTERS, Filters

# Of a world's transmitters; those of one part are not among the known ones for its own sessions.
PARTS = 5


def measured(sessions: Sessions, plane: TangentPlane, receivers: Receivers) -> list[Filters]:
    """The filters for each session, measured by the other transmitters of its world.

    Args:
        sessions: Of simulated worlds. The first part of a transmitter's `source_id` names its world.
        plane: Of the positions.
        receivers: All receivers there are.

    Returns:
        One for each session, in their order.
    """
    sender = transmitters.by_place(sessions.table)
    world = sessions.table["source_id"].str.rsplit("-", n=1).str[0]
    truth_m = sessions.truth_m(plane)
    found = [NO_FILTERS] * len(sender)
    for name in world.unique():
        rows = np.flatnonzero(world == name)
        seen, part = list(sessions.rows(rows).observations), pd.factorize(sender.iloc[rows])[0] % PARTS
        for number in range(PARTS):
            known = np.flatnonzero(part != number)
            own = filters.fit(
                [seen[row] for row in known],
                truth_m[rows[known]],
                plane,
                transmitter=list(sender.iloc[rows[known]]),
                websdr_id=receivers.websdr_id,
            )
            for row in rows[part == number].tolist():
                found[row] = own
    return found
