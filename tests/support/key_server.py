"""An HTTP server on loopback that publishes keys, or misbehaves as the test says."""

from __future__ import annotations

import contextlib
import json
import socket
import socketserver
import ssl
import threading
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from roomkey import Issuer, Key
from roomkey.core.key_set import KeySet

Respond = Callable[[socket.socket], None]

PLAIN = b"HTTP/1.1 %s\r\nContent-Type: %s\r\nContent-Length: %d\r\nConnection: close\r\n%s\r\n"


def response(
    body: bytes, status: bytes = b"200 OK", headers: bytes = b"", kind: bytes = b"application/jwk-set+json"
) -> Respond:
    """Respond with a body."""
    return lambda connection: connection.sendall(PLAIN % (status, kind, len(body), headers) + body)


def json_response(value: Any) -> Respond:
    """Respond with JSON."""
    return response(json.dumps(value).encode())


def keys(*listed: Key | dict[str, Any]) -> Respond:
    """Respond with a JWK Set."""
    return json_response({"keys": [key.to_jwk() if isinstance(key, Key) else key for key in listed]})


def redirect(where: str) -> Respond:
    """Respond with a redirect."""
    return response(b"", b"302 Found", f"Location: {where}\r\n".encode())


def failing(connection: socket.socket) -> None:
    """Respond with 500."""
    response(b"oops", b"500 Internal Server Error")(connection)


def html(connection: socket.socket) -> None:
    """Respond with a web page, as a captive portal does."""
    response(b"<!doctype html><title>Log in</title>", kind=b"text/html")(connection)


def cut(connection: socket.socket) -> None:
    """Close the connection in the middle of the body."""
    connection.sendall(PLAIN % (b"200 OK", b"application/json", 4096, b"") + b'{"keys": [')


def silent(connection: socket.socket) -> None:
    """Close the connection without a response."""


class Huge:
    """Respond with 100 MB, and count what was taken."""

    def __init__(self, size: int = 100_000_000) -> None:
        self.size, self.sent = size, 0

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(PLAIN % (b"200 OK", b"application/json", self.size, b""))
        block = b" " * 65_536
        with contextlib.suppress(OSError):
            while self.sent < self.size:
                self.sent += connection.send(block)


class Flood:
    """Send a beginning, and then the same bytes again and again, and count them."""

    SIZE = 30_000_000

    def __init__(self, first: bytes, again: bytes) -> None:
        self._first, self._block, self.sent = first, again * (65_536 // len(again) + 1), 0

    def __call__(self, connection: socket.socket) -> None:
        connection.sendall(self._first)
        with contextlib.suppress(OSError):
            while self.sent < self.SIZE:
                self.sent += connection.send(self._block)


class Held:
    """Respond only after :meth:`release`; the test waits for :attr:`arrived`."""

    def __init__(self, then: Respond) -> None:
        self._then = then
        self.arrived, self._released = threading.Event(), threading.Event()

    def __call__(self, connection: socket.socket) -> None:
        self.arrived.set()
        assert self._released.wait(30)
        self._then(connection)

    def release(self) -> None:
        self._released.set()


def drip(connection: socket.socket) -> None:
    """Send one byte of a header again and again, each within any limit for one read."""
    connection.sendall(b"HTTP/1.1 200 OK\r\nX-Padding: ")
    stop = threading.Event()
    with contextlib.suppress(OSError):
        while not stop.wait(0.02):
            connection.sendall(b"x")


class KeyServer:
    """A server whose responses the test sets.

    Attributes:
        url: of the server, without a path.
        paths: the path of each request, in order.
        bodies: the body of each request, in order.
        heads: the head of each request, in order.
        respond: the response to every path that is not in :attr:`routes`.
        routes: the responses to single paths.
    """

    def __init__(self, tls: ssl.SSLContext | None = None) -> None:
        self.paths: list[str] = []
        self.bodies: list[bytes] = []
        self.heads: list[bytes] = []
        self.respond: Respond = failing
        self.routes: dict[str, Respond] = {}
        owner = self

        class Handler(socketserver.BaseRequestHandler):
            def handle(self) -> None:
                if tls is None:
                    return owner._handle(self.request)
                with contextlib.suppress(OSError), tls.wrap_socket(self.request, server_side=True) as encrypted:
                    owner._handle(encrypted)
                return None

        class Server(socketserver.ThreadingTCPServer):
            daemon_threads = True
            allow_reuse_address = True
            request_queue_size = 256

        self._server = Server(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.url = f"http{'' if tls is None else 's'}://127.0.0.1:{self.port}"
        threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True).start()

    @property
    def requests(self) -> int:
        return len(self.paths)

    def _handle(self, connection: socket.socket) -> None:
        received = b""
        with contextlib.suppress(OSError):
            while b"\r\n\r\n" not in received:
                block = connection.recv(65_536)
                if not block:
                    return
                received += block
            head, _, body = received.partition(b"\r\n\r\n")
            length = next(
                (int(line[15:]) for line in head.lower().split(b"\r\n") if line.startswith(b"content-length:")), 0
            )
            while len(body) < length:
                body += connection.recv(65_536)
            path = head.split(b" ")[1].decode()
            self.bodies.append(body)
            self.heads.append(head)
            self.paths.append(path)
            self.routes.get(path, self.respond)(connection)

    def publish(self, *listed: Key | dict[str, Any]) -> None:
        """Respond with these keys from now on."""
        self.respond = keys(*listed)

    def discover(self, issuer: str | None = None, **members: Any) -> None:
        """Respond with a discovery document, too."""
        document = {"issuer": issuer or self.url, "jwks_uri": f"{self.url}/jwks", **members}
        self.routes["/.well-known/openid-configuration"] = json_response(document)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@contextlib.contextmanager
def key_server(*listed: Key, tls: ssl.SSLContext | None = None) -> Iterator[KeyServer]:
    """Run a key server."""
    server = KeyServer(tls)
    if listed:
        server.publish(*listed)
    try:
        yield server
    finally:
        server.close()


def new_keys(*kids: str, algorithm: str = "ES256") -> list[Key]:
    """Return private keys with these names."""
    return [Key.generate(algorithm, kid=kid) for kid in kids]


def signed(key: Key, subject: str = "ada", **settings: Any) -> str:
    """Return a token of the issuer ``https://sso.example`` for the audience ``chat``, signed with a key."""
    settings = {"issuer": "https://sso.example", "audience": "chat", **settings}
    return Issuer(key, **settings).issue(subject)


def with_kid(key: Key, kid: str) -> Key:
    """Return the same key under another name."""
    return Key.from_jwk({**key.to_jwk(private=True), "kid": kid})


def public_set(listed: Iterable[Key]) -> KeySet:
    """Return the public halves of keys."""
    return KeySet(key.public() for key in listed)
