"""Networks of other receivers, anywhere in the same land."""

from __future__ import annotations

import math

from heimdall.core.randomness import generator
from heimdall.simulate.terrain import Terrain
from heimdall.simulate.world import RECEIVERS, USEFUL_RECEIVERS, ReceiverSite

MOST_RECEIVERS = 12
GPS_SHARE = 0.85
LEAST_TIMED = 3  # receivers with GPS time: fewer measure no position
_ALTITUDE_M = (100.0, 1000.0)
_NUMBERS = 100  # of receivers in a world


def drawn_receivers(seed: int) -> tuple[ReceiverSite, ...]:
    """The receivers of a world whose network is another than `RECEIVERS`.

    Three to twelve, uniform over the hull of those and the margin around it, at log-uniform altitudes; at
    least three have GPS.

    Args:
        seed: Of the world, from 1 to 21474835. No receiver of another seed, or of `RECEIVERS`, has the number
            of one of these.
    """
    random = generator(seed, "simulate.receivers")
    terrain = Terrain.of([(site.latitude_deg, site.longitude_deg) for site in RECEIVERS])
    count = int(random.integers(USEFUL_RECEIVERS, MOST_RECEIVERS + 1))
    lot = random.random(count)
    gps = lot <= max(GPS_SHARE, sorted(lot.tolist())[LEAST_TIMED - 1])
    low, high = map(math.log, _ALTITUDE_M)

    def site(number: int) -> ReceiverSite:
        latitude, longitude = terrain.frame.to_degrees(*terrain.random_point(random))
        websdr_id = _NUMBERS * seed + number
        altitude_m = math.exp(random.uniform(low, high))
        return ReceiverSite(
            websdr_id,
            f"receiver {websdr_id}",
            float(latitude),
            float(longitude),
            altitude_m,
            gps=bool(gps[number]),
        )

    return tuple(site(number) for number in range(count))
