"""A warm process whose forks run commands, so that a kill lands in their work and not in their imports.

    python tests/pipeline/victims.py

Reads a line of JSON for each command: its words (`heimdall ...`, or a script and its arguments), folder,
environment, and the seconds after which its whole process group is killed with SIGKILL; null lets it end.
They count from the first change in the folder `watch`, if it is not null. Prints a line of JSON: exit code,
negative if it was killed, seconds, and what it wrote. With `statements` each statement that it sends to
PostgreSQL, and each commit, is counted and told as `steps`; it kills itself after the one of the number
`kill_after_step`, if that is not null.
"""

from __future__ import annotations

import json
import mmap
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import boto3
import dvc.repo
import forks
import pandas  # noqa: F401 - imported before the forks

from heimdall import cli
from heimdall.commands import database, ingest, release  # noqa: F401 - as above
from heimdall.formats import reader, sigmf_files, stations  # noqa: F401
from heimdall.ingest import ingest as ingestion  # noqa: F401
from heimdall.pipeline.snapshot import snapshot  # noqa: F401
from heimdall.release import release as releasing  # noqa: F401
from heimdall.storage import connection, migrate, objectstore  # noqa: F401


class Steps:
    """Statements and commits of a fork, counted in memory that it shares with this process."""

    def __init__(self, kill_after: int | None) -> None:
        self._count = mmap.mmap(-1, 8)
        self._kill_after = kill_after

    @property
    def count(self) -> int:
        """Until now."""
        return int.from_bytes(self._count[:8], "little")

    def done(self) -> None:
        """One more; dead if it was the last."""
        self._count[:8] = (self.count + 1).to_bytes(8, "little")
        if self.count == self._kill_after:
            os.kill(os.getpid(), signal.SIGKILL)

    def watch(self) -> None:
        """Let every transaction of this process count."""
        begin = connection.transaction

        @contextmanager
        def counted(*arguments: Any, **options: Any) -> Iterator[Any]:  # noqa: ANN401
            with begin(*arguments, **options) as cursor:
                yield Counted(cursor, self)
            self.done()

        for module in (connection, migrate):
            module.transaction = counted  # type: ignore[assignment]


class Counted:
    """A cursor each of whose statements is a step."""

    def __init__(self, cursor: Any, steps: Steps) -> None:  # noqa: ANN401
        self._cursor, self._steps = cursor, steps

    def execute(self, *arguments: Any) -> None:  # noqa: ANN401
        """As of the cursor."""
        self._cursor.execute(*arguments)
        self._steps.done()

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401
        return getattr(self._cursor, name)


def attempt(
    words: Sequence[str],
    folder: str,
    env: dict[str, str],
    kill_after_s: float | None = None,
    watch: str | None = None,
    *,
    kill_after_step: int | None = None,
    statements: bool = False,
) -> dict[str, Any]:
    """Run a command in a fork of its own process group."""
    steps = Steps(kill_after_step)
    with tempfile.TemporaryFile("w+") as output:
        begin = since = time.monotonic()
        untouched = _files(watch)
        pid = os.fork()
        if pid == 0:
            if statements:
                steps.watch()
            forks.become(output.fileno(), lambda: _command(words, folder, env))
        with suppress(ProcessLookupError):  # here and in the fork: who is first must not matter
            os.setpgid(pid, pid)
        ended = 0
        while not ended and (kill_after_s is None or time.monotonic() - since < kill_after_s):
            if watch and untouched == _files(watch):
                since = time.monotonic()
            ended, status = os.waitpid(pid, os.WNOHANG)
            time.sleep(0 if ended else 0.0005)
        if not ended:
            os.killpg(pid, signal.SIGKILL)
            _, status = os.waitpid(pid, 0)
        took_s = time.monotonic() - begin
        output.seek(0)
        code = os.waitstatus_to_exitcode(status)
        return {"code": code, "took_s": took_s, "output": output.read()[-3000:], "steps": steps.count}


def _files(folder: str | None) -> set[tuple[str, int]]:
    """Names and times of change below a folder."""
    paths = Path(folder).rglob("*") if folder else ()
    with suppress(FileNotFoundError):  # it is renamed while it is looked at: a change
        return {(str(path), path.stat().st_mtime_ns) for path in paths}
    return set()


def _command(words: Sequence[str], folder: str, env: dict[str, str]) -> None:
    """What its user would have typed, in a process group of its own."""
    os.setpgid(0, 0)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(folder)
    sys.argv = list(words)
    if words[0] == "heimdall":
        cli.main()
    else:
        runpy.run_path(words[0], run_name="__main__")


def main() -> None:
    """See the module."""
    boto3.client("s3", region_name="us-east-1", aws_access_key_id="x", aws_secret_access_key="x")  # noqa: S106
    assert dvc.repo.Repo
    assert Path.cwd()
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        print(json.dumps(attempt(**json.loads(line))), flush=True)


if __name__ == "__main__":
    main()
