"""Pieces of work in processes of this machine: in their order, few at a time, as if there was one process."""

from __future__ import annotations

import math
import os
import pickle
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from heimdall.core import workers
from heimdall.core.errors import HeimdallError
from tests import pieces
from tests.processes import live


@pytest.fixture(autouse=True)
def _two_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 1})


def slow_first(number: int) -> tuple[int, int]:
    time.sleep(0.5 if number == 0 else 0)
    return number, os.getpid()


def killed(number: int) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_killed_process_had_under_way_is_computed_again(tmp_path: Path) -> None:
    assert list(workers.mapped(pieces.killed_once, [(number, tmp_path) for number in range(9)])) == list(
        range(9)
    )
    assert (tmp_path / "killed").exists()


def test_a_piece_that_kills_every_process_ends_with_a_line() -> None:
    with pytest.raises(HeimdallError, match="were killed, 4 times in succession"):
        list(workers.mapped(killed, range(4)))


def test_processes_end_with_the_one_that_started_them(tmp_path: Path) -> None:
    script = tmp_path / "starter.py"
    script.write_text(STARTER)
    starter = subprocess.Popen([sys.executable, str(script), str(tmp_path)])
    waited_for(lambda: len(list(tmp_path.glob("*.pid"))) == 2)
    pids = [int(path.stem) for path in tmp_path.glob("*.pid")]
    starter.kill()
    starter.wait()
    waited_for(lambda: not live(pids))


STARTER = """
import os, sys, time
from pathlib import Path
from heimdall.core import workers

def waiting(number):
    (Path(sys.argv[1]) / f"{os.getpid()}.pid").touch()
    time.sleep(600)

if __name__ == "__main__":
    os.sched_getaffinity = lambda _: {0, 1}
    list(workers.mapped(waiting, range(4)))
"""


def waited_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.1)


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

    results = workers.mapped(pieces.noted, tasks())
    assert next(results) == 1
    time.sleep(0.5)
    assert taken <= 1 + 2 * workers.AHEAD
    assert len(list(tmp_path.iterdir())) <= 1 + 2 * workers.AHEAD
    results.close()


def test_an_error_arrives_as_it_was_raised_after_the_results_before_it() -> None:
    results = workers.mapped(pieces.refusing, range(10))
    assert [next(results) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(HeimdallError) as caught:
        next(results)
    assert str(caught.value) == "session 3: it is damaged. Fetch it again"
    with pytest.raises(TypeError):
        list(workers.mapped(math.sqrt, ["a", "b"]))  # type: ignore[list-item]
    with pytest.raises(pieces.TwoWordsError, match=r"^this and that$") as other:
        list(workers.mapped(pieces.of_two_words, range(4)))
    assert other.value.second == "that"


@pytest.mark.parametrize("error", pieces.ERRORS, ids=lambda error: type(error).__name__)
def test_any_error_arrives_with_its_text(error: Exception) -> None:
    with pytest.raises(type(error)) as sent:
        workers.sending_errors(pieces.raising, error)
    arrived = pickle.loads(pickle.dumps(sent.value))  # noqa: S301 - its own
    if isinstance(error, ExceptionGroup):  # has others that do not travel
        assert (type(arrived), str(arrived)) == (RuntimeError, f"ExceptionGroup: {error}")
    else:
        assert (type(arrived), str(arrived)) == (type(error), str(error))
    assert getattr(arrived, "errno", None) == getattr(error, "errno", None)
