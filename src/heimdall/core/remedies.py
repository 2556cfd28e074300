"""What to do about troubles that many rooms meet: one trouble, one sentence, wherever it shows."""

from __future__ import annotations

from pathlib import Path

from heimdall.core.errors import HeimdallError, unreadable

# `services up` also tells DVC where its remote is, for configured servers, too.
BRING = "Run `dvc repro` or `dvc pull`; in a new clone run `heimdall services up` before"
# Without --force DVC refuses to replace what it does not know. Metrics and plots are in git.
RESTORE = "Restore it with `dvc pull --force` or, if git holds it, `git checkout`; or run `dvc repro`"
MODEL = "Name an .onnx file that this pipeline exported, such as models/localizer.onnx after `dvc repro`"
# An approval later than snapshot.as_of is in no snapshot.
APPROVE = "Approve more sessions, set snapshot.as_of in params.yaml to a later time, and run `dvc repro`"


def of_output(path: Path, error: Exception, what: str, remedy: str = RESTORE) -> HeimdallError:
    """What to say of an output of the pipeline that cannot be read.

    Args:
        path: The file.
        error: What reading it raised.
        what: What is wrong with it where it is there and may be read, such as "no parquet file".
        remedy: What to do then; by default for what DVC or git holds.
    """
    if isinstance(error, FileNotFoundError):
        return HeimdallError(str(path), "the file is missing", BRING)
    if isinstance(error, OSError) and error.errno is not None:
        return unreadable(path, error)
    return HeimdallError(str(path), f"{what} ({' '.join(str(error).split())[:200]})", remedy)


def refuse_conflict(text: str, path: str) -> None:
    """Refuse a file in which git has left the marks of a merge.

    Args:
        text: Its content.
        path: From the root of the clone.

    Raises:
        HeimdallError: It has such marks. A plain `git checkout` refuses to restore it.
    """
    line = next(
        (number for number, line in enumerate(text.splitlines(), 1) if line.startswith("<<<<<<< ")), 0
    )
    if line:
        remedy = f"Keep one (`git checkout --ours {path}` while merging), run `dvc repro`, and commit"
        raise HeimdallError(f"{path}, line {line}", "a merge left two versions in it", remedy)
