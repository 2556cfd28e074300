"""Any file of a recording: its format is recognised by its content, then by its name."""

from __future__ import annotations

import contextlib
import datetime as dt
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.formats import gps_time, kiwi, plain, riff, sidecar, sigmf_files, wav
from heimdall.formats.gps_time import SECOND_NS, Moment, utc_ns
from heimdall.formats.receivers_file import Site
from heimdall.formats.recording import TimedRecording
from heimdall.formats.sidecar import Sidecar
from heimdall.recordings import iq

_HEAD_BYTES = iq.MAX_HEADER_BYTES + 12
SAME_START_NS = 1_000_000_000
MIN_OVERLAP_NS = 1_000_000  # consecutive files may meet within the rounding of their starts


@dataclass(frozen=True)
class Hints:
    """What the user says of files that do not say it themselves.

    Attributes:
        near: UTC within half a week of a KiwiSDR's recording, if its name has no time.
        start: Time of the first sample, if the file does not say it.
        sample_rate_hz: For raw and `.npy` files.
        sample_format: How a raw file stores samples: a key of `plain.RAW_TYPES`.
        only_kiwi: Refuse whatever is no KiwiSDR's recording.
    """

    near: dt.datetime | None = None
    start: Moment | None = None
    sample_rate_hz: float | None = None
    sample_format: str | None = None
    only_kiwi: bool = False


def read(path: Path, hints: Hints | None = None) -> list[TimedRecording]:
    """Read a recording, whatever program wrote it.

    Args:
        path: The file.
        hints: What the file may not say.

    Returns:
        Every stretch without a gap, in the file's order; at least one.

    Raises:
        HeimdallError: The file cannot be read, is of no known format, is damaged, or lacks what is needed.
    """
    hints = hints or Hints()
    recordings = [_plausible(one) for one in _read(path, hints)]
    if hints.start is None:
        return recordings
    first, start = recordings[0], hints.start
    if first.start_utc is None:
        return [replace(first, start_utc_ns=start.ns, start_step_ns=start.step_ns), *recordings[1:]]
    step_ns = first.start_step_ns or 0.0  # a start of unknown accuracy is as good as one by GPS
    if abs(utc_ns(first.start_utc) - start.ns) <= max(SAME_START_NS, step_ns, start.step_ns):
        if start.step_ns >= step_ns:
            return recordings
        if len(recordings) == 1:
            return [replace(first, start_utc_ns=start.ns, start_step_ns=start.step_ns)]
    remark = "it says itself when it began, and --start does not count"
    return [replace(first, remarks=(*first.remarks, remark)), *recordings[1:]]


def read_of(path: Path, site: Site, hints: Hints | None = None) -> list[TimedRecording]:
    """Read a receiver's recording, on GPS time if its owner says that GPS disciplines the receiver's clock.

    Args:
        path: The file.
        site: The receiver.
        hints: What the file may not say.

    Raises:
        HeimdallError: As of `read`.
    """
    sigma_ns = site.timing_sigma_ns
    found = read(path, hints)
    return found if sigma_ns is None else [one.disciplined(sigma_ns) for one in found]


def _beside(path: Path, found: list[TimedRecording]) -> list[TimedRecording]:
    """The stretches of a file that says itself what a .json beside it may say of others."""
    with contextlib.suppress(HeimdallError):  # of another program, and none of ours
        if sidecar.read(path) != Sidecar(unknown=sidecar.read(path).unknown):
            remark = "the .json beside it does not count, for the file has times of its own"
            return [replace(found[0], remarks=(*found[0].remarks, remark)), *found[1:]]
    return found


def _plausible(recording: TimedRecording) -> TimedRecording:
    """The same without a start by a clock that was never set, or that counts from another year."""
    start_ns, gps_ns = recording.start_utc_ns, recording.start_gps_ns
    if start_ns is None and gps_ns is not None:
        start_ns = gps_ns + gps_time.EPOCHS_APART_NS
    if start_ns is None or gps_time.is_plausible(start_ns):
        return recording
    remark = "its start is no time of a recording, and is left out"
    if gps_ns is not None:
        remark = f"start_gps_ns, which counts from {gps_time.GPS_EPOCH:%Y-%m-%d}, is none of a recording"
    return replace(
        recording,
        start_utc_ns=None,
        start_step_ns=None,
        start_gps_ns=None,
        timing_sigma=None,
        remarks=(*recording.remarks, remark),
    )


def overlap_s(recordings: Sequence[TimedRecording]) -> float:
    """For how long a receiver's stretches overlap in time, by their nominal starts."""
    timed = [one for one in recordings if one.nominal_start_ns is not None]
    ends = sorted((one.time_ns(0), one.time_ns(len(one.samples))) for one in timed)
    overlap_ns, reached_ns = 0, 0
    for begin_ns, end_ns in ends:
        overlap_ns += max(0, min(reached_ns, end_ns) - begin_ns)
        reached_ns = max(reached_ns, end_ns)
    return overlap_ns / SECOND_NS if overlap_ns > MIN_OVERLAP_NS else 0.0


def _read(path: Path, hints: Hints) -> list[TimedRecording]:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES)
    except OSError as error:
        raise unreadable(path, error) from None
    if riff.is_wav(head):
        chunks = riff.chunks(path)
        if hints.only_kiwi or kiwi.has_stamps(chunks):
            return _beside(path, kiwi.read(path, chunks, hints.near))
        return wav.read(path, chunks, hints.start)
    if hints.only_kiwi:
        raise HeimdallError(str(path), "not a WAV file", "Give a KiwiSDR's recording, or leave `kiwi` out")
    if sigmf_files.is_sigmf(path):
        return _beside(path, sigmf_files.read(path, hints.start))
    if head.startswith(iq.MAGIC) or path.suffix == ".npy":
        return plain.read_npy(path, head, hints.sample_rate_hz)
    kind = plain.raw_type(path, hints.sample_format)
    if kind is None:
        formats = "KiwiSDR, WAV, SigMF and .npy are recognised"
        types = ", ".join(plain.RAW_TYPES)
        raise HeimdallError(
            str(path),
            f"no known format of a recording ({formats})",
            f"Give --sample-format of a raw file: {types}",
        )
    return plain.read_raw(path, kind, hints.sample_rate_hz)
