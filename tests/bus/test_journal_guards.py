"""A journal in Redis that fails: connects and renewals are refused within two seconds, and connected sockets stay."""

from __future__ import annotations

import asyncio

import pytest
import socketio
from support.brokers import Broker
from support.journals import SECRET, journal_at
from support.lag import lag_of_the_loop, seconds_awake
from support.live import until
from support.proxy import Proxy

from roomkey import Issuer
from roomkey.bus import RedisJournal
from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard, Guard
from roomkey.testing import Refused, connect

pytestmark = [pytest.mark.long, pytest.mark.checklist("H110")]


FAULTS = {
    "refused": lambda broker, proxy: broker.kill(),
    "hung": lambda broker, proxy: broker.suspend(),
    "slow": lambda broker, proxy: proxy.set("delay answers"),
    "read-only": lambda broker, proxy: broker.command("REPLICAOF", "127.0.0.1", "1"),
    "out of memory": lambda broker, proxy: broker.command("CONFIG", "SET", "maxmemory", "1"),
}


def mend(broker: Broker, proxy: Proxy) -> None:
    proxy.set("pass")
    if broker.process is None:
        broker.start()
    broker.resume()
    broker.command("REPLICAOF", "NO", "ONE")
    broker.command("CONFIG", "SET", "maxmemory", "0")


@pytest.fixture
async def world(tmp_path):
    """A hub and a python-socketio server on one Redis, behind a proxy."""
    broker, issuer = Broker("redis", tmp_path).start(), Issuer.ephemeral()
    proxy = Proxy(broker.port)
    proxy.seconds = 2.0
    await proxy.open()
    url = f"redis://127.0.0.1:{proxy.port}"

    def journal() -> RedisJournal:
        return RedisJournal.at(url, secrets=[SECRET])

    hub = Hub(issuer.verifier(), revocations=journal())
    sio = socketio.AsyncServer(async_mode="asgi")
    guard = AsyncGuard(issuer.verifier(), revocations=journal())
    guard.attach(sio)
    yield broker, proxy, issuer, {hub: hub.guard, sio: guard}
    mend(broker, proxy)
    await hub.close()
    await guard.close()
    await proxy.close()
    broker.kill()


async def in_time(work, seconds: float = 2.0):
    with seconds_awake() as passed:
        try:
            return await work
        finally:
            assert passed() < seconds + 0.3


async def refused(work) -> bool:
    try:
        await in_time(work)
    except Refused as error:
        return error.reason == "temporarily_unavailable"
    return False


@pytest.mark.parametrize("fault", FAULTS)
async def test_failing_redis_refuses_within_two_seconds_and_keeps_sockets(world, fault):
    broker, proxy, issuer, servers = world
    members = {server: await connect(server, token=issuer.issue("ada", token_id="t0")) for server in servers}
    async with lag_of_the_loop() as lag:
        FAULTS[fault](broker, proxy)
        await asyncio.gather(*(until(lambda guard=guard: guard.problem is not None) for guard in servers.values()))
        for server, guard in servers.items():
            assert await refused(connect(server, token=issuer.issue("eve")))
            assert await refused(members[server].authenticate(issuer.issue("ada", token_id="t1")))
            with pytest.raises(Unavailable):
                await in_time(guard.revoke(token_id=f"other {id(server)}"))
            assert members[server].is_connected
        assert lag() < 0.5
    mend(broker, proxy)
    other = journal_at(broker)
    for _ in range(100):
        try:
            await other.add(Revocation("token", "t0"))
            break
        except Unavailable:
            await asyncio.sleep(0.05)
    await other.close()
    for server, guard in servers.items():
        await until(lambda server=server: not members[server].is_connected)
        await until(lambda guard=guard: guard.problem is None and guard.unfinished == 0)
        assert (await connect(server, token=issuer.issue("eve"))).is_connected


async def test_flushed_redis_is_answered_within_two_seconds(world):
    broker, _, issuer, servers = world
    for server, guard in servers.items():
        await connect(server, token=issuer.issue("ada"))
        await guard.revoke(token_id="t0")
    broker.command("FLUSHALL")
    for server in servers:
        await refused(connect(server, token=issuer.issue("eve")))
        for _ in range(50):
            if not await refused(connect(server, token=issuer.issue("eve"))):
                break
            await asyncio.sleep(0.05)
        with pytest.raises(Refused, match="revoked"):
            await connect(server, token=issuer.issue("ada", token_id="t0"))


async def test_synchronous_guard_reads_the_same_journal(world):
    """Threads read it on the event loop of their own thread."""
    broker, _, issuer, servers = world
    guard = Guard(issuer.verifier(), revocations=journal_at(broker))
    guard.attach(socketio.Server(async_mode="threading"))
    token = issuer.issue("ada", token_id="t0")
    assert (await asyncio.to_thread(guard.verify, token)).subject == "ada"
    members = [await connect(server, token=token) for server in servers]
    await asyncio.to_thread(guard.disconnect, subject="ada")
    await until(lambda: not any(member.is_connected for member in members))
    members = [await connect(server, token=token) for server in servers]
    await asyncio.to_thread(guard.revoke, token_id="t0")
    await until(lambda: not any(member.is_connected for member in members))
    await next(iter(servers.values())).revoke(subject="eve")
    await until(lambda: len(guard._revocation_sync.revocations) == 2)
    await asyncio.to_thread(guard.close)
