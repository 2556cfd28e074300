"""What the tests ask of other processes, each of which may end while it is asked."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")


def answers(
    processes: Iterable[psutil.Process], ask: Callable[[psutil.Process], Answer]
) -> dict[psutil.Process, Answer]:
    """What processes say of themselves; those that have ended are left out, zombies as well."""
    found = {}
    for one in processes:
        with suppress(psutil.NoSuchProcess):  # a zombie is one, too
            found[one] = ask(one)
    return found


def listeners(processes: Iterable[psutil.Process]) -> set[str]:
    """Local addresses on which live processes listen for TCP."""
    connections = answers(processes, lambda one: one.net_connections("tcp")).values()
    return {found.laddr.ip for each in connections for found in each if found.status == psutil.CONN_LISTEN}


def live(pids: Collection[int]) -> list[psutil.Process]:
    """Those of some processes that have not ended; a zombie has, whoever asks how."""
    found = answers((one for one in psutil.process_iter() if one.pid in pids), psutil.Process.status)
    return [one for one, status in found.items() if status != psutil.STATUS_ZOMBIE]
