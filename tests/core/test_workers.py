"""Pieces of work in processes of this machine: in their order, few at a time, as if there was one process."""

from __future__ import annotations

import math
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from heimdall.core import workers
from heimdall.core.errors import HeimdallError


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def slow_first(number: int) -> tuple[int, int]:
    time.sleep(0.5 if number == 0 else 0)
    return number, os.getpid()


def noted(task: tuple[int, Path]) -> int:
    number, folder = task
    (folder / str(number)).touch()
    return number


def refused(number: int) -> int:
    if number == 2:
        raise HeimdallError("session 2", "it is damaged", "Fetch it again")
    return number


def test_results_come_in_the_order_of_the_tasks_from_several_processes() -> None:
    found = list(workers.mapped(slow_first, range(20)))
    assert [number for number, _ in found] == list(range(20))
    processes = {process for _, process in found}
    assert 1 <= len(processes) <= 2
    assert os.getpid() not in processes


@pytest.mark.parametrize(("count", "least"), [(1, 1), (7, 4)])
def test_few_tasks_are_computed_in_this_process(count: int, least: int) -> None:
    found = list(workers.mapped(slow_first, range(count), least=least))
    assert found == [(number, os.getpid()) for number in range(count)]


def test_few_tasks_are_under_way_before_their_results_are_taken(tmp_path: Path) -> None:
    taken = 0

    def tasks() -> Iterator[tuple[int, Path]]:
        nonlocal taken
        for taken in range(1, 1001):
            yield taken, tmp_path

    results = workers.mapped(noted, tasks())
    assert next(results) == 1
    time.sleep(0.5)
    assert taken <= 1 + 2 * workers.AHEAD
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * workers.AHEAD
    results.close()


def test_an_error_arrives_as_it_was_raised_after_the_results_before_it() -> None:
    results = workers.mapped(refused, range(10))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(HeimdallError) as caught:
        next(results)
    assert str(caught.value) == "session 2: it is damaged. Fetch it again"
    with pytest.raises(TypeError):
        list(workers.mapped(math.sqrt, ["a", "b"]))  # type: ignore[list-item]
