"""The commits of a repository: which of them changed a file, and which hold a text in it.

Branches, tags, remote branches and DVC's experiments (refs/exps) are all searched.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from heimdall.reproduce import git


@dataclass(frozen=True)
class Commit:
    """A commit as a reader knows it.

    Attributes:
        hash: Full.
        date: Day of the commit, ISO.
        subject: First line of its message.
    """

    hash: str
    date: str
    subject: str


def changing(repository: Path, path: str) -> list[Commit]:
    """Every commit that changed a file, of all references, the newest first; a merge counts for any parent.

    Raises:
        HeimdallError: This is no git repository.
    """
    # --full-history: a branch whose change was undone by a merge counts, too.
    return _log(repository, "--all", "--full-history", "--date-order", "--", path)


def latest(repository: Path, path: str) -> Commit | None:
    """The commit from which HEAD has its version of a file; None where HEAD has no such file."""
    if not _lines(repository, "ls-tree", "HEAD", "--", path):
        return None
    return _log(repository, "--max-count=1", "HEAD", "--", path)[0]


def one(repository: Path, commit: str) -> Commit:
    """What a reader knows a commit by."""
    return _log(repository, "--max-count=1", commit, "--")[0]


def before(repository: Path, commit: str, path: str) -> list[Commit]:
    """The commits up to this one, and it, that changed a file; the newest first."""
    return _log(repository, commit, "--", path)


def holding(repository: Path, commits: Iterable[str], path: str, text: str) -> dict[str, str]:
    """Those of the commits in whose version of a file a text stands on one line, with that version's blob."""
    searched = list(dict.fromkeys(commits))
    if not searched:
        return {}
    options = ("--no-color", "--files-with-matches", "--fixed-strings", "-e", text)
    lines = _lines(repository, "grep", *options, *searched, "--", path, accepted=(0, 1))
    return dict(
        zip(
            (line.removesuffix(f":{path}") for line in lines),
            _lines(repository, "rev-parse", *lines) if lines else [],
            strict=True,
        )
    )


def tips(repository: Path) -> dict[str, str]:
    """The commit at the tip of every branch, tag and experiment, by what a reader calls it."""
    fields = "%(refname) %(objecttype) %(objectname) %(*objecttype) %(*objectname)"  # *: what a tag points at
    found = {}
    for line in _lines(repository, "for-each-ref", f"--format={fields}"):
        reference, *objects = line.split()
        targets = dict(zip(objects[::2], objects[1::2], strict=True))
        name = _name(reference)
        if name is not None and "commit" in targets:
            found[name] = targets["commit"]
    return found


def _name(reference: str) -> str | None:
    """What a reader calls a reference; None for those that git and DVC keep for themselves."""
    for prefix, kind in (("refs/heads/", "branch"), ("refs/remotes/", "branch"), ("refs/tags/", "tag")):
        if reference.startswith(prefix) and not reference.endswith("/HEAD"):
            return f"{kind} {reference.removeprefix(prefix)}"
    parts = reference.split("/")  # refs/exps/<2 digits of the baseline's hash>/<the other 38>/<name>
    is_experiment = parts[:2] == ["refs", "exps"] and len(parts) == 5 and len(parts[2] + parts[3]) == 40
    return f"experiment {parts[4]}" if is_experiment else None


def _log(repository: Path, *arguments: str) -> list[Commit]:
    options = ("-c", "log.showSignature=false", "log", "--format=%H%x09%cs%x09%s")
    return [Commit(*line.split("\t", maxsplit=2)) for line in _lines(repository, *options, *arguments)]


def _lines(repository: Path, *arguments: str, accepted: Sequence[int] = (0,)) -> list[str]:
    """What git prints."""
    done = git.run(repository, *arguments)
    if done.returncode not in accepted:
        remedy = "Run from the root of a clone with its history (in a shallow one `git fetch --unshallow`)"
        raise git.refused("git", done, f"`git {arguments[0]}` failed", remedy)
    # Not splitlines(): a commit's subject may hold other separators.
    return [line for line in done.stdout.decode(errors="replace").split("\n") if line]
