"""Which version is the champion: promotions and rollbacks, and what follows them.

The entry in the log decides. The rest follows in this order, each step looking first at what is there, so
that whoever comes after one that was killed finishes it:

1. the git tag that attests the entry (`attestation`);
2. MLflow's alias;
3. `latest`: what is interrupted before it is known to be unfinished.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.release import attestation, audit_log, mlflow_registry, pointer, registry
from heimdall.release import release as releasing
from heimdall.release.attestation import Tag
from heimdall.release.audit_log import Action, Entry
from heimdall.release.bucket import ConditionalStore
from heimdall.release.registry import Release
from heimdall.reproduce import git


def promote(root: Path, store: ConditionalStore, version: str) -> tuple[Entry, bool]:
    """Make a version the champion.

    Args:
        root: A clone that has the version's commit.
        store: The registry.
        version: A released one.

    Returns:
        The entry of the log, and whether it is new: false if the version was the champion already.

    Raises:
        HeimdallError: The version is not released, is damaged or not of this clone, the clone's tags
            contradict the log, somebody else was faster, or MLflow is down: that is raised at the end.
    """
    git.require_root(root, version)
    tags = attestation.read(root)
    log, interrupted = pointer.read_state(store)
    release, sha256 = registry.require_release(store, log, version)
    registry.require_whole(store, release)
    _require_attestable(root, log, release, tags)
    if interrupted is not None:
        _follow(root, store, log, interrupted, tags)
    change = audit_log.last_change(log)
    if change is not None and change.version == version:
        _follow(root, store, log, change, tags)
        return change, False
    return _change(root, store, log, tags, action="promote", release=release, sha256=sha256), True


def rollback(root: Path, store: ConditionalStore) -> Entry:
    """Make the former champion the champion again; finish a rollback that was interrupted.

    Args:
        root: A clone that has the former champion's commit.
        store: The registry.

    Returns:
        The entry of the log.

    Raises:
        HeimdallError: There is no former champion; else as for `promote`.
    """
    git.require_root(root, "rollback")
    tags = attestation.read(root)
    log, interrupted = pointer.read_state(store)
    if interrupted is not None:
        _follow(root, store, log, interrupted, tags)
        if interrupted.action == "rollback":
            return interrupted
    stack = audit_log.champions(log)
    if len(stack) < 2:
        raise HeimdallError(
            "rollback", "there is no former champion", "Promote a version: `heimdall releases`"
        )
    release, sha256 = registry.require_release(store, log, stack[-2])
    registry.require_whole(store, release)
    _require_attestable(root, log, release, tags)
    return _change(root, store, log, tags, action="rollback", release=release, sha256=sha256)


def _change(
    root: Path,
    store: ConditionalStore,
    log: Sequence[Entry],
    tags: Sequence[Tag],
    *,
    action: Action,
    release: Release,
    sha256: str,
) -> Entry:
    """Append a promotion or rollback, then let the rest follow."""
    by = releasing.identity(root)
    entry = audit_log.append(store, log, action=action, version=release.version, release_sha256=sha256, by=by)
    if entry is None:
        cause = "somebody else released, promoted or rolled back at the same moment, and this changed nothing"
        raise HeimdallError(
            f"{action} of {release.version}", cause, "See `heimdall releases`, then run it again"
        )
    _follow(root, store, [*log, entry], entry, tags)
    return entry


def _follow(
    root: Path, store: ConditionalStore, log: Sequence[Entry], change: Entry, tags: Sequence[Tag]
) -> None:
    """Let tag, alias and `latest` follow an entry.

    An MLflow that is down does not hold up `latest`: its error is raised at the end.
    """
    release = registry.require_release(store, log, change.version)[0]
    _require_attestable(root, log, release, tags)
    attestation.attest(root, log[: change.number], release)
    failure = None
    try:
        mlflow_registry.ensure(root, releasing.wanted(store, release, is_champion=True))
    except HeimdallError as error:
        failure = error
    pointer.move(store, change)
    if failure is not None:
        cause = f"{pointer.LATEST} is {change.version} now, and MLflow's alias is not ({failure.cause})"
        raise HeimdallError(failure.subject, cause, f"When it is up: `heimdall promote {change.version}`")


def _require_attestable(root: Path, log: Sequence[Entry], release: Release, tags: Sequence[Tag]) -> None:
    """Raise a `HeimdallError` unless the log is the one that is attested, and a tag can name the release."""
    attestation.require(log, [release], tags)
    attestation.require_commit(root, release)
