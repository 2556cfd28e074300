"""The spool, .heimdall/tracking/: records of trainings that wait to be sent, each whole or not there."""

from __future__ import annotations

import base64
import re
from dataclasses import asdict, replace
from pathlib import Path

from heimdall.core import artifacts
from heimdall.core.errors import HeimdallError
from heimdall.track.mlflow_store import SCRATCH
from heimdall.track.run import Run

SPOOL = Path(SCRATCH) / "tracking"


def write(root: Path, run: Run) -> Path:
    """Write a run to the spool of a repository, whole or not at all.

    Raises:
        OSError: The disk is full, or the folder is not writable.
        ValueError: A metric is no finite number.
    """
    content = asdict(run) | {
        "files": {name: base64.b64encode(file).decode() for name, file in run.files.items()}
    }
    path = root / SPOOL / f"{run.time_ms}-{run.id}.json"
    artifacts.write_json(path, content)
    return path


def waiting(root: Path) -> list[Path]:
    """The records that wait to be sent, the oldest first."""
    return sorted((root / SPOOL).glob("[0-9]*.json"))


def read(path: Path) -> Run:
    """Read a record of the spool.

    Raises:
        HeimdallError: It is damaged.
    """
    try:
        content = artifacts.read_json(path)
        run = Run(**content)
        files = {name: base64.b64decode(file, validate=True) for name, file in run.files.items()}
        if not re.fullmatch("[0-9a-f]{32}", run.id):
            raise ValueError("its id is no id")
    except (HeimdallError, ValueError, TypeError, AttributeError) as error:
        cause = f"not a record of a training ({getattr(error, 'cause', error)})"
        raise HeimdallError(
            str(path), cause, f"Delete it (`rm {path}`): the other records are then sent"
        ) from None
    return replace(run, files=files)
