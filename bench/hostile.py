"""Measure the effect of hostile clients on honest ones.

    python bench/hostile.py floods [--engine hub|guard] [--kind ping …] [--seconds 5]
    python bench/hostile.py crowd  [--engine hub|guard] [--idle 3000] [--hostile 200] [--seconds 10]
    python bench/hostile.py waves  [--engine hub|guard] [--waves 5] [--connections 1000]

``floods``: the echo of one honest client next to 4 MB/s of each kind of frame, from one connection that comes back when
it is closed.
``crowd``: the same next to idle connections, and hostile ones that each send a part of 4 MB/s of all kinds in turn.
``waves``: the server's memory after each wave of connections has left.

The server runs on a core of its own, on loopback; ``guard`` is python-socketio with AsyncGuard under uvicorn. Every run
has an end: seconds, connections and reconnections are bounded.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent / "socketio"))
import servers
from wire import Client, Swarm, frame

from roomkey import Issuer, Key, Verifier

BYTES_PER_SECOND = 4_000_000
COMEBACKS = 20
"""How many connections per second all hostile clients together reopen after the server closed them."""


def fragment(opcode: int, payload: bytes = b"") -> bytes:
    """Return a masked frame that is not the last one of its message."""
    made = frame(payload, opcode)
    return bytes((made[0] & 0x7F,)) + made[1:]


EVENT = b'42["echo","%b"]'
KINDS: dict[str, tuple[bytes, bytes]] = {  # sent once, and sent repeatedly
    "ping": (b"", frame(b"", 9)),
    "large_ping": (b"", frame(b"x" * 125, 9)),
    "pong": (b"", frame(b"", 10)),
    "empty_text": (b"", frame(b"")),
    "empty_binary": (b"", frame(b"", 2)),
    "continuation": (fragment(1, b"4"), fragment(0)),
    "large_continuation": (fragment(1, b"4"), fragment(0, b"x" * 4096)),
    "engine_ping": (b"", frame(b"2")),
    "engine_pong": (b"", frame(b"3")),
    "event": (b"", frame(EVENT % b"x")),
    "large_event": (b"", frame(EVENT % (b"x" * 60_000))),
    "ack": (b"", frame(b"431[]")),
    "connect": (b"", frame(b"40/x,{}")),
    "fragmented_event": (b"", fragment(1, b'42["echo","') + fragment(0, b"x" * 6) * 1000 + frame(b'"]', 0)),
}
ADMITTED = ("event", "large_event", "ack", "fragmented_event")
"""Kinds that a client with a valid token also sends, as ``admitted_…``."""


def hello(subject: str) -> bytes:
    """Return a CONNECT packet with a valid token."""
    issuer = Issuer(Key.from_secret(servers.SECRET), issuer=None, expires_in=7200)
    return frame(b'40{"token":"%b"}' % issuer.issue(subject).encode())


def all_kinds() -> list[str]:
    return [*KINDS, *(f"admitted_{kind}" for kind in ADMITTED)]


# The server


@contextlib.contextmanager
def serving(engine: str) -> Iterator[tuple[int, int]]:
    """Run the server on its core. Yield its port and process ID."""
    servers.allow_connections()
    with contextlib.ExitStack() as stack:
        log = stack.enter_context(tempfile.TemporaryFile())
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = int(free.getsockname()[1])
        env = {**os.environ, "SECRET": servers.SECRET, "PORT": str(port)}
        command = ["taskset", "-c", str(servers.cores()[0]), sys.executable, __file__, "serve", "--engine", engine]
        process = subprocess.Popen(command, env=env, stdout=log, stderr=log, start_new_session=True)
        stack.callback(servers.stop, process)
        servers.await_port(process, port, log)
        yield port, process.pid


def serve(engine: str) -> None:
    port, verifier = int(os.environ["PORT"]), Verifier.hs256(os.environ["SECRET"])
    settings: dict[str, Any] = {"max_anonymous": 10_000, "connect_timeout": 600.0}
    if engine == "hub":
        from roomkey.hub import Hub

        hub = Hub(verifier, **settings)
        hub.on("echo", lambda sid, data: data)
        hub.run(port=port, log_level="critical")
        return
    import socketio
    import uvicorn

    from roomkey.hub import runner
    from roomkey.socketio import AsyncGuard

    sio = socketio.AsyncServer(async_mode="asgi", cors_allowed_origins=[])
    AsyncGuard(verifier, **settings).attach(sio)

    @sio.on("echo")
    async def echo(sid: str, data: object) -> object:
        return data

    uvicorn.run(socketio.ASGIApp(sio), port=port, log_level="critical", **runner.UVICORN_SETTINGS)


def memory(pid: int) -> float:
    """Return the resident memory of a process in megabytes."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1000
    raise ProcessLookupError(pid)


