"""Start, stop and status of the embedded servers of a repository. Configured servers are left alone."""

from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path

from heimdall.core import locks, variables
from heimdall.core.errors import HeimdallError
from heimdall.services import database_roles, dvc_remote, ports, postgres, process, seaweedfs
from heimdall.storage import connection, embedded, endpoints
from heimdall.storage.endpoints import Database
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import S3Access

S3_READY_TIMEOUT_S = 60.0
PROBE_KEY = "heimdall-probe"
BUCKETS = (endpoints.RAW_BUCKET, endpoints.DVC_BUCKET, endpoints.MODELS_BUCKET)
Say = Callable[[str], object]


@dataclass(frozen=True)
class Status:
    """One service as a user sees it.

    Attributes:
        service: "PostgreSQL" or "S3".
        ready: Whether it answers with the credentials in use.
        address: Without secrets.
        detail: Embedded or configured, and what is wrong where it is not ready.
    """

    service: str
    ready: bool
    address: str
    detail: str


def up(root: Path, say: Say) -> None:
    """Start what is not configured, then make database, tables, buckets and the DVC remote's local settings.

    Args:
        root: The repository.
        say: Is told each step in a line.

    Raises:
        HeimdallError: No ports are free, a server does not start, or a configured one cannot be reached.
    """
    # What is configured comes first: one that refuses leaves nothing half done that another `up` would find.
    if endpoints.database_configured():
        connection.connect(endpoints.database(root)).close()
    if endpoints.s3_configured():
        ObjectStore(endpoints.s3(root), endpoints.RAW_BUCKET).ping()
    embeds = not (endpoints.database_configured() and endpoints.s3_configured())
    with _in_turn(root) if embeds else nullcontext():  # no `down --delete` in between
        if embeds:
            _start(root, say)
        _fill(root, say)


def _fill(root: Path, say: Say) -> None:
    """Make database, tables and buckets on servers that run, and tell DVC of its remote."""
    where = endpoints.resolve(root, identity=Identity.ADMIN)
    for name, ours, variable, address in (
        ("PostgreSQL", where.database.embedded, where.database.variable, where.database.name),
        ("S3", where.s3.embedded, endpoints.S3_VARIABLE, where.s3.endpoint_url),
    ):
        if not ours:
            say(f"{name}: using {address} ({variable}); nothing started")
    if where.database.embedded:
        settings = embedded.load(root)
        assert settings is not None  # noqa: S101 - `_start` saved it, and it is our turn
        for done in database_roles.make(settings):
            say(f"PostgreSQL: {done}")
    else:
        say("PostgreSQL: nothing changed there; `heimdall database migrate` makes Heimdall's own tables")
    # MLflow's own only where it is ours: a foreign server may have none of it.
    for bucket in (*BUCKETS, variables.MLFLOW_BUCKET.read()) if where.s3.embedded else BUCKETS:
        ObjectStore(where.s3, bucket).ensure_bucket()
    if where.s3.embedded:
        _wait_for_data(root, where.s3)
    dvc_remote.write(root, endpoints.s3(root, Identity.REMOTE))


def down(root: Path, delete: bool, say: Say) -> None:
    """Stop the embedded servers.

    Args:
        root: The repository.
        delete: Whether to delete their data, programs and credentials, too.
        say: Is told each step in a line.

    Raises:
        HeimdallError: A server does not stop.
    """
    home, folder = embedded.home(root), embedded.folder(root)
    if not home.exists() and not folder.exists():
        say("no embedded servers here; configured ones are left alone")
        return
    with _in_turn(root):
        if seaweedfs.is_running(home):
            seaweedfs.stop(home, discard=delete)
            say("S3: stopped")
        if postgres.is_running(home):
            postgres.stop(home, discard=delete)
            say("PostgreSQL: stopped")
        if delete:
            for path in dict.fromkeys((home, folder)):
                if path.exists():
                    say(f"deleting the embedded servers' data and credentials: {path}")
                    shutil.rmtree(path)
            dvc_remote.forget(root)
        else:
            say(f"nothing runs; the data stay in {home}")


def status(root: Path) -> list[Status]:
    """Both services, contacted now.

    Args:
        root: The repository.

    Raises:
        HeimdallError: They are neither configured nor were they ever started.
    """
    return [_database_status(endpoints.database(root)), _s3_status(endpoints.s3(root))]


