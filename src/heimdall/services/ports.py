"""Free ports for the embedded servers, kept from other clones until the servers have them."""

from __future__ import annotations

import socket
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from heimdall.core.errors import HeimdallError
from heimdall.services import seaweedfs
from heimdall.storage import embedded

REMEDY = (
    f"Unset {embedded.PORT_BASE_VARIABLE}, and free ports are found by themselves; "
    f"or set it to another number from {embedded.MIN_PORT_BASE} to {embedded.MAX_PORT_BASE}"
)


@contextmanager
def first_free(bases: Iterable[int], *, database: bool, s3: bool) -> Iterator[int]:
    """The first base whose ports are free; no other start on this machine takes it while the block lasts.

    Args:
        bases: In the order of preference, at least one.
        database: Whether PostgreSQL's port must be free.
        s3: Whether those of S3 must be.

    Yields:
        The base.

    Raises:
        HeimdallError: None is free; the message names the first port that is taken.
    """
    problems = []
    for base in bases:
        # Nothing is claimed where something listens: the base of running servers is never claimed by others.
        problem = _problem(base, database, s3)
        if problem is None:
            with _claim(base) as claimed:
                problem = (
                    _problem(base, database, s3) if claimed else (str(base), "another clone is starting")
                )
                if problem is None:
                    yield base
                    return
        problems.append(problem)
    (subject, cause), *others = problems
    raise HeimdallError(
        subject, f"{cause}; {len(others)} other bases are not free" if others else cause, REMEDY
    )


def _problem(base: int, database: bool, s3: bool) -> tuple[str, str] | None:
    """What keeps servers from starting at a base, and why; None if nothing does."""
    ports = embedded.Ports(base)
    wanted = {ports.postgresql: "PostgreSQL"} if database else {}
    if s3:
        wanted |= {port: f"S3 ({option})" for option, port in ports.seaweedfs.items()}
    for port, purpose in wanted.items():
        if not embedded.is_free(port):
            return f"{embedded.HOST}:{port}", f"the port for {purpose} is taken by another program"
    foreign = seaweedfs.foreign_socket(ports) if s3 else None
    return (
        (str(foreign), "another user's S3 server left it, and only they can remove it") if foreign else None
    )


@contextmanager
def _claim(base: int) -> Iterator[bool]:
    """Whether this process is the only one that starts servers at a base, until the block ends.

    The mark is an abstract socket: it is seen wherever the ports are, by every user, needs no folder, and the
    system removes it with its process.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mark:
        try:
            mark.bind(f"\0heimdall-ports-{base}")
        except OSError:
            yield False
        else:
            yield True
