"""git: run on a folder's own repository, the commit that a name means, what a commit holds."""

from __future__ import annotations

import subprocess
from pathlib import Path

from heimdall.core import child
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError

# As `git rev-parse --local-env-vars` lists them, without those that only carry configuration.
_TIES = frozenset(
    f"GIT_{name}"
    for name in (
        "ALTERNATE_OBJECT_DIRECTORIES",
        "COMMON_DIR",
        "DIR",
        "GRAFT_FILE",
        "IMPLICIT_WORK_TREE",
        "INDEX_FILE",
        "OBJECT_DIRECTORY",
        "PREFIX",
        "SHALLOW_FILE",
        "WORK_TREE",
    )
)


# What only reads may not lock the index to refresh it: a DVC that wants the lock just then gives up.
_READS_ONLY = {"GIT_OPTIONAL_LOCKS": "0"}


def run(folder: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[bytes]:
    """Run git on the repository of a folder, whatever repository a hook's environment names.

    `more` are environment variables.

    Raises:
        HeimdallError: There is no git.
    """
    env = environment() | _READS_ONLY | more
    try:
        return subprocess.run(["git", *arguments], cwd=folder, env=env, capture_output=True, check=False)
    except FileNotFoundError as error:
        if error.filename != "git":
            raise
        remedy = "Install it (on Debian and Ubuntu `apt-get install git`)"
        raise HeimdallError("git", "no such program in PATH", remedy) from None


def require_root(repository: Path, subject: str) -> None:
    """Raise a `HeimdallError` about `subject` unless a folder is the root of a clone."""
    if not (repository / ".git").exists():
        raise HeimdallError(
            subject, "this folder is no clone's root", "Run from the root of a clone that `git clone` made"
        )


def commit_of(repository: Path, revision: str) -> str:
    """The full hash of the commit that `revision` names.

    Raises:
        HeimdallError: There is none, or git refuses.
    """
    done = run(repository, "rev-parse", "--quiet", "--verify", "--end-of-options", f"{revision}^{{commit}}")
    if done.returncode != 0:
        remedy = "Name a commit, branch or tag of this repository (git log --oneline)"
        if run(repository, "rev-parse", "--is-shallow-repository").stdout.strip() == b"true":
            remedy = "This clone is shallow: run `git fetch --unshallow --tags`, or name a commit that it has"
        raise refused(repr(revision), done, "git knows no such revision here", remedy)
    return done.stdout.decode().strip()


def blob(repository: Path, commit: str, path: str) -> bytes | None:
    """The content of a file in a commit; None where the commit has no such file."""
    done = run(repository, "cat-file", "blob", f"{commit}:{path}")
    return done.stdout if done.returncode == 0 else None


def refused(subject: str, done: subprocess.CompletedProcess[bytes], cause: str, remedy: str) -> HeimdallError:
    """What to say of a command that failed; of a clone of another user, which git reads only if it is told.

    Args:
        subject: What was asked of git.
        done: The command.
        cause: Why, where git does not say.
        remedy: What to do, where the clone is one's own.
    """
    if b"dubious ownership" in done.stderr:
        cause = "the clone belongs to another user, and git does not read it"
        remedy = f"Run `git config --global --add safe.directory {Path.cwd()}`, or run as its owner"
        return HeimdallError(subject, cause, remedy)
    return HeimdallError(subject, said(done) or cause, remedy)


def said(done: subprocess.CompletedProcess[bytes]) -> str:
    """What git said on stderr, on one line."""
    return " ".join(done.stderr.decode(errors="replace").split())


def environment(*services: Service) -> dict[str, str]:
    """As of `child`, without what ties git to one repository: hooks inherit it."""
    return {name: value for name, value in child.environment(*services).items() if name not in _TIES}
