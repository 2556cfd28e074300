"""SigMF: metadata in JSON (`.sigmf-meta`) beside the samples (`.sigmf-data`), or both in a tar (`.sigmf`).

The library `sigmf` has the schema of each version of the format, against which the metadata are checked.
"""

from __future__ import annotations

import json
import re
import tarfile
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.formats import recording, sample_types
from heimdall.formats.gps_time import SECOND_NS, Moment, is_plausible
from heimdall.formats.recording import TimedRecording
from heimdall.formats.sample_types import SampleType, Source

META, DATA, ARCHIVE = ".sigmf-meta", ".sigmf-data", ".sigmf"
_MAX_META_BYTES = 1 << 24
_DATATYPE = re.compile(r"c(?:(f)(32|64)|([iu])(8|16|32))(?:_([lb])e)?")
_MOMENT = re.compile(r"(\d{4}-\d\d-\d\d[T ]\d\d:\d\d:\d\d)(?:[.,](\d+))?(?:Z|[+-]\d\d:?\d\d)?", re.IGNORECASE)
_SAME_TIME_NS = 1_000_000  # a capture that begins where the former one ends, but for the rounding of its time
_REMEDY = "Correct the SigMF metadata, or give the samples as a raw file with --sample-rate"


@dataclass(frozen=True)
class _Source:
    """Metadata, and where in which file the samples are."""

    path: Path
    meta: dict[str, Any]
    data: Path
    offset: int
    size: int


@dataclass(frozen=True)
class _Capture:
    """One element of `captures`: where its samples are, and when and at which frequency they were made.

    `index` counts the receiver's samples, lost ones included; `counted` says that the metadata have it, and
    `start_ns` is what they say of the time. `before` is true of a time that follows from a later capture's.
    """

    first: int
    end: int
    offset: int
    index: int
    counted: bool
    frequency_hz: float | None
    start_ns: int | None
    step_ns: float | None
    remarks: tuple[str, ...] = ()
    before: bool = False


def read(path: Path, start: Moment | None = None) -> list[TimedRecording]:
    """Read every stretch: captures that follow one another without a gap, at one frequency, are one.

    Args:
        path: The metadata, the data beside them, or an archive.
        start: Time of the first sample by the user's word, if no capture has a time. All stretches follow it.

    Raises:
        HeimdallError: Metadata or data are missing, contradict the schema or each other, are truncated, or
            hold anything but one channel of complex samples.
    """
    source = _open(path)
    whole = source.meta["global"]
    kind = _kind(path, whole)
    if "core:sample_rate" not in whole:
        raise HeimdallError(str(path), "no core:sample_rate", _REMEDY)
    rate_hz = recording.checked_rate(str(path), float(whole["core:sample_rate"]))
    _check_hash(source)
    captures = _timed(_of_equal_digits(_captures(source, kind)), rate_hz, start)
    found: list[TimedRecording] = []
    refused: list[HeimdallError] = []
    for joined in _joined(captures, rate_hz):
        try:
            found.append(_stretch(source, kind, rate_hz, joined, sum(len(one.samples) for one in found)))
        except HeimdallError as error:  # such as one that is too short
            refused.append(error)
    if not found:
        raise refused[0] if refused else HeimdallError(str(path), "no samples", _REMEDY)
    first = min(one.first for one in captures)
    before = (f"{first} samples before its first capture are left out",) if first > 0 else ()
    left_out = before + tuple(dict.fromkeys(f"a stretch of it is left out: {one.cause}" for one in refused))
    empty = sum(one.end == one.first for one in captures[:-1])  # the last one, if a recorder was stopped
    if empty:
        left_out += (f"{empty} of its captures have no samples, and do not count",)
    rest = source.size - int(whole.get("core:trailing_bytes", 0)) - captures[-1].offset + source.offset
    if rest % kind.sample_bytes:
        left_out += (f"{rest % kind.sample_bytes} bytes of an incomplete sample at its end are not read",)
    return [replace(found[0], remarks=found[0].remarks + left_out), *found[1:]]


