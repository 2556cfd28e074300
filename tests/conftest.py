"""Real servers for the tests: PostgreSQL and S3, started once in a temporary folder by the real command."""

from __future__ import annotations

import dataclasses
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import pytest
from filelock import FileLock

from heimdall.core import variables
from heimdall.storage import connection as db
from heimdall.storage import migrate
from heimdall.storage.embedded import PORT_BASE_VARIABLE, Ports
from heimdall.storage.endpoints import (
    DVC_BUCKET,
    MODELS_BUCKET,
    RAW_BUCKET,
    Database,
    Endpoints,
    administrator,
    s3,
)
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from tests import REPOSITORY

# The built project, S3 servers, a browser: for all rooms.
pytest_plugins = ["tests.projects", "tests.s3_servers", "tests.browser"]

SERVICE_VARIABLES = (
    *(variable.name for variable in variables.DATABASE_URLS),
    "HEIMDALL_S3_ENDPOINT_URL",
    "HEIMDALL_PORT_BASE",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_PROFILE",
    "AWS_DEFAULT_PROFILE",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_CA_BUNDLE",
    "HEIMDALL_S3_WITHOUT_TLS",
)

FIRST = (
    "test_release",
    "test_solver",
    "test_ray_cluster",
    "test_specification",
    "test_first_hour",
    "test_verify",
    "test_review",
    "test_ranks",
    "test_sweep",
    "test_lineage",
    "test_pipeline",
    "test_stages",
    "test_evaluation",
    "test_snapshot",
    "test_memory",
    "test_fit_loop",
    "test_kills",
    "test_monitor",
    "test_secrets",
    "test_ingest",
    "test_bound",
    "test_combine",
    "test_lifecycle",
    "test_session_page",
    "test_location",
    "test_prediction",
    "test_kills_of_commands",
    "test_your_data",
    "test_baselines",
    "test_sending",
    "test_gateways",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--kills", type=int, default=1, metavar="N", help="kills of each stage in test_kills.py")


def pytest_configure() -> None:
    """Let Ctrl-C reach what the tests start: a shell's background job ignores it, and passes that on."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files begin first: `--dist loadfile` gives a worker of pytest-xdist all tests of a file.

    Two workers: while one builds the pipeline that the tests of commands share, for FIRST[0], the other has
    FIRST[1] and what follows, which do not need it.
    """
    items.sort(key=lambda item: place_of(item.path))


def place_of(path: Path) -> tuple[int, int]:
    """When the tests of a file begin: the longest ones first, then the other commands, then the rest."""
    commands = path.parent.name == "pipeline"
    return (FIRST.index(path.stem) if path.stem in FIRST else len(FIRST), 0 if commands else 1)


def free_port_base() -> int:
    """A base of which every port is free; no two workers of a run, of at most eight, have one in common."""
    worker = int(os.environ.get("PYTEST_XDIST_WORKER", "gw0").removeprefix("gw"))
    bases = range(8000 + 20 * worker, 22_000, 8 * 20)
    for step in range(len(bases)):
        base = bases[(os.getpid() + step) % len(bases)]
        ports = Ports(base)
        try:
            for port in (ports.postgresql, *ports.seaweedfs.values()):
                with socket.socket() as probe:
                    probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                    probe.bind(("127.0.0.1", port))
        except OSError:
            continue
        return base
    raise AssertionError("no free ports")


def clean_environment() -> dict[str, str]:
    """This process's environment without what names a service, is make's, or keeps Python from compiling."""
    left_out = (*SERVICE_VARIABLES, "PYTHONDONTWRITEBYTECODE", "MAKEFLAGS", "MAKELEVEL", "MFLAGS")
    return {name: value for name, value in os.environ.items() if name not in left_out}


def as_clone(folder: Path) -> Path:
    """A folder that commands take for a clone of the repository, with what it lacks of one: no stage."""
    (folder / "src" / "heimdall").mkdir(parents=True, exist_ok=True)
    if not (folder / "dvc.yaml").exists():
        (folder / "dvc.yaml").write_text("stages: {}\n", encoding="utf-8")
    if not (folder / "params.yaml").exists():
        shutil.copy(REPOSITORY / "params.yaml", folder)
    return folder


def heimdall(root: Path, *arguments: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run the real command in `root`, a clone as commands take it."""
    as_clone(root)
    return subprocess.run(
        [str(Path(sys.executable).parent / "heimdall"), *arguments],
        cwd=root,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def benchmark(name: str, *options: str, env: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Run a script of benchmarks/ whole, with servers of `env`; it must keep its promises."""
    done = subprocess.run(
        [sys.executable, f"benchmarks/{name}.py", *options],
        cwd=REPOSITORY,
        env=env,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done


@dataclass(frozen=True)
class Services:
    """The servers of a test session.

    Attributes:
        root: The folder that they belong to.
        endpoints: Where they are, with a database of their own, which is migrated.
        env: A whole environment in which any command uses these servers, as if configured by hand.
    """

    root: Path
    endpoints: Endpoints
    env: dict[str, str] = field(repr=False)

    def with_database(self, name: str) -> Services:
        """The same servers with another database."""
        url = urlunsplit(urlsplit(self.endpoints.database.url)._replace(path=f"/{name}"))
        endpoints = dataclasses.replace(self.endpoints, database=Database(url, embedded=False))
        return Services(self.root, endpoints, self.env | {"HEIMDALL_DATABASE_URL": url})


@dataclass(frozen=True)
class Buckets:
    """The three buckets, empty."""

    raw: ObjectStore
    dvc: ObjectStore
    models: ObjectStore


def start_services(root: Path) -> Services:
    """Start the embedded servers of a folder by the real command, on free ports."""
    with FileLock(Path(tempfile.gettempdir()) / "heimdall-tests-ports.lock"):  # from the look to the start
        stop_services(root)  # of a killed run, whose folder had the same name
        env = clean_environment() | {PORT_BASE_VARIABLE: str(free_port_base())}
        started = heimdall(root, "services", "up", env=env)
    if started.returncode != 0:
        stop_services(root)
        raise AssertionError(started.stderr)
    found = find_services(root)
    # Databases by the dozen, none of which must outlive a power cut.
    as_administrator(found, "ALTER SYSTEM SET fsync = off")
    as_administrator(found, "ALTER SYSTEM SET autovacuum = off")  # nobody commits but the tests
    as_administrator(found, "SELECT pg_reload_conf()")
    return found


def as_administrator(services: Services, statement: str) -> None:
    """Run a statement outside of a transaction, in the database of the servers themselves."""
    with closing(db.connect(services.endpoints.database)) as connection:
        connection.autocommit = True
        with connection.cursor() as cursor:
            cursor.execute(statement)


def find_services(root: Path) -> Services:
    """The servers that run for a folder."""
    with pytest.MonkeyPatch.context() as patch:
        for name in SERVICE_VARIABLES:
            patch.delenv(name, raising=False)
        # As who may do everything: databases are made and dropped.
        endpoints = Endpoints(administrator(root), s3(root, Identity.ADMIN))
    return Services(root, endpoints, clean_environment() | endpoints.as_environment())


def stop_services(root: Path) -> None:
    """Stop the servers of a folder and delete their data."""
    stopped = heimdall(root, "services", "down", "--delete", env=clean_environment())
    assert stopped.returncode == 0, stopped.stderr


@pytest.fixture(scope="session")
def services(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Services]:
    root = tmp_path_factory.mktemp("services")
    try:
        yield start_services(root)
    finally:
        stop_services(root)


@pytest.fixture(scope="session")
def migrated_database(services: Services) -> str:
    """The name of a migrated database, to copy."""
    name = f"migrated_{uuid.uuid4().hex}"
    made = services.with_database(name).endpoints.database
    db.create_if_missing(made)
    with closing(db.connect(made)) as connection:
        migrate.apply(connection)
    return name


@pytest.fixture
def database(services: Services, migrated_database: str) -> Iterator[Services]:
    """The servers with a fresh, migrated database for this test alone."""
    name = f"test_{uuid.uuid4().hex}"
    as_administrator(services, f"CREATE DATABASE {name} TEMPLATE {migrated_database}")
    yield services.with_database(name)
    as_administrator(services, f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture(scope="session")
def stores(services: Services) -> Buckets:
    """Clients of the three buckets, which take a while to make."""
    made = [ObjectStore(services.endpoints.s3, name) for name in (RAW_BUCKET, DVC_BUCKET, MODELS_BUCKET)]
    for store in made:
        store.ensure_bucket()
    return Buckets(*made)


@pytest.fixture
def buckets(stores: Buckets) -> Buckets:
    """The buckets with their usual names, emptied."""
    with ThreadPoolExecutor(8) as pool:
        for store in (stores.raw, stores.dvc, stores.models):
            list(pool.map(store.delete, store.head_all("")))
    return stores
