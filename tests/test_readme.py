"""The README tells the truth: its table is what its command prints of the committed metrics."""

from __future__ import annotations

import subprocess
import sys

from tests import REPOSITORY


def test_the_table_is_what_its_command_prints() -> None:
    shown = subprocess.run(
        [sys.executable, "stages/evaluate.py", "--show"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert "simulated" in shown
    # The whole block: what else a copied log holds does not pass for the table.
    assert f"```text\n{shown.rstrip()}\n```" in (REPOSITORY / "README.md").read_text(encoding="utf-8")
