"""What `make demo` starts has only the secrets that it needs, says none, and connects as the role that it is.

The secrets are looked for by their values, in the environment and the command line of every process while it
runs, in all that is printed, and in every file that is left. A process that lives for some milliseconds only
may be missed in one run.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import psutil
import pytest

from heimdall.storage import connection, embedded, roles
from heimdall.storage.endpoints import administrator
from heimdall.storage.identities import Identity
from tests.conftest import SERVICE_VARIABLES, Services, free_port_base
from tests.projects import STAGES, Project, new_project

# Program: the secrets in its environment. docs/environment.md says the same.
NEEDED = {
    "weed": {"jwt"},
    # The sender of a training to MLflow looks for the embedded server's keys itself.
    **{name: set[str]() for name in ("sender", "postgres", "heimdall", "dvc", "git", "sh")},
    **{stage: set[str]() for stage in STAGES},
}
INTERVAL_S = 0.02
HOLD_SECRETS = (".dvc/config.local", ".heimdall/services/services.json")
SEED = ("heimdall", "demo", "seed", "--sessions", "16", "--transmitters", "12")
INGEST = (
    *(
        "heimdall",
        "ingest",
        "torino.npy",
        "montanaro.npy",
        "--sample-rate",
        "8000",
        "--frequency-mhz",
        "145.5",
    ),
    *("--receiver", "torino,45.044,7.672,250", "--receiver", "montanaro,45.234,7.857,300"),
    *("--start", "2026-01-09T00:00:00.000000Z"),
)
SWEEP = ("heimdall", "sweep", "--study", "roles", "--trials", "1", "--space", "lr=1e-4:1e-2:log")


class Watch:
    """Looks at every process below this one, and at those that work in some folders.

    Attributes:
        environments: Names of the secrets that were in the environments of each program.
        told: Command lines that hold a secret.
    """

    def __init__(self, secrets: dict[str, bytes], folders: tuple[Path, ...]) -> None:
        self.environments: dict[str, set[str]] = {}
        self.told: list[str] = []
        self._secrets = secrets
        self._folders = folders
        self._labels: dict[int, str] = {}
        self._seen: set[tuple[int, bytes]] = set()
        self._elsewhere: set[tuple[int, bytes]] = set()  # not below this process, nor will they be

    def look(self) -> None:
        """Look once."""
        below: set[int] | None = None
        for pid in psutil.pids():
            with suppress(OSError):
                line = Path(f"/proc/{pid}/cmdline").read_bytes()
                if not line or (pid, line) in self._seen:
                    continue
                folder = Path(f"/proc/{pid}/cwd").readlink()
                below_us = False
                if (pid, line) not in self._elsewhere:
                    if below is None:  # it takes longer than all the rest, and mostly nobody is new
                        below = {process.pid for process in psutil.Process().children(recursive=True)}
                    below_us = pid in below
                if below_us or any(folder.is_relative_to(each) for each in self._folders):
                    self._note(pid, line, Path(f"/proc/{pid}/environ").read_bytes())
                else:
                    self._elsewhere.add((pid, line))

    @contextmanager
    def watching(self) -> Iterator[None]:
        """Look again and again while the block lasts."""
        done = threading.Event()

        def loop() -> None:
            while not done.wait(INTERVAL_S):
                self.look()

        thread = threading.Thread(target=loop)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def _note(self, pid: int, line: bytes, environment: bytes) -> None:
        self._seen.add((pid, line))
        with suppress(psutil.NoSuchProcess):
            label = label_of(line) or self._labels.get(psutil.Process(pid).ppid(), "")
            self._labels[pid] = label
            self.environments.setdefault(label, set()).update(found(self._secrets, environment))
            if found(self._secrets, line):
                self.told.append(label)


def label_of(line: bytes) -> str:
    """The program of a command line; empty for a worker of another."""
    words = line.decode(errors="replace").strip("\0").split("\0")
    name = Path(words[0].split(":")[0]).name
    for word in words[:4]:
        path = Path(word)
        if path.parent.name == "stages":
            return path.stem
        if word == "heimdall.track.sending":
            return "sender"
        if path.name in ("heimdall", "dvc"):
            return path.name
    return {"initdb": "postgres", "pg_ctl": "postgres", "dash": "sh", "bash": "sh"}.get(
        name, name if name in NEEDED else ""
    )


def found(secrets: dict[str, bytes], content: bytes) -> set[str]:
    """Names of the secrets in a text."""
    return {name for name, value in secrets.items() if value in content}


def secrets_of(state: embedded.State) -> dict[str, bytes]:
    """Every secret of embedded servers, by a name."""
    s3 = {f"S3 {identity.label}": state.s3_keys(identity).secret_key for identity in Identity}
    keys = {f"jwt{number}": key for number, key in enumerate(state.jwt_keys)}
    database = {f"PostgreSQL {role.kind}": state.password_of(role) for role in roles.ALL}
    database["PostgreSQL"] = state.database_password
    return {name: value.encode() for name, value in (database | s3 | keys).items()}


@pytest.mark.parametrize(
    "target",
    [
        ("--single-item", "snapshot"),
        pytest.param((), marks=pytest.mark.series),
    ],
    ids=["snapshot", "all"],
)
def test_what_the_demo_starts_has_only_the_secrets_that_it_needs(
    tmp_path: Path, services: Services, target: tuple[str, ...]
) -> None:
    made = new_project(tmp_path / "heimdall", services)
    own = {"HEIMDALL_RAW_BUCKET", "HEIMDALL_DVC_BUCKET", "HEIMDALL_MODELS_BUCKET", "HEIMDALL_MLFLOW_BUCKET"}
    env = {name: value for name, value in made.env.items() if name not in own.union(SERVICE_VARIABLES)}
    demo = replace(
        made, env=env | {"HEIMDALL_TRACKING": "on", embedded.PORT_BASE_VARIABLE: str(free_port_base())}
    )
    try:
        watched(demo, target)
    finally:
        demo.run("heimdall", "services", "down", "--delete")


@dataclass
class Connections:
    """Who connects to the embedded PostgreSQL, by its log.

    Attributes:
        path: The log.
        seen: Bytes of it that were read.
    """

    path: Path
    seen: int = 0

    def read(self) -> set[str]:
        """Names of the users that connected since the last call."""
        content = self.path.read_bytes()[self.seen :]
        self.seen += len(content)
        return set(re.findall(r"connection authorized: user=(\S+)", content.decode()))


def connections_to(root: Path) -> Connections:
    """Let the embedded server log its connections."""
    with closing(connection.connect(administrator(root))) as opened:
        opened.autocommit = True
        with opened.cursor() as cursor:
            cursor.execute("ALTER SYSTEM SET log_connections = on")
            cursor.execute("SELECT pg_reload_conf()")
    return Connections(embedded.home(root) / "postgresql" / "postgresql.log")


def the_sweeper_and_the_tracker_are_roles_of_their_own(
    demo: Project, state: embedded.State, log: Connections
) -> None:
    """A study of real trainings, and MLflow's store in this PostgreSQL."""
    demo.commit("Run the pipeline")
    demo.run(*SWEEP, HEIMDALL_TRACKING="off")
    assert log.read() == {roles.SWEEPER.name}
    said = demo.run("heimdall", "track", MLFLOW_TRACKING_URI=state.url_of(roles.TRACKER)).stdout
    assert "evaluation, plots and model are in run" in said
    assert log.read() == {roles.TRACKER.name}


