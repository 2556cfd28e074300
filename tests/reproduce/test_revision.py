"""What a dvc.lock says, where it is contradicted, and hashes as DVC makes them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from heimdall.core.errors import HeimdallError
from heimdall.reproduce import revision, verify

PARAMS = {"lr": 0.001, "split": {"by": "session"}}
STAGES = ("snapshot", "featurize", "train")


def git(folder: Path, *arguments: str) -> None:
    identity = ("-c", "user.name=Test", "-c", "user.email=test@localhost")
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """Three stages, each reading a file of git and the folder of the former stage, locked as they are."""
    root = tmp_path / "repository"
    lock: dict[str, Any] = {}
    (root / "code").mkdir(parents=True)
    former = []
    for number, name in enumerate(STAGES):
        (root / "code" / f"{name}.py").write_text(f"# {name}\n")
        (root / "metrics").mkdir(exist_ok=True)
        (root / "metrics" / f"{name}.json").write_text("{}\n")
        folder = {"path": f"data/{name}", "md5": f"{number:032x}.dir"}
        metrics = f"metrics/{name}.json"
        lock[name] = {
            "cmd": f"python {name}",
            "deps": [{"path": f"code/{name}.py", "md5": revision.md5(root / "code" / f"{name}.py")}, *former],
            "params": {
                "params.yaml": {"featurize": {"split.by": "session"}, "train": {"lr": 0.001}}.get(name, {})
            },
            "outs": [folder, {"path": metrics, "md5": revision.md5(root / metrics)}],
        }
        former = [dict(folder)]  # a copy, or YAML would refer to it
    # Out of order, as DVC may write it.
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": dict(reversed(lock.items()))}, sort_keys=False))
    stages = {name: {"cmd": f"python {name}"} for name in STAGES}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / "params.yaml").write_text(
        "lr: 1e-3\nsplit:\n  by: session\n"
    )  # as people write it, and DVC reads
    git(root, "init", "--quiet")
    git(root, "add", "--all")
    git(root, "commit", "--quiet", "--message", "First")
    return root


@pytest.fixture
def lock(repository: Path) -> revision.Lock:
    return revision.read_lock(repository, revision.commit_of(repository, "HEAD"))


def test_a_stage_comes_after_those_whose_outputs_it_reads(lock: revision.Lock) -> None:
    assert tuple(lock) == STAGES
    maker = revision.source_of("data/featurize/index.parquet", lock)
    assert maker is not None
    assert maker.name == "featurize"
    assert revision.source_of("data/featurize2", lock) is None


def test_what_is_not_there_is_named(repository: Path) -> None:
    with pytest.raises(HeimdallError, match=r"'v9': git knows no such revision"):
        revision.commit_of(repository, "v9")
    with pytest.raises(HeimdallError, match="no such revision"):
        revision.commit_of(repository, "--all")
    with pytest.raises(HeimdallError, match=r"dvc\.lock: not a dvc\.lock"):
        revision.parse_lock("stages: {train: 1}", "dvc.lock")
    git(repository, "rm", "--quiet", "dvc.lock")
    git(repository, "commit", "--quiet", "--message", "No lock")
    with pytest.raises(HeimdallError, match=r"dvc\.lock: commit \w+ has none"):
        revision.read_lock(repository, revision.commit_of(repository, "HEAD"))


def test_a_checkout_is_clean_and_changes_nothing_in_the_repository(repository: Path, tmp_path: Path) -> None:
    commit = revision.commit_of(repository, "HEAD")
    (repository / "params.yaml").write_text("lr: 7\n")
    (repository / "stray").write_text("")
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config.local").write_text("[cache]\ndir = /elsewhere\n[core]\nremote = mine\n")
    before = sorted(path for path in (repository / ".git").rglob("*"))
    tree = tmp_path / "a folder" / "tree"
    revision.checkout(repository, commit, tree)
    assert revision.read_yaml(tree / "params.yaml") == PARAMS
    assert not (tree / "stray").exists()
    local = (tree / ".dvc" / "config.local").read_text()
    assert "/elsewhere" not in local
    assert str(tree / ".dvc" / "cache") in local
    assert "remote = mine" in local
    assert sorted(path for path in (repository / ".git").rglob("*")) == before


def test_damaged_settings_of_dvc_are_named(repository: Path, tmp_path: Path) -> None:
    (repository / ".dvc").mkdir()
    (repository / ".dvc" / "config.local").write_text("remote = s3\n")
    with pytest.raises(HeimdallError, match=r"config\.local: not a DVC configuration"):
        revision.checkout(repository, revision.commit_of(repository, "HEAD"), tmp_path / "tree")


def test_the_repository_of_a_hook_is_left_alone(
    repository: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Git tells hooks of a linked worktree by GIT_DIR where they work; a checkout must not go there."""
    commit = revision.commit_of(repository, "HEAD")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Second")
    before = (repository / ".git/HEAD").read_text()
    with monkeypatch.context() as hook:
        hook.setenv("GIT_DIR", str(repository / ".git"))
        hook.setenv("GIT_INDEX_FILE", str(repository / ".git/index"))
        revision.checkout(repository, commit, tmp_path / "tree")
    assert (repository / ".git/HEAD").read_text() == before
    assert (tmp_path / "tree/.git/HEAD").read_text().strip() == commit


