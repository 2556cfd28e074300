"""Recordings of one transmission as events, one for each second that receivers have in common.

Files are read one by one, first to find the seconds, and then second by second: memory holds the samples of
one file, or of one second of all of them, however long they are.
"""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError
from heimdall.formats import reader, seconds, tuning
from heimdall.formats.gps_time import SECOND_NS, gps_ns_of_utc, to_utc, utc_ns
from heimdall.formats.reader import Hints
from heimdall.formats.receivers_file import Site
from heimdall.formats.recording import TimedRecording
from heimdall.formats.seconds import Part
from heimdall.geometry import geo
from heimdall.multilateration.event import Event
from heimdall.recordings.iq import Samples
from heimdall.signal import arrival_times
from heimdall.signal.arrival_times import ArrivalTimes
from heimdall.signal.correlation import Recording
from heimdall.signal.sample_clock import Oscillators
from heimdall.signal.transforms import phase_ramp
from heimdall.signal.witnesses import is_stuck

UNTIMED_S = 0.1  # by less differ clocks that a network sets
MIN_OVERLAP_NS = 200_000_000  # shorter recordings hold too little of a signal of some hundred hertz
CLOCK = "The column timing_sigma_ns of the receivers file says that GPS disciplines a receiver's clock"
_ALONE = (
    "there is no other recording to compare it with, which a place needs: give those of two receivers or more"
)
_BEGAN_ALIKE = "nothing says when its recording began, so its level counts as of the time of the others"
_SOME_DAY_NS = gps_ns_of_utc(utc_ns(dt.datetime(2000, 1, 1, tzinfo=dt.UTC)))  # where nothing says one

Say = Callable[[str], None]


@dataclass(frozen=True, eq=False)
class Stretch:
    """What one receiver recorded without a gap, without the samples.

    Attributes:
        file: For messages.
        site: The receiver.
        about: All else that is known of it.
        parts: By GPS second, each that it holds whole and that has a signal.
        begun: Whether anything says when it began.
        locked: Whether its owner says that GPS disciplines the clock that drives it. Time stamps in a file
            say nothing of the oscillator that tunes it: those of three KiwiSDRs differed by 0.5 ppm.
    """

    file: Path
    site: Site
    about: TimedRecording
    parts: Mapping[int, Part]
    begun: bool
    locked: bool

    @property
    def timed(self) -> bool:
        """Whether some of it has a GPS time."""
        return self.about.timing_sigma_ns(0, 1) is not None or any(
            part.timing_sigma_ns is not None for part in self.parts.values()
        )

    def off_hz(self, frequency_hz: float) -> float | None:
        """Its tuned frequency less another one, 0 if nothing says it; None if that is outside of its band."""
        tuned_hz = self.about.frequency_hz
        off_hz = 0.0 if tuned_hz is None or math.isnan(frequency_hz) else tuned_hz - frequency_hz
        return off_hz if abs(off_hz) <= self.about.sample_rate_hz / 2 else None

    def part_of(self, begin_ns: int, end_ns: int) -> Part | None:
        """What it holds of some time, if that is at least `MIN_OVERLAP_NS`."""
        first = max(0, self.about.first_sample_at(begin_ns))
        end = min(len(self.about.samples), self.about.first_sample_at(end_ns))
        # The last sample of a common time may be the next one's first.
        if (end - first + 1) * SECOND_NS < MIN_OVERLAP_NS * self.about.sample_rate_hz:
            return None
        return Part(first, end, self.about.time_ns(first), self.about.timing_sigma_ns(first, end))

    def samples(self, part: Part) -> Samples:
        """The samples of a part, read from the file.

        Raises:
            HeimdallError: It cannot be read any more.
        """
        assert self.about.source is not None  # noqa: S101 - what was read stands in a file
        return self.about.source.read(part.first, part.end)

    def tuned(self, samples: Samples, frequency_hz: float) -> Samples:
        """The same samples, had the receiver been tuned to another frequency of its band."""
        turn = (self.off_hz(frequency_hz) or 0.0) / self.about.sample_rate_hz
        return samples if turn == 0 else (samples * phase_ramp(turn, len(samples))).astype(np.complex64)


@dataclass(frozen=True, eq=False)
class Cut:
    """A second that receivers have in common, or less where that is all.

    Attributes:
        name: Its time in UTC, or its number where no clock is known.
        start_ns: Its nominal time, GPS nanoseconds.
        parts: What each receiver has of it.
        remarks: Of receivers that have nothing of any second.
    """

    name: str
    start_ns: int
    parts: tuple[tuple[Stretch, Part], ...]
    remarks: tuple[str, ...] = ()


