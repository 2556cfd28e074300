"""The embedded servers through the real command: start, kill, stop, ports, permissions, configured ones."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import optuna
import pytest
from dvc.config import Config

from heimdall.core.errors import HeimdallError
from heimdall.services import ports, postgres, process, seaweedfs
from heimdall.storage import connection as db
from heimdall.storage import embedded, roles, tables
from heimdall.storage.endpoints import Database, Endpoints, administrator, resolve
from heimdall.storage.identities import Identity
from heimdall.storage.objectstore import ObjectStore
from heimdall.storage.s3_access import Keys
from heimdall.sweep import study
from tests import REPOSITORY
from tests.conftest import (
    DVC_BUCKET,
    RAW_BUCKET,
    Services,
    as_clone,
    clean_environment,
    free_port_base,
    heimdall,
)
from tests.processes import listeners, live
from tests.services.local_settings import REMOTE, remote

OTHER_BUCKET = {"HEIMDALL_RAW_BUCKET": "radio-raw"}


@dataclass(frozen=True)
class World:
    """A repository of its own, whose path holds a space and is too long for a socket."""

    root: Path
    env: dict[str, str]

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        return heimdall(self.root, "services", *arguments, env=self.env)

    def endpoints(self) -> Endpoints:
        return resolve(self.root, identity=Identity.ADMIN)

    def server_pids(self) -> list[int]:
        home = embedded.home(self.root)
        lock = postgres.data(home) / "postmaster.pid"
        return [int(lock.read_text().split()[0]), *process.working_in(home / seaweedfs.FOLDER, "weed")]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    for name in ("HEIMDALL_DATABASE_URL", "HEIMDALL_S3_ENDPOINT_URL", embedded.PORT_BASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    root = tmp_path / ("a repository, " + "long " * 20).strip()
    (root / ".dvc").mkdir(parents=True)
    made = World(root, clean_environment() | {embedded.PORT_BASE_VARIABLE: str(free_port_base())})
    link = embedded.home(root)
    yield made
    made.run("down", "--delete")
    if link.is_symlink():
        link.unlink()


def test_the_life_of_the_servers(world: World) -> None:
    link = embedded.home(world.root)  # their data lie on another disk
    disk = link.with_name(f"{link.name}-disk")
    disk.mkdir(parents=True)
    link.symlink_to(disk)
    store = started_with_something_to_keep(world)
    started_again_they_are_as_before(world)
    killed_they_come_back_with_their_data(world, store)
    stopped_they_leave_their_data_and_nothing_else(world)
    without_their_credentials_nothing_is_overwritten(world)
    deleted_they_are_gone(world)


def started_with_something_to_keep(world: World) -> ObjectStore:
    first = world.run("up")
    assert first.returncode == 0, first.stderr
    assert "PostgreSQL: started" in first.stdout
    assert "S3: started" in first.stdout
    assert "applied 001_measurements.sql" in first.stdout
    where = world.endpoints()
    store = ObjectStore(where.s3, RAW_BUCKET)
    store.put("kept", b"object")
    with closing(db.connect(resolve(world.root, roles.OPERATOR).database)) as connection:
        tables.insert(connection, [tables.Receiver(1, "kept", 45.0, 8.0, 100.0)], [], [])
    assert_private(world, first.stdout + first.stderr)
    return store


def started_again_they_are_as_before(world: World) -> None:
    as_versions_without_roles_left_it(world)
    again = with_another_bucket(world)
    with closing(db.connect(resolve(world.root, roles.READER).database)) as connection:
        assert [receiver.name for receiver in tables.read_receivers(connection)] == ["kept"]
    storage = study._storage(resolve(world.root, roles.SWEEPER).database, None)
    optuna.create_study(study_name="second", storage=storage)
    assert optuna.get_all_study_names(storage) == ["first", "second"]
    assert "applied" not in again.stdout
    status = heimdall(world.root, "services", "status", env=world.env | OTHER_BUCKET)
    assert (status.returncode, status.stdout.count(" ready ")) == (0, 2)


def with_another_bucket(world: World) -> subprocess.CompletedProcess[str]:
    """Neither the S3 server of an older version nor one that was told of other buckets stays as it is."""
    folder = embedded.home(world.root) / seaweedfs.FOLDER
    of_today = json.loads((folder / seaweedfs.IDENTITIES).read_text())["identities"]
    only_admin = [entry for entry in of_today if entry["name"] == Identity.ADMIN.label]
    embedded.write_secret(folder / seaweedfs.IDENTITIES, json.dumps({"identities": only_admin}))
    writer = ObjectStore(resolve(world.root, identity=Identity.WRITER).s3, "radio-raw")
    stranger = dataclasses.replace(resolve(world.root).s3, keys=Keys("of another version", "secret"))
    for refused in (writer, ObjectStore(stranger, RAW_BUCKET)):
        with pytest.raises(HeimdallError, match="access denied") as denied:
            refused.put("kept", b"object")
        assert "Run `heimdall services up`" in denied.value.remedy
    again = heimdall(world.root, "services", "up", env=world.env | OTHER_BUCKET)
    assert (again.returncode, again.stdout.count("already running")) == (0, 1), again.stderr
    assert "S3: started anew, because who may do what there has changed" in again.stdout
    writer.put("kept", b"object")
    return again


def as_versions_without_roles_left_it(world: World) -> None:
    """All belongs to the user who may do everything, and there is a study."""
    settings = embedded.load(world.root)
    assert settings is not None
    everybody = Database(settings.database_url, embedded=True)
    with closing(db.connect(everybody)) as connection, db.transaction(connection) as cursor:
        for role in roles.ALL:
            if role is not roles.MIGRATOR:
                cursor.execute(f"DROP OWNED BY {role.name}; DROP ROLE {role.name}")
        cursor.execute(f"REASSIGN OWNED BY {roles.MIGRATOR.name} TO heimdall")
        cursor.execute(f"DROP OWNED BY {roles.MIGRATOR.name}; DROP ROLE {roles.MIGRATOR.name}")
    optuna.create_study(study_name="first", storage=study._storage(everybody, None))
    with pytest.raises(HeimdallError, match="password authentication failed") as unknown:
        db.connect(resolve(world.root).database)
    assert "Run `heimdall services up`" in unknown.value.remedy


def killed_they_come_back_with_their_data(world: World, store: ObjectStore) -> None:
    home = embedded.home(world.root)
    assert postgres.runs_unseen(home, dataclasses.replace(embedded.create(world.root), port_base=1)) is False
    settings = embedded.load(world.root)
    assert settings is not None
    assert postgres.runs_unseen(home, settings)
    theirs = with_names_of_ours(world)
    for pid in world.server_pids():
        os.kill(pid, signal.SIGKILL)
    assert process.wait_until(lambda: not seaweedfs.is_running(home) and not postgres.is_running(home), 10)
    dead = world.run("status")
    assert (dead.returncode, dead.stdout.count("not ready")) == (1, 2)
    back = world.run("up")
    assert back.returncode == 0, back.stderr
    assert back.stdout.count("started") == 2
    assert owners(world) == theirs
    assert store.get("kept", 100) == b"object"
    with closing(db.connect(world.endpoints().database)) as connection:
        assert [receiver.name for receiver in tables.read_receivers(connection)] == ["kept"]
    moved = heimdall(
        world.root, "services", "up", env=world.env | {embedded.PORT_BASE_VARIABLE: str(free_port_base())}
    )
    assert moved.returncode == 1
    assert "Run `heimdall services down` first" in moved.stderr


def with_names_of_ours(world: World) -> set[tuple[str, str]]:
    """Others have tables and a schema with our names; returns all owners."""
    with (
        closing(db.connect(administrator(world.root))) as connection,
        db.transaction(connection) as cursor,
    ):
        cursor.execute(
            "CREATE ROLE team; CREATE TABLE public.measurements (id bigint PRIMARY KEY, approved boolean); "
            "CREATE TABLE public.heimdall_migrations (name text); CREATE TABLE public.sources (a int); "
            "ALTER TABLE public.sources OWNER TO team; DROP SCHEMA optuna CASCADE; CREATE SCHEMA optuna; "
            "CREATE TABLE optuna.trials (id int); CREATE TABLE optuna.studies (id int); "
            "ALTER TABLE optuna.trials OWNER TO team"
        )
    return owners(world)


def owners(world: World) -> set[tuple[str, str]]:
    """Tables, and schemas, with their owners."""
    with (
        closing(db.connect(administrator(world.root))) as connection,
        db.transaction(connection) as cursor,
    ):
        cursor.execute(
            "SELECT oid::regclass::text, pg_get_userbyid(relowner)::text FROM pg_class WHERE relkind = 'r' "
            "UNION ALL SELECT nspname, pg_get_userbyid(nspowner) FROM pg_namespace"
        )
        return set(cursor.fetchall())


def stopped_they_leave_their_data_and_nothing_else(world: World) -> None:
    home = embedded.home(world.root)
    assert sockets(world) != []
    assert world.run("down").returncode == 0
    assert sockets(world) == []
    assert not seaweedfs.is_running(home)
    assert not postgres.is_running(home)
    assert world.run("down").returncode == 0
    assert postgres.data(home).is_dir()


def without_their_credentials_nothing_is_overwritten(world: World) -> None:
    embedded.path(world.root).write_text('{"root"')
    damaged = world.run("up")
    assert (damaged.returncode, "Run `heimdall services down --delete`" in damaged.stderr) == (1, True)
    embedded.path(world.root).unlink()
    lost = world.run("up")
    assert lost.returncode == 1
    assert "credentials" in lost.stderr
    assert "down --delete" in lost.stderr


def deleted_they_are_gone(world: World) -> None:
    home = embedded.home(world.root)
    gone = world.run("down", "--delete")
    assert gone.returncode == 0, gone.stderr
    assert f"deleting the embedded servers' data and credentials: {home}" in gone.stdout
    assert not home.exists()
    assert remote(world.root) == {}
    assert world.run("down").stdout.startswith("no embedded servers here")


def sockets(world: World) -> list[Path]:
    """What the servers of these ports have in the system's temporary folder."""
    ports = embedded.Ports(int(world.env[embedded.PORT_BASE_VARIABLE])).seaweedfs.values()
    return [path for port in ports for path in seaweedfs.SOCKETS.glob(f"seaweedfs-*-{port}.sock")]


