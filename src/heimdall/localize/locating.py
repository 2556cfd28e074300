"""From anybody's files to where the transmitter is: `heimdall.locate`, and `heimdall locate FILE...`."""

from __future__ import annotations

import datetime as dt
import errno
import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, get_args

import numpy as np
from tqdm import tqdm

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.formats import misplaced, receivers_file, stations
from heimdall.formats.gps_time import Moment, to_utc
from heimdall.formats.reader import Hints
from heimdall.formats.receivers_file import Site
from heimdall.geometry import terrain
from heimdall.geometry.terrain import Terrain
from heimdall.localize import arrival_table, events, receiver_errors_file
from heimdall.localize.answer import ALONE, Answer, Beside
from heimdall.localize.events import Say
from heimdall.multilateration import combine, receiver_errors, solver
from heimdall.multilateration.event import Event
from heimdall.multilateration.fix import Fix
from heimdall.multilateration.rays import Propagation
from heimdall.multilateration.receiver_errors import Table
from heimdall.multilateration.solver import Assumptions
from heimdall.recordings import limits

UNKNOWN = "unknown"
_SHOWN_NAMES = 8
_CHECKED = 4  # times, of which one checks the others
_MOST = 0.75  # of many times
_MIRRORED = 3  # events, for the sign of differences
_RECEIVERS = "Give the file of receivers with --receivers: name, latitude, longitude and altitude_m of each"


@dataclass(frozen=True, eq=False)
class Material:
    """What files say.

    Attributes:
        events: At least one.
        origin_utc: The moment from which their times count; None if it is not known.
        beside: What a trained model says of that with most receivers, if it was asked.
        beside_each: What it says of each, if there are several.
    """

    events: tuple[Event, ...]
    origin_utc: dt.datetime | None = None
    beside: Beside | None = None
    beside_each: tuple[Beside, ...] = ()


@dataclass(frozen=True)
class Given:
    """What a person gives beside the files.

    Attributes:
        named: Receivers that were named one by one; they win over those of the same name in `listed`.
        listed: Receivers of a file.
        hints: What recordings may not say.
        frequency_hz: Carrier; None for what the files say.
        unit: Of the times of a table whose columns do not say it, one of `arrival_table.UNITS`.
        assumptions: Of the altitude and the propagation.
        model: File of a trained model, whose answer is to stand beside.
        errors: Of the receivers, which are taken off.
    """

    named: tuple[Site, ...] = ()
    listed: tuple[Site, ...] = ()
    hints: Hints = field(default_factory=Hints)
    frequency_hz: float | None = None
    unit: str | None = None
    assumptions: Assumptions = field(default_factory=Assumptions)
    model: Path | None = None
    errors: Table | None = None


def locate(
    files: str | Path | Iterable[str | Path],
    receivers: str | Path | Iterable[Site],
    *,
    altitude: float | str | Path | Terrain | None = None,
    propagation: Propagation | None = None,
    frequency_mhz: float | None = None,
    sample_rate_hz: float | None = None,
    sample_format: str | None = None,
    start: str | None = None,
    date: str | None = None,
    unit: str | None = None,
    errors: str | Path | None = None,
    model: str | Path | None = None,
    say: Callable[[str], None] | None = None,
) -> Answer:
    """Where the transmitter is that some receivers recorded, without training.

        answer = heimdall.locate(["DF0KL.wav", "F1JEK.wav", "HB9RYZ.wav"], "receivers.csv")
        place = answer.main.places[0]
        print(place.latitude_deg, place.longitude_deg, place.covariance_m2)

    Args:
        files: Recordings of one transmission, of any format that `heimdall ingest` reads, one or more of each
            receiver; or tables of arrival times (`localize.arrival_table`). A path or `NAME=path`.
        receivers: A CSV or GeoJSON file of receivers (`formats.receivers_file`), or the receivers.
        altitude: Of the transmitter: metres above the ellipsoid; "unknown" if it may fly anywhere; a terrain
            file, a folder of such files, or what `geometry.terrain.read` gives; None for what an event says
            itself, or else the ground.
        propagation: "line-of-sight", "ground-wave", "ground-and-sky-wave" or "sky-wave"; None for what is
            usual at the frequency.
        frequency_mhz: Of the transmission; None for that to which the receivers were tuned, as the files say.
        sample_rate_hz: Of raw and `.npy` files that do not say it.
        sample_format: How raw files store samples, such as "cu8".
        start: Time of the first sample, ISO 8601, for files that do not say it.
        date: A time within half a week of KiwiSDR files whose names have none, ISO 8601.
        unit: "s", "ms", "us" or "ns", for a table whose columns do not say it.
        errors: A CSV file of the receivers' own errors (`heimdall receivers FILE... --output`), to take off.
        model: An exported model (ONNX) of the kind fusion, whose answer is to stand beside: `.beside`.
        say: Takes lines for a person about the files; None for nobody.

    Returns:
        `.events`, one for each second or row; `.fixes`, one for each event; `.together`, the answer of all
        events of one transmitter (None if there is one event); `.main`, what to read first.

    Raises:
        HeimdallError: A file cannot be read, or lacks what is needed; or an argument is none of its kind.
        ValueError: A time is none.
    """
    paths = [files] if isinstance(files, str | Path) else files
    listed = receivers_file.read(Path(receivers)) if isinstance(receivers, str | Path) else tuple(receivers)
    _check_arguments(listed, propagation, frequency_mhz, unit)
    given = Given(
        listed=listed,
        hints=Hints(
            None if date is None else Moment.parse(date).utc,
            None if start is None else Moment.parse(start),
            sample_rate_hz,
            sample_format,
        ),
        frequency_hz=None if frequency_mhz is None else frequency_mhz * 1e6,
        unit=unit,
        assumptions=Assumptions(altitude_of(altitude), propagation),
        model=None if model is None else Path(model),
        errors=None if errors is None else receiver_errors_file.read(Path(errors)),
    )
    return answer([str(path) for path in paths], given, say or (lambda line: None))


