"""What every reader of a file gives: stretches of samples without a gap, and how well their time is known."""

from __future__ import annotations

import datetime as dt
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from heimdall.core.errors import HeimdallError
from heimdall.formats.gps_time import SECOND_NS, gps_ns_of_utc, to_utc
from heimdall.formats.sample_types import Source
from heimdall.recordings import iq, limits
from heimdall.recordings.iq import Samples

MIN_RATE_HZ, MAX_RATE_HZ = 8e3, 10e6
MAX_SAMPLES = 600_000_000  # 60 s at 10 MHz, 4.8 GB; more than that of one file is not read

# What a file may not say: the elements of `TimedRecording.missing`.
GPS_TIME = "GPS time"
START_TIME = "start time"
FREQUENCY = "centre frequency"
RECEIVER = "receiver"


@dataclass(frozen=True)
class TimingSigma:
    """Standard deviation of the GPS time of samples, a step function of the sample's number.

    Attributes:
        from_sample: Where each step begins, shape (k,), int64, ascending; the first is 0.
        sigma_ns: Standard deviation on it, shape (k,), float64; infinite where there is no GPS time.
    """

    from_sample: npt.NDArray[np.int64]
    sigma_ns: npt.NDArray[np.float64]

    @classmethod
    def constant(cls, sigma_ns: float) -> TimingSigma:
        """The same for all samples."""
        return cls(np.zeros(1, np.int64), np.array([sigma_ns], np.float64))

    def with_error(self, error_ns: float) -> TimingSigma:
        """The same with another error, independent of it, on all samples."""
        return TimingSigma(self.from_sample, np.hypot(self.sigma_ns, error_ns))

    def worst_ns(self, first: int, end: int) -> float:
        """The largest one of the samples `first` to `end - 1`."""
        begin = int(np.searchsorted(self.from_sample, first, "right")) - 1
        stop = int(np.searchsorted(self.from_sample, end, "left"))
        return float(self.sigma_ns[max(0, begin) : max(1, stop)].max())


@dataclass(frozen=True)
class TimedRecording:
    """A stretch of samples without a gap.

    Attributes:
        samples: IQ samples, shape (n,), complex64; full scale 1 if the file has integers.
        sample_rate_hz: As exactly as the file says it.
        start_gps_ns: GPS time of the first sample, nanoseconds since 1980-01-06. None if no clock that was
            disciplined by GPS made the time stamps.
        timing_sigma: Standard deviation of the GPS time of each sample; None as `start_gps_ns`.
        start_utc_ns: UTC of the first sample by the recorder's own clock, nanoseconds since 1970; None if
            the file does not say it. With `start_gps_ns`, the same moment.
        start_step_ns: Last digit to which the file writes that UTC, or by how much its own times disagree
            if that is more; None if the clock is not to be trusted, such as after a lost GPS fix.
        receiver: Name of the receiver, if the file or its name says it.
        frequency_hz: Frequency at the centre of the spectrum, if the file or its name says it.
        remarks: What a person should know of this stretch: sentences without a full stop.
        source: Where the samples stand; None of what was in no file.
        free_running: Whether the file says that the clock which drives the samples may drift.
    """

    samples: Samples
    sample_rate_hz: float
    start_gps_ns: int | None = None
    timing_sigma: TimingSigma | None = None
    start_utc_ns: int | None = None
    start_step_ns: float | None = None
    receiver: str | None = None
    frequency_hz: float | None = None
    remarks: tuple[str, ...] = ()
    source: Source | None = None
    free_running: bool = False

    @property
    def missing(self) -> tuple[str, ...]:
        """What the file does not say, by name."""
        known = {
            GPS_TIME: self.start_gps_ns,
            START_TIME: self.nominal_start_ns,
            FREQUENCY: self.frequency_hz,
            RECEIVER: self.receiver,
        }
        return tuple(name for name, value in known.items() if value is None)

    def without_samples(self) -> TimedRecording:
        """The same with as many zeros, which take no memory."""
        return replace(self, samples=np.broadcast_to(np.complex64(0), len(self.samples)))

    @property
    def duration_s(self) -> float:
        """Length of the stretch."""
        return len(self.samples) / self.sample_rate_hz

    @property
    def nominal_start_ns(self) -> int | None:
        """GPS time of the first sample, or else what the recorder's own clock took for it."""
        if self.start_gps_ns is not None:
            return self.start_gps_ns
        return None if self.start_utc_ns is None else gps_ns_of_utc(self.start_utc_ns)

    @property
    def start_utc(self) -> dt.datetime | None:
        """UTC of the first sample, to the microsecond below; None if nothing says it."""
        start_ns = self.nominal_start_ns
        return None if start_ns is None else to_utc(start_ns)

    def disciplined(self, sigma_ns: float) -> TimedRecording:
        """The same on GPS time, if its owner knows that GPS disciplines the clock that wrote its start.

        The same clock must drive the samples: the time of a later sample is as good as that of the first.

        Args:
            sigma_ns: Standard deviation of that clock.

        Returns:
            This recording itself if it has GPS time already, or if its start is not known.
        """
        if self.start_gps_ns is not None or self.start_utc_ns is None or self.start_step_ns is None:
            return self
        # Programs cut the digits that they do not write, or round: the error is within one whole step.
        rounding_ns = self.start_step_ns / math.sqrt(3)
        sigma = TimingSigma.constant(math.hypot(sigma_ns, rounding_ns))
        return replace(self, start_gps_ns=gps_ns_of_utc(self.start_utc_ns), timing_sigma=sigma)

    def time_ns(self, sample: int) -> int:
        """Nominal GPS time of a sample, nanoseconds since 1980-01-06.

        Raises:
            ValueError: Nothing says when the recording began.
        """
        start_ns = self.nominal_start_ns
        if start_ns is None:
            raise ValueError("nothing says when this recording began")
        return start_ns + round(sample * SECOND_NS / self.sample_rate_hz)

    def first_sample_at(self, gps_ns: int) -> int:
        """Number of the first sample at or after a nominal GPS time; it may lie outside of the stretch."""
        return math.ceil((gps_ns - self.time_ns(0)) * self.sample_rate_hz / SECOND_NS)

    def timing_sigma_ns(self, first: int, end: int) -> float | None:
        """Standard deviation of the GPS time of samples.

        Args:
            first: Number of the first sample in question.
            end: Number of the one after the last.

        Returns:
            The largest one of these samples, nanoseconds; None if one of them has no GPS time, or one that
            is too uncertain to be of use (`limits.USEFUL_TIMING_SIGMA_NS`).
        """
        if self.timing_sigma is None:
            return None
        worst_ns = self.timing_sigma.worst_ns(first, end)
        return worst_ns if worst_ns <= limits.USEFUL_TIMING_SIGMA_NS else None


