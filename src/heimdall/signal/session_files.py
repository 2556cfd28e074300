"""Many sessions in one file, with their arrival times: written at once, read session by session.

A file is a safetensors container without metadata, laid out as docs/architecture.md says; the same sessions
give the same bytes. Nothing of it is held but where its parts lie. Each part is read at its place (pread), so
that forked processes may read the same file at a time.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import safetensors.numpy

from heimdall.core import artifacts, remedies
from heimdall.core.errors import HeimdallError
from heimdall.core.params import FeatureParams
from heimdall.signal.arrival import SHAPE_LAGS, Arrivals, arrivals
from heimdall.signal.sessions import SessionFeatures

Array = npt.NDArray[Any]

_FEATURES: dict[str, type[np.generic]] = {
    "mel": np.float16,
    "websdr_id": np.int32,
    "energy_db": np.float32,
    "snr_db": np.float32,
    "gate": np.float32,
    "cfo_hz": np.float64,
    "timing_sigma_s": np.float64,
    "delay_s": np.float64,
    "delay_sigma_s": np.float64,
    "rms_bandwidth_hz": np.float64,
    "position_enu_m": np.float64,
    "detected": np.uint8,
}
_ARRIVALS = tuple(f"arrival_{name}" for name in Arrivals.__dataclass_fields__)
_PER_RECORDING = _FEATURES | dict.fromkeys(_ARRIVALS, np.float64)
_DTYPES = _PER_RECORDING | {
    "session_start": np.int64,
    "pair": np.int32,
    "pair_start": np.int64,
    "xcorr": np.float32,
}
_RANKS = {
    "mel": 4,
    "position_enu_m": 2,
    "arrival_shape": 2,
    "arrival_spread_s2": 2,
    "pair": 2,
    "xcorr": 3,
}  # all others: 1
_NAMES = {"F16": np.float16, "F32": np.float32, "F64": np.float64, "I32": np.int32, "I64": np.int64,
          "U8": np.uint8}  # fmt: skip
_HEADER_LENGTH_BYTES = 8
_OPEN = 32  # files whose layout is kept
_verified: set[tuple[int, ...]] = set()  # files whose hash this process has compared


def pack(sessions: Sequence[SessionFeatures], params: FeatureParams) -> bytes:
    """Bytes of one file of sessions with their arrival times.

    Args:
        sessions: At least one, all with the same numbers of bands, frames and lags.
        params: The parameters that they were made with.

    Returns:
        A safetensors container.

    Raises:
        ValueError: There is no session, or the shapes do not go together.
    """
    first_row = _starts([len(item.websdr_id) for item in sessions])
    tensors = {
        name: np.concatenate([getattr(item, name) for item in sessions]).astype(dtype, copy=False)
        for name, dtype in _FEATURES.items()
    }
    found = [_flat(arrivals(item, params)) for item in sessions]
    tensors |= {name: np.concatenate([item[name] for item in found]) for name in _ARRIVALS}
    tensors["session_start"] = first_row
    tensors["pair"] = np.concatenate(
        [item.pair + np.int32(row) for item, row in zip(sessions, first_row[:-1], strict=True)]
    )
    tensors["pair_start"] = _starts([len(item.pair) for item in sessions])
    xcorr = np.ascontiguousarray(np.concatenate([item.xcorr for item in sessions]), np.complex64)
    tensors["xcorr"] = np.stack([xcorr.real, xcorr.imag], axis=-1)
    return safetensors.numpy.save({name: np.ascontiguousarray(tensors[name]) for name in sorted(tensors)})


def _starts(counts: Sequence[int]) -> npt.NDArray[np.int64]:
    """Where each item begins, and where the last ends."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def _flat(found: Arrivals) -> dict[str, Array]:
    """Arrival times as real numbers, a row a recording."""
    spread_s2 = np.stack([found.spread_s2.real, found.spread_s2.imag], axis=-1)
    bandwidth_hz = np.full(len(found.delay_s), found.rms_bandwidth_hz)
    values = vars(found) | {"spread_s2": spread_s2, "rms_bandwidth_hz": bandwidth_hz}
    return {f"arrival_{name}": values[name] for name in values}


