"""A way for bytes that can be cut: what a client sees when a server dies in the middle of an answer."""

from __future__ import annotations

import socket
import threading
from contextlib import suppress
from types import TracebackType


class Proxy:
    """Forwards connections on a free loopback port to another one.

    Args:
        port: Where to forward to, on the loopback interface.
        limit_bytes: After this many bytes of answers every connection is cut and no more are accepted.
    """

    def __init__(self, port: int, limit_bytes: float = float("inf")) -> None:
        self.answered_bytes = 0
        self._target = port
        self._limit_bytes = limit_bytes
        self._lock = threading.Lock()
        self._open: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Proxy:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.cut()

    def cut(self) -> None:
        """Close every connection and accept no more."""
        with self._lock:
            for connection in [self._listener, *self._open]:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
                connection.close()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
                server = socket.create_connection(("127.0.0.1", self._target))
            except OSError:
                return
            with self._lock:
                self._open += [client, server]
            threading.Thread(target=self._forward, args=(client, server, False), daemon=True).start()
            threading.Thread(target=self._forward, args=(server, client, True), daemon=True).start()

    def _forward(self, source: socket.socket, sink: socket.socket, answers: bool) -> None:
        with suppress(OSError):
            while content := source.recv(65_536):
                if answers:
                    self.answered_bytes += len(content)
                    if self.answered_bytes > self._limit_bytes:
                        self.cut()
                        return
                sink.sendall(content)
            sink.shutdown(socket.SHUT_WR)
