"""A link of limited rate to a server: what a client receives through it passes at so many bytes a second."""

from __future__ import annotations

import multiprocessing
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from urllib.parse import urlsplit

_PIECE_BYTES = 2**18
_BURST_S = 0.01  # what the link may catch up after a pause, as a card's queue does


@contextmanager
def limited(url: str, bytes_s: float) -> Iterator[str]:
    """The address at which a server is reached through such a link, whose process has the time to itself.

    Args:
        url: `http://host:port` of the server.
        bytes_s: What all connections together receive, bytes a second.
    """
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=_serve, args=(urlsplit(url).hostname, urlsplit(url).port, bytes_s, theirs), daemon=True
    )
    process.start()
    theirs.close()
    try:
        yield f"http://127.0.0.1:{ours.recv()}"
    finally:
        process.kill()
        process.join()


class _Rate:
    """One queue of bytes for all connections."""

    def __init__(self, bytes_s: float) -> None:
        self._bytes_s = bytes_s
        self._free_at = time.monotonic()
        self._lock = threading.Lock()

    def wait_for(self, count: int) -> None:
        """Until so many bytes more have passed."""
        with self._lock:
            self._free_at = max(self._free_at, time.monotonic() - _BURST_S) + count / self._bytes_s
            wait_s = self._free_at - time.monotonic()
        if wait_s > 0:
            time.sleep(wait_s)


def _serve(host: str, port: int, bytes_s: float, told: Connection) -> None:
    rate = _Rate(bytes_s)
    with socket.create_server(("127.0.0.1", 0)) as listening:
        told.send(listening.getsockname()[1])
        while True:
            client, _ = listening.accept()
            server = socket.create_connection((host, port))
            for side in (client, server):  # else what is forwarded in pieces waits for acknowledgements
                side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=_forward, args=(client, server, None), daemon=True).start()
            threading.Thread(target=_forward, args=(server, client, rate), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket, rate: _Rate | None) -> None:
    try:
        while piece := source.recv(_PIECE_BYTES):
            if rate is not None:
                rate.wait_for(len(piece))
            target.sendall(piece)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # one side has closed the connection
        for side in (source, target):
            side.close()
