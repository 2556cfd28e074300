"""What the git tags of a clone attest of the registry: whoever may write to the bucket cannot change them.

The tags of a release, and of every promotion or rollback GTO's stage assignment `localizer#champion#N` with
the number of its entry in the log, hold the SHA-256 of that entry. An entry holds that of the one before, so
nothing before it can be changed either. A tag follows from the log and the commit alone: two clones that make
it make the same.

DVC takes the stage's tag with the latest date, in whole seconds, and of equal dates the last by name, where
10 comes before 9. So the date of a tag is that of its entry, but at least one second after the one before.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.release import registry
from heimdall.release.audit_log import Entry
from heimdall.release.registry import Damage, Release
from heimdall.reproduce import git

ARTIFACT = "localizer"  # of dvc.yaml
STAGE = f"{ARTIFACT}#champion"
_REMEDY = (
    "Look who made the tag (`git show` it): delete one that was made by hand with `git tag --delete`, and at "
    "the remote with `git push origin --delete`, and run this again. Do the same with all tags of releases "
    "if their bucket was deleted, as by `make clean`. Else keep bucket and tag as they are"
)
_LINE = re.compile(r"^(\S+/\S+) sha256 ([0-9a-f]{64})$", re.MULTILINE)


@dataclass(frozen=True)
class Tag:
    """A tag that may attest something or that DVC may follow.

    Attributes:
        name: Without refs/tags/.
        commit: Full hash of the commit; empty for a tag that is not annotated.
        sha256: Of objects in the bucket, by key, as its message says.
    """

    name: str
    commit: str
    sha256: Mapping[str, str]


def release_tags(version: str) -> tuple[str, str]:
    """The tags of a version: GTO's, which DVC looks for, and the one that people type."""
    return f"{ARTIFACT}@{version}", version


def tags(entry: Entry) -> tuple[str, ...]:
    """The names of the tags that attest an entry."""
    return release_tags(entry.version) if entry.action == "release" else (f"{STAGE}#{entry.number}",)


def push(names: Sequence[str]) -> str:
    """The command that brings tags to the others. `#` is quoted: some shells read it."""
    return shlex.join(["git", "push", "origin", *names])


def read(root: Path) -> list[Tag]:
    """A clone's tags that may attest something or that DVC may follow, earliest first. Read before the log.

    Raises:
        HeimdallError: git cannot list them: this is no clone, or not one of this user's.
    """
    names = (STAGE, f"{STAGE}[#!]*", *release_tags("v*"))  # DVC takes a stage's tag without a number, too
    patterns = [f"refs/tags/{name}" for name in names]
    form = "%(refname:strip=2)%00%(*objectname)%00%(contents)%00"
    done = git.run(root, "for-each-ref", "--sort=taggerdate", f"--format={form}", *patterns)
    if done.returncode != 0:
        subject, remedy = "the tags that attest the log", "Run it in a clone of the repository"
        raise git.refused(subject, done, "git lists none", remedy)
    fields = [field.removeprefix("\n") for field in done.stdout.decode(errors="replace").split("\0")]
    rows = zip(fields[0::3], fields[1::3], fields[2::3], strict=False)  # a last newline is no row
    return [
        Tag(name, commit, dict(_LINE.findall(message)) if commit else {}) for name, commit, message in rows
    ]


def damages(log: Sequence[Entry], releases: Sequence[Release], found: Sequence[Tag]) -> list[Damage]:
    """Where a clone's tags contradict the registry.

    A tag that has the name of an entry's attests that entry and is at the commit of its version. Any other
    tag that DVC might follow, or that attests something, is damage. A plain `v9.9.9` that attests nothing is
    none as long as no release has this version: it is somebody's own.

    Args:
        log: The whole log.
        releases: Those whose commits are compared with their tags.
        found: The tags, read before the log.
    """
    known = {key: sha256 for entry in log for key, sha256 in _attested(entry).items()}
    commits = {made.version: made.commit for made in releases}
    causes = {tag.name: _contradiction(tag, log, known, commits) for tag in found}
    return [Damage(f"tag {name}", cause) for name, cause in causes.items() if cause is not None]


def unattested(log: Sequence[Entry], found: Sequence[Tag]) -> list[Entry]:
    """The entries whose own tag is not among those of a clone: not fetched, not pushed, or never made."""
    lines = {line for tag in found for line in tag.sha256.items()}
    return [entry for entry in log if (entry.key, entry.sha256) not in lines]


