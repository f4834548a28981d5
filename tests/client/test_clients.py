"""Both clients of roomkey.client against both servers on real ports."""

from __future__ import annotations

import asyncio
import queue
from importlib import metadata
from typing import Any

import engineio
import pytest
import socketio
from client.house import NAMESPACES, PATIENCE, WARNED, House, run, with_refresh
from socketio.exceptions import ConnectionError as ConnectionFailed

from roomkey.client import AsyncClient, ConnectionRefused
from roomkey.client.base import check_versions
from roomkey.client.sync_client import _Outbox
from roomkey.errors import ConfigError, PermissionDenied, Unavailable
from roomkey.socketio import Authenticate


async def test_warned_client_renews_its_token(meet_anywhere):
    house, ada = await meet_anywhere(make=with_refresh)
    await ada.connect()
    assert await house.next_admitted() == "t0"
    await house.pass_time(WARNED)
    heard = await ada.hears_all("token_expiring", "authenticated")
    assert heard == {"token_expiring": {"expires_in": 25}, "authenticated": {"expires_in": 600}}
    assert house.refreshes == ["r0"]
    assert await run(ada.sio.call, "echo", "still here") == "still here"
    assert "disconnect" not in [event for event, *_ in ada.seen]


async def test_expired_client_returns_with_a_refreshed_token(meet_anywhere):
    house, ada = await meet_anywhere(make=with_refresh, house={"warn_before": 0, "grace": 0})
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


async def test_function_returns_a_new_token_for_each_connection(meet_anywhere):
    numbers = iter(range(9))
    house, ada = await meet_anywhere(make=lambda place: {"token": lambda: place.tokens(next(numbers))["access_token"]})
    await ada.connect(auth={"lang": "en"})
    assert await house.next_admitted() == "t0"
    house.drop_all()
    assert await house.next_admitted() == "t1"


@pytest.mark.parametrize("reconnecting", [False, True])
async def test_refused_client_stops(meet_anywhere, reconnecting):
    """python-socketio's client would try again forever after a refusal on a reconnection."""
    house, ada = await meet_anywhere(make=with_refresh)
    if reconnecting:
        await ada.connect()
        await house.next_admitted()
    house.is_open = False
    if reconnecting:
        house.drop_all()
    else:
        with pytest.raises(ConnectionRefused, match=f"^connection refused: {PermissionDenied.text}") as raised:
            await ada.connect()
        assert isinstance(raised.value, ConnectionFailed)
        assert (raised.value.refusal.code, raised.value.refusal.reason) == ("permission_denied", "permission_denied")
    refusal = await ada.hears("signed out")
    assert (refusal.message, refusal.reason, refusal.retry) == (PermissionDenied.text, "permission_denied", False)
    await ada.loop_has_ended()
    assert not ada.sio.connected
    assert house.admitted.empty()


async def test_revoked_client_stops_and_can_log_in_again(meet_anywhere):
    house, ada = await meet_anywhere(make=with_refresh)
    await ada.connect()
    await house.next_admitted()
    assert await house.guard.revoke(token_id="t0") == 1
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


WITHOUT_POLLS = [f"{engine}+{way}" for engine in ("hub", "python-socketio") for way in ("websocket", "upgrade")]


@pytest.mark.parametrize("meet_anywhere", WITHOUT_POLLS, indirect=True)
async def test_stopped_client_can_connect_again_immediately(meet_anywhere):
    """The previous connection may still be closing. Over polling, the client first waits for the answer to its poll."""
    answers: list[Any] = [None]
    house, ada = await meet_anywhere(
        make=lambda place: {**with_refresh(place), "refresh": lambda tokens: answers.pop()}
    )
    await ada.connect()
    await house.next_admitted()
    await house.pass_time(WARNED)
    await ada.hears("signed out")
    await ada.connect(tokens=house.tokens(7))
    assert await house.next_admitted() == "t7"
    assert await run(ada.sio.call, "echo", "back") == "back"


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


async def test_client_can_authenticate_after_connecting(meet_anywhere):
    house, ada = await meet_anywhere(
        via=Authenticate(), make=lambda place: {**with_refresh(place), "via": "authenticate"}
    )
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
    for namespace in NAMESPACES[1:]:
        ada.sio.on("authenticated", lambda *args: ada.heard.put(("authenticated", *args)), namespace=namespace)
    await ada.connect(namespaces=list(NAMESPACES))
    for _ in NAMESPACES:
        assert await house.next_admitted() == "t0"
    await house.pass_time(WARNED)
    for _ in NAMESPACES:
        await ada.hears("authenticated")
    assert [one.identity.token_id for one in house.guard.index] == ["t1"] * len(NAMESPACES)
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
    house = House("hub")
    ended: asyncio.Queue[Any] = asyncio.Queue()

    async def refresh(tokens: Any) -> Any:
        await asyncio.sleep(0)
        return house.refresh(tokens) if not house.refreshes else None

    client = AsyncClient(refresh=refresh, on_signed_out=ended.put, handle_sigint=False, reconnection_delay=0.05)
    async with house.served() as url:
        await client.connect(url, transports=["polling"], wait_timeout=PATIENCE)
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
        {"refresh": lambda tokens: None, "tokens": "a"},
    ],
)
def test_client_rejects_settings_that_do_not_fit(kind, settings):
    with pytest.raises(ConfigError):
        kind(**settings)


async def test_client_whose_login_has_ended_is_refused(meet):
    _, ada = await meet(refresh=lambda tokens: None)
    with pytest.raises(ConnectionRefused, match=r"^connection refused: logged out$"):
        await ada.connect()


async def test_client_rejects_tokens_that_are_not_a_mapping(meet):
    _, ada = await meet(refresh=lambda tokens: None)
    with pytest.raises(ConfigError, match="tokens must be a mapping with access_token; for a token alone, pass token"):
        await ada.connect(tokens="abc")


async def test_client_rejects_a_payload_that_is_not_a_dictionary(meet):
    _, ada = await meet(token="a")
    with pytest.raises(ConfigError, match="auth must be a dictionary"):
        await ada.connect(auth="token")


@pytest.mark.parametrize(
    ("owner", "name"), [(socketio.AsyncClient, "_handle_error"), (engineio.AsyncClient, "_receive_packet")]
)
def test_client_rejects_a_version_with_other_private_names(monkeypatch, owner, name):
    monkeypatch.delattr(owner, name)
    with pytest.raises(ConfigError, match=f"its client has no {name}"):
        AsyncClient(token="a")


@pytest.mark.parametrize(
    ("package", "version", "is_supported"),
    [
        ("python-socketio", "5.13.0", False),
        ("python-socketio", "5.14.0", True),
        ("python-socketio", "6.0", True),
        ("python-engineio", "4.12.2", False),
        ("python-engineio", "4.13", True),
    ],
)
def test_import_names_what_to_install_instead_of_an_old_version(monkeypatch, package, version, is_supported):
    found = metadata.version
    monkeypatch.setattr(metadata, "version", lambda name: version if name == package else found(name))
    if is_supported:
        check_versions()
    else:
        with pytest.raises(ImportError, match=rf"requires {package} .* not {version}; run: pip install .*client"):
            check_versions()


def test_end_of_a_connection_is_not_overlooked_behind_a_packet():
    """engineio's writer takes all packets that are there, and would wait for more after the last one."""
    waiting = _Outbox()
    for packet in ("a", "b", None):
        waiting.put(packet)
    assert [waiting.get(), waiting.get(block=False)] == ["a", "b"]
    with pytest.raises(queue.Empty):
        waiting.get(block=False)
    assert waiting.get() is None
