"""`heimdall ingest`: real recordings into the database and the bucket."""

from __future__ import annotations

import datetime as dt
import math
import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from heimdall.commands import options, place
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall.formats.gps_time import Moment
    from heimdall.formats.reader import Hints
    from heimdall.formats.receivers_file import Site
    from heimdall.formats.recording import TimedRecording
    from heimdall.ingest.ingest import Ingested, Session, Stretch


FORMATS = ("cu8", "cs8", "cu16", "cs16", "cs32", "cf32", "cf64")  # keys of formats.plain.RAW_TYPES


_ZONED = re.compile(r"[Zz]\s*\Z|[Tt ][\d:.,]+[+-]\d\d")


class _SiteType(click.ParamType[Any]):
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


class _NameType(click.ParamType[str]):
    name = "NAME"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """A name in one line that a person can read."""
        from heimdall.recordings import limits

        name = limits.receiver_name(str(value))
        if name is None:
            self.fail(f"{value!r} is empty, too long, or no text", param, ctx)
        return name


class _MomentType(click.ParamType[Any]):
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


@click.command(
    epilog="""\b
Example: heimdall ingest 20171127T104156Z_77500_*_iq.wav --receivers receivers.csv \\
           --latitude 50.0152 --longitude 9.0112 --source dcf77 --modulation am \\
           --approve --approved-at 2026-02-01T00:00:00Z
Example: heimdall ingest north.sigmf-meta south.sigmf --receivers receivers.geojson
Example: heimdall ingest north_7100kHz.wav south_7100kHz.wav \\
           --receivers receivers.csv --start 2026-02-01T12:00:00Z
Example: heimdall ingest north.npy south.npy --receivers receivers.csv \\
           --sample-rate 192000 --frequency-mhz 145.5 --start 2026-02-01T12:00:00Z
Example: heimdall ingest NORTH=a.bin SOUTH=b.bin --receivers receivers.csv \\
           --sample-format cu8 --sample-rate 250000 --frequency-mhz 433.92 \\
           --start 2026-02-01T12:00:00Z
"""
)
@click.argument("files", nargs=-1, required=True, type=place.NamedFile(), metavar="[kiwi] [NAME=]FILE...")
@click.option("--latitude", type=options.FiniteRange(-90, 90), help="Latitude of the transmitter, degrees.")
@click.option(
    "--longitude", type=options.FiniteRange(-180, 180), help="Longitude of the transmitter, degrees."
)
@click.option(
    "--frequency-mhz",
    type=options.FrequencyMhz(),
    help="Frequency to which the receivers were tuned, MHz.  [default: as the files say]",
)
@click.option(
    "--receivers",
    "receivers_path",
    type=click.Path(path_type=Path),
    help="CSV file of receivers with the columns name, latitude, longitude and altitude_m, or GeoJSON.",
)
@click.option(
    "--receiver",
    "sites",
    multiple=True,
    type=_SiteType(),
    help="Name of a receiver, its latitude and longitude in degrees, and its altitude in metres. The name "
    "stands between separators in the name of its file. Give this option once for each receiver.",
)
@click.option(
    "--sample-rate",
    "sample_rate_hz",
    type=options.FiniteRange(min=0, min_open=True),
    help="Sample rate in Hz of raw and .npy files.  [default: as their name, or a .json beside them, says]",
)
@click.option(
    "--sample-format",
    type=click.Choice(FORMATS),
    help="How a raw file stores samples.  [default: as its name ends]",
)
@click.option("--source", "source_id", type=_NameType(), help="Name of the transmitter, if it is known.")
@click.option("--modulation", type=_NameType(), help="Modulation of the known transmitter.")
@click.option(
    "--date",
    type=_MomentType(),
    help="Time in UTC, at most half a week from the recordings, for KiwiSDR files whose names have no time.",
)
@click.option(
    "--start",
    type=_MomentType(),
    help="Time of the first sample in UTC, for files that do not say it. It is as exact as its last digit.",
)
@click.option(
    "--approve/--no-approve", default=False, show_default=True, help="Approve the recordings for training."
)
@click.option(
    "--approved-at", type=_MomentType(), help="Time of the approval, if --approve is given.  [default: now]"
)
def ingest(
    *,
    files: tuple[str, ...],
    latitude: float | None,
    longitude: float | None,
    frequency_mhz: float | None,
    receivers_path: Path | None,
    sites: tuple[Site, ...],
    sample_rate_hz: float | None,
    sample_format: str | None,
    source_id: str | None,
    modulation: str | None,
    date: Moment | None,
    start: Moment | None,
    approve: bool,
    approved_at: Moment | None,
) -> None:
    """Write real recordings to the database and the bucket.

    The format of each file is recognised. All files are recordings of one transmission by at least two
    receivers; a receiver may have several files. The command cuts them into sessions of one second, at the
    whole GPS seconds that at least two receivers cover. A second run adds nothing. If the command was
    killed, run it again: it finishes its work.

    A snapshot includes the recordings if they are approved and `snapshot.as_of` is not before the approval.
    Without the place of the transmitter they cannot be approved. To approve recordings that are stored, or to
    give or correct their place before, run the same command with the options. What is approved never changes.

    The name of a receiver stands in the name of its file, or is given as NAME=FILE. With the word `kiwi`
    before the files, all of them must be WAV files of KiwiSDR clients.
    """
    if (latitude is None) != (longitude is None):
        raise click.UsageError("the place of the transmitter needs both --latitude and --longitude")
    if modulation and not source_id:
        raise click.UsageError("--modulation describes a known transmitter: give --source, too")
    if approved_at and not approve:
        raise click.UsageError("--approved-at is the time of an approval: give --approve, too")
    if len({site.name for site in sites}) != len(sites):
        raise click.UsageError("two of the --receiver options have the same name")
    from heimdall.formats import reader, receivers_file, stations
    from heimdall.ingest import ingest as ingestion
    from heimdall.storage import endpoints, roles
    from heimdall.storage.identities import Identity

    only_kiwi = Path(files[0]).name == "kiwi" and len(files) > 1
    listed = () if receivers_path is None else receivers_file.read(receivers_path)
    assigned = stations.assign(files[1:] if only_kiwi else files, sites, listed)
    _check_places(assigned.values(), latitude, longitude)
    services = endpoints.resolve(role=roles.OPERATOR, identity=Identity.WRITER)
    hints = reader.Hints(None if date is None else date.utc, start, sample_rate_hz, sample_format, only_kiwi)
    stretches = _read(assigned, hints)
    for one, other in ingestion.copies(stretches):
        cause = "have the same samples, so a snapshot uses neither"
        if approve:
            remedy = "Give each receiver's own file, or leave --approve out"
            raise HeimdallError(f"{one} and {other}", cause, remedy)
        click.echo(f"{one} and {other} {cause}: is it one file twice?")
    if frequency_mhz is None:
        frequency_mhz = _frequency_mhz(stretches)
    else:
        stretches = _tuned(stretches, frequency_mhz)
    sessions = ingestion.cut_sessions(stretches, frequency_mhz)
    if not sessions:
        raise _without_sessions(stretches)
    used = {part.recorded.name for session in sessions for part in session.parts}
    for name in sorted({one.recorded.name for one in stretches} - used):
        click.echo(f"{name} shares no whole second with another receiver, and is left out.")
    transmission = ingestion.Transmission(latitude, longitude, frequency_mhz, source_id, modulation)
    approval = ingestion.Approval(None if approved_at is None else approved_at.utc) if approve else None
    report = ingestion.store(sessions, transmission, approval, services)
    if report.approved_at and not report.before and not source_id:
        click.echo("Without --source the transmitter has no name, and gets none after the approval.")
    _say(sessions, report)


