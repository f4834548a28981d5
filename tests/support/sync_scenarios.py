"""What a synchronous guard does while it waits: ``python -m support.sync_scenarios MODE NAME...``.

The modes are ``threading``, ``gevent``, ``gevent-unpatched`` and ``eventlet``. Greenlets need processes of their own,
because they patch the whole process.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

SCENARIOS: dict[str, Callable[[dict[str, Any]], None]] = {}


def scenario(function: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    SCENARIOS[function.__name__] = function
    return function


@scenario
def keys_are_fetched_while_others_go_on(server: dict[str, Any]) -> None:
    from support.key_server import Held, key_server, new_keys, signed
    from support.key_server import keys as answer
    from support.sync_world import SyncClient, SyncWorld

    from roomkey import Verifier

    [key] = new_keys("a")
    with key_server(key) as keys_at:
        held = Held(answer(key))
        keys_at.respond = held
        verifier = Verifier.jwks(keys_at.url, audience="chat", algorithms=["ES256"], fetch_timeout=10)
        world = SyncWorld(server=server, verifier=verifier)
        world.clock.time = time.time()
        client = SyncClient(world)
        reply: list[str] = []
        world.sio.start_background_task(lambda: reply.append(client.connect(signed(key))))
        for _ in range(3):
            world.sio.sleep(0.02)
            assert not reply
            assert SyncClient(world).connect("bad").startswith("4")  # others are answered meanwhile
        held.release()
        wait_until(world, lambda: bool(reply))
        assert reply[0].startswith("0"), reply
        world.guard.close()


@scenario
def store_keeps_and_spreads_revocations(server: dict[str, Any]) -> None:
    from support.sync_world import SyncClient, SyncWorld

    from roomkey.stores import SqlRevocations

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "roomkey.sqlite3"
        one = SyncWorld(server=server, revocations=SqlRevocations(path))
        two = SyncWorld(server=server, revocations=SqlRevocations(path))
        member = two.member("ada")
        token = one.token("ada")
        assert one.guard.revoke(subject="ada") == 0
        wait_until(two, lambda: not two.guard.sockets("ada"))
        assert any("unauthorized" in packet for packet in member.packets)
        late = SyncClient(two)
        assert late.connect(token).startswith("4")
        one.guard.close()
        two.guard.close()
        again = SyncWorld(server=server, revocations=SqlRevocations(path))
        assert SyncClient(again).connect(token).startswith("4")
        again.guard.close()


@scenario
def asynchronous_rules_and_callbacks_run(server: dict[str, Any]) -> None:
    import asyncio

    from support.sync_world import SyncClient, SyncWorld

    from roomkey import Policy

    policy = Policy()
    refused: list[str] = []

    @policy.namespace("/")
    async def rule(who: Any) -> bool:
        await asyncio.sleep(0.01)
        return bool(who.subject == "ada")

    world = SyncWorld(server=server, policy=policy)

    @world.guard.on_refused
    async def callback(error: Any, _address: str) -> None:
        await asyncio.sleep(0)
        refused.append(error.code)

    world.member("ada")
    assert SyncClient(world).connect(world.token("eve")).startswith("4")
    world.guard.settle()
    assert refused == ["permission_denied"]
    world.guard.close()


@scenario
def deadlines_pass_without_being_asked(server: dict[str, Any]) -> None:
    from support.sync_world import SyncWorld

    world = SyncWorld(server=server, grace=0)
    client = world.member("ada")
    world.clock.advance(4000)  # the timer notices that the clock was set
    wait_until(world, lambda: not world.guard.sockets())
    assert any("unauthorized" in packet for packet in client.packets)
    world.guard.settle()
    assert not world.guard.index.connections


@scenario
def slow_disconnect_handlers_delay_no_other_client(server: dict[str, Any]) -> None:
    from support.sync_world import SyncWorld

    def prepare(world: SyncWorld) -> None:
        world.may_end = world.sio.eio.create_event()  # type: ignore[attr-defined]
        world.ended = []  # type: ignore[attr-defined]

        @world.sio.event
        def disconnect(sid: str, _reason: str = "") -> None:
            world.may_end.wait(10)  # type: ignore[attr-defined]
            world.ended.append(world.guard.identity(sid).subject)  # type: ignore[attr-defined]

    world: Any = SyncWorld(prepare, server=server)
    members = [world.member("ada") for _ in range(150)]
    assert world.guard.revoke(subject="ada") == 150
    assert all("unauthorized" in member.packets[-2] for member in members)
    other = world.member("eve")
    world.sio.emit("news", 1)
    assert other.heard("news") == [1]
    assert not world.ended
    world.may_end.set()
    world.guard.settle()
    assert world.ended == ["ada"] * 150


def wait_until(world: Any, is_true: Callable[[], bool]) -> None:
    until = time.monotonic() + 20
    while not is_true():
        assert time.monotonic() < until
        world.sio.sleep(0.01)


def run(mode: str, *names: str) -> None:
    if mode == "gevent":
        from gevent import monkey

        monkey.patch_all()
    elif mode == "eventlet":
        import eventlet

        eventlet.monkey_patch()
    for name in names:
        SCENARIOS[name]({"async_mode": mode.removesuffix("-unpatched")})


if __name__ == "__main__":
    run(*sys.argv[1:])
