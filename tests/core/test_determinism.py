"""Every process computes in the recipe's environment, however it was started, or says what differs."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
from packaging.markers import Marker

from heimdall.core import determinism
from heimdall.core.randomness import generator
from tests import REPOSITORY

LOCK = (REPOSITORY / determinism.LOCK_FILE).read_text(encoding="utf-8")
PLAIN = {
    name: value
    for name, value in os.environ.items()
    if name not in {setting.name for setting in determinism.settings(2)} | {determinism.SWITCH}
}
SCRIPT = """
import json, os, sys
from heimdall.core import determinism
determinism.ensure()
determinism.warn(determinism.read_threads())
print(json.dumps([dict(os.environ), sys.argv, os.getpid()]))
"""
PROBE = """
import json, os, sys
from pathlib import Path
def test_probe():
    modules = sorted({"numpy", "torch"} & set(sys.modules))
    Path(os.environ["PROBE"]).write_text(json.dumps([dict(os.environ), sys.argv, modules]))
    print("printed by the test")
"""


def start(folder: Path, environment: dict[str, str]) -> tuple[dict[str, str], list[str], int, int, list[str]]:
    """The environment, arguments and id that the script found, the id that was started, lines on stderr."""
    (folder / "script.py").write_text(SCRIPT, encoding="utf-8")
    process = subprocess.Popen(
        [sys.executable, "script.py", "--epochs", "5 5"],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    output, said = process.communicate(timeout=60)
    found, arguments, pid = json.loads(output)
    return found, arguments, pid, process.pid, said.splitlines()


def test_a_process_without_the_recipe_replaces_itself_and_says_nothing(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("threads: 3\n", encoding="utf-8")
    found, arguments, pid, started, said = start(tmp_path, PLAIN)
    assert determinism.differing(found, 3) == []
    assert found["OMP_NUM_THREADS"] == "3"
    assert arguments == ["script.py", "--epochs", "5 5"]
    assert pid == started
    assert said == []


def test_a_variable_that_the_interpreter_sets_as_it_starts_is_said_not_fought(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os\nos.environ['OMP_NUM_THREADS'] = '7'\n")
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    found, _, pid, started, said = start(tmp_path, PLAIN | {"PYTHONPATH": path})
    assert found["OMP_NUM_THREADS"] == "7"
    assert pid == started
    assert any(line.startswith("determinism: OMP_NUM_THREADS is 7, not 2") for line in said)


def test_variables_that_somebody_set_are_named_once_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("threads: 3\n", encoding="utf-8")
    found, _, _, _, said = start(tmp_path, PLAIN | {"OMP_NUM_THREADS": "7", "MKL_NUM_THREADS": "1"})
    assert determinism.differing(found, 3) == []
    assert "MKL_NUM_THREADS" not in found
    assert said == [
        "determinism: OMP_NUM_THREADS=7 is replaced by 3: "
        "sums are split by the number of threads (params.yaml, threads)",
        "determinism: MKL_NUM_THREADS=1 is removed: "
        "sums are split by the number of threads, which it overrules",
    ]


def test_switched_off_it_keeps_the_environment_and_says_every_difference_once(tmp_path: Path) -> None:
    off = PLAIN | {determinism.SWITCH: "off", "MKL_CBWR": "AVX2", "OMP_DYNAMIC": "true"}
    found, _, _, _, said = start(tmp_path, off)
    assert off.items() <= found.items()
    assert "OMP_NUM_THREADS" not in found
    assert len(said) == len(determinism.recipe(2)) + 2
    assert "determinism: MKL_CBWR is AVX2, not COMPATIBLE: " in "\n".join(said)
    assert "determinism: OMP_DYNAMIC is true, and should not be set: " in "\n".join(said)
    assert said[-1] == "determinism: the outputs need not be the bytes of dvc.lock"


def test_switched_off_with_the_recipe_set_it_says_nothing(tmp_path: Path) -> None:
    _, _, _, _, said = start(tmp_path, PLAIN | determinism.recipe(2) | {determinism.SWITCH: "off"})
    assert said == []


def test_libraries_unlike_the_lock_are_named_once(tmp_path: Path) -> None:
    (tmp_path / "requirements").mkdir()
    other = LOCK.replace("numpy==2.", "numpy==1.", 1)
    (tmp_path / determinism.LOCK_FILE).write_text(other, encoding="utf-8")
    _, _, _, _, said = start(tmp_path, PLAIN)
    numpy = determinism.installed_versions()["numpy"]
    assert len(said) == 2
    assert said[0].startswith(f"determinism: numpy {numpy} is installed, not 1.{numpy.split('.', 1)[1]} (")
    assert said[1] == "determinism: the outputs need not be the bytes of dvc.lock"


def test_a_foreign_cpu_is_named() -> None:
    flags = "processor : 0\nflags\t\t: fpu sse2 fma avx2 bmi2\n"
    assert determinism.foreign_cpu("x86_64", flags) == []
    assert [line.split(":")[0] for line in determinism.foreign_cpu("x86_64", flags.replace("avx2 ", ""))] == [
        "the CPU has no AVX2"
    ]
    assert len(determinism.foreign_cpu("x86_64", "")) == len(determinism.CPU_FLAGS)
    assert determinism.foreign_cpu("aarch64", "")[0].startswith("the machine is aarch64, not x86_64")


def test_the_lock_holds_the_libraries_that_are_installed_for_this_python() -> None:
    locked = determinism.locked_versions(LOCK)
    assert {name: locked[name] for name in determinism.LIBRARIES} == determinism.installed_versions()
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    first, (major, minor) = determinism.PYTHONS[0], determinism.PYTHONS[-1]
    assert project["requires-python"] == f">={first[0]}.{first[1]},<{major}.{minor + 1}"


@pytest.mark.parametrize("version", determinism.PYTHONS)
@pytest.mark.parametrize("name", determinism.LIBRARIES)
def test_a_library_that_computes_has_one_version_for_every_python(
    name: str, version: tuple[int, int]
) -> None:
    found = re.findall(rf"^{name}==(\S+)(?: ; (.*))? \\$", LOCK, re.MULTILINE)
    python = {"python_full_version": "{}.{}.0".format(*version), "sys_platform": "linux"}
    chosen = [one for one, marker in found if not marker or Marker(marker).evaluate(python)]
    assert chosen == [determinism.locked_versions(LOCK)[name]]


def test_damaged_parameters_are_left_to_whoever_reads_them(tmp_path: Path) -> None:
    (tmp_path / "params.yaml").write_text("<<<<<<< HEAD\nlr: [1,\n", encoding="utf-8")
    found, _, _, _, _ = start(tmp_path, PLAIN)
    assert found["OMP_NUM_THREADS"] == "2"


def test_this_test_runs_under_the_recipe() -> None:
    assert determinism.differing(os.environ, determinism.read_threads(REPOSITORY / "params.yaml")) == []


@pytest.mark.parametrize("workers", [pytest.param("0", marks=pytest.mark.series), "1"])
def test_pytest_replaces_itself_before_anything_computes_or_is_captured(tmp_path: Path, workers: str) -> None:
    (tmp_path / "test_probe.py").write_text(PROBE, encoding="utf-8")
    options = ["-c", str(REPOSITORY / "pyproject.toml"), "-n", workers, "-rP", "-p", "no:cacheprovider"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", *options, "test_probe.py"],
        cwd=tmp_path,
        env=PLAIN | {"OMP_NUM_THREADS": "7", "PROBE": str(tmp_path / "probe.json")},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert "1 passed" in done.stdout, done.stdout + done.stderr
    assert "printed by the test" in done.stdout
    assert done.stderr.count("OMP_NUM_THREADS=7 is replaced by 2") == 1
    found, _, computing = json.loads((tmp_path / "probe.json").read_text(encoding="utf-8"))
    assert determinism.differing(found, 2) == []
    assert computing == []


def test_a_training_outside_of_a_stage_says_what_differs(tmp_path: Path) -> None:
    script = """
from pathlib import Path
from heimdall.core import params
from heimdall.pipeline.train.training import Training
Training(params.load(), Path("nothing"), Path("nothing")).run(Path("nothing"))
"""
    (tmp_path / "params.yaml").write_text(
        (REPOSITORY / "params.yaml").read_text(encoding="utf-8"), encoding="utf-8"
    )
    environment = PLAIN | determinism.recipe(2) | {"ONEDNN_MAX_CPU_ISA": "AVX512_CORE"}
    done = subprocess.run(
        [sys.executable, "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    said = [line for line in done.stderr.splitlines() if line.startswith("determinism: ")]
    assert said == [
        "determinism: ONEDNN_MAX_CPU_ISA is AVX512_CORE, not AVX2: "
        "convolutions differ in the last bit by CPU",
        "determinism: the outputs need not be the bytes of dvc.lock",
    ]
    assert "HeimdallError: nothing" in done.stderr  # it went on, to the data that are not there


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
