"""Servers as processes, known by the folder they work in: such a mark cannot go stale as a pid file can."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil

from heimdall.core.errors import HeimdallError
from heimdall.storage.embedded import HOST

POLL_S = 0.05


def working_in(folder: Path, program: str) -> list[int]:
    """Live processes called `program` whose working directory is `folder`.

    Args:
        folder: By any path that leads to it.
        program: Name of the executable file.

    Returns:
        Process ids, ascending. Zombies have no working directory and are left out.
    """
    if not folder.is_dir():  # psutil does not tell a removed folder from one that is there
        return []
    return [
        found.pid
        for found in psutil.process_iter(["name", "cwd"])
        if found.info["name"] == program and _is(found.info["cwd"], folder)
    ]


def _is(path: str | None, folder: Path) -> bool:
    """Whether a path leads to a folder; links and mounts give one folder several."""
    try:
        return path is not None and folder.samefile(path)
    except OSError:
        return False


def arguments(pid: int) -> list[str]:
    """The command line of a process; empty where it has ended."""
    try:
        return list(psutil.Process(pid).cmdline())
    except psutil.NoSuchProcess:  # a zombie is one, too
        return []


def wait_until(condition: Callable[[], bool], timeout_s: float) -> bool:
    """Poll `condition` until it holds; False where it does not within `timeout_s` seconds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def stop(folder: Path, program: str, timeout_s: float) -> None:
    """Ask the processes of `working_in` to end; kill those that have not after `timeout_s` seconds."""
    for number, patience_s in ((signal.SIGTERM, timeout_s), (signal.SIGKILL, 5.0)):
        for pid in working_in(folder, program):
            with suppress(ProcessLookupError):
                os.kill(pid, number)
        if wait_until(lambda: not working_in(folder, program), patience_s):
            return
    pids = " ".join(map(str, working_in(folder, program)))
    cause = f"its process in {folder} cannot be stopped ({pids})"
    raise HeimdallError(program, cause, f"Stop it as its owner: `sudo kill -KILL {pids}`")


def listens(port: int) -> bool:
    """Whether something accepts connections on a port of the loopback interface."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        return probe.connect_ex((HOST, port)) == 0


def last_lines(log: Path, count: int = 3) -> str:
    """The last lines of a log as one line, for an error message."""
    if not log.is_file():
        return "no log"
    lines = log.read_text(encoding="utf-8", errors="replace").splitlines()
    return " | ".join(line.strip() for line in lines[-count:] if line.strip()) or "empty log"
