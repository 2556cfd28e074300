"""One experiment of DVC as a process that is watched: its epochs while it trains, its end with its owner's.

`dvc exp run --temp` works in a workspace of its own below .dvc/tmp/exps/, so that the user's is left alone
and several run at once. Plots and metrics are written when a stage ends; while it trains, the line that the
training prints for each epoch is what there is.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from heimdall.core import variables
from heimdall.core.child import Service
from heimdall.core.errors import HeimdallError
from heimdall.reproduce import checkout, git
from heimdall.services.process import wait_until
from heimdall.storage import endpoints
from heimdall.storage.roles import READER

TRAIN = "train"
TRAIN_METRICS = "metrics/train.json"
RUNS = Path(".dvc/tmp/exps/run")  # what DVC notes of each experiment's workspace
WORKSPACES = Path(".dvc/tmp/exps/standalone")

# Kills the whole group when the pipe to the owner closes: nothing outlives an owner that was killed with -9.
# When the command ends first, the owner closes the pipe.
LEASH = 'exec 3<&0; { cat <&3 >/dev/null; kill -KILL 0; } & exec 3<&-; "$@" </dev/null'
KILLED_S = 2.0  # until the kernel has removed what was killed

_STAGE = re.compile(r"Running stage '([^']+)'")
_EPOCH = re.compile(r"epoch (\d+)/\d+: train loss \S+, validation loss (\S+),")
_DIVERGED = re.compile(r"train: the loss is \S+ in epoch \d+")
_OF_A_STAGE = re.compile(r"\w+\.py: ")  # as heimdall.core.stage begins it


@dataclass(frozen=True)
class Epoch:
    """What the training says when an epoch is over.

    Attributes:
        number: From 1.
        val_loss: Mean loss on the validation split, nats, to four digits after the point.
    """

    number: int
    val_loss: float


@dataclass
class Experiment:
    """An experiment that runs.

    Attributes:
        name: Its name for DVC.
        log: All that DVC and the stages print.
        process: The leash, whose group holds all of the experiment.
    """

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    _stream: IO[str] = field(repr=False)
    _partial: str = ""
    _stage: str = ""
    _diverged: bool = False

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return self.process.poll() is None

    @property
    def diverged(self) -> bool:
        """Whether the training gave up because its loss was not finite, as far as `epochs` has read."""
        return self._diverged

    def epochs(self) -> list[Epoch]:
        """The epochs of the train stage that were printed since the last call."""
        found = []
        *lines, self._partial = (self._partial + self._stream.read()).split("\n")
        for line in lines:
            stage = _STAGE.search(line)
            epoch = _EPOCH.search(line)
            if stage:
                self._stage = stage[1]
            elif epoch and self._stage == TRAIN:
                found.append(Epoch(int(epoch[1]), float(epoch[2])))
            elif _DIVERGED.search(line):
                self._diverged = True
        return found

    def problem(self) -> str:
        """What went wrong: what a stage said, else what DVC said, else the last line of the log."""
        lines = self.log.read_text(encoding="utf-8", errors="replace").splitlines()
        stages = [line for line in lines if _OF_A_STAGE.match(line)]
        of_dvc = [line for line in lines if line.startswith("ERROR: ")]
        return [*(stages or of_dvc)[:1], *lines[-1:], "it printed nothing"][0]


@contextmanager
def running(root: Path, name: str, settings: Mapping[str, Any], log: Path) -> Iterator[Experiment]:
    """Run `dvc exp run --temp` with these parameters while the block lasts; what still runs then is killed.

    Args:
        root: The repository.
        name: What DVC is to call it.
        settings: Parameters by dotted name.
        log: Where its output goes.

    Yields:
        The experiment, started.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    changes = [part for key, value in settings.items() for part in ("--set-param", f"{key}={value}")]
    command = [sys.executable, "-m", "dvc", "exp", "run", "--temp", "--name", name, *changes]
    # A training like any other: unless the user turned the tracker off, it is recorded.
    tracking = {variables.TRACKING.name: variables.TRACKING.read()}
    with log.open("wb") as output:
        process = subprocess.Popen(
            ["/bin/sh", "-c", LEASH, "sh", *command],
            cwd=root,
            env=checkout.environment(*Service) | endpoints.configured_environment(READER) | tracking,
            stdin=subprocess.PIPE,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    try:
        with log.open(encoding="utf-8", errors="replace") as stream:
            yield Experiment(name, log, process, stream)
    finally:
        finished = process.poll() is not None
        _end(process)
        if not finished:
            discard(root, [name])


def commit_of(root: Path, name: str, baseline: str) -> str:
    """The commit of an experiment.

    Args:
        root: The repository.
        name: The experiment's.
        baseline: Full hash of the commit that it was run on.

    Raises:
        HeimdallError: There is none of that name on that commit.
    """
    return git.commit_of(root, f"refs/exps/{baseline[:2]}/{baseline[2:]}/{name}")


def train_metrics(root: Path, commit: str) -> dict[str, Any]:
    """The final figures of the training in an experiment's commit.

    Raises:
        HeimdallError: The commit has none.
    """
    content = git.blob(root, commit, TRAIN_METRICS)
    if content is None:
        cause = f"experiment {commit[:12]} has none"
        raise HeimdallError(
            TRAIN_METRICS,
            cause,
            f"Run `git show --stat {commit[:12]}`; a commit of `dvc exp run` has it if dvc.yaml names it",
        )
    metrics: dict[str, Any] = json.loads(content)
    return metrics


def push(root: Path, remote: str, name: str) -> str | None:
    """Send an experiment's commit to a git remote and its outputs to DVC's remote.

    Returns:
        None if all was sent, else what went wrong.
    """
    command = [sys.executable, "-m", "dvc", "exp", "push", "--quiet", remote, name]
    done = subprocess.run(
        command, cwd=root, env=checkout.environment(Service.S3), capture_output=True, text=True, check=False
    )
    return None if done.returncode == 0 else " ".join((done.stderr or done.stdout).split())


def discard(root: Path, names: Collection[str]) -> None:
    """Remove the workspaces that killed experiments of these names left; no process may be in them."""
    folder = (root / WORKSPACES).resolve()
    for file in (root / RUNS).glob("*/*.run"):
        with suppress(OSError, ValueError):
            noted = json.loads(file.read_text(encoding="utf-8"))
            workspace = Path(noted.get("root_dir", "")).resolve()
            if noted.get("name") in names and workspace.parent == folder:
                shutil.rmtree(workspace, ignore_errors=True)
                shutil.rmtree(file.parent, ignore_errors=True)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill what is left of the group: a stage may be killed at any moment, and nothing else is in it."""
    assert process.stdin is not None  # noqa: S101 - opened as a pipe
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    process.stdin.close()  # the leash kills itself, where the command ended before
    wait_until(lambda: not _alive(process.pid), KILLED_S)


def _alive(group: int) -> bool:
    """Whether a process group has a member."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    return True
