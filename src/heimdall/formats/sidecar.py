"""What a file of JSON beside a recording says of it: `x.json` beside `x.npy`, `x.cu8` or `x.wav`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.formats import file_names
from heimdall.formats.gps_time import EPOCHS_APART_NS, Moment, is_plausible, to_utc, utc_ns
from heimdall.formats.recording import TimedRecording, TimingSigma
from heimdall.recordings import limits

_MAX_BYTES = 1 << 16


@dataclass(frozen=True)
class Sidecar:
    """What the file says; each of it may be missing. `unknown` are its other keys."""

    sample_rate_hz: float | None = None
    frequency_hz: float | None = None
    start_gps_ns: int | None = None
    timing_sigma_ns: float | None = None
    timing_drift_ns_per_s: float | None = None
    receiver: str | None = None
    unknown: tuple[str, ...] = ()

    @property
    def start(self) -> Moment | None:
        """UTC of the first sample; None if the file does not say it, or if it is none of a recording."""
        if self.start_gps_ns is None or not is_plausible(self.start_gps_ns + EPOCHS_APART_NS):
            return None
        return Moment(utc_ns(to_utc(self.start_gps_ns)) + self.start_gps_ns % 1000, 1.0)

    def completed(self, recording: TimedRecording) -> TimedRecording:
        """A recording with what this says of it, which wins over what its name or header says.

        Args:
            recording: One stretch that is all of the file, without GPS time.
        """
        remarks = recording.remarks
        if self.unknown:
            remarks = (*remarks, f"not known in the .json beside it: {', '.join(self.unknown)}")
        found = replace(
            recording,
            receiver=self.receiver or recording.receiver,
            frequency_hz=self.frequency_hz or recording.frequency_hz,
            remarks=remarks,
        )
        if self.start_gps_ns is None:
            return found
        start, itself = self.start, found.start_utc
        if start and itself and abs(utc_ns(itself) - start.ns) > file_names.SAME_START_NS:
            times = f"at {itself.isoformat()}, the .json beside it at {start.utc.isoformat()}, which counts"
            found = replace(found, remarks=(*remarks, f"its name says that it began {times}"))
        if self.timing_sigma_ns is None:
            start_ns = start.ns if start else self.start_gps_ns + EPOCHS_APART_NS
            remark = "the .json beside it has no timing_sigma_ns, without which its start is no GPS time"
            return replace(found, start_utc_ns=start_ns, start_step_ns=None, remarks=(*found.remarks, remark))
        return replace(
            found,
            start_gps_ns=self.start_gps_ns,
            timing_sigma=self._sigma(self.timing_sigma_ns, len(found.samples), found.sample_rate_hz),
            free_running=self.timing_drift_ns_per_s is not None,
        )

    def _sigma(self, sigma_ns: float, count: int, rate_hz: float) -> TimingSigma:
        """That of the start; it grows by the drift of the clock that drives the samples, if there is one."""
        if self.timing_drift_ns_per_s is None:
            return TimingSigma.constant(sigma_ns)
        second = np.arange(math.ceil(count / rate_hz))
        drift_ns = self.timing_drift_ns_per_s * (second + 1)
        return TimingSigma((second * rate_hz).astype(np.int64), np.hypot(sigma_ns, drift_ns))


_KEYS = {one.name for one in fields(Sidecar)} - {"unknown"}


def read(path: Path) -> Sidecar:
    """What stands beside a recording; nothing if there is no such file.

    Args:
        path: The recording.

    Raises:
        HeimdallError: The file cannot be read, or is not understood.
    """
    beside = path.with_suffix(".json")
    try:
        with beside.open("rb") as file:
            content = file.read(_MAX_BYTES)
    except FileNotFoundError:
        return Sidecar()
    except OSError as error:
        raise unreadable(beside, error) from None
    try:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("no object")
        return Sidecar(
            sample_rate_hz=_positive(document, "sample_rate_hz"),
            frequency_hz=_positive(document, "frequency_hz", limits.MAX_FREQUENCY_HZ),
            start_gps_ns=_whole(document, "start_gps_ns"),
            timing_sigma_ns=_sigma_ns(document),
            timing_drift_ns_per_s=_positive(document, "timing_drift_ns_per_s"),
            receiver=None if document.get("receiver") is None else str(document["receiver"]),
            unknown=tuple(ascii(name)[1:-1][:40] for name in document if name not in _KEYS)[:8],
        )
    except (ValueError, RecursionError) as error:
        cause = f"not understood ({' '.join(str(error).split())[:80]})"
        remedy = "Correct it, or move it away and give --sample-rate"
        raise HeimdallError(str(beside), cause, remedy) from None


def _positive(document: dict[str, Any], name: str, below: float = 1e18) -> float | None:
    value = document.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 < value < below:
        raise ValueError(f"{name} is no positive number")
    return float(value)


def _sigma_ns(document: dict[str, Any]) -> float | None:
    """No clock is good to less than a nanosecond, and one that is off by more than a second tells nothing."""
    value = _positive(document, "timing_sigma_ns")
    if value is not None and not 1.0 <= value <= 1e9:
        raise ValueError("timing_sigma_ns is no number from 1 to 1e9")
    return value


def _whole(document: dict[str, Any], name: str) -> int | None:
    value = document.get(name)
    if value is None:
        return None
    if type(value) is not int or not 0 < value < 2**63:
        raise ValueError(f"{name} is no whole number of nanoseconds")
    return value
