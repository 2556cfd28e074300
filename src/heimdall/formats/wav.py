"""IQ samples in a WAV file: integers and floats, RF64, and what SDR programs add about time and frequency."""

from __future__ import annotations

import datetime as dt
import re
import struct
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.formats import file_names, recording, riff, sample_types
from heimdall.formats.gps_time import utc_ns
from heimdall.formats.recording import TimedRecording

# `auxi` of SpectraVue, HDSDR, SDRuno and SDR#: start and stop as Windows' SYSTEMTIME, then the frequency.
_AUXI = struct.Struct("<8H8HI")
# SDR Console writes the same as XML in UTF-16.
_XML_FREQUENCY = re.compile(r'RadioCenterFreq="(\d{1,12})"')
_XML_TIME = re.compile(r'CurrentTimeUTC="(\d\d)-(\d\d)-(\d{4}) (\d\d):(\d\d):(\d\d)"')


def read(path: Path, chunks: list[riff.Chunk]) -> list[TimedRecording]:
    """Read the file's one stretch.

    Args:
        path: The file.
        chunks: As `riff.chunks` found them.

    Raises:
        HeimdallError: The file is damaged, has no samples, or holds what no receiver delivers.
    """
    by_name = {chunk.name: chunk for chunk in reversed(chunks)}
    if b"fmt " not in by_name or not by_name.get(b"data"):
        raise HeimdallError(str(path), "a WAV file without samples", riff.REMEDY)
    form = riff.read_format(path, by_name[b"fmt "].body)
    rate_hz = recording.checked_rate(str(path), float(form.rate_hz))
    data = by_name[b"data"]
    if data.declared is not None and data.declared > data.size:
        cause = f"truncated: {data.size} bytes of samples where the header declares {data.declared}"
        raise HeimdallError(str(path), cause, "Copy it again from where it was recorded")
    remarks = (
        [] if data.declared is not None else ["its header does not say how long it is: all of it is read"]
    )
    left = path.stat().st_size - chunks[-1].offset - chunks[-1].size
    if chunks[-1] == data and left > 8:  # the size of a longer recording than 4 GiB, or an old one, say
        remarks.append(f"{left} bytes after its samples are no chunk of a WAV file, and are not read")
    pieces, cut = recording.limited([(data.offset, data.size // form.kind.sample_bytes)], rate_hz)
    samples = sample_types.read(path, form.kind, pieces)
    recording.check_samples(str(path), samples, rate_hz)
    named = file_names.parse(path)
    start, frequency_hz = _auxi(by_name[b"auxi"].body) if b"auxi" in by_name else (None, None)
    step_ns = 1e6 if start else 1e9
    start = start or named.start
    return [
        TimedRecording(
            samples,
            rate_hz,
            start_utc_ns=None if start is None else utc_ns(start),
            start_step_ns=None if start is None else step_ns,
            receiver=named.station,
            frequency_hz=frequency_hz or named.frequency_hz,
            remarks=(*remarks, *cut),
        )
    ]


def _auxi(body: bytes) -> tuple[dt.datetime | None, float | None]:
    """Start in UTC and centre frequency in Hz, each None where it is not there or impossible."""
    if body[:1] == b"<" or body[2:3] == b"<":
        return _xml(body)
    if len(body) < _AUXI.size:
        return None, None
    year, month, _, day, hour, minute, second, millisecond, *_, frequency_hz = _AUXI.unpack_from(body)
    try:
        start = dt.datetime(year, month, day, hour, minute, second, millisecond * 1000, tzinfo=dt.UTC)
    except ValueError:
        start = None
    return start, float(frequency_hz) or None


def _xml(body: bytes) -> tuple[dt.datetime | None, float | None]:
    text = body.replace(b"\0", b"").decode("latin-1")  # of UTF-16 or UTF-8: what is looked for is ASCII
    frequency, time = _XML_FREQUENCY.search(text), _XML_TIME.search(text)
    start = None
    if time:
        day, month, year, hour, minute, second = map(int, time.groups())
        try:
            start = dt.datetime(year, month, day, hour, minute, second, tzinfo=dt.UTC)
        except ValueError:
            start = None
    return start, float(frequency[1]) or None if frequency else None
