"""Every message names a remedy, and who follows it is out of the trouble.

The tables in tests/remedies make each cause for real: files and disks, git repositories, servers. In the rows
with `follow` the test does what the remedy says, and the command then succeeds. In the others the remedy is a
person's decision or takes long, so they are read only.
"""

from __future__ import annotations

import io
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
from _pytest.mark import ParameterSet

from heimdall.core import artifacts
from heimdall.pipeline.featurize import featurize
from heimdall.sweep import experiments
from tests import REPOSITORY, tiny_snapshot
from tests.conftest import Services, as_clone, clean_environment
from tests.remedies import buckets, databases, local
from tests.remedies.troubles import BIN, Trouble, World, check


def in_turn(rows: Sequence[Trouble]) -> list[ParameterSet]:
    """The rows as parameters of a test, those of the long series marked."""
    return [pytest.param(row, id=row.name, marks=[pytest.mark.series] * row.series) for row in rows]


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A clone with one commit, a snapshot and features, which DVC tracks and has in a remote."""
    root = as_clone(tmp_path_factory.mktemp("template") / "clone")
    tiny_snapshot.write_snapshot(root)
    artifacts.write_bytes(root / "requirements/runtime.txt", b"")
    featurize.run(tiny_snapshot.PARAMS, tiny_snapshot.SPLIT, root)
    made = World(root, environment(root), root)
    made.do("git", "init", "--quiet", "--initial-branch", "main")
    made.do("dvc", "init", "--quiet")
    made.do("dvc", "remote", "add", "--quiet", "--default", "files", str(root.parent / "remote"))
    made.do("dvc", "add", "--quiet", "data/features", "data/snapshot")
    made.do("dvc", "push", "--quiet")
    made.do("git", "add", "--all")
    made.do("git", "commit", "--quiet", "--message", "One")
    return root


def environment(root: Path) -> dict[str, str]:
    """Of commands: no servers, and git as nobody has set it up but the test."""
    identity = {f"GIT_{who}_{what}": "test" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    return clean_environment() | {
        "GIT_CONFIG_GLOBAL": str(root.parent / "gitconfig"),
        "HEIMDALL_TRACKING": "off",
        "DVC_SITE_CACHE_DIR": str(root.parent / "site"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        **identity,
    }


@pytest.fixture
def world(template: Path, tmp_path: Path) -> Iterator[World]:
    root = tmp_path / "clone"
    shutil.copytree(template, root, symlinks=True)
    made = World(root, environment(root), root)
    yield made
    for close in made.close:
        close()


@pytest.fixture
def served(database: Services, tmp_path: Path) -> Iterator[World]:
    """A clone with nothing but parameters and SELECTs, and servers with a database of its own."""
    root = as_clone(tmp_path / "clone")
    shutil.copytree(REPOSITORY / "sql", root / "sql")
    made = World(root, dict(database.env), root, services=database)
    yield made
    for close in made.close:
        close()


@pytest.mark.parametrize("row", in_turn([*databases.ROWS, *buckets.ROWS]))
def test_servers_that_refuse_are_messages_whose_remedy_helps(row: Trouble, served: World) -> None:
    check(row, served)


def test_the_table_has_many_causes() -> None:
    rows = [*local.ROWS, *databases.ROWS, *buckets.ROWS]
    assert len({row.name for row in rows}) == len(rows)
    assert len({(row.cause, row.remedy) for row in rows}) >= 80
    assert sum(row.follow is not None for row in rows) >= 60


@pytest.mark.parametrize("row", in_turn(local.ROWS))
def test_a_message_names_the_place_and_the_cause_and_its_remedy_helps(row: Trouble, world: World) -> None:
    check(row, world)


@pytest.mark.parametrize(
    ("printed", "problem"),
    [
        (
            "ERROR: failed to reproduce 'train'\ntrain.py: train: no GPU. Set it\n",
            "train.py: train: no GPU. Set it",
        ),
        ("busy\nERROR: Unable to acquire lock\nbye\n", "ERROR: Unable to acquire lock"),
        ("one\ntwo\n", "two"),
        ("", "it printed nothing"),
    ],
)
def test_a_failed_trial_says_what_its_stage_said(printed: str, problem: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.write_text(printed, encoding="utf-8")
    process = subprocess.Popen(["true"])
    process.wait()
    assert experiments.Experiment("trial", log, process, io.StringIO()).problem() == problem