def _check_arguments(
    receivers: Sequence[object], propagation: str | None, frequency_mhz: float | None, unit: str | None
) -> None:
    """Refuse what the command refuses: Python checks no types.

    Raises:
        HeimdallError: One of them is none of its kind.
    """
    if not all(isinstance(one, Site) for one in receivers):
        remedy = (
            "Give a file, or `heimdall.formats.receivers_file.Site(name, latitude, longitude, altitude)`s"
        )
        raise HeimdallError("receivers", "neither a file nor a list of receivers", remedy)
    for name, value, kinds in (
        ("propagation", propagation, get_args(Propagation)),
        ("unit", unit, arrival_table.UNITS),
    ):
        if value is not None and value not in kinds:
            cause = f"{value!r} is not one of {', '.join(map(repr, kinds))}"
            raise HeimdallError(name, cause, "Give one of them, or leave it out")
    fault = None if frequency_mhz is None else limits.frequency_fault(frequency_mhz)
    if fault is not None:
        cause, meant = fault
        raise HeimdallError("frequency_mhz", cause, meant or "Give it in MHz")


def altitude_of(
    said: float | str | Path | Terrain | None,
) -> float | Literal["unknown"] | Terrain | None:
    """What a person says of the altitude, as the solver takes it.

    Raises:
        HeimdallError: It is a file that is no terrain.
    """
    if said == UNKNOWN:
        return "unknown"
    if not isinstance(said, str | Path | int | float):
        return said
    try:
        metres = float(str(said))
    except ValueError:
        file = Path(str(said))
        if not (file.exists() or file.suffix):
            cause = "neither a number of metres, nor a file"
            remedy = f"Give metres above the ellipsoid, such as 500, or {UNKNOWN}, or a terrain file"
            raise HeimdallError(f"altitude {said}", cause, remedy) from None
        return terrain.read([file])
    if not -500 <= metres <= 100_000:
        cause = "no altitude of a transmitter in metres"
        raise HeimdallError(f"altitude {said}", cause, "Give -500 to 100000")
    return metres


def answer(files: Sequence[str], given: Given, say: Say) -> Answer:
    """Locate the events of some files, each for itself and all together; `locate` is the same for Python.

    Args:
        files: At least one path, or `NAME=path` where `NAME` is the receiver of a recording.
        given: What is known beside them.
        say: Takes lines for a person about the files.

    Returns:
        A fix for each event, and the one of all events of one transmitter.

    Raises:
        HeimdallError: There is no file, one cannot be read, or it lacks what is needed.
    """
    material = read(files, given, say)
    found = material.events
    if given.errors is not None:
        _check_names(found, given, given.errors, say)
        found = tuple(receiver_errors.apply(found, given.errors))
    _say_assumed(found, given.assumptions.sigma_s, say)
    bar = tqdm(found, desc="locate", unit="event", disable=None, delay=2.0, leave=False)
    fixes = [solver.locate(event, given.assumptions) for event in bar]
    if len(files) == 1:  # of several, no event has a time
        _say_mirrored(found, fixes, given.assumptions, say)
    together = combine.together(found, given.assumptions)
    located = Answer(
        _title(files, found),
        found,
        tuple(fixes),
        together,
        beside=material.beside,
        beside_each=material.beside_each,
        origin_utc=material.origin_utc,
    )
    if located.alone:  # without another receiver nothing was measured: neither its signal, nor its silence
        return replace(located, fixes=tuple(replace(fix, remarks=(ALONE,)) for fix in fixes))
    return located