def _start(root: Path, say: Say) -> None:
    """Start the embedded servers that are needed and do not run."""
    home = embedded.home(root)
    database_runs, s3_runs = postgres.is_running(home), seaweedfs.is_running(home)
    known = _known(root, home, database_runs or s3_runs)
    bases = _bases(known, database_runs or s3_runs)
    if not database_runs and known is not None and postgres.runs_unseen(home, known):
        raise HeimdallError(
            str(postgres.data(home)),
            "a PostgreSQL server works in it that this process does not see",
            "Run `heimdall services down` where it was started, such as in another container",
        )
    old = s3_runs and known is not None and not seaweedfs.knows_identities(home, known)
    if old and not endpoints.s3_configured():
        say("S3: started anew, because who may do what there has changed")
        seaweedfs.stop(home, discard=False)
        s3_runs = False
    start_database = not endpoints.database_configured() and not database_runs
    start_s3 = not endpoints.s3_configured() and not s3_runs
    # All ports before anything is written or started: one that is taken leaves everything as it was.
    with ports.first_free(bases, database=start_database, s3=start_s3) as base:
        if base != bases[0]:
            say(
                f"ports: {embedded.Ports(bases[0])} are in use by others, so this clone has "
                f"{embedded.Ports(base)} from now on ({embedded.path(root)})"
            )
        settings = dataclasses.replace(known or embedded.create(root), port_base=base)
        embedded.save(root, settings)
        home.mkdir(parents=True, exist_ok=True)
        if home != embedded.folder(root):
            # Others may pass through to the folders inside, which are private, but not look around.
            embedded.SHARED.chmod(0o711)
            home.chmod(0o711)
        if start_s3:
            seaweedfs.start(home, settings)
        if start_database:
            postgres.start(home, settings)
        if start_s3:
            _wait_for_s3(root, home, settings)
    if not endpoints.database_configured():
        state = "started" if start_database else "already running"
        say(f"PostgreSQL: {state} at {endpoints.database(root).name}")
    if not endpoints.s3_configured():
        say(f"S3: {'started' if start_s3 else 'already running'} at {endpoints.s3(root).endpoint_url}")


def _wait_for_s3(root: Path, home: Path, settings: embedded.State) -> None:
    """Wait until the embedded S3 server answers."""
    where = endpoints.s3(root)

    def answers() -> bool:
        # The client's own retries would make this wait seconds too long.
        return process.listens(settings.ports.s3) and _s3_status(where).ready

    if not process.wait_until(answers, S3_READY_TIMEOUT_S):
        log = seaweedfs.log_file(home)
        remedy = f"See {log}; `heimdall doctor` looks at disk, memory, rights and ports"
        raise HeimdallError("S3", f"it did not start ({process.last_lines(log)})", remedy)


def _wait_for_data(root: Path, where: S3Access) -> None:
    """After a restart SeaweedFS lists objects some moments before it finds their content."""
    store = ObjectStore(where, endpoints.RAW_BUCKET)

    def kept() -> bool:
        try:
            store.put(PROBE_KEY, b"probe")
            return store.get(PROBE_KEY, 5) == b"probe"
        except HeimdallError:
            return False

    if not process.wait_until(kept, S3_READY_TIMEOUT_S):
        log = seaweedfs.log_file(embedded.home(root))
        remedy = f"See {log}; often the disk is full (`df -h`)"
        raise HeimdallError("S3", f"it keeps no objects ({process.last_lines(log)})", remedy)
    store.delete(PROBE_KEY)


def _known(root: Path, home: Path, running: bool) -> embedded.State | None:
    """Ports and credentials of the servers that were started here before; None where none ever were."""
    known = embedded.load(root)
    if known is None and (running or postgres.data(home).exists()):
        raise HeimdallError(
            str(home),
            f"it holds data whose credentials ({embedded.path(root)}) are gone",
            "Run `heimdall services down --delete` to delete them and start with empty servers",
        )
    return known


def _bases(known: embedded.State | None, running: bool) -> list[int]:
    """Where the servers may be, the preferred base first."""
    asked = embedded.requested_port_base()
    if known is None:
        return [asked] if asked else list(embedded.PORT_BASES)
    if running and asked not in (None, known.port_base):
        raise HeimdallError(
            f"{embedded.PORT_BASE_VARIABLE}={asked}",
            f"the servers run with {known.port_base}",
            "Run `heimdall services down` first",
        )
    if asked or running:
        return [asked or known.port_base]
    return list(dict.fromkeys((known.port_base, *embedded.PORT_BASES)))


def _database_status(where: Database) -> Status:
    detail = "embedded" if where.embedded else f"configured by {where.variable}"
    try:
        connection.connect(where).close()
    except HeimdallError as error:
        return Status("PostgreSQL", False, where.name, f"{detail}: {error.cause}. {error.remedy}")
    return Status("PostgreSQL", True, where.name, detail)


def _s3_status(where: S3Access) -> Status:
    detail = "embedded" if where.embedded else f"configured by {endpoints.S3_VARIABLE}"
    try:
        ObjectStore(where, endpoints.RAW_BUCKET).ping()
    except HeimdallError as error:
        return Status("S3", False, where.endpoint_url, f"{detail}: {error.cause}. {error.remedy}")
    return Status("S3", True, where.endpoint_url, detail)


def _in_turn(root: Path) -> AbstractContextManager[None]:
    """One `up` or `down` at a time."""
    # Beside the folder, which `down --delete` removes.
    return locks.in_turn(embedded.folder(root).with_suffix(".lock"), 0o600)
