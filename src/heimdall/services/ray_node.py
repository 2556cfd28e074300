"""This machine as a node of a Ray cluster: what `ray start` does, with a token, on loopback unless asked.

All files of the node are in one folder of this user, by which its processes are known when it is stopped.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import socket
import subprocess
import sysconfig
import tempfile
from pathlib import Path

import psutil

from heimdall.core import child, ray_address, variables
from heimdall.core.errors import HeimdallError
from heimdall.services import process
from heimdall.storage import embedded

STOP_TIMEOUT_S = 5.0
STARTED_S = 120.0
_OF_RAY = "site-packages/ray/"  # in the command line of each of its processes


def folder() -> Path:
    """Where the node of this user keeps its sockets and logs; the sockets need a short name."""
    return Path(tempfile.gettempdir()) / f"heimdall-ray-{os.geteuid()}"


def start(host: str, port: int, cpus: int | None) -> Path:
    """Start a cluster whose first node, the head, is this machine.

    Args:
        host: Address by which other machines reach this one.
        port: Of the head.
        cpus: How many the cluster may use here; None for all that this process may use.

    Returns:
        The file with the token, which is made if there is none.

    Raises:
        HeimdallError: Ray is not installed, a node runs here, others may read the token, there are fewer
            CPUs, `ray start` fails.
    """
    _refuse_second()
    _refuse_more(cpus)
    _refuse_foreign(host, port)
    file = ray_address.token_file()
    if not file.exists():
        if not file.parent.exists():
            embedded.make_private(file.parent)
        embedded.write_secret(file, secrets.token_hex(32))
    options = ("--head", f"--node-ip-address={host}", f"--port={port}", "--include-dashboard=false")
    _start(f"{host}:{port}", file, cpus, *options)
    return file


def join(address: str, file: Path, cpus: int | None) -> None:
    """Make this machine a node of a cluster that another machine has started.

    Args:
        address: Host and port of its head.
        file: Has its token.
        cpus: How many the cluster may use here; None for all that this process may use.

    Raises:
        HeimdallError: As of `start`, or there is no such cluster, or it has another token.
    """
    _refuse_second()
    _refuse_more(cpus)
    _checked(file)
    host, port = ray_address.split(address)
    if host.startswith("127.") or host == "localhost":
        cause = "a cluster at this address is of one machine, its own"
        raise HeimdallError(address, cause, "Start it with `heimdall cluster start --listen` and an address")
    if silence := ray_address.silence(host, port):
        remedy = "Give host and port as `heimdall cluster start` printed them on the first machine"
        raise HeimdallError(address, silence, remedy)
    _start(address, file, cpus, f"--address={address}")


def stop() -> bool:
    """Stop the node of this user on this machine, and remove its folder; whether one was there."""
    found = _processes()
    for one in found:
        one.terminate()
    _, alive = psutil.wait_procs(found, STOP_TIMEOUT_S)
    for one in alive:
        one.kill()
    shutil.rmtree(folder(), ignore_errors=True)
    return bool(found)


def _processes() -> list[psutil.Process]:
    """Live processes of the node, by the folder in their command lines."""
    mine = f"{folder()}/"
    return [
        found
        for found in psutil.process_iter(["cmdline", "uids"])
        if found.info["uids"]
        and found.info["uids"].effective == os.geteuid()
        and any(mine in word for word in found.info["cmdline"] or ())
        and any(_OF_RAY in word for word in found.info["cmdline"])
    ]


def _refuse_second() -> None:
    """Refuse a node beside that of this user.

    Raises:
        HeimdallError: One runs here.
    """
    if _processes():
        raise HeimdallError("Ray", "a node runs on this machine", "Type `heimdall cluster stop` before")


def _refuse_more(cpus: int | None) -> None:
    """Refuse to offer CPUs that are not there: so many pieces at a time would take each other's memory.

    Raises:
        HeimdallError: There are fewer.
    """
    there = len(os.sched_getaffinity(0))
    if cpus is not None and cpus > there:
        cause = f"this machine has {there} CPUs"
        raise HeimdallError(f"--cpus {cpus}", cause, f"Give at most {there}, or leave it out for all")


def _usable() -> int:
    """How many CPUs this process may use; Ray looks at a container's limit, but not at the affinity."""
    from ray._private import utils  # noqa: PLC0415 - some machines lack Ray

    there = len(os.sched_getaffinity(0))
    return max(1, min(there, int(utils._get_docker_cpus() or there)))


def _refuse_foreign(host: str, port: int) -> None:
    """Refuse to listen where this machine cannot, or for everybody.

    Raises:
        HeimdallError: The address is not one of this machine's, or is that of all its networks, or in use.
    """
    remedy = "Name an address of this machine in a private network, such as --listen 10.0.0.1"
    if host in ("", "0.0.0.0", "::") or host.isdecimal():  # noqa: S104 - refused
        raise HeimdallError(f"--listen {host}", "it is no address of one network", remedy)
    try:
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind((host, port))
    except (OSError, OverflowError, UnicodeError) as error:
        raise HeimdallError(f"--listen {host}:{port}", str(error), f"{remedy}, or another port") from None


def _start(address: str, file: Path, cpus: int | None, *options: str) -> None:
    program = _checked(file)
    embedded.make_private(folder())  # Ray lets everybody into its own
    command = [str(program), "start", *options, f"--temp-dir={folder() / 'ray'}", "--disable-usage-stats"]
    command += ["--min-worker-port=0", "--max-worker-port=0"]  # any: else 10002 to 19999 cannot be the node's
    # Workers are `python`: the one of this installation. None inherits anything secret of who types this.
    environment = child.bare_environment() | variables.ray_settings(address)
    environment[variables.RAY_AUTH_TOKEN_PATH.name] = str(file.absolute())
    environment["PATH"] = os.pathsep.join([str(program.parent), environment.get("PATH", os.defpath)])
    log = folder() / "start.log"
    command += [f"--num-cpus={_usable() if cpus is None else cpus}"]
    with log.open("wb") as stream, contextlib.suppress(subprocess.SubprocessError):
        subprocess.run(
            command,
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=stream,
            check=True,
            timeout=STARTED_S,
        )
        return
    said = process.last_lines(log, 6)
    stop()
    remedy = "Check the address, the port and the token, and that both machines have the same Python and Ray"
    raise HeimdallError("ray start", said, remedy)


def _checked(file: Path) -> Path:
    """The program of Ray, where a node may be started with the token in a file."""
    program = Path(sysconfig.get_path("scripts")) / "ray"
    if not program.is_file():
        raise HeimdallError("ray", "it is not installed", "Run `make cluster`")
    ray_address.require_token(file)
    return program