def test_a_commit_that_belongs_together_contradicts_nothing(repository: Path, lock: revision.Lock) -> None:
    assert revision.contradictions(repository, lock) == []


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
    repository: Path, lock: revision.Lock, file: str, change: tuple[str, str], said: str
) -> None:
    path = repository / file
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    assert re.match(said, revision.contradictions(repository, lock)[0])


def test_a_figure_that_was_edited_in_git_is_named(repository: Path, lock: revision.Lock) -> None:
    """The lock may be right, and so what is rebuilt: reviewers read the file that git holds."""
    assert revision.committed_outputs(repository, lock) == []
    (repository / "metrics/train.json").write_text('{"mae_m": 12}\n')
    found = revision.committed_outputs(repository, lock)
    assert len(found) == 1
    assert re.match(r"train: metrics/train\.json is \w{32} in git, \w{32} as an output", found[0])


def test_a_stage_that_read_another_output_than_was_made_is_named(repository: Path) -> None:
    text = (repository / "dvc.lock").read_text()
    place = text.rindex(f"{0:032x}.dir", 0, text.index("snapshot:"))  # what featurize read
    other = revision.parse_lock(text[:place] + "f" + text[place + 1 :], "dvc.lock")
    found = revision.contradictions(repository, other)
    assert len(found) == 1
    assert re.match(r"featurize: data/snapshot is 0\w+\.dir as snapshot's output, f\w+\.dir", found[0])


def test_what_is_rebuilt_and_from_which_inputs(lock: revision.Lock) -> None:
    def names(first: str | None, source: bool) -> list[str]:
        return [stage.name for stage in verify.chosen(lock, first, source)]

    assert names(None, False) == ["featurize", "train"]
    assert names(None, True) == ["snapshot", "featurize", "train"]
    assert names("train", False) == ["train"]
    assert names("snapshot", True) == ["snapshot", "featurize", "train"]
    assert verify.inputs(lock, verify.chosen(lock, "train", False)) == [
        "data/featurize",
        "metrics/featurize.json",
    ]
    assert verify.inputs(lock, verify.chosen(lock, None, True)) == []


@pytest.mark.parametrize("path", ["/srv/models", "../../../data", "data/../../x"])
def test_an_output_outside_the_checkout_is_refused(repository: Path, path: str) -> None:
    """It would be removed, to be rebuilt."""
    text = (repository / "dvc.lock").read_text().replace("path: metrics/train.json", f"path: {path}")
    assert path in text
    with pytest.raises(HeimdallError, match=f"{path} is outside the repository"):
        revision.parse_lock(text, "dvc.lock")


def test_a_lock_without_outputs_proves_nothing(lock: revision.Lock) -> None:
    with pytest.raises(HeimdallError, match="names no output"):
        verify.chosen({"snapshot": lock["snapshot"]}, None, False)


def test_hashes_are_those_of_dvc(tmp_path: Path) -> None:
    folder = tmp_path / "data"
    for name in ("b/2.txt", "b/10.txt", "a.txt", "b.txt", "é ü.txt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "empty").touch()
    (folder / ".partial-1-a.txt").touch()
    (tmp_path / ".dvcignore").write_text(".partial-*\n")
    for command in (
        ["git", "init", "--quiet"],
        ["dvc", "init", "--quiet"],
        ["dvc", "add", "--quiet", "data"],
    ):
        program = shutil.which(command[0])
        assert program is not None
        subprocess.run([program, *command[1:]], cwd=tmp_path, check=True)
    recorded = yaml.safe_load((tmp_path / "data.dvc").read_text())["outs"][0]["md5"]
    assert revision.md5(folder) == recorded
    assert revision.md5(tmp_path / "nothing") == revision.MISSING
