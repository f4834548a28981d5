"""Count the instructions that the hub executes per operation, without a network.

    python bench/instructions.py [echo] [plain] [polling] [connect] [handshake] [refused] [deliver] [--write]

A noisy machine does not disturb this count. Each operation runs 1,000 and 5,000 times (a delivery, which
is short, ten times as often) under ``valgrind --tool=callgrind``, and the difference is divided by 4,000 (40,000). It
requires valgrind, and takes about a minute per operation, divided by the number of cores.
"""

from __future__ import annotations

import argparse
import asyncio
import logging
import os
import re
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import figures
from uvicorn.server import ServerState

sys.path.insert(0, str(Path(__file__).parent / "socketio"))
from wire import frame

from roomkey import Issuer
from roomkey.hub import Hub
from roomkey.hub.engine_session import EngineSession
from roomkey.hub.http.requests import HttpRequest
from roomkey.hub.http.runner import config
from roomkey.wire import TransportState
from roomkey.wire.websocket import CLOSE

FEW, MANY, AT_ONCE = 1000, 5000, 50
TIMES_AS_OFTEN = {"deliver": 10}
EVENT = b'4212["message",{"ack":true,"text":"hello world 12"}]'
TITLES = {
    "echo": "event with an ack, handled by a coroutine function",
    "plain": "the same, handled by a plain function",
    "polling": "the same over long-polling, from the bytes of a GET and a POST request to those of the responses",
    "connect": "connect and disconnect",
    "handshake": "the same, from the bytes of the request to those of the Close frame",
    "refused": "connect with a bad token",
    "deliver": "delivery of a broadcast to 500, per receiver",
}
OPERATIONS = tuple(TITLES)
HEAD = (
    b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: 127.0.0.1:8000\r\nUpgrade: websocket\r\n"
    b"Connection: Upgrade\r\nSec-WebSocket-Key: AAECAwQFBgcICQoLDA0ODw==\r\nSec-WebSocket-Version: 13\r\n\r\n"
)
GET = b"GET /socket.io/?EIO=4&transport=polling%b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n\r\n"
POST = (
    b"POST /socket.io/?EIO=4&transport=polling%b HTTP/1.1\r\nHost: 127.0.0.1:8000\r\n"
    b"Content-Type: text/plain;charset=UTF-8\r\nContent-Length: %d\r\n\r\n%b"
)


class Nowhere:
    """A transport that drops everything."""

    def send(self, message: object) -> None: ...

    send_batched = send_packet = send

    def close(self, code: int = 1000) -> bool:
        return True

    def abort(self) -> None: ...

    client_closing = on_admitted = abort

    def drain(self) -> list[Any]:
        return []


class Line(asyncio.Transport):
    """A connection without a network: drops what is written."""

    protocol: Any

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 1), "socket": self})

    def set_protocol(self, protocol: asyncio.BaseProtocol) -> None:
        self.protocol = protocol

    def setsockopt(self, *option: object) -> None: ...

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return False

    def set_write_buffer_limits(self, high: int | None = None, low: int | None = None) -> None: ...

    def write(self, data: object) -> None: ...

    def close(self) -> None: ...


def opened(hub: Hub) -> EngineSession:
    headers = [(b"host", b"x"), (b"upgrade", b"websocket"), (b"connection", b"Upgrade")]
    request = HttpRequest("GET", "/socket.io/", "EIO=4&transport=websocket", headers, "127.0.0.1")
    session = hub.requests.open(request, TransportState.WEBSOCKET)
    assert isinstance(session, EngineSession)
    session.use(Nowhere())
    hub.sessions.greet(session)
    return session


