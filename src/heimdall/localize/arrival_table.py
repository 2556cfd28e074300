"""Tables of arrival times as events, in any of the forms that people have; the header tells which.

- messages: a row for each event with a column `measurements`, [[receiver, time in ns, level], ...], and the
  aircraft's own position if it says it: LocaRDS (Schaefer et al., Sensors 21 (2021) 5516);
- long: a row for each time, with a column of the receiver, and one of the event if there are several;
- wide: a row for each event, with a column of times for each receiver;
- pairs: a row for each difference of two receivers' times (TDOA).

Times are read as decimal numbers and keep all their digits: nanoseconds since 1970 have more than a float.
"""

from __future__ import annotations

import contextlib
import csv
import datetime as dt
import io
import json
import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from decimal import Decimal, InvalidOperation
from pathlib import Path

import numpy as np
import numpy.typing as npt
from scipy.special import chdtrc

from heimdall.core.errors import HeimdallError
from heimdall.formats import text_file
from heimdall.formats.gps_time import UNIX_EPOCH, Moment
from heimdall.formats.receivers_file import Site
from heimdall.multilateration.event import Event, Position
from heimdall.multilateration.solver import CONTRADICTION, USUAL_SIGMA_S
from heimdall.recordings import limits

_Float64 = npt.NDArray[np.float64]

ADS_B_HZ = 1090e6  # the frequency of the messages in LocaRDS
_COARSE_S = 50e-9
_PRESENT_S = Decimal(10) ** 9  # since 1970: of such seconds a floating-point number of 64 bits has
_FLOAT_STEP_S = 2.0**-22  # this step, and no more than 7 decimals
_MAX_BYTES = 1 << 28
_HEAD_BYTES = 1 << 12
_LEAST_TO_TELL = 2  # differences more than times, to tell which of them is wrong
_LEAST_RIGHT = 0.66  # of an event's differences: all of one receiver's but one may be wrong
_CONNECTS = 1e-9  # of a difference, that others say as well
_TELLING = 4  # times, whose last zeros are no chance
_DIGITS = 25  # before and after the point: nanoseconds since 1970 have 19
_UNITS = {
    "s": Decimal(1),
    "sec": Decimal(1),
    "seconds": Decimal(1),
    "ms": Decimal("1e-3"),
    "us": Decimal("1e-6"),
    "ns": Decimal("1e-9"),
    "nanoseconds": Decimal("1e-9"),
}
UNITS = ("s", "ms", "us", "ns")
_HERTZ = {"hz": 1.0, "khz": 1e3, "mhz": 1e6, "ghz": 1e9}
# Names of columns without all that is no letter or digit; the first that is there counts.
_EVENT = ("event", "eventid", "message", "messageid", "msg", "id", "burst", "pulse", "transmission")
_RECEIVER = (
    "receiver",
    "receiverid",
    "receivername",
    "station",
    "stationid",
    "stationname",
    "sensor",
    "sensorid",
    "sensorserial",
    "serial",
    "rx",
    "site",
    "name",
)
_TIME = (
    "toa",
    "arrivaltime",
    "arrival",
    "timeofarrival",
    "gpstime",
    "time",
    "timestamp",
    "utc",
    "rxtime",
    "t",
)
_SIGMA = ("sigma", "timesigma", "sigmatime", "timingsigma", "toasigma", "sigmatoa", "std", "uncertainty")
_LEVEL = ("leveldb", "level", "leveldbm", "rssi", "rssidb", "rssidbm", "powerdb", "powerdbm", "snrdb", "snr")
_FREQUENCY = ("frequency", "freq", "carrier")
_TRANSMITTER = ("transmitter", "aircraft", "icao24", "icao", "source", "emitter", "tx")
_EVENT_TIME = ("timeatserver", *_TIME)
_PAIR = (("receivera", "receiverb"), ("receiver1", "receiver2"), ("receiver", "reference"), ("rx1", "rx2"))
_TDOA = ("tdoa", "timedifference", "difference", "dt")
_TRUE_LATITUDE = ("truelatitude", "truthlatitude", "txlatitude", "truelat", "truthlat", "txlat")
_TRUE_LONGITUDE = ("truelongitude", "truthlongitude", "txlongitude", "truelon", "truthlon", "txlon")
_TRUE_ALTITUDE = ("truealtitude", "truthaltitude", "txaltitude", "truealt", "truthalt", "txalt")
_ALTITUDE = ("geoaltitude", "altitudeknown", "altitudeknownm")
_DATE = re.compile(r"\d{4}-\d\d-\d\d[T ]|\d{8}T")
_COLUMNS = "receiver and time_ns, with a column event if there are several; or one column NAME_ns a receiver"


