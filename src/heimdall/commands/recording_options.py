"""Options of the commands that read recordings of other programs."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heimdall.commands import options, place

if TYPE_CHECKING:
    from heimdall.formats.gps_time import Moment
    from heimdall.formats.receivers_file import Site
    from heimdall.localize.locating import Given
    from heimdall.multilateration.rays import Propagation

FORMATS = ("cu8", "cs8", "cu16", "cs16", "cs32", "cf32", "cf64")  # keys of formats.plain.RAW_TYPES

_ZONED = re.compile(r"[Zz]\s*\Z|[Tt ][\d:.,]+[+-]\d\d")


class SiteType(click.ParamType[Any]):
    """A receiver in one word."""

    name = "NAME,LAT,LON,ALT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Site:
        """`DF0KL,53.665,7.283,5` -> receiver; degrees and metres."""
        parts = str(value).split(",")
        try:
            name, latitude, longitude, altitude = parts[0].strip(), *map(float, parts[1:])
        except ValueError:
            self.fail(f"{value!r} is not NAME,LATITUDE,LONGITUDE,ALTITUDE", param, ctx)
        from heimdall.formats.receivers_file import Site
        from heimdall.recordings import limits

        name = limits.receiver_name(name) or ""
        if not name:
            self.fail(f"{value!r}: the name is empty, too long, or no text", param, ctx)
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180 and -500 <= altitude <= 20_000):
            self.fail(f"{value!r}: the latitude, longitude or altitude is out of range", param, ctx)
        return Site(name, latitude, longitude, altitude)


class LatitudeLongitudeType(click.ParamType[tuple[float, float]]):
    """A place in one word."""

    name = "LAT,LON"

    def convert(
        self, value: object, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[float, float]:
        """`50.0152,9.0112` -> degrees."""
        try:
            latitude, longitude = map(float, str(value).split(","))
        except ValueError:
            self.fail(f"{value!r} is not LATITUDE,LONGITUDE in degrees", param, ctx)
        if not (-90 <= latitude <= 90 and -180 <= longitude <= 180):
            self.fail(f"{value!r}: the latitude or longitude is out of range", param, ctx)
        return latitude, longitude


class NameType(click.ParamType[str]):
    """What a person calls something."""

    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A name in one line that a person can read."""
        from heimdall.recordings import limits

        name = limits.receiver_name(str(value))
        if name is None:
            self.fail(f"{value!r} is empty, too long, or no text", param, ctx)
        return name


class AltitudeType(click.ParamType[str]):
    """A transmitter's altitude."""

    name = "METRES|unknown|FILE"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A number and `unknown` as they are; a file's name from the folder where it was typed."""
        text = place.as_typed(str(value))
        return text if Path(text).exists() else str(value)


class MomentType(click.ParamType[Any]):
    """A time in UTC."""

    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Moment:
        """ISO 8601 -> time in UTC, and how exactly it is written; without a zone it is UTC."""
        from heimdall.formats.gps_time import Moment

        try:
            moment = Moment.parse(str(value))
        except (ValueError, OverflowError):
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-02-01T00:00:00Z", param, ctx)
        if param is not None and not _ZONED.search(str(value)):
            click.echo(f"{param.opts[0]} {value} has no time zone, and counts as UTC.", err=True)
        return moment