def checked_rate(subject: str, sample_rate_hz: float) -> float:
    """The same rate.

    Raises:
        HeimdallError: It is outside of `MIN_RATE_HZ` to `MAX_RATE_HZ`.
    """
    if not MIN_RATE_HZ <= sample_rate_hz <= MAX_RATE_HZ:
        raise HeimdallError(
            subject,
            f"a sample rate of {sample_rate_hz:g} Hz",
            "Give a recording of 8 kHz to 10 MHz; resample one of another rate",
        )
    return sample_rate_hz


def limited(
    subject: str, pieces: Sequence[tuple[int, int]], rate_hz: float, read: int = 0
) -> tuple[list[tuple[int, int]], tuple[str, ...]]:
    """As much of a stretch as is read of a file.

    Args:
        subject: Names the file in messages.
        pieces: Offset and number of samples of each piece of the stretch.
        rate_hz: Sample rate.
        read: Samples of the file's other stretches that are read.

    Returns:
        The pieces up to `MAX_SAMPLES` samples of the file together, and a remark if there are more.

    Raises:
        HeimdallError: So many are read already.
    """
    kept: list[tuple[int, int]] = []
    left = most = MAX_SAMPLES - read
    if left <= 0:
        cause = f"{MAX_SAMPLES} samples before it are read, and no more of one file"
        raise HeimdallError(subject, cause, "Cut the recording into several files")
    for offset, count in pieces:
        if left > 0 or not kept:
            kept.append((offset, min(count, left)))
        left -= count
    if left >= 0:
        return kept, ()
    whole = (most - left) / rate_hz
    return kept, (f"only its first {most / rate_hz:.1f} s of {whole:.1f} s are read",)


def check_samples(
    subject: str, samples: Samples, sample_rate_hz: float, remedy: str = "Give another recording"
) -> None:
    """Refuse a recording that is too short or that no receiver delivers.

    Args:
        subject: Names it in messages.
        samples: All of it.
        sample_rate_hz: Its rate.
        remedy: What else may be wrong than the recording.

    Raises:
        HeimdallError: It is shorter than `iq.MIN_DURATION_S`, all of its samples are equal, it is a real
            signal as stereo sound or with a constant Q, or as `iq.check_values` says.
    """
    shortest = math.ceil(sample_rate_hz * iq.MIN_DURATION_S)
    if len(samples) < shortest:
        cause = f"{len(samples)} samples, fewer than the {shortest} of {iq.MIN_DURATION_S:g} s"
        raise HeimdallError(subject, cause, remedy)
    try:
        iq.check_values(samples)
    except iq.BadRecording as error:
        raise HeimdallError(subject, error.detail, remedy) from None
    # A receiver that is switched off, in a format whose zero is not exact.
    if samples[0] == samples[-1] and (samples == samples[0]).all():
        raise HeimdallError(subject, f"all {len(samples)} samples are equal", remedy)
    few = samples[:shortest]  # tells nearly always, without memory for all
    same = bool((few.real == few.imag).all() and (samples.real == samples.imag).all())
    constant = any(
        bool((part[:shortest] == part[0]).all() and (part == part[0]).all())
        for part in (samples.real, samples.imag)
    )
    if same or constant:
        cause = "I and Q are equal, or one of them is constant, as of a real signal: its phase is lost"
        raise HeimdallError(subject, f"{cause}, and so is the arrival time", remedy)