def read(files: Sequence[str], given: Given, say: Say) -> Material:
    """Read the events of some files; nothing is located, and no errors of receivers are taken off.

    Recordings have one for each second that receivers have in common, tables one for each that they name.

    Args:
        files: At least one path, or `NAME=path`: recordings, or else tables.
        given: What is known beside them.
        say: Takes lines for a person about the files.

    Returns:
        The events in order of time, or of the tables.

    Raises:
        HeimdallError: There is no file, one cannot be read, or it lacks what is needed; or a receiver stands
            farther from the others than any network reaches.
    """
    if not files:
        raise HeimdallError(
            "files", "none is given", "Name recordings of one transmission, or a table of times"
        )
    for file in files:
        path = Path(file if Path(file).exists() else file.partition("=")[2] or file)
        if not path.exists() and not any(letter in path.name for letter in "*?"):
            raise unreadable(path, FileNotFoundError(errno.ENOENT, ""))
        if path.is_file() and path.stat().st_size == 0:
            raise HeimdallError(str(path), "the file is empty", "Record or export it again, or leave it out")
    tables = [file for file in files if arrival_table.is_table(Path(file))]
    recordings = [file for file in files if file not in tables]
    if tables and recordings:
        cause = f"a table of arrival times, beside recordings such as {recordings[0]}"
        raise HeimdallError(tables[0], cause, "Locate them one after the other")
    material = (_of_tables if tables else _of_recordings)(files, given, say)
    _check_places(material.events, say)
    return material


def _of_tables(files: Sequence[str], given: Given, say: Say) -> Material:
    sites = tuple({site.name: site for site in (*given.listed, *given.named)}.values())
    if not sites:
        raise HeimdallError(files[0], "no place of a receiver is given", _RECEIVERS)
    found: list[Event] = []
    origin = None
    for file in files:
        table = arrival_table.read(Path(file), sites, given.unit)
        origin = table.origin_utc if len(files) == 1 else None
        for remark in table.remarks:
            say(f"{file}: {remark}")
        found += table.events
    used = {name for event in found for name in event.receiver}
    _say_low([site for site in sites if site.name in used], say)
    if given.frequency_hz is not None:
        found = [replace(event, frequency_hz=given.frequency_hz) for event in found]
    # Times of several files count from origins of their own.
    if len(files) > 1:
        found = [replace(event, time_s=math.nan) for event in found]
    beside = Beside(given.model.name, None, "it takes recordings, and no times") if given.model else None
    return Material(tuple(found), origin, beside)


def _of_recordings(files: Sequence[str], given: Given, say: Say) -> Material:
    try:
        assigned = stations.assign(files, given.named, given.listed)
    except HeimdallError as error:
        if given.named or given.listed or not Path(error.subject).exists():
            raise
        raise HeimdallError(error.subject, "no place of a receiver is given", _RECEIVERS) from None
    stretches = events.stretches(assigned, given.hints, say)
    _say_low(assigned.values(), say)
    stretches, frequency_hz = events.at_frequency(stretches, given.frequency_hz, say)
    if math.isnan(frequency_hz):
        say("Nothing says the frequency: --frequency-mhz tells how the signal travels.")
    cuts = events.cuts(stretches, say)
    origin_ns = cuts[0].start_ns
    bar = tqdm(cuts, desc="arrival times", unit="s", disable=None, delay=2.0, leave=False)
    found = [events.event(cut, frequency_hz, origin_ns) for cut in bar]
    said: list[Beside] = []
    if given.model is not None:
        from heimdall.localize import beside  # noqa: PLC0415 - ONNX Runtime, only where it is asked

        said = beside.of_seconds(given.model, cuts, frequency_hz)
    fullest = max(range(len(cuts)), key=lambda number: len(cuts[number].parts))
    dated = any(stretch.begun for stretch, _ in cuts[0].parts)
    return Material(
        tuple(found),
        to_utc(origin_ns) if dated else None,
        said[fullest] if said else None,
        tuple(said) if len(said) > 1 else (),
    )


