"""Sets of real data with the truth, as benchmarks/real.py reads them: a folder each, with a `set.yaml`."""

from __future__ import annotations

import csv
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from pyproj import Geod

from heimdall.core import strict_yaml
from heimdall.core.errors import HeimdallError, unreadable
from heimdall.multilateration.event import Position

DESCRIPTION = "set.yaml"
KINDS = ("iq", "arrivals")
ROWS = "rows"
_KEYS = ("kind", "format", "files", "receivers", "frequency_mhz", "truth", "yardstick_m")
_REQUIRED = ("kind", "files", "receivers", "truth")
# All that the product is given of a row; the rest, the truth first of all, stays here.
_GIVEN = ("id", "timeAtServer", "aircraft", "measurements")
_ALTITUDE = "geoAltitude"
_TRUTH = ("latitude", "longitude", _ALTITUDE)
_COURSE_M = 400.0  # two seconds of an airliner: what its own places scatter by turns the course little
_COURSE_S = 120.0
_STRAIGHT_DEG = 2.0
_GEOD = Geod(ellps="WGS84")
_CSV_FIELD_BYTES = 1 << 20


@dataclass(frozen=True)
class RealSet:
    """One folder.

    Attributes:
        name: Of the folder.
        kind: Whether its files are recordings of one transmission, or tables of arrival times.
        files: What was recorded, in the order of their names.
        receivers: File of the receivers' places.
        frequency_mhz: Carrier, MHz; None if not said.
        truth: Where the transmitter was; None if each row of the tables says it.
        yardstick_m: Median error of the yardstick, metres; None if not said.
        remarks: What a reader should know of the folder, sentences without a full stop.
    """

    name: str
    kind: Literal["iq", "arrivals"]
    files: tuple[Path, ...]
    receivers: Path
    frequency_mhz: float | None
    truth: Position | None
    yardstick_m: float | None
    remarks: tuple[str, ...]


@dataclass(frozen=True)
class Row:
    """One message of a table of arrival times.

    Attributes:
        name: Unique in the set: what the product is given as the row's identifier.
        cells: All columns as the file has them.
        time_s: When it was, seconds from the set's own origin; NaN if not said.
        transmitter: Name of the transmitter; "" if not said.
        truth: Where that was; None if the row does not say it.
    """

    name: str
    cells: dict[str, str]
    time_s: float
    transmitter: str
    truth: Position | None


def folders(directory: Path) -> list[Path]:
    """The folders of a directory that describe themselves, by name; the directory itself if it does.

    Raises:
        HeimdallError: There is none.
    """
    if (directory / DESCRIPTION).is_file():
        return [directory]
    try:
        found = sorted(one for one in directory.iterdir() if (one / DESCRIPTION).is_file())
    except OSError as error:
        raise unreadable(directory, error) from None
    if not found:
        raise HeimdallError(
            str(directory), f"no folder of it has a {DESCRIPTION}", "Name the folder that holds the sets"
        )
    return found


