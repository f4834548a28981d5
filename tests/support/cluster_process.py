"""A hub on Redis in a process of its own: ``python cluster_process.py '{"redis": "redis://…", "database": "…"}'``.

It prints its port when it is connected. Its handlers let clients drive it.
"""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from roomkey import Issuer, Key, Policy, Verifier
from roomkey.bus import Cluster, RedisBus
from roomkey.hub import Hub, runner
from roomkey.policies import rooms_claim
from roomkey.stores import SqlRevocations

SECRET = "7c9d1b3a5e8f60421d3c5b7a9f8e6d4c-for-tests-only"
CLUSTER_SECRET = "Zr9Ysi1gR0nPBf3YDx3lD3ZqB1oS7cJm4Vv0d8QhWkE"
ISSUER = Issuer(Key.from_secret(SECRET), audience="chat", issuer="https://login.example")


@contextmanager
def cluster_process(**settings: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """Start a node, which ends with the block. Yields its URL and its process."""
    command = [sys.executable, __file__, json.dumps(settings)]
    with subprocess.Popen(command, text=True, stdout=subprocess.PIPE) as process:
        try:
            assert process.stdout is not None
            port = process.stdout.readline().strip()
            assert port, "the node has ended"
            yield f"http://127.0.0.1:{port}", process
        finally:
            process.kill()


def make_hub(redis: str, database: str) -> Hub:
    """Return a hub with handlers for the tests."""
    policy = Policy()
    policy.room("*")(rooms_claim)
    hub = Hub(
        Verifier.hs256(SECRET, audience="chat", issuer="https://login.example"),
        policy=policy,
        cluster=Cluster(RedisBus(redis), secrets=[CLUSTER_SECRET]),
        revocations=SqlRevocations(database),
    )
    hub.guard.serve_rooms()
    hub.guard.relay("say")

    @hub.event
    async def whoami(sid):
        return sid

    @hub.event
    async def tell(sid, target, data):
        await hub.emit("told", data, to=target)

    @hub.event
    async def ask(sid, target, question):
        return await hub.call("question", question, to=target, timeout=10)

    @hub.event
    async def put(sid, target, room):
        await hub.enter_room(target, room)
        return sorted(live.identity.subject for live in await hub.sockets(room=room))

    @hub.event
    async def who(sid):
        found = await hub.sockets()
        return sorted(live.identity.subject for live in found), found.complete

    @hub.event
    async def kick(sid, target):
        await hub.disconnect(target)

    @hub.event
    async def revoke(sid, subject):
        return await hub.guard.revoke(subject=subject)

    return hub


async def main() -> None:
    hub = make_hub(**json.loads(sys.argv[1]))
    await hub.open()
    node = hub.application.cluster.node
    assert node.connected
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.bind(("127.0.0.1", 0))
    print(listener.getsockname()[1], flush=True)
    await runner.Server(hub, runner.config(hub, log_level="error")).serve(sockets=[listener])


if __name__ == "__main__":
    asyncio.run(main())
