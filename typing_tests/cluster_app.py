"""A hub that is one of several nodes, a guard that follows their journal, and a journal of the application's own."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import assert_type

from roomkey import DPoP, Identity, Verifier
from roomkey.bus import (
    Bus,
    Cluster,
    ClusterSecrets,
    MemoryBus,
    MemoryNetwork,
    RedisBus,
    RedisJournal,
    RedisProofs,
    UnixBus,
)
from roomkey.hub import FoundSockets, Hub, LiveSocket
from roomkey.socketio import AsyncGuard, Guard
from roomkey.stores import JournalPart, LosableJournal, Revocation, RevocationStore

SECRET = "x" * 32
verifier = Verifier.hs256("secret", audience="chat")

hub = Hub(verifier, cluster=Cluster.redis("redis://localhost", secrets=[SECRET], address="10.0.0.5:7400"))
Hub(verifier, cluster=Cluster(UnixBus(Path("run")), secrets=[SECRET], directory=Path("run")))
Hub(verifier, cluster=Cluster(MemoryBus(MemoryNetwork()), secrets=ClusterSecrets([SECRET])))
Hub(verifier, cluster="redis://localhost")  # type: ignore[arg-type]
Cluster.redis("redis://localhost")  # type: ignore[call-arg]
Cluster("redis://localhost", secrets=[SECRET])  # type: ignore[arg-type]

buses: list[Bus] = [RedisBus("redis://localhost"), UnixBus(Path("run")), MemoryBus(MemoryNetwork())]
journal: RevocationStore = RedisJournal.at("redis://localhost", secrets=[SECRET])
proofs = DPoP("https://chat.example/socket.io/", store=RedisProofs.at("redis://localhost"))
guard = AsyncGuard(verifier, revocations=journal, dpop=proofs)
threads = Guard(verifier, revocations=RedisJournal.at("redis://localhost", secrets=[SECRET]))
assert_type(threads.disconnect(subject="ada"), int)


class Journal:
    """A journal that can lose entries."""

    async def open(self) -> None: ...
    async def close(self) -> None: ...
    async def add(self, revoked: Revocation) -> None: ...
    async def add_all(self, revoked: Sequence[Revocation]) -> None: ...
    async def delete_expired(self, now: float) -> None: ...
    async def wait(self, seconds: float) -> None: ...

    async def since(self, position: int) -> tuple[Sequence[Revocation], int]:
        return (), position

    async def read(self, position: int) -> JournalPart:
        return JournalPart((), position)


mine: LosableJournal = Journal()
AsyncGuard(verifier, revocations=mine)


async def verbs() -> None:
    assert_type(await hub.guard.disconnect(subject="ada"), int)
    await guard.disconnect("ada")  # type: ignore[call-arg]
    found = await hub.sockets(room="red")
    assert_type(found, FoundSockets)
    assert_type(found.complete, bool)
    assert_type(found.missing, frozenset[str])
    for socket in found:
        assert_type(socket, LiveSocket)
        assert_type(socket.identity, Identity)
        assert_type(socket.node, str)
    for one in await hub.guard.find_sockets("ada"):
        await hub.disconnect(one.sid, one.namespace)
    await hub.sockets("red")  # type: ignore[call-arg]
    hub.serve_members("who-is-here")


def misspelled() -> None:
    from roomkey.bus import RedisBusses  # type: ignore[attr-defined]  # noqa: F401
    from roomkey.stores import SqlAcounts  # type: ignore[attr-defined]  # noqa: F401
