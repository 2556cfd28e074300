"""Where independent pieces of work are computed: in processes of this machine, or on a cluster.

What is computed must not depend on where: a piece is a module's function of one task, both of which travel by
pickle between our own processes alone. HEIMDALL_RAY_ADDRESS chooses the cluster; it is no parameter, because
no byte depends on it.
"""

from __future__ import annotations

import itertools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from heimdall.core import variables
from heimdall.core.child import Service

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 2  # pieces a process or CPU that are under way or wait to be taken, so that memory does not grow


def no_files(task: object) -> Iterable[Path]:
    """Of a task that reads no file."""
    return ()


def mapped(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    files: Callable[[Task], Iterable[Path]] = no_files,
    least: int = 1,
    threads: int | None = None,
    services: tuple[Service, ...] = (),
) -> Iterator[Result]:
    """The results of a function, computed on all cores or on the whole cluster, in the order of the tasks.

    Args:
        function: A module's function whose result depends on the task and its files alone.
        tasks: What it is called with.
        files: Which files the function reads for a task, relative to the working directory.
        least: How many tasks a process must have to be worth starting, which takes seconds.
        threads: On this machine, how many threads of this process compute, instead of processes.
        services: What the function has to reach. A worker of the cluster is told what leads there by this
            process's environment, and nothing of other services.

    Yields:
        The results, one by one. At most `AHEAD` a process are there that were not taken yet.

    Raises:
        HeimdallError: The cluster fails (`ray_cluster.mapped`).
        Exception: What the function raises; later tasks are given up.
    """
    address = variables.RAY_ADDRESS.read()
    if threads is not None and not address:
        yield from in_threads(function, tasks, threads, ahead=1)  # such pieces are large
        return
    left = iter(tasks)
    some = list(itertools.islice(left, least * (2 if address else len(os.sched_getaffinity(0)))))
    everything, processes = itertools.chain(some, left), len(some) // least
    if processes <= 1:
        yield from map(function, everything)
    elif address:
        from heimdall.core import ray_cluster  # noqa: PLC0415 - a machine without Ray never notices

        yield from ray_cluster.mapped(function, everything, files=files, services=services, ahead=AHEAD)
    else:
        with ProcessPoolExecutor(processes, multiprocessing.get_context("spawn")) as pool:
            yield from _window(pool, function, everything, AHEAD * processes)


def in_threads(
    function: Callable[[Task], Result], tasks: Iterable[Task], threads: int, *, ahead: int = AHEAD
) -> Iterator[Result]:
    """The results of a function, computed in threads of this process, in the order of the tasks.

    Args:
        function: What waits, or computes without the interpreter's lock.
        tasks: What it is called with.
        threads: How many.
        ahead: How many results a thread are under way or wait to be taken.

    Yields:
        The results, one by one.

    Raises:
        Exception: What the function raises; later tasks are given up.
    """
    with ThreadPoolExecutor(threads) as pool:
        yield from _window(pool, function, tasks, ahead * threads)


def _window(
    pool: Executor, function: Callable[[Task], Result], tasks: Iterable[Task], size: int
) -> Iterator[Result]:
    """Results in the order of the tasks, of which so many are under way."""
    left = iter(tasks)
    waiting: deque[Future[Result]] = deque()
    try:
        for task in itertools.islice(left, size):
            waiting.append(pool.submit(function, task))
        while waiting:
            yield waiting.popleft().result()
            for task in itertools.islice(left, 1):
                waiting.append(pool.submit(function, task))
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
