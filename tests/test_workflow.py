"""The workflow files are what GitHub accepts, by its own schema, which check-jsonschema brings along."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from heimdall.core import determinism
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


@pytest.mark.parametrize("file", WORKFLOWS, ids=lambda file: file.name)
def test_an_action_is_pinned_by_its_commit(file: Path) -> None:
    used = re.findall(r"uses: (.*)", file.read_text(encoding="utf-8"))
    assert used
    assert all(re.fullmatch(r"[\w-]+/[\w-]+@[0-9a-f]{40}  # v[\d.]+", action) for action in used), used


def test_a_push_runs_the_tests_as_the_readme_does() -> None:
    described = yaml.safe_load((REPOSITORY / ".github/workflows/test.yaml").read_text(encoding="utf-8"))
    assert "push" in described[True]  # YAML 1.1 takes the key `on` for true
    steps = described["jobs"]["test"]["steps"]
    assert [step["run"] for step in steps if "run" in step] == ["make test PYTHON=python${{ matrix.python }}"]
    versions = described["jobs"]["test"]["strategy"]["matrix"]["python"]
    assert versions == ["{}.{}".format(*version) for version in determinism.PYTHONS]
    assert "\nmake test " in (REPOSITORY / "README.md").read_text(encoding="utf-8")


def test_the_cluster_adds_what_the_whole_lock_does_not_have() -> None:
    lock, added = (
        (REPOSITORY / f"requirements/{name}.txt").read_text(encoding="utf-8") for name in ("dev", "cluster")
    )
    assert re.findall(r"^([\w-]+)==", added, re.MULTILINE) == ["msgpack", "ray"]
    assert not set(lock.splitlines()) & set(added.splitlines())
    assert "http" not in added


def test_uv_is_installed_with_the_hash_of_the_lock() -> None:
    lock = (REPOSITORY / "requirements/dev.txt").read_text(encoding="utf-8")
    pinned = (REPOSITORY / "requirements/uv.txt").read_text(encoding="utf-8")
    assert pinned.startswith("uv==")
    assert pinned in lock
    assert pinned.count("--hash=sha256:") == len(pinned.splitlines()) - 1
    makefile = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
    assert "--require-hashes --requirement requirements/uv.txt" in makefile