@dataclass(frozen=True)
class Table:
    """What a file says.

    Attributes:
        events: In the file's order.
        remarks: What a person should know of the whole file: sentences without a full stop.
        origin_utc: From when `Event.time_s` counts; None if the times have no date.
    """

    events: tuple[Event, ...]
    remarks: tuple[str, ...] = ()
    origin_utc: dt.datetime | None = None


@dataclass(frozen=True)
class _Row:
    """A row of the file: the text of each cell, by the plain name of its column."""

    place: str
    cells: Mapping[str, str]
    comma: bool  # a decimal comma may stand in its numbers

    def text(self, names: Iterable[str]) -> str:
        """Of the first of these columns that is not empty, as a terminal can show it."""
        return _shown(next((self.cells[name] for name in names if self.cells.get(name)), ""))

    def degrees(self, names: Iterable[str], most: float) -> float:
        """An angle of the first of these columns that is not empty; NaN if there is none.

        Raises:
            HeimdallError: It is none from `-most` to `most`.
        """
        value = self.number(names)
        if abs(value) > most:
            raise HeimdallError(self.place, f"a place at {value:g} degrees", "Correct it, or leave it empty")
        return value

    def decimal(self, name: str) -> Decimal | None:
        """A number with all its digits; None if there is none, or if it is not finite."""
        return _decimal(self.place, name, self.cells.get(name, ""), self.comma)

    def number(self, names: Iterable[str]) -> float:
        """Of the first of these columns that is not empty; NaN if there is none."""
        name = next((name for name in names if self.cells.get(name)), "")
        value = self.decimal(name)
        return math.nan if value is None else float(value)


@dataclass
class _Heard:
    """What one receiver has of one event."""

    time_s: Decimal | None = None
    sigma_s: float = math.nan
    level_db: float = math.nan
    dated: bool = False  # the time was written as a date


@dataclass
class _Draft:
    """An event as its rows are read: what they say, and what is wrong with them."""

    name: str
    heard: dict[str, _Heard] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)
    twice: list[str] = field(default_factory=list)
    frequency_hz: float = math.nan
    altitude_m: float | None = None
    truth: Position | None = None
    time_s: Decimal | None = None
    dated: bool = False
    transmitter: str = ""

    def add(self, receiver: str | None, said: str, heard: _Heard) -> None:
        """What a receiver heard; None is one that nobody knows by what was said."""
        if receiver is None:
            self.unknown.append(said)
        elif receiver in self.heard:
            if heard.time_s is None or heard.time_s != self.heard[receiver].time_s:
                self.twice.append(receiver)
        else:
            self.heard[receiver] = heard