def _say_assumed(found: Sequence[Event], sigma_s: float, say: Say) -> None:
    """Say of which receivers nothing tells how exact their times are."""
    told = [(event.receiver, np.isfinite(event.sigma_s) | np.isnan(event.arrival_s)) for event in found]
    untold = {name for names, known in told for name, one in zip(names, known, strict=True) if not one}
    if untold:
        everyone = untold == {name for event in found for name in event.receiver}
        whose = "all receivers" if everyone else ", ".join(sorted(untold))
        said = f"the standard deviation of the times of {whose}: it counts as {sigma_s * 1e9:.0f} ns"
        say(f"Nothing says {said}.")


def _check_names(found: Sequence[Event], given: Given, errors: Table, say: Say) -> None:
    """Say of which receivers with errors nobody knows the place; refuse errors of none that was there."""
    named = [error.receiver for error in errors.errors]
    there = {name for event in found for name in event.receiver}
    known = there | {site.name for site in (*given.listed, *given.named)}
    unknown = [name for name in named if name not in known]
    shown = ", ".join(unknown[:_SHOWN_NAMES]) + (" and others" if len(unknown) > _SHOWN_NAMES else "")
    if not there & set(named):
        cause = f"they are of none of the receivers here{f', but of {shown}' if unknown else ''}"
        remedy = f"Name the receivers as the other files do, such as {min(there)}, or leave the file out"
        raise HeimdallError("receivers' errors", cause, remedy)
    if unknown:
        say(f"Receivers' errors: nobody knows the place of {shown}, whose errors take nothing off.")


def _say_mirrored(found: Sequence[Event], fixes: Sequence[Fix], assumptions: Assumptions, say: Say) -> None:
    """Say that times which contradict each other would fit with the other sign, if they do.

    Of differences nothing but their fit tells which of the two times counts as the later one. They have no
    time of their own, which tells them from arrival times.
    """
    doubtful = [
        event
        for event, fix in zip(found, fixes, strict=True)
        if math.isnan(event.time_s)
        and np.isfinite(event.arrival_s).sum() >= _CHECKED
        and not _fits(event, fix)
    ][:_MIRRORED]
    mirrored = [replace(event, arrival_s=-event.arrival_s) for event in doubtful]
    if mirrored and all(_fits(event, solver.locate(event, assumptions)) for event in mirrored):
        whose = "the time of receiver_a minus that of receiver_b"
        say(f"With the other sign the times would fit: a difference tdoa counts as {whose}.")


def _fits(event: Event, fix: Fix) -> bool:
    """Whether the times of an event fit together, but for a few of many."""
    used = sum(one.used for one in fix.residuals)
    return fix.consistent and used >= max(_CHECKED, _MOST * np.isfinite(event.arrival_s).sum())


def _say_low(sites: Iterable[Site], say: Say) -> None:
    unknown = list(dict.fromkeys(site.name for site in sites if not site.altitude_known))
    if unknown:
        say(f"The altitude of {', '.join(unknown)} is not given, and counts as 0 m.")


def _check_places(found: Sequence[Event], say: Say) -> None:
    """Say which receivers stand as if their coordinates were exchanged; refuse what is too far."""
    places = {
        f"receiver {name}": (float(event.latitude_deg[row]), float(event.longitude_deg[row]))
        for event in found
        for row, name in enumerate(event.receiver)
    }
    doubtful = misplaced.find(places)
    misplaced.refuse_far(doubtful)
    for one in doubtful:
        say(f"Check the places: {one}.")


def _title(files: Sequence[str], found: Sequence[Event]) -> str:
    """What was located, in a few words."""
    transmitters = {event.transmitter for event in found}
    receivers = {name for event in found for name in event.receiver}
    frequencies = {event.frequency_hz for event in found}
    frequency_hz = next(iter(frequencies)) if len(frequencies) == 1 else math.nan
    name = next(iter(transmitters)) if len(transmitters) == 1 else ""
    what = name or (Path(files[0]).name if len(files) == 1 else f"{len(files)} files")
    size, unit = (1e6, "MHz") if frequency_hz >= 1e6 else (1e3, "kHz")
    at = "" if math.isnan(frequency_hz) else f" at {frequency_hz / size:.12g} {unit}"
    return f"{what}: {len(receivers)} receiver{'' if len(receivers) == 1 else 's'}{at}"
