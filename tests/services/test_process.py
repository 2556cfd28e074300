"""Servers as processes, known by their folder."""

from __future__ import annotations

import subprocess
from pathlib import Path

from heimdall.services import process


def test_processes_are_known_by_their_folder(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    sleeper = subprocess.Popen(["sleep", "60"], cwd=tmp_path)
    try:
        assert process.wait_until(lambda: process.working_in(tmp_path, "sleep") == [sleeper.pid], 5)
        assert process.working_in(elsewhere, "sleep") == []
        (elsewhere / "link").symlink_to(tmp_path)
        assert process.working_in(elsewhere / "link", "sleep") == [sleeper.pid]
        assert process.working_in(tmp_path, "weed") == []
        process.stop(tmp_path, "sleep", timeout_s=5)
        assert process.working_in(tmp_path, "sleep") == []
    finally:
        sleeper.kill()
        sleeper.wait()


def test_the_command_line_of_a_process_that_ended_is_empty() -> None:
    sleeper = subprocess.Popen(["sleep", "60"])
    assert process.wait_until(lambda: process.arguments(sleeper.pid) == ["sleep", "60"], 5)
    sleeper.kill()
    assert process.wait_until(lambda: process.arguments(sleeper.pid) == [], 5)  # a zombie
    sleeper.wait()
    assert process.arguments(sleeper.pid) == []
