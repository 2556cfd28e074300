"""Versions as `heimdall release` leaves them, and what is found wrong with them."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from scmrepo.git import Git

from heimdall.core import artifacts
from heimdall.release import attestation, audit_log, bucket, pointer, registry
from heimdall.release.audit_log import Entry
from heimdall.release.bucket import ConditionalStore
from heimdall.release.registry import Release
from heimdall.reproduce import git

BY = "Test <test@localhost>"


def nothing(_: object) -> None:
    """Progress that nobody reads."""


def run_git(clone: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=clone, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def put_release(store: ConditionalStore, clone: Path, version: str, mae_m: float = 100.0) -> Release:
    """A version of a clone's commit as `heimdall release` leaves it."""
    files = {name: f"{name} of {version}".encode() for name in registry.FILES}
    for name, content in files.items():
        assert store.put_if(f"{version}/{name}", content, None)
    made = Release(
        version=version,
        commit=git.commit_of(clone, "HEAD"),
        dvc_lock_sha256="d" * 64,
        data_fingerprint="f" * 64,
        data="simulated",
        mae_m=mae_m,
        mae_m_low=mae_m - 10,
        mae_m_high=mae_m + 10,
        verified=True,
        accepted_worse_than=None,
        files={name: artifacts.sha256_bytes(content) for name, content in files.items()},
        released_at=bucket.now(),
    )
    assert store.put_if(f"{version}/release.json", made.content(), None)
    sha256 = artifacts.sha256_bytes(made.content())
    log = audit_log.read(store)
    entry = audit_log.append(store, log, action="release", version=version, release_sha256=sha256, by=BY)
    assert entry is not None
    assert attestation.attest(clone, [*log, entry], made)
    return made


def latest(store: ConditionalStore) -> str:
    """What a reader of `latest` is sent to."""
    return str(json.loads(store.get("latest", 10_000))["version"])


def found_damages(store: ConditionalStore) -> dict[str, str]:
    """What is wrong in the bucket: cause by object's key or version."""
    damages = registry.overview(store, nothing).damages
    return {damage.subject.removeprefix(store.place("")): damage.cause for damage in damages}


def contradictions(store: ConditionalStore, clone: Path) -> dict[str, str]:
    """What of a clone's tags is not as the bucket says: cause by tag."""
    seen = registry.overview(store, nothing)
    assert seen.log is not None
    found = attestation.damages(seen.log, seen.releases, attestation.read(clone))
    return {damage.subject.removeprefix("tag "): damage.cause for damage in found}


def champion_by_stage(clone: Path) -> str:
    """The champion's tag that DVC takes: `Artifacts.get_rev` of DVC 3 takes the last that GTO finds."""
    from gto.tag import find

    scm = Git(str(clone))
    try:
        return str(find(name="localizer", stage="champion", scm=scm)[-1].name)
    finally:
        scm.close()


def interrupted(store: ConditionalStore, action: audit_log.Action, version: str) -> Entry:
    """The entry of a change that was killed before the alias and `latest` moved."""
    made, sha256 = registry.require_release(store, audit_log.read(store), version)
    entry = audit_log.append(
        store, audit_log.read(store), action=action, version=version, release_sha256=sha256, by=BY
    )
    assert entry is not None
    assert found_damages(store)["latest"] == f"{action} of {made.version} is not finished: run it again"
    return entry


def overwrite(store: ConditionalStore, key: str, old: bytes, new: bytes) -> None:
    """What someone does who has the bucket's credentials and no scruples."""
    content = store.get(key, 100_000)
    assert old in content
    store.put(key, content.replace(old, new))


def message(clone: Path, tag: str) -> str:
    return run_git(clone, "for-each-ref", "--format=%(contents)", f"refs/tags/{tag}")


def rewrite(store: ConditionalStore, change: Callable[[list[Entry]], list[Entry]]) -> None:
    """Make all of the bucket consistent with another log, as its owner could."""
    entries: list[Entry] = []
    for entry in change(audit_log.read(store)):
        before = entries[-1].sha256 if entries else audit_log.NO_ENTRY
        entries.append(replace(entry, number=len(entries) + 1, previous_sha256=before))
    released = audit_log.releases(entries)
    for key in store.head_all(""):
        if key.split("/")[0] not in released:
            store.delete(key)
    for entry in entries:
        store.put(entry.key, entry.content())
    promoted = audit_log.last_change(entries)
    if promoted is not None:
        store.put("latest", pointer.content(promoted))


def by_another(log: list[Entry]) -> list[Entry]:
    return [*log[:3], replace(log[3], by="Else <else@localhost>"), *log[4:]]
