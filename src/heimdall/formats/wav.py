"""IQ samples in a WAV file: integers and floats, RF64, and what SDR programs add about time and frequency.

What they add is compared with the file's name and with the number of samples: some programs write a local
time, or leave what was in memory.
"""

from __future__ import annotations

import datetime as dt
import re
import struct
from dataclasses import dataclass
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, recording, riff, sample_types, sidecar
from heimdall.formats.file_names import Named
from heimdall.formats.gps_time import SECOND_NS, Moment, is_plausible, utc_ns
from heimdall.formats.recording import TimedRecording
from heimdall.formats.sample_types import Source

# `auxi` of SpectraVue, HDSDR, SDRuno and SDR#: start and stop as Windows' SYSTEMTIME, then the frequency.
_AUXI = struct.Struct("<8H8HI")
# SDR Console writes the same as XML in UTF-16.
_XML_FREQUENCY = re.compile(r'RadioCenterFreq="(\d{1,12})"')
_XML_TIME = re.compile(r'CurrentTimeUTC="(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)"')
_MAX_RATE_ERROR = 0.01  # of the header's rate, against a measured one
_SAME_DURATION_NS = 2 * SECOND_NS
_NO_FREQUENCY_HZ = (0, 2**32 - 1)  # never written, or erased memory


@dataclass(frozen=True)
class _Auxi:
    """What the chunk `auxi` says; None where it says nothing, or what is impossible.

    `step_ns` is the last digit of its times.
    """

    start: dt.datetime | None = None
    stop: dt.datetime | None = None
    frequency_hz: float | None = None
    step_ns: float = 1e6


