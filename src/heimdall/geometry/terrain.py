"""Altitude of the ground, from files of a digital elevation model (DEM).

Two formats are read: SRTM tiles (`N46E007.hgt`: Farr et al., 2007) and ESRI ASCII grids in degrees (`.asc`).
Both usually hold heights above the geoid (mean sea level), while every altitude of Heimdall is above the
ellipsoid. The difference, the geoid's undulation, lies between -107 and +86 m (Lemoine et al., 1998) and
changes by a few metres over a network. It is not in the files: without `geoid_undulation_m` a height is taken
as one above the ellipsoid.
"""

from __future__ import annotations

import re
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError, unreadable

Float64 = npt.NDArray[np.float64]

_HGT_NAME = re.compile(r"([NS])(\d{2})([EW])(\d{3})(?![0-9A-Za-z])", re.IGNORECASE)
_HGT_POINTS = (1201, 3601)  # on a side: 3 and 1 seconds of arc
_HGT_VOID = -32768
_HEADER_LINE = re.compile(r"[^\S\n]*([A-Za-z]\w*)[^\S\n]+(\S+)[^\S\n]*(?:\n|$)")
_ASC_KEYS = ("ncols", "nrows", "xllcorner", "xllcenter", "yllcorner", "yllcenter", "cellsize", "nodata_value")
_ASC_VOID = -9999.0
_LOWEST_M, _HIGHEST_M = -12_000.0, 9_000.0
_SUFFIXES = (".hgt", ".asc")


@dataclass(frozen=True, eq=False)
class Grid:
    """Altitudes at the points of one file's grid.

    Attributes:
        south_deg: Latitude of the southernmost points, degrees.
        west_deg: Longitude of the westernmost points, degrees.
        step_deg: Distance of neighbouring points in latitude and in longitude, degrees.
        altitude_m: The file's heights, metres, the northernmost row first, shape (rows, columns), float32;
            NaN where the file has none.
    """

    south_deg: float
    west_deg: float
    step_deg: float
    altitude_m: npt.NDArray[np.float32]

    def at(self, latitude_deg: Float64, longitude_deg: Float64) -> Float64:
        """Bilinear between the four points around; NaN outside the grid and where one of the four has none.

        A point stands for its cell: within half a step beyond the outermost points the altitude is theirs.

        Args:
            latitude_deg: Latitudes, degrees, shape (n,).
            longitude_deg: Longitudes, degrees, from any range, shape (n,).

        Returns:
            Altitudes in metres, shape (n,).
        """
        rows, columns = self.altitude_m.shape
        row = (self.south_deg - latitude_deg) / self.step_deg + rows - 1
        column = (np.mod(longitude_deg - self.west_deg + self.step_deg / 2, 360.0)) / self.step_deg - 0.5
        inside = (row >= -0.5) & (row <= rows - 0.5) & (column >= -0.5) & (column <= columns - 0.5)
        row = np.clip(np.where(inside, row, 0.0), 0, rows - 1)
        column = np.clip(np.where(inside, column, 0.0), 0, columns - 1)
        north, west = np.floor(row).astype(np.int64), np.floor(column).astype(np.int64)
        south, east = np.minimum(north + 1, rows - 1), np.minimum(west + 1, columns - 1)
        down, right = row - north, column - west
        altitude = np.zeros(row.shape)
        for line, share in ((north, 1 - down), (south, down)):
            for place, part in ((west, 1 - right), (east, right)):
                weight = share * part
                # A point without weight, but for rounding, says nothing: it may be void.
                altitude += np.where(weight > 1e-6, weight * self.altitude_m[line, place], 0.0)
        return np.where(inside, altitude, np.nan)


@dataclass(frozen=True, eq=False)
class Terrain:
    """Altitude of the ground wherever one of some files has it.

    Attributes:
        grids: Of the files; where several have a place, the first says its altitude.
        geoid_undulation_m: Height of the geoid above the ellipsoid, metres: added to what the files say.
    """

    grids: tuple[Grid, ...]
    geoid_undulation_m: float = 0.0

    def altitude_m(self, latitude_deg: npt.ArrayLike, longitude_deg: npt.ArrayLike) -> Float64:
        """Altitude of the ground above the ellipsoid, bilinear, NaN where no file has it.

        Args:
            latitude_deg: Latitudes, degrees, of any shape.
            longitude_deg: Longitudes, degrees, of a shape that broadcasts with it.

        Returns:
            Altitudes in metres, float64, of the broadcast shape.
        """
        latitude, longitude = np.broadcast_arrays(
            np.asarray(latitude_deg, np.float64), np.asarray(longitude_deg, np.float64)
        )
        altitude = np.full(latitude.size, np.nan)
        for grid in self.grids:
            missing = np.flatnonzero(np.isnan(altitude))
            altitude[missing] = grid.at(latitude.ravel()[missing], longitude.ravel()[missing])
        return altitude.reshape(latitude.shape) + self.geoid_undulation_m


def read(paths: Sequence[Path], geoid_undulation_m: float = 0.0) -> Terrain:
    """The terrain of some files.

    Args:
        paths: `.hgt` and `.asc` files; of a folder all of these in it, by name.
        geoid_undulation_m: Height of the geoid above the ellipsoid, metres: the files' heights are above the
            geoid. 0 if they are above the ellipsoid.

    Raises:
        HeimdallError: A file cannot be read, is no such grid, or has no altitudes.
    """
    files = [file for path in paths for file in (_of_folder(path) if path.is_dir() else [path])]
    return Terrain(tuple(_grid(file) for file in files), geoid_undulation_m)


