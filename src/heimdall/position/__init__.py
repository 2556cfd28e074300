"""From features to a position: arrival times, received power, radio map, solver, posterior.

Likelihoods of a position are here: of levels in `received_power` and `radio_map`, of the answer in
`posterior`. Imports `core`, `geometry` and `signal`.
"""

__all__ = ["arrival", "posterior", "radio_map", "received_power", "solver"]