def place(path: Path) -> tuple[float, float, float | None] | None:
    """Latitude and longitude in degrees and altitude in metres of the receiver, if the metadata say it.

    Args:
        path: As for `read`.

    Returns:
        The `core:geolocation` of the captures, or else of the whole; the altitude may be missing.

    Raises:
        HeimdallError: As of `read`; or the receiver moved, or the place is none.
    """
    meta = _open(path).meta
    said = [one["core:geolocation"] for one in meta.get("captures") or [] if "core:geolocation" in one]
    said = said or [one for one in (meta["global"].get("core:geolocation"),) if one]
    points = {tuple(one["coordinates"]) for one in said}
    if not points:
        return None
    longitude_deg, latitude_deg, *altitude_m = point = points.pop()
    if points or not (abs(latitude_deg) <= 90 and abs(longitude_deg) <= 180):
        cause = f"core:geolocation is {point} and others" if points else f"core:geolocation is {point}"
        raise HeimdallError(str(path), cause, "Give the receiver's place with --receivers or --receiver")
    return float(latitude_deg), float(longitude_deg), float(altitude_m[0]) if altitude_m else None


def is_sigmf(path: Path) -> bool:
    """Whether a file is one of SigMF, by its name."""
    return path.suffix in (META, DATA, ARCHIVE)


def _stretch(
    source: _Source, kind: SampleType, rate_hz: float, captures: list[_Capture], read: int
) -> TimedRecording:
    """Samples and times of some captures, after as many samples of the file as are read."""
    first = captures[0]
    pieces = [(one.offset, one.end - one.first) for one in captures]
    pieces, remarks = recording.limited(str(source.path), pieces, rate_hz, read)
    samples = sample_types.read(source.data, kind, pieces)
    recording.check_samples(str(source.path), samples, rate_hz)
    start_ns, step_ns = _start(captures, rate_hz)
    return TimedRecording(
        samples,
        rate_hz,
        start_utc_ns=start_ns,
        start_step_ns=step_ns,
        frequency_hz=first.frequency_hz,
        remarks=(*dict.fromkeys(remark for one in captures for remark in one.remarks), *remarks),
        source=Source(source.data, kind, tuple(pieces)),
    )


def _of_equal_digits(captures: list[_Capture]) -> list[_Capture]:
    """The captures with the finest step that one of them writes: programs leave zeros at the end out."""
    finest_ns = min((one.step_ns for one in captures if one.step_ns is not None), default=None)
    return [one if one.step_ns is None else replace(one, step_ns=finest_ns) for one in captures]


def _timed(captures: list[_Capture], rate_hz: float, start: Moment | None) -> list[_Capture]:
    """The captures before the first time with the times that follow from it."""
    number = next((number for number, one in enumerate(captures) if one.start_ns is not None), None)
    if number is None:
        if start is None:
            return captures
        return [replace(captures[0], start_ns=start.ns, step_ns=start.step_ns), *captures[1:]]
    known = captures[number]
    before = [
        replace(one, start_ns=_follows_ns(known, one, rate_hz), step_ns=known.step_ns, before=True)
        for one in captures[:number]
    ]
    return before + captures[number:]


def _follows_ns(known: _Capture, other: _Capture, rate_hz: float) -> int:
    """Time of a capture by that of another one and the samples between them."""
    assert known.start_ns is not None  # noqa: S101 - that is what it is known for
    return known.start_ns + round((other.index - known.index) * SECOND_NS / rate_hz)


def _start(captures: list[_Capture], rate_hz: float) -> tuple[int | None, float | None]:
    """Start of a stretch by the first of its times, and the largest of their steps and disagreements."""
    timed = [
        (one.start_ns - round((one.first - captures[0].first) * SECOND_NS / rate_hz), one.step_ns or 0.0)
        for one in captures
        if one.start_ns is not None
    ]
    if not timed:
        return None, None
    start_ns = timed[0][0]
    return start_ns, max(step_ns + abs(at_ns - start_ns) * (at_ns != start_ns) for at_ns, step_ns in timed)


def _open(path: Path) -> _Source:
    try:
        if path.suffix == ARCHIVE:
            return _open_archive(path)
        meta_path = path.with_suffix(META)
        with meta_path.open("rb") as file:
            meta = _metadata(meta_path, file.read(_MAX_META_BYTES + 1))
        name = meta["global"].get("core:dataset", meta_path.with_suffix(DATA).name)
        if Path(name).name != name:
            raise HeimdallError(str(path), f"core:dataset is {name[:60]!r}, not a file beside it", _REMEDY)
        data = meta_path.with_name(name)
        return _Source(path, meta, data, 0, data.stat().st_size)
    except (OSError, tarfile.TarError, MemoryError) as error:  # a header may ask for any number of bytes
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error) or "damaged"
        subject = str(getattr(error, "filename", None) or path)
        remedy = f"Keep {META} and {DATA} of one recording together"
        raise HeimdallError(subject, f"cannot be read ({' '.join(reason.split())[:80]})", remedy) from None