def _of_folder(folder: Path) -> list[Path]:
    files = sorted(file for file in folder.iterdir() if file.suffix.lower() in _SUFFIXES)
    if not files:
        raise HeimdallError(str(folder), "it holds no terrain file", "Put .hgt or .asc files there")
    return files


def _grid(path: Path) -> Grid:
    suffix = path.suffix.lower()
    if suffix not in _SUFFIXES:
        raise HeimdallError(
            str(path),
            "it is no terrain file by its name",
            "Give an SRTM tile, unpacked (N46E007.hgt), or an ESRI ASCII grid in degrees (.asc)",
        )
    try:
        data = path.read_bytes()
    except OSError as error:
        raise unreadable(path, error) from None
    grid = _hgt(path, data) if suffix == ".hgt" else _asc(path, data)
    known = grid.altitude_m[np.isfinite(grid.altitude_m)]
    if not known.size:
        raise HeimdallError(
            str(path), "it has no altitude at any point", "Take another tile or another source"
        )
    lowest, highest = float(known.min()), float(known.max())
    if lowest < _LOWEST_M or highest > _HIGHEST_M:
        raise HeimdallError(
            str(path),
            f"its altitudes go from {lowest:g} to {highest:g} m, which no ground on earth does",
            "Check that they are metres, that an .hgt is big-endian, and NODATA_value of an .asc",
        )
    return grid


def _hgt(path: Path, data: bytes) -> Grid:
    name = _HGT_NAME.match(path.name)
    if not name:
        raise HeimdallError(
            str(path),
            "the name of an SRTM tile says where it is, and this one does not",
            "Name it by its south-west corner, like N46E007.hgt",
        )
    latitude = int(name[2]) * (1 if name[1].upper() == "N" else -1)
    longitude = int(name[4]) * (1 if name[3].upper() == "E" else -1)
    if not (-90 <= latitude < 90 and -180 <= longitude < 180):
        raise HeimdallError(str(path), "its name says a place that is not on earth", "Check the name")
    points = next((side for side in _HGT_POINTS if 2 * side * side == len(data)), None)
    if points is None:
        sizes = " or ".join(f"{2 * side * side} ({side} x {side} points)" for side in _HGT_POINTS)
        raise HeimdallError(
            str(path), f"it has {len(data)} bytes; an SRTM tile has {sizes}", "Download or unpack it again"
        )
    height = np.frombuffer(data, ">i2").reshape(points, points).astype(np.float32)
    height[height == _HGT_VOID] = np.nan
    return Grid(float(latitude), float(longitude), 1 / (points - 1), height)


def _asc(path: Path, data: bytes) -> Grid:
    def wrong(cause: str, remedy: str = "Check the file's first lines, or export it again") -> HeimdallError:
        return HeimdallError(str(path), cause, remedy)

    try:
        text = data.decode("ascii")
    except UnicodeDecodeError:
        raise wrong("it is no text: an ESRI ASCII grid is") from None
    header: dict[str, float] = {}
    start = 0
    while (line := _HEADER_LINE.match(text, start)) and line[1].lower() != "nan":
        key, start = line[1].lower(), line.end()
        if key not in _ASC_KEYS:
            raise wrong(f"its header has {line[1][:40]}, which is not understood")
        if key in header:
            raise wrong(f"its header has {line[1]} twice")
        try:
            header[key] = float(line[2])
        except ValueError:
            raise wrong(f"{line[1]} of its header is no number: {line[2][:40]}") from None
    columns, rows = (_whole(header.get(key)) for key in ("ncols", "nrows"))
    step = header.get("cellsize", 0.0)
    if not (columns and rows):
        raise wrong("its header has no ncols and nrows above zero")
    if not 0 < step <= 90:
        raise wrong("its header has no cellsize between 0 and 90 degrees", _IN_DEGREES)
    west, south = (_first_centre(header, axis, step) for axis in "xy")
    if west is None or south is None:
        raise wrong("its header does not say where its lower left corner is (xllcorner and yllcorner)")
    north = south + (rows - 1) * step
    if not (south >= -90.001 and north <= 90.001 and -360 <= west <= 360 and (columns - 1) * step <= 360):
        raise wrong(f"its corner ({west:g}, {south:g}) and size are not degrees on earth", _IN_DEGREES)
    height = _numbers(text[start:])
    if height is None:
        raise wrong("something among its altitudes is no number", "Export it again")
    if height.size != rows * columns:
        raise wrong(
            f"it has {height.size} altitudes, and its header says {columns} x {rows}", "Download it again"
        )
    height[height == header.get("nodata_value", _ASC_VOID)] = np.nan
    return Grid(south, west, step, height.reshape(rows, columns).astype(np.float32))


_IN_DEGREES = (
    "Bring it to longitude and latitude on WGS84 (EPSG:4326), which GIS programs do, and export it again"
)


def _whole(value: float | None) -> int:
    """A count; 0 where it is none."""
    return int(value) if value is not None and 1 <= value < 1e9 and value == int(value) else 0


def _first_centre(header: dict[str, float], axis: str, step: float) -> float | None:
    """Where the first points are: a corner is half a cell before them."""
    if f"{axis}llcenter" in header:
        return header[f"{axis}llcenter"]
    corner = header.get(f"{axis}llcorner")
    return None if corner is None else corner + step / 2


def _numbers(text: str) -> Float64 | None:
    """All numbers of a text, or None if something in it is none."""
    with warnings.catch_warnings():
        warnings.simplefilter("error", DeprecationWarning)  # so NumPy says that it stopped before the end
        try:
            return np.fromstring(text.strip(), np.float64, sep=" ")  # blanks alone would be -1
        except (DeprecationWarning, ValueError):
            return None
