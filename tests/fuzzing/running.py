"""Inputs one by one through a reader, each within limits of time and memory, and what came of each."""

from __future__ import annotations

import resource
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from types import TracebackType

from heimdall.core.errors import HeimdallError
from tests.fuzzing import mutations
from tests.fuzzing.mutations import Edit, Files

ACCEPTED, REFUSED, TRACEBACK, WRONG, LOST = "accepted", "refused", "traceback", "wrong", "lost"
COLUMNS = (ACCEPTED, REFUSED, TRACEBACK, WRONG, LOST)
FAILURES = (TRACEBACK, WRONG, LOST)
LIMIT_S = 10.0
LIMIT_BYTES = 1 << 30  # beside what the process has before
LONGEST_LINE = 2000  # characters of a message
BLIND_SHARE, SPLICE_SHARE, NAME_SHARE, UNCHANGED_SHARE = 0.4, 0.05, 0.05, 0.01


class Wrong(Exception):  # noqa: N818 - a finding, not a failure of this program
    """What was accepted is impossible, or a refusal is not one line."""


class Lost(Exception):  # noqa: N818 - as above
    """Input was changed, or a part of it is neither in the result nor refused."""


class _TooSlow(BaseException):
    """No `except Exception` of a reader may swallow it."""


@dataclass(frozen=True)
class Reader:
    """One that takes files.

    Attributes:
        name: As `--reader` has it.
        seeds: Good input, from which the odd one is made.
        edits: Changes that know the format.
        read: Reads the named file, and raises `Wrong` where what it gives is impossible. Another exception
            than HeimdallError is a traceback to a user.
        renamed: Whether the name of the file says something.
    """

    name: str
    seeds: Callable[[], list[Files]]
    edits: tuple[Edit, ...]
    read: Callable[[Path, Random], object]
    renamed: bool = False


@dataclass(frozen=True)
class Failure:
    """An input to be looked at.

    Attributes:
        reader: Its reader.
        number: Of the input: with the seed, `--only` makes it again.
        kind: One of `FAILURES`.
        text: What happened.
    """

    reader: str
    number: int
    kind: str
    text: str


@dataclass
class Counts:
    """What came of the inputs of a reader.

    Attributes:
        reader: Its name.
        by_kind: Inputs by `COLUMNS`.
        slowest_s: The longest time that one took.
        slowest: Its number.
        failures: Those that must not be.
    """

    reader: str
    by_kind: dict[str, int] = field(default_factory=lambda: dict.fromkeys(COLUMNS, 0))
    slowest_s: float = 0.0
    slowest: int = 0
    failures: list[Failure] = field(default_factory=list)

    def add(self, number: int, kind: str, text: str, took_s: float) -> None:
        """Count an input."""
        self.by_kind[kind] += 1
        if took_s > self.slowest_s:
            self.slowest_s, self.slowest = took_s, number
        if kind in FAILURES:
            self.failures.append(Failure(self.reader, number, kind, text))


def run(reader: Reader, seed: int, numbers: range, progress: Callable[[], object] = lambda: None) -> Counts:
    """Give a reader its inputs with these numbers."""
    counts, seeds = Counts(reader.name), reader.seeds()
    with tempfile.TemporaryDirectory() as folder:  # libraries are loaded before memory is limited
        _one(reader, generator(seed), seeds[0], Path(folder) / "first")
    with tempfile.TemporaryDirectory() as folder, limited_memory():
        for number in numbers:
            random = generator(f"{seed} {reader.name} {number}")
            place = Path(folder) / str(number)
            begin = time.perf_counter()
            kind, text = _one(reader, random, made(reader, seeds, random), place)
            counts.add(number, kind, text, time.perf_counter() - begin)
            progress()
    return counts


def generator(seed: int | str) -> Random:
    """Random numbers that are the same each time."""
    return Random(seed)  # noqa: S311 - to be repeatable, not secret


def made(reader: Reader, seeds: list[Files], random: Random) -> Files:
    """An input: a seed with one to three changes, in one of its files."""
    files = dict(random.choice(seeds))
    if random.random() < UNCHANGED_SHARE:
        return files
    for _ in range(random.choice((1, 1, 1, 2, 3))):
        target = random.choice(list(files)) if random.random() < 0.3 else next(iter(files))
        choice = random.random()
        if choice < SPLICE_SHARE:
            other = random.choice(list(random.choice(seeds).values()))
            files[target] = mutations.splice(random, files[target], other)
        else:
            edits = mutations.BLIND if choice < SPLICE_SHARE + BLIND_SHARE else reader.edits
            files[target] = random.choice(edits)(random, files[target])
    return mutations.name(random, files) if reader.renamed and random.random() < NAME_SHARE else files


def _one(reader: Reader, random: Random, files: Files, folder: Path) -> tuple[str, str]:
    """What came of an input, and why it must not be."""
    folder.mkdir()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    verdict = judged(lambda: reader.read(folder / next(iter(files)), random))
    left = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in left:
        (folder / name).unlink()
    folder.rmdir()
    return verdict if left == files else (LOST, "the reader changed its input")


def judged(read: Callable[[], object]) -> tuple[str, str]:  # noqa: PLR0911 - a line each
    """Call a reader within the limit of time, and say what came of it."""
    try:
        with _limited_time():
            read()
    except HeimdallError as error:
        text = str(error)
        if text.isprintable() and len(text) <= LONGEST_LINE:
            return REFUSED, text
        return WRONG, f"a refusal of {len(text)} characters, {text.count(chr(10)) + 1} lines: {text[:300]!r}"
    except Wrong as error:
        return WRONG, str(error)
    except Lost as error:
        return LOST, str(error)
    except _TooSlow:
        return TRACEBACK, f"not done after {LIMIT_S:g} s, {_where(sys.exc_info()[2])}"
    except Exception as error:
        return TRACEBACK, f"{type(error).__name__}: {str(error)[:200]!r}, {_where(error.__traceback__)}"
    return ACCEPTED, ""


def _where(trace: TracebackType | None) -> str:
    """The last line of the package, and the last of all."""
    frames = traceback.extract_tb(trace)
    ours = [frame for frame in frames if "/src/heimdall/" in frame.filename]
    return " < ".join(f"{Path(frame.filename).name}:{frame.lineno}" for frame in (frames[-1], *ours[-1:]))


@contextmanager
def _limited_time() -> Iterator[None]:
    def stop(*_: object) -> None:
        raise _TooSlow

    former = signal.signal(signal.SIGALRM, stop)
    signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, former)


@contextmanager
def limited_memory() -> Iterator[None]:
    """No more than `LIMIT_BYTES` beside what the process has: who believes a header fails here."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[0])
    former = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (pages * resource.getpagesize() + LIMIT_BYTES, former[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, former)
