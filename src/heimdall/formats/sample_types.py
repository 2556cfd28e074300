"""Samples in a file as complex64: integers of 8 to 32 bits, floats of 32 and 64, of either byte order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from heimdall.core.errors import HeimdallError, unreadable
from heimdall.recordings.iq import Samples

Components = npt.NDArray[np.float32] | npt.NDArray[np.float64]

_CHUNK = 1 << 20  # samples converted at once: memory beside the result stays small


@dataclass(frozen=True)
class SampleType:
    """How one component (I or Q) stands in a file.

    Attributes:
        dtype: NumPy's name with byte order. "<i3" is a signed integer of three bytes, which NumPy lacks.
        zero: The number that means zero.
        full_scale: What becomes 1 once `zero` is subtracted.
    """

    dtype: str
    zero: float = 0.0
    full_scale: float = 1.0

    @property
    def sample_bytes(self) -> int:
        """Bytes of I and Q together."""
        return 2 * int(self.dtype[2:])


def integers(bits: int, order: str = "<") -> SampleType:
    """Signed integers of 8, 16, 24 or 32 bits."""
    return SampleType(f"{order}i{bits // 8}", 0.0, float(2 ** (bits - 1)))


def unsigned(bits: int, order: str = "<", *, symmetric: bool = False) -> SampleType:
    """Unsigned integers of 8, 16 or 32 bits.

    Args:
        bits: Of one component.
        order: Of its bytes.
        symmetric: Zero is the middle of the range, 127.5, as an RTL-SDR has it; else 128, as WAV and SigMF.
    """
    full_scale = float(2 ** (bits - 1))
    return SampleType(f"{order}u{bits // 8}", full_scale - 0.5 if symmetric else full_scale, full_scale)


def floats(bits: int, order: str = "<") -> SampleType:
    """Floats of 32 or 64 bits."""
    return SampleType(f"{order}f{bits // 8}")


@dataclass(frozen=True)
class Source:
    """Where samples stand in a file, to read some of them again: all of them may not fit into memory.

    Attributes:
        path: The file.
        kind: Of each component.
        pieces: Offset in bytes and number of samples of each, in their order.
    """

    path: Path
    kind: SampleType
    pieces: tuple[tuple[int, int], ...]

    def read(self, first: int, end: int) -> Samples:
        """Samples `first` to `end - 1` of all pieces together, shape (end - first,), complex64.

        Raises:
            HeimdallError: As of the function `read`.
        """
        found, begin = [], 0
        for offset, count in self.pieces:
            skipped, kept = max(0, first - begin), min(count, end - begin)
            if skipped < kept:
                found.append((offset + skipped * self.kind.sample_bytes, kept - skipped))
            begin += count
        return read(self.path, self.kind, found)


def read(path: Path, kind: SampleType, pieces: Sequence[tuple[int, int]]) -> Samples:
    """Read samples that stand in one or more pieces of a file.

    Args:
        path: The file.
        kind: Of each component.
        pieces: Offset in bytes and number of samples of each; they are known to be there.

    Returns:
        All of them, shape (n,), complex64.

    Raises:
        HeimdallError: The file cannot be read, or became shorter meanwhile.
    """
    samples = np.empty(sum(count for _, count in pieces), np.complex64)
    parts = samples.view(np.float32)  # (2n,)
    done = 0
    try:
        with path.open("rb") as file, _progress(path, len(samples)) as bar:
            for offset, count in pieces:
                file.seek(offset)
                for first in range(0, count, _CHUNK):
                    values = _components(file, kind, 2 * min(_CHUNK, count - first))
                    parts[done : done + len(values)] = values
                    done += len(values)
                    bar.update(len(values) // 2)
    except OSError as error:
        raise unreadable(path, error) from None
    if done != len(parts):
        raise HeimdallError(str(path), "it became shorter while it was read", "Give a file that is finished")
    return samples


def _progress(path: Path, count: int) -> tqdm[Any]:
    """A bar for what takes more than 2 s."""
    return tqdm(
        total=count,
        desc=path.name,
        unit="sample",
        unit_scale=True,
        delay=2.0,
        leave=False,
        disable=None,
    )


def _components(file: BinaryIO, kind: SampleType, count: int) -> Components:
    if kind.dtype[1:] == "i3":
        content = file.read(3 * count)
        padded = np.zeros((len(content) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(content, np.uint8, len(padded) * 3).reshape(-1, 3)
        integers_32 = padded.view("<i4")[:, 0]  # the value times 256
        return integers_32.astype(np.float64) / (256 * kind.full_scale)
    stored: npt.NDArray[Any] = np.fromfile(file, kind.dtype, count)
    if kind.dtype[1] == "f":
        with np.errstate(over="ignore", invalid="ignore"):  # becomes infinite, and is refused as that
            return stored.astype(np.float32)
    if kind.dtype[2:] in "12":  # 16 bits fit into the 24 of a float32 exactly
        return (stored.astype(np.float32) - np.float32(kind.zero)) / np.float32(kind.full_scale)
    return (stored.astype(np.float64) - kind.zero) / kind.full_scale