# The hostile clients run in a process of their own, so that they do not delay the echo


class Hostile:
    """One hostile connection."""

    def __init__(self, port: int, kind: str, number: int) -> None:
        self.port, self.number = port, number
        self.kind = kind.removeprefix("admitted_")
        self.hello = hello(f"mallory-{number}") if kind.startswith("admitted_") else b""
        self.sock: socket.socket | None = None
        self.rest = b""

    def open(self) -> None:
        sock = socket.socket()
        sock.settimeout(5)
        sock.bind((f"127.0.3.{self.number % 250 + 1}", 0))
        with contextlib.suppress(OSError):
            sock.connect(("127.0.0.1", self.port))
            sock.sendall(Swarm(self.port).upgrade)
            sock.recv(4096)
            if self.hello:
                sock.sendall(self.hello)
                sock.recv(4096)
            once, again = KINDS[self.kind]
            sock.setblocking(False)
            self.sock, self.rest = sock, once
            self.again = again * max(1, 65_536 // len(again))
            return
        sock.close()

    def send(self, allowed: int) -> int:
        """Send up to this many bytes. Return how many were sent."""
        assert self.sock is not None
        with contextlib.suppress(BlockingIOError):
            if not self.sock.recv(1 << 16):
                raise ConnectionResetError
        if len(self.rest) < allowed:
            self.rest += self.again
        try:
            taken = self.sock.send(self.rest[:allowed])
        except BlockingIOError:
            return 0
        self.rest = self.rest[taken:]
        return taken

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


def attack(port: int, kinds: list[str], connections: int, seconds: float) -> None:
    """Send 4 MB/s altogether, reopen closed connections, and print the totals."""
    hostile = [Hostile(port, kinds[number % len(kinds)], number) for number in range(connections)]
    began = time.monotonic()
    sent = opened = 0
    while (elapsed := time.monotonic() - began) < seconds:
        for one in hostile:
            if one.sock is None:
                if opened < connections + COMEBACKS * elapsed:
                    opened += 1
                    one.open()
                continue
            allowed = min(65_536, int(BYTES_PER_SECOND * (time.monotonic() - began)) - sent)
            if allowed <= 0:
                break
            try:
                sent += one.send(max(1, allowed))
            except OSError:
                one.close()
        time.sleep(0.002)
    print(json.dumps({"sent_mb": round(sent / 1e6, 1), "opened": opened}))


@contextlib.contextmanager
def attacked(port: int, kinds: list[str], connections: int, seconds: float) -> Iterator[dict[str, float]]:
    found: dict[str, float] = {}
    arguments = [str(port), ",".join(kinds), str(connections), str(seconds)]
    command = ["taskset", "-c", str(servers.cores()[1]), sys.executable, __file__, "attack", "--attack", *arguments]
    process = subprocess.Popen(
        command, env={**os.environ, "SECRET": servers.SECRET}, stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    try:
        yield found
        out, _ = process.communicate(timeout=seconds + 30)
        found |= json.loads(out or "{}")
    finally:
        servers.stop(process)


# The honest clients


def echoes(port: int, seconds: float) -> dict[str, float]:
    """Return how long one client waits for its echo, in milliseconds, fifty times per second."""
    taken: list[float] = []
    with socket.create_connection(("127.0.0.1", port), timeout=30) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(Swarm(port).upgrade)
        receive(sock, b"0{")
        sock.sendall(hello("ada"))
        receive(sock, b"40")
        end, number = time.monotonic() + seconds, 0
        while time.monotonic() < end:
            number += 1
            began = time.perf_counter()
            sock.sendall(frame(b'42%d["echo",1]' % number))
            receive(sock, b"43%d[" % number, sock_heartbeat=True)
            taken.append((time.perf_counter() - began) * 1e3)
            time.sleep(0.02)
    cuts = statistics.quantiles(taken, n=100, method="inclusive")
    return {"echoes": len(taken), "p50_ms": cuts[49], "p99_ms": cuts[98], "max_ms": max(taken)}


def receive(sock: socket.socket, wanted: bytes, *, sock_heartbeat: bool = False) -> None:
    """Read until a message arrives, and answer heartbeats."""
    data = b""
    while wanted not in data:
        part = sock.recv(1 << 16)
        if not part:
            raise ConnectionError("the server closed the honest client")
        data += part
        if sock_heartbeat and b"\x81\x012" in part:
            sock.sendall(frame(b"3"))


def crowd(swarm: Swarm, count: int) -> None:
    """Admit idle clients, 64 at a time."""
    settled = 0

    def admitted(client: Any, ok: bool) -> None:
        nonlocal settled
        if not ok:
            raise ConnectionError("a good token was refused")
        settled += 1

    token = hello("idle")
    for number in range(1, count + 1):
        Client(swarm, token, admitted)
        if number % 64 == 0 or number == count:
            swarm.until(lambda expected=number: settled == expected)


# The parts


def floods(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with serving(options.engine) as (port, pid):
        yield {"kind": None, **echoes(port, options.seconds), "memory_mb": memory(pid)}
    for kind in options.kind or all_kinds():
        with serving(options.engine) as (port, pid), attacked(port, [kind], 1, options.seconds) as sent:
            time.sleep(0.5)
            found = {"kind": kind, **echoes(port, options.seconds - 1), "memory_mb": memory(pid)}
        yield {**found, **sent}


def in_a_crowd(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with serving(options.engine) as (port, pid):
        swarm = Swarm(port)
        crowd(swarm, options.idle)
        yield {"idle": options.idle, "hostile": 0, **echoes(port, 3), "memory_mb": memory(pid)}
        kinds = options.kind or [kind for kind in all_kinds() if not kind.startswith("admitted_")]
        with attacked(port, kinds, options.hostile, options.seconds) as sent:
            time.sleep(1)
            found = {**echoes(port, options.seconds - 2), "memory_mb": memory(pid)}
        yield {"idle": options.idle, "hostile": options.hostile, **found, **sent}
        swarm.close()


def waves(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    with serving(options.engine) as (port, pid):
        before = memory(pid)
        for number in range(1, options.waves + 1):
            swarm = Swarm(port)
            crowd(swarm, options.connections)
            full = memory(pid)
            swarm.close()
            time.sleep(3)
            yield {"wave": number, "before_mb": before, "full_mb": full, "after_mb": memory(pid)}


PARTS = {"floods": floods, "crowd": in_a_crowd, "waves": waves}


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("part", choices=[*PARTS, "serve", "attack"], metavar="|".join(PARTS))
    parser.add_argument("--engine", choices=("hub", "guard"), default="hub")
    parser.add_argument("--kind", nargs="*", choices=all_kinds(), help="default: all")
    parser.add_argument("--seconds", type=float, default=5.0, help="at least 3")
    parser.add_argument("--idle", type=int, default=3000)
    parser.add_argument("--hostile", type=int, default=200)
    parser.add_argument("--waves", type=int, default=5)
    parser.add_argument("--connections", type=int, default=1000)
    parser.add_argument("--attack", nargs=4, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.part == "serve":
        serve(options.engine)
    elif options.part == "attack":
        port, kinds, connections, seconds = options.attack
        attack(int(port), kinds.split(","), int(connections), float(seconds))
    else:
        options.seconds = max(3.0, options.seconds)
        for found in PARTS[options.part](options):
            shown = {key: round(value, 2) if isinstance(value, float) else value for key, value in found.items()}
            print(json.dumps({"engine": options.engine, **shown}), flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
