"""A clone in which things go wrong: for the tests that follow the remedy of every message."""

from __future__ import annotations

import ctypes
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from heimdall.core import errors
from tests import REPOSITORY
from tests.conftest import SERVICE_VARIABLES, Services

BIN = Path(sys.executable).parent
SECRET = "never-to-be-seen"  # noqa: S105 - of no server
_PR_CAPBSET_DROP, _OVERRIDE_PERMISSIONS, _READ_ALL = 24, 1, 2


@dataclass
class World:
    """A clone, and how commands run there.

    Attributes:
        root: The clone.
        env: The environment of commands.
        cwd: Where they are typed.
        before: Words before every command.
        close: What to end, last.
        services: The servers that the environment names at first; None where there are none.
    """

    root: Path
    env: dict[str, str] = field(repr=False)
    cwd: Path
    before: Sequence[str] = ()
    close: list[Callable[[], object]] = field(default_factory=list)
    services: Services | None = None

    @property
    def secrets(self) -> set[str]:
        """What no message may repeat."""
        names = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN")
        every = [self.env] + ([self.services.env] if self.services else [])
        keys = {env[name] for env in every for name in names if env.get(name)}
        urls = {env["HEIMDALL_DATABASE_URL"] for env in every if "HEIMDALL_DATABASE_URL" in env}
        return {SECRET} | keys | {word for url in urls if (word := urlsplit(url).password)}

    @contextmanager
    def entered(self) -> Iterator[None]:
        """This process has the folder and the environment of commands."""
        with pytest.MonkeyPatch.context() as patch:
            patch.chdir(self.cwd)
            for name in set(os.environ) - set(self.env):
                patch.delenv(name)
            for name, value in self.env.items():
                patch.setenv(name, value)
            yield

    def forget_servers(self) -> None:
        """Let the environment name no servers."""
        self.env = {name: value for name, value in self.env.items() if name not in SERVICE_VARIABLES}

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """Run a command as an ordinary user of the system would: root's rights over files are given up."""
        return subprocess.run(
            [*self.before, *command],
            cwd=self.cwd,
            env=self.env,
            preexec_fn=_obey_permissions,
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
        )

    def do(self, *command: str) -> None:
        """Run a command that must succeed, in the clone's root."""
        done = subprocess.run(
            command, cwd=self.root, env=self.env, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def replace(self, file: str, old: str, new: str) -> None:
        """Change a text file."""
        path = self.root / file
        text = path.read_text(encoding="utf-8")
        assert old in text
        path.write_text(text.replace(old, new), encoding="utf-8")

    def write(self, file: str, content: str | bytes) -> None:
        """Write a file."""
        path = self.root / file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content.encode() if isinstance(content, str) else content)

    def mount(self, folder: str, size: str) -> None:
        """Let the commands see a disk of this size in place of a folder; nobody else sees it."""
        (self.root / folder).mkdir(parents=True, exist_ok=True)
        root = () if os.geteuid() == 0 else ("--map-root-user",)
        script = f'mount -t tmpfs -o size={size} small "$0" && exec "$@"'
        self.before = ("unshare", *root, "--mount", "sh", "-c", script, str(self.root / folder))
        if self.run("true").returncode != 0:
            pytest.skip("this system lets nobody mount a small disk")


Arise = Callable[[World], object]


@dataclass(frozen=True)
class Trouble:
    """A row of the table.

    Attributes:
        name: In a few words.
        arise: Makes the trouble.
        command: What is typed, or called.
        subject: How the message begins.
        cause: What it says then.
        remedy: What it says at the end.
        follow: Does what the remedy says. Then the command succeeds.
        code: The exit code before that.
        series: Whether another row is like it, so that it is tried in the long series alone.
    """

    name: str
    arise: Arise
    command: str | Arise
    subject: str
    cause: str
    remedy: str
    follow: Arise | None = None
    code: int = 1
    series: bool = False


def check(row: Trouble, world: World) -> None:
    """Let the trouble arise, read the message, follow the remedy."""
    row.arise(world)
    code, said = _try(row, world)
    assert code == row.code, said
    assert "Traceback" not in said
    assert not [secret for secret in world.secrets if secret in said], "a secret in a message"
    message = said.splitlines()[-1] if row.code == 2 else said.removesuffix("\n")
    assert "\n" not in message
    after_program = message.partition(": ")[2]
    place = {"root": world.root, "cwd": world.cwd}
    subject, cause, remedy = (text.format(**place) for text in (row.subject, row.cause, row.remedy))
    assert after_program.startswith(subject), message
    _, found, rest = after_program.removeprefix(subject).partition(cause)
    assert found or not cause, message
    assert remedy in rest, message
    if row.follow is not None:
        row.follow(world)
        code, said = _try(row, world)
        assert code == 0, said


def _try(row: Trouble, world: World) -> tuple[int, str]:
    """Exit code and standard error of a row's command; a function's error is said as `cli` says it."""
    if isinstance(row.command, str):
        words = row.command.format(root=world.root).split()
        program = {"stages": [sys.executable, str(REPOSITORY / words[0])], "heimdall": [str(BIN / words[0])]}
        done = world.run(*program[words[0].split("/")[0]], *words[1:])
        return done.returncode, done.stderr
    with world.entered():
        try:
            row.command(world)
        except Exception as error:
            found = errors.foreseen(error)
            if found is None:
                raise
            return 1, f"heimdall: {' '.join(str(found).split())}\n"
    return 0, ""


def _obey_permissions() -> None:
    """Give up root's right to open every file, for the process that begins here and those that it starts."""
    libc = ctypes.CDLL(None)
    for right in (_OVERRIDE_PERMISSIONS, _READ_ALL):
        libc.prctl(_PR_CAPBSET_DROP, right, 0, 0, 0)


def nothing(world: World) -> None:
    """The trouble lies in the command itself."""
