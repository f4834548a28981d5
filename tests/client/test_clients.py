"""Both clients of roomkey.client against a hub on a real port."""

from __future__ import annotations

import asyncio
import inspect
import queue
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import pytest_asyncio
import socketio
from socketio.exceptions import ConnectionError as ConnectionFailed
from support.clock import FakeClock
from support.live import serve
from support.tokens import issuer_at

from roomkey import Policy
from roomkey.client import AsyncClient, Client
from roomkey.errors import ConfigError, PermissionDenied, Unavailable
from roomkey.hub import Authenticate, Hub

PATIENCE = 10.0
WARNED = 575  # seconds of 600; the server spreads its warnings


class House:
    """A hub, its issuer, and a login server that counts refreshes."""

    def __init__(self, via: Any = None, **settings: Any) -> None:
        self.clock = FakeClock()
        self.issuer = issuer_at(self.clock)
        self.admitted: asyncio.Queue[str] = asyncio.Queue()
        self.refreshes: list[Any] = []
        self.is_open = True
        options = {} if via is None else {"via": via}
        policy = Policy()
        policy.namespace("/")(lambda who: self.is_open)
        self.hub = Hub(self.issuer.verifier(), policy=policy, clock=self.clock, namespaces="*", **options, **settings)
        self.hub.on("connect", self._connect, namespace="*")
        self.hub.on("echo", lambda sid, data: data)

    async def _connect(self, namespace: str, sid: str, environ: Any, auth: Any) -> None:
        self.admitted.put_nowait(str(self.hub.guard.identity(sid, namespace).token_id))

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
        self.hub.check_deadlines()
        await self.hub.settle()

    def drop_all(self) -> None:
        """Break every connection, as a network does."""
        self.hub.sessions.close_all()


class Person:
    """A client of either kind, and what it heard."""

    def __init__(self, kind: type, url: str, **settings: Any) -> None:
        self.url = f"http://{url}"
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

    async def run(self, method: Callable[..., Any], *args: Any, **options: Any) -> Any:
        if inspect.iscoroutinefunction(method):
            return await method(*args, **options)
        return await asyncio.to_thread(method, *args, **options)

    async def connect(self, **options: Any) -> None:
        await self.run(self.sio.connect, self.url, transports=["polling"], wait_timeout=PATIENCE, **options)

    async def hears(self, event: str) -> Any:
        """Skip to an event, and return its argument."""
        while True:
            item = await asyncio.to_thread(self.heard.get, True, PATIENCE)
            self.seen.append(item)
            if item[0] == event:
                return item[1] if len(item) > 1 else None

    async def stop(self) -> None:
        """Disconnect, or stop reconnecting."""
        if self.sio.connected:
            await self.run(self.sio.disconnect)
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


@pytest.fixture(params=[AsyncClient, Client], ids=["async", "sync"])
def kind(request: pytest.FixtureRequest) -> type:
    return request.param


@pytest_asyncio.fixture
async def meet(kind: type) -> AsyncIterator[Callable[..., Any]]:
    """``await meet(token=…)``: a house, and a person who is not connected yet."""
    persons: list[Person] = []
    served_by: list[Any] = []

    async def start(
        *, via: Any = None, house: dict[str, Any] | None = None, make: Any = lambda place: {}, **settings: Any
    ) -> Any:
        place = House(via, **(house or {}))
        served = serve(place.hub)
        url = await served.__aenter__()
        served_by.append((place, served))
        persons.append(Person(kind, url, **settings, **make(place)))
        return place, persons[-1]

    yield start
    for (place, served), person in zip(
        served_by, persons, strict=True
    ):  # the server first: a client waits for its poll
        person.sio.reconnection = False
        place.drop_all()
        await person.stop()
        await served.__aexit__(None, None, None)


def with_refresh(place: House) -> dict[str, Any]:
    return {"refresh": place.refresh, "tokens": place.tokens()}


