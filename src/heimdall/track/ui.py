"""MLflow's server on the store, which shows the runs, on this machine's loopback interface alone."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import ProxyHandler, build_opener

from heimdall.core import child, variables
from heimdall.core.errors import HeimdallError
from heimdall.services import process
from heimdall.storage import embedded
from heimdall.track import mlflow_store, view
from heimdall.track.mlflow_store import Store, require_answer, resolve, without_secrets

READY_TIMEOUT_S = 120.0


STOP_TIMEOUT_S = 10.0


def serve(root: Path, port: int, ready: Callable[[str, str], object]) -> None:
    """Run MLflow's server on the store until Ctrl-C, on this machine's loopback interface alone.

    Args:
        root: The repository.
        port: Of 127.0.0.1.
        ready: Called when the server answers, with the address of the page to open and the store's name.

    Raises:
        HeimdallError: The port is taken, the store is a server itself or does not answer, or the server ends.
    """
    store = resolve(root)
    if store.is_server:
        raise HeimdallError(
            store.name, "this store is an MLflow server itself", f"Open {store.name} in a browser"
        )
    if process.listens(port):
        cause = "the port is taken by another program"
        raise HeimdallError(f"127.0.0.1:{port}", cause, f"Choose another: heimdall ui --port {port + 1}")
    require_answer(store)
    hosts = "127.0.0.1:*,localhost:*"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port)]
    command += ["--workers", "1", "--allowed-hosts", hosts, "--no-serve-artifacts"]
    command += ["--default-artifact-root", str(store.artifacts)]
    environment = server_environment(store)
    log = store.folder / "mlflow-ui.log"
    embedded.write_secret(log, "")
    with _terminable(), log.open("a", encoding="utf-8") as stream:
        server = subprocess.Popen(
            command, cwd=store.folder, env=environment, stdout=stream, stderr=stream, start_new_session=True
        )
        try:
            listening = process.wait_until(
                lambda: process.listens(port) or server.poll() is not None, READY_TIMEOUT_S
            )
            if listening and server.poll() is None:
                ready(start_page(f"http://127.0.0.1:{port}"), store.name)
                server.wait()
            cause = f"it ended or never answered ({without_secrets(process.last_lines(log))})"
            raise HeimdallError("MLflow's server", cause, f"See {log}")
        finally:
            _end(server)


def server_environment(store: Store) -> dict[str, str]:
    """What MLflow's server needs for its store, and nothing of Heimdall's own database.

    Args:
        store: A database.
    """
    inherited = child.bare_environment(*mlflow_store.services(store.uri))
    # By the environment: the address may hold a password, and everybody can read a command line.
    jobs = variables.MLFLOW_SERVER_ENABLE_JOB_EXECUTION
    backend = {variables.MLFLOW_BACKEND_STORE_URI.name: store.uri, jobs.name: jobs.default}
    return child.settled(inherited | dict(store.environment) | backend)


def has_desktop() -> bool:
    """Whether a browser can be opened here."""
    return sys.platform == "darwin" or any(
        variable.read() for variable in (variables.DISPLAY, variables.WAYLAND_DISPLAY)
    )


def start_page(server: str) -> str:
    """The address of the runs that a server shows; its own start page where none was recorded yet.

    Args:
        server: Its address.
    """
    query = urlencode({"experiment_name": view.EXPERIMENT})
    direct = build_opener(ProxyHandler({}))  # no proxy reaches this machine's loopback interface
    try:
        with direct.open(f"{server}/api/2.0/mlflow/experiments/get-by-name?{query}", timeout=60) as answer:
            return server + view.runs_page(json.load(answer)["experiment"]["experiment_id"])
    except (HTTPError, TimeoutError):
        return server


@contextmanager
def _terminable() -> Iterator[None]:
    """Let SIGTERM end the block as Ctrl-C does."""
    former = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, former)


def _end(server: subprocess.Popen[bytes]) -> None:
    """End a server with its workers, which are in a session of their own."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(server.pid, number)
        with suppress(subprocess.TimeoutExpired):
            server.wait(STOP_TIMEOUT_S)
