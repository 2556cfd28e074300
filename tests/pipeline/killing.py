"""Commands of releases that are killed (SIGKILL) after each of their steps, and typed again.

    python tests/pipeline/killing.py "release v0.1.{} --skip-verify" "promote v0.1.{}" rollback

A step is a put to S3, a git tag or a call that changes MLflow; `{}` becomes its number. The commands run
in forks of this process, so that libraries are imported once; MLflow's part, a process of its own for
users, runs in the same fork. Prints JSON: for each command and step the step's name, and the exit code and
last line of the command when it is typed again.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any

import dvc.repo  # noqa: F401 - imported before the forks
import forks
import mlflow

from heimdall import cli
from heimdall.release import attestation, bucket, mlflow_registry, promotion, release  # noqa: F401 - as above
from heimdall.track import mlflow_store

STEPS = (
    (bucket.ConditionalStore, "put_if"),
    (attestation, "_make"),
    (mlflow.MlflowClient, "create_registered_model"),
    (mlflow.MlflowClient, "create_model_version"),
    (mlflow.MlflowClient, "set_registered_model_alias"),
)


def arm(step: int, tell: Callable[[str], object]) -> None:
    """Let this process kill itself when its step number `step` is done."""
    done = 0

    def counted(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(call)
        def wrapper(*arguments: Any, **options: Any) -> Any:  # noqa: ANN401
            nonlocal done
            try:
                return call(*arguments, **options)
            finally:
                done += 1
                if done == step:
                    tell(f"{name} {arguments[1] if name in ('put_if', '_make') else ''}".strip())
                    os.kill(os.getpid(), signal.SIGKILL)

        return wrapper

    for owner, name in STEPS:
        setattr(owner, name, counted(name, getattr(owner, name)))


def ensure_here(root: Path, wanted: mlflow_registry.Wanted) -> bool:
    """`model_registry.ensure` in this process."""
    store = mlflow_store.resolve(root.resolve())
    os.environ.update(store.environment)
    return mlflow_registry.apply(store.uri, wanted)


def _command(arguments: list[str], step: int | None) -> None:
    if step is not None:
        arm(step, lambda line: os.write(2, f"{line}\n".encode()))
    sys.argv = ["heimdall", *arguments]
    cli.main()


def attempt(arguments: list[str], step: int | None) -> tuple[int, list[str]]:
    """Run a command in a fork. Returns its exit code, negative if killed, and the lines that it wrote."""
    with tempfile.TemporaryFile("w+") as output:
        pid = os.fork()
        if pid == 0:
            forks.become(output.fileno(), lambda: _command(arguments, step))
        _, status = os.waitpid(pid, 0)
        output.seek(0)
        return os.waitstatus_to_exitcode(status), output.read().splitlines()


def kills(command: str) -> list[dict[str, object]]:
    """Kill a command after its first step, its second, ... until it ends by itself."""
    found: list[dict[str, object]] = []
    for step in range(1, 100):
        arguments = command.format(step).split()
        if arguments[0] == "release":  # a commit is one version
            subprocess.run(["git", "commit", "--quiet", "--allow-empty", "--message", command], check=True)
        code, killed = attempt(arguments, step)
        if code != -signal.SIGKILL:
            break
        again, lines = attempt(arguments, None)
        found.append({"step": killed[-1], "again": again, "lines": lines})
    return found


def main() -> None:
    """See the module."""
    mlflow_registry.ensure = ensure_here  # type: ignore[assignment]
    mlflow_registry.require_free = lambda root, version: None  # type: ignore[misc] # another 5 s each
    print(json.dumps([kills(command) for command in sys.argv[1:]]))


if __name__ == "__main__":
    main()
