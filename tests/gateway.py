"""A gateway before an HTTP server, as companies have them: it passes on, and it may change what it passes."""

from __future__ import annotations

import http.client
import http.server
import ssl
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field, replace
from http.client import HTTPMessage
from pathlib import Path
from types import TracebackType
from urllib.parse import parse_qs, urlsplit

HOP = {"transfer-encoding", "connection", "content-length", "keep-alive"}


@dataclass(frozen=True)
class Request:
    """What a client asks."""

    method: str
    path: str
    headers: HTTPMessage = field(repr=False)
    body: bytes = field(repr=False)

    @property
    def query(self) -> dict[str, list[str]]:
        return parse_qs(urlsplit(self.path).query, keep_blank_values=True)

    @property
    def is_object(self) -> bool:
        """Whether it reads the content of an object, no listing."""
        return self.method == "GET" and "list-type" not in self.query

    @property
    def is_listing(self) -> bool:
        return self.method == "GET" and "list-type" in self.query


@dataclass(frozen=True)
class Answer:
    """What the client gets.

    Attributes:
        framing: "length", "chunked", or "close": the end of the connection is the end of the content.
        sent_bytes: After so many bytes of content the connection is cut; None for all.
    """

    status: int
    headers: dict[str, str]
    body: bytes
    framing: str = "length"
    sent_bytes: int | None = None

    def header(self, name: str) -> str | None:
        return next((value for key, value in self.headers.items() if key.lower() == name.lower()), None)

    def with_header(self, name: str, value: str | None) -> Answer:
        """The same with another header, or without it."""
        kept = {key: old for key, old in self.headers.items() if key.lower() != name.lower()}
        return replace(self, headers=kept if value is None else kept | {name: value})


Change = Callable[[Request, Callable[[Request], Answer]], Answer]


def error(status: int, code: str, inside: str = "", **headers: str) -> Answer:
    """A refusal as S3 words it."""
    body = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>m</Message>{inside}</Error>'.encode()
    return Answer(status, {"Content-Type": "application/xml", **headers}, body)


class Gateway:
    """Forwards requests from a free loopback port to a server, with TLS where a certificate is given.

    Args:
        target: The server's URL.
        change: Gets each request and a function that forwards it; answers.
        certificate: A PEM file with certificate and key.
    """

    def __init__(self, target: str, change: Change | None = None, certificate: Path | None = None) -> None:
        self.requests: list[Request] = []
        gateway = self
        change = change or (lambda request, forward: forward(request))
        netloc = urlsplit(target).netloc

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def log_message(self, *arguments: object) -> None:
                pass

            def do(self) -> None:
                body = _body(self)
                request = Request(self.command, self.path, self.headers, body)
                gateway.requests.append(request)
                with suppress(OSError):
                    _send(self, change(request, lambda asked: _forward(netloc, asked)))

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = do  # noqa: N815 - http.server's names

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        scheme = "http"
        if certificate is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(certificate)
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            scheme = "https"
        self.port = self._server.server_address[1]
        self.url = f"{scheme}://127.0.0.1:{self.port}"

    def __enter__(self) -> Gateway:
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()


def _body(handler: http.server.BaseHTTPRequestHandler) -> bytes:
    """The content of a request, which DVC, typed in a shell, sends in chunks."""
    if handler.headers.get("Transfer-Encoding", "").lower() != "chunked":
        return handler.rfile.read(int(handler.headers.get("Content-Length") or 0))
    body = b""
    while size := int(handler.rfile.readline(), 16):
        body += handler.rfile.read(size)
        handler.rfile.readline()
    handler.rfile.readline()
    return body


def _forward(netloc: str, request: Request) -> Answer:
    connection = http.client.HTTPConnection(netloc, timeout=60)
    connection.putrequest(request.method, request.path, skip_host=True, skip_accept_encoding=True)
    for name, value in request.headers.items():
        if name.lower() not in ("expect", "connection", "transfer-encoding"):
            connection.putheader(name, value)
    if "Content-Length" not in request.headers and request.body:
        connection.putheader("Content-Length", str(len(request.body)))
    connection.endheaders(request.body)
    answer = connection.getresponse()
    body = answer.read()
    headers = {name: value for name, value in answer.getheaders() if name.lower() not in HOP}
    if request.method == "HEAD" and answer.headers.get("Content-Length"):
        headers["Content-Length"] = answer.headers["Content-Length"]
    connection.close()
    return Answer(answer.status, headers, body)


def _send(handler: http.server.BaseHTTPRequestHandler, answer: Answer) -> None:
    handler.send_response_only(answer.status)
    for name, value in answer.headers.items():
        handler.send_header(name, value)
    body = answer.body if answer.sent_bytes is None else answer.body[: answer.sent_bytes]
    if answer.sent_bytes is not None or answer.framing == "close":
        handler.close_connection = True
    if handler.command == "HEAD":
        handler.end_headers()
        return
    if answer.framing == "chunked":
        handler.send_header("Transfer-Encoding", "chunked")
        body = b"".join(
            b"%x\r\n%b\r\n" % (len(body[i : i + 1000]), body[i : i + 1000]) for i in range(0, len(body), 1000)
        )
        body += b"0\r\n\r\n" if answer.sent_bytes is None else b""
    elif answer.framing == "length":
        handler.send_header("Content-Length", str(len(answer.body)))
    handler.end_headers()
    handler.wfile.write(body)
