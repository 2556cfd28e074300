"""What a reviewer reads of the working tree: metrics, parameters and model beside those of a baseline."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params
from heimdall.reproduce import checkout, dvc_lock, git
from heimdall.reproduce.files import Files
from heimdall.reproduce.paths import LOCK_FILE, MODEL

MAIN = ("origin/main", "main")  # the first of these that there is


def baseline(repository: Path) -> str:
    """The commit at which the branch of HEAD left the main one; on the main branch its own last commit.

    Returns:
        Full hash.

    Raises:
        HeimdallError: This is no clone's root, there is no main branch, or it shares no commit with HEAD.
    """
    git.require_root(repository, "review")
    remedy = "Name the baseline, `heimdall review REV`; in a shallow clone run `git fetch --unshallow` before"
    for name in MAIN:
        if git.run(repository, "rev-parse", "--quiet", "--verify", f"{name}^{{commit}}").returncode == 0:
            done = git.run(repository, "merge-base", "HEAD", name)
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
    head = git.commit_of(repository, "HEAD")
    dirty = git.run(repository, "status", "--porcelain", "--untracked-files=no").stdout
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
    workspace = Files(repository)
    own, former = _model_md5(workspace), _model_md5(Files(repository, base))
    if own is None and former is None:
        return (
            f"### Models\n\nNo model to compare: neither here nor at {base[:12]} {LOCK_FILE} names {MODEL}."
        )
    if former is None:
        return f"### Models\n\n{base[:12]} has no {MODEL} to compare with."
    if own == former and not (repository / MODEL).is_file():
        return (
            f"### Models\n\nNo model to compare: {MODEL} is not in the working tree, and {LOCK_FILE} names "
            "the same one as the baseline's. `dvc pull` brings it."
        )
    if own == former:
        return f"### Models\n\n{MODEL} is the same, byte for byte."
    if workspace.source(LOCK_FILE) == git.blob(repository, "HEAD", LOCK_FILE):
        name = "HEAD"
    elif own == dvc_lock.md5(repository / MODEL):
        name = str(repository / MODEL)
    else:
        raise HeimdallError(
            MODEL,
            f"it is not the one that {LOCK_FILE} names",
            "Run `dvc repro`, or `dvc checkout --force` for the one that it names",
        )

    from heimdall.compare import contest, scorecard  # noqa: PLC0415 - torch, if there are models to compare
    from heimdall.network.dataset import DatasetConfig  # noqa: PLC0415 - as above

    a, b = contest.load(repository, base), contest.load(repository, name)
    return scorecard.markdown(contest.hold(repository, a, b, DatasetConfig(), params)).rstrip()


def _model_md5(files: Files) -> str | None:
    """The MD5 of the model that a dvc.lock names; None where there is none or it names none."""
    if files.source(LOCK_FILE) is None:
        return None
    return dvc_lock.outputs(files.lock).get(MODEL)


def _difference(repository: Path, kind: str, base: str) -> str:
    """What `dvc metrics diff` or `dvc params diff` say of the working tree against a commit, as Markdown."""
    command = (sys.executable, "-m", "dvc", kind, "diff", "--md", base)
    done = subprocess.run(
        command, cwd=repository, env=checkout.environment(), capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        cause = f"it failed ({' '.join(done.stderr.split())[:200]})"
        raise HeimdallError(
            f"dvc {kind} diff {base[:12]}",
            cause,
            f"Run `dvc {kind} diff {base[:12]}`, and correct the file that it names",
        )
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
