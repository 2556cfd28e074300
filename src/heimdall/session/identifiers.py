"""Which session a person means: its identifier, or the beginning of it."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence

from heimdall.core.errors import HeimdallError

_PREFIX = re.compile(r"[0-9a-f-]{1,36}")


def require_form(typed: Sequence[str]) -> None:
    """Refuse what cannot be the beginning of a session's identifier, before any file is read.

    Raises:
        HeimdallError: The first such text.
    """
    for text in typed:
        if not _PREFIX.fullmatch(text.lower()):
            cause = "no session's identifier, which has hexadecimal digits and dashes alone"
            raise HeimdallError(repr(text), cause, "Take one that `heimdall session list` shows")


def find(typed: str, existing: Sequence[str], subject: str) -> str:
    """The session that a person means.

    Args:
        typed: Its identifier, or the beginning of it that no other session has.
        existing: All identifiers.
        subject: Where they stand, for messages.

    Returns:
        The whole identifier.

    Raises:
        HeimdallError: No session begins so, or several do; the remedy names some.
    """
    require_form([typed])
    wanted = typed.lower()
    names = sorted(set(existing))
    found = [name for name in names if name.startswith(wanted)]
    if len(found) == 1:
        return found[0]
    if found:
        cause = f"{len(found)} sessions begin with {wanted}"
        raise HeimdallError(subject, cause, f"Type more of it, such as {found[0]} or {found[1]}")
    remedy = f"`heimdall session list` shows all, such as {', '.join(names[:2])}"
    near = difflib.get_close_matches(wanted, [name[: len(wanted)] for name in names], n=1, cutoff=0.7)
    if near:
        remedy = f"Did you mean {next(name for name in names if name.startswith(near[0]))}?"
    raise HeimdallError(subject, f"there is no session {wanted}", remedy)
