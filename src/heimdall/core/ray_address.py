"""What can be known of a Ray cluster without Ray: its address, its token, and whether it answers.

Ray itself waits for a minute where it meets something else, and ends the process where it has no token.
"""

from __future__ import annotations

import socket
from pathlib import Path

from heimdall.core import variables
from heimdall.core.errors import HeimdallError

REACHED_S = 10.0
OTHERS = 0o077  # permissions of everybody but the owner
# What a client of HTTP/2, and so of gRPC, says first: its preface, and settings of which there are none.
_GREETING = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes((0, 0, 0, 4, 0, 0, 0, 0, 0))
_HEADER = 9  # bytes of a frame's header
_KIND = slice(3, 4)  # what says in it which kind of frame it is
_SETTINGS = b"\4"  # the kind that a server begins with


def split(address: str) -> tuple[str, int]:
    """Host and port of a cluster's head.

    Args:
        address: As a person has it from `heimdall cluster start`.

    Raises:
        HeimdallError: It is no host and port.
    """
    host, colon, port = address.rpartition(":")
    if not host or not port.isdecimal():
        cause = f"{address!r} is no host and port" + (
            ", the port is missing" if address and not colon else ""
        )
        remedy = f"`heimdall cluster start` prints its address, such as {variables.RAY_ADDRESS.example}"
        raise HeimdallError("Ray cluster", cause, remedy)
    return host, int(port)


def silence(host: str, port: int) -> str:
    """Why nothing answers as Ray does; empty if it does.

    Each address of the host has `REACHED_S` seconds to take the connection, and one has as many to answer.

    Args:
        host: Of a cluster's head.
        port: Of the same.
    """
    try:
        with socket.create_connection((host, port), REACHED_S) as connection:
            connection.sendall(_GREETING)
            answer = connection.recv(_HEADER)
    except TimeoutError:
        return f"no answer within {REACHED_S:g} s"
    except (OSError, OverflowError, UnicodeError) as error:  # the last: of a name that no host can have
        return f"nothing answers there ({error})"
    return "" if answer[_KIND] == _SETTINGS else "what answers there is no Ray"


def token_file() -> Path:
    """Where the token of the cluster is, unless a command names another file."""
    return Path(variables.RAY_AUTH_TOKEN_PATH.read() or Path.home() / ".ray" / "auth_token")


def require_token(file: Path) -> None:
    """Refuse a file with no token, or with one that others may read.

    Args:
        file: Of the cluster's token.

    Raises:
        HeimdallError: It is refused.
    """
    if not file.is_file():
        remedy = "Copy the file that `heimdall cluster start` named, and name it with "
        remedy += f"{variables.RAY_AUTH_TOKEN_PATH.name}, or with --token-file to join"
        raise HeimdallError(str(file), "there is no such file with the cluster's token", remedy)
    if not file.read_bytes().strip():
        remedy = "Remove it and type `heimdall cluster start` again on the first machine, else copy it again"
        raise HeimdallError(str(file), "the file of the cluster's token is empty", remedy)
    if file.stat().st_mode & OTHERS:
        remedy = f"Run `chmod 600 {file}`; where its mode cannot be changed, set "
        remedy += f"{variables.RAY_AUTH_TOKEN.name} to the token, or copy the file to join"
        raise HeimdallError(str(file), "others may read the cluster's token", remedy)