def assert_private(world: World, shown: str) -> None:
    """Nothing secret in what is shown, and nothing reachable by others."""
    where = world.endpoints()
    pids = world.server_pids()
    shown += " ".join(word for pid in pids for word in process.arguments(pid))
    for secret in (*dataclasses.astuple(where.s3.keys)[:2], where.database.url.split(":")[2].split("@")[0]):
        assert secret not in shown
    home = embedded.home(world.root)
    for folder in (home / postgres.FOLDER, home / seaweedfs.FOLDER, embedded.folder(world.root)):
        assert folder.stat().st_mode & 0o777 == 0o700
    # `weed` sets the mode of .vif files, which only describe a volume, itself.
    files = [path for path in (home / seaweedfs.FOLDER).rglob("*") if path.suffix != ".vif"]
    assert any(path.suffix == ".dat" for path in files)
    assert [path for path in files if path.lstat().st_mode & 0o077] == []
    assert (world.root / ".dvc" / "config.local").stat().st_mode & 0o777 == 0o600
    assert listeners(live(pids)) == {"127.0.0.1"}


@pytest.mark.parametrize("offset", [0, 1, 10009])
def test_a_port_that_is_taken_is_named_and_nothing_is_left(world: World, offset: int) -> None:
    port = int(world.env[embedded.PORT_BASE_VARIABLE]) + offset
    with socket.create_server(("127.0.0.1", port)):
        failed = world.run("up")
    assert failed.returncode == 1
    assert f"127.0.0.1:{port}: the port for " in failed.stderr
    assert "Unset HEIMDALL_PORT_BASE" in failed.stderr
    assert not embedded.path(world.root).exists()
    assert not embedded.home(world.root).exists()