class _Tensor(NamedTuple):
    """Where a tensor lies in a file."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    offset_bytes: int

    def read(self, descriptor: int, first: int, last: int) -> Array:
        """Its rows from `first` to before `last`.

        Raises:
            ValueError: The file ends before them.
        """
        found = np.empty((last - first, *self.shape[1:]), self.dtype)
        row_bytes = self.dtype.itemsize * math.prod(self.shape[1:])
        room = found.reshape(-1).view(np.uint8).data
        if os.preadv(descriptor, [room], self.offset_bytes + first * row_bytes) != found.nbytes:
            raise ValueError("it ends too early")
        return found


class SessionFile:
    """A file that holds what `pack` returned.

    Args:
        path: The file.

    Attributes:
        session_start: The first recording of each session, and how many there are, (S + 1,) int64.
        websdr_id: Receivers of all recordings, (R,) int32.

    Raises:
        HeimdallError: The file is missing, damaged, or holds something else.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as descriptor:
            self._tensors = _tensors(descriptor)
            self.session_start, self._pair_start, self.websdr_id, pair = (
                self._tensors[name].read(descriptor, 0, self._tensors[name].shape[0])
                for name in ("session_start", "pair_start", "websdr_id", "pair")
            )
            _check_starts(self.session_start, self._pair_start, pair, len(self.websdr_id))

    def __len__(self) -> int:
        """How many sessions."""
        return len(self.session_start) - 1

    def tensor(self, name: str) -> Array:
        """All of a tensor that has a row a recording, or a pair."""
        return self._rows([name], 0, self._tensors[name].shape[0])[name]

    def mel(self, row: int) -> npt.NDArray[np.float16]:
        """The log-mel of one recording, (3, n_mels, frames)."""
        found: npt.NDArray[np.float16] = self._rows(["mel"], row, row + 1)["mel"][0]
        return found

    def session(self, number: int) -> SessionFeatures:
        """The features of one session."""
        first = int(self.session_start[number])
        of_rows = self._rows(_FEATURES, first, int(self.session_start[number + 1]))
        of_pairs = self._rows(
            ("pair", "xcorr"), int(self._pair_start[number]), int(self._pair_start[number + 1])
        )
        xcorr = of_pairs["xcorr"].view(np.complex64)[..., 0]
        return SessionFeatures(**of_rows, pair=of_pairs["pair"] - np.int32(first), xcorr=xcorr)

    def arrivals(self, number: int) -> Arrivals:
        """The arrival times of one session."""
        found = self._rows(_ARRIVALS, *map(int, self.session_start[number : number + 2]))
        values: dict[str, Any] = {name.removeprefix("arrival_"): value for name, value in found.items()}
        values["rms_bandwidth_hz"] = float(values["rms_bandwidth_hz"][0])
        values["spread_s2"] = values["spread_s2"].view(np.complex128)[..., 0]
        return Arrivals(**values)

    def _rows(
        self, names: Iterator[str] | Sequence[str] | Mapping[str, Any], first: int, last: int
    ) -> dict[str, Array]:
        with self._open() as descriptor:
            return {name: self._tensors[name].read(descriptor, first, last) for name in names}

    @contextmanager
    def _open(self) -> Iterator[int]:
        try:
            descriptor = os.open(self.path, os.O_RDONLY)
            try:
                yield descriptor
            finally:
                os.close(descriptor)
        except (KeyError, OSError, TypeError, ValueError) as error:
            raise remedies.of_output(self.path, error, "no file of session features") from None


