"""What a dvc.lock says, where it is contradicted, and hashes as DVC makes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import dvc_lock, git
from heimdall.reproduce.dvc_lock import MISSING, Lock
from tests import REPOSITORY
from tests.reproduce.running_git import run_git

STAGES = ("snapshot", "featurize", "train")


def test_a_stage_comes_after_those_whose_outputs_it_reads(lock: Lock) -> None:
    assert tuple(lock) == STAGES
    maker = dvc_lock.source_of("data/featurize/index.parquet", lock)
    assert maker is not None
    assert maker.name == "featurize"
    assert dvc_lock.source_of("data/featurize2", lock) is None


def test_what_is_not_there_is_named(repository: Path) -> None:
    with pytest.raises(HeimdallError, match=r"'v9': git knows no such revision"):
        git.commit_of(repository, "v9")
    with pytest.raises(HeimdallError, match="no such revision"):
        git.commit_of(repository, "--all")
    with pytest.raises(HeimdallError, match=r"dvc\.lock: not a dvc\.lock"):
        dvc_lock.parse("stages: {train: 1}", "dvc.lock")
    run_git(repository, "rm", "--quiet", "dvc.lock")
    run_git(repository, "commit", "--quiet", "--message", "No lock")
    with pytest.raises(HeimdallError, match=r"dvc\.lock: commit \w+ has none"):
        dvc_lock.read(repository, git.commit_of(repository, "HEAD"))


def test_a_commit_that_belongs_together_contradicts_nothing(repository: Path, lock: Lock) -> None:
    assert dvc_lock.contradictions(repository, lock) == []


@pytest.mark.parametrize(
    ("file", "change", "said"),
    [
        ("code/train.py", ("# train", "# other"), r"train: code/train\.py is \w{32} in git, \w{32} as a dep"),
        ("params.yaml", ("by: session", "by: transmitter"), r"featurize: split\.by is transmitter in params"),
        ("dvc.yaml", ("python train", "python other"), r"train: another command in dvc\.yaml"),
        ("dvc.yaml", ("  train:", "  trian:"), r"trian: in dvc\.yaml, not in dvc\.lock"),
        (
            "dvc.yaml",
            ("python train", "python train\n    metrics: [{other.json: {cache: false}}]"),
            r"train: other\.json is in dvc",
        ),
    ],
)
def test_a_contradiction_names_stage_and_file(
    repository: Path, lock: Lock, file: str, change: tuple[str, str], said: str
) -> None:
    path = repository / file
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert re.match(said, dvc_lock.contradictions(repository, lock)[0])


def test_a_figure_that_was_edited_in_git_is_named(repository: Path, lock: Lock) -> None:
    """The lock may be right, and so what is rebuilt: reviewers read the file that git holds."""
    assert dvc_lock.committed_outputs(repository, lock) == []
    (repository / "metrics/train.json").write_text('{"mae_m": 12}\n')
    found = dvc_lock.committed_outputs(repository, lock)
    assert len(found) == 1
    assert re.match(r"train: metrics/train\.json is \w{32} in git, \w{32} as an output", found[0])


def test_a_stage_that_read_another_output_than_was_made_is_named(repository: Path) -> None:
    text = (repository / "dvc.lock").read_text()
    place = text.rindex(f"{0:032x}.dir", 0, text.index("snapshot:"))  # what featurize read
    other = dvc_lock.parse(text[:place] + "f" + text[place + 1 :], "dvc.lock")
    found = dvc_lock.contradictions(repository, other)
    assert len(found) == 1
    assert re.match(r"featurize: data/snapshot is 0\w+\.dir as snapshot's output, f\w+\.dir", found[0])


@pytest.mark.parametrize("path", ["/srv/models", "../../../data", "data/../../x"])
def test_an_output_outside_the_checkout_is_refused(repository: Path, path: str) -> None:
    """It would be removed, to be rebuilt."""
    text = (repository / "dvc.lock").read_text().replace("path: metrics/train.json", f"path: {path}")
    assert path in text
    with pytest.raises(HeimdallError, match=f"{path} is outside the repository"):
        dvc_lock.parse(text, "dvc.lock")


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("b/2.txt", "b/10.txt", "a.txt", "b.txt", "é ü.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "empty").touch()
    (folder / ".partial-1-a.txt").touch()
    (folder / "__pycache__").mkdir()
    (folder / "__pycache__/b.cpython-311.pyc").touch()  # what importing a room leaves in it
    shutil.copy(REPOSITORY / ".dvcignore", tmp_path)
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "add", "--quiet", "data"],
    ):
        program = shutil.which(command[0])
        assert program is not None
        subprocess.run([program, *command[1:]], cwd=tmp_path, check=True)
    recorded = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    assert dvc_lock.md5(folder) == recorded
    assert dvc_lock.md5(tmp_path / "nothing") == MISSING
