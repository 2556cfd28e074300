"""Two versions of one file, compared as `heimdall verify` compares them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import safetensors.numpy

from heimdall.reproduce import differences
from heimdall.reproduce.differences import Difference


def one(found: list[Difference]) -> Difference:
    assert len(found) == 1, found
    return found[0]


def stored(folder: Path, file: str, write: Callable[[Path, Any], object], *values: object) -> list[Path]:
    """One version of `file` for each value, as a cache keeps them: without a suffix."""
    paths = []
    for number, value in enumerate(values):
        named = folder / str(number) / file
        named.parent.mkdir(parents=True)
        write(named, value)
        paths.append(named.rename(folder / f"object{number}"))
    return paths


def compared(
    tmp_path: Path, file: str, write: Callable[[Path, Any], object], *values: object
) -> list[Difference]:
    recorded, rebuilt = stored(tmp_path, file, write, *values)
    assert differences.compare({file: recorded}, {file: recorded}) == []
    return differences.compare({file: recorded}, {file: rebuilt})


def write_tensors(path: Path, tensors: dict[str, Any]) -> None:
    path.write_bytes(safetensors.numpy.save(tensors))
