"""One file that DVC holds for a revision, from this clone's cache or from the remote."""

from __future__ import annotations

import hashlib
from pathlib import Path

from dvc.api import DVCFileSystem

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import revision
from heimdall.reproduce.revision import LOCK_FILE


def read(repository: Path, commit: str, path: str) -> bytes:
    """The bytes of an output in a commit's dvc.lock, or of a file in one. The workspace is not touched.

    Args:
        repository: A clone that has the commit, with access to its remote.
        commit: Full hash.
        path: Relative to the repository's root.

    Returns:
        The bytes, whose MD5 is the recorded one.

    Raises:
        HeimdallError: The commit has no such output, it is neither in the cache nor in the remote, or other
            bytes are stored there.
    """
    subject = f"{path} of {commit[:12]}"
    if revision.source_of(path, revision.read_lock(repository, commit)) is None:
        cause = f"no stage in its {LOCK_FILE} makes it"
        raise HeimdallError(subject, cause, "Run `dvc repro` there, or name another revision")
    try:
        files = DVCFileSystem(str(repository), rev=commit)
        recorded = files.info(f"/{path}")["md5"]
        content: bytes = files.read_bytes(f"/{path}")
    except Exception as error:  # those of DVC, of the remote's client and of the network share no base
        problem = " ".join(str(error).split())[:200]
        cause = f"neither the cache nor the remote gave it ({problem})"
        raise HeimdallError(
            subject, cause, "Look at the remote's credentials, or `dvc push` from the clone that made it"
        ) from None
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != recorded:
        cause = f"{found} is stored under the name {recorded}"
        raise HeimdallError(subject, cause, "Remove it from the cache (`dvc cache dir`) or mend the remote")
    return content
