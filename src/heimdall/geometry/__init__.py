"""Where things are on the earth: distances, local frames, rays to the receivers, the searched area.

WGS84. Imports `core`.
"""

__all__ = ["area", "geo", "propagation"]
