"""Where pieces of work are computed on a Ray cluster; `workers` imports this only where one is named.

A worker has the recipe's variables before its interpreter starts, and this clone's code. It computes in the
driver's working directory where its machine sees that folder, else in a private one with the files of its
piece. A node that would compute other bytes is refused by name.
"""

from __future__ import annotations

import atexit
import itertools
import logging
import math
import os
import secrets
import shutil
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from heimdall.core import artifacts, child, determinism, ray_address, variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.core.workers import TRIES_AGAIN, sending_errors

_settings = variables.ray_settings(variables.RAY_ADDRESS.read())
_settings[variables.RAY_PATIENCE.name] = variables.RAY_PATIENCE.default
for _name, _value in _settings.items():  # before Ray reads them
    os.environ.setdefault(_name, _value)
try:
    import ray
    from ray import exceptions
    from ray._raylet import GcsClient  # type: ignore[attr-defined]  # compiled: its stub lacks it
    from ray.core.generated.gcs_pb2 import GcsNodeInfo
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy
except ImportError as _error:
    raise HeimdallError(
        variables.RAY_ADDRESS.name,
        f"it names a Ray cluster, and Ray cannot be imported ({_error})",
        f"Type `make cluster`, or `unset {variables.RAY_ADDRESS.name}` for this machine alone",
    ) from None

Task = TypeVar("Task")
Result = TypeVar("Result")

PACKAGE = Path(__file__).resolve().parents[1]
MARKS = Path(".heimdall/work/cluster")
_FOLDER = "heimdall-piece-"
ANSWER_S = 180.0  # within which a node must start a worker, also a busy one
LOOK_S = 5.0  # while a result is waited for, so often the head is asked whether it is there
LOST_S = 20.0  # within which the head must answer, also a busy one
END_S = 60.0  # within which Ray ends a connection, also on a busy machine
END_LOST_S = 5.0  # the same where the head is lost, which may be never
TOKEN = variables.RAY_AUTH_TOKEN_PATH.name
STARTED = "Give the address that `heimdall cluster start` printed, or type that again on its first machine"
START_AGAIN = "Start the cluster again and run the same command again, which keeps what is finished"
JOIN_AGAIN = "Type `heimdall cluster stop`, start or join it again, and run the same command again"
NO_CPU = "None of its nodes offers a CPU: type `heimdall cluster join` on a machine that shall compute"

NO_WORKER = (
    "Type `heimdall cluster stop` there, and join it again with the `heimdall` of its own clone and a token "
    "file that stays where it is"
)


@dataclass(frozen=True)
class Machine:
    """What decides the bytes that an interpreter computes.

    Attributes:
        python: Its version, without the last number.
        libraries: Version by name, of those that compute.
        foreign_cpu: What keeps the CPU from computing the recorded bytes.
    """

    python: str
    libraries: Mapping[str, str]
    foreign_cpu: tuple[str, ...]

    @classmethod
    def here(cls) -> Machine:
        """Of this process."""
        cpu = determinism.foreign_cpu(os.uname().machine, Path("/proc/cpuinfo").read_text("utf-8", "replace"))
        version = "{}.{}".format(*sys.version_info[:2])
        return cls(version, determinism.installed_versions(), tuple(cpu))

    def contradictions(self, driver: Machine) -> list[str]:
        """Why its bytes would not be the driver's, one clause each.

        Args:
            driver: Of the process whose pieces are computed.
        """
        found = [] if os.environ.get(determinism.SWITCH) == "off" else list(self.foreign_cpu)
        if self.python != driver.python:
            found.append(f"Python is {self.python}, not {driver.python}")
        return found + [
            f"{name} is {self.libraries.get(name, 'missing')}, not {driver.libraries.get(name, 'missing')}"
            for name in sorted({*self.libraries, *driver.libraries})
            if self.libraries.get(name) != driver.libraries.get(name)
        ]


@dataclass(frozen=True)
class Home:
    """What every worker is told of the driver.

    Attributes:
        folder: The driver's working directory.
        mark: A file below it that only this run has written.
        machine: The driver's.
        services: What the pieces have to reach.
        environment: The variables that lead there. They travel as an argument, because those of a runtime
            environment stand in the command line of a process.
    """

    folder: Path
    mark: Path
    machine: Machine
    services: tuple[Service, ...]
    environment: Mapping[str, str]


@dataclass(frozen=True)
class Node:
    """A machine of the cluster.

    Attributes:
        name: Its address, and the beginning of Ray's identifier.
        cpus: How many pieces it computes at a time.
        shares: Whether it sees the driver's working directory.
        refusal: Why nothing is computed on it.
    """

    name: str
    cpus: int
    shares: bool
    refusal: HeimdallError | None


