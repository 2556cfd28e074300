"""Samples without a header that says much: raw files, and NumPy's `.npy`.

What they do not say comes from the user, from a sidecar (`x.json` beside `x.npy`), or from the file's name.
"""

from __future__ import annotations

from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, recording, sample_types, sidecar
from heimdall.formats.gps_time import utc_ns
from heimdall.formats.recording import TimedRecording
from heimdall.formats.sample_types import SampleType, Source
from heimdall.recordings import iq

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
    named, beside = file_names.parse(path), sidecar.read(path)
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
    if named.start is not None and beside.start_gps_ns is None:
        remarks = (*remarks, *named.remarks)
    return beside.completed(
        TimedRecording(
            samples,
            rate_hz,
            start_utc_ns=None if named.start is None else utc_ns(named.start),
            start_step_ns=None if named.start is None else 1e9,
            frequency_hz=named.frequency_hz,
            remarks=remarks,
            source=Source(path, kind, tuple(pieces)),
        )
    )
