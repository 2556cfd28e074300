"""The whole GPS seconds of a stretch of samples."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from heimdall.formats.gps_time import SECOND_NS
from heimdall.formats.recording import TimedRecording
from heimdall.recordings import limits


@dataclass(frozen=True)
class Part:
    """A part of a stretch, without its samples.

    Attributes:
        first: Number of its first sample in the stretch.
        end: Number of the one after its last.
        nominal_start_ns: Time of the first sample by the receiver's clock, GPS nanoseconds since 1980-01-06.
        timing_sigma_ns: Standard deviation of that; None if the clock is not on GPS time.
    """

    first: int
    end: int
    nominal_start_ns: int
    timing_sigma_ns: float | None

    @property
    def rank(self) -> tuple[bool, float]:
        """What is smaller is the better one of two parts for the same second."""
        return rank(self.timing_sigma_ns)


def rank(timing_sigma_ns: float | None) -> tuple[bool, float]:
    """What is smaller is the better time."""
    return timing_sigma_ns is None, timing_sigma_ns or 0.0


def part(recording: TimedRecording, first: int, end: int) -> Part | None:
    """Samples `first` to `end - 1` of a stretch; None if it lacks some, or if all of them are zero."""
    if first < 0 or end > len(recording.samples) or not recording.samples[first:end].any():
        return None
    return Part(first, end, recording.time_ns(first), recording.timing_sigma_ns(first, end))


def whole(recording: TimedRecording) -> dict[int, Part]:
    """By GPS second, each that a stretch holds whole and that has a signal.

    Raises:
        ValueError: Nothing says when the recording began.
    """
    count = int(recording.sample_rate_hz)
    found = {}
    for second in range(
        recording.time_ns(0) // SECOND_NS, recording.time_ns(len(recording.samples)) // SECOND_NS + 1
    ):
        first = recording.first_sample_at(second * SECOND_NS)
        held = part(recording, first, first + count)
        if held is not None:
            found[second] = held
    return found


def gps_time_text(about: TimedRecording, sigmas_ns: Sequence[float | None]) -> str:
    """How well the GPS time of a stretch's seconds is known, for a person.

    Args:
        about: The stretch; its samples do not matter.
        sigmas_ns: Standard deviation of the time of each second that is used; None of one without GPS time.
    """
    known_ns = sorted(sigma_ns for sigma_ns in sigmas_ns if sigma_ns is not None)
    if known_ns:
        lowest, highest = _duration(known_ns[0]), _duration(known_ns[-1])
        text = f"GPS time with a sigma of {lowest if lowest == highest else f'{lowest} to {highest}'}"
        without = len(sigmas_ns) - len(known_ns)
        return text + (f", none in {without} of its {len(sigmas_ns)} seconds" if without else "")
    best_ns = math.inf if about.timing_sigma is None else float(about.timing_sigma.sigma_ns.min())
    if limits.USEFUL_TIMING_SIGMA_NS < best_ns < math.inf:
        most = _duration(limits.USEFUL_TIMING_SIGMA_NS)
        told = f"no GPS time: a sigma of {_duration(best_ns)} is more than {most}"
        return f"{told}; {_finer(about)}" if (about.start_step_ns or 0.0) > best_ns else told
    return "no GPS time" if sigmas_ns else "no whole second with a signal"


def _finer(about: TimedRecording) -> str:
    """How to say the start of a recording with more digits."""
    if about.source is not None and about.source.path.suffix.startswith(".sigmf"):
        return "write its core:datetime to the last digit that is known, or give --start"
    return "say its start finer, in start_gps_ns and timing_sigma_ns of a .json beside it, or with --start"


def _duration(nanoseconds: float) -> str:
    """In a unit in which it is easily read."""
    if nanoseconds < 1e3:
        return f"{nanoseconds:.0f} ns"
    return f"{nanoseconds / 1e3:.0f} us" if nanoseconds < 1e6 else f"{nanoseconds / 1e6:.0f} ms"
