"""`heimdall ingest`: real recordings into the database and the bucket."""

from __future__ import annotations

import datetime as dt
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heimdall.commands import options
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall.ingest.ingest import Site

_TIME_IN_NAME = re.compile(r"(?<!\d)(\d{8}T\d{6})Z")


class _SiteType(click.ParamType[Any]):
    name = "NAME,LAT,LON,ALT"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> Site:
        """`DF0KL,53.665,7.283,5` -> receiver; degrees and metres."""
        parts = str(value).split(",")
        try:
            name, latitude, longitude, altitude = parts[0].strip(), *map(float, parts[1:])
        except ValueError:
            self.fail(f"{value!r} is not NAME,LATITUDE,LONGITUDE,ALTITUDE", param, ctx)
        if not name or not (
            -90 <= latitude <= 90 and -180 <= longitude <= 180 and -500 <= altitude <= 20_000
        ):
            self.fail(f"{value!r}: the latitude, longitude or altitude is out of range", param, ctx)
        from heimdall.ingest.ingest import Site

        return Site(name, latitude, longitude, altitude)


class _MomentType(click.ParamType[Any]):
    name = "TIME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> dt.datetime:
        """ISO 8601 -> time in UTC; without a zone it is UTC."""
        try:
            moment = dt.datetime.fromisoformat(str(value))
        except ValueError:
            self.fail(f"{value!r} is not an ISO 8601 time such as 2026-02-01T00:00:00Z", param, ctx)
        return moment.replace(tzinfo=moment.tzinfo or dt.UTC).astimezone(dt.UTC)


@click.group(epilog="Example: heimdall ingest kiwi --help")
def ingest() -> None:
    """Write real recordings to the database and the bucket."""