def is_table(path: Path) -> bool:
    """Whether a file is a table, and no recording, by its beginning; False of one that cannot be read."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError:
        return False
    if not text_file.looks_like(head):
        return False
    lines = [line for line in _text_of(head).splitlines() if line.strip() and not line.startswith("#")]
    return bool(lines) and lines[0].lstrip()[:1] not in "{[" and bool(re.search(r"[,;\t]", lines[0]))


def read(path: Path, sites: Sequence[Site], unit: str | None = None) -> Table:
    """Read a table of arrival times of any form.

    Args:
        path: CSV with a header line, separated by commas, tabs, or semicolons (then numbers may have decimal
            commas); lines that begin with # are comments.
        sites: All receivers that the table may name. Their `timing_sigma_ns` is the standard deviation of
            times for which the table says none.
        unit: One of `UNITS`, for columns whose name does not end with one.

    Raises:
        HeimdallError: It cannot be read, is of none of the forms, a cell is no number, or nothing of it can
            be used.
    """
    columns, rows = _rows(path)
    names = _Names(sites)
    form = _form(columns, names)
    if form is None:
        shown = ", ".join(list(columns.values())[:8])
        raise HeimdallError(
            f"{path}, line 1",
            f"no arrival times of known receivers in its columns ({shown})",
            f"Name them {_COLUMNS}",
        )
    drafts, remarks = form(path, columns, rows, names, unit)
    if not drafts:
        raise HeimdallError(
            str(path), "no arrival time in it", "Give a line for each time, or for each event"
        )
    if not any(draft.heard for draft in drafts):
        unknown = list(dict.fromkeys(name for draft in drafts for name in draft.unknown))
        shown = ", ".join(unknown[:5]) + (" and others" if len(unknown) > 5 else "")
        cause = f"none of its receivers ({shown}) is in the receivers file"
        raise HeimdallError(str(path), cause, "Give their places with --receivers, under the same names")
    timed = [draft for draft in drafts if draft.time_s is not None]
    first_s = min((draft.time_s for draft in timed if draft.time_s is not None), default=Decimal(0))
    origin_utc = None
    if timed and all(draft.dated for draft in timed):
        with contextlib.suppress(OverflowError):  # the year 10,000
            origin_utc = UNIX_EPOCH + dt.timedelta(microseconds=int(first_s * 10**6))
    unknown_all = {name for draft in drafts for name in draft.unknown}
    if unknown_all:
        shown = ", ".join(sorted(unknown_all)[:8]) + (" and others" if len(unknown_all) > 8 else "")
        remarks = (*remarks, f"receivers without a place, which are left out: {shown}")
    finest = _finest(drafts)
    return Table(tuple(_event(draft, names, first_s, finest) for draft in drafts), remarks, origin_utc)


class _Names:
    """The receivers by what a table may call them."""

    def __init__(self, sites: Sequence[Site]) -> None:
        self.site = {site.name: site for site in sites if (site.latitude_deg, site.longitude_deg) != (0, 0)}
        alike: dict[str, list[str]] = {}
        for name in self.site:
            alike.setdefault(name.casefold(), []).append(name)
        self._alike = {key: found[0] for key, found in alike.items() if len(found) == 1}

    def find(self, text: str) -> str | None:
        """The receiver of this name, or else the only one that differs by capitals; None if there is none."""
        text = " ".join(text.split())
        return text if text in self.site else self._alike.get(text.casefold())


_Columns = Mapping[str, str]
_Form = Callable[[Path, _Columns, Iterator[_Row], _Names, str | None], tuple[list[_Draft], tuple[str, ...]]]


def _form(columns: _Columns, names: _Names) -> _Form | None:
    """How to read a table with these columns."""
    if "measurements" in columns:
        return _messages
    if _pair(columns) and any(_with_unit(_TDOA, columns)):
        return _pairs
    if sum(_receiver_column(text, names) is not None for text in columns.values()) > 1:
        return _wide
    return _long if any(name in columns for name in _RECEIVER) and _with_unit(_TIME, columns)[0] else None


def _messages(
    path: Path, columns: _Columns, rows: Iterator[_Row], names: _Names, unit: str | None
) -> tuple[list[_Draft], tuple[str, ...]]:
    """A row for each message. Levels are left out: each type of sensor counts them in a way of its own."""
    factor = _UNITS[unit or "ns"]
    drafts = []
    for row in rows:
        draft = _draft(row, row.text(_EVENT) or f"{path.stem} {row.place.rpartition(' ')[2]}", columns)
        if math.isnan(draft.frequency_hz):
            draft.frequency_hz = ADS_B_HZ
        latitude_deg = row.degrees(("latitude", "lat"), 90)
        longitude_deg = row.degrees(("longitude", "lon"), 180)
        altitude_m = row.number(_ALTITUDE)
        draft.altitude_m = None if math.isnan(altitude_m) else altitude_m
        if draft.truth is None and not math.isnan(latitude_deg + longitude_deg):
            draft.truth = Position(latitude_deg, longitude_deg, draft.altitude_m)
        draft.time_s = _seconds(row, ("timeatserver",), Decimal(1))
        for receiver, time, *_ in _measurements(row):
            text = _shown(str(receiver))
            draft.add(names.find(text), text, _Heard(time * factor if time.is_finite() else None))
        drafts.append(draft)
    return drafts, ()


def _measurements(row: _Row) -> list[tuple[object, Decimal, object]]:
    remedy = "Write [[receiver, time in ns, level], ...]"
    try:
        found = json.loads(row.cells["measurements"] or "[]", parse_float=Decimal, parse_constant=Decimal)
        times = [(one[0], Decimal(str(one[1])), *one[2:]) for one in found]
        if not all(_is_usual(time) for _, time, *_ in times):
            raise ValueError
        return times
    except (ValueError, TypeError, IndexError, KeyError, ArithmeticError, RecursionError):
        raise HeimdallError(
            row.place, "its measurements are no list of receivers and times", remedy
        ) from None


def _long(
    path: Path, columns: _Columns, rows: Iterator[_Row], names: _Names, unit: str | None
) -> tuple[list[_Draft], tuple[str, ...]]:
    """A row for each receiver and event."""
    receiver = [name for name in _RECEIVER if name in columns]
    by_event = [name for name in _EVENT if name in columns and name not in receiver]
    column, named_unit = _with_unit(_TIME, columns)
    sigma = _with_unit(_SIGMA, columns)
    drafts: dict[str, _Draft] = {}
    rows_read = 0
    for row in rows:
        rows_read += 1
        said = row.text(receiver)
        if not said:
            raise HeimdallError(row.place, "no receiver", f"Fill the column {columns[receiver[0]]}")
        name = row.text(by_event) if by_event else path.stem
        draft = drafts.get(name)
        if draft is None:
            draft = drafts[name] = _draft(row, name, columns)
        factor = named_unit or unit
        time_s = _time(row, column, columns[column], factor)
        dated = bool(_DATE.match(row.cells[column]))
        heard = _Heard(time_s, _sigma(row, sigma, factor), row.number(_LEVEL), dated)
        draft.add(names.find(said), said, heard)
        if time_s is not None and (draft.time_s is None or time_s < draft.time_s):
            draft.time_s, draft.dated = time_s, dated
    found = list(drafts.values())
    if not by_event and found and len(found[0].twice) >= max(1, len(found[0].heard) - 1):
        cause = (
            f"{rows_read} rows of {len(found[0].heard)} receivers, and no column says which event each is of"
        )
        raise HeimdallError(
            str(path), cause, "Add a column event that has the same value for the times of one"
        )
    return found, (*_of_levels(columns), *_of_unit([named_unit], unit))


def _wide(
    path: Path, columns: _Columns, rows: Iterator[_Row], names: _Names, unit: str | None
) -> tuple[list[_Draft], tuple[str, ...]]:
    """A row for each event, a column for each receiver."""
    of_receiver = {plain: _receiver_column(text, names) for plain, text in columns.items()}
    times = {plain: found for plain, found in of_receiver.items() if found is not None}
    sigma = _with_unit(_SIGMA, columns)
    drafts = []
    for row in rows:
        draft = _draft(row, row.text(_EVENT) or f"{path.stem} {row.place.rpartition(' ')[2]}", columns)
        column, named_unit = _with_unit([name for name in _EVENT_TIME if name not in times], columns)
        draft.time_s = _time(row, column, columns[column], named_unit or "s") if column else None
        draft.dated = bool(column and _DATE.match(row.cells[column]))
        for plain, (receiver, suffix) in times.items():
            time_s = _time(row, plain, columns[plain], suffix or unit)
            if time_s is not None:
                heard = _Heard(time_s, _sigma(row, sigma, suffix or unit))
                heard.dated = bool(_DATE.match(row.cells[plain]))
                draft.add(receiver, receiver, heard)
        stamps = [one.time_s for one in draft.heard.values() if one.time_s is not None]
        if draft.time_s is None and stamps:
            draft.time_s = min(stamps)
        drafts.append(draft)
    known = {*_EVENT, *_TRANSMITTER, *_TRUE_LATITUDE, *_TRUE_LONGITUDE, *_TRUE_ALTITUDE, *_ALTITUDE}
    known |= {_with_unit(group, columns)[0] for group in (_EVENT_TIME, _SIGMA, _FREQUENCY)}
    known |= {
        f"{name}{end}"
        for name in (*_TRUE_LATITUDE, *_TRUE_LONGITUDE, *_TRUE_ALTITUDE)
        for end in ("deg", "m")
    }
    known |= {f"{name}{end}" for name in _FREQUENCY for end in _HERTZ}
    others = [text for plain, text in columns.items() if plain not in times and plain not in known]
    told = (f"columns that are of no known receiver: {', '.join(others[:8])}",) if others else ()
    return drafts, (*told, *_of_unit([suffix for _, suffix in times.values()], unit))


def _pairs(
    path: Path, columns: _Columns, rows: Iterator[_Row], names: _Names, unit: str | None
) -> tuple[list[_Draft], tuple[str, ...]]:
    """A row for each difference. Least squares give the times of which they are the differences.

    Differences to one reference give them exactly. Of more, one that contradicts the others is left out.
    """
    one, other = _pair(columns) or ("", "")
    column, named_unit = _with_unit(_TDOA, columns)
    sigma = _with_unit(_SIGMA, columns)
    found: dict[str, tuple[_Draft, list[_Difference]]] = {}
    for row in rows:
        name = row.text(_EVENT) or path.stem
        draft, said = found.setdefault(name, (_draft(row, name, columns), []))
        difference_s = _time(row, column, columns[column], named_unit or unit)
        pair = [names.find(row.cells[key]) for key in (one, other)]
        draft.unknown += [row.text([key]) for key, known in zip((one, other), pair, strict=True) if not known]
        if difference_s is None or pair[0] is None or pair[1] is None:
            continue
        said.append((pair[0], pair[1], float(difference_s), _sigma(row, sigma, named_unit or unit)))
    for draft, said in found.values():
        receivers = list(dict.fromkeys(name for a, b, *_ in said for name in (a, b)))
        if not receivers:
            continue
        solved = _of_differences(said, receivers)
        if solved is None:
            cause = f"the differences of event {draft.name} do not connect all of its receivers"
            raise HeimdallError(str(path), cause, "Give the differences of all receivers to one of them")
        times_s, factor = solved
        for time_s, sigma_s, receiver in zip(times_s, _shared(said, receivers), receivers, strict=True):
            # What is not stated stays so, unless the differences contradict it.
            least_s = USUAL_SIGMA_S if math.isnan(sigma_s) and factor > 1 else sigma_s
            draft.heard[receiver] = _Heard(Decimal(float(time_s)), factor * least_s)
    sign = f"a difference is the time of {columns[one]} less that of {columns[other]}"
    return [draft for draft, _ in found.values()], (*_of_unit([named_unit], unit), sign)


_Difference = tuple[str, str, float, float]  # of two receivers' times, seconds, and its standard deviation


def _of_differences(said: Sequence[_Difference], receivers: Sequence[str]) -> tuple[_Float64, float] | None:
    """Times by weighted least squares, and by how much more they scatter than is stated, or usual.

    As long as they contradict each other, and others can tell which of them is wrong, the one without which
    they would do so least is left out. If that takes more than a third of them, they scatter rather than are
    wrong: all are used, and all sigmas are wider. One without a sigma has the usual one, or the median of the
    others if that is larger.

    Returns:
        Times in seconds, shape (R,), and a factor of 1 or more; None if they do not connect the receivers.
    """
    sigma_s = np.array([row[3] for row in said])
    stated_s = sigma_s[np.isfinite(sigma_s)]
    usual_s = max(USUAL_SIGMA_S * math.sqrt(2), float(np.median(stated_s)) if len(stated_s) else 0.0)
    weight = 1 / np.nan_to_num(sigma_s, nan=usual_s)
    matrix = np.zeros((len(said), len(receivers)))
    for number, (a, b, *_) in enumerate(said):
        matrix[number, receivers.index(a)] += weight[number]
        matrix[number, receivers.index(b)] -= weight[number]
    if np.linalg.matrix_rank(matrix / weight[:, None]) < len(receivers) - 1:
        return None
    right = weight * np.array([row[2] for row in said])
    of_all: tuple[_Float64, float] | None = None
    while True:
        inverse = np.linalg.pinv(matrix)
        times_s = inverse @ right
        rest = right - matrix @ times_s
        square, freedom = float(rest @ rest), len(right) - len(receivers) + 1
        if freedom < 1 or float(chdtrc(freedom, square)) > CONTRADICTION:
            return times_s, 1.0
        of_all = of_all or (times_s, math.sqrt(square / freedom))
        if freedom < _LEAST_TO_TELL or len(right) - 1 < _LEAST_RIGHT * len(said):
            return of_all
        # By how much the sum of squares falls without each; a difference that alone connects one stays.
        spare = 1 - np.einsum("kr,rk->k", matrix, inverse)
        without = int(np.argmax(np.where(spare > _CONNECTS, rest**2 / np.maximum(spare, _CONNECTS), 0.0)))
        matrix, right = np.delete(matrix, without, axis=0), np.delete(right, without)


def _shared(said: Sequence[_Difference], receivers: Sequence[str]) -> list[float]:
    """Standard deviations of the times whose differences have the stated ones, seconds; NaN if none is.

    Half of the least variance that a receiver's differences have is its own at most; what another has more in
    a difference to it is the other's.
    """

    def least(values: Iterable[float]) -> float:
        return min((value for value in values if not math.isnan(value)), default=math.nan)

    most = {name: least(row[3] ** 2 / 2 for row in said if name in row[:2]) for name in receivers}
    return [
        math.sqrt(
            least(sigma_s**2 - most[b if a == name else a] for a, b, _, sigma_s in said if name in (a, b))
        )
        for name in receivers
    ]


def _draft(row: _Row, name: str, columns: _Columns) -> _Draft:
    """What a row says of its event beside the times."""
    draft = _Draft(name, transmitter=row.text(_TRANSMITTER))
    for base in _FREQUENCY:
        for unit, factor in _HERTZ.items():
            value = row.number((base + unit,))
            if math.isnan(draft.frequency_hz) and 0 < value * factor <= limits.MAX_FREQUENCY_HZ:
                draft.frequency_hz = value * factor
    latitude_deg = row.degrees([*_TRUE_LATITUDE, *(f"{name}deg" for name in _TRUE_LATITUDE)], 90)
    longitude_deg = row.degrees([*_TRUE_LONGITUDE, *(f"{name}deg" for name in _TRUE_LONGITUDE)], 180)
    altitude_m = row.number([*_TRUE_ALTITUDE, *(f"{name}m" for name in _TRUE_ALTITUDE)])
    if not math.isnan(latitude_deg + longitude_deg):
        draft.truth = Position(latitude_deg, longitude_deg, None if math.isnan(altitude_m) else altitude_m)
    known_m = row.number(_ALTITUDE)
    draft.altitude_m = None if math.isnan(known_m) else known_m
    return draft


def _finest(drafts: Iterable[_Draft]) -> int:
    """The power of ten to which all times of a file are, as far as zeros at their ends say it.

    Microseconds written as nanoseconds end in three zeros. A few times may do so by chance.
    """
    times_s = [one.time_s for draft in drafts for one in draft.heard.values() if one.time_s]
    if len(times_s) < _TELLING:
        return -_DIGITS
    return min(int(one.normalize().as_tuple().exponent) for one in times_s) // 3 * 3


def _step_s(times_s: Sequence[Decimal], finest: int) -> float:
    """To which the times of an event are written, seconds: the last digit of those that have most."""
    if not times_s:
        return 0.0
    return float(10.0 ** max(min(int(one.as_tuple().exponent) for one in times_s), finest))


def _with_step(sigma_s: float, step_s: float) -> float:
    """A standard deviation with that of a step of the digits, seconds.

    NaN, which nothing states, stays so that it is found from the residuals. But a step that is coarse against
    the usual standard deviation states one itself.
    """
    if step_s < _COARSE_S or (math.isnan(sigma_s) and step_s < USUAL_SIGMA_S):
        return sigma_s
    return math.hypot(USUAL_SIGMA_S if math.isnan(sigma_s) else sigma_s, step_s / math.sqrt(12))


def _event(draft: _Draft, names: _Names, first_s: Decimal, finest: int) -> Event:
    """The event of a draft. Its times count from the median one, so that a wrong one costs no digits."""
    receivers = list(draft.heard)
    stamps = sorted(one.time_s for one in draft.heard.values() if one.time_s is not None)
    origin_s = stamps[len(stamps) // 2] if stamps else Decimal(0)
    step_s = _step_s(stamps, finest)
    numbers = not any(one.dated for one in draft.heard.values())
    floating = numbers and step_s >= _COARSE_S and stamps[0] > _PRESENT_S
    if floating:
        step_s = max(step_s, _FLOAT_STEP_S)
    arrival_s, sigma_s, untold = [], [], False
    for name, heard in draft.heard.items():
        alone = name not in draft.twice and heard.time_s is not None and names.site[name].timed
        clock_ns = names.site[name].timing_sigma_ns
        own_s = math.nan if clock_ns is None else clock_ns * 1e-9
        arrival_s.append(float(heard.time_s - origin_s) if alone and heard.time_s is not None else math.nan)
        stated_s = own_s if math.isnan(heard.sigma_s) else heard.sigma_s
        sigma_s.append(_with_step(stated_s, step_s) if alone else math.nan)
        untold = untold or (alone and math.isnan(stated_s))
    remarks = [
        f"{name} has several times in one event, of which none is used" for name in dict.fromkeys(draft.twice)
    ]
    if step_s >= _COARSE_S and not np.isnan(sigma_s).all():
        usual = ""
        if untold:
            coarse = f", beside {USUAL_SIGMA_S * 1e9:.0f} ns where nothing states one"
            usual = coarse if step_s >= USUAL_SIGMA_S else " where one is stated"
        told = "; subtract the common second before a program writes them" if floating else ""
        remarks.append(
            f"the times are written in steps of {step_s * 1e9:.0f} ns, which their sigma has{usual}{told}"
        )
    remarks += [
        f"the receivers file says that the clock of {name} is not good, and its time is not used"
        for name in receivers
        if not names.site[name].timed
    ]
    unknown = list(dict.fromkeys(draft.unknown))
    if unknown:
        remarks.append(f"no place is given of {', '.join(unknown)}")
    event = Event.of_times(
        draft.name,
        receivers,
        [_position(names.site[name]) for name in receivers],
        arrival_s,
        sigma_s,
        frequency_hz=draft.frequency_hz,
        altitude_known_m=draft.altitude_m,
    )
    level_db = np.array([heard.level_db for heard in draft.heard.values()], np.float64)
    return replace(
        event,
        level_db=level_db,
        heard=event.heard
        | np.isfinite(level_db)
        | np.array([name in draft.twice for name in receivers], np.bool_),
        truth=draft.truth,
        time_s=math.nan if draft.time_s is None else float(draft.time_s - first_s),
        transmitter=draft.transmitter,
        remarks=tuple(remarks),
    )


def _position(site: Site) -> Position:
    return Position(site.latitude_deg, site.longitude_deg, site.altitude_m)


def _of_levels(columns: _Columns) -> tuple[str, ...]:
    level = next((name for name in _LEVEL if name in columns), "")
    if not level.startswith("snr"):
        return ()
    return (f"levels are those of {columns[level]}, as if all receivers had the same noise",)


def _of_unit(named: Iterable[str | None], given: str | None) -> tuple[str, ...]:
    """That the unit which a person gave is not used, where the columns of the times name another one."""
    others = sorted({one for one in named if one and given and _UNITS[one] != _UNITS[given]})
    if not others:
        return ()
    return (f"the unit {given} is not used where the name of a column ends with {', '.join(others)}",)


def _with_unit(bases: Iterable[str], columns: _Columns) -> tuple[str, str | None]:
    """The first column whose name is one of these with a unit, or else without one, and the unit."""
    bases = tuple(bases)
    for base in bases:
        for unit in _UNITS:
            if base + unit in columns:
                return base + unit, unit
    return next((base for base in bases if base in columns), ""), None


def _pair(columns: _Columns) -> tuple[str, str] | None:
    return next((pair for pair in _PAIR if all(name in columns for name in pair)), None)


def _receiver_column(text: str, names: _Names) -> tuple[str, str | None] | None:
    """The receiver whose times stand in a column, and their unit if its name ends with one."""
    text = text.strip()
    base, _, unit = text.rpartition("_")
    for start in ("", "t_", "toa_", "time_"):
        for name, suffix in ((base, unit.lower()), (text, None)):
            if (suffix is None or suffix in _UNITS) and name.lower().startswith(start):
                receiver = names.find(name[len(start) :])
                if receiver is not None:
                    return receiver, suffix
    return None


def _time(row: _Row, column: str, said: str, unit: str | None) -> Decimal | None:
    """Seconds of a cell: a number in a unit, or ISO 8601; None if it is empty or not finite.

    Raises:
        HeimdallError: It is neither, or nothing says its unit.
    """
    text = row.cells.get(column, "")
    if _DATE.match(text):
        try:
            moment = Moment.parse(text)
        except ValueError:
            remedy = "Write it as 2026-01-31T12:00:00.000000000Z"
            raise HeimdallError(row.place, f"{said} is {text[:40]!r}, which is no time", remedy) from None
        # Its exponent says how many digits were written, as that of a number does; at most whole seconds.
        digit = Decimal(1).scaleb(min(int(math.log10(moment.step_ns)), 9) - 9)
        return (Decimal(moment.ns) * _UNITS["ns"]).quantize(digit)
    value = _decimal(row.place, said, text, row.comma)
    if value is None:
        return None
    if unit is None:
        remedy = f"Name the column {said}_ns, {said}_us or {said}_s, or give --unit"
        raise HeimdallError(row.place, f"nothing says the unit of {said}", remedy)
    return value * _UNITS[unit]


def _seconds(row: _Row, names: Sequence[str], factor: Decimal) -> Decimal | None:
    name = next((name for name in names if row.cells.get(name)), None)
    value = None if name is None else row.decimal(name)
    return None if value is None else value * factor


def _sigma(row: _Row, column: tuple[str, str | None], unit: str | None) -> float:
    """Seconds of a standard deviation in the unit of its name, or else of the times; NaN if there is none."""
    name, own = column
    value = row.decimal(name) if name else None
    if value is None:
        return math.nan
    if value <= 0:
        raise HeimdallError(
            row.place, f"a standard deviation of {value}", "Give one above 0, or leave it empty"
        )
    return float(value * _UNITS[own or unit or "s"])


def _decimal(place: str, name: str, text: str, comma: bool) -> Decimal | None:
    if comma:
        text = text.replace(",", ".")
    if not text or text.casefold() in ("nan", "none", "null", "na", "n/a", "-", "inf", "-inf"):
        return None
    try:
        if "_" in text:
            raise InvalidOperation
        value = Decimal(text)
        if not _is_usual(value):
            raise InvalidOperation
        return value if value.is_finite() else None
    except InvalidOperation:
        raise HeimdallError(
            place, f"{name} is {text[:40]!r}, which is no number of use", "Correct it, or leave it empty"
        ) from None


def _is_usual(value: Decimal) -> bool:
    """Whether it is a number with which a computer counts, or none."""
    return not value.is_finite() or value == 0 or -_DIGITS < value.adjusted() < _DIGITS


def _shown(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[: limits.MAX_NAME])


def _rows(path: Path) -> tuple[dict[str, str], Iterator[_Row]]:
    """The columns of a table, as they are written by their plain names, and its rows."""
    text = text_file.read(path, _MAX_BYTES, "a table of fewer events")
    lines = [
        (number, line)
        for number, line in enumerate(io.StringIO(text, newline=""), 1)
        if not _is_comment(line)
    ]
    header = lines[0][1] if lines else ""
    separator = text_file.separator_of(header)
    try:
        cells = next(csv.reader([header], delimiter=separator), [])
    except csv.Error as error:
        raise _no_csv(path, error) from None
    plain = [_plain(cell) for cell in cells]
    twice = {cells[number].strip() for number, name in enumerate(plain) if name and plain.count(name) > 1}
    if twice:
        raise HeimdallError(
            f"{path}, line {lines[0][0]}", f"two columns {twice.pop()}", "Give each column a name"
        )
    columns = {name: cell.strip() for name, cell in zip(plain, cells, strict=True) if name}
    return columns, _read_rows(path, lines, plain, separator)


def _read_rows(
    path: Path, lines: Sequence[tuple[int, str]], plain: Sequence[str], separator: str
) -> Iterator[_Row]:
    reader = csv.reader((line for _, line in lines[1:]), delimiter=separator)
    try:
        for cells in reader:
            place = f"{path}, line {lines[reader.line_num][0]}"
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) != len(plain):
                remedy = "Correct the line; a list in a cell, or a name with a separator, needs quotes"
                raise HeimdallError(place, f"{len(cells)} columns instead of {len(plain)}", remedy)
            values = {name: cell.strip() for name, cell in zip(plain, cells, strict=True) if name}
            yield _Row(place, values, separator == ";")
    except csv.Error as error:
        raise _no_csv(path, error) from None


def _no_csv(path: Path, error: csv.Error) -> HeimdallError:
    return HeimdallError(str(path), f"no CSV ({error})", "Save it as CSV with a header line")


def _is_comment(line: str) -> bool:
    return not line.strip() or line.lstrip().startswith("#")


def _plain(name: str) -> str:
    """A column's name without all that is no letter or digit; receivers may differ in nothing else."""
    plain = "".join(letter for letter in name.lower() if letter.isalnum())
    return plain or name.strip()


def _text_of(head: bytes) -> str:
    return head.decode("utf-16" if head[:2] in (b"\xff\xfe", b"\xfe\xff") else "utf-8-sig", "replace")
