"""A warm process whose forks run commands, so that a kill lands in their work and not in their imports.

    python tests/pipeline/victims.py

Reads a line of JSON for each command: its words (`heimdall ...`, or a script and its arguments), folder,
environment, and the seconds after which its whole process group is killed with SIGKILL; null lets it end.
They count from the first change in the folder `watch`, if it is not null. Prints a line of JSON: exit code,
negative if it was killed, seconds, and what it wrote.
"""

from __future__ import annotations

import json
import os
import runpy
import signal
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import suppress
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
from heimdall.storage import migrate, objectstore  # noqa: F401


def attempt(
    words: Sequence[str], folder: str, env: dict[str, str], kill_after_s: float | None, watch: str | None
) -> dict[str, Any]:
    """Run a command in a fork of its own process group."""
    with tempfile.TemporaryFile("w+") as output:
        begin = since = time.monotonic()
        untouched = _files(watch)
        pid = os.fork()
        if pid == 0:
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
        return {"code": os.waitstatus_to_exitcode(status), "took_s": took_s, "output": output.read()[-3000:]}


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
        wanted = json.loads(line)
        found = attempt(
            wanted["words"], wanted["folder"], wanted["env"], wanted["kill_after_s"], wanted["watch"]
        )
        print(json.dumps(found), flush=True)


if __name__ == "__main__":
    main()
