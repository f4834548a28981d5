"""The servers that are measured: a node of roomkey's hub, or python-socketio with its Redis manager.

    python nodes.py roomkey|python-socketio '{"redis": "redis://…"}'

It prints its port. Clients drive it: ``join`` enters a room, ``go`` emits to a room in bursts, ``revoke`` revokes a
subject on a hub.
"""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from typing import Any

import uvicorn

from roomkey import Verifier
from roomkey.bus import Cluster
from roomkey.hub import Hub, runner
from roomkey.stores import SqlRevocations

DATA = {"text": "hello world", "from": "user", "padding": "x" * 150}


def add_handlers(server: Any) -> None:
    @server.event
    async def join(sid: str, room: str) -> None:
        await server.enter_room(sid, room)

    @server.event
    async def go(sid: str, room: str, bursts: int, size: int, pause: float) -> None:
        for _ in range(bursts):
            for _ in range(size):
                await server.emit("said", DATA, room=room)
            await asyncio.sleep(pause)


def listener() -> socket.socket:
    made = socket.socket()
    made.bind(("127.0.0.1", 0))
    made.listen(1024)
    print(made.getsockname()[1], flush=True)
    return made


async def roomkey(redis: str, database: str = "") -> None:
    secret = os.environ["SECRET"]
    cluster = Cluster.redis(redis, secrets=[secret], journal=SqlRevocations(database) if database else None)
    hub = Hub(Verifier.hs256(secret), cluster=cluster, own_joins="allow", event_rate=1e9)
    add_handlers(hub)

    @hub.event
    async def revoke(sid: str, subject: str) -> None:
        await hub.guard.revoke(subject=subject)

    await hub.open()
    await runner.Server(hub, runner.config(hub, log_level="critical")).serve(sockets=[listener()])


async def python_socketio(redis: str) -> None:
    import socketio

    server = socketio.AsyncServer(
        async_mode="asgi", client_manager=socketio.AsyncRedisManager(redis), http_compression=False
    )
    add_handlers(server)
    config = uvicorn.Config(socketio.ASGIApp(server), log_level="critical", ws="websockets-sansio", loop="uvloop")
    await uvicorn.Server(config).serve(sockets=[listener()])


if __name__ == "__main__":
    kind, settings = sys.argv[1], json.loads(sys.argv[2])
    with asyncio.Runner(loop_factory=runner.loop_factory()) as loop:
        loop.run({"roomkey": roomkey, "python-socketio": python_socketio}[kind](**settings))
