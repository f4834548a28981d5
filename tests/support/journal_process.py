"""A guarded server on a journal in Redis, in a process of its own: ``python journal_process.py ENGINE REDIS_URL``.

The engine is ``hub``, ``asgi`` or ``threading``. It prints its port. Its clients can call ``do`` with the name of one
of the guard's methods and its arguments.
"""

from __future__ import annotations

import socket
import sys
from typing import Any

import socketio
import uvicorn

from roomkey import Policy, Verifier
from roomkey.bus import RedisJournal
from roomkey.hub import Hub
from roomkey.policies import rooms_claim
from roomkey.socketio import AsyncGuard, Guard

SECRET = "7c9d1b3a5e8f60421d3c5b7a9f8e6d4c-for-tests-only"
CLUSTER_SECRET = "mW3xQ9vT5kB8nR2cJ7dL4fH6gZ1pS0yA"


def settings(url: str) -> dict[str, Any]:
    policy = Policy()
    policy.room("*")(rooms_claim)
    return {"policy": policy, "revocations": RedisJournal.at(url, secrets=[CLUSTER_SECRET])}


def listening() -> socket.socket:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(50)
    print(listener.getsockname()[1], flush=True)
    return listener


def serve_async(engine: str, verifier: Verifier, url: str) -> None:
    if engine == "hub":
        server: Any = Hub(verifier, **settings(url))
        guard, app = server.guard, server.asgi
    else:
        server = socketio.AsyncServer(async_mode="asgi")
        guard, app = AsyncGuard(verifier, **settings(url)), socketio.ASGIApp(server)
        guard.attach(server)
    guard.serve_rooms()

    @server.on("do")
    async def do(sid: str, verb: str, arguments: dict[str, Any]) -> Any:
        return await getattr(guard, verb)(**arguments)

    uvicorn.Server(uvicorn.Config(app, log_level="error")).run([listening()])


def serve_threads(verifier: Verifier, url: str) -> None:
    from werkzeug.serving import make_server

    server = socketio.Server(async_mode="threading")
    guard = Guard(verifier, **settings(url))
    guard.attach(server)
    guard.serve_rooms()

    @server.on("do")
    def do(sid: str, verb: str, arguments: dict[str, Any]) -> Any:
        return getattr(guard, verb)(**arguments)

    listener = listening()
    served = make_server("127.0.0.1", 0, socketio.WSGIApp(server), threaded=True, fd=listener.fileno())
    served.serve_forever()


if __name__ == "__main__":
    engine, url = sys.argv[1:]
    verifier = Verifier.hs256(SECRET, audience="chat")
    if engine == "threading":
        serve_threads(verifier, url)
    else:
        serve_async(engine, verifier, url)