async def run(operation: str, times: int) -> None:
    issuer = Issuer.ephemeral(audience="chat")
    # Above max_bad_tokens, a refusal is cheaper: it is only counted.
    hub = Hub(issuer.verifier(), event_rate=1e12, max_bad_tokens=10**9)

    async def message(sid: str, data: object) -> object:
        return data

    hub.on("message", (lambda sid, data: data) if operation in ("plain", "polling") else message)
    good = b'40{"token":"%b"}' % issuer.issue("ada", rooms=["red"]).encode()
    packet = good if operation != "refused" else good[:-8] + b'AAAAAA"}'
    if operation == "handshake":
        await come_and_go_by_bytes(hub, good, times)
        return
    if operation == "polling":
        await polls_by_bytes(hub, good, times)
        return
    if operation in ("connect", "refused"):
        await come_and_go(hub, packet, times)
        return
    members = [opened(hub) for _ in range(500 if operation == "deliver" else 1)]
    for member in members:
        member.text(good)
    await asyncio.sleep(0)
    if operation == "deliver":
        for _ in range(times // len(members)):
            await hub.emit("message", "hello")
        return
    for number in range(times):
        members[0].text(EVENT)
        if number % AT_ONCE == 0:
            await asyncio.sleep(0)


async def come_and_go(hub: Hub, packet: bytes, times: int) -> None:
    for _ in range(times // AT_ONCE):
        sessions = [opened(hub) for _ in range(AT_ONCE)]
        for session in sessions:
            session.text(packet)
        await asyncio.sleep(0)
        for session in sessions:
            session.end("transport close")
        await asyncio.sleep(0)


async def come_and_go_by_bytes(hub: Hub, packet: bytes, times: int) -> None:
    settings = config(hub)
    settings.load()
    make_protocol: Any = settings.http_protocol_class
    state, loop = ServerState(), asyncio.get_running_loop()
    for _ in range(times // AT_ONCE):
        lines = [Line() for _ in range(AT_ONCE)]
        for line in lines:
            line.protocol = make_protocol(settings, state, {}, loop)
            line.protocol.connection_made(line)
            line.protocol.data_received(HEAD)
        for line in lines:
            line.protocol.data_received(frame(packet))
        await asyncio.sleep(0)
        for line in lines:
            line.protocol.data_received(frame(b"\x03\xe8", CLOSE))
            line.protocol.connection_lost(None)
        await asyncio.sleep(0)


async def polls_by_bytes(hub: Hub, packet: bytes, times: int) -> None:
    settings = config(hub)
    settings.load()
    make_protocol: Any = settings.http_protocol_class
    state, loop = ServerState(), asyncio.get_running_loop()
    state.default_headers = [(b"date", b"Thu, 01 Jan 2026 00:00:00 GMT")]
    poller, poster = Line(), Line()
    for line in (poller, poster):
        line.protocol = make_protocol(settings, state, {}, loop)
        line.protocol.connection_made(line)
    poller.protocol.data_received(GET % b"")
    sid = b"&sid=" + next(iter(hub.sessions.active)).encode()
    poll, say = GET % sid, POST % (sid, len(EVENT), EVENT)
    poster.protocol.data_received(POST % (sid, len(packet), packet))
    await asyncio.sleep(0)
    poller.protocol.data_received(poll)
    for _ in range(times):
        poller.protocol.data_received(poll)
        poster.protocol.data_received(say)
        await asyncio.sleep(0)


def instructions(operation: str, times: int) -> int:
    command = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", sys.executable, __file__]
    done = subprocess.run([*command, operation, "--times", str(times)], capture_output=True, text=True, check=True)
    found = re.search(r"Collected : (\d+)", done.stderr)
    assert found is not None
    return int(found[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("operations", nargs="*", choices=("all", *OPERATIONS), default="all")
    parser.add_argument("--write", action="store_true", help="renew the table in docs/performance.md")
    parser.add_argument("--times", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    if chosen.times is not None:
        logging.getLogger("roomkey.audit").addHandler(logging.NullHandler())
        logging.getLogger("roomkey.audit").propagate = False
        asyncio.run(run(chosen.operations[0], chosen.times))
        return
    rows = []
    operations = OPERATIONS if "all" in chosen.operations else tuple(chosen.operations)
    with ThreadPoolExecutor(os.cpu_count()) as pool:  # more processes at once do not change the counts
        often = {name: TIMES_AS_OFTEN.get(name, 1) for name in operations}
        counts = {
            (name, times): pool.submit(instructions, name, times * often[name])
            for name in operations
            for times in (FEW, MANY)
        }
        for name in operations:
            each = (counts[name, MANY].result() - counts[name, FEW].result()) / ((MANY - FEW) * often[name])
            print(f"{name:8} {each:10,.0f} instructions", flush=True)
            rows.append([TITLES[name], f"{each:,.0f}".replace(",", " ")])
    if chosen.write:
        figures.write("instructions", figures.table(["operation", "instructions"], rows))


if __name__ == "__main__":
    main()
