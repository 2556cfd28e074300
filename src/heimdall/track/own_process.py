"""A module run in a process of its own, which is ended after a time: MLflow may keep one waiting."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import child, variables
from heimdall.track import mlflow_store

_SOURCE = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Ended:
    """How it ended.

    Attributes:
        said: What it printed, also before it was ended.
        problem: The last line on its stderr if it failed, or why it did not start; else "".
        timed_out: Whether it was ended.
    """

    said: str
    problem: str
    timed_out: bool = False


def run(
    module: str,
    *arguments: str,
    folder: Path,
    environment: Mapping[str, str],
    timeout_s: float,
    stdin: str | None = None,
) -> Ended:
    """Run `python -m MODULE ARGUMENTS`.

    Args:
        module: With a `main` that it runs.
        arguments: Of the command line, which everybody can read.
        folder: Where it runs: MLflow makes folders there.
        environment: Besides what leads to MLflow, and to S3 for its files.
        timeout_s: After this long it is ended.
        stdin: What it reads.
    """
    # DVC gives a stage the path `src`, which is another one elsewhere.
    paths = os.pathsep.join(filter(None, (str(_SOURCE), variables.PYTHONPATH.read())))
    inherited = child.environment(*mlflow_store.services(variables.MLFLOW_TRACKING_URI.read()))
    try:
        done = subprocess.run(
            [sys.executable, "-m", module, *arguments],
            input=stdin,
            cwd=folder,
            env=child.settled(inherited | dict(environment) | {variables.PYTHONPATH.name: paths}),
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        said = error.stdout.decode() if isinstance(error.stdout, bytes) else error.stdout or ""
        return Ended(said, f"no answer within {timeout_s:g} s", timed_out=True)
    except OSError as error:
        return Ended("", str(error))
    lines = done.stderr.strip().splitlines() or ["no reason given"]
    return Ended(done.stdout, lines[-1] if done.returncode else "")
