"""A lock has one holder, dies with its process, and is not passed on to forked workers."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from heimdall.core import locks
from heimdall.core.errors import HeimdallError

# Holds the lock named by kind and path, and says so once its forked worker, which outlives it, runs.
HOLD = """
import os, sys, time
from pathlib import Path
from heimdall.core import locks
with getattr(locks, sys.argv[1])(Path(sys.argv[2])):
    runs, says_so = os.pipe()
    worker = os.fork()
    if worker == 0:
        os.close(0), os.close(1)
        os.write(says_so, b".")
        time.sleep(60)
        os._exit(0)
    os.read(runs, 1)
    print(worker, flush=True)
    sys.stdin.read()
"""


@contextmanager
def holder(kind: str, path: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A process that holds a lock, and the id of a worker that it forked meanwhile."""
    command = [sys.executable, "-c", HOLD, kind, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        worker = int(process.stdout.readline())
        try:
            yield process, worker
        finally:
            process.kill()
            subprocess.run(["kill", "-KILL", str(worker)], check=True)


def test_a_work_folder_has_one_worker_until_it_ends_even_by_a_kill(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "work"
    with holder("alone", folder) as (other, worker):
        with (
            pytest.raises(HeimdallError, match="another process is doing the same work"),
            locks.alone(folder),
        ):
            pass
        other.send_signal(signal.SIGKILL)
        other.wait()
        assert Path(f"/proc/{worker}").exists(), "the forked worker should live"
        with locks.alone(folder):
            assert (folder / "lock").exists()


def test_others_wait_for_their_turn_and_get_it_by_a_kill(tmp_path: Path) -> None:
    file = tmp_path / "new" / "spool.lock"
    with holder("in_turn", file) as (first, _):
        waiting = subprocess.Popen([sys.executable, "-c", HOLD, "in_turn", str(file)], stdout=subprocess.PIPE)
        time.sleep(0.5)
        assert waiting.poll() is None
        first.send_signal(signal.SIGKILL)
        assert waiting.stdout is not None
        worker = int(waiting.stdout.readline())
        waiting.kill()
        waiting.wait()
        subprocess.run(["kill", "-KILL", str(worker)], check=True)
    with locks.in_turn(file):
        pass


def test_a_lock_is_free_again_after_its_block_and_after_an_error(tmp_path: Path) -> None:
    for _ in range(2):
        with pytest.raises(RuntimeError, match="half way"), locks.alone(tmp_path):
            raise RuntimeError("half way")


def test_one_process_cannot_hold_a_folder_twice(tmp_path: Path) -> None:
    with locks.alone(tmp_path):
        with pytest.raises(HeimdallError, match="the same work"), locks.alone(tmp_path):
            pass
        with pytest.raises(HeimdallError, match="the same work"), locks.alone(tmp_path):
            pass  # the first attempt did not give it back


def test_the_file_can_be_private(tmp_path: Path) -> None:
    with locks.in_turn(tmp_path / "private.lock", 0o600):
        assert (tmp_path / "private.lock").stat().st_mode & 0o777 == 0o600


@pytest.mark.parametrize(
    "folder", ["{tmp_path}/file", "{tmp_path}/file/below", "/sys/kernel", "/proc/nowhere"]
)
def test_a_folder_that_cannot_be_written_is_one_clear_error(tmp_path: Path, folder: str) -> None:
    """A file in its place, and folders in which not even root makes anything."""
    (tmp_path / "file").touch()
    path = Path(folder.format(tmp_path=tmp_path))
    for lock in (locks.alone(path), locks.in_turn(path / "lock")):
        with pytest.raises(HeimdallError, match=f"{path}/lock: no lock can be made there") as caught, lock:
            pass
        assert "\n" not in str(caught.value)