def _open_archive(path: Path) -> _Source:
    with tarfile.open(path, "r:") as archive:
        members = [member for member in archive if member.isfile()]
        metas = [member for member in members if member.name.endswith(META)]
        datas = [member for member in members if member.name.endswith(DATA)]
        if len(metas) != 1 or len(datas) != 1:
            cause = f"{len(metas)} metadata and {len(datas)} data files instead of one recording"
            raise HeimdallError(str(path), cause, "Unpack it with tar, and give its .sigmf-meta files")
        file = archive.extractfile(metas[0])
        meta = _metadata(path, b"" if file is None else file.read(_MAX_META_BYTES + 1))
        data = datas[0]
        if data.offset_data + data.size > path.stat().st_size:
            raise HeimdallError(str(path), "truncated", "Copy it again from where it was recorded")
        return _Source(path, meta, path, data.offset_data, data.size)


def _metadata(path: Path, content: bytes) -> dict[str, Any]:
    """Metadata that the schema of their version allows."""
    # Slower to import than all else here, and needed for this format alone.
    import jsonschema  # noqa: PLC0415
    import sigmf.schema  # noqa: PLC0415
    import sigmf.validate  # noqa: PLC0415

    try:
        meta = json.loads(content)
        if isinstance(meta, dict):
            meta.setdefault("annotations", [])  # often left out, and not needed
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of extensions that are used without being declared
            sigmf.validate.validate(meta, sigmf.schema.get_schema())
    except (ValueError, RecursionError, TypeError) as error:
        cause = f"no SigMF metadata ({' '.join(str(error).split())[:100]})"
        raise HeimdallError(str(path), cause, _REMEDY) from None
    except jsonschema.ValidationError as error:
        where = "/".join(map(str, error.absolute_path)) or "metadata"
        cause = f"{where}: {' '.join(error.message.split())[:120]}"
        raise HeimdallError(str(path), cause, _REMEDY) from None
    checked: dict[str, Any] = meta
    return checked


def _kind(path: Path, whole: dict[str, Any]) -> SampleType:
    datatype = str(whole["core:datatype"])
    match = _DATATYPE.fullmatch(datatype)
    if not match:
        cause = f"core:datatype is {datatype[:20]}"
        if datatype.startswith("r"):
            cause += ", a real signal: its phase is lost, and so is the arrival time"
        raise HeimdallError(str(path), cause, "Give complex samples, such as cf32_le or ci16_le")
    if whole.get("core:num_channels", 1) != 1:
        raise HeimdallError(str(path), f"{whole['core:num_channels']} channels", "Give one channel a file")
    order = ">" if match[5] == "b" else "<"
    if match[1]:
        return sample_types.floats(int(match[2]), order)
    return (sample_types.integers if match[3] == "i" else sample_types.unsigned)(int(match[4]), order)


def _check_hash(source: _Source) -> None:
    wanted = source.meta["global"].get("core:sha512")
    if not isinstance(wanted, str):
        return
    from sigmf.hashing import calculate_sha512  # noqa: PLC0415 - as above

    if calculate_sha512(filename=source.data, offset=source.offset, size=source.size) != wanted.lower():
        cause = "its samples are not those of core:sha512: truncated or changed"
        raise HeimdallError(str(source.path), cause, "Copy it again from where it was recorded")


