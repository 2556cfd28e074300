"""A file of the repository in one version: of a commit, or of the workspace.

The one reader: what git holds comes from git, an output from DVC's cache or remote, the workspace's from
there; an output's bytes are always those that dvc.lock names. The workspace is not touched.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from heimdall.core import remedies
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock, git
from heimdall.reproduce.dvc_lock import Lock
from heimdall.reproduce.paths import LOCK_FILE

_NOT_OF_THE_PIPELINE = "Name a revision whose pipeline makes it (`git log --oneline dvc.lock` lists some)"


@dataclass(frozen=True)
class Files:
    """The files of one version.

    Attributes:
        root: A clone's root, or another folder with a dvc.lock and what that names.
        commit: Full hash; None for the files that lie there.
    """

    root: Path
    commit: str | None = None

    @cached_property
    def lock(self) -> Lock:
        """Its dvc.lock.

        Raises:
            HeimdallError: There is none, or none that can be read.
        """
        if self.commit is not None:
            return dvc_lock.read(self.root, self.commit)
        content = self.source(LOCK_FILE)
        if content is None:
            raise HeimdallError(
                LOCK_FILE, "there is none here", f"Run `git checkout {LOCK_FILE}` or `dvc repro`"
            )
        return dvc_lock.parse(content.decode(errors="replace"), LOCK_FILE)

    def source(self, path: str) -> bytes | None:
        """A file as git holds it, or as it lies in the workspace; None where it is not there.

        Args:
            path: Relative to the root.
        """
        if self.commit is not None:
            return git.blob(self.root, self.commit, path)
        file = self.root / path
        return file.read_bytes() if file.is_file() else None

    def output(self, path: str) -> bytes:
        """As `read`, of an output that dvc.lock must name, or of a file in one."""
        if dvc_lock.source_of(path, self.lock) is None:
            cause = f"no stage in its {LOCK_FILE} makes it"
            raise HeimdallError(self._subject(path), cause, _NOT_OF_THE_PIPELINE)
        return self.read(path)

    def read(self, path: str) -> bytes:
        """A file, wherever it is held: an output of dvc.lock, a file in one, or one of git.

        Args:
            path: Relative to the root.

        Returns:
            The bytes; of an output those whose MD5 is recorded.

        Raises:
            HeimdallError: There is no such file, neither the cache nor the remote has it, or other bytes are
                stored as it.
        """
        content = self.source(path)
        recorded = dvc_lock.outputs(self.lock).get(path)
        if content is None and self.commit is not None:
            return self._from_dvc(path)
        if content is None:
            raise HeimdallError(path, "it is missing", remedies.BRING)
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if recorded not in (None, found):
            cause = f"{found}, and {LOCK_FILE} says {recorded}"
            remedy = f"{remedies.RESTORE} and commit {LOCK_FILE}"
            raise HeimdallError(self._subject(path), cause, remedy)
        return content

    def _subject(self, path: str) -> str:
        """What messages call a file."""
        return path if self.commit is None else f"{path} of {self.commit[:12]}"

    def _from_dvc(self, path: str) -> bytes:
        """An output of a commit, or a file in one, from this clone's cache or from the remote."""
        from dvc.api import DVCFileSystem  # noqa: PLC0415 - what git holds does not wait for it

        subject = self._subject(path)
        if dvc_lock.source_of(path, self.lock) is None:
            cause = f"neither git has it, nor does a stage in its {LOCK_FILE} make it"
            raise HeimdallError(subject, cause, _NOT_OF_THE_PIPELINE)
        try:
            files = DVCFileSystem(str(self.root), rev=self.commit)
            recorded = files.info(f"/{path}")["md5"]
            content: bytes = files.read_bytes(f"/{path}")
        except Exception as error:  # those of DVC, of the remote's client and of the network share no base
            problem = " ".join(str(error).split())[:200]
            cause = f"neither the cache nor the remote gave it ({problem})"
            remedy = (
                "In a new clone run `heimdall services up`; where the remote lacks it, run `dvc push` in the "
                "clone that made it"
            )
            raise HeimdallError(subject, cause, remedy) from None
        found = hashlib.md5(content, usedforsecurity=False).hexdigest()
        if found != recorded:
            cause = f"{found} is stored under the name {recorded}"
            remedy = (
                "Delete the file of that name in the folder that `dvc cache dir` names and run this again; "
                "if the remote holds the same, delete it there and run `dvc push` in the clone that made it"
            )
            raise HeimdallError(subject, cause, remedy)
        return content
