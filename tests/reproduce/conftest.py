"""A repository of three stages, locked as they are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from heimdall.reproduce import dvc_lock, git
from heimdall.reproduce.dvc_lock import Lock
from tests.reproduce.running_git import run_git

STAGES = ("snapshot", "featurize", "train")


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
            "deps": [{"path": f"code/{name}.py", "md5": dvc_lock.md5(root / "code" / f"{name}.py")}, *former],
            "params": {
                "params.yaml": {"featurize": {"split.by": "session"}, "train": {"lr": 0.001}}.get(name, {})
            },
            "outs": [folder, {"path": metrics, "md5": dvc_lock.md5(root / metrics)}],
        }
        former = [dict(folder)]  # a copy, or YAML would refer to it
    # Out of order, as DVC may write it.
    (root / "dvc.lock").write_text(yaml.safe_dump({"stages": dict(reversed(lock.items()))}, sort_keys=False))
    stages = {name: {"cmd": f"python {name}"} for name in STAGES}
    (root / "dvc.yaml").write_text(yaml.safe_dump({"stages": stages}))
    (root / "params.yaml").write_text(
        "lr: 1e-3\nsplit:\n  by: session\n"
    )  # as people write it, and DVC reads
    run_git(root, "init", "--quiet")
    run_git(root, "add", "--all")
    run_git(root, "commit", "--quiet", "--message", "First")
    return root


@pytest.fixture
def lock(repository: Path) -> Lock:
    return dvc_lock.read(repository, git.commit_of(repository, "HEAD"))
