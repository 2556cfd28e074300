"""What make says and asks: the list of targets, a Python that fits, nothing removed without being asked."""

from __future__ import annotations

import os
import pty
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests import REPOSITORY
from tests.conftest import clean_environment

MAKEFILE = (REPOSITORY / "Makefile").read_text(encoding="utf-8")
SCRIPTS = sorted((REPOSITORY / "scripts").glob("*.sh")) + sorted((REPOSITORY / "benchmarks").glob("*.sh"))


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    """What make needs of a clone, in a folder with a space in its name."""
    root = tmp_path / "a clone"
    for name in ("Makefile", "pyproject.toml"):
        root.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, root / name)
    for name in ("scripts", "requirements", "src"):
        shutil.copytree(REPOSITORY / name, root / name, ignore=shutil.ignore_patterns("__pycache__"))
    (root / ".gitignore").write_text("/.venv/\n/.heimdall/\n", encoding="utf-8")
    for folder in ("data", "models"):
        (root / folder).mkdir()
        (root / folder / ".gitignore").write_text("/made\n", encoding="utf-8")
    subprocess.run(["git", "init", "-q"], cwd=root, check=True)
    subprocess.run(["git", "add", "-A"], cwd=root, check=True)
    return root


def make(root: Path, *arguments: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["make", *arguments],
        cwd=root,
        env=clean_environment() | more,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


def programs(folder: Path, **named: str) -> str:
    """A PATH with all that the system has but Python, and the given programs: name=script."""
    folder.mkdir()
    for place in ("/usr/bin", "/bin"):
        for program in Path(place).iterdir():
            if not re.match(r"python|pydoc|uv", program.name) and not (folder / program.name).exists():
                (folder / program.name).symlink_to(program)
    for name, script in named.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n", encoding="utf-8")
        (folder / name).chmod(0o755)
    return str(folder)


def old(version: str) -> str:
    """This Python, which gives itself out for an older one and reaches no package index."""
    release = ", ".join(version.split("."))
    start = f"import sys; sys.version_info = ({release}, 0, 'final', 0)"
    module = "runpy.run_module(sys.argv[0], run_name='__main__', alter_sys=True)"
    run = f"import runpy; sys.argv = sys.argv[1:]; {module}"
    return (
        f'[ "$1" = --version ] && echo "Python {version}.0" && exit\n'
        f'[ "$2" = pip ] && echo "pip: no network" >&2 && exit 1\n'
        f'if [ "$1" = -m ]; then shift; exec {sys.executable} -S -c "{start}; {run}" "$@"; fi\n'
        f'shift; exec {sys.executable} -S -c "{start}; exec(sys.argv[1])" "$@"'
    )


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.name)
def test_a_script_is_what_a_shell_can_read(script: Path) -> None:
    assert subprocess.run(["bash", "-n", str(script)], check=False).returncode == 0


