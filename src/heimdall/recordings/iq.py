"""One recording from and to `.npy` bytes, with every check that foreign bytes need."""

from __future__ import annotations

import ast
import io
import math
import re
import struct

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.complex64]

# Far above the full scale of any converter, far below where float32 powers overflow.
MAX_LEVEL = 1e10
MIN_DURATION_S = 0.1  # below it a recording holds less than the 32 frames of a spectrogram at any rate in use
MAGIC = b"\x93NUMPY"
MAX_HEADER_BYTES = 10_000  # NumPy's own limit; an array without field names needs 128
_PICKLE_START = b"\x80"
_CHECKED_AT_ONCE = 1 << 22
_BYTES_A_SAMPLE = {"<c8": 8, "<c16": 16, ">c8": 8, ">c16": 16}
_LENGTH_FIELD = {(1, 0): "<H", (2, 0): "<I", (3, 0): "<I"}
_PYTHON_2_LONG = re.compile(r"(?<=[0-9])L(?=[,)])")  # NumPy under Python 2 wrote a length as 192000L

# Why a recording cannot be used. MISSING is found by whoever looks for the object, the others here.
MISSING = "missing"
NOT_NPY = "not_npy"
PICKLED = "pickled"
WRONG_DTYPE = "wrong_dtype"
WRONG_SHAPE = "wrong_shape"
TRUNCATED = "truncated"
OVERSIZED = "oversized"
TOO_SHORT = "too_short"
NOT_FINITE = "not_finite"
ALL_ZERO = "all_zero"
TOO_LOUD = "too_loud"


