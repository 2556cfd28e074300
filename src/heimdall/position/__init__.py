"""From features to a position: arrival times, received power, radio map, solver, posterior.

The log-likelihood of a position given the levels is in `received_power` and `radio_map`; `posterior` has
the density of an answer. Imports `core`, `geometry` and `signal`.
"""

__all__ = [
    "arrival",
    "channels",
    "interpolation",
    "peaks",
    "posterior",
    "radio_map",
    "received_power",
    "solver",
]
