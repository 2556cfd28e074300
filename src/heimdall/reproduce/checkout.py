"""A clean checkout of a commit, what DVC holds brought into it, and DVC run in it.

A checkout holds what git holds. What DVC holds comes from the remote on request, never from this
machine's cache, and every byte of it is hashed against dvc.lock: DVC itself trusts a remote's names.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from heimdall.core import child, variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import git
from heimdall.reproduce.dvc_lock import Lock, md5, outputs, source_of
from heimdall.services import dvc_remote


def make(repository: Path, commit: str, folder: Path) -> None:
    """Make `folder` a clean checkout of `commit`, with the remote's settings and an empty cache.

    Args:
        repository: A clone that has the commit. Nothing in it is changed.
        commit: Full hash.
        folder: Replaced if it exists.

    Raises:
        HeimdallError: git refuses, or .dvc/config.local is damaged.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    source = str(repository.resolve())
    for arguments in (
        ("clone", "--quiet", "--shared", "--no-checkout", "--", source, str(folder.resolve())),
        ("-C", str(folder.resolve()), "-c", "advice.detachedHead=false", "checkout", "--quiet", commit),
    ):
        done = git.run(repository, *arguments)
        if done.returncode != 0:
            cause = f"git made no checkout of it ({git.said(done)})"
            raise HeimdallError(
                commit[:12],
                cause,
                "Free some disk space (`df -h`); if there is enough, `git fsck` says what the clone lacks",
            )
    dvc_remote.copy(repository, folder)


def pull(tree: Path, lock: Lock, paths: Sequence[str]) -> None:
    """Bring outputs from the remote into a checkout, and hash every byte of them.

    Args:
        tree: A checkout.
        lock: Its dvc.lock.
        paths: Outputs that stand in the lock; those that git holds are only hashed.

    Raises:
        HeimdallError: The remote does not answer or lacks something, or holds other bytes under the name.
    """
    wanted = [path for path in paths if not is_in_git(tree, path)]
    if wanted and dvc(tree, "pull", "--quiet", *wanted, env=environment(Service.S3)) != 0:
        cause = "the remote did not give it as dvc.lock names it"
        remedy = (
            "DVC's message above says why: in a new clone run `heimdall services up`; where the remote lacks "
            "it, run `dvc push` in the clone that made it"
        )
        raise HeimdallError(", ".join(f"{path} ({outputs(lock)[path]})" for path in wanted), cause, remedy)
    for path in paths:
        recorded, found = outputs(lock)[path], md5(tree / path)
        if found != recorded:
            stage = source_of(path, lock)
            subject = f"{stage.name if stage else 'git'}: {path}"
            where = "git holds" if path not in wanted else "the remote holds"
            remedy = (
                "One of the two was changed: commit the former dvc.lock, or delete the object in the remote "
                "and run `dvc push` in the clone that made it"
            )
            raise HeimdallError(subject, f"{where} {found}, dvc.lock says {recorded}", remedy)


def is_in_git(tree: Path, path: str) -> bool:
    """Whether git, not DVC, holds an output."""
    return bool(git.run(tree, "ls-files", "--", path).stdout)


def restore(tree: Path) -> None:
    """Give every file that git holds its committed content again."""
    git.run(tree, "checkout", "--quiet", "--", ".")


def forget_credentials(tree: Path) -> None:
    """Remove the remote's settings from a checkout that is kept for looking at."""
    (tree / dvc_remote.LOCAL).unlink(missing_ok=True)


def environment(*services: Service) -> dict[str, str]:
    """The environment of DVC's own commands in a checkout: this interpreter's programs first, no tracker.

    Args:
        services: As of `child.environment`.
    """
    return _here(git.environment(*services))


def environment_of_code(*services: Service) -> dict[str, str]:
    """The same for the code of the revision that is checked out.

    Args:
        services: As of `child.environment_of_code`.
    """
    return _here(child.environment_of_code(*services))


def _here(inherited: Mapping[str, str]) -> dict[str, str]:
    path = os.pathsep.join([str(Path(sys.executable).parent), inherited.get("PATH", os.defpath)])
    return {**inherited, "PATH": path, variables.TRACKING.name: "off"}


def dvc(tree: Path, *arguments: str, env: Mapping[str, str]) -> int:
    """Run DVC in a checkout; what it says goes to stderr. Returns its exit code."""
    command = [sys.executable, "-m", "dvc", *arguments]
    return subprocess.run(command, cwd=tree, env=env, stdout=sys.stderr.fileno(), check=False).returncode