def watched(demo: Project, target: tuple[str, ...]) -> None:
    """Run the demo and hold what this file promises."""
    root, home = demo.root, embedded.home(demo.root)
    said = demo.run("heimdall", "services", "up").stdout
    state = embedded.load(root)
    assert state is not None
    secrets = secrets_of(state)
    for seed, receiver in enumerate(("torino", "montanaro")):
        noise = np.random.default_rng(seed).normal(size=(16_000, 2)) @ [1, 1j]
        np.save(root / f"{receiver}.npy", noise.astype(np.complex64))
    watch, log = Watch(secrets, (home, root)), connections_to(root)
    with watch.watching():
        said += demo.run("heimdall", "services", "up").stdout
        log.read()
        for command, role in (
            (SEED, roles.OPERATOR),
            (("dvc", "repro", *target), roles.READER),
            (("dvc", "push"), None),
            (("heimdall", "database", "migrate"), roles.MIGRATOR),
            (("heimdall", "database", "check"), roles.READER),
            (INGEST, roles.OPERATOR),
        ):
            said += demo.run(*command).stdout
            assert log.read() == ({role.name} if role else set()), command
    seen = {
        label: {"jwt" if name.startswith("jwt") else name for name in names}
        for label, names in watch.environments.items()
        if label
    }
    assert seen == {label: NEEDED[label] for label in seen}
    assert {"weed", "postgres", "heimdall", "dvc", "snapshot"} <= seen.keys()
    if not target:
        assert {*STAGES, "sender"} <= seen.keys()
        the_sweeper_and_the_tracker_are_roles_of_their_own(demo, state, log)
    assert watch.environments.get("", set()) == set()
    assert watch.told == []
    assert found(secrets, said.encode()) == set()
    logs = [path for path in home.rglob("*") if path.suffix == ".log" or path.name == "log"]
    assert len(logs) >= 2
    files = [path for path in root.rglob("*") if path.is_file() and home not in path.parents]
    holding = {path for path in {*files, *logs} if path.is_file() and found(secrets, path.read_bytes())}
    assert {str(path.relative_to(root)) for path in holding if path.is_relative_to(root)} <= set(HOLD_SECRETS)
    assert {path.stat().st_mode & 0o777 for path in holding} == {0o600}
