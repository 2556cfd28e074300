"""The one exception that a user sees: what, why, and what to do, in one line."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

_SPACE = "Free some space there (`df -h` shows how much each disk has), then run the same command again"
_OWNER = "Run it as the owner, whom `ls -ld` shows, or have the owner give you the permission with `chmod`"
_NAME = "Check the name"
# What may be wrong with a disk, whoever uses it. None of these is a bug of ours.
_OF_A_DISK = {
    errno.EACCES: _OWNER,
    errno.EPERM: _OWNER,
    errno.EROFS: "Run it in a clone on a disk that may be written",
    errno.ENOSPC: _SPACE,
    errno.EDQUOT: "Delete files of yours there (`quota` shows how much you may use), then run it again",
    errno.EFBIG: "Raise the limit of a file's size with `ulimit -f unlimited`, then run it again",
    errno.EMFILE: "Raise the limit of open files with `ulimit -n 4096`, then run it again",
    errno.EIO: "The disk or its connection is failing (`dmesg` says more): use a clone on another disk",
}
_OF_A_NAME = {
    errno.ENOENT: _NAME,
    errno.ENOTDIR: _NAME,
    errno.ENAMETOOLONG: _NAME,
    errno.EISDIR: "It is a folder: name a file",
}
_LONGEST = 1500  # characters of a cause: enough to name every parameter that is wrong
# What only a name can be to blame for, also where something was to be written.
_OF_WRITING = {number: _OF_A_NAME[number] for number in (errno.ENOTDIR, errno.ENAMETOOLONG, errno.EISDIR)}
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


class HeimdallError(Exception):
    """A failure that the user can mend.

    Args:
        subject: The file, endpoint, parameter or stage that failed.
        cause: What is wrong with it, without secrets.
        remedy: What to type or change.
    """

    def __init__(self, subject: str, cause: str, remedy: str) -> None:
        super().__init__(_one_line(f"{subject}: {_shortened(cause)}. {remedy}"))
        self.subject = subject
        self.cause = cause
        self.remedy = remedy

    def __reduce__(self) -> tuple[type[HeimdallError], tuple[str, str, str]]:
        """Cross the border between processes whole: an exception's own pickling knows the message alone."""
        return type(self), (self.subject, self.cause, self.remedy)


def _one_line(text: str) -> str:
    """The same in one line that every terminal shows: foreign text may hold anything."""
    return "".join(
        one
        if one.isprintable()
        else " "
        if one in "\t\n\r\v\f"
        else one.encode("unicode_escape").decode("ascii")
        for one in text
    )


def _shortened(text: str) -> str:
    """Its beginning and its end, where a foreign value in it is long."""
    half = _LONGEST // 2
    return text if len(text) <= _LONGEST else f"{text[:half]} ... {text[-half:]}"


def unreadable(path: Path | str, error: OSError, remedy: str = _NAME) -> HeimdallError:
    """What to say of a file that a person named and that cannot be opened.

    Args:
        path: As it was named.
        error: What the system said.
        remedy: What to do where there is no such file.
    """
    number = error.errno or 0
    what_to_do = remedy if number == errno.ENOENT else (_OF_A_DISK | _OF_A_NAME).get(number, remedy)
    return HeimdallError(
        str(path), f"it cannot be read ({os.strerror(number) if number else error})", what_to_do
    )


def foreseen(error: BaseException) -> HeimdallError | None:
    """What to say of an exception: itself, or that a disk is at fault; None where it is a bug.

    Args:
        error: Of a full disk it may be a library's own, with the system's one in its context.
    """
    if isinstance(error, HeimdallError):
        return error
    for place, found in enumerate(_chain(error)):
        number = (found.errno or 0) if isinstance(found, OSError) else 0
        known = _OF_A_DISK | _OF_WRITING if place == 0 else {full: _OF_A_DISK[full] for full in _FULL}
        if isinstance(found, OSError) and number in known:
            named = isinstance(found.filename, str | Path)
            subject = str(found.filename) if named else f"a file of {Path.cwd()}"
            return HeimdallError(subject, os.strerror(number), known[number])
    return None


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
