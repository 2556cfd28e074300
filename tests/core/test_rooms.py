"""Which code made this: the rooms that dvc.yaml declares for a stage, and the hashes of their modules."""

from __future__ import annotations

import importlib
import pkgutil
import re
import subprocess
from pathlib import Path

import pytest
import yaml

import heimdall
from heimdall.core import artifacts, rooms
from heimdall.core.errors import HeimdallError
from tests import REPOSITORY

STAGES = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]
ROOMS = [
    name
    for _, name, is_package in pkgutil.walk_packages(heimdall.__path__, "heimdall.")
    if is_package and name != "heimdall.storage.migrations"
]


@pytest.mark.parametrize("stage", STAGES)
def test_every_room_of_a_stage_is_hashed_module_by_module(stage: str) -> None:
    found = rooms.hashes(*rooms.of_stage(stage))
    package = REPOSITORY / "src" / "heimdall"
    assert found["heimdall.core.errors"] == artifacts.sha256_file(package / "core" / "errors.py")
    assert {f"heimdall.{name.replace('/', '.')}" for name in rooms.of_stage(stage)} <= found.keys()


def test_another_byte_in_any_module_is_another_hash(tmp_path: Path) -> None:
    for name in ("core/__init__.py", "core/errors.py", "network/loss.py"):
        artifacts.write_bytes(tmp_path / name, name.encode())
    before = rooms.hashes("core", "network/loss", package=tmp_path)
    assert list(before) == ["heimdall.core", "heimdall.core.errors", "heimdall.network.loss"]
    artifacts.write_bytes(tmp_path / "core/errors.py", b"# another")
    after = rooms.hashes("core", "network/loss", package=tmp_path)
    assert [name for name in before if before[name] != after[name]] == ["heimdall.core.errors"]


def test_a_room_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match="nowhere"):
        rooms.hashes("nowhere", package=tmp_path)


def test_a_stage_that_dvc_yaml_does_not_declare_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(HeimdallError, match=r"dvc\.yaml.*clone of the repository"):
        rooms.of_stage("train", tmp_path / "dvc.yaml")
    (tmp_path / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    with pytest.raises(HeimdallError, match="no stage train"):
        rooms.of_stage("train", tmp_path / "dvc.yaml")


@pytest.mark.parametrize("name", ROOMS)
def test_a_room_says_what_it_is_for_and_holds_its_public_names(name: str) -> None:
    room = importlib.import_module(name)
    assert room.__doc__
    assert re.search(r"[Ii]mport", room.__doc__), "what it may import"
    public = {found.name for found in pkgutil.iter_modules(room.__path__) if not found.name.startswith("_")}
    if name != "heimdall.simulate":  # which holds names of what its modules do
        assert set(room.__all__) == public
    for exported in room.__all__:
        assert exported in public or hasattr(room, exported)


def test_a_room_that_imports_from_above_is_refused(tmp_path: Path) -> None:
    """`make lint` runs lint-imports: with one arrow turned round it must fail."""
    project = tmp_path / "project"
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard", "src", "pyproject.toml"],
        cwd=REPOSITORY,
        capture_output=True,
        check=True,
        text=True,
    )
    for file in filter(None, listed.stdout.split("\0")):
        if (REPOSITORY / file).is_file():
            artifacts.copy(REPOSITORY / file, project / file)

    def lint() -> subprocess.CompletedProcess[str]:
        command = ["lint-imports", "--no-cache"]
        env = {"PATH": str(Path(importlib.import_module("sys").executable).parent), "PYTHONPATH": "src"}
        return subprocess.run(command, cwd=project, env=env, capture_output=True, check=False, text=True)

    assert lint().returncode == 0
    module = project / "src/heimdall/position/solver.py"
    module.write_text(module.read_text(encoding="utf-8") + "\nfrom heimdall.network import loss\n")
    refused = lint()
    assert refused.returncode != 0
    assert "heimdall.position.solver -> heimdall.network" in refused.stdout