def test_help_lists_every_target_and_is_what_make_alone_prints(clone: Path) -> None:
    found = re.search(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert found is not None
    shown = make(clone).stdout
    assert re.findall(r"^make ([a-z-]+) {2,}\S", shown, re.MULTILINE) == found[1].split()
    assert make(clone, "help").stdout == shown


def test_the_demo_says_each_step_before_it_takes_it() -> None:
    recipe = MAKEFILE.partition("\ndemo:")[2].partition("\n\n")[0]
    steps = re.findall(r"\[(\d)/(\d)\] ", recipe)
    assert [int(number) for number, _ in steps] == list(range(1, len(steps) + 1))
    assert {int(total) for _, total in steps} == {len(steps)}
    for command in ("heimdall services up", "heimdall demo seed", "dvc repro", "dvc push", "dvc plots show"):
        said, done = recipe.index(f": {command}"), recipe.index(f"\t@{command}\n")
        assert said < done


@pytest.mark.parametrize("files", [0, 3000])
def test_the_demo_says_whether_anything_changed(tmp_path: Path, files: int) -> None:
    """Also of so many files that `find` would be cut off by who asks for one of them."""
    recipe = MAKEFILE.partition("\ndemo:")[2].partition("\n\n")[0]
    last = recipe[recipe.index("@if test") + 1 :].partition("\n\t@")[0].replace("$$", "$")
    for folder in (".heimdall", "data", "models", "metrics", "plots"):
        (tmp_path / folder).mkdir()
    before, began = time.time() - 60, tmp_path / ".heimdall/demo-began"
    began.touch()
    os.utime(began, (before, before))
    for number in range(files):
        (tmp_path / "data" / f"a-file-with-a-long-name-{number}").touch()
    command = ["bash", "-eu", "-o", "pipefail", "-c", last]
    said = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert said == ("The demo is done.\n" if files else "Nothing changed: the demo was done before.\n")


def test_a_python_that_fits_is_found_under_any_of_its_usual_names(clone: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", python3=old("3.8"), **{"python3.12": f'exec {sys.executable} "$@"'})
    chosen = subprocess.run(
        ["scripts/find_python.sh"], cwd=clone, env={"PATH": path}, capture_output=True, text=True, check=True
    )
    assert chosen.stdout == "python3.12\n"
    assert make(clone, "doctor", PATH=path).stdout.startswith("ok       Python")


def test_where_none_fits_and_none_can_be_fetched_it_says_what_is_missing(clone: Path, tmp_path: Path) -> None:
    refused = make(clone, "setup", PATH=programs(tmp_path / "bin", python3=old("3.9")))
    assert refused.returncode != 0
    assert "no Python here fits (python3 is Python 3.9.0)" in refused.stderr
    assert re.search(
        r"missing  Python +Python .* is too old: 3\.11, 3\.12 or 3\.13 is needed", refused.stderr
    )
    assert "uv could not fetch a Python (pip: no network)" in refused.stderr
    assert not (clone / ".venv").exists()
    none = make(clone, "setup", PATH=programs(tmp_path / "none"))
    assert "no Python was found. Install one" in none.stderr


def test_a_python_that_was_named_is_taken_or_refused(clone: Path, tmp_path: Path) -> None:
    path = programs(tmp_path / "bin", python3=f'exec {sys.executable} "$@"', older=old("3.10"))
    assert "PYTHON=older does not fit" in make(clone, "setup", "PYTHON=older", PATH=path).stderr
    assert "there is no such program" in make(clone, "setup", "PYTHON=nowhere", PATH=path).stderr
    assert make(clone, "doctor", f"PYTHON={sys.executable}", PATH=path).returncode == 0


def test_clean_says_what_goes_and_asks_before_it_removes_anything(clone: Path) -> None:
    outputs = ("data/features/made", "models/localizer.onnx")
    for made in (*outputs, "data/notes.csv", ".dvc/cache/files/md5/one", ".heimdall/mlflow.db"):
        (clone / made).parent.mkdir(parents=True, exist_ok=True)
        (clone / made).write_text("1", encoding="utf-8")
    nobody = make(clone, "clean")
    assert nobody.returncode != 0
    assert "make clean FORCE=1" in nobody.stderr
    for said in ("data", "models", ".dvc/cache", ".heimdall"):
        assert re.search(rf"^  {re.escape(said)} +\S+  \w", nobody.stdout, re.MULTILINE), said
    assert "the results of every experiment" in nobody.stdout
    assert (clone / ".dvc/cache/files/md5/one").exists()

    assert answered(clone, "n\n") == 0
    assert (clone / "data/features/made").exists()
    assert answered(clone, "y\n") == 0
    assert not any((clone / gone).exists() for gone in (*outputs, ".dvc/cache", ".heimdall"))
    assert (clone / "data/.gitignore").exists()
    assert "there is nothing to remove" in make(clone, "clean").stdout

    (clone / "models/localizer.onnx").touch()
    assert make(clone, "clean", "FORCE=1").returncode == 0
    assert not (clone / "models/localizer.onnx").exists()
    assert (clone / "data/notes.csv").exists()  # no stage made it


def test_clean_leaves_servers_alone_that_it_cannot_stop(clone: Path) -> None:
    (clone / ".heimdall/services").mkdir(parents=True)
    refused = make(clone, "clean", "FORCE=1")
    assert "Run `make setup` first" in refused.stderr
    assert (clone / ".heimdall/services").exists()


def answered(root: Path, answer: str) -> int:
    """Exit code of `make clean` at a terminal whose user types an answer."""
    terminal, theirs = pty.openpty()
    process = subprocess.Popen(["make", "clean"], cwd=root, stdin=theirs, stdout=subprocess.DEVNULL)
    os.write(terminal, answer.encode())
    code = process.wait(30)
    os.close(terminal)
    os.close(theirs)
    return code
