"""Where receivers are: a CSV file, or GeoJSON with a point for each."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.recordings import limits

_COLUMNS = {
    "name": ("name", "receiver", "station", "receivername", "stationname", "id", "websdrid"),
    "latitude_deg": ("latitude", "lat", "latitudedeg", "latdeg"),
    "longitude_deg": ("longitude", "lon", "lng", "long", "longitudedeg", "londeg", "lngdeg"),
    "altitude_m": (
        "altitude",
        "alt",
        "altitudem",
        "altm",
        "elevation",
        "elevationm",
        "height",
        "heightm",
        "altitudeasl",
    ),
    "timing_sigma_ns": ("timingsigmans", "clocksigmans"),
}
_REQUIRED = ("name", "latitude_deg", "longitude_deg")
_RANGES = {
    "latitude_deg": (-90.0, 90.0),
    "longitude_deg": (-180.0, 180.0),
    "altitude_m": (-500.0, 20_000.0),
    "timing_sigma_ns": (1.0, 1e9),
}
_MAX_BYTES = 1 << 24  # a receiver needs a hundred bytes
_REMEDY = "Correct the line; the columns are name, latitude, longitude and, if known, altitude_m"


@dataclass(frozen=True)
class Site:
    """A receiver.

    Attributes:
        name: Unique name.
        latitude_deg: Latitude, degrees.
        longitude_deg: Longitude, degrees.
        altitude_m: Altitude, metres; 0 if it is not known.
        timing_sigma_ns: How well its clock is disciplined by GPS, where the files themselves do not say it;
            None if it is not.
        altitude_known: Whether anybody said the altitude.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    timing_sigma_ns: float | None = field(default=None, compare=False)
    altitude_known: bool = field(default=True, compare=False)


def read(path: Path) -> tuple[Site, ...]:
    """The receivers of a file, in its order.

    Args:
        path: CSV with a header line (columns in any order, separated by commas, semicolons or tabs; `lat`,
            `lon`, `alt` and the like are understood, other columns are ignored), or GeoJSON (RFC 7946): a
            FeatureCollection of Points with `properties.name`. An altitude that is missing is 0.

    Raises:
        HeimdallError: The file cannot be read, a line is wrong, or a name stands twice.
    """
    text = _text(path)
    rows = _geojson(path, text) if text.lstrip()[:1] == "{" else _csv(path, text)
    sites: dict[str, tuple[str, Site]] = {}
    for place, row in rows:
        site = _site(place, row)
        if site.name in sites:
            raise HeimdallError(place, f"receiver {site.name} stands in {sites[site.name][0]}, too", _REMEDY)
        sites[site.name] = (place, site)
    if not sites:
        raise HeimdallError(str(path), "no receiver in it", "Give a line for each receiver")
    return tuple(site for _, site in sites.values())


def _text(path: Path) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise unreadable(path, error) from None
    if len(content) > _MAX_BYTES:
        raise HeimdallError(str(path), "larger than 16 MiB", "Give a CSV or GeoJSON file of receivers")
    for encoding in ("utf-16",) if content[:2] in (b"\xff\xfe", b"\xfe\xff") else ("utf-8-sig", "cp1252"):
        try:
            return content.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise HeimdallError(str(path), "no text", "Save it as UTF-8")


def _csv(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    head = next(iter(text.splitlines()), "")
    separator = max(";\t,", key=head.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    try:
        names = [_column(name) for name in next(reader, [])]
        for needed in _REQUIRED:
            if names.count(needed) != 1:
                cause = f"{names.count(needed)} columns for {needed.removesuffix('_deg')} instead of one"
                remedy = "Begin it with a line such as name,latitude,longitude,altitude_m"
                raise HeimdallError(f"{path}, line 1", cause, remedy)
        for row in reader:
            if not any(cell.strip() for cell in row) or row[0].lstrip().startswith("#"):
                continue
            place = f"{path}, line {reader.line_num}"
            if len(row) < len(names):
                raise HeimdallError(place, f"{len(row)} columns instead of {len(names)}", _REMEDY)
            cells = dict(zip(names, row, strict=False))
            yield (
                place,
                {
                    name: value.replace(",", ".") if separator == ";" and name in _RANGES else value
                    for name, value in cells.items()
                },
            )
    except csv.Error as error:
        raise HeimdallError(f"{path}, line {reader.line_num}", f"no CSV ({error})", _REMEDY) from None


def _column(name: str) -> str:
    """The field that a column's name means, or the name itself."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return next((meant for meant, synonyms in _COLUMNS.items() if plain in synonyms), name)


def _geojson(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    try:
        document: dict[str, Any] = json.loads(text)
    except (ValueError, RecursionError) as error:
        cause = f"no GeoJSON ({' '.join(str(error).split())[:80]})"
        raise HeimdallError(str(path), cause, "Give a FeatureCollection of Points, or a CSV file") from None
    features = document.get("features") if document.get("type") == "FeatureCollection" else [document]
    for number, feature in enumerate(features if isinstance(features, list) else [None], start=1):
        place = f"{path}, feature {number}"
        properties = feature.get("properties") if isinstance(feature, dict) else None
        geometry = feature.get("geometry") if isinstance(feature, dict) else None
        is_point = isinstance(geometry, dict) and geometry.get("type") == "Point"
        point = geometry.get("coordinates") if isinstance(geometry, dict) and is_point else None
        if not isinstance(point, list) or len(point) < 2:
            raise HeimdallError(
                place, "no Point with longitude and latitude", "Give a Point for each receiver"
            )
        named = (
            {_column(name): value for name, value in properties.items()}
            if isinstance(properties, dict)
            else {}
        )
        altitude = point[2] if len(point) > 2 else named.get("altitude_m")
        yield place, named | {"longitude_deg": point[0], "latitude_deg": point[1], "altitude_m": altitude}


def _site(place: str, row: Mapping[str, Any]) -> Site:
    name = row.get("name")
    if not isinstance(name, str | int) or isinstance(name, bool) or not str(name)[:99].strip():
        raise HeimdallError(place, "a receiver without a name", _REMEDY)
    text = limits.receiver_name(str(name))
    if text is None:
        said = " ".join(str(name).split())[:40]
        cause = f"the name {said!r} has characters that are none of a text, or more than {limits.MAX_NAME}"
        raise HeimdallError(place, cause, _REMEDY)
    altitude_m = _number(place, row, "altitude_m")
    return Site(
        name=text,
        latitude_deg=_number(place, row, "latitude_deg", needed=True) or 0.0,
        longitude_deg=_number(place, row, "longitude_deg", needed=True) or 0.0,
        altitude_m=altitude_m or 0.0,
        timing_sigma_ns=_number(place, row, "timing_sigma_ns"),
        altitude_known=altitude_m is not None,
    )


def _number(place: str, row: Mapping[str, Any], name: str, *, needed: bool = False) -> float | None:
    value = row.get(name)
    if value is None or (isinstance(value, str) and not value.strip()):
        if needed:
            raise HeimdallError(place, f"no {name.removesuffix('_deg')}", _REMEDY)
        return None
    try:
        number = math.nan if isinstance(value, bool) or "_" in str(value) else float(value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    low, high = _RANGES[name]
    if not low <= number <= high:
        cause = f"{name.removesuffix('_deg')} {str(value)[:40]!r} is no number from {low:g} to {high:g}"
        raise HeimdallError(place, cause, _REMEDY)
    return number