def _captures(source: _Source, kind: SampleType) -> list[_Capture]:
    """All captures, by their first sample; without any, the whole file is one."""
    whole = source.meta["global"]
    size = source.size - int(whole.get("core:trailing_bytes", 0))
    listed = sorted(source.meta.get("captures") or [{}], key=lambda one: one.get("core:sample_start", 0))
    starts = [int(one.get("core:sample_start", 0)) for one in listed]
    # Of a recording that was split over several files, numbers of samples count from the first file's begin.
    begin = int(whole.get("core:offset", 0))
    indexes = _indexes(starts, [one.get("core:global_index") for one in listed])
    if begin and min(starts) >= begin:
        starts = [first - begin for first in starts]
    header_bytes, captures = 0, []
    for number, (one, first) in enumerate(zip(listed, starts, strict=True)):
        header_bytes += int(one.get("core:header_bytes", 0))
        end = (size - header_bytes) // kind.sample_bytes
        end = starts[number + 1] if number + 1 < len(starts) else end
        offset = header_bytes + first * kind.sample_bytes
        if header_bytes + end * kind.sample_bytes > size or first > end:
            cause = f"truncated: capture {number} begins at sample {first} and ends at {end}, beyond the data"
            raise HeimdallError(str(source.path), cause, "Copy it again from where it was recorded")
        moment = one.get("core:datetime")
        start_ns, step_ns = (None, None) if moment is None else _time(source.path, str(moment))
        remarks: tuple[str, ...] = ()
        if start_ns is not None and not is_plausible(start_ns):
            start_ns, step_ns = None, None
            remarks = (f"core:datetime {str(moment)[:30]} is no time of a recording, and is left out",)
        frequency_hz = float(one.get("core:frequency") or 0)
        captures.append(
            _Capture(
                first=first,
                end=end,
                offset=source.offset + offset,
                index=indexes[number],
                counted="core:global_index" in one,
                frequency_hz=frequency_hz if frequency_hz > 0 else None,
                start_ns=start_ns,
                step_ns=step_ns,
                remarks=remarks,
            )
        )
    return captures


def _indexes(starts: list[int], said: list[Any]) -> list[int]:
    """The `core:global_index` of each capture.

    One that is not said is `core:sample_start`, by the format's word; but a stream does not go back, so that
    it follows from the former capture if that one is further.

    Args:
        starts: `core:sample_start` of each capture, counted from the first file of a recording.
        said: Its `core:global_index`, or None.
    """
    found: list[int] = []
    for number, (start, own) in enumerate(zip(starts, said, strict=True)):
        follows = found[-1] + start - starts[number - 1] if found else start
        found.append(max(start, follows) if own is None else int(own))
    return found


def _joined(captures: list[_Capture], rate_hz: float) -> list[list[_Capture]]:
    """Captures in groups without a gap; a time that is not said follows from an earlier one's.

    Where neither numbers of samples nor the digits of the times tell whether samples were lost between two
    captures, they are not joined.
    """
    groups: list[list[_Capture]] = []
    timed: _Capture | None = None
    for found in captures:
        one = found
        former = groups[-1][-1] if groups else None
        gap = (
            former is None
            or one.index - former.index != one.first - former.first
            or one.frequency_hz != former.frequency_hz
        )
        if timed is not None and timed.start_ns is not None:
            expected_ns, step_ns = _follows_ns(timed, one, rate_hz), timed.step_ns or 0.0
            if one.start_ns is None:
                one = replace(one, start_ns=expected_ns, step_ns=timed.step_ns)
            elif not timed.before:
                step_ns = max(_SAME_TIME_NS, one.step_ns or 0.0, step_ns)
                apart = abs(one.start_ns - expected_ns) > step_ns
                counted = one.counted and timed.counted
                if not (gap or apart or counted) and step_ns > _SAME_TIME_NS:
                    one = replace(one, remarks=(*one.remarks, _unknown_loss(one, step_ns)))
                    gap = True
                gap = gap or apart
        if gap:
            groups.append([])
        groups[-1].append(one)
        timed = one if one.start_ns is not None and (timed is None or gap or timed.before) else timed
    return [
        [one for one in group if one.end > one.first] for group in groups if group[-1].end > group[0].first
    ]


def _unknown_loss(capture: _Capture, step_ns: float) -> str:
    return (
        f"whether samples were lost before its sample {capture.first} the times of the captures do not tell, "
        f"which are written to {step_ns / SECOND_NS:g} s: there another stretch begins"
    )


def _time(path: Path, text: str) -> tuple[int, float]:
    """Nanoseconds since 1970 of an RFC 3339 time, and its last digit in nanoseconds."""
    try:
        if not _MOMENT.fullmatch(text.strip()):
            raise ValueError
        moment = Moment.parse(text)
    except ValueError:
        cause = f"core:datetime is {text[:40]!r}"
        raise HeimdallError(str(path), cause, "Write it as 2026-01-31T12:00:00.000000000Z") from None
    return moment.ns, moment.step_ns
