"""Where receivers are: a CSV file, or GeoJSON with a point for each."""

from __future__ import annotations

import csv
import io
import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.formats import text_file
from heimdall.recordings import limits

# The first of each wins over the others.
_COLUMNS = {
    "name": (
        "name",
        "receiver",
        "station",
        "receivername",
        "stationname",
        "id",
        "websdrid",
        "sensor",
        "serial",
        "sensorserial",
    ),
    "latitude_deg": ("latitude", "lat", "latitudedeg", "latdeg"),
    "longitude_deg": ("longitude", "lon", "lng", "long", "longitudedeg", "londeg", "lngdeg"),
    "altitude_m": (
        "altitudem",
        "altitude",
        "alt",
        "altm",
        "elevation",
        "elevationm",
        "height",
        "heightm",
        "altitudeasl",
    ),
    "timing_sigma_ns": ("timingsigmans", "clocksigmans"),
    "timed": ("timed", "good", "synchronised", "synchronized"),
}
_THIRD = "altitude ASL"  # of a coordinate; what GIS programs write there is often a mere 0
_CALLED = {
    "name": "name",
    "latitude_deg": "latitude",
    "longitude_deg": "longitude",
    "altitude_m": "altitude_m",
    "timing_sigma_ns": "timing_sigma_ns",
    "timed": "timed",
}
_REQUIRED = ("name", "latitude_deg", "longitude_deg")
_RANGES = {
    "latitude_deg": (-90.0, 90.0),
    "longitude_deg": (-180.0, 180.0),
    "altitude_m": (-500.0, 20_000.0),
    "timing_sigma_ns": (1.0, 1e9),
}
_NO = ("false", "no", "0")
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
        timed: Whether the times of messages that it hears mean something; False if the file says that its
            clock is not good, as that of sensors in LocaRDS does.
    """

    name: str
    latitude_deg: float
    longitude_deg: float
    altitude_m: float
    timing_sigma_ns: float | None = field(default=None, compare=False)
    altitude_known: bool = field(default=True, compare=False)
    timed: bool = field(default=True, compare=False)


def read(path: Path) -> tuple[Site, ...]:
    """The receivers of a file, in its order.

    Args:
        path: CSV with a header line (columns in any order, separated by commas, semicolons or tabs; `lat`,
            `lon`, `alt` and the like are understood, other columns are ignored; a line that
            begins with # is a comment), or GeoJSON (RFC 7946): a
            FeatureCollection of Points with `properties.name`. An altitude that is missing is 0. Of several
            columns for one field the one with its first name counts, or else they must agree.

    Raises:
        HeimdallError: The file cannot be read, a line is wrong, or a name stands twice.
    """
    text = text_file.read(path, _MAX_BYTES, "a CSV or GeoJSON file of receivers")
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


def _csv(path: Path, text: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    head = next(iter(text.splitlines()), "")
    separator = text_file.separator_of(head)
    lines = list(io.StringIO(text, newline=""))
    reader = csv.reader(lines, delimiter=separator)
    try:
        header = next(reader, [])
        _check_header(f"{path}, line 1", header)
        begin = reader.line_num
        for row in reader:
            raw, begin = lines[begin].lstrip(), reader.line_num
            if not any(cell.strip() for cell in row):
                continue
            place = f"{path}, line {reader.line_num}"
            if raw.startswith("#"):
                if raw[1:2].isdigit() and len(row) == len(header):
                    cause = f"{row[0].strip()[:40]} is a comment, or the name of a receiver"
                    raise HeimdallError(place, cause, 'Write "#1" in quotes for a name, "# 1" for a comment')
                continue
            if len(row) != len(header):
                # A decimal comma makes one number two values, and another place. Empty values at the end, of
                # columns that need none, hide nothing.
                raise HeimdallError(place, f"{len(row)} columns instead of {len(header)}", _REMEDY)
            yield (
                place,
                _fields(
                    place,
                    [
                        (
                            name,
                            value.replace(",", ".")
                            if separator == ";" and _field(name) in _RANGES
                            else value,
                        )
                        for name, value in zip(header, row, strict=False)
                    ],
                ),
            )
    except csv.Error as error:
        raise HeimdallError(f"{path}, line {reader.line_num}", f"no CSV ({error})", _REMEDY) from None


def _check_header(place: str, header: Sequence[str]) -> None:
    """Refuse a header without a needed column, or with the same one twice."""
    fields = [_field(name) for name in header]
    remedy = "Begin it with a line such as name,latitude,longitude,altitude_m"
    for needed in _REQUIRED:
        if needed not in fields:
            raise HeimdallError(place, f"no column for {needed.removesuffix('_deg')}", remedy)
    for name in header:
        twice = [other for other in header if _plain(other) == _plain(name)]
        if _field(name) and len(twice) > 1:
            raise HeimdallError(place, f"{len(twice)} columns {name.strip()}", remedy)


def _plain(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _field(name: str) -> str | None:
    """The field that a column's name means, if any."""
    return next((field for field, synonyms in _COLUMNS.items() if _plain(name) in synonyms), None)


def _fields(place: str, said: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """Each field that the columns say, by the one with the field's first name, or else by all that mean it.

    Raises:
        HeimdallError: Two of these differ.
    """
    found: dict[str, tuple[str, Any]] = {}
    for column, value in said:
        field = _field(column)
        if field is None or value is None or (isinstance(value, str) and not value.strip()):
            continue
        exact = _COLUMNS[field][0]
        if field not in found or (_plain(column) == exact != _plain(found[field][0])):
            found[field] = (column, value)
            continue
        other, former = found[field]
        if (_plain(column) == exact) == (_plain(other) == exact) and not _same(value, former):
            cause = f"{other} is {str(former)[:40]!r} and {column} is {str(value)[:40]!r}"
            raise HeimdallError(place, cause, f"Give one of them, or name the right one {_CALLED[field]}")
    return {field: value for field, (_, value) in found.items()}


def _same(one: object, other: object) -> bool:
    try:
        return float(str(one)) == float(str(other))
    except ValueError:
        return str(one).strip() == str(other).strip()


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
        said = list(properties.items()) if isinstance(properties, dict) else []
        if len(point) > 2:
            said.append((_THIRD, point[2]))
        yield place, _fields(place, said) | {"longitude_deg": point[0], "latitude_deg": point[1]}


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
        timed=str(row.get("timed", "")).strip().casefold() not in _NO,
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