def stretches(assigned: Mapping[Path, Site], hints: Hints, say: Say) -> list[Stretch]:
    """Read all files, and say a line of each stretch. The samples are not kept.

    A recording that nobody says the beginning of is taken to begin with the first of the others.

    Args:
        assigned: The receiver of each file.
        hints: What the files may not say.
        say: Takes lines for a person.

    Raises:
        HeimdallError: A file cannot be read.
    """
    found: list[Stretch] = []
    later: list[tuple[Path, Site]] = []
    for file, site in assigned.items():
        read = _read(file, site, hints, None, say)
        found += read
        if not read:
            later.append((file, site))
    begin_ns = min((one.about.time_ns(0) for one in found), default=_SOME_DAY_NS)
    for file, site in later:
        found += _read(file, site, hints, begin_ns, say)
    untimed = {one.site.name for one in found} - {one.site.name for one in found if one.timed}
    if untimed:
        unsaid = any(one.site.name in untimed and one.site.timing_sigma_ns is None for one in found)
        remedy = f" {CLOCK}." if unsaid else ""
        say(f"{', '.join(sorted(untimed))}: levels alone, without arrival times.{remedy}")
    return found


def at_frequency(
    given: Sequence[Stretch], frequency_hz: float | None, say: Say
) -> tuple[list[Stretch], float]:
    """The stretches at one frequency, and that in Hz; NaN if nothing says it.

    Receivers may be tuned beside the transmitter, as off the spur in the middle of a band, each elsewhere.

    Args:
        given: Of all receivers.
        frequency_hz: By the user's word, or None.
        say: Takes lines for a person.

    Raises:
        HeimdallError: The files say several, and the user none.
    """
    said = tuning.said_hz(one.about for one in given)
    if frequency_hz is None:
        if not said:
            return list(given), math.nan
        if max(said) - min(said) > tuning.MAX_DETUNING_HZ:
            raise tuning.undecided(said)
        return list(given), sorted(said)[len(said) // 2]
    there = [one for one in given if one.off_hz(frequency_hz) is not None]
    if any(one.about.frequency_hz for one in there):
        left = len(given) - len(there)
        if left:
            say(f"Stretches of other bands than {frequency_hz / 1e6:g} MHz are left out: {left}")
        return there, frequency_hz
    kept, told = tuning.fitting([one.about for one in given], frequency_hz)
    if told:
        say(told)
    if not any(kept):
        raise tuning.undecided(said)
    return [one for one, fits in zip(given, kept, strict=True) if fits], frequency_hz


def cuts(given: Sequence[Stretch], say: Say) -> list[Cut]:
    """The whole GPS seconds that at least two receivers hold; or what they have in common, if there are none.

    A receiver that holds a second in part takes part in it. Of two stretches of one receiver the one that
    holds it whole is taken, then the one with the better time. A single receiver has its own seconds.

    Args:
        given: Of all receivers, at one frequency.
        say: Takes lines for a person.

    Returns:
        In order of time; at least one.

    Raises:
        HeimdallError: No two receivers have `MIN_OVERLAP_NS` in common.
    """
    needed = min(2, len({one.site.name for one in given}))
    holders: dict[int, set[str]] = {}
    for one in given:
        for second in one.parts:
            holders.setdefault(second, set()).add(one.site.name)
    found = [
        _cut(given, second * SECOND_NS, (second + 1) * SECOND_NS)
        for second, names in sorted(holders.items())
        if len(names) >= needed
    ]
    if not found:
        found = [_cut(given, *_common(given))]
    used = {one.file for cut in found for one, _ in cut.parts}
    for file in dict.fromkeys(one.file for one in given):
        if file not in used:
            say(f"{file} has no time in common with the others, and is left out.")
    heard = {one.site.name for cut in found for one, _ in cut.parts}
    absent = sorted({one.site.name for one in given} - heard)
    remarks = tuple(f"{name}: its recording has no time in common with the others" for name in absent)
    return [replace(cut, remarks=remarks) for cut in found]


def recordings(cut: Cut, frequency_hz: float) -> list[tuple[Stretch, Recording]]:
    """The samples of a second, all tuned to one frequency; a receiver with nothing but zeros is left out.

    Args:
        cut: The second.
        frequency_hz: That of the samples at 0 Hz; NaN leaves them as they are.

    Raises:
        HeimdallError: A file cannot be read any more.
    """
    read = []
    for number, (one, part) in enumerate(cut.parts):
        iq = one.samples(part)
        recording = Recording(
            number,
            iq if is_stuck(iq) else one.tuned(iq, frequency_hz),  # tuned elsewhere one value is a carrier
            one.about.sample_rate_hz,
            None if part.timing_sigma_ns is None else part.nominal_start_ns,
            part.timing_sigma_ns,
        )
        read.append((one, recording))
    return [row for row in read if row[1].iq.any()] or read[:1]


def event(cut: Cut, frequency_hz: float, origin_ns: int) -> Event:
    """Measure when the signal of a second came, and how loud it is.

    Args:
        cut: The second.
        frequency_hz: Tuned frequency; NaN if nothing says it.
        origin_ns: The GPS time from which `Event.time_s` counts.

    Raises:
        HeimdallError: A file cannot be read any more.
    """
    read = recordings(cut, frequency_hz)
    sites, given = [one.site for one, _ in read], [recording for _, recording in read]
    position_m = np.array(
        [geo.ecef_m(site.latitude_deg, site.longitude_deg, site.altitude_m) for site in sites]
    )
    oscillators = Oscillators(
        frequency_hz,
        np.array([one.about.free_running and not one.locked for one, _ in read]),
        np.array(
            [cut.parts[part.websdr_id][1].first / one.about.sample_rate_hz for one, part in read], np.float64
        ),
    )
    found = arrival_times.measure(given, position_m, oscillators=oscillators)
    heard, level_db = found.heard, found.level_db
    anywhen = _untimed(cut, given, position_m)
    if anywhen is not None:
        level_db = np.where(heard, level_db, anywhen.level_db)
        heard = heard | anywhen.heard
    names = [site.name for site in sites]
    alike = np.array([reason == arrival_times.COPIED for reason in found.reason])
    clock_s = [math.nan if one.timing_sigma_ns is None else one.timing_sigma_ns * 1e-9 for one in given]
    timed = np.isfinite(found.delay_s)
    locked = timed & np.array([one.locked for one, _ in read])
    # By so much the rate of a clock may be wrong that is right to its sigma at both ends of the recording.
    rate = np.array(clock_s) / [one.about.duration_s for one, _ in read]
    reasons = found.reason if len(names) > 1 else [_ALONE]
    remarks = [
        f"{name}: {reason}"
        for name, reason in zip(names, reasons, strict=True)
        if reason not in ("", arrival_times.COPIED)
    ]
    if alike.any():
        same = " and ".join(name for name, copied in zip(names, alike, strict=True) if copied)
        remarks.append(
            f"{same} have the same samples, so neither time nor level is used: is it one file twice"
        )
    return Event(
        name=cut.name,
        receiver=tuple(names),
        latitude_deg=np.array([site.latitude_deg for site in sites], np.float64),
        longitude_deg=np.array([site.longitude_deg for site in sites], np.float64),
        altitude_m=np.array([site.altitude_m for site in sites], np.float64),
        arrival_s=np.where(timed, found.delay_s, np.nan),
        sigma_s=np.where(timed, np.hypot(found.sigma_s, clock_s), np.nan),
        level_db=level_db,
        heard=np.asarray(heard, np.bool_),
        offset_hz=np.where(locked, found.offset_hz, np.nan),
        offset_sigma_hz=np.where(locked, np.hypot(found.offset_sigma_hz, rate * frequency_hz), np.nan),
        frequency_hz=frequency_hz,
        time_s=(cut.start_ns - origin_ns) / SECOND_NS,
        remarks=(*remarks, *cut.remarks),
    )


def _read(file: Path, site: Site, hints: Hints, begin_ns: int | None, say: Say) -> list[Stretch]:
    """The stretches of a file; of one that does not say when it began only with a GPS time for that."""
    found = []
    for read in reader.read(file, hints):
        recording = read if site.timing_sigma_ns is None else read.disciplined(site.timing_sigma_ns)
        locked = recording is not read
        begun = recording.nominal_start_ns is not None
        if not begun and begin_ns is None:
            return []
        if not begun and begin_ns is not None:
            told = (*recording.remarks, _BEGAN_ALIKE)
            recording = replace(recording, start_utc_ns=utc_ns(to_utc(begin_ns)), remarks=told)
        about, parts = _said(site, recording, say, begun=begun)
        found.append(Stretch(file, site, about, parts, begun, locked))
    return found


def _said(
    site: Site, recording: TimedRecording, say: Say, *, begun: bool
) -> tuple[TimedRecording, dict[int, Part]]:
    """A stretch without its samples, and its whole seconds; a line for a person says what it is."""
    parts = seconds.whole(recording)
    sigmas_ns = [part.timing_sigma_ns for part in parts.values()]
    if not parts:
        sigmas_ns = [recording.timing_sigma_ns(0, len(recording.samples))]
    began = f" from {recording.start_utc.isoformat()}" if begun and recording.start_utc is not None else ""
    told = ", ".join((*recording.remarks, seconds.gps_time_text(recording, sigmas_ns)))
    say(f"{site.name}: {recording.duration_s:.1f} s at {recording.sample_rate_hz:.4f} Hz{began}, {told}")
    return recording.without_samples(), parts


def _cut(given: Iterable[Stretch], begin_ns: int, end_ns: int) -> Cut:
    """What each receiver has of some time."""
    best: dict[str, tuple[tuple[object, ...], Stretch, Part]] = {}
    whole_second = begin_ns // SECOND_NS if begin_ns % SECOND_NS == 0 else None
    for one in given:
        part = None if whole_second is None else one.parts.get(whole_second)
        partial = part is None
        part = part or one.part_of(begin_ns, end_ns)
        if part is None:
            continue
        rank = (partial, *part.rank, part.first - part.end)
        if one.site.name not in best or rank < best[one.site.name][0]:
            best[one.site.name] = (rank, one, part)
    parts = tuple((one, part) for _, (_, one, part) in sorted(best.items()))
    if not any(one.begun for one, _ in parts):
        return Cut(f"second {(begin_ns - _SOME_DAY_NS) // SECOND_NS + 1}", begin_ns, parts)
    utc = to_utc(begin_ns)
    text = utc.isoformat(timespec="seconds" if whole_second is not None else "milliseconds")
    return Cut(text.replace("+00:00", "Z"), begin_ns, parts)


def _common(given: Sequence[Stretch]) -> tuple[int, int]:
    """The time that most receivers have in common, and of several the longest.

    Raises:
        HeimdallError: It is too short.
    """
    spans = [
        (one.site.name, one.about.time_ns(0), one.about.time_ns(len(one.about.samples))) for one in given
    ]
    best = (0, 0, 0, 0)
    for _, begin_ns, _ in spans:
        ends: dict[str, int] = {}
        for name, first_ns, last_ns in spans:
            if first_ns <= begin_ns:
                ends[name] = max(ends.get(name, 0), last_ns)
        lasting = sorted((end_ns for end_ns in ends.values()), reverse=True)
        for count, end_ns in enumerate(lasting, 1):
            length_ns = end_ns - begin_ns
            if length_ns >= MIN_OVERLAP_NS:
                best = max(best, (count, length_ns, begin_ns, end_ns))
    count, length_ns, begin_ns, _ = best
    names = {name for name, _, _ in spans}
    if count < min(2, len(names)):
        if len(names) < 2:
            cause = f"its recording is shorter than {MIN_OVERLAP_NS / SECOND_NS:g} s"
            raise HeimdallError(str(given[0].file), cause, "Give a longer one, or its true --sample-rate")
        began = ", ".join(
            f"{name} {to_utc(begin).isoformat(timespec='seconds')}" for name, begin, _ in spans[:8]
        )
        cause = f"no two receivers have {MIN_OVERLAP_NS / SECOND_NS:g} s in common; they begin at: {began}"
        raise HeimdallError("recordings", cause, "Give recordings of the same time, or correct --start")
    return begin_ns, begin_ns + length_ns


def _untimed(
    cut: Cut, given: Sequence[Recording], position_m: npt.NDArray[np.float64]
) -> ArrivalTimes | None:
    """What is alike in recordings that may be late by `UNTIMED_S`; None if all of them have GPS time."""
    if all(one.start_gps_ns is not None for one in given):
        return None
    begun = {number: part.nominal_start_ns for number, (_, part) in enumerate(cut.parts)}
    placed = [
        replace(one, start_gps_ns=begun[one.websdr_id], timing_sigma_ns=UNTIMED_S * 1e9) for one in given
    ]
    return arrival_times.measure(placed, position_m, UNTIMED_S)
