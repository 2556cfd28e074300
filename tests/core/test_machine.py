"""The machine's fingerprint: complete, comparable, and the recorded one is not stale."""

from __future__ import annotations

import dataclasses
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from heimdall.core import determinism, machine
from heimdall.core.errors import HeimdallError
from tests import REPOSITORY
from tests.conftest import heimdall

REFERENCE = machine.read(REPOSITORY / machine.REFERENCE)


def test_the_reference_is_of_the_locked_libraries_and_the_parameters() -> None:
    locked = determinism.locked_versions((REPOSITORY / determinism.LOCK_FILE).read_text(encoding="utf-8"))
    assert REFERENCE.libraries == {name: locked[name] for name in determinism.LIBRARIES}
    assert REFERENCE.threads == determinism.read_threads(REPOSITORY / "params.yaml")
    assert tuple(int(part) for part in REFERENCE.python.split(".")[:2]) in determinism.PYTHONS


def test_it_holds_what_computes_and_nothing_that_names_the_host() -> None:
    found = dataclasses.asdict(machine.here(2))
    assert list(found) == [
        "cpu",
        "instruction_sets",
        "cores",
        "threads",
        "python",
        "platform",
        "libraries",
        "gpu",
    ]
    assert {"avx2", "fma3"} <= set(found["instruction_sets"])
    assert re.fullmatch(r"Linux x86_64, glibc 2\.\d+", found["platform"])
    assert found["libraries"]["torch"] == torch.__version__.split("+")[0]
    assert (found["gpu"] is not None) == torch.cuda.is_available()
    assert "/" not in json.dumps(found)


def test_it_comes_back_from_its_file(tmp_path: Path) -> None:
    found = machine.here(3)
    machine.write(tmp_path / "machine.json", found)
    assert machine.read(tmp_path / "machine.json") == found
    assert machine.differences(found, machine.read(tmp_path / "machine.json")) == []


def test_differences_name_field_recorded_and_found() -> None:
    other = dataclasses.replace(
        REFERENCE,
        cpu="Intel Core Processor (Haswell)",
        instruction_sets=("avx2", "fma3"),
        libraries={**REFERENCE.libraries, "torch": "2.12.0", "added": "1"},
        gpu="A GPU",
    )
    assert machine.differences(REFERENCE, other) == [
        ("cpu", REFERENCE.cpu, "Intel Core Processor (Haswell)"),
        ("instruction_sets", " ".join(REFERENCE.instruction_sets), "avx2 fma3"),
        ("gpu", "none", "A GPU"),
        ("torch", REFERENCE.libraries["torch"], "2.12.0"),
        ("added", "none", "1"),
    ]


@pytest.mark.parametrize("content", ["[]", "{}", '{"cpu": "A"}', '{"instruction_sets": 3}', "3"])
def test_a_damaged_file_is_named(tmp_path: Path, content: str) -> None:
    (tmp_path / "reference.json").write_text(content, encoding="utf-8")
    with pytest.raises(
        HeimdallError, match=r"reference\.json: not the fingerprint of a machine\. .*--record"
    ):
        machine.read(tmp_path / "reference.json")


def test_the_command_records_prints_and_compares(tmp_path: Path) -> None:
    command = [str(Path(sys.executable).parent / "heimdall"), "machine", "--record"]
    refused = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    assert refused.returncode == 1
    assert "no dvc.yaml" in refused.stderr
    assert not (tmp_path / "reference.json").exists()

    (tmp_path / "params.yaml").write_text("threads: 3\n", encoding="utf-8")
    recorded = heimdall(tmp_path, "machine", "--record", env=dict(os.environ))
    assert recorded.returncode == 0, recorded.stderr
    assert machine.read(tmp_path / "reference.json") == machine.here(3)
    assert recorded.stdout.endswith("This machine is as recorded in reference.json.\n")

    changed = dataclasses.replace(machine.here(3), cpu="Another CPU")
    machine.write(tmp_path / "reference.json", changed)
    shown = heimdall(tmp_path, "machine", env=dict(os.environ))
    assert shown.returncode == 0
    assert f"{machine.here(3).cpu}  (recorded: Another CPU)\n" in shown.stdout
    assert "As recorded" not in shown.stdout
    assert shown.stderr == ""
