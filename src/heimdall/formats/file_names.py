"""What recording programs write into the names of their files: time, frequency, rate, the receiver."""

from __future__ import annotations

import datetime as dt
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from heimdall.recordings import limits

# 20171127T104156Z (KiwiSDR), 20210101_120000 (gqrx, SDR#, HDSDR, SDRuno), 2021-01-01T12-00-00 and the like.
_TIME = re.compile(
    r"(?<!\d)(\d{4})-?(\d\d)-?(\d\d)[T_ -]?(\d\d)[-_:.]?(\d\d)[-_:.]?(\d\d)(?:[.,](\d{1,9}))?"
    r"(Z(?!\d)|[+-](?:0\d|1[0-4]):?(?:00|15|30|45)(?![\dA-Za-z])|(?!\d))"  # an offset, or none
)
_KIWI = re.compile(r"\d{8}T\d{6}Z_(\d+)(?:_(?P<station>.+?))?_iq")
_GQRX = re.compile(r"gqrx_\d{8}_\d{6}_(?P<frequency>\d+)_(?P<rate>\d+)_fc")
_QUANTITY = re.compile(r"(?<![^_ ,@-])(\d+(?:\.\d+)?)(Hz|kHz|MHz|GHz|[kKMG])?(sps|Sps|SPS|S/s)?(?![^_ ,@-])")
_FACTORS = {"": 1.0, "h": 1.0, "k": 1e3, "m": 1e6, "g": 1e9}
SAME_START_NS = 5_000_000_000  # a file has its name some buffers before or after its first sample
_SEPARATOR = r"[_\-.,@ ()\[\]]"


@dataclass(frozen=True)
class Named:
    """What a file's name says; None where it says nothing, or not which of two things.

    Attributes:
        start: UTC, to the second or better.
        frequency_hz: Centre frequency.
        sample_rate_hz: Sample rate.
        station: Name of the receiver, where the program writes it at a fixed place.
        in_utc: Whether the name, or the custom of the program, says that it is in UTC or how far from it.
        offset: How far the time in the name is ahead of UTC, as it stands there; empty if nothing does.
    """

    start: dt.datetime | None = None
    frequency_hz: float | None = None
    sample_rate_hz: float | None = None
    station: str | None = None
    in_utc: bool = True
    offset: str = ""

    @property
    def remarks(self) -> tuple[str, ...]:
        """What a person should know who takes the start from the name."""
        if self.offset:  # it may be a running number
            return (f"{self.offset} in its name counts as how far its time is ahead of UTC",)
        return () if self.in_utc else ("the time in its name has no zone, and counts as UTC",)


def parse(path: Path) -> Named:
    """What the name of a file says."""
    stem = path.stem
    start, zone = _time(stem)
    if match := _KIWI.fullmatch(stem):
        return Named(start, _frequency(float(match[1])), None, match["station"])
    if match := _GQRX.fullmatch(stem):
        return Named(start, _frequency(float(match["frequency"])), float(match["rate"]))
    frequencies, rates, either = _quantities(_TIME.sub("", stem))
    # Two numbers with the same unit: the frequency comes first by custom, and is far above the rate.
    if not frequencies and not rates and len(either) == 2 and either[0] > 10 * either[1]:
        frequencies, rates = [either[0]], [either[1]]
    return Named(
        start,
        _frequency(frequencies[0]) if len(frequencies) == 1 else None,
        rates[0] if len(rates) == 1 else None,
        in_utc=start is None or bool(zone),
        offset=zone.strip("Zz"),
    )


def station_of(path: Path, names: Collection[str]) -> str | None:
    """The longest of these names that stands between separators in the name of a file.

    Args:
        path: The file.
        names: Names of receivers, which may have underscores, hyphens and spaces themselves.

    Returns:
        None if none of them stands there, or two of the same length do.
    """
    stem = composed(path.stem)
    found = [
        name
        for name in names
        if re.search(rf"(?:^|{_SEPARATOR}){re.escape(composed(name))}(?:$|{_SEPARATOR})", stem, re.IGNORECASE)
    ]
    longest = [name for name in found if len(name) == max(map(len, found))]
    exact = [name for name in longest if composed(name) in stem]
    longest = exact or longest
    return longest[0] if len(longest) == 1 else None


def _frequency(hertz: float) -> float | None:
    return hertz if 0 < hertz <= limits.MAX_FREQUENCY_HZ else None


def composed(name: str) -> str:
    """The same letters as single characters: macOS writes an accent as one of its own into a file's name."""
    return unicodedata.normalize("NFC", name)


def _time(stem: str) -> tuple[dt.datetime | None, str]:
    """The time in a name in UTC, and the zone that stands at it."""
    for found in _TIME.finditer(stem):
        *whole, fraction, zone = found.groups()
        microsecond = int((fraction or "0").ljust(6, "0")[:6])
        try:
            start = dt.datetime(*map(int, whole), microsecond, tzinfo=dt.UTC)  # type: ignore[misc, arg-type]
            return start - _offset(zone), zone
        except (ValueError, OverflowError):  # other numbers, such as a frequency and a rate
            continue
    return None, ""


def _offset(zone: str) -> dt.timedelta:
    """How far local time is ahead of UTC."""
    if zone in {"", "Z"}:
        return dt.timedelta()
    ahead = dt.timedelta(hours=int(zone[1:3]), minutes=int(zone[-2:]))
    return -ahead if zone[0] == "-" else ahead


def _quantities(stem: str) -> tuple[list[float], list[float], list[float]]:
    """Frequencies (in Hz), rates (in samples a second), and numbers that may be either."""
    frequencies: list[float] = []
    rates: list[float] = []
    either: list[float] = []
    for number, unit, a_second in _QUANTITY.findall(stem):
        if not unit and not a_second:
            continue  # a mere number may be anything
        value = float(number) * _FACTORS[unit[:1].lower()]
        (rates if a_second else frequencies if unit.endswith("Hz") else either).append(value)
    return frequencies, rates, either
