"""The workflow files are what GitHub accepts, by its own schema, which check-jsonschema brings along."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests import REPOSITORY

WORKFLOWS = sorted((REPOSITORY / ".github/workflows").glob("*.y*ml"))


def validated(file: Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.github-workflows"]
    return subprocess.run([*command, str(file)], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_a_workflow_is_valid(file: Path, tmp_path: Path) -> None:
    done = validated(file)
    assert done.returncode == 0, done.stdout
    misspelt = tmp_path / "misspelt.yaml"
    misspelt.write_text(file.read_text(encoding="utf-8").replace("runs-on:", "run-on:"), encoding="utf-8")
    assert validated(misspelt).returncode == 1