def require(log: Sequence[Entry], releases: Sequence[Release], found: Sequence[Tag]) -> None:
    """Raise a `HeimdallError` if `damages` finds any."""
    for damage in damages(log, releases, found):
        raise HeimdallError(damage.subject, damage.cause, _REMEDY)


def require_free(version: str, found: Sequence[Tag]) -> None:
    """Raise a `HeimdallError` if a version has a tag before its release, which would leave it there."""
    for tag in found:
        if tag.name in release_tags(version):
            raise HeimdallError(
                f"tag {tag.name}", f"it is there, and the log has no release of {version}", _REMEDY
            )


def require_commit(root: Path, release: Release) -> None:
    """Raise a `HeimdallError` unless a clone has the commit of a version, which a tag can then name."""
    if git.run(root, "cat-file", "-e", f"{release.commit}^{{commit}}").returncode != 0:
        cause = f"its commit {release.commit[:12]} is not in this clone, and a tag must name it"
        raise HeimdallError(release.version, cause, "Run `git fetch --tags` in a clone of the repository")


def attest(root: Path, log: Sequence[Entry], release: Release) -> bool:
    """Make the tags of an entry that are not there yet.

    Args:
        root: A clone that has the version's commit.
        log: Up to the entry.
        release: The entry's version.

    Returns:
        Whether one was made.

    Raises:
        HeimdallError: A tag of this name is there and not what would be made, or git makes none.
    """
    there = _there(root, log, release)
    missing = [name for name in tags(log[-1]) if name not in there]
    for name in missing:
        _make(root, name, log, release)
    return bool(missing)


def _there(root: Path, log: Sequence[Entry], release: Release) -> set[str]:
    """Which tags of the last entry are there. Raises a `HeimdallError` if one is not as `_make` makes it."""
    found = [tag for tag in read(root) if tag.name in tags(log[-1])]
    require(log, [release], found)
    return {tag.name for tag in found}


def _make(root: Path, name: str, log: Sequence[Entry], release: Release) -> None:
    """Make one tag."""
    entry = log[-1]
    lines = [f"{key} sha256 {sha256}" for key, sha256 in _attested(entry).items()]
    title = f"{ARTIFACT}: {entry.action} {entry.version}, log entry {entry.number}"
    who, _, address = entry.by.removesuffix(">").rpartition(" <")
    done = git.run(
        root,
        "tag",
        "--annotate",
        "--message",
        "\n".join([title, "", *lines]),
        name,
        release.commit,
        GIT_COMMITTER_NAME=who,
        GIT_COMMITTER_EMAIL=address,
        GIT_COMMITTER_DATE=f"@{_second(log)} +0000",
    )
    if done.returncode != 0 and name not in _there(root, log, release):  # another process may have made it
        problem = " ".join(done.stderr.decode(errors="replace").split())
        raise HeimdallError(
            f"tag {name}",
            f"git makes none ({problem})",
            "Correct what git names, and run the same command again, which completes it",
        )


def _attested(entry: Entry) -> dict[str, str]:
    """What the tags of an entry say: SHA-256 by key."""
    return {entry.key: entry.sha256, f"{entry.version}/{registry.RELEASE_FILE}": entry.release_sha256}


def _second(log: Sequence[Entry]) -> int:
    """The date of the last entry's tags, s since 1970: clocks may differ and entries share a second."""
    second = 0
    for entry in log:
        second = max(second + 1, int(datetime.fromisoformat(entry.at).timestamp()))
    return second


def _contradiction(
    tag: Tag, log: Sequence[Entry], known: Mapping[str, str], commits: Mapping[str, str]
) -> str | None:
    """What of a tag is not as the registry says; None where all is."""
    for key, sha256 in tag.sha256.items():
        if key not in known:
            return f"it attests {key}, which the log does not have"
        if known[key] != sha256:
            return f"it attests another {key} than the log has"
    entry = next((entry for entry in log if tag.name in tags(entry)), None)
    if entry is None:
        is_own = not tag.sha256 and not tag.name.startswith(ARTIFACT)
        return None if is_own else "no release, promotion or rollback in the log made it"
    if tag.sha256 != _attested(entry):
        return f"it is not the attestation of log entry {entry.number}, {entry.action} {entry.version}"
    if commits.get(entry.version, tag.commit) != tag.commit:
        return f"it is at {tag.commit[:12]}, and {entry.version} is of {commits[entry.version][:12]}"
    return None
