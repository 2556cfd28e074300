"""Where things are on the earth: distances, local frames, one place or two, rays, areas, terrain.

WGS84. Imports `core`.
"""

__all__ = ["area", "geo", "propagation", "terrain", "transmitters"]
