"""Every process computes in the recipe's environment, however it was started."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

from heimdall import determinism
from heimdall.randomness import generator

SCRIPT = """
import json, os, sys
from heimdall import determinism
determinism.ensure()
print(json.dumps([dict(os.environ), sys.argv, os.getpid()]))
"""


def start(folder: Path, environment: dict[str, str]) -> tuple[dict[str, str], list[str], int, int]:
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "script.py", "--epochs", "5 5"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        text=True,
    )
    output, _ = process.communicate(timeout=60)
    found, arguments, pid = json.loads(output)
    return found, arguments, pid, process.pid


def test_a_process_without_the_recipe_replaces_itself(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("threads: 3\n", encoding="utf-8")
    plain = {name: value for name, value in os.environ.items() if name not in determinism.recipe(1)}
    found, arguments, pid, started = start(tmp_path, plain | {"OMP_NUM_THREADS": "7"})
    assert {name: found[name] for name in determinism.recipe(3)} == determinism.recipe(3)
    assert found["OMP_NUM_THREADS"] == "3"
    assert arguments == ["script.py", "--epochs", "5 5"]
    assert pid == started


def test_damaged_parameters_are_left_to_whoever_reads_them(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("<<<<<<< HEAD\nlr: [1,\n", encoding="utf-8")
    found, _, _, _ = start(tmp_path, dict(os.environ))
    assert found["OMP_NUM_THREADS"] == "2"


def test_threads_are_a_parameter() -> None:
    assert determinism.recipe(1)["OMP_NUM_THREADS"] == "1"
    assert determinism.recipe(2) != determinism.recipe(4)


def test_generators_are_named_and_repeatable() -> None:
    first = generator(42, "split", 3).random(4).tolist()
    assert first == generator(42, "split", 3).random(4).tolist()
    others = [
        generator(43, "split", 3),
        generator(42, "noise", 3),
        generator(42, "split", 4),
        generator(42, "split"),
    ]
    assert all(first != other.random(4).tolist() for other in others)