def read(folder: Path) -> RealSet:
    """What a folder describes.

    Raises:
        HeimdallError: Its description is wrong, or a file that it names is not there.
    """
    path = folder / DESCRIPTION

    def wrong(cause: str) -> HeimdallError:
        return HeimdallError(str(path), cause, "docs/real.md says what it holds")

    try:
        document = strict_yaml.parse(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise wrong(str(error)) from None
    if not isinstance(document, dict):
        raise wrong("it is no mapping of keys to values")
    missing = [key for key in _REQUIRED if document.get(key) is None]
    if missing:
        raise wrong(f"missing: {', '.join(missing)}")
    if document["kind"] not in KINDS:
        raise wrong(f"kind is {document['kind']!r}, not one of {', '.join(KINDS)}")
    if document["kind"] == "iq" and document["truth"] == ROWS:
        raise wrong(f"truth is {ROWS!r}, and recordings have no rows")
    unknown = [str(key) for key in document if key not in _KEYS]
    receivers = folder / str(document["receivers"])
    if not receivers.is_file():
        raise wrong(f"receivers: there is no file {document['receivers']}")
    return RealSet(
        folder.resolve().name,
        document["kind"],
        _files(folder, document["files"], wrong),
        receivers,
        _number(document, "frequency_mhz", wrong),
        _truth(document["truth"], wrong),
        _number(document, "yardstick_m", wrong),
        (f"not understood in {DESCRIPTION} and ignored: {', '.join(unknown)}",) if unknown else (),
    )


def _files(folder: Path, patterns: Any, wrong: Callable[[str], HeimdallError]) -> tuple[Path, ...]:  # noqa: ANN401
    found: set[Path] = set()
    for pattern in patterns if isinstance(patterns, list) else [patterns]:
        try:
            matching = [path for path in folder.glob(str(pattern)) if path.is_file()]
        except (ValueError, NotImplementedError) as error:
            raise wrong(f"files: {error}") from None
        if not matching:
            raise wrong(f"files: no file is called {pattern}")
        found.update(matching)
    return tuple(sorted(found))


def _truth(given: Any, wrong: Callable[[str], HeimdallError]) -> Position | None:  # noqa: ANN401
    if given == ROWS:
        return None
    if not isinstance(given, dict):
        raise wrong(f"truth is neither {ROWS!r} nor latitude_deg and longitude_deg")
    latitude, longitude, altitude = (
        _number(given, key, wrong) for key in ("latitude_deg", "longitude_deg", "altitude_m")
    )
    if latitude is None or longitude is None or abs(latitude) > 90 or abs(longitude) > 360:
        raise wrong("truth has no latitude_deg and longitude_deg on earth")
    return Position(latitude, longitude, altitude)


def _number(given: dict[Any, Any], key: str, wrong: Callable[[str], HeimdallError]) -> float | None:
    value = given.get(key)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise wrong(f"{key} is no number: {value!r}")
    return float(value)


def rows(one: RealSet) -> list[Row]:
    """The messages of a set's tables, in the order of the files.

    Raises:
        HeimdallError: A table cannot be read, or lacks the column of the arrival times.
    """
    csv.field_size_limit(_CSV_FIELD_BYTES)
    found: list[Row] = []
    for path in one.files:
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                table = list(csv.DictReader(file))
        except OSError as error:
            raise unreadable(path, error) from None
        except (csv.Error, UnicodeDecodeError) as error:
            raise HeimdallError(str(path), f"it is no table: {error}", "Save it as CSV in UTF-8") from None
        if table and "measurements" not in table[0]:
            raise HeimdallError(
                str(path), "it has no column measurements", "Its cells are [[receiver, ns, level], ...]"
            )
        for cells in table:
            place = [_float(cells.get(key)) for key in _TRUTH]
            known = all(math.isfinite(value) for value in place[:2])
            altitude = place[2] if math.isfinite(place[2]) else None
            found.append(
                Row(
                    str(len(found) + 1),
                    {key: value or "" for key, value in cells.items() if isinstance(key, str)},
                    _float(cells.get("timeAtServer")),
                    cells.get("aircraft") or "",
                    one.truth or (Position(place[0], place[1], altitude) if known else None),
                )
            )
    return found


def _float(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def write_table(
    chosen: Sequence[Row], path: Path, frequency_mhz: float | None, *, altitude: bool, truth: bool = False
) -> None:
    """A table of some rows, which has nothing but what is to be given to the product.

    Args:
        chosen: The rows.
        path: Where to write it.
        frequency_mhz: Carrier, MHz; None if not known.
        altitude: Whether it has the altitude of the transmitter.
        truth: Whether it has the whole place of the transmitter: only to find the receivers' own errors.
    """
    columns = [*_GIVEN, *(_TRUTH if truth else (_ALTITUDE,) if altitude else ())]
    carrier = {} if frequency_mhz is None else {"frequency_mhz": str(frequency_mhz)}
    with path.open("w", encoding="utf-8", newline="") as file:
        table = csv.writer(file)
        table.writerow([*columns, *carrier])
        for row in chosen:
            cells = [row.cells.get(column, "") for column in columns[1:]]
            table.writerow([row.name, *cells, *carrier.values()])


def halves(given: Sequence[Row]) -> tuple[list[Row], list[Row]]:
    """The earlier and the later half of the rows; a row without a time stays where it stands."""
    ordered = sorted(given, key=lambda row: row.time_s if math.isfinite(row.time_s) else math.inf)
    middle = len(ordered) // 2
    return ordered[:middle], ordered[middle:]


@dataclass(frozen=True)
class Course:
    """How a transmitter moves at one row, by the nearest other row of it in time; the truth alone says it.

    Attributes:
        azimuth_deg: Where it flies.
        speed_m_s: How fast.
        is_straight: Whether the nearest row on the other side of time says the same course to 2 degrees.
    """

    azimuth_deg: float
    speed_m_s: float
    is_straight: bool


def courses(given: Sequence[Row]) -> list[Course | None]:
    """Of each row; None without another row near in time, or if that is less than `_COURSE_M` away."""
    of_transmitter: dict[str, list[Row]] = {}
    for row in given:
        if row.transmitter and row.truth is not None and math.isfinite(row.time_s):
            of_transmitter.setdefault(row.transmitter, []).append(row)
    return [_course(row, of_transmitter.get(row.transmitter, ())) for row in given]


def _course(row: Row, others: Sequence[Row]) -> Course | None:
    """Of the distances in time, before and after the row, with azimuths and speeds."""
    found: dict[bool, list[tuple[float, float, float]]] = {False: [], True: []}
    for other in others:
        later_s = row.time_s - other.time_s
        if not 0 < abs(later_s) <= _COURSE_S or row.truth is None or other.truth is None:
            continue
        ends = [other.truth, row.truth] if later_s > 0 else [row.truth, other.truth]
        there, back, length_m = _GEOD.inv(
            *(value for end in ends for value in (end.longitude_deg, end.latitude_deg))
        )
        if length_m > _COURSE_M:
            azimuth_deg = back + 180 if later_s > 0 else there
            found[later_s > 0].append((abs(later_s), azimuth_deg, length_m / abs(later_s)))
    nearest = sorted(min(side) for side in found.values() if side)
    if not nearest:
        return None
    turn_deg = abs((nearest[-1][1] - nearest[0][1] + 180) % 360 - 180)
    return Course(*nearest[0][1:], len(nearest) == 2 and turn_deg < _STRAIGHT_DEG)