def _without_sessions(stretches: Sequence[Stretch]) -> HeimdallError:
    """Why no second has two receivers."""
    if not any(one.parts for one in stretches):
        longest = max(stretches, key=lambda one: one.about.duration_s)
        rate_hz = longest.about.sample_rate_hz
        cause = f"its {longest.about.duration_s:.2g} s at {rate_hz:g} Hz hold no whole second with a signal"
        remedy = "Give longer recordings, or their true rate as --sample-rate"
        return HeimdallError(longest.recorded.name, cause, remedy)
    receivers = {one.recorded.site.name for one in stretches}
    if len(receivers) == 1:
        cause = f"all files are of receiver {receivers.pop()}, and a session needs two"
        remedy = "Give a file of another receiver at the same time, too; one that is stored will do"
        return HeimdallError("sessions", cause, remedy)
    cause = "no two receivers have a whole GPS second in common"
    return HeimdallError("sessions", cause, "Give recordings of the same time by at least two receivers")


def _check_places(sites: Iterable[Site], latitude: float | None, longitude: float | None) -> None:
    """Say what stands far from the others, as if its coordinates were exchanged; refuse what is too far."""
    from heimdall.formats import misplaced

    places = {f"receiver {site.name}": (site.latitude_deg, site.longitude_deg) for site in sites}
    if latitude is not None and longitude is not None:
        places["the transmitter"] = (latitude, longitude)
    found = misplaced.find(places)
    misplaced.refuse_far(found)
    for one in found:
        click.echo(f"Check the places: {one}.")