@ingest.command(
    "kiwi",
    epilog="""\b
Example: heimdall ingest kiwi 20171127T104156Z_77500_*_iq.wav \\
           --latitude 50.0152 --longitude 9.0112 --frequency-mhz 0.0775 \\
           --receiver DF0KL,53.665337,7.282766,5 \\
           --receiver F1JEK,45.77929,0.614638,200 \\
           --receiver HB9RYZ,47.1721,8.42683,450 \\
           --source dcf77 --modulation am \\
           --approve --approved-at 2026-02-01T00:00:00Z
""",
)
@click.argument("files", nargs=-1, required=True, type=click.Path(path_type=Path), metavar="FILE.wav...")
@click.option(
    "--latitude", required=True, type=click.FloatRange(-90, 90), help="Latitude of the transmitter, degrees."
)
@click.option(
    "--longitude",
    required=True,
    type=click.FloatRange(-180, 180),
    help="Longitude of the transmitter, degrees.",
)
@click.option(
    "--frequency-mhz",
    required=True,
    type=options.FrequencyMhz(),
    help="Frequency to which the receivers were tuned, MHz.",
)
@click.option(
    "--receiver",
    "sites",
    required=True,
    multiple=True,
    type=_SiteType(),
    help="Name of a receiver, its latitude and longitude in degrees, and its altitude in metres. The name "
    "stands between underscores in the name of its file. Give this option once for each receiver.",
)
@click.option("--source", "source_id", help="Name of the transmitter, if it is known.")
@click.option("--modulation", help="Modulation of the known transmitter.")
@click.option(
    "--date",
    type=_MomentType(),
    help="Time in UTC, at most half a week from the recordings. It is needed if the file names have no time.",
)
@click.option(
    "--approve/--no-approve", default=False, show_default=True, help="Approve the recordings for training."
)
@click.option(
    "--approved-at", type=_MomentType(), help="Time of the approval, if --approve is given.  [default: now]"
)
def kiwi_files(
    *,
    files: tuple[Path, ...],
    latitude: float,
    longitude: float,
    frequency_mhz: float,
    sites: tuple[Site, ...],
    source_id: str | None,
    modulation: str | None,
    date: dt.datetime | None,
    approve: bool,
    approved_at: dt.datetime | None,
) -> None:
    """Write recordings of KiwiSDR receivers.

    The files are WAV files of IQ samples with GPS time stamps. All of them are recordings of one
    transmission, one file for each receiver. The command cuts them into sessions of one second, at the whole
    GPS seconds that the files of at least two receivers cover. The sample rate and the start come from a
    robust fit of the time stamps. A second run adds nothing. A snapshot includes the recordings if they are
    approved and `snapshot.as_of` is not before the approval.
    """
    if modulation and not source_id:
        raise click.UsageError("--modulation describes a known transmitter: give --source, too")
    if approved_at and not approve:
        raise click.UsageError("--approved-at is the time of an approval: give --approve, too")
    if approve and not approved_at:
        # The one clock reading: an approval happens now. A row of the database, not an artifact.
        approved_at = dt.datetime.now(dt.UTC).replace(microsecond=0)
    assigned = _assigned(files, sites)
    dates = {file: date or _date_in_name(file) for file in assigned}
    from heimdall.formats import kiwi
    from heimdall.ingest import ingest as ingestion
    from heimdall.storage import endpoints

    services = endpoints.resolve()
    recordings = {}
    for file, site in assigned.items():
        recording = kiwi.read(file, dates[file])
        recordings[site] = recording
        click.echo(
            f"{site.name}: {len(recording.samples) / recording.sample_rate_hz:.1f} s at "
            f"{recording.sample_rate_hz:.4f} Hz from {kiwi.to_utc(recording.start_gps_ns).isoformat()}, "
            f"time stamps scatter by {recording.timing_sigma_ns:.0f} ns "
            f"({recording.stamps} used, {recording.rejected} rejected)"
        )
    sessions = ingestion.cut_sessions(recordings, frequency_mhz)
    if not sessions:
        raise HeimdallError(
            "sessions", "no two files cover the same GPS second", "Give recordings of the same time"
        )
    transmission = ingestion.Transmission(latitude, longitude, frequency_mhz, source_id, modulation)
    report = ingestion.store(sessions, transmission, approved_at, services)
    heard = Counter(len(session.parts) for session in sessions)
    click.echo(
        f"{len(sessions)} sessions of 1 s ("
        + ", ".join(f"{count} with {receivers} receivers" for receivers, count in sorted(heard.items()))
        + f"): {report.recordings} recordings, {report.new} new; receivers "
        + ", ".join(f"{name} {number}" for name, number in report.receivers.items())
    )
    if report.new and approved_at:
        moment = approved_at.isoformat().replace("+00:00", "Z")
        click.echo(f"The recordings are approved at {moment}.")
        click.echo(f'A snapshot includes them if snapshot.as_of in params.yaml is "{moment}" or later.')
    elif report.new:
        click.echo("The recordings are not approved. A snapshot includes them only after approval.")


def _assigned(files: Sequence[Path], sites: Sequence[Site]) -> dict[Path, Site]:
    """The receiver of each file, by the name in the file's name; each receiver at most once."""
    by_name = {site.name: site for site in sites}
    if len(by_name) != len(sites):
        raise click.UsageError("two of the --receiver options have the same name")
    assigned: dict[Path, Site] = {}
    for file in files:
        names = [name for name in file.stem.split("_") if name in by_name]
        if len(names) != 1:
            raise HeimdallError(
                str(file),
                "its name does not have the name of exactly one receiver between underscores",
                "Rename the file, or give its receiver with --receiver",
            )
        if by_name[names[0]] in assigned.values():
            raise HeimdallError(
                str(file),
                f"it is a second file of receiver {names[0]}",
                "Give one file for each receiver at a time",
            )
        assigned[file] = by_name[names[0]]
    return assigned


def _date_in_name(file: Path) -> dt.datetime:
    found = _TIME_IN_NAME.search(file.name)
    try:
        return dt.datetime.strptime(found[1] if found else "", "%Y%m%dT%H%M%S").replace(tzinfo=dt.UTC)
    except ValueError:
        cause = "its name does not say when it was recorded"
        raise HeimdallError(str(file), cause, "Give --date, such as --date 2017-11-27") from None