frequency_mhz = click.option(
    "--frequency-mhz",
    type=options.FrequencyMhz(),
    help="Frequency to which the receivers were tuned, MHz.  [default: as the files say]",
)
receivers = click.option(
    "--receivers",
    "receivers_path",
    type=click.Path(path_type=Path),
    help="CSV file of receivers with the columns name, latitude, longitude, altitude_m and, where GPS "
    "disciplines the clock, timing_sigma_ns; or GeoJSON.",
)
receiver = click.option(
    "--receiver",
    "sites",
    multiple=True,
    type=SiteType(),
    help="Name of a receiver, its latitude and longitude in degrees, and its altitude in metres. The name "
    "stands between separators in the name of its file. Give this option once for each receiver.",
)
altitude = click.option(
    "--altitude",
    type=AltitudeType(),
    metavar="METRES|unknown|FILE",
    help="Altitude of the transmitter above the ellipsoid in metres, `unknown` if it may fly anywhere, or a "
    "file or folder of the terrain on which it stands (.hgt, .asc).  [default: its message's, or the ground]",
)
propagation = click.option(
    "--propagation",
    type=click.Choice(("line-of-sight", "ground-wave", "ground-and-sky-wave", "sky-wave")),
    help="How the signal travels.  [default: as is usual at the frequency]",
)
unit = click.option(
    "--unit",
    type=click.Choice(("s", "ms", "us", "ns")),
    help="Unit of the times of a table.  [default: as the names of its columns end]",
)
sample_rate = click.option(
    "--sample-rate",
    "sample_rate_hz",
    type=options.FiniteRange(min=0, min_open=True),
    help="Sample rate in Hz of raw and .npy files.  [default: as their name, or a .json beside them, says]",
)
sample_format = click.option(
    "--sample-format",
    type=click.Choice(FORMATS),
    help="How a raw file stores samples.  [default: as its name ends]",
)
date = click.option(
    "--date",
    type=MomentType(),
    help="Time in UTC, at most half a week from the recordings, for KiwiSDR files whose names have no time.",
)
start = click.option(
    "--start",
    type=MomentType(),
    help="Time of the first sample in UTC, for files that do not say it. It is as exact as its last digit.",
)


def refuse_same_names(sites: Sequence[Site]) -> None:
    """Refuse two receivers of one name.

    Raises:
        click.UsageError: There are two.
    """
    if len({site.name for site in sites}) != len(sites):
        raise click.UsageError("two of the --receiver options have the same name")


@dataclass(frozen=True, kw_only=True)
class Said:
    """What the options of `of_located_files` say, by the names of their parameters."""

    receivers_path: Path | None
    sites: tuple[Site, ...]
    frequency_mhz: float | None
    altitude: str | None
    propagation: Propagation | None
    sample_rate_hz: float | None
    sample_format: str | None
    date: Moment | None
    start: Moment | None
    unit: str | None

    def given(self, *, model: Path | None = None, errors: Path | None = None) -> Given:
        """The same as `localize.locating` takes it.

        Args:
            model: File of a trained model, whose answer is to stand beside.
            errors: File of the receivers' own errors, to take off.

        Raises:
            click.UsageError: Two of the receivers have one name.
            HeimdallError: A file cannot be read.
        """
        refuse_same_names(self.sites)
        from heimdall.formats import receivers_file
        from heimdall.formats.reader import Hints
        from heimdall.localize import locating, receiver_errors_file
        from heimdall.multilateration.solver import Assumptions

        date = None if self.date is None else self.date.utc
        return locating.Given(
            named=self.sites,
            listed=() if self.receivers_path is None else receivers_file.read(self.receivers_path),
            hints=Hints(date, self.start, self.sample_rate_hz, self.sample_format),
            frequency_hz=None if self.frequency_mhz is None else self.frequency_mhz * 1e6,
            unit=self.unit,
            assumptions=Assumptions(locating.altitude_of(self.altitude), self.propagation),
            model=model,
            errors=None if errors is None else receiver_errors_file.read(errors),
        )


def of_located_files(command: Callable[..., None]) -> Callable[..., None]:
    """The options of commands that locate files; the command gets what they say as `said`."""

    @functools.wraps(command)
    def with_said(*args: Any, **values: Any) -> None:  # noqa: ANN401 - a command's own
        said = Said(**{one.name: values.pop(one.name) for one in fields(Said)})
        command(*args, said=said, **values)

    of_each = (
        receivers,
        receiver,
        frequency_mhz,
        altitude,
        propagation,
        sample_rate,
        sample_format,
        date,
        start,
        unit,
    )
    # As decorators stand one above the other: the first is applied last.
    return functools.reduce(lambda wrapped, option: option(wrapped), reversed(of_each), with_said)
