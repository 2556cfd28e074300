"""Files whose bytes depend on their content alone, written whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Give a temporary name beside `path`; rename it to `path` if the block ends without an error.

    The content is on the disk before the name is, so that no power cut leaves the name with half a file.

    Args:
        path: The final name. Its folder is created.

    Yields:
        The temporary path to write to, with the same suffix as `path`.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        _sync(partial)
        partial.replace(path)
        _sync(path.parent)
    except OSError as error:
        # Who writes to an open file is not told its name; who copies is told that of the source first.
        if error.filename in (None, str(partial)) or str(error.filename2) == str(partial):
            error.filename = str(path)
        raise
    finally:
        partial.unlink(missing_ok=True)


def _sync(path: Path) -> None:
    """Have the disk take a file, or the names in a folder."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_partial(*folders: Path) -> None:
    """Remove what killed processes left half written below these folders, named as `atomic` does."""
    for folder in folders:
        for path in sorted(folder.rglob(".partial-*")):
            process_id = path.name.split("-")[1]
            if process_id.isdigit() and not _is_running(int(process_id)):
                path.unlink(missing_ok=True)


def _is_running(process_id: int) -> bool:
    """Whether it can still write: one that was killed is there until its parent has waited for it."""
    import psutil  # noqa: PLC0415 - needed only where something was left

    try:
        return bool(psutil.Process(process_id).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` to `path` whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def copy(source: Path, target: Path) -> None:
    """Copy a file to `target` whole or not at all; the two may be the same."""
    with atomic(target) as partial:
        shutil.copyfile(source, partial)


def json_text(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """Canonical JSON: two spaces, keys in the order given, no NaN, a newline at the end.

    Raises:
        ValueError: `value` holds a NaN or an infinity.
    """
    return json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n"


def write_json(path: Path, value: Any) -> None:  # noqa: ANN401 - any JSON value
    """Write canonical JSON to `path`, whole or not at all."""
    write_bytes(path, json_text(value).encode("utf-8"))


def read_json(path: Path, remedy: str = remedies.RESTORE) -> Any:  # noqa: ANN401 - any JSON value
    """Read a JSON file.

    Args:
        path: The file.
        remedy: What to do where it is no JSON; by default that of an output of the pipeline.

    Raises:
        HeimdallError: The file is missing or no JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise remedies.of_output(path, error, "not JSON", remedy) from None


def require(*files: Path, remedy: str = remedies.BRING) -> None:
    """Say early, before anything slow, that a file is not there.

    Args:
        files: What must be there.
        remedy: What to do; by default that of an output of the pipeline.

    Raises:
        HeimdallError: The first that is missing.
    """
    for file in files:
        if not file.exists():
            raise HeimdallError(str(file), "the file is missing", remedy)


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of `content` in hexadecimal."""
    return hashlib.sha256(content).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of the file at `path` in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def has_its_name(path: Path) -> bool:
    """Whether a file that is named by the first digits of its SHA-256 still holds what its name says."""
    return sha256_file(path).startswith(path.stem)


def fingerprint(value: Any) -> str:  # noqa: ANN401 - any JSON value
    """SHA-256 of a JSON value, independent of the order of its keys."""
    return sha256_bytes(json.dumps(value, sort_keys=True, allow_nan=False).encode("utf-8"))