def _read(assigned: Mapping[Path, Site], hints: Hints) -> list[Stretch]:
    """The stretches of all files, each with a line that says what it is."""
    from heimdall.formats import reader
    from heimdall.ingest import ingest as ingestion

    found: dict[Site, list[Stretch]] = {}
    for file, site in assigned.items():
        recorded = ingestion.Recorded(str(file), site, partial(_on_its_time, file, site, hints))
        for stretch in ingestion.read_stretches(recorded):
            found.setdefault(site, []).append(stretch)
            one = stretch.about
            told = ", ".join((*one.remarks, _gps_time(stretch)))
            click.echo(
                f"{site.name}: {one.duration_s:.1f} s at {one.sample_rate_hz:.4f} Hz "
                f"from {one.start_utc.isoformat() if one.start_utc else ''}, {told}"
            )
    unknown = [site.name for site in found if not site.altitude_known]
    if unknown:
        click.echo(f"The altitude of {', '.join(unknown)} is not given, and counts as 0 m.")
    for site, stretches in found.items():
        overlap_s = reader.overlap_s([stretch.about for stretch in stretches])
        if overlap_s:
            click.echo(
                f"{site.name}: recordings overlap by {overlap_s:.1f} s; the one with the better time is used"
            )
    return [stretch for stretches in found.values() for stretch in stretches]


def _gps_time(stretch: Stretch) -> str:
    """How well the GPS time of its seconds is known."""
    from heimdall.recordings import limits

    sigmas_ns = [part.timing_sigma_ns for part in stretch.parts.values()]
    known_ns = sorted(sigma_ns for sigma_ns in sigmas_ns if sigma_ns is not None)
    if known_ns:
        lowest, highest = _duration(known_ns[0]), _duration(known_ns[-1])
        text = f"GPS time with a sigma of {lowest if lowest == highest else f'{lowest} to {highest}'}"
        without = len(sigmas_ns) - len(known_ns)
        return text + (f", none in {without} of its {len(sigmas_ns)} seconds" if without else "")
    sigma = stretch.about.timing_sigma
    best_ns = math.inf if sigma is None else float(sigma.sigma_ns.min())
    if limits.USEFUL_TIMING_SIGMA_NS < best_ns < math.inf:
        most = _duration(limits.USEFUL_TIMING_SIGMA_NS)
        return f"no GPS time: a sigma of {_duration(best_ns)} is more than {most}"
    return "no GPS time" if sigmas_ns else "no whole second with a signal"


def _duration(nanoseconds: float) -> str:
    """In a unit in which it is easily read."""
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1e3:.0f} us" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.0f} ms"


def _on_its_time(file: Path, site: Site, hints: Hints) -> list[TimedRecording]:
    """A file as it is read, on GPS time if its owner says that GPS disciplines the receiver's clock."""
    from heimdall.formats import reader

    sigma_ns = site.timing_sigma_ns
    found = reader.read(file, hints)
    return found if sigma_ns is None else [one.disciplined(sigma_ns) for one in found]


def _tuned(stretches: Sequence[Stretch], frequency_mhz: float) -> list[Stretch]:
    """The stretches at this frequency, of files that say several; else all, for the user knows better.

    A frequency outside of the one band that the files say is told: it may be in another unit.
    """
    from heimdall.ingest import ingest as ingestion

    wanted_hz = frequency_mhz * 1e6
    if len(_said_hz(stretches)) < 2:
        outside = {
            one.about.frequency_hz
            for one in stretches
            if one.about.frequency_hz
            and abs(one.about.frequency_hz - wanted_hz) > one.about.sample_rate_hz / 2
        }
        if outside:
            said = outside.pop() / 1e6
            click.echo(
                f"The files say {said:.12g} MHz, far from {frequency_mhz:.12g} MHz, which counts. "
                f"If it is a mistake, give --frequency-mhz {said:.12g}, or leave it out."
            )
        return list(stretches)
    kept = [
        one
        for one in stretches
        if one.about.frequency_hz is None
        or abs(one.about.frequency_hz - wanted_hz) <= ingestion.MAX_DETUNING_HZ
    ]
    if len(kept) < len(stretches):
        left = len(stretches) - len(kept)
        click.echo(f"Stretches at another frequency than {frequency_mhz:g} MHz are left out: {left}")
    return kept


