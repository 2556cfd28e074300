"""Every process of a stage killed at a random moment: the next `dvc repro` ends with the undisturbed bytes.

`make test` kills the training once, `make test-all` every stage. The long series, 35 kills, five in each:

    pytest tests/pipeline/test_kills.py --kills 5
"""

from __future__ import annotations

import hashlib
import os
import random
import re
import shutil
import signal
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.projects import STAGES, Project, ran

SEED = 180  # of the moments; each stage's first one comes when it is past its imports
DRAWS = 5  # a run may end before its moment, as a machine is not always equally fast
OBJECT = re.compile(r"[0-9a-f]{2}/[0-9a-f]{30}(\.dir)?")


@dataclass(frozen=True)
class Run:
    """One `dvc repro STAGE`.

    Attributes:
        output: What it printed.
        duration_s: From the moment when DVC says that it runs the stage.
        killed: Whether it was still alive when its moment came.
    """

    output: str
    duration_s: float
    killed: bool


@dataclass(frozen=True)
class Undisturbed:
    """A stage that ran once in peace.

    Attributes:
        stage: Its name.
        ready: A project in which it is due, and nothing but its computation can bring its outputs.
        duration_s: Of its run.
    """

    stage: str
    ready: Project
    duration_s: float


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    stages = [name if name == "train" else pytest.param(name, marks=pytest.mark.series) for name in STAGES]
    metafunc.parametrize("undisturbed", stages, indirect=True, scope="module")
    metafunc.parametrize("number", range(1, metafunc.config.getoption("--kills") + 1))


@pytest.fixture(scope="module")
def undisturbed(
    request: pytest.FixtureRequest, built: Project, tmp_path_factory: pytest.TempPathFactory
) -> Undisturbed:
    stage: str = request.param
    folder = tmp_path_factory.mktemp(stage)
    ready = built.before(stage, folder / "ready")
    quiet = ready.copy(folder / "quiet")
    run = repro(quiet, stage)
    assert ran(run.output) == [stage]
    assert quiet.hashes(stage) == built.hashes(stage)
    shutil.rmtree(quiet.root)
    return Undisturbed(stage, ready, run.duration_s)


def repro(project: Project, stage: str, kill_after_s: float | None = None) -> Run:
    """Run `dvc repro STAGE`; SIGKILL to its process group, if asked for, so long after the stage began."""
    process = subprocess.Popen(
        ["dvc", "repro", stage],
        cwd=project.root,
        env=project.env,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )
    assert process.stdout is not None
    output = ""
    while not ran(output):
        line = process.stdout.readline()
        assert line, f"DVC did not run {stage}:\n{output}"
        output += line
    begin = time.monotonic()
    try:
        process.wait(timeout=kill_after_s)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
    # The pipe ends with the last process that could write to it: none lives on.
    output += process.stdout.read()
    killed = process.wait() == -signal.SIGKILL
    assert killed or process.returncode == 0, output
    return Run(output, time.monotonic() - begin, killed)


def lock_entry(project: Project, stage: str) -> Any:  # noqa: ANN401 - YAML
    return yaml.safe_load((project.root / "dvc.lock").read_text(encoding="utf-8"))["stages"][stage]


def leftovers(project: Project) -> list[str]:
    """Half-written files and scratch that a finished stage has no use for."""
    patterns = ("**/.partial-*", ".heimdall/work/train/*", ".heimdall/work/*/shards/*")
    found = {path for pattern in patterns for path in project.root.glob(pattern)}
    return sorted(str(path.relative_to(project.root)) for path in found)


def damaged_objects(project: Project) -> list[str]:
    """Objects of DVC's cache whose content is not what their name says: the next push would spread them."""
    folder = project.root / ".dvc/cache/files/md5"
    names = (str(path.relative_to(folder)) for path in folder.glob("*/*"))
    return [
        name
        for name in names
        if OBJECT.fullmatch(name)
        and hashlib.md5((folder / name).read_bytes(), usedforsecurity=False).hexdigest()
        != name.replace("/", "").removesuffix(".dir")
    ]


def test_killed_at_a_random_moment(
    built: Project, undisturbed: Undisturbed, number: int, tmp_path: Path
) -> None:
    stage = undisturbed.stage
    draws = random.Random(f"{SEED} {stage} {number}")  # noqa: S311 - to be repeatable, not secret
    for draw in range(DRAWS):
        project = undisturbed.ready.copy(tmp_path / f"draw-{draw}")
        moment_s = draws.uniform(0, undisturbed.duration_s)
        if repro(project, stage, moment_s).killed:
            break
    else:
        raise AssertionError(f"{stage} ended before each of {DRAWS} moments")
    kill = f"kill {number} of {stage}, seed {SEED}: after {moment_s:.3f} of {undisturbed.duration_s:.3f} s"
    print(f"{kill}, draw {draw + 1}")

    again = project.run("dvc", "repro", stage, check=False)
    assert again.returncode == 0, f"{kill}\n{again.stdout}"
    stages = list(STAGES)[: list(STAGES).index(stage) + 1]
    wanted, found = built.hashes(*stages), project.hashes(*stages)
    assert found == wanted, f"{kill}: other bytes in {sorted(dict(wanted.items() ^ found.items()))}"
    assert lock_entry(project, stage) == lock_entry(built, stage), kill
    assert leftovers(project) == [], kill
    assert damaged_objects(project) == [], kill
