"""Handlers and rules use the ORM, and leave no connection open."""

from __future__ import annotations

import asyncio
import threading
import warnings
from collections.abc import Iterator
from typing import Any

import pytest
from asgiref.sync import async_to_sync, sync_to_async
from support.djangosite.running import Site, add_user, token_of
from support.live import until


@pytest.fixture
def opened(project: None) -> Iterator[list[Any]]:
    """Return the connections that threads other than the main one open, as a list that grows."""
    from django.db.backends.signals import connection_created

    found: list[Any] = []
    main = threading.main_thread()

    def note(connection: Any, **_: Any) -> None:
        if threading.current_thread() is not main:
            found.append(connection)

    connection_created.connect(note)
    yield found
    connection_created.disconnect(note)


def are_closed(connections: list[Any]) -> bool:
    return all(connection.connection is None for connection in connections)


async def test_a_handler_uses_the_orm_and_its_connection_is_closed(site: Site, opened: list[Any]) -> None:
    from django.contrib.auth.models import User

    threads = []

    @sync_to_async
    def count() -> int:
        threads.append(threading.current_thread())
        return User.objects.count()

    @site.sio.event
    async def users(sid: str) -> int:
        user = await User.objects.aget(username=site.guard.identity(sid).subject)
        assert user.username == "ada"
        return await count()

    @site.sio.event
    async def connect(sid: str, environ: Any) -> None:
        await count()

    ended = asyncio.Event()

    @site.sio.event
    async def disconnect(sid: str, reason: str) -> None:
        await count()
        ended.set()

    token = await token_of(await add_user())
    opened.clear()
    ada = await site.connect(token)
    for ack in (1, 2):
        await ada.event("users", ack=ack)
        assert await ada.expect_ack(ack) == [1]
    await ada.close()
    await ended.wait()
    await until(lambda: are_closed(opened))
    assert len(opened) == 4
    assert len(set(threads)) == 4
    await until(lambda: not any(thread.is_alive() for thread in threads))


async def test_a_handler_without_the_orm_starts_no_thread(site: Site, opened: list[Any]) -> None:
    @site.sio.event
    async def echo(sid: str, argument: Any) -> Any:
        return argument

    ada = await site.connect(await token_of(await add_user()))
    before = threading.active_count()
    await ada.event("echo", "hello", ack=1)
    assert await ada.expect_ack(1) == ["hello"]
    assert threading.active_count() == before
    await ada.close()


@pytest.mark.parametrize("pattern", ["group", "async"])
async def test_a_rule_uses_the_orm_and_its_connection_is_closed(site: Site, opened: list[Any], pattern: str) -> None:
    ada = await site.connect(await token_of(await add_user("ada", "red")))
    opened.clear()
    for ack, (room, allowed) in enumerate([("red", True), ("blue", False)]):
        await ada.event("join-room", f"{pattern}:{room}", ack=ack)
        assert (await ada.expect_ack(ack))[0]["ok"] is allowed
    assert len(opened) == 2
    await until(lambda: are_closed(opened))
    await ada.close()


async def test_a_rule_that_would_block_the_event_loop_denies(site: Site, caplog: pytest.LogCaptureFixture) -> None:
    ada = await site.connect(await token_of(await add_user("ada", "red")))
    await ada.event("join-room", "red", ack=1)
    assert not (await ada.expect_ack(1))[0]["ok"]
    assert "denied: the rule for room {name} failed" in caplog.text
    await ada.close()


async def test_a_disconnect_handler_uses_the_orm_after_a_view_ended(site: Site, opened: list[Any]) -> None:
    """A view that revokes with async_to_sync has ended when the disconnect handler asks for its thread."""
    from django.contrib.auth.models import User

    found: asyncio.Queue[int] = asyncio.Queue()
    may_continue = asyncio.Event()

    @site.sio.event
    async def disconnect(sid: str, reason: str) -> None:
        await may_continue.wait()
        found.put_nowait(await User.objects.acount())

    ada = await site.connect(await token_of(await add_user()))

    @sync_to_async
    def view() -> None:
        with warnings.catch_warnings(action="error"):
            async_to_sync(site.guard.revoke)(subject="ada")

    waiting = asyncio.create_task(view())
    assert await ada.is_closed()
    asyncio.get_running_loop().call_later(0.05, may_continue.set)
    await waiting
    assert await found.get() == 1
    await until(lambda: are_closed(opened))
