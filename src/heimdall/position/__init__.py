"""From arrival times and levels to a position: receivers' delays and responses, levels, radio map, solver.

The log-likelihood of a position given the levels is in `received_power` (by distance: the baselines) and in
`radio_map` (place by place: fusion); `posterior` is the answer of any method. Imports `core`, `geometry`
and `signal`.
"""

__all__ = [
    "posterior",
    "radio_map",
    "received_power",
    "receiver_delays",
    "receiver_responses",
    "solver",
]
