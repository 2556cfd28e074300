"""`latest`, the object that names the champion: it follows the log, and is checked against it."""

from __future__ import annotations

import json

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.release import audit_log, versions
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import DAMAGED, ConditionalStore

LATEST = "latest"


def content(entry: Entry) -> bytes:
    """The content of `latest` after a promotion or rollback."""
    named = {
        "version": entry.version,
        "release_sha256": entry.release_sha256,
        "audit": entry.number,
        "audit_sha256": entry.sha256,
    }
    return artifacts.json_text(named).encode()


def read_state(store: ConditionalStore) -> tuple[list[Entry], Entry | None]:
    """The log, and the promotion or rollback in it that `latest` does not follow yet, if any.

    Raises:
        HeimdallError: The log is damaged, or `latest` names what is not in it.
    """
    found = store.read_tagged(LATEST)  # before the log, which is always ahead of it
    log = audit_log.read(store)
    change = audit_log.last_change(log)
    if found is None or (change is not None and found[0] == content(change)):
        return log, change if found is None else None
    if not any(entry.action != "release" and content(entry) == found[0] for entry in log):
        cause = "it names a state that is not in the log: either was changed"
        raise HeimdallError(store.place(LATEST), cause, DAMAGED)
    return log, change


def move(store: ConditionalStore, change: Entry) -> None:
    """Let `latest` follow an entry, unless it is already at a later one.

    Raises:
        HeimdallError: It was changed at the same moment by what is not in the log.
    """
    for _ in range(3):
        found = store.read_tagged(LATEST)
        if found is not None and _number(found[0]) >= change.number:
            return
        if store.put_if(LATEST, content(change), found[1] if found else None):
            return
    raise HeimdallError(store.place(LATEST), "others move it at this moment", "Run the same command again")


def champion(store: ConditionalStore) -> str | None:
    """The version that `latest` names; None where there is no `latest` or one that cannot be read."""
    found = store.read_tagged(LATEST)
    if found is None:
        return None
    try:
        return versions.check(json.loads(found[0])["version"])
    except (ValueError, KeyError, TypeError, HeimdallError):
        return None


def _number(stored: bytes) -> int:
    """The number of the entry that a `latest` follows; 0 for what is no pointer."""
    try:
        return int(json.loads(stored)["audit"])
    except (ValueError, KeyError, TypeError):
        return 0
