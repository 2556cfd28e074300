"""The registry's log: releases, promotions, rollbacks, each entry with the hash of the one before."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator
from pydantic.dataclasses import dataclass as record

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.release.bucket import DAMAGED, STRICT, ConditionalStore, now, parsed

AUDIT = "audit/"


NO_ENTRY = "0" * 64  # what the first entry names as the one before


Action = Literal["release", "promote", "rollback"]


def _time(text: str) -> str:
    """The text, if it is a time; raises a `ValueError` if not."""
    if datetime.fromisoformat(text).tzinfo is None:
        raise ValueError(f"{text!r} has no time zone")
    return text


@record(frozen=True, config=STRICT)
class Entry:
    """One entry of the log.

    Attributes:
        number: From 1.
        previous_sha256: Of the entry before; NO_ENTRY in the first.
        action: What was done.
        version: What was released, or the champion from here on.
        former: The champion before, if any.
        release_sha256: Of the version's release.json.
        at: When, UTC, ISO.
        by: Name and address of who did it, as git knows them.
    """

    number: int
    previous_sha256: str
    action: Action
    version: str
    former: str | None
    release_sha256: str
    at: Annotated[str, AfterValidator(_time)]
    by: str

    def content(self) -> bytes:
        """As it is stored."""
        return artifacts.json_text(asdict(self)).encode()

    @property
    def sha256(self) -> str:
        """Of the stored bytes."""
        return artifacts.sha256_bytes(self.content())

    @property
    def key(self) -> str:
        """Where it is stored."""
        return audit_key(self.number)


def audit_key(number: int) -> str:
    """Key of an entry of the log."""
    return f"{AUDIT}{number:08d}.json"


def read(store: ConditionalStore) -> list[Entry]:
    """Every entry of the log, its chain checked.

    Raises:
        HeimdallError: An entry is missing, changed or not in its place.
    """
    entries: list[Entry] = []
    keys = list(store.head_all(AUDIT))
    for number, key in enumerate(keys, 1):
        if key != audit_key(number):
            raise HeimdallError(
                store.place(audit_key(number)), f"missing from the log, which has {key}", DAMAGED
            )
        content = store.read(key)
        entry = None if content is None else parsed(Entry, content, store.place(key))
        before = entries[-1].sha256 if entries else NO_ENTRY
        if entry is None or entry.content() != content or entry.number != number:
            raise HeimdallError(store.place(key), "not an entry of the log as it was written", DAMAGED)
        if entry.previous_sha256 != before:
            cause = f"it does not follow from entry {number - 1}: one of the two was changed"
            raise HeimdallError(store.place(key), cause, DAMAGED)
        entries.append(entry)
    return entries


def releases(log: Sequence[Entry]) -> dict[str, str]:
    """SHA-256 of release.json of every version that a log says was released."""
    return {entry.version: entry.release_sha256 for entry in log if entry.action == "release"}


def champions(log: Sequence[Entry]) -> list[str]:
    """The champion after a log, last, and before it those to which rollbacks lead."""
    stack: list[str] = []
    for entry in log:
        if entry.action == "promote":
            stack.append(entry.version)
        elif entry.action == "rollback":
            del stack[-1:]
    return stack


def last_change(log: Sequence[Entry]) -> Entry | None:
    """The last promotion or rollback; None where there was none."""
    return next((entry for entry in reversed(log) if entry.action != "release"), None)


def append(
    store: ConditionalStore,
    log: Sequence[Entry],
    *,
    action: Action,
    version: str,
    release_sha256: str,
    by: str,
) -> Entry | None:
    """Append to a log that was read.

    Returns:
        The new entry; None where somebody else has appended meanwhile.
    """
    stack = champions(log)
    entry = Entry(
        number=len(log) + 1,
        previous_sha256=log[-1].sha256 if log else NO_ENTRY,
        action=action,
        version=version,
        former=stack[-1] if stack else None,
        release_sha256=release_sha256,
        at=now(),
        by=by,
    )
    return entry if store.put_if(entry.key, entry.content(), None) else None