def verified(path: Path) -> SessionFile:
    """A file of sessions that is named by its hash, which is compared once in a process.

    Args:
        path: The file.

    Raises:
        HeimdallError: The file is missing, damaged, or holds something else.
    """
    try:
        status = path.stat()
    except OSError as error:
        raise remedies.of_output(path, error, "no file of session features") from None
    return _verified_file(path, (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns))


@lru_cache(maxsize=_OPEN)
def _verified_file(path: Path, identity: tuple[int, ...]) -> SessionFile:
    if identity not in _verified:
        if not artifacts.has_its_name(path):
            raise HeimdallError(str(path), "damaged (its hash is not its name)", remedies.RESTORE)
        _verified.add(identity)
    return SessionFile(path)


def _tensors(descriptor: int) -> dict[str, _Tensor]:
    """Where the tensors of an open file lie.

    Raises:
        ValueError: They are not those of a file of sessions, for the reason given.
    """
    size_bytes = os.fstat(descriptor).st_size
    header_bytes = int.from_bytes(os.pread(descriptor, _HEADER_LENGTH_BYTES, 0), "little")
    begin = _HEADER_LENGTH_BYTES + header_bytes
    if not 0 < header_bytes <= size_bytes - _HEADER_LENGTH_BYTES:
        raise ValueError("no header")
    header = json.loads(os.pread(descriptor, header_bytes, _HEADER_LENGTH_BYTES))
    if set(header) != set(_DTYPES):
        raise ValueError(f"wrong tensors: {sorted(set(header) ^ set(_DTYPES))}")
    tensors = {}
    for name, expected in _DTYPES.items():
        stored, shape = header[name]["dtype"], tuple(header[name]["shape"])
        dtype = np.dtype(_NAMES.get(stored, np.void))
        if dtype != expected:
            raise ValueError(f"{name} is {dtype if stored in _NAMES else stored}, not {np.dtype(expected)}")
        if len(shape) != _RANKS.get(name, 1):
            raise ValueError(f"{name} has shape {shape}")
        first, last = header[name]["data_offsets"]
        if last - first != dtype.itemsize * math.prod(shape) or begin + last > size_bytes:
            raise ValueError(f"{name} is cut off")
        tensors[name] = _Tensor(dtype, shape, begin + first)
    _check_shapes({name: tensor.shape for name, tensor in tensors.items()})
    return tensors


def _check_shapes(shapes: Mapping[str, tuple[int, ...]]) -> None:
    """Raise ValueError, with the reason, unless the tensors have rows of the same things."""
    rows, pairs = shapes["websdr_id"][0], shapes["pair"][0]
    widths = {
        "mel": 3,
        "position_enu_m": 3,
        "arrival_shape": 2 * SHAPE_LAGS,
        "arrival_spread_s2": 2,
        "pair": 2,
    }
    if (
        any(shapes[name][0] != rows for name in _PER_RECORDING)
        or any(shapes[name][1] != width for name, width in widths.items())
        or shapes["xcorr"][0] != pairs
        or shapes["xcorr"][2] != 2
        or shapes["session_start"] != shapes["pair_start"]
    ):
        raise ValueError(f"shapes do not go together: {dict(sorted(shapes.items()))}")


def _check_starts(
    session_start: npt.NDArray[np.int64],
    pair_start: npt.NDArray[np.int64],
    pair: npt.NDArray[np.int32],
    rows: int,
) -> None:
    """Raise ValueError, with the reason, unless each session has rows and pairs of its own."""
    for name, start, total in (("session_start", session_start, rows), ("pair_start", pair_start, len(pair))):
        if len(start) < 2 or start[0] != 0 or start[-1] != total or (np.diff(start) < 0).any():
            raise ValueError(f"{name} does not divide {total} rows")
    owner = np.repeat(np.arange(len(pair_start) - 1), np.diff(pair_start))
    if (pair < session_start[owner, None]).any() or (pair >= session_start[owner + 1, None]).any():
        raise ValueError("a pair reaches beyond its session")
