"""The processes that train one network together: who this one is, and how they are started on this machine.

This module imports the standard library alone: a process that only starts others does not wait for torch. A
rank is a process that computes a share of each batch. The first rank writes all outputs, the others nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from heimdall.core import child, stage, variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.core.params import Params

_POLL_S = 0.1
_GRACE_S = 2.0  # for the ranks that lost another one to end by themselves, so that the cause is told
_TOLD_LINES = 15
LOST = "it lost another worker, which failed or was killed"  # said by those who are not the cause
_REMEDY = "Start the same command again, with any number of workers: it goes on after the last whole epoch"


@dataclass(frozen=True)
class Ranks:
    """This process among those that train one network.

    Attributes:
        number: Of this rank, from 0.
        count: Of all ranks.
        local: Of this rank on its machine, from 0; it has the GPU of this number.
        meeting: The file of this machine through which the ranks meet; None for torchrun's meeting.
    """

    number: int = 0
    count: int = 1
    local: int = 0
    meeting: Path | None = None

    @property
    def is_first(self) -> bool:
        """Whether it is the rank that writes."""
        return self.number == 0


ONE = Ranks()


def started() -> Ranks | None:
    """This process as a rank, if `together` or torchrun started it as one; else None.

    RANK and WORLD_SIZE alone say nothing: the jobs of many clusters set them. Those of torchrun do not count
    in a stage that DVC runs: whoever started DVC was the rank of something else.

    Raises:
        HeimdallError: The process that started this rank has ended.
    """
    if text := variables.TRAIN_RANK.read():
        *numbers, meeting = text.split("/", 3)
        number, count, launcher = map(int, numbers)
        if not child.ends_with(launcher):
            raise HeimdallError(f"worker {number}", "the process that started it has ended", _REMEDY)
        return Ranks(number, count, number, Path(meeting))
    torchrun = [variable.read() for variable in variables.TORCHRUN]
    if all(torchrun) and not variables.DVC_STAGE.read():
        number, count, local = map(int, torchrun[1:])
        return Ranks(number, count, local)
    return None


def wanted(typed: int | None, devices: int, virtual_shards: int) -> int:
    """How many ranks to start on this machine.

    Args:
        typed: What the user asked for; None for HEIMDALL_TRAIN_WORKERS, else one for each device.
        devices: The parameter.
        virtual_shards: The parameter, the most workers that have something to do. The variable belongs to a
            machine and not to a training, so that it is lowered to it.

    Raises:
        HeimdallError: The variable is no number of workers, or more workers are asked for than have work.
    """
    if typed is None and (text := variables.TRAIN_WORKERS.read()):
        setting = f"{variables.TRAIN_WORKERS.name}={text}"
        if not text.isdecimal() or int(text) < 1:
            raise HeimdallError(setting, "no number of workers", "Give a number from 1 on, or unset it")
        if int(text) > virtual_shards:
            said = f"{setting}: {virtual_shards} train, one for each virtual shard"
            print(said, file=sys.stderr, flush=True)
        return min(int(text), virtual_shards)
    count = devices if typed is None else typed
    refuse_idle(count, virtual_shards)
    return count


def here(typed: int | None, parameters: Params) -> Ranks:
    """This process's part in a training. A process that starts others instead ends here when they are done.

    Args:
        typed: The number of workers that the user asked for, if any.
        parameters: accelerator, devices and virtual_shards are used.

    Raises:
        HeimdallError: As of `started`, `wanted` and `together`.
        SystemExit: Other processes have done all of the training.
    """
    found = started()
    if found is not None:
        if typed is not None and found.meeting is None:
            raise HeimdallError("--workers", "torchrun has started the workers", "Leave it out")
        return found
    # A CPU is one device, and `training.choose_device` says so.
    devices = 1 if parameters.accelerator == "cpu" else parameters.devices
    count = wanted(typed, devices, parameters.virtual_shards)
    if count == 1:
        return ONE
    together(count)
    sys.exit(0)


def refuse_idle(count: int, virtual_shards: int) -> None:
    """Refuse more ranks than there are virtual shards, and none.

    Raises:
        HeimdallError: There are more, or none.
    """
    if count < 1:
        raise HeimdallError(f"{count} workers", "somebody must train", "Give a number from 1 on")
    if count > virtual_shards:
        raise HeimdallError(
            f"{count} workers",
            f"each batch is cut into {virtual_shards} parts (virtual_shards in params.yaml), one worker each",
            f"Give at most {virtual_shards} workers, or set virtual_shards to {count}: another result",
        )


def together(count: int) -> None:
    """Run this very command as so many ranks on this machine, until all are done.

    What the first rank prints is seen; the last lines of another one only if it fails. When a rank ends with
    an error or is killed, the others are ended, too. When this process ends, so do all ranks.

    Args:
        count: Number of ranks.

    Raises:
        HeimdallError: A rank failed.
    """
    with contextlib.ExitStack() as stack:
        outputs = [stack.enter_context(tempfile.TemporaryFile()) for _ in range(1, count)]
        meeting = Path(stack.enter_context(tempfile.TemporaryDirectory())) / "meeting"
        ranks: list[subprocess.Popen[bytes]] = []
        stack.callback(_end, ranks)
        for number in range(count):
            ranks.append(_start(f"{number}/{count}/{os.getpid()}/{meeting}", outputs[number - 1 : number]))
        codes = _waited(ranks)
        said = [None, *map(_last_lines, outputs)]
        failed = [number for number, code in enumerate(codes) if code]
        for number in failed:
            for line in said[number] or ():
                print(
                    f"worker {number}: {line}", file=sys.__stderr__, flush=True
                )  # errors, also with --quiet
    if failed:
        cause = _cause(codes, said)
        code = codes[cause] or 0
        if code > 0:
            remedy = f"Mend what it names. {_REMEDY}"
            raise HeimdallError(f"worker {cause} of {count}", "it failed; its own message is above", remedy)
        raise HeimdallError(f"worker {cause} of {count}", f"it was killed by signal {-code}", _REMEDY)


def _cause(codes: Sequence[int | None], said: Sequence[list[str] | None]) -> int:
    """The rank that failed by itself: killed, or with another message than that it lost one.

    Args:
        codes: Exit codes, None of those that still ran.
        said: The last lines of each; None of the first, which printed them itself.
    """
    failed = [number for number, code in enumerate(codes) if code]
    killed = [number for number in failed if (codes[number] or 0) < 0]
    alone = [number for number in failed if not any(LOST in line for line in said[number] or [LOST])]
    return (killed or alone or failed)[0]


def _start(rank: str, output: Sequence[IO[bytes]]) -> subprocess.Popen[bytes]:
    """Start a rank; it writes to a file, or where this process writes. Only the first reaches services."""
    target = output[0] if output else None
    if output:
        environment = child.environment()
    else:
        environment = child.environment(Service.S3, Service.LIBPQ, Service.MLFLOW)
    # On one machine: a name of the host that leads elsewhere must not matter.
    loopback = variables.GLOO_SOCKET_IFNAME
    return subprocess.Popen(
        [sys.executable, *sys.orig_argv[1:]],
        cwd=stage.TYPED_IN,
        env=environment | {variables.TRAIN_RANK.name: rank, loopback.name: loopback.default},
        stdout=target,
        stderr=target,
        start_new_session=True,  # Ctrl+C reaches this process alone, which ends all ranks in one place
    )


def _waited(ranks: Sequence[subprocess.Popen[bytes]]) -> list[int | None]:
    """Wait until all are done or one has failed; the exit codes of then, None of those that still run."""
    while True:
        codes = [rank.poll() for rank in ranks]
        if all(code == 0 for code in codes):
            return list(codes)
        if any(codes):
            break
        time.sleep(_POLL_S)
    deadline = time.monotonic() + _GRACE_S
    while time.monotonic() < deadline and any(rank.poll() is None for rank in ranks):
        time.sleep(_POLL_S)
    return [rank.poll() for rank in ranks]


def _end(ranks: Sequence[subprocess.Popen[bytes]]) -> None:
    """Kill those that run; nothing is lost but the epoch, whose checkpoint is whole or absent."""
    for rank in ranks:
        if rank.poll() is None:
            rank.kill()
    for rank in ranks:
        rank.wait()


def _last_lines(output: IO[bytes]) -> list[str]:
    output.seek(0)
    return output.read().decode("utf-8", "replace").splitlines()[-_TOLD_LINES:]
