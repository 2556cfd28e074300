"""git beside other programs that use the same clone."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from heimdall.reproduce import git


def test_reading_leaves_the_index_alone(tmp_path: Path) -> None:
    """A DVC that wants its lock while we look whether the clone is clean would fail its experiment."""
    (tmp_path / "file").write_text("content")
    for command in (["git", "init", "-q"], ["git", "add", "file"]):
        subprocess.run(command, cwd=tmp_path, check=True)
    os.utime(tmp_path / "file", (1e9, 1e9))  # git notes this time where it may
    index = tmp_path / ".git/index"
    before = index.read_bytes()
    assert git.run(tmp_path, "status", "--porcelain").stdout == b"A  file\n"
    assert index.read_bytes() == before
    subprocess.run(["git", "status", "--porcelain"], cwd=tmp_path, check=True)
    assert index.read_bytes() != before  # so it was of our doing
