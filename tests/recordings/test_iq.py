"""Every kind of foreign bytes that an object may hold."""

from __future__ import annotations

import io
import pickle
import struct

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from heimdall.recordings import iq

RATE_HZ = 1000.0
MAX_S = 2.0


def recording(count: int = 1000, dtype: npt.DTypeLike = np.complex64) -> npt.NDArray[np.complex128]:
    phase = 2 * np.pi * np.arange(count) / 10
    return (0.5 * np.cos(phase) + 0.25j * np.sin(phase)).astype(dtype)


def npy(array: npt.NDArray[np.generic], *, allow_pickle: bool = False) -> bytes:
    stream = io.BytesIO()
    np.save(stream, array, allow_pickle=allow_pickle)
    return stream.getvalue()


def with_header(header: bytes, data: bytes = b"\0" * 8000, version: bytes = b"\x01\x00") -> bytes:
    return iq.MAGIC + version + struct.pack("<H", len(header)) + header + data


def header(descr: str = "'<c8'", order: str = "False", shape: str = "(1000,)") -> bytes:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()


def changed(position: int, value: complex, dtype: npt.DTypeLike = np.complex64) -> bytes:
    samples = recording(dtype=dtype)
    samples[position] = value
    return npy(samples)


def objects() -> npt.NDArray[np.object_]:
    return np.array([1, "two", None], dtype=object)


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128])
def test_decode_returns_what_encode_wrote(dtype: npt.DTypeLike) -> None:
    samples = recording(dtype=dtype)
    read = iq.decode(iq.encode(samples), RATE_HZ, MAX_S)
    assert read.dtype == np.complex64
    np.testing.assert_array_equal(read, samples.astype(np.complex64))


def test_encode_writes_what_numpy_writes_and_refuses_the_rest() -> None:
    assert iq.encode(recording()) == npy(recording())
    assert iq.encode(recording(2000)[::2]) == npy(recording(2000)[::2].copy())
    for wrong in (recording().reshape(10, 100), recording().real.copy(), recording().astype(">c8")):
        with pytest.raises(ValueError, match="one-dimensional complex"):
            iq.encode(wrong)


@pytest.mark.parametrize(
    ("head", "version", "stored"),
    [
        (header(shape="(1000L,)"), b"\x01\x00", "<c8"),  # NumPy under Python 2
        (header(descr="'<c16'", shape="(1000L,)"), b"\x01\x00", "<c16"),
        (header(order="True"), b"\x01\x00", "<c8"),
        (header(), b"\x02\x00", "<c8"),
        (header(), b"\x03\x00", "<c8"),
        (header(descr="'>c8'"), b"\x01\x00", ">c8"),
        (header(descr="'>c16'", shape="(1000L,)"), b"\x03\x00", ">c16"),
    ],
)
def test_what_other_versions_of_numpy_wrote_is_read(head: bytes, version: bytes, stored: str) -> None:
    length = struct.pack("<H" if version[0] == 1 else "<I", len(head))
    content = iq.MAGIC + version + length + head + recording().astype(stored).tobytes()
    read = iq.decode(content, RATE_HZ, MAX_S)
    assert read.dtype.str == "<c8"
    np.testing.assert_array_equal(read, recording().astype(np.complex64))


@pytest.mark.parametrize("count", [100, 2000])
def test_shortest_and_longest_are_accepted(count: int) -> None:
    assert len(iq.decode(npy(recording(count)), RATE_HZ, MAX_S)) == count


