"""A clone of this repository with a tiny world behind it, driven by the commands that users type."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import click
import pytest
import yaml
from filelock import FileLock

from heimdall.storage.connection import create_if_missing
from tests import REPOSITORY
from tests.conftest import (
    Services,
    clean_environment,
    find_services,
    heimdall,
    start_services,
    stop_services,
)

BIN = Path(sys.executable).parent
SESSIONS, SEED = 24, 5
TINY = {
    "epochs": 2,
    "warmup_epochs": 1,
    "evaluate": {"bootstrap_resamples": 50, "seed": 42},
    "pretrain": {
        "sessions": 12,  # three worlds, of which the second has other receivers
        "sessions_per_world": 4,
        "epochs": 1,
        "warmup_epochs": 1,
    },
}
STAGES: dict[str, Any] = yaml.safe_load((REPOSITORY / "dvc.yaml").read_text(encoding="utf-8"))["stages"]


def outputs(stage: str) -> list[str]:
    """Paths of everything that a stage writes."""
    listed = [item for kind in ("outs", "metrics", "plots") for item in STAGES[stage].get(kind, [])]
    return [path for item in listed for path in item]


@dataclass(frozen=True)
class Project:
    """A clone and the environment in which its commands run."""

    root: Path
    env: dict[str, str]

    def run(self, *command: str, check: bool = True, **more: str) -> subprocess.CompletedProcess[str]:
        """Run a command as a user in the clone would; `more` are environment variables."""
        done = subprocess.run(
            command,
            cwd=self.root,
            env=self.env | more,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
            timeout=400,
        )
        assert not check or done.returncode == 0, f"{command} failed:\n{done.stdout}"
        return done

    def run_here(self, command: click.Command, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run one of our commands in this process, which has loaded its libraries already.

        Not one that asks for our own buckets: their names were read when this process began.
        """
        with (
            pytest.MonkeyPatch.context() as patch,
            tempfile.TemporaryFile(
                "w+", encoding="utf-8"
            ) as output,  # processes that it starts write there too
            contextlib.redirect_stdout(output),
            contextlib.redirect_stderr(output),
        ):
            patch.chdir(self.root)
            for name, value in self.env.items():
                patch.setenv(name, value)
            code = command.main(list(arguments), standalone_mode=False)
            output.seek(0)
            return subprocess.CompletedProcess(arguments, code or 0, output.read())

    def commit(self, message: str) -> None:
        """Commit everything that is not ignored."""
        self.run("git", "add", "--all")
        self.run("git", "commit", "--quiet", "--allow-empty", "--message", message)

    def set_params(self, **changes: object) -> None:
        """Change params.yaml; a mapping changes the named keys of a section."""
        path = self.root / "params.yaml"
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
        for key, value in changes.items():
            values[key] = values[key] | value if isinstance(value, dict) else value
        path.write_text(yaml.safe_dump(values, sort_keys=False), encoding="utf-8")

    def clone(self, target: Path) -> Project:
        """What a colleague gets: `git clone`, with the remote's address and credentials set up."""
        self.run("git", "clone", "--quiet", str(self.root), str(target))
        clone = replace(self, root=target)
        clone.run("heimdall", "services", "up")
        return clone

    def copy(self, target: Path) -> Project:
        """The whole folder, outputs and caches included."""
        shutil.copytree(self.root, target, symlinks=True)
        return replace(self, root=target)

    def with_own_remote(self, target: Path) -> Project:
        """A copy with a bucket of its own as the remote, in which all is that it has: to be damaged."""
        own = replace(self, env=self.env | {"HEIMDALL_DVC_BUCKET": f"dvc-{uuid.uuid4().hex[:12]}"})
        copied = own.copy(target)
        copied.run("heimdall", "services", "up")
        copied.run("dvc", "push")
        return copied

    def before(self, stage: str, target: Path) -> Project:
        """A clone in which the earlier stages are done, and this one and the later ones never ran.

        Their outputs and lock entries are not there, and no cache holds them: DVC can only compute them.
        """
        clone = self.clone(target)
        names = list(STAGES)
        earlier, later = names[: names.index(stage)], names[names.index(stage) :]
        if earlier:
            clone.run("dvc", "pull", *earlier)
        for output in [path for name in later for path in outputs(name)]:
            (clone.root / output).unlink(missing_ok=True)
        lock_file = clone.root / "dvc.lock"
        lock = yaml.safe_load(lock_file.read_text(encoding="utf-8"))
        lock["stages"] = {name: lock["stages"][name] for name in earlier}
        lock_file.write_text(yaml.safe_dump(lock, sort_keys=False), encoding="utf-8")
        return clone

    def hashes(self, *stages: str) -> dict[str, str]:
        """SHA-256 of every file in the outputs of these stages (of the whole pipeline's folders), by path."""
        named = [path for stage in stages for path in outputs(stage)]
        tops = [self.root / name for name in named or ("data", "models", "metrics", "plots")]
        paths = [path for top in tops for path in (top, *top.rglob("*"))]
        return {
            str(path.relative_to(self.root)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(paths)
            if path.is_file() and path.name != ".gitignore"
        }


def ran(output: str) -> list[str]:
    """The stages that DVC says it ran, in order."""
    return [line.split("'")[1] for line in output.splitlines() if line.startswith("Running stage '")]


def read_only(services: Services, project: Project) -> dict[str, str]:
    """The variables that `heimdall services reader` prints: pull everything of a project, change nothing."""
    # A reader may read the buckets that the variables name when the servers are started.
    buckets = {name: project.env[name] for name in ("HEIMDALL_MODELS_BUCKET", "HEIMDALL_DVC_BUCKET")}
    heimdall(services.root, "services", "up", env=clean_environment() | buckets)
    shown = heimdall(services.root, "services", "reader", env=clean_environment()).stdout
    return dict(word.split("=", 1) for word in shown.split() if "=" in word)


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all workers of pytest-xdist have in common."""
    base = tmp_path_factory.getbasetemp()
    folder = (base if worker_id == "master" else base.parent) / "shared"
    folder.mkdir(exist_ok=True)
    return folder


@pytest.fixture(scope="session")
def shared_services(shared: Path, worker_id: str) -> Iterator[Services]:
    """One PostgreSQL and one S3 for all workers: the first one starts them, the last one removes all."""
    root, users = shared / "services", shared / "users"
    with FileLock(shared / "services.lock"):
        users.mkdir(exist_ok=True)
        if not any(users.iterdir()):
            shutil.rmtree(root, ignore_errors=True)
            root.mkdir()
            start_services(root)
        (users / worker_id).touch()
    try:
        yield find_services(root)
    finally:
        with FileLock(shared / "services.lock"):
            (users / worker_id).unlink()
            if not any(users.iterdir()):
                stop_services(root)
                for folder in (root, shared / "built", shared / "slower"):
                    shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture(scope="session")
def make_project(
    shared_services: Services, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[], Project]:
    """Clones of the working tree, each with a database and buckets of its own, set up and empty."""
    return lambda: new_project(tmp_path_factory.mktemp("project") / "heimdall", shared_services)


def new_project(root: Path, services: Services) -> Project:
    """A clone of the working tree in `root`."""
    name = uuid.uuid4().hex[:12]
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for file in filter(None, listed.split("\0")):
        if (REPOSITORY / file).is_file():
            (root / file).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(REPOSITORY / file, root / file)
    own = services.with_database(f"pipeline_{name}")
    create_if_missing(own.endpoints.database)
    env = own.env | {
        "HEIMDALL_RAW_BUCKET": f"raw-{name}",
        "HEIMDALL_DVC_BUCKET": f"dvc-{name}",
        "HEIMDALL_MODELS_BUCKET": f"models-{name}",
        "HEIMDALL_MLFLOW_BUCKET": f"mlflow-{name}",
        "HEIMDALL_TRACKING": "off",
        "DVC_SITE_CACHE_DIR": str(root.parent / "dvc-site"),
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "GIT_CONFIG_GLOBAL": os.devnull,
        **{
            f"GIT_{who}_{what}": value
            for who in ("AUTHOR", "COMMITTER")
            for what, value in (("NAME", "Test"), ("EMAIL", "test@localhost"))
        },
    }
    project = Project(root, env)
    project.run("git", "init", "--quiet", "--initial-branch", "main")
    for stale in (root / "dvc.lock", *(root / "metrics").glob("*"), *(root / "plots").glob("*")):
        if stale.name != ".gitignore":
            stale.unlink(missing_ok=True)
    project.set_params(**TINY)
    project.commit("Tiny")
    project.run("heimdall", "services", "up")
    project.run("heimdall", "database", "migrate")
    return project


@pytest.fixture(scope="session")
def built(shared: Path, shared_services: Services, tmp_path_factory: pytest.TempPathFactory) -> Project:
    """A project whose pipeline has run once, pushed and committed: to be copied or cloned, not changed.

    One for all workers: the first that needs it builds it.
    """
    env = once(shared / "built", lambda root: build(new_project(root, shared_services)).env)
    own = {"DVC_SITE_CACHE_DIR": str(tmp_path_factory.mktemp("dvc-site"))}
    return Project(shared / "built/heimdall", env | own)


@pytest.fixture(scope="session")
def slower(built: Project, shared: Path) -> Project:
    """A second model, of an experiment that was queued, tracked, applied, pushed and committed.

    The first is one commit back. One for all workers, as `built`, to be copied or cloned, not changed. 1e-5,
    not 1e-4: DVC writes it as `1e-05`, which YAML reads as a string.
    """

    def learn(root: Path) -> dict[str, str]:
        made = built.copy(root)
        made.run("dvc", "exp", "run", "--queue", "--name", "slower", "-S", "lr=1e-5")
        made.run("dvc", "exp", "run", "--run-all", HEIMDALL_TRACKING="on")
        assert made.hashes() == built.hashes()  # the experiment had a workspace of its own
        made.run("dvc", "exp", "apply", "slower")
        made.run("dvc", "push")
        made.commit("Learn more slowly")
        return {}

    once(shared / "slower", learn)
    return replace(built, root=shared / "slower/heimdall")


def once(folder: Path, make: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    """What `make` says of the project that it makes in `folder`; the first worker that asks lets it."""
    done = folder / "said.json"
    with FileLock(folder.with_suffix(".lock")):
        if not done.is_file():
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir()
            done.write_text(json.dumps(make(folder / "heimdall")), encoding="utf-8")
    said: dict[str, str] = json.loads(done.read_text(encoding="utf-8"))
    return said


def build(project: Project) -> Project:
    """Run the pipeline of a new project once, push and commit."""
    project.run(
        "heimdall", "demo", "seed", "--sessions", str(SESSIONS), "--seed", str(SEED), "--transmitters", "12"
    )
    output = project.run("dvc", "repro").stdout
    assert ran(output) == list(STAGES)
    project.run("dvc", "push")
    project.commit("Run the pipeline")
    return project


@pytest.fixture
def project(built: Project, tmp_path: Path) -> Project:
    """A copy of the built project that the test may change; database and buckets are shared."""
    return built.copy(tmp_path / "heimdall")
