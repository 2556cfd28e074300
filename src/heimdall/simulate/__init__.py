"""A simulated world: from a seed to IQ recordings, by physics. Writes nothing.

    world = simulate.make_world(seed=7)
    for plan in simulate.sessions(world, 6):
        recordings = simulate.render(world, plan)

`world` holds who and where, `elsewhere` draws other receivers, `terrain` what stands between, `budget` how
strong it is, `signals` what is transmitted, `channel` how it travels, `profiles` the echoes by standards,
`faults` what disturbs it, `receive` what a receiver records. Everything made here is simulated, and whoever
stores it says so. Imports `core` and `geometry`.
"""

from heimdall.simulate.elsewhere import drawn_receivers
from heimdall.simulate.faults import NO_FAULTS, Faults
from heimdall.simulate.receive import (
    SAMPLE_RATE_HZ,
    SAMPLES,
    Reception,
    RenderedRecording,
    SessionPlan,
    render,
    sessions,
)
from heimdall.simulate.world import (
    MULTIPATHS,
    RECEIVERS,
    Multipath,
    ReceiverSite,
    Transmitter,
    World,
    make_world,
)

__all__ = [
    "MULTIPATHS",
    "NO_FAULTS",
    "RECEIVERS",
    "SAMPLES",
    "SAMPLE_RATE_HZ",
    "Faults",
    "Multipath",
    "ReceiverSite",
    "Reception",
    "RenderedRecording",
    "SessionPlan",
    "Transmitter",
    "World",
    "drawn_receivers",
    "make_world",
    "render",
    "sessions",
]
