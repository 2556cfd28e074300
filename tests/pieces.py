"""Pieces of work for processes and for clusters: nothing here needs what only one of them has."""

from __future__ import annotations

import errno
import os
import signal
from pathlib import Path

from heimdall.core.errors import HeimdallError


class TwoWordsError(Exception):
    """As libraries have them: made of more than its message, and with something that cannot be pickled."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(f"{first} and {second}")
        self.second = second
        self.spell = lambda: f"{first}{second}"


class DefaultedError(Exception):
    """Its constructor makes another text of its message."""

    def __init__(self, name: str, why: str = "it is damaged") -> None:
        super().__init__(f"{name}: {why}")


class DiskError(OSError):
    """Of the system, with a constructor of its own."""

    def __init__(self, number: int, name: str) -> None:
        super().__init__(number, os.strerror(number), name)


ERRORS = (
    DefaultedError("shard 3", "no space is left"),
    DiskError(errno.ENOSPC, "/data/x"),
    FileNotFoundError(errno.ENOENT, "it is not there", "/data/x"),
    ExceptionGroup("two", [TwoWordsError("this", "that"), ValueError(1)]),
)


def raising(error: Exception) -> None:
    raise error


def noted(task: tuple[int, Path]) -> int:
    number, folder = task
    (folder / str(number)).touch()
    return number


def killed_once(task: tuple[int, Path]) -> int:
    """Its process is killed the first time that the third piece is computed."""
    number, folder = task
    if number == 2 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def refusing(number: int) -> int:
    if number == 3:
        raise HeimdallError("session 3", "it is damaged", "Fetch it again")
    return number


def of_two_words(number: int) -> int:
    raise TwoWordsError("this", "that")
