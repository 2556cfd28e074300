"""The chunks of a WAV file (RIFF, RF64, BW64), found by seeking: nothing is allocated by their word."""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.formats import sample_types
from heimdall.formats.sample_types import SampleType

MAGICS = (b"RIFF", b"RF64", b"BW64")
PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
_UNKNOWN_SIZE = 0xFFFFFFFF  # RF64: the size stands in the chunk ds64; else a recorder that could not go back
# What a recorder writes that cannot go back, as into a pipe: an invention, if the file is shorter.
_INVENTED_SIZES = (0x7FFFF000, 0x7FFFFFFF, 0x80000000)
_MAX_BODY = 1 << 16  # of the chunks that are read whole; `auxi` and `fmt ` have some hundred bytes
_CHUNK = struct.Struct("<4sI")
_FORMAT = struct.Struct("<HHIIHH")
_SUBFORMAT = slice(24, 26)  # the first two bytes of the GUID of WAVE_FORMAT_EXTENSIBLE are the plain code
_NAME = re.compile(rb"[ -~]{4}")
REMEDY = "Give a WAV file of IQ samples: I in the left and Q in the right channel"


@dataclass(frozen=True)
class Chunk:
    """Where the body of a chunk lies.

    Attributes:
        name: Four bytes.
        offset: Of its body in the file.
        size: Bytes of the body that are in the file.
        declared: Bytes by the file's word; None if the recorder never wrote the size.
        body: The body itself, but of `data`, which is not read, and of chunks too long to be metadata.
    """

    name: bytes
    offset: int
    size: int
    declared: int | None
    body: bytes


@dataclass(frozen=True)
class Format:
    """What the chunk `fmt ` says.

    Attributes:
        rate_hz: Samples a second, a whole number.
        kind: Of each component.
    """

    rate_hz: int
    kind: SampleType


def is_wav(head: bytes) -> bool:
    """Whether a file that begins with these 12 bytes is a WAV file."""
    return head[:4] in MAGICS and head[8:12] == b"WAVE"


def chunks(path: Path) -> list[Chunk]:
    """All chunks of a file, in its order.

    Raises:
        HeimdallError: The file cannot be read, or is no WAV file.
    """
    try:
        with path.open("rb") as file:
            head = file.read(12)
            if not is_wav(head):
                raise HeimdallError(str(path), "not a WAV file", REMEDY)
            return list(_walk(file, path.stat().st_size))
    except OSError as error:
        raise unreadable(path, error) from None


def missing_bytes(path: Path) -> int:
    """How much shorter a file is than the size at its beginning says; 0 if that size was never written.

    Raises:
        HeimdallError: The file cannot be read.
    """
    try:
        with path.open("rb") as file:
            declared = int(_CHUNK.unpack(file.read(_CHUNK.size))[1])
        if declared == _UNKNOWN_SIZE or declared in _INVENTED_SIZES:
            return 0
        return max(0, declared + _CHUNK.size - path.stat().st_size)
    except OSError as error:
        raise unreadable(path, error) from None


def read_format(path: Path, body: bytes) -> Format:
    """The chunk `fmt ` of IQ samples.

    Raises:
        HeimdallError: It is damaged, or of samples that are not I and Q, or of an unknown type.
    """
    if len(body) < _FORMAT.size:
        raise HeimdallError(str(path), "a damaged WAV header", REMEDY)
    code, channels, rate_hz, _, frame_bytes, bits = _FORMAT.unpack_from(body)
    if code == EXTENSIBLE and len(body) >= _SUBFORMAT.stop:
        code = int.from_bytes(body[_SUBFORMAT], "little")
    if channels == 1:
        cause = "one channel, a real signal such as sound: its phase is lost, and so is the arrival time"
        raise HeimdallError(str(path), cause, REMEDY)
    if channels and frame_bytes > channels * bits // 8 and frame_bytes % channels == 0:
        bits = 8 * frame_bytes // channels  # 24 bits in 32, say: the upper ones
    kinds = {
        (PCM, 8): sample_types.unsigned(8),
        **{(PCM, width): sample_types.integers(width) for width in (16, 24, 32)},
        **{(FLOAT, width): sample_types.floats(width) for width in (32, 64)},
    }
    if channels != 2 or rate_hz == 0 or (code, bits) not in kinds:
        cause = f"{channels} channels of {bits} bits at {rate_hz} Hz (format {code})"
        raise HeimdallError(str(path), f"{cause} instead of two of PCM or float", REMEDY)
    return Format(rate_hz, kinds[code, bits])


def _walk(file: BinaryIO, file_bytes: int) -> Iterator[Chunk]:
    """Chunk by chunk; a chunk that the file cuts off is the last one."""
    long_sizes: dict[bytes, int] = {}
    position = 12
    while position + _CHUNK.size <= file_bytes:
        file.seek(position)
        name, size = _CHUNK.unpack(file.read(_CHUNK.size))
        if not _NAME.fullmatch(name):  # what follows a wrong size is no chunk
            return
        start = position + _CHUNK.size
        declared: int | None = size
        if name == b"data" and size == _UNKNOWN_SIZE:
            declared = long_sizes.get(name) or None  # 0: the recorder was killed before it wrote the size
        elif name == b"data" and size in _INVENTED_SIZES and start + size > file_bytes:
            declared = None
        elif name == b"data" and size == 0 and start < file_bytes:
            file.seek(start)
            # A recorder that was killed did not write the size; after an empty chunk there is another.
            following = file.read(_CHUNK.size)
            declared = None
            if len(following) == _CHUNK.size and _NAME.fullmatch(following[:4]):
                ends = start + _CHUNK.size + int.from_bytes(following[4:], "little")
                declared = 0 if ends <= file_bytes else None
        present = file_bytes - start
        size = present if declared is None else min(declared, present)
        file.seek(start)
        body = b"" if name == b"data" or size > _MAX_BODY else file.read(size)
        if name == b"ds64" and len(body) >= 16:
            long_sizes[b"data"] = int.from_bytes(body[8:16], "little")
        yield Chunk(name, start, size, declared, body)
        position = start + size + size % 2
