"""A server with an issuer and a login server, and a person with a client of either kind."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import socketio
from support.clock import FakeClock
from support.live import new_server, serve
from support.tokens import issuer_at

from roomkey import Policy
from roomkey.hub import Hub
from roomkey.socketio import AsyncGuard

PATIENCE = 10.0
WARNED = 575  # seconds of 600; the server spreads its warnings
NAMESPACES = ("/", "/one", "/two")


async def run(method: Callable[..., Any], *args: Any, **options: Any) -> Any:
    """Call a method of a client of either kind: one for threads is called in a thread."""
    if inspect.iscoroutinefunction(method):
        return await method(*args, **options)
    return await asyncio.to_thread(method, *args, **options)


class House:
    """A server, its issuer, and a login server that counts refreshes."""

    def __init__(self, engine: str, via: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        self.admitted: asyncio.Queue[str] = asyncio.Queue()
        self.refreshes: list[Any] = []
        self.is_open = True
        policy = Policy()
        policy.namespace("/")(lambda who: self.is_open)
        settings |= {"policy": policy, "clock": self.clock} | ({} if via is None else {"via": via})
        if engine == "hub":
            self.sio: Any = Hub(self.issuer.verifier(), namespaces=NAMESPACES, **settings)
            self.guard = self.sio.guard
        else:
            self.sio = new_server()
            self.guard = AsyncGuard(self.issuer.verifier(), **settings)
            self.guard.attach(self.sio)
        for namespace in NAMESPACES:
            self.sio.on("connect", self._connect, namespace=namespace)
        self.sio.on("echo", self._echo)

    async def _connect(self, sid: str, environ: Any, auth: Any) -> None:
        self.admitted.put_nowait(str(self.guard.identity(sid).token_id))

    async def _echo(self, sid: str, data: Any) -> Any:
        return data

    @asynccontextmanager
    async def served(self) -> AsyncIterator[str]:
        async with serve(self.sio if isinstance(self.sio, Hub) else socketio.ASGIApp(self.sio)) as url:
            yield f"http://{url}"

    def tokens(self, number: int = 0, **claims: Any) -> dict[str, Any]:
        token = self.issuer.issue("ada", token_id=f"t{number}", **{"expires_in": 600, **claims})
        return {"access_token": token, "refresh_token": f"r{number}", "expires_in": 600}

    def refresh(self, tokens: Any) -> Any:
        self.refreshes.append(tokens and tokens["refresh_token"])
        return self.tokens(len(self.refreshes))

    async def next_admitted(self) -> str:
        return await asyncio.wait_for(self.admitted.get(), PATIENCE)

    async def pass_time(self, seconds: float) -> None:
        self.clock.advance(seconds)
        (self.sio if isinstance(self.sio, Hub) else self.guard).check_deadlines()
        await (self.sio if isinstance(self.sio, Hub) else self.guard).settle()

    def drop_all(self) -> None:
        """Close every connection, as a server does that stops."""
        for connection in list(self.guard.index.connections):
            connection.host.close(None)


def with_refresh(place: House) -> dict[str, Any]:
    """Return the settings of a client that has logged in."""
    return {"refresh": place.refresh, "tokens": place.tokens()}


class Person:
    """A client of either kind, and what it heard."""

    def __init__(self, kind: type, url: str, transports: list[str] | None, **settings: Any) -> None:
        self.url, self.transports = url, transports
        self.heard: queue.Queue[tuple[Any, ...]] = queue.Queue()
        self.seen: list[tuple[Any, ...]] = []
        note = self.heard.put
        self.sio = kind(
            reconnection_delay=0.05,
            randomization_factor=0,
            handle_sigint=False,
            on_signed_out=lambda refusal: note(("signed out", refusal)),
            **settings,
        )
        for event in ("connect", "disconnect", "connect_error"):
            self.sio.on(event, lambda *args, event=event: note((event, *args)))
        self.sio.on("*", lambda event, *args: note((event, *args)))

    async def connect(self, **options: Any) -> None:
        await run(self.sio.connect, self.url, transports=self.transports, wait_timeout=PATIENCE, **options)

    async def hears(self, event: str) -> Any:
        """Skip to an event, and return its argument."""
        while True:
            item = await asyncio.to_thread(self.heard.get, True, PATIENCE)
            self.seen.append(item)
            if item[0] == event:
                return item[1] if len(item) > 1 else None

    async def hears_all(self, *events: str) -> dict[str, Any]:
        """Skip to events in any order, and return their arguments: a thread of its own notes each packet."""
        found: dict[str, Any] = {}
        while set(events) - set(found):
            event, *args = await asyncio.to_thread(self.heard.get, True, PATIENCE)
            self.seen.append((event, *args))
            if event in events:
                found[event] = args[0] if args else None
        return found

    async def stop(self) -> None:
        """Disconnect, or stop reconnecting."""
        if self.sio.connected:
            await run(self.sio.disconnect)
        elif self.sio._reconnect_task:
            if self.sio._reconnect_abort is not None:
                self.sio._reconnect_abort.set()
            await self.loop_has_ended()

    async def loop_has_ended(self) -> None:
        """Wait for the end of the task that reconnects."""
        task = self.sio._reconnect_task
        if isinstance(task, asyncio.Task):
            await asyncio.wait_for(task, PATIENCE)
        elif task is not None:
            await asyncio.to_thread(task.join, PATIENCE)
            assert not task.is_alive()