@pytest.mark.parametrize(
    ("reason", "content"),
    [
        (iq.TRUNCATED, b""),
        (iq.TRUNCATED, npy(recording())[:4]),
        (iq.TRUNCATED, npy(recording())[:9]),
        (iq.TRUNCATED, npy(recording())[:60]),
        (iq.TRUNCATED, npy(recording())[:-1]),
        (iq.TRUNCATED, with_header(header(shape=f"({10**15},)"))),
        (iq.OVERSIZED, npy(recording()) + b"\0"),
        (iq.OVERSIZED, npy(recording(2001))),
        (iq.TOO_SHORT, npy(recording(99))),
        (iq.TOO_SHORT, npy(recording(0))),
        (iq.WRONG_DTYPE, npy(recording().real.copy())),
        (iq.WRONG_DTYPE, npy(np.zeros(1000, [("i", "<f4"), ("q", "<f4")]))),
        (iq.WRONG_DTYPE, with_header(header(descr="5"))),
        (iq.WRONG_SHAPE, npy(recording().reshape(10, 100))),
        (iq.WRONG_SHAPE, npy(np.complex64(1j).reshape(()))),
        (iq.WRONG_SHAPE, with_header(header(order="1"))),
        (iq.WRONG_SHAPE, with_header(header(shape="(-1000,)"))),
        (iq.WRONG_SHAPE, with_header(header(shape="(True,)"))),
        (iq.WRONG_SHAPE, with_header(header(shape="[1000]"))),
        (iq.NOT_FINITE, changed(7, complex("nan"))),
        (iq.NOT_FINITE, changed(7, complex(0, float("inf")))),
        (iq.NOT_FINITE, changed(7, 1e300, np.complex128)),
        (iq.TOO_LOUD, changed(7, 1e20)),
        (iq.ALL_ZERO, npy(np.zeros(1000, np.complex64))),
        (iq.ALL_ZERO, npy(np.full(1000, 1e-200, np.complex128))),
        (iq.PICKLED, npy(objects(), allow_pickle=True)),
        (iq.PICKLED, pickle.dumps([1, 2, 3])),
        (iq.NOT_NPY, b"RIFF" + bytes(5000)),
        (iq.NOT_NPY, with_header(header(), version=b"\x04\x00")),
        (iq.NOT_NPY, with_header(header(shape="(1000LL,)"))),
        (iq.TRUNCATED, with_header(header(shape="(999999999999L,)"))),
        (iq.NOT_NPY, with_header(b"__import__('os').getcwd()\n")),
        (iq.NOT_NPY, with_header(b"(" * 900 + b"\n")),
        (iq.NOT_NPY, with_header(b"{'descr': '<c8', 'shape': (1000,)}\n")),
        (iq.NOT_NPY, with_header(header() + b" " * 20_000)),
        # Integers that Python reads and refuses to print.
        (iq.NOT_NPY, with_header(header(shape=f"(0x{'f' * 6000},)"))),
        (iq.NOT_NPY, with_header(header(descr=f"-0x{'f' * 6000}"))),
        (iq.WRONG_SHAPE, with_header(header(shape=f"({10**4299},)"))),
    ],
)
def test_bad_bytes_are_refused_with_their_reason(reason: str, content: bytes) -> None:
    with pytest.raises(iq.BadRecording) as caught:
        iq.decode(content, RATE_HZ, MAX_S)
    assert caught.value.reason == reason
    assert "\n" not in caught.value.detail


def test_detail_names_both_sizes() -> None:
    with pytest.raises(iq.BadRecording, match="8127 bytes where the header declares 8128"):
        iq.decode(npy(recording())[:-1], RATE_HZ, MAX_S)


def test_longest_recording_fits_the_largest_object() -> None:
    assert len(npy(recording(2000, np.complex128))) <= iq.max_object_bytes(RATE_HZ, MAX_S)
    assert iq.max_samples(12001.1, 1.0) == 12001


@given(st.binary(max_size=300), st.integers(0, 127))
def test_damaged_header_never_escapes_as_another_error(damage: bytes, position: int) -> None:
    content = npy(recording())
    damaged = content[:position] + damage + content[position + len(damage) :]
    try:
        samples = iq.decode(damaged, RATE_HZ, MAX_S)
    except iq.BadRecording as error:
        assert error.reason
    else:
        assert np.isfinite(samples).all()