def read(path: Path, chunks: list[riff.Chunk], start: Moment | None = None) -> list[TimedRecording]:
    """Read the file's one stretch.

    Args:
        path: The file.
        chunks: As `riff.chunks` found them.
        start: By the user's word, if the times of the header and of the name cannot all be right; what the
            .json beside it says wins.

    Raises:
        HeimdallError: The file is damaged, has no samples, or holds what no receiver delivers; or its header
            and its name say two times, or its header two durations, and the user no start.
    """
    by_name = {chunk.name: chunk for chunk in reversed(chunks)}
    if b"fmt " not in by_name or not by_name.get(b"data"):
        raise HeimdallError(str(path), "a WAV file without samples", riff.REMEDY)
    form = riff.read_format(path, by_name[b"fmt "].body)
    beside = sidecar.read(path)
    rate_hz = recording.checked_rate(str(path), _rate_hz(path, float(form.rate_hz), beside.sample_rate_hz))
    start = beside.start or start
    data = by_name[b"data"]
    if data.declared is not None and data.declared > data.size:
        cause = f"truncated: {data.size} bytes of samples where the header declares {data.declared}"
        raise HeimdallError(str(path), cause, "Copy it again from where it was recorded")
    remarks = (
        [] if data.declared is not None else ["its header does not say how long it is: all of it is read"]
    )
    others = sum(chunk.size for chunk in chunks if chunk.name == b"data" and chunk != data)
    if others:
        remarks.append(f"{others} bytes of samples in another chunk `data` are not read")
    rest = data.size % form.kind.sample_bytes
    if rest:
        remarks.append(f"{rest} bytes of an incomplete sample at its end are not read")
    left = path.stat().st_size - chunks[-1].offset - chunks[-1].size
    if chunks[-1] == data and left > 8:  # the size of a longer recording than 4 GiB, or an old one, say
        remarks.append(f"{left} bytes after its samples are no chunk of a WAV file, and are not read")
    pieces, cut = recording.limited(str(path), [(data.offset, data.size // form.kind.sample_bytes)], rate_hz)
    samples = sample_types.read(path, form.kind, pieces)
    recording.check_samples(str(path), samples, rate_hz)
    named = file_names.parse(path)
    header = _auxi(by_name[b"auxi"].body) if b"auxi" in by_name else _Auxi()
    start_ns, step_ns, about_start = _start(path, header, named, start)
    lost_ns, about_loss = _lost(path, header, data.size // form.kind.sample_bytes, rate_hz, start)
    if lost_ns < 0 and start is not None:
        start_ns, step_ns = start.ns, start.step_ns
    elif lost_ns and step_ns is not None:
        step_ns = max(step_ns, lost_ns)
    frequency_hz, about_frequency = _frequency_hz(header, named, rate_hz)
    found = TimedRecording(
        samples,
        rate_hz,
        start_utc_ns=start_ns,
        start_step_ns=step_ns,
        receiver=named.station,
        frequency_hz=frequency_hz,
        remarks=(*remarks, *about_start, *about_loss, *about_frequency, *cut),
        source=Source(path, form.kind, tuple(pieces)),
    )
    return [beside.completed(found)]


def _rate_hz(path: Path, header_hz: float, beside_hz: float | None) -> float:
    """The sample rate; what stands beside the file is finer than whole hertz.

    Raises:
        HeimdallError: The two differ.
    """
    if beside_hz is not None and abs(beside_hz / header_hz - 1) > _MAX_RATE_ERROR:
        cause = f"its header says {header_hz:.0f} Hz, the .json beside it {beside_hz:.0f} Hz"
        raise HeimdallError(str(path), cause, "Correct sample_rate_hz in the .json, or leave it out there")
    return beside_hz or header_hz


def _start(
    path: Path, header: _Auxi, named: Named, given: Moment | None
) -> tuple[int | None, float | None, tuple[str, ...]]:
    """Start, nanoseconds since 1970 in UTC, its last digit, and what to say of it."""
    if header.start is None:
        return (None, None, ()) if named.start is None else (utc_ns(named.start), 1e9, named.remarks)
    header_ns = utc_ns(header.start)
    if not is_plausible(header_ns):
        remark = f"its header says that it began in {header.start.year}, which does not count"
        start_ns, step_ns, about = _start(path, _Auxi(), named, given)
        return start_ns, step_ns, (remark, *about)
    if named.start is None or abs(utc_ns(named.start) - header_ns) <= file_names.SAME_START_NS:
        return header_ns, header.step_ns, ()
    times = header.start.isoformat(), named.start.isoformat()
    cause = f"its header says that it began at {times[0]}, its name at {times[1]}"
    if given is None:
        remedy = "Rename it so that its name says the time of the header, or none; or give --start"
        raise HeimdallError(str(path), cause, remedy)
    return given.ns, given.step_ns, (cause,)


def _lost(
    path: Path, header: _Auxi, count: int, rate_hz: float, given: Moment | None
) -> tuple[float, tuple[str, ...]]:
    """By how much the header's stop is too late for the samples, 0 within the usual, and what to say of it.

    Raises:
        HeimdallError: The stop is too early: the rate is wrong, or the times are, and the user gives none.
    """
    if header.start is None or header.stop is None or header.stop <= header.start:
        return 0.0, ()
    lasted_ns = utc_ns(header.stop) - utc_ns(header.start)
    lost_ns = lasted_ns - count / rate_hz * SECOND_NS
    if abs(lost_ns) <= _SAME_DURATION_NS:
        return 0.0, ()
    said = (
        f"by the start and stop in its header it lasted {lasted_ns / SECOND_NS:.1f} s, by its samples at "
        f"{rate_hz:.0f} Hz {count / rate_hz:.1f} s"
    )
    if lost_ns > 0:
        return lost_ns, (f"{said}: the rate is believed, so samples were lost, nobody knows where",)
    if given is None:
        other_hz = count / lasted_ns * SECOND_NS
        remedy = (
            f"If the times are right, correct the rate in its header (about {other_hz:.0f} Hz); if the rate "
            "is right, give --start"
        )
        raise HeimdallError(str(path), said, remedy)
    return lost_ns, (f"{said}: the rate is believed, and --start",)


def _frequency_hz(header: _Auxi, named: Named, rate_hz: float) -> tuple[float | None, tuple[str, ...]]:
    """Centre frequency, and what to say of it. A name may say any frequency of the band instead."""
    one, other = header.frequency_hz, named.frequency_hz
    if one is None or other is None or abs(one - other) <= max(rate_hz / 2, 1e3):
        return one or other, ()
    return None, (f"its header says {one:.0f} Hz and its name {other:.0f} Hz: neither counts",)


def _auxi(body: bytes) -> _Auxi:
    if body[:1] == b"<" or body[2:3] == b"<":
        return _xml(body)
    if len(body) < _AUXI.size:
        return _Auxi()
    *moments, frequency_hz = _AUXI.unpack_from(body)
    known = frequency_hz not in _NO_FREQUENCY_HZ
    return _Auxi(
        _moment(moments[:8]),
        _moment(moments[8:]),
        float(frequency_hz) if known else None,
        step_ns=1e6 if moments[7] or moments[15] else 1e9,  # a program that never writes milliseconds
    )


def _moment(system_time: list[int]) -> dt.datetime | None:
    """Windows' SYSTEMTIME: year, month, day of the week, day, hour, minute, second, millisecond."""
    year, month, _, day, hour, minute, second, millisecond = system_time
    try:
        return dt.datetime(year, month, day, hour, minute, second, millisecond * 1000, tzinfo=dt.UTC)
    except ValueError:
        return None


def _xml(body: bytes) -> _Auxi:
    text = body.replace(b"\0", b"").decode("latin-1")  # of UTF-16 or UTF-8: what is looked for is ASCII
    frequency, time = _XML_FREQUENCY.search(text), _XML_TIME.search(text)
    start = None
    if time:
        day, month, year, hour, minute, second = map(int, time.groups())
        try:
            start = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        except ValueError:
            start = None
    frequency_hz = float(frequency[1]) or None if frequency else None
    return _Auxi(start, None, frequency_hz, step_ns=1e9)  # whole seconds
