"""Where independent pieces of work are computed: in processes of this machine, or on a cluster.

What is computed must not depend on where: a piece is a module's function of one task, both of which travel by
pickle between our own processes alone. HEIMDALL_RAY_ADDRESS chooses the cluster; it is no parameter, because
no byte depends on it.
"""

from __future__ import annotations

import copyreg
import itertools
import multiprocessing
import os
import pickle
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, Future, ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from heimdall.core import child, variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError

Task = TypeVar("Task")
Result = TypeVar("Result")

AHEAD = 2  # pieces a process or CPU that are under way or wait to be taken, so that memory does not grow
_OF_THE_SYSTEM = ("errno", "strerror", "filename", "filename2")
TRIES_AGAIN = 3  # of pieces whose process was killed, or whose machine was lost


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
        HeimdallError: The cluster fails (`ray_cluster.mapped`), or processes are killed again and again.
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
        yield from _in_processes(function, everything, processes)


def _in_processes(
    function: Callable[[Task], Result], tasks: Iterable[Task], processes: int
) -> Iterator[Result]:
    """Results in the order of the tasks; what a killed process had under way is computed again.

    Raises:
        HeimdallError: Processes were killed more than `TRIES_AGAIN` times without a result between.
    """
    left, killed = iter(tasks), 0
    waiting: deque[tuple[Task, Future[Result]]] = deque()
    pool = _pool(processes)
    try:
        while True:
            for task in itertools.islice(left, AHEAD * processes - len(waiting)):
                waiting.append((task, _submitted(pool, function, task)))
            if not waiting:
                return
            try:
                result = waiting[0][1].result()
            except BrokenProcessPool:
                killed += 1
                if killed > TRIES_AGAIN:
                    cause = f"processes that computed pieces were killed, {killed} times in succession"
                    remedy = "Run the same command again, which keeps what is finished, with more free memory"
                    raise HeimdallError("this machine", cause, remedy) from None
                pool.shutdown(cancel_futures=True)
                pool = _pool(processes)
                waiting = deque((task, _submitted(pool, function, task)) for task, _ in waiting)
                continue
            waiting.popleft()
            killed = 0
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _pool(processes: int) -> ProcessPoolExecutor:
    context = multiprocessing.get_context("spawn")
    return ProcessPoolExecutor(processes, context, initializer=_end_with, initargs=(os.getpid(),))


def _end_with(parent: int) -> None:
    """Let this process end with the one that started it, however that ends."""
    if not child.ends_with(parent):
        os.kill(os.getpid(), signal.SIGKILL)


def _submitted(pool: Executor, function: Callable[[Task], Result], task: Task) -> Future[Result]:
    """A task under way; one that has failed where the pool lost a process a moment ago."""
    try:
        return pool.submit(sending_errors, function, task)
    except BrokenProcessPool as error:
        failed: Future[Result] = Future()
        failed.set_exception(error)
        return failed


def sending_errors(function: Callable[[Task], Result], task: Task) -> Result:
    """What a function returns in another process, whose errors arrive where the result is awaited.

    By itself an exception is made anew there by its constructor with one argument, the message. One that
    takes others would seem to be a killed process, or have another text.

    Args:
        function: Computes the result.
        task: What it is called with.

    Raises:
        Exception: What the function raises.
    """
    try:
        return function(task)
    except Exception as error:
        if not _travels(error):
            copyreg.pickle(type(error), _taken_apart)
        raise


def _travels(value: object) -> bool:
    """Whether pickle makes the same of it; an error's own constructor may make another one."""
    try:
        copy = pickle.loads(pickle.dumps(value))  # noqa: S301 - our own
        return not isinstance(value, Exception) or (str(copy), copy.args) == (str(value), value.args)
    except Exception:  # any class may raise anything there
        return False


def _taken_apart(error: Exception) -> tuple[Callable[..., Exception], tuple[Any, ...]]:
    """An exception for pickle, without what cannot be pickled of it; at least with its text."""
    attributes = vars(error)
    if isinstance(error, OSError):  # has these beside its attributes
        attributes = attributes | {name: getattr(error, name) for name in _OF_THE_SYSTEM}
    arguments = error.args if _travels(error.args) else (str(error),)
    kept = {name: value for name, value in attributes.items() if value is not None and _travels(value)}
    parts = (type(error), arguments, kept)
    with suppress(Exception):
        if _travels(type(error)) and str(_put_together(*parts)) == str(error):
            return _put_together, parts
    return RuntimeError, (f"{type(error).__name__}: {error}",)


def _put_together(kind: type[Exception], arguments: tuple[Any, ...], attributes: dict[str, Any]) -> Exception:
    """The same, without its constructor."""
    error = kind.__new__(kind, *arguments)
    error.args = arguments
    for name, value in attributes.items():
        setattr(error, name, value)
    return error


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
    left = iter(tasks)
    waiting: deque[Future[Result]] = deque()
    pool = ThreadPoolExecutor(threads)
    try:
        for task in itertools.islice(left, ahead * threads):
            waiting.append(pool.submit(function, task))
        while waiting:
            yield waiting.popleft().result()
            for task in itertools.islice(left, 1):
                waiting.append(pool.submit(function, task))
    finally:
        pool.shutdown(cancel_futures=True)
