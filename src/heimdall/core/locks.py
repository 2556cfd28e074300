"""One process at a time: locks that the system gives back when their process ends, however it ends.

Processes that are forked meanwhile, such as a loader's workers, do not hold them.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from heimdall.core.errors import HeimdallError, foreseen


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Keep other processes out of a work folder.

    Args:
        folder: Created where it is missing; a file `lock` is made in it.

    Raises:
        HeimdallError: Another process is at work there, or the file cannot be made.
    """
    # Without flock filelock would take a mere file for a lock, which a killed process leaves.
    lock = FileLock(folder / "lock", blocking=False, fallback_to_soft=False)
    try:
        _acquire(lock)
    except Timeout:
        cause = "another process is doing the same work"
        raise HeimdallError(str(folder), cause, "Wait for its end, or stop it and start again") from None
    try:
        yield
    finally:
        lock.release()


@contextmanager
def in_turn(file: Path, mode: int = 0o666) -> Iterator[None]:
    """Wait until no other process is in this block with the same file, and keep others waiting.

    Args:
        file: Created with its folder where they are missing.
        mode: Of the file where it is created, less the umask.

    Raises:
        HeimdallError: The file cannot be made.
    """
    lock = FileLock(file, fallback_to_soft=False)
    _acquire(lock, mode)
    try:
        yield
    finally:
        lock.release()


def _acquire(lock: FileLock, mode: int = 0o666) -> None:
    file = Path(lock.lock_file)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        file.touch(mode)
        lock.acquire()
    except Timeout:  # an OSError, too
        raise
    except OSError as error:
        remedy = "Use a clone on a local disk, whose files can be locked"
        found = foreseen(error)
        cause = f"no lock can be made there ({error.strerror})"
        raise HeimdallError(str(file), cause, found.remedy if found else remedy) from None
