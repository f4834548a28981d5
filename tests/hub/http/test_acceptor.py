"""Connections from a socket that several processes share."""

from __future__ import annotations

import asyncio
import errno
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from support.certificate import make_certificate

from roomkey.hub.http import acceptor
from roomkey.hub.http.acceptor import BATCH, Acceptor
from roomkey.server.listening import listen


class Counts:
    """What a process knows about its load; a test says whether it is ahead."""

    def __init__(self, ahead: Callable[[], bool] = lambda: False) -> None:
        self.open = 0
        self.is_ahead = ahead
        self.none = asyncio.Event()

    def opened(self) -> None:
        self.open += 1
        self.none.clear()

    def closed(self) -> None:
        self.open -= 1
        if self.open == 0:
            self.none.set()


class Greeting(asyncio.Protocol):
    made = 0

    def connection_made(self, transport: Any) -> None:
        Greeting.made += 1
        transport.write(b"hello")
        transport.close()


@pytest.fixture
def listener() -> Iterator[socket.socket]:
    Greeting.made = 0
    with listen("127.0.0.1", 0) as made:
        yield made


async def greeted(listener: socket.socket, tls: ssl.SSLContext | None = None) -> bytes:
    host, port = listener.getsockname()
    reader, writer = await asyncio.open_connection(host, port, ssl=tls, server_hostname="localhost" if tls else None)
    said = await asyncio.wait_for(reader.read(), 20)
    writer.close()
    return said


async def test_acceptor_counts_connections_until_they_close(listener: socket.socket) -> None:
    counts = Counts()
    accepting = Acceptor(listener, Greeting, counts)
    accepting.start()
    assert await greeted(listener) == b"hello"
    assert Greeting.made == 1
    await asyncio.wait_for(counts.none.wait(), 20)
    open_ones = []

    class Silent(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            open_ones.append((counts.open, transport))
            transport.write(b"!")

    accepting.close()
    again = Acceptor(listener, Silent, counts)
    again.start()
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    assert await reader.read(1) == b"!"
    assert open_ones[0][0] == counts.open == 1
    assert open_ones[0][1].get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
    open_ones[0][1].abort()
    assert await reader.read() == b""
    await asyncio.wait_for(counts.none.wait(), 20)
    writer.close()
    again.close()


async def test_acceptor_serves_tls(listener: socket.socket, tmp_path: Path) -> None:
    trusting = make_certificate(tmp_path)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    counts = Counts()
    accepting = Acceptor(listener, Greeting, counts, {"ssl": tls})
    accepting.start()
    assert await greeted(listener, trusting) == b"hello"
    with pytest.raises(ssl.SSLError):
        await greeted(listener, ssl.create_default_context())  # which does not trust the certificate
    reader, writer = await asyncio.open_connection(*listener.getsockname())
    writer.write(b"GET / HTTP/1.1\r\n\r\n")
    assert b"HTTP" not in await reader.read()
    writer.close()
    assert await greeted(listener, trusting) == b"hello"
    await asyncio.wait_for(counts.none.wait(), 20)
    accepting.close()


async def test_process_that_is_ahead_leaves_connections_to_others(listener: socket.socket) -> None:
    ahead = Counts(lambda: True)
    first, second = Acceptor(listener, Greeting, ahead), Acceptor(listener.dup(), Greeting, Counts())
    accepted: list[Acceptor] = []
    for one in (first, second):
        one._open = lambda connection, one=one: accepted.append(one) or _drop(connection)  # type: ignore[method-assign]
        one.start()
    for _ in range(20):
        with socket.create_connection(listener.getsockname()) as client:
            client.setblocking(False)
            assert await asyncio.get_running_loop().sock_recv(client, 1) == b""
    assert accepted == [second] * 20
    for one in (first, second):
        one.close()


async def _drop(connection: socket.socket) -> None:
    connection.close()


async def test_process_that_is_ahead_takes_what_others_leave(listener: socket.socket) -> None:
    accepting = Acceptor(listener, Greeting, Counts(lambda: True))
    accepting.start()
    said = await asyncio.gather(*(greeted(listener) for _ in range(3 * BATCH)))
    assert said == [b"hello"] * 3 * BATCH
    accepting.close()


async def test_process_without_descriptors_accepts_later(
    listener: socket.socket, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(acceptor, "FULL_SECONDS", 0.01)
    failures = [OSError(errno.EMFILE, "Too many open files")] * 2

    class Full(socket.socket):
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return super().accept()

    full = Full(listener.family, listener.type, listener.proto, fileno=listener.dup().detach())
    full.setblocking(False)
    accepting = Acceptor(full, Greeting, Counts())
    accepting.start()
    assert await greeted(full) == b"hello"
    assert caplog.text.count("cannot accept connections") == 2
    caplog.clear()
    accepting.close()
    full.close()


async def test_process_that_is_ahead_accepts_after_an_error(listener: socket.socket) -> None:
    failures = [OSError(errno.EPROTO, "Protocol error")]
    logged: list[Any] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context["exception"]))

    class Failing(socket.socket):
        def accept(self) -> Any:
            if failures:
                raise failures.pop()
            return super().accept()

    failing = Failing(listener.family, listener.type, listener.proto, fileno=listener.dup().detach())
    failing.setblocking(False)
    accepting = Acceptor(failing, Greeting, Counts(lambda: True))
    accepting.start()
    assert await greeted(failing) == b"hello"
    assert len(logged) == 1
    accepting.close()
    failing.close()


async def test_closed_acceptor_leaves_connections_in_the_queue(listener: socket.socket) -> None:
    accepting = Acceptor(listener, Greeting, Counts())
    accepting.start()
    accepting.close()
    waiting = asyncio.ensure_future(greeted(listener))
    await asyncio.sleep(0)
    other = Acceptor(listener, Greeting, Counts())
    other.start()
    assert await waiting == b"hello"
    other.close()