class BadRecording(Exception):  # noqa: N818 - a verdict on data, not a failure of the program
    """A recording that cannot be used.

    Attributes:
        reason: Short code, one of this module's constants.
        detail: A sentence for the person who looks into the quarantine.
    """

    def __init__(self, reason: str, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail


def encode(samples: npt.NDArray[np.complex64] | npt.NDArray[np.complex128]) -> bytes:
    """The `.npy` bytes of a recording.

    Args:
        samples: IQ samples, shape (n,), complex64 or complex128.

    Returns:
        Version 1.0 of the format, little-endian.

    Raises:
        ValueError: `samples` is not one-dimensional or not complex.
    """
    if samples.ndim != 1 or samples.dtype.str not in ("<c8", "<c16"):
        raise ValueError(
            f"a recording is one-dimensional complex64 or complex128, not {samples.dtype} {samples.shape}"
        )
    stream = io.BytesIO()
    np.lib.format.write_array(stream, np.ascontiguousarray(samples), version=(1, 0), allow_pickle=False)
    return stream.getvalue()


def max_samples(sample_rate_hz: float, max_duration_s: float) -> int:
    """How many samples a recording of this rate may have."""
    return round(sample_rate_hz * max_duration_s)


def max_object_bytes(sample_rate_hz: float, max_duration_s: float) -> int:
    """The largest object that can still be a recording: the longest one in complex128 with its header."""
    return MAX_HEADER_BYTES + 16 * max_samples(sample_rate_hz, max_duration_s)


def decode(content: bytes, sample_rate_hz: float, max_duration_s: float) -> Samples:
    """Read and check a recording.

    Nothing is allocated by the header's word: what it declares is compared with what is there first.

    Args:
        content: The whole object.
        sample_rate_hz: Samples a second, positive and finite.
        max_duration_s: Longest recording accepted, seconds.

    Returns:
        IQ samples, shape (n,), complex64 (complex128 is rounded to it), which may not be written to.

    Raises:
        BadRecording: `content` is anything but a one-dimensional, finite, non-zero recording of
            `MIN_DURATION_S` to `max_duration_s`, below `MAX_LEVEL`.
    """
    dtype, count, start = read_header(content)
    expected = start + count * _BYTES_A_SAMPLE[dtype]
    if len(content) < expected:
        raise BadRecording(TRUNCATED, f"{len(content)} bytes where the header declares {expected}")
    if len(content) > expected:
        raise BadRecording(OVERSIZED, f"{len(content)} bytes where the header declares {expected}")
    longest = max_samples(sample_rate_hz, max_duration_s)
    if count > longest:
        raise BadRecording(OVERSIZED, f"{count} samples, more than the {longest} of {max_duration_s:g} s")
    shortest = max(1, math.ceil(sample_rate_hz * MIN_DURATION_S))
    if count < shortest:
        raise BadRecording(TOO_SHORT, f"{count} samples, fewer than the {shortest} of {MIN_DURATION_S:g} s")
    with np.errstate(over="ignore"):  # a complex128 beyond complex64 becomes infinite and is found below
        samples = np.frombuffer(content, dtype, offset=start).astype(np.complex64, copy=False)
    check_values(samples)
    return samples


def check_values(samples: Samples) -> None:
    """Refuse samples that no receiver delivers.

    Args:
        samples: IQ samples, shape (n,), n at least 1.

    Raises:
        BadRecording: One of them is NaN, infinite or beyond `MAX_LEVEL`, or all are zero.
    """
    peak = 0.0
    for first in range(0, len(samples), _CHECKED_AT_ONCE):  # no copy of a long recording is made
        parts = samples[first : first + _CHECKED_AT_ONCE].view(np.float32)  # (2n,)
        peak = max(peak, float(np.abs(parts).max()))
        if not np.isfinite(parts).all():
            bad = int((~np.isfinite(samples)).sum())
            raise BadRecording(NOT_FINITE, f"{bad} samples are NaN or infinite")
    if peak > MAX_LEVEL:
        raise BadRecording(TOO_LOUD, f"a sample of {peak:.3g}, where full scale is 1 or that of an integer")
    if peak == 0:
        raise BadRecording(ALL_ZERO, f"all {len(samples)} samples are zero")


def read_header(content: bytes) -> tuple[str, int, int]:
    """What the header of a `.npy` file says.

    It is parsed here and not by NumPy, whose reader warns, and builds types from foreign text.

    Args:
        content: The file, or its first `MAX_HEADER_BYTES` and 12 more.

    Returns:
        Data type as NumPy names it, number of samples, and offset of the first one.

    Raises:
        BadRecording: It is not the header of a one-dimensional complex array.
    """
    if content[:1] == _PICKLE_START:
        raise BadRecording(PICKLED, "a Python pickle, which is never loaded")
    if MAGIC.startswith(content[: len(MAGIC)]) and len(content) < len(MAGIC) + 2:
        raise BadRecording(TRUNCATED, f"only {len(content)} bytes")
    if not content.startswith(MAGIC):
        raise BadRecording(NOT_NPY, "it does not begin as a .npy file does")
    version = (content[6], content[7])
    if version not in _LENGTH_FIELD:
        raise BadRecording(NOT_NPY, f"version {version[0]}.{version[1]} of the .npy format")
    field = struct.Struct(_LENGTH_FIELD[version])
    if len(content) < 8 + field.size:
        raise BadRecording(TRUNCATED, f"only {len(content)} bytes")
    (length,) = field.unpack_from(content, 8)
    start = 8 + field.size + length
    if length > MAX_HEADER_BYTES:
        raise BadRecording(NOT_NPY, f"a header of {length} bytes")
    if len(content) < start:
        raise BadRecording(TRUNCATED, f"{len(content)} bytes, less than its header of {length}")
    try:
        text = content[8 + field.size : start].decode("latin-1").strip()
        header = ast.literal_eval(_PYTHON_2_LONG.sub("", text))
        str(header)  # fails on an integer of thousands of digits, which no message could show
    except Exception:  # any way to fail on foreign text means the same: no header
        header = None
    if not isinstance(header, dict) or header.keys() != {"descr", "fortran_order", "shape"}:
        raise BadRecording(NOT_NPY, "its header is not that of an array")
    return _checked_dtype(header["descr"]), _checked_count(header["shape"], header["fortran_order"]), start


def _checked_dtype(descr: object) -> str:
    if isinstance(descr, str) and descr in _BYTES_A_SAMPLE:
        return descr
    if isinstance(descr, str) and "O" in descr:
        raise BadRecording(PICKLED, "an array of Python objects, which is never loaded")
    raise BadRecording(WRONG_DTYPE, f"{str(descr)[:40]!r} instead of complex64 or complex128")


def _checked_count(shape: object, fortran_order: object) -> int:
    # The order of the axes says nothing about an array of one dimension.
    if not isinstance(shape, tuple) or len(shape) != 1 or not isinstance(fortran_order, bool):
        raise BadRecording(WRONG_SHAPE, f"shape {str(shape)[:40]} instead of one dimension")
    (count,) = shape
    if type(count) is not int or not 0 <= count < 2**63:
        raise BadRecording(WRONG_SHAPE, f"{str(count)[:40]!r} samples")
    return count
