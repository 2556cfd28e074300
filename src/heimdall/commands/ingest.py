"""`heimdall ingest`: real recordings into the database and the bucket."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import click

from heimdall.commands import options, place, recording_options
from heimdall.core.errors import HeimdallError

if TYPE_CHECKING:
    from heimdall.formats.gps_time import Moment
    from heimdall.formats.reader import Hints
    from heimdall.formats.receivers_file import Site
    from heimdall.ingest.ingest import Ingested, Session, Stretch


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
@recording_options.frequency_mhz
@recording_options.receivers
@recording_options.receiver
@recording_options.sample_rate
@recording_options.sample_format
@click.option(
    "--source",
    "source_id",
    type=recording_options.NameType(),
    help="Name of the transmitter, if it is known.",
)
@click.option("--modulation", type=recording_options.NameType(), help="Modulation of the known transmitter.")
@recording_options.date
@recording_options.start
@click.option(
    "--approve/--no-approve", default=False, show_default=True, help="Approve the recordings for training."
)
@click.option(
    "--approved-at",
    type=recording_options.MomentType(),
    help="Time of the approval, if --approve is given.  [default: now]",
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
    recording_options.refuse_same_names(sites)
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
    from heimdall.formats import reader, seconds
    from heimdall.ingest import ingest as ingestion

    found: dict[Site, list[Stretch]] = {}
    for file, site in assigned.items():
        recorded = ingestion.Recorded(str(file), site, partial(reader.read_of, file, site, hints))
        for stretch in ingestion.read_stretches(recorded):
            found.setdefault(site, []).append(stretch)
            one = stretch.about
            sigmas_ns = [part.timing_sigma_ns for part in stretch.parts.values()]
            told = ", ".join((*one.remarks, seconds.gps_time_text(one, sigmas_ns)))
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


def _tuned(stretches: Sequence[Stretch], frequency_mhz: float) -> list[Stretch]:
    """The stretches at this frequency."""
    from heimdall.formats import tuning

    kept, told = tuning.fitting([one.about for one in stretches], frequency_mhz * 1e6)
    if told:
        click.echo(told)
    return [one for one, fits in zip(stretches, kept, strict=True) if fits]


def _frequency_mhz(stretches: Sequence[Stretch]) -> float:
    """The one frequency that the files say."""
    from heimdall.formats import tuning

    said = tuning.said_hz(one.about for one in stretches)
    if len(said) != 1:
        raise tuning.undecided(said)
    value: float = options.FrequencyMhz().convert(f"{said.pop() / 1e6:.12g}", None, None)
    return value


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
