"""GPS time and UTC: both as integer nanoseconds, and the leap seconds between them."""

from __future__ import annotations

import datetime as dt
import re
from bisect import bisect_right
from dataclasses import dataclass

from heimdall.core.errors import HeimdallError

SECOND_NS = 1_000_000_000
WEEK_NS = 7 * 86_400 * SECOND_NS
GPS_EPOCH = dt.datetime(1980, 1, 6, tzinfo=dt.UTC)
UNIX_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)
# GPS time minus UTC, from the day on (IERS Bulletin C).
_LEAPS = (
    (dt.datetime(1999, 1, 1, tzinfo=dt.UTC), 13),
    (dt.datetime(2006, 1, 1, tzinfo=dt.UTC), 14),
    (dt.datetime(2009, 1, 1, tzinfo=dt.UTC), 15),
    (dt.datetime(2012, 7, 1, tzinfo=dt.UTC), 16),
    (dt.datetime(2015, 7, 1, tzinfo=dt.UTC), 17),
    (dt.datetime(2017, 1, 1, tzinfo=dt.UTC), 18),
)
EPOCHS_APART_NS = (GPS_EPOCH - UNIX_EPOCH) // dt.timedelta(seconds=1) * SECOND_NS
_MOMENT = re.compile(
    r"(?P<date>\d{4}-?\d\d-?\d\d)"
    r"(?:[Tt ](?P<time>\d\d(?::?\d\d(?::?\d\d(?:[.,](?P<fraction>\d+))?)?)?)"
    r"(?P<zone>[Zz]|[+-]\d\d(?::?\d\d)?)?)?",
    re.ASCII,
)
_STEPS_S = {0: 86_400, 2: 3600, 4: 60, 6: 1}  # by the digits of the time of day


@dataclass(frozen=True)
class Moment:
    """A time as somebody wrote it.

    Attributes:
        ns: Nanoseconds since 1970 in UTC, leap seconds not counted.
        step_ns: The last digit that was written: how exactly it is said.
    """

    ns: int
    step_ns: float

    @classmethod
    def parse(cls, text: str) -> Moment:
        """A time of ISO 8601; without a zone it is UTC.

        Raises:
            ValueError: It is none.
        """
        match = _MOMENT.fullmatch(text.strip())
        if not match:
            raise ValueError("no time of ISO 8601")
        digits = match["fraction"] or ""
        clock = re.sub("[.,].*", "", match["time"] or "").replace(":", "")
        zone = (match["zone"] or "Z").upper()
        text = f"{match['date'].replace('-', '')}T{clock or '00'}{zone.replace(':', '')}"
        whole = dt.datetime.fromisoformat(text)
        step_ns = 10 ** (9 - min(len(digits), 9)) if digits else _STEPS_S[len(clock)] * SECOND_NS
        return cls(utc_ns(whole) + int(digits.ljust(9, "0")[:9]), float(step_ns))

    @property
    def utc(self) -> dt.datetime:
        """To the microsecond below."""
        return _since(UNIX_EPOCH, self.ns)


def leap_seconds(moment: dt.datetime) -> int:
    """GPS time minus UTC, seconds.

    Raises:
        HeimdallError: `moment` lies before 1999.
    """
    number = bisect_right([since for since, _ in _LEAPS], moment)
    if number == 0:
        raise HeimdallError(
            str(moment), "no time of a recording: it is before 1999", "Correct the date of the recording"
        )
    return _LEAPS[number - 1][1]


def to_utc(gps_ns: int) -> dt.datetime:
    """UTC of a GPS time, to the microsecond below.

    Raises:
        HeimdallError: The time lies before 1999, or after the year 9999.
    """
    gps = _since(GPS_EPOCH, gps_ns)
    nearly = gps - dt.timedelta(seconds=leap_seconds(gps))  # in its last seconds before a leap, one early
    return gps - dt.timedelta(seconds=leap_seconds(nearly))


def is_plausible(since_1970_ns: int) -> bool:
    """Whether a recording can have begun at this time in UTC: GPS was there, and it is not in the future."""
    latest = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)  # clocks differ, and may follow a time zone
    return utc_ns(_LEAPS[0][0]) <= since_1970_ns < utc_ns(latest)


def utc_ns(moment: dt.datetime) -> int:
    """A time with a zone as nanoseconds since 1970 in UTC, leap seconds not counted."""
    return (moment - UNIX_EPOCH) // dt.timedelta(microseconds=1) * 1000


def gps_ns_of_utc(since_1970_ns: int) -> int:
    """GPS time, nanoseconds since 1980-01-06, of a time in UTC, nanoseconds since 1970.

    Raises:
        HeimdallError: The time lies before 1999.
    """
    moment = _since(UNIX_EPOCH, since_1970_ns)
    return since_1970_ns - EPOCHS_APART_NS + leap_seconds(moment) * SECOND_NS


def _since(epoch: dt.datetime, later_ns: int) -> dt.datetime:
    try:
        return epoch + dt.timedelta(microseconds=later_ns // 1000)
    except OverflowError:
        raise HeimdallError(
            f"{later_ns} ns since {epoch.year}", "no time of a recording", "Correct the date of the recording"
        ) from None
