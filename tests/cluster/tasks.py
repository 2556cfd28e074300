"""Pieces of work of these tests, which workers import."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import ray

import heimdall
from heimdall.core.errors import HeimdallError


def square(number: int) -> int:
    return number * number


def environment(names: tuple[str, ...]) -> dict[str, str | None]:
    """What the system shows of this process's start, and where our code is from."""
    started = dict(
        entry.split("=", 1) for entry in Path("/proc/self/environ").read_text().split("\0") if "=" in entry
    )
    found = {name: started.get(name) for name in names}
    return found | {"now": os.environ.get("AWS_SECRET_ACCESS_KEY"), "code": heimdall.__file__}


def killed_once(task: tuple[int, Path]) -> int:
    """Its process is killed the first time that the third piece is computed."""
    number, folder = task
    if number == 2 and not (folder / "killed").exists():
        (folder / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def slow_on(task: tuple[int, str, Path]) -> int:
    """On one node it never ends; on the others it waits until that node has one."""
    number, node_id, file = task
    if ray.get_runtime_context().get_node_id() == node_id:
        file.touch()
        time.sleep(600)
    while not file.exists():
        time.sleep(0.05)
    return number


def refusing(number: int) -> int:
    if number == 3:
        raise HeimdallError("session 3", "it is damaged", "Fetch it again")
    return number


def wrong(number: int) -> float:
    return 1 / number


def noted(task: tuple[int, Path]) -> int:
    number, folder = task
    (folder / str(number)).touch()
    return number