@dataclass(frozen=True)
class Piece:
    """A task under way.

    Attributes:
        task: Its argument.
        contents: Files by relative path, in Ray's store; empty where every node sees the folder.
        result: Of the computation.
    """

    task: Any
    contents: Mapping[Path, ray.ObjectRef]
    result: ray.ObjectRef


class Head:
    """The cluster's first machine, which knows the others.

    Args:
        client: Of Ray, which needs no connection as a driver.

    Attributes:
        lost: Whether it was found to be lost.
    """

    def __init__(self, client: GcsClient) -> None:
        self._client = client
        self.lost = False

    def nodes(self) -> dict[str, GcsNodeInfo]:
        """The nodes that are there now, by Ray's identifier.

        Raises:
            HeimdallError: The head is lost, known after `LOST_S` seconds.
        """
        try:
            found = self._client.get_all_node_info(LOST_S, state_filter=GcsNodeInfo.GcsNodeState.ALIVE)
        except exceptions.RayError:
            self.lost = True
            cause = "its first machine is lost, or was started anew"
            raise HeimdallError(f"Ray cluster {variables.RAY_ADDRESS.read()}", cause, START_AGAIN) from None
        return {node_id.hex(): node for node_id, node in found.items()}

    def got(self, result: ray.ObjectRef, timeout_s: float = math.inf) -> Any:  # noqa: ANN401 - any function's
        """A result, or what its function raised as it was raised.

        Args:
            result: Of a task under way.
            timeout_s: How long it is waited for.

        Raises:
            HeimdallError: Its worker was lost more often than it is tried, or the head is lost, or the node
                of this machine.
            ray.exceptions.RayError: It is not there in time, or has no node.
        """
        until = time.monotonic() + timeout_s
        while True:
            try:
                return ray.get(result, timeout=min(LOOK_S, max(0.0, until - time.monotonic())))
            except exceptions.RayTaskError as error:
                raise error.cause from error
            except exceptions.GetTimeoutError:
                if time.monotonic() >= until:
                    raise
                self.nodes()
            except exceptions.LocalRayletDiedError:
                self.nodes()
                raise HeimdallError("Ray", "the node of this machine was lost", JOIN_AGAIN) from None
            except (
                exceptions.WorkerCrashedError,
                exceptions.NodeDiedError,
                exceptions.OutOfMemoryError,
            ) as error:
                self.nodes()
                cause = f"a piece lost its worker {TRIES_AGAIN + 1} times ({error})"
                remedy = (
                    "Run the same command again, which keeps what is finished; give the nodes more memory"
                )
                raise HeimdallError(f"Ray cluster {variables.RAY_ADDRESS.read()}", cause, remedy) from None


class Unseen:
    """The result of a worker that sees neither the driver's folder nor was sent the files."""


def mapped(
    function: Callable[[Task], Result],
    tasks: Iterable[Task],
    *,
    files: Callable[[Task], Iterable[Path]],
    services: tuple[Service, ...],
    ahead: int,
) -> Iterator[Result]:
    """As `workers.mapped`, on the cluster of HEIMDALL_RAY_ADDRESS.

    Args:
        function: As there.
        tasks: As there.
        files: As there.
        services: As there.
        ahead: Pieces under way for each CPU of the cluster.

    Yields:
        The results, in the order of the tasks.

    Raises:
        HeimdallError: The cluster cannot be reached, refuses the token, has a node that would compute other
            bytes, or lost a piece again and again.
        Exception: What the function raises.
    """
    left = iter(tasks)
    with _marked() as mark, _connected() as head:
        told = {name: value for one in services for name, value in child.leading_to(one).items()}
        home = Home(Path.cwd(), mark, Machine.here(), services, told)
        known: set[str] = set()
        sent = False
        waiting: deque[Piece] = deque()
        while True:
            if new := head.nodes().keys() - known:
                accepted = _accepted(home, head)
                sent = sent or not all(node.shares for node in accepted)
                if not known:
                    _say(accepted)
                known |= new
            cpus = max(1, sum(map(_cpus, head.nodes().values())))  # one where there are none for the moment
            for task in itertools.islice(left, max(0, ahead * cpus - len(waiting))):
                contents = _put(files(task), waiting) if sent else None
                waiting.append(_submitted(function, task, home, contents))
            if not waiting:
                return
            piece = waiting.popleft()
            result = head.got(piece.result)
            if isinstance(result, Unseen):  # it came to a node that was not there before
                sent = True
                contents = _put(files(piece.task), waiting)
                result = head.got(_submitted(function, piece.task, home, contents).result)
            yield result


def _say(nodes: Sequence[Node]) -> None:
    where = f"on the Ray cluster {variables.RAY_ADDRESS.read()}"
    cpus = sum(node.cpus for node in nodes)
    print(f"{where}: {len(nodes)} machines, {cpus} CPUs", file=sys.stderr, flush=True)