def _frequency_mhz(stretches: Sequence[Stretch]) -> float:
    """The one frequency that the files say."""
    said = _said_hz(stretches)
    if len(said) != 1:
        cause = "the files do not say it"
        if said:
            cause = "the files say " + ", ".join(f"{one / 1e6:.12g}" for one in sorted(said)) + " MHz"
        raise HeimdallError("frequency of the recordings", cause, "Give --frequency-mhz")
    value: float = options.FrequencyMhz().convert(f"{said.pop() / 1e6:.12g}", None, None)
    return value


def _said_hz(stretches: Sequence[Stretch]) -> set[float]:
    return {one.about.frequency_hz for one in stretches if one.about.frequency_hz}


def _say(sessions: Sequence[Session], report: Ingested) -> None:
    heard = Counter(len(session.parts) for session in sessions)
    click.echo(
        f"{len(sessions)} sessions of 1 s ("
        + ", ".join(f"{count} with {receivers} receivers" for receivers, count in sorted(heard.items()))
        + f"): {report.recordings} recordings, {report.new} new"
        + (f", {report.changed} changed" if report.changed else "")
        + "; receivers "
        + ", ".join(f"{name} {number}" for name, number in report.receivers.items())
    )
    _say_of_receivers(report)
    if report.otherwise:
        click.echo(
            f"{report.otherwise} of the recordings are approved with another GPS time or sigma, which stays: "
            "what is approved is not changed, for a snapshot may have it."
        )
    untimed = sum(part.start_gps_ns is None for session in sessions for part in session.parts)
    if untimed:
        click.echo(f"{untimed} of the recordings have no GPS time: only their levels help to locate.")
    _say_approval(report)


def _say_approval(report: Ingested) -> None:
    """Whether a snapshot includes the recordings, and what is still to do."""
    from heimdall.storage import approved

    if report.approved_at and report.before:
        click.echo(f"{report.before} of the recordings were approved before: their moment of approval stays.")
    if report.approved_at:
        # Rows of this run are stamped a moment before they can be seen: the next whole second is after both.
        moment = report.approved_at
        if moment.microsecond:
            moment = moment.replace(microsecond=0) + dt.timedelta(seconds=1)
        text = _utc_text(moment)
        click.echo(f"The recordings are approved at {text}.")
        click.echo(f'A snapshot includes them if snapshot.as_of in params.yaml is "{text}" or later.')
        taken = moment + approved.MARGIN
        if taken < dt.datetime.now(dt.UTC) - approved.MARGIN:
            click.echo(f"A snapshot with an as_of from {text} on that was taken before now lacks them.")
        if taken > dt.datetime.now(dt.UTC):
            click.echo(f"Such a snapshot can be taken from {_utc_text(taken)} on, by the database's clock.")
    elif report.before == report.recordings:
        click.echo("The recordings were approved before.")
    elif report.placed:
        click.echo(
            "The recordings are not approved. A snapshot includes them only after approval: run the same "
            "command with --approve."
        )
    else:
        click.echo(
            "The recordings are not approved, and cannot be until the place of the transmitter is known. "
            "When it is, run the same command with --latitude, --longitude and --approve."
        )


def _say_of_receivers(report: Ingested) -> None:
    for name, altitude_m in sorted(report.altitudes.items()):
        click.echo(f"The altitude of {name}, which nobody had said, is {altitude_m:g} m now, not 0 m.")
    for name, known in sorted(report.beside.items()):
        click.echo(
            f"{name} is a new receiver at the place of {known}. If it is {known} under another name, use "
            "that: of recordings that are stored under both a snapshot takes neither."
        )
    for name, seconds in sorted(report.twice.items()):
        click.echo(
            f"{name}: {seconds} of its seconds are stored with other samples. Those stay in their sessions, "
            "and this recording has sessions of its own."
        )


def _utc_text(moment: dt.datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
