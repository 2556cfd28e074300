"""What a reviewer reads of the working tree: metrics, parameters and model beside those of a baseline."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from heimdall.compare import contest, scorecard
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.network.dataset import DatasetConfig
from heimdall.reproduce import revision
from heimdall.reproduce.revision import LOCK_FILE

MAIN = ("origin/main", "main")  # the first of these that there is


def baseline(repository: Path) -> str:
    """The commit at which the branch of HEAD left the main one; on the main branch its own last commit.

    Returns:
        Full hash.

    Raises:
        HeimdallError: This is no clone's root, there is no main branch, or it shares no commit with HEAD.
    """
    revision.require_root(repository, "review")
    remedy = "Name the baseline: heimdall review REV (in a shallow clone first `git fetch --unshallow`)"
    for name in MAIN:
        if revision.git(repository, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").returncode == 0:
            done = revision.git(repository, "merge-base", "HEAD", name)
            if done.returncode != 0:
                raise HeimdallError(name, "it has no commit in common with HEAD", remedy)
            return done.stdout.decode().strip()
    raise HeimdallError("review", f"there is neither {' nor '.join(MAIN)} here", remedy)


def markdown(repository: Path, base: str, params: Params) -> tuple[str, bool]:
    """The review of the working tree.

    Args:
        repository: A clone's root with its features, and access to the remote.
        base: The commit to compare with, full hash.
        params: `evaluate` says how intervals are made.

    Returns:
        GitHub's Markdown, and whether it is whole: a comparison of models that failed is said in it.

    Raises:
        HeimdallError: DVC cannot tell the differences.
    """
    head = revision.commit_of(repository, "HEAD")
    dirty = revision.git(repository, "status", "--porcelain", "--untracked-files=no").stdout
    parts = [
        f"## {head[:12]}{' with what is not committed' if dirty else ''}, against {base[:12]}",
        _section("Parameters", _difference(repository, "params", base)),
        _section("Metrics", _difference(repository, "metrics", base)),
    ]
    try:
        return "\n\n".join([*parts, _models(repository, base, params)]) + "\n", True
    except HeimdallError as error:
        return "\n\n".join([*parts, f"### Models\n\n**Not compared.** {error}"]) + "\n", False


def _models(repository: Path, base: str, params: Params) -> str:
    former = _model_md5(revision.read(repository, base, LOCK_FILE), f"{LOCK_FILE} of {base[:12]}")
    if former is None:
        return f"### Models\n\n{base[:12]} has no {contest.MODEL} to compare with."
    lock = repository / LOCK_FILE
    text = lock.read_bytes() if lock.exists() else None
    own = _model_md5(text, LOCK_FILE)
    if own == former:
        return f"### Models\n\n{contest.MODEL} is the same, byte for byte."
    if text == revision.read(repository, "HEAD", LOCK_FILE):
        name = "HEAD"
    elif own == revision.md5(repository / contest.MODEL):
        name = str(repository / contest.MODEL)
    else:
        raise HeimdallError(contest.MODEL, f"it is not the one that {LOCK_FILE} names", "Run `dvc repro`")
    a, b = contest.load(repository, base), contest.load(repository, name)
    return scorecard.markdown(contest.hold(repository, a, b, DatasetConfig(), params)).rstrip()


def _model_md5(text: bytes | None, subject: str) -> str | None:
    """The MD5 of the model that a dvc.lock names; None where it names none."""
    if text is None:
        return None
    stages = revision.parse_lock(text.decode("utf-8", errors="replace"), subject).values()
    return next((stage.outs[contest.MODEL] for stage in stages if contest.MODEL in stage.outs), None)


def _difference(repository: Path, kind: str, base: str) -> str:
    """What `dvc metrics diff` or `dvc params diff` say of the working tree against a commit, as Markdown."""
    command = (sys.executable, "-m", "dvc", kind, "diff", "--md", base)
    done = subprocess.run(
        command, cwd=repository, env=revision.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        cause = f"it failed ({' '.join(done.stderr.split())[:200]})"
        raise HeimdallError(f"dvc {kind} diff {base[:12]}", cause, "Mend what it names")
    return done.stdout.strip()


def _section(title: str, table: str) -> str:
    """A folded table; DVC's heads come even where no row follows.

    Without DVC's padding, with which a new model's metrics would not fit a comment's 65,536 characters.
    """
    lines = [re.sub("-{4,}", "---", re.sub(" {2,}", " ", line)) for line in table.splitlines()]
    count = len(lines) - 2
    if count <= 0:
        return f"### {title}\n\nNo change."
    text = "\n".join(lines)
    return f"### {title}\n\n<details><summary>{count} changed</summary>\n\n{text}\n\n</details>"