@contextmanager
def _marked() -> Iterator[Path]:
    """A file by which a worker knows the driver's folder; one of a killed driver is removed as a partial."""
    mark = MARKS / f".partial-{os.getpid()}-{secrets.token_hex(16)}"
    mark.parent.mkdir(parents=True, exist_ok=True)
    mark.touch()
    try:
        yield mark
    finally:
        mark.unlink(missing_ok=True)


@contextmanager
def _connected() -> Iterator[Head]:
    """This process as a driver; what still runs for it ends with the block."""
    address, head = variables.RAY_ADDRESS.read(), reached()
    try:
        ray.init(
            address, runtime_env=_runtime_environment(), log_to_driver=False, logging_level=logging.ERROR
        )
    except (OSError, RuntimeError, ValueError, exceptions.RayError) as error:
        remedy = "This machine must be in it: type `heimdall cluster stop`, then start or join it again"
        raise _unreached(str(error), remedy) from None
    try:
        yield head
    finally:
        _disconnect(END_LOST_S if head.lost else END_S)


def _disconnect(timeout_s: float) -> None:
    """End the connection as a driver; where the head is silent Ray waits for ever, which must not keep us."""
    atexit.unregister(ray.shutdown)
    ending = threading.Thread(target=ray.shutdown, daemon=True)
    atexit.register(_leave, ending)
    ending.start()
    ending.join(timeout_s)


def _leave(ending: threading.Thread) -> None:
    """End the process at once if Ray still waits, for that crashes a process that ends by itself."""
    if ending.is_alive():
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1)


def reached() -> Head:
    """The first machine of the cluster, which answers and takes our token; nothing is started there.

    Raises:
        HeimdallError: It does not, said within a minute, and within some ten seconds where nothing answers.
    """
    address = variables.RAY_ADDRESS.read()
    if not address:
        raise HeimdallError(variables.RAY_ADDRESS.name, "it is not set", STARTED)
    host, port = ray_address.split(address)
    token, given = variables.RAY_AUTH_TOKEN.name, variables.RAY_AUTH_TOKEN.read()
    if given.isspace():  # Ray would end the process
        raise HeimdallError(
            token, "it is blank", f"Set it to the cluster's token, or `unset {token}` for a file"
        )
    if not given:
        token = str(ray_address.token_file())
        ray_address.require_token(Path(token))
    if silence := ray_address.silence(host, port):
        raise _unreached(silence, STARTED)
    try:
        with _without_rays_lines():
            return Head(GcsClient(address=address))
    except exceptions.AuthenticationError:
        remedy = f"Copy the token from its first machine to a file, and name that with {TOKEN}"
        if given:
            remedy = f"Set it to the token of its first machine, or `unset {token}` for the file"
        raise _unreached(f"it has another token than {token}", remedy) from None
    except exceptions.RayError as error:
        raise _unreached(f"what answers there is no head of a cluster ({error})", STARTED) from None


def _unreached(cause: str, remedy: str) -> HeimdallError:
    """Why the cluster cannot be used, and how else to compute."""
    alone = f"`unset {variables.RAY_ADDRESS.name}` computes on this machine alone"
    return HeimdallError(f"Ray cluster {variables.RAY_ADDRESS.read()}", cause, f"{remedy}; {alone}")


@contextmanager
def _without_rays_lines() -> Iterator[None]:
    """Keep what Ray's own code writes to stderr from a person, who is told the same in one line."""
    sys.stderr.flush()
    ours = os.dup(2)
    with Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), 2)
    try:
        yield
    finally:
        os.dup2(ours, 2)
        os.close(ours)


def _runtime_environment() -> dict[str, Any]:
    """What a worker is started with: this clone's code, and the recipe as this process has it."""
    recipe = determinism.settings(determinism.read_threads())
    names = [determinism.SWITCH, *(setting.name for setting in recipe)]
    absent = " ".join(f"-u {name}" for name in names if name not in os.environ)
    return {
        "py_modules": [str(PACKAGE)],
        "excludes": ["__pycache__"],
        "env_vars": {name: os.environ[name] for name in names if name in os.environ},
        "py_executable": f"env {absent} python",  # Ray sets a variable, and removes none
    }


def _cpus(node: GcsNodeInfo) -> int:
    return int(node.resources_total.get("CPU", 0))


def nodes() -> list[Node]:
    """The nodes of the cluster, and why one is refused.

    Raises:
        HeimdallError: The cluster cannot be reached.
    """
    with _marked() as mark, _connected() as head:
        return _asked(Home(Path.cwd(), mark, Machine.here(), (), {}), head)


