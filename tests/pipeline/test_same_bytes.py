"""The same bytes under any condition that must not matter: every output's hash against the `built` project's.

Each test changes what it names, proves that the condition held, and that the stages computed: their outputs,
caches and lock entries were not there (`Project.before`), or they were forced and had nothing to reuse.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from tests.projects import STAGES, Project, ran

AFTER_SNAPSHOT = list(STAGES)[1:]
ORDINARY_USER = 54_321  # in no passwd file, like the user of many containers
# A process under another umask, started as `UNDER_UMASK + [umask, command, ...]`.
UNDER_UMASK = ["sh", "-c", 'umask "$0" && exec "$@"']
# An environment of which only the secrets of the servers are as usual. ASCII in earnest: Python would
# otherwise take UTF-8 in its place.
LANGUAGE = {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"}
UNUSUAL = {"PYTHONHASHSEED": "7", "TZ": "XYZ-13:45"} | LANGUAGE


def probe(project: Project, *wrapper: str, expressions: str, **environment: str) -> str:
    """What some Python expressions give in a process that is started like the pipeline under test."""
    code = f"import locale, os, time; print({expressions})"
    return project.run(*wrapper, sys.executable, "-c", code, **environment).stdout.strip()


def owners(project: Project) -> set[int]:
    """The user ids to whom the outputs belong."""
    return {(project.root / path).stat().st_uid for path in project.hashes(*AFTER_SNAPSHOT)}


@pytest.mark.parametrize(
    "stages",
    # What follows it is rebuilt in the same environment by tests/pipeline/test_verify.py.
    [["snapshot"], pytest.param(list(STAGES), marks=pytest.mark.series)],
    ids=["snapshot", "all"],
)
def test_another_folder_hash_seed_locale_time_zone_and_umask(
    built: Project, tmp_path: Path, stages: list[str]
) -> None:
    fresh = built.before("snapshot", tmp_path / "a folder with spaces")
    seen = "locale.getpreferredencoding(), time.timezone, oct(os.umask(0))"
    expected = "ANSI_X3.4-1968 -49500 0o77"
    assert probe(fresh, *UNDER_UMASK, "077", expressions=seen, **UNUSUAL) == expected
    assert probe(fresh, expressions=seen) != expected

    output = fresh.run(*UNDER_UMASK, "077", "dvc", "repro", stages[-1], **UNUSUAL).stdout
    assert ran(output) == stages
    assert fresh.hashes(*stages) == built.hashes(*stages)
    lock = yaml.safe_load((built.root / "dvc.lock").read_text(encoding="utf-8"))
    lock["stages"] = {name: lock["stages"][name] for name in stages}
    assert yaml.safe_load((fresh.root / "dvc.lock").read_text(encoding="utf-8")) == lock
    for file in (path for path in fresh.hashes(*stages) if path.startswith("metrics")):
        assert (fresh.root / file).stat().st_mode & 0o777 == 0o600


@pytest.mark.series
def test_run_again_in_the_same_folder(project: Project) -> None:
    before = project.hashes()
    written = (project.root / "models/localizer.safetensors").stat().st_mtime_ns
    shutil.rmtree(project.root / ".heimdall/work")
    for remembered in ("data/features", "data/snapshot"):
        shutil.rmtree(project.root / remembered)
    (project.root / "data/feature_keys.json").unlink()
    assert ran(project.run("dvc", "repro", "--force").stdout) == list(STAGES)
    assert (project.root / "models/localizer.safetensors").stat().st_mtime_ns > written
    assert project.hashes() == before


@pytest.mark.series
def test_loader_workers(project: Project) -> None:
    before = project.hashes()
    assert "num_workers: 0" in (project.root / "dvc.lock").read_text(encoding="utf-8")
    project.set_params(num_workers=2)
    # And no later stage has anything to do.
    assert ran(project.run("dvc", "repro").stdout) == ["pretrain", "train"]
    assert "num_workers: 2" in (project.root / "dvc.lock").read_text(encoding="utf-8")
    assert project.hashes() == before


@pytest.mark.series
def test_one_core(built: Project, tmp_path: Path) -> None:
    cores = "len(os.sched_getaffinity(0))"
    fresh = built.before("featurize", tmp_path / "heimdall")
    assert int(probe(fresh, expressions=cores)) > 1, (
        "`built` was made on one core: there is nothing to compare"
    )
    assert probe(fresh, "taskset", "-c", "0", expressions=cores) == "1"
    assert ran(fresh.run("taskset", "-c", "0", "dvc", "repro").stdout) == AFTER_SNAPSHOT
    assert fresh.hashes() == built.hashes()


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that every user may pass through: pytest's own are private."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.mark.series
def test_another_user(built: Project, open_folder: Path) -> None:
    """Root's bytes against an ordinary user's, in another home.

    Where an ordinary user runs the tests, root's side cannot be had: then it is the same user elsewhere.
    """
    fresh = built.before("featurize", open_folder / "heimdall")
    home = open_folder / "home"
    home.mkdir()
    user = ORDINARY_USER if os.geteuid() == 0 else os.geteuid()
    wrapper = [*UNDER_UMASK, "027"]
    if os.geteuid() == 0:
        for path in (home, fresh.root, *fresh.root.rglob("*")):
            os.lchown(path, user, user)
        # The Python of the tests may lie below a folder of root alone: one may pass there, and no more.
        passing = ["--inh-caps", "+dac_read_search", "--ambient-caps", "+dac_read_search"]
        wrapper += ["setpriv", f"--reuid={user}", f"--regid={user}", "--clear-groups", *passing]
    # The name is for DVC, which stops where it finds none.
    personal = {"HOME": str(home), "USER": "ordinary", "LOGNAME": "ordinary"}
    fresh = replace(fresh, env=fresh.env | personal | {"DVC_SITE_CACHE_DIR": str(home / "site")})
    who = "os.geteuid(), os.path.expanduser('~')"
    assert probe(fresh, *wrapper, expressions=who) == f"{user} {home}"

    assert ran(fresh.run(*wrapper, "dvc", "repro").stdout) == AFTER_SNAPSHOT
    assert owners(fresh) == {user}
    assert fresh.hashes() == built.hashes()
