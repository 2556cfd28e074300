"""Samples without a header that says much: raw files, and NumPy's `.npy`.

What they do not say comes from the user, from a sidecar (`x.json` beside `x.npy`), or from the file's name.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.formats import file_names, recording, sample_types
from heimdall.formats.gps_time import to_utc, utc_ns
from heimdall.formats.recording import TimedRecording, TimingSigma
from heimdall.formats.sample_types import SampleType, Source
from heimdall.recordings import iq, limits

RAW_TYPES: dict[str, SampleType] = {
    "cu8": sample_types.unsigned(8, symmetric=True),
    "cs8": sample_types.integers(8),
    "cu16": sample_types.unsigned(16, symmetric=True),
    "cs16": sample_types.integers(16),
    "cs32": sample_types.integers(32),
    "cf32": sample_types.floats(32),
    "cf64": sample_types.floats(64),
}
# What other programs call the same; gqrx and GNU Radio write complex floats.
_SYNONYMS = {
    "complex16u": "cu8",
    "complex16s": "cs8",
    "ci8": "cs8",
    "ci16": "cs16",
    "ci32": "cs32",
    "fc32": "cf32",
    "cfile": "cf32",
    "sc16": "cs16",
    "sc8": "cs8",
}
_MAX_SIDECAR_BYTES = 1 << 16


@dataclass(frozen=True)
class _Sidecar:
    """What a file of JSON beside the samples says; each of it may be missing. `unknown` are other keys."""

    sample_rate_hz: float | None = None
    frequency_hz: float | None = None
    start_gps_ns: int | None = None
    timing_sigma_ns: float | None = None
    timing_drift_ns_per_s: float | None = None
    receiver: str | None = None
    unknown: tuple[str, ...] = ()


_KEYS = {one.name for one in fields(_Sidecar)} - {"unknown"}


def named_receiver(path: Path) -> str | None:
    """The receiver that the sidecar of a raw or `.npy` file names, if there is one."""
    plainly = path.suffix.lower() == ".npy" or raw_type(path, None) is not None
    return _sidecar(path).receiver if plainly else None


def raw_type(path: Path, sample_format: str | None) -> SampleType | None:
    """How the components of a raw file are stored, by the user's word or the file's name; None if unknown."""
    name = sample_format or path.suffix.lower().removeprefix(".")
    kind = RAW_TYPES.get(_SYNONYMS.get(name, name))
    if kind is None and path.name.startswith("gqrx_") and path.stem.endswith("_fc"):
        return RAW_TYPES["cf32"]
    return kind


def read_raw(path: Path, kind: SampleType, sample_rate_hz: float | None) -> list[TimedRecording]:
    """Read a raw file as one stretch.

    Raises:
        HeimdallError: Its rate is not known, it has no whole number of samples, or holds no signal.
    """
    size = path.stat().st_size
    if size % kind.sample_bytes:
        cause = f"{size} bytes are no whole number of samples of {kind.sample_bytes} bytes"
        raise HeimdallError(str(path), cause, "Give its type with --sample-format, or copy it again")
    (name,) = (name for name, one in RAW_TYPES.items() if one == kind)
    remedy = f"It is read as {name}: if that is wrong, give --sample-format; if not, another recording"
    return [_recording(path, kind, (0, size // kind.sample_bytes), sample_rate_hz, remedy)]


def read_npy(path: Path, head: bytes, sample_rate_hz: float | None) -> list[TimedRecording]:
    """Read a `.npy` file of one dimension as one stretch.

    Args:
        path: The file.
        head: Its beginning, at least `iq.MAX_HEADER_BYTES` and the 12 bytes before them if it has so many.
        sample_rate_hz: By the user's word.

    Raises:
        HeimdallError: As `iq.decode` and `read_raw` refuse.
    """
    try:
        dtype, count, start = iq.read_header(head)
    except iq.BadRecording as error:
        remedy = "Give a .npy file of one dimension, complex64 or complex128"
        raise HeimdallError(str(path), error.detail, remedy) from None
    kind = sample_types.floats(32 if dtype.endswith("c8") else 64, dtype[0])
    expected, size = start + count * kind.sample_bytes, path.stat().st_size
    if size != expected:
        cause = f"{'truncated: ' if size < expected else ''}{size} bytes where its header declares {expected}"
        raise HeimdallError(str(path), cause, "Copy it again from where it was recorded")
    return [_recording(path, kind, (start, count), sample_rate_hz, "Give another recording")]


def _recording(
    path: Path, kind: SampleType, piece: tuple[int, int], sample_rate_hz: float | None, remedy: str
) -> TimedRecording:
    """Of `piece`, an offset and a number of samples; `remedy` is for samples that no receiver delivers."""
    named, beside = file_names.parse(path), _sidecar(path)
    rate_hz = sample_rate_hz or beside.sample_rate_hz or named.sample_rate_hz
    if rate_hz is None:
        has = f": the .json beside it has {', '.join(beside.unknown)}" if beside.unknown else ""
        raise HeimdallError(
            str(path),
            f"nothing says its sample rate{has}",
            "Give --sample-rate, or sample_rate_hz in a .json beside it",
        )
    rate_hz = recording.checked_rate(str(path), rate_hz)
    pieces, remarks = recording.limited(str(path), [piece], rate_hz)
    samples = sample_types.read(path, kind, pieces)
    recording.check_samples(str(path), samples, rate_hz, remedy)
    if beside.unknown:
        remarks = (*remarks, f"not known in the .json beside it: {', '.join(beside.unknown)}")
    gps_timed = beside.start_gps_ns is not None and beside.timing_sigma_ns is not None
    start_ns, step_ns = (None, None) if named.start is None else (utc_ns(named.start), 1e9)
    if start_ns is not None and beside.start_gps_ns is None:
        remarks = (*remarks, *named.remarks)
    if named.start is not None and beside.start_gps_ns is not None:
        said = to_utc(beside.start_gps_ns)
        if abs(utc_ns(said) - utc_ns(named.start)) > file_names.SAME_START_NS:
            times = f"at {named.start.isoformat()}, the .json beside it at {said.isoformat()}, which counts"
            remarks = (*remarks, f"its name says that it began {times}")
    if beside.start_gps_ns is not None and not gps_timed:  # a start, and nobody knows how good
        start_ns, step_ns = utc_ns(to_utc(beside.start_gps_ns)) + beside.start_gps_ns % 1000, None
    return TimedRecording(
        samples,
        rate_hz,
        start_gps_ns=beside.start_gps_ns if gps_timed else None,
        timing_sigma=_sigma(beside, len(samples), rate_hz) if gps_timed else None,
        start_utc_ns=start_ns,
        start_step_ns=step_ns,
        receiver=beside.receiver,
        frequency_hz=beside.frequency_hz or named.frequency_hz,
        remarks=remarks,
        source=Source(path, kind, tuple(pieces)),
        free_running=gps_timed and beside.timing_drift_ns_per_s is not None,
    )


def _sigma(beside: _Sidecar, count: int, rate_hz: float) -> TimingSigma:
    """That of the start; it grows by the drift of the clock that drives the samples, if the file says one."""
    sigma_ns = beside.timing_sigma_ns or 0.0
    if beside.timing_drift_ns_per_s is None:
        return TimingSigma.constant(sigma_ns)
    second = np.arange(math.ceil(count / rate_hz))
    return TimingSigma(
        (second * rate_hz).astype(np.int64), np.hypot(sigma_ns, beside.timing_drift_ns_per_s * (second + 1))
    )


def _sidecar(path: Path) -> _Sidecar:
    beside = path.with_suffix(".json")
    try:
        with beside.open("rb") as file:
            content = file.read(_MAX_SIDECAR_BYTES)
    except FileNotFoundError:
        return _Sidecar()
    except OSError as error:
        raise unreadable(beside, error) from None
    try:
        document = json.loads(content)
        if not isinstance(document, dict):
            raise ValueError("no object")
        return _Sidecar(
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
