"""Pieces of work of these tests alone, which workers import."""

from __future__ import annotations

import os
import time
from pathlib import Path

import ray

import heimdall


def square(number: int) -> int:
    return number * number


def environment(names: tuple[str, ...]) -> dict[str, str | None]:
    """What the system shows of this process's start, and where our code is from."""
    started = dict(
        entry.split("=", 1) for entry in Path("/proc/self/environ").read_text().split("\0") if "=" in entry
    )
    found = {name: started.get(name) for name in names}
    return found | {"now": os.environ.get("AWS_SECRET_ACCESS_KEY"), "code": heimdall.__file__}


def slow_on(task: tuple[int, str, Path]) -> int:
    """On one node it never ends; on the others it waits until that node has one."""
    number, node_id, file = task
    if ray.get_runtime_context().get_node_id() == node_id:
        file.touch()
        time.sleep(600)
    while not file.exists():
        time.sleep(0.05)
    return number