@dataclass(frozen=True)
class Clone(World):
    """A repository with DVC's committed settings, whose environment asks for no port."""

    def start(self) -> subprocess.Popen[str]:
        command = [str(Path(sys.executable).parent / "heimdall"), "services", "up"]
        return subprocess.Popen(command, cwd=self.root, env=self.env, stdout=subprocess.PIPE, text=True)

    def base(self) -> int:
        state = embedded.load(self.root)
        assert state is not None
        return state.port_base

    def remote_endpoint(self) -> str:
        """As DVC reads it: the committed settings, and the local ones above them."""
        found: str = Config(str(self.root / ".dvc"))["remote"]["s3"]["endpointurl"]
        return found


@pytest.fixture
def clones(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Clone, Clone]]:
    for name in ("HEIMDALL_DATABASE_URL", "HEIMDALL_S3_ENDPOINT_URL", embedded.PORT_BASE_VARIABLE):
        monkeypatch.delenv(name, raising=False)
    made = Clone(tmp_path / "one", clean_environment()), Clone(tmp_path / "the other", clean_environment())
    for clone in made:
        (clone.root / ".dvc" / "tmp").mkdir(parents=True)
        (clone.root / ".dvc" / "config").write_text((REPOSITORY / ".dvc" / "config").read_text())
        subprocess.run(["git", "init", "-q"], cwd=as_clone(clone.root), check=True)
    yield made
    for clone in made:
        clone.run("down", "--delete")


def test_two_clones_started_at_once_without_any_variable_both_come_up(clones: tuple[Clone, Clone]) -> None:
    starts = [clone.start() for clone in clones]
    assert [start.wait(120) for start in starts] == [0, 0]
    bases = [clone.base() for clone in clones]
    assert len(set(bases)) == 2
    assert set(bases) <= set(embedded.PORT_BASES)
    for clone in clones:
        status = clone.run("status", "--json")
        assert [service["ready"] for service in json.loads(status.stdout)] == [True, True]
        assert clone.remote_endpoint() == f"http://127.0.0.1:{clone.base()}"
    it_keeps_its_ports_and_where_others_took_them_its_data(clones[0])


