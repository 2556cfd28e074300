"""From arrival times and levels of any network to where the transmitter is, without training.

An `event.Event` goes in, a `fix.Fix` comes out. Imports `core` and `geometry`, and of other libraries NumPy
and SciPy alone: the answer is there in seconds, start included.
"""

__all__ = [
    "arrivals",
    "combine",
    "density",
    "doppler",
    "event",
    "fix",
    "levels",
    "many_places",
    "minima",
    "rays",
    "receiver_errors",
    "receiver_fit",
    "regions",
    "solver",
]