async def test_warned_client_renews_its_token(meet):
    house, ada = await meet(make=with_refresh)
    await ada.connect()
    assert await house.next_admitted() == "t0"
    await house.pass_time(WARNED)
    assert await ada.hears("token_expiring") == {"expires_in": 25}
    assert await ada.hears("authenticated") == {"expires_in": 600}
    assert house.refreshes == ["r0"]
    assert await ada.run(ada.sio.call, "echo", "still here") == "still here"
    assert "disconnect" not in [event for event, *_ in ada.seen]


async def test_expired_client_returns_with_a_refreshed_token(meet):
    house, ada = await meet(make=with_refresh, house={"warn_before": 0, "grace": 0})
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(601)
    assert await house.next_admitted() == "t1"
    assert house.refreshes == ["r0"]
    await ada.hears("disconnect")
    await ada.hears("connect")


async def test_token_that_expired_before_connecting_is_refreshed(meet):
    house, ada = await meet(make=with_refresh)
    house.clock.advance(700)
    await ada.connect()
    assert await house.next_admitted() == "t1"
    assert ada.sio.connected


async def test_function_returns_a_new_token_for_each_connection(meet):
    numbers = iter(range(9))
    house, ada = await meet(make=lambda place: {"token": lambda: place.tokens(next(numbers))["access_token"]})
    await ada.connect(auth={"lang": "en"})
    assert await house.next_admitted() == "t0"
    house.drop_all()
    assert await house.next_admitted() == "t1"


@pytest.mark.parametrize("reconnecting", [False, True])
async def test_refused_client_stops(meet, reconnecting):
    """python-socketio's client would try again forever after a refusal on a reconnection."""
    house, ada = await meet(make=with_refresh)
    if reconnecting:
        await ada.connect()
        await house.next_admitted()
    house.is_open = False
    if reconnecting:
        house.drop_all()
    else:
        with pytest.raises(ConnectionFailed):
            await ada.connect()
    refusal = await ada.hears("signed out")
    assert (refusal.message, refusal.reason, refusal.retry) == (PermissionDenied.text, "permission_denied", False)
    await ada.loop_has_ended()
    assert not ada.sio.connected
    assert house.admitted.empty()


async def test_revoked_client_stops_and_can_log_in_again(meet):
    house, ada = await meet(make=with_refresh)
    await ada.connect()
    await house.next_admitted()
    assert await house.hub.guard.revoke(token_id="t0") == 1
    refusal = await ada.hears("signed out")
    assert refusal.reason == "token_revoked"
    assert house.refreshes == []
    await ada.connect(tokens=house.tokens(7))
    assert await house.next_admitted() == "t7"
    house.drop_all()
    assert await house.next_admitted() == "t7"  # it reconnects as before


async def test_client_whose_login_has_ended_stops(meet):
    house, ada = await meet(make=lambda place: {**with_refresh(place), "refresh": lambda tokens: None})
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(WARNED)
    refusal = await ada.hears("signed out")
    assert (refusal.message, refusal.data) == ("logged out", {})
    await ada.loop_has_ended()
    assert not ada.sio.connected


async def test_fixed_token_is_not_presented_after_it_expired(meet):
    house, ada = await meet(make=lambda place: {"token": place.tokens()["access_token"]})
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(700)
    refusal = await ada.hears("signed out")
    assert refusal.reason == "token_expired"
    await ada.loop_has_ended()


async def test_failed_refresh_is_tried_again(meet):
    def make(place: House) -> dict[str, Any]:
        def refresh(tokens: Any) -> Any:
            answer = place.refresh(tokens)
            if len(place.refreshes) == 1:
                raise OSError("unreachable")
            return answer

        return {**with_refresh(place), "refresh": refresh}

    house, ada = await meet(make=make)
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(WARNED)
    await ada.hears("authenticated")
    assert house.refreshes == ["r0", "r0"]


async def test_client_without_a_token_for_now_is_not_signed_out(meet):
    def refresh(tokens: Any) -> Any:
        raise OSError("unreachable")

    _, ada = await meet(refresh=refresh)
    with pytest.raises(ConnectionFailed, match="could not get a token"):
        await ada.connect()
    assert ada.heard.empty()