def _accepted(home: Home, head: Head) -> list[Node]:
    """The nodes, if they compute the driver's bytes.

    Raises:
        HeimdallError: One would not, or does not answer, or none has a CPU.
    """
    found = _asked(home, head)
    for node in found:
        if node.refusal is not None:
            raise node.refusal
    if not any(node.cpus for node in found):
        raise HeimdallError(f"Ray cluster {variables.RAY_ADDRESS.read()}", "it has no CPU", NO_CPU)
    return found


def _asked(home: Home, head: Head) -> list[Node]:
    """What each node says of itself, by a worker of this run; one that is lost meanwhile is left out."""
    there = head.nodes()
    answers = [
        _ASK.options(scheduling_strategy=NodeAffinitySchedulingStrategy(node_id, soft=False)).remote(home)
        for node_id in there
    ]
    found = []
    for (node_id, node), answer in zip(there.items(), answers, strict=True):
        name = _named(node.node_manager_address, node_id)
        shares, refusal = False, None
        try:
            shares = head.got(answer, ANSWER_S)
        except HeimdallError as error:
            head.nodes()  # a lost head is no refusal
            refusal = error
        except exceptions.RayError as error:
            if node_id not in head.nodes():
                continue
            refusal = HeimdallError(f"node {name}", f"it starts no worker ({error})", NO_WORKER)
        found.append(Node(name, _cpus(node), shares, refusal))
    return found


def _named(address: str, node_id: str) -> str:
    """A node as a person finds it."""
    return f"{address} ({node_id[:8]})"


def _put(names: Iterable[Path], waiting: Iterable[Piece]) -> dict[Path, ray.ObjectRef]:
    """Files in Ray's store: once while a piece waits that needs them, and no longer.

    Raises:
        HeimdallError: A file is not below the working directory, so a worker has no place for it.
    """
    known = {name: content for piece in waiting for name, content in piece.contents.items()}
    found = {}
    for given in names:
        name = given.relative_to(Path.cwd()) if given.is_relative_to(Path.cwd()) else given
        if name.is_absolute() or ".." in name.parts:
            cause = "it is outside of this folder, which a node of the cluster does not see"
            raise HeimdallError(str(name), cause, "Work in a folder that every node has at the same path")
        if name in known:
            found[name] = known[name]
        elif name.is_file():  # else the function says what is missing
            found[name] = ray.put(name.read_bytes())
    return found


def _submitted(
    function: Callable[..., Any],
    task: object,
    home: Home,
    contents: Mapping[Path, ray.ObjectRef] | None,
) -> Piece:
    return Piece(task, contents or {}, _COMPUTE.remote(function, task, home, contents))


# What follows runs in a worker.


def _compute(
    function: Callable[[Any], Any],
    task: object,
    home: Home,
    contents: Mapping[Path, ray.ObjectRef] | None,
) -> object:
    """The result of a piece, in the driver's folder or in a private one with its files."""
    if _sees(home):
        return sending_errors(function, task)
    if contents is None:
        return Unseen()
    before = Path.cwd()
    for left in Path(tempfile.gettempdir()).glob(f"{_FOLDER}*"):  # of workers that were killed
        owner = left.name.removeprefix(_FOLDER).partition("-")[0]
        if not Path("/proc", owner).exists():
            shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f"{_FOLDER}{os.getpid()}-") as folder:
        for name, content in zip(contents, ray.get(list(contents.values())), strict=True):
            artifacts.write_bytes(Path(folder) / name, content)
        os.chdir(folder)
        try:
            return sending_errors(function, task)
        finally:
            os.chdir(before)


def _sees(home: Home) -> bool:
    """Whether this worker sees the driver's folder; when it is asked first, it becomes what the driver needs.

    Raises:
        HeimdallError: It would compute other bytes than the driver.
    """
    if home.mark not in _SEEN:
        contradictions = Machine.here().contradictions(home.machine)
        if contradictions:
            node = _named(ray.util.get_node_ip_address(), ray.get_runtime_context().get_node_id())
            remedy = (
                "Install there what this clone has (`make setup cluster`) and type `heimdall cluster join` "
                "again, or `heimdall cluster stop` to go without it"
            )
            raise HeimdallError(f"node {node}", f"it is refused: {'; '.join(contradictions)}", remedy)
        child.forget(Service.CLUSTER, *home.services)
        os.environ.update(home.environment)
        _SEEN[home.mark] = (home.folder / home.mark).is_file()
        if _SEEN[home.mark]:
            os.chdir(home.folder)
    return _SEEN[home.mark]


_SEEN: dict[Path, bool] = {}  # by the mark of the driver, of whom a worker has one
_COMPUTE = ray.remote(num_cpus=1, max_retries=TRIES_AGAIN)(_compute)
_ASK = ray.remote(num_cpus=0, max_retries=TRIES_AGAIN)(_sees)