def it_keeps_its_ports_and_where_others_took_them_its_data(clone: Clone) -> None:
    base = clone.base()
    ObjectStore(clone.endpoints().s3, RAW_BUCKET).put("kept", b"object")
    for command in ("down", "up", "down"):
        assert "from now on" not in clone.run(command).stdout
    assert clone.base() == base
    with socket.create_server(("127.0.0.1", base + 4)):
        moved = clone.run("up")
        assert moved.returncode == 0, moved.stderr
        assert f"ports: {base} to {base + 9} and {base + 10009} are in use by others" in moved.stdout
        assert clone.base() != base
        assert clone.remote_endpoint() == f"http://127.0.0.1:{clone.base()}"
        assert ObjectStore(clone.endpoints().s3, RAW_BUCKET).get("kept", 10) == b"object"
    again = clone.run("up")
    assert (again.returncode, again.stdout.count("already running")) == (0, 2)


def all_free(of: embedded.Ports) -> bool:
    return all(embedded.is_free(port) for port in (of.postgresql, *of.seaweedfs.values()))


def test_a_base_at_which_another_clone_is_starting_is_left_to_it(clones: tuple[Clone, Clone]) -> None:
    free = free_port_base()
    other = next(base for base in range(free + 20, free + 1000, 20) if all_free(embedded.Ports(base)))
    bases = [free, other]  # other tests have servers, too
    env = clones[0].env | {embedded.PORT_BASE_VARIABLE: str(free)}
    with (
        ports.first_free(bases, database=True, s3=True) as first,
        ports.first_free(bases, database=True, s3=True) as second,
    ):
        assert [first, second] == bases
        forced = heimdall(clones[0].root, "services", "up", env=env)
    assert forced.returncode == 1
    assert f"{free}: another clone is starting" in forced.stderr
    with ports.first_free([free], database=True, s3=True) as again:
        assert again == free


def test_configured_servers_are_used(database: Services, tmp_path: Path) -> None:
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config.local").write_text(
        f"[core]\n    jobs = 3\n"
        f"[{REMOTE}]\n    access_key_id = old\n    secret_access_key = old\n    jobs = 4\n"
    )
    done = heimdall(tmp_path, "services", "up", env=database.env)
    assert done.returncode == 0, done.stderr
    assert f"using {database.endpoints.database.name} (HEIMDALL_DATABASE_URL); nothing started" in done.stdout
    assert f"using {database.endpoints.s3.endpoint_url} (HEIMDALL_S3_ENDPOINT_URL)" in done.stdout
    assert database.env["AWS_SECRET_ACCESS_KEY"] not in done.stdout
    assert not embedded.folder(tmp_path).exists()
    assert not embedded.home(tmp_path).exists()
    # The remote's stale credentials are gone, so that DVC uses the environment's; other settings stay.
    assert remote(tmp_path) == {
        "url": f"s3://{DVC_BUCKET}",
        "endpointurl": database.endpoints.s3.endpoint_url,
        "jobs": "4",
    }
    assert "jobs = 3" in (tmp_path / ".dvc" / "config.local").read_text()
    status = heimdall(tmp_path, "services", "status", env=database.env)
    assert (status.returncode, status.stdout.count("configured by")) == (0, 2)
    assert heimdall(tmp_path, "services", "down", env=database.env).returncode == 0
    assert heimdall(tmp_path, "services", "status", env=database.env).returncode == 0


def test_configured_servers_that_fail_are_named(services: Services, tmp_path: Path) -> None:
    wrong = services.env | {"AWS_SECRET_ACCESS_KEY": "s3cret"}
    denied = heimdall(tmp_path, "services", "up", env=wrong)
    assert denied.returncode == 1
    assert "access denied" in denied.stderr
    assert services.endpoints.s3.endpoint_url in denied.stderr
    nowhere = services.env | {"HEIMDALL_DATABASE_URL_READER": "postgresql://user:s3cret@127.0.0.1:1/radio"}
    status = heimdall(tmp_path, "services", "status", env=nowhere)
    assert status.returncode == 1
    assert "configured by HEIMDALL_DATABASE_URL_READER: Connection refused" in status.stdout
    assert "correct host and port in HEIMDALL_DATABASE_URL_READER" in status.stdout
    del nowhere["HEIMDALL_S3_ENDPOINT_URL"]
    unreachable = heimdall(tmp_path, "services", "up", env=nowhere)
    assert unreachable.returncode == 1
    assert "127.0.0.1:1/radio: Connection refused" in unreachable.stderr
    assert not embedded.home(tmp_path).exists(), "S3 was started, though the same command cannot go on"
    assert "s3cret" not in denied.stderr + unreachable.stderr + status.stdout + status.stderr