async def test_renewal_that_the_server_cannot_decide_is_sent_again(meet, monkeypatch):
    house, ada = await meet(make=with_refresh)
    await ada.connect()
    await house.next_admitted()
    asked = []
    original = type(house.issuer.verifier()).verify

    def verify(self: Any, *args: Any, **options: Any) -> Any:
        asked.append(1)
        if len(asked) == 1:
            raise Unavailable("the key is unavailable")
        return original(self, *args, **options)

    monkeypatch.setattr(type(house.issuer.verifier()), "verify", verify)
    await house.pass_time(WARNED)
    refused = await ada.hears("unauthorized")
    assert refused["data"]["retry"] is True
    await ada.hears("authenticated")
    assert house.refreshes == ["r0"]


async def test_client_can_authenticate_after_connecting(meet):
    house, ada = await meet(via=Authenticate(), make=lambda place: {**with_refresh(place), "via": "authenticate"})
    await ada.connect()
    assert await house.next_admitted() == "t0"
    await ada.hears("authenticated")
    await house.pass_time(WARNED)
    await ada.hears("authenticated")
    house.drop_all()
    assert await house.next_admitted() == "t1"


async def test_client_that_is_rejected_after_connecting_stops(meet):
    house, ada = await meet(via=Authenticate(), token="not.a.token", make=lambda place: {"via": "authenticate"})
    await ada.connect()
    refusal = await ada.hears("signed out")
    assert refusal.data["code"] == "invalid_token"
    assert house.admitted.empty()


async def test_one_refresh_serves_all_namespaces(meet):
    house, ada = await meet(make=with_refresh)
    await ada.connect(namespaces=["/", "/one", "/two"])
    for _ in range(3):
        assert await house.next_admitted() == "t0"
    await house.pass_time(WARNED)
    async with asyncio.timeout(PATIENCE):
        while {one.identity.token_id for one in house.hub.guard.index} != {"t1"}:
            await asyncio.sleep(0.01)
    assert house.refreshes == ["r0"]


async def test_tickets_are_made_from_the_tokens(meet):
    made: list[str] = []

    def make(place: House) -> dict[str, Any]:
        def ticket(tokens: Any) -> str:
            made.append(tokens["refresh_token"])
            return str(tokens["access_token"])

        return {**with_refresh(place), "token": ticket}

    house, ada = await meet(make=make)
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(WARNED)
    await ada.hears("authenticated")
    assert made == ["r0", "r1"]


async def test_functions_of_the_async_client_can_be_coroutines():
    house = House()
    ended: asyncio.Queue[Any] = asyncio.Queue()

    async def refresh(tokens: Any) -> Any:
        await asyncio.sleep(0)
        return house.refresh(tokens) if not house.refreshes else None

    client = AsyncClient(refresh=refresh, on_signed_out=ended.put, handle_sigint=False, reconnection_delay=0.05)
    async with serve(house.hub) as url:
        await client.connect(f"http://{url}", transports=["polling"], wait_timeout=PATIENCE)
        assert await house.next_admitted() == "t1"
        await house.pass_time(WARNED)
        assert (await asyncio.wait_for(ended.get(), PATIENCE)).message == "logged out"


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"token": "a", "refresh": lambda tokens: None},
        {"token": "a", "tokens": {"access_token": "a"}},
        {"token": "a", "via": "header"},
    ],
)
def test_client_rejects_settings_that_do_not_fit(kind, settings):
    with pytest.raises(ConfigError):
        kind(**settings)


async def test_client_rejects_a_payload_that_is_not_a_dictionary(meet):
    _, ada = await meet(token="a")
    with pytest.raises(ConfigError, match="auth must be a dictionary"):
        await ada.connect(auth="token")


def test_client_rejects_a_python_socketio_with_other_private_names(monkeypatch):
    monkeypatch.delattr(socketio.AsyncClient, "_handle_error")
    with pytest.raises(ConfigError, match="its client has no _handle_error"):
        AsyncClient(token="a")
