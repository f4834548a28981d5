"""Two nodes on one database that can fail. Each has its own connections, guard and memory."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from sqlalchemy import event
from sqlalchemy.engine import Engine
from support.clock import FakeClock, forgets_by
from support.live import until
from support.login_server import NEW_PASSWORD, PASSWORD, LoginServer, bearer, running
from support.postgres import PostgreSQL

from roomkey.auth import InvalidGrant, TicketVerifier
from roomkey.auth.authorization_codes import AuthorizationCodes
from roomkey.auth.signed_values import new_signed_value
from roomkey.auth.throttle import FREE_FOR_PAIR
from roomkey.core.credentials import Credential
from roomkey.errors import MalformedToken, Unavailable
from roomkey.guard import revocation_sync, revocation_writer
from roomkey.stores import Client


class Nodes(NamedTuple):
    """Two nodes on one database, with one clock that tests advance."""

    here: LoginServer
    there: LoginServer


@pytest.fixture
async def nodes(where: Path | str) -> AsyncIterator[Nodes]:
    clock = FakeClock()
    async with AsyncExitStack() as stack:
        made = [await stack.enter_async_context(running(where, clock=clock, port=True)) for _ in range(2)]
        yield Nodes(*made)


on_postgresql = pytest.mark.parametrize("where", ["postgresql"], indirect=True)


async def connect(node: LoginServer, tokens: dict[str, Any]) -> str:
    """Return what a client receives that connects with a token."""
    raw = await node.raw()
    reply = await raw.ask({"token": tokens["access_token"]})
    await raw.close()
    return reply


@pytest.mark.checklist("I126")
@on_postgresql
async def test_revoked_token_is_rejected_after_the_database_stops(
    nodes: Nodes, postgres: PostgreSQL, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The other node has not read the revocation, has not failed to read it, and knows how old its data is."""
    monkeypatch.setattr(revocation_sync, "POLL_SECONDS", 3600.0)
    monkeypatch.setattr(revocation_sync, "STORE_SECONDS", 0.5)
    tokens = await nodes.here.login()
    assert (await connect(nodes.there, tokens)).startswith("40")
    assert (await nodes.here.post("logout", tokens)).status_code == 200
    postgres.hold()
    try:
        nodes.there.clock.advance(revocation_sync.FRESH_SECONDS + 0.01)
        assert "temporarily_unavailable" in await connect(nodes.there, tokens)
    finally:
        postgres.release()


@pytest.mark.checklist("I128")
async def test_backlog_of_expired_sessions_does_not_fail_logins(nodes: Nodes, monkeypatch: pytest.MonkeyPatch) -> None:
    """Deleting the backlog takes longer than a request."""
    begun = asyncio.Event()

    async def too_long(_: int) -> None:
        begun.set()
        await asyncio.sleep(3600)

    for part in (nodes.here.sessions, nodes.here.single_use):
        monkeypatch.setattr(part, "delete_expired", too_long)
    forgets_by(nodes.here.clock, monkeypatch)
    await nodes.here.login()
    tokens = await nodes.here.login()
    assert (await nodes.here.post("ticket", tokens)).status_code == 200
    await asyncio.wait_for(begun.wait(), 20)


# A revocation that fails half way


def fail(monkeypatch: pytest.MonkeyPatch, part: Any, name: str) -> None:
    async def failing(*_: Any, **__: Any) -> Any:
        raise Unavailable("scripted")

    monkeypatch.setattr(part, name, failing)


async def end(node: LoginServer, what: str, tokens: dict[str, Any]) -> int:
    if what == "logout-all":
        return (await node.post("logout-all", tokens)).status_code
    who = node.issuer.verifier(leeway=0).verify(tokens["access_token"], node.clock.now())
    return (await node.http.delete(f"/auth/sessions/{who.session_id}", headers=bearer(tokens))).status_code


@pytest.mark.checklist("I124")
@pytest.mark.parametrize(
    ("what", "broken", "again"),
    [
        ("logout-all", "journal", "here"),
        ("logout-all", "logins", "there"),
        ("logout-all", "logins", "nobody"),
        ("session", "journal", "there"),
        ("session", "logins", "here"),
        ("session", "journal", "nobody"),
    ],
)
async def test_failed_revocation_takes_effect_or_can_be_repeated(
    nodes: Nodes, what: str, broken: str, again: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No session stays half ended on either node."""
    monkeypatch.setattr(revocation_writer, "RETRY_SECONDS", 0.01 if again == "nobody" else 3600.0)
    tokens = await nodes.here.login()
    sockets = [await node.socket(tokens) for node in nodes]
    with monkeypatch.context() as outage:
        store = nodes.here.hub.guard._revocation_sync._store
        fail(outage, *((store, "add") if broken == "journal" else (nodes.here.sessions, "end")))
        assert await end(nodes.here, what, tokens) == 503
    if again == "nobody":
        await until(lambda: len(nodes.here.hub.guard._revocation_sync.writer) == 0)
    else:
        await nodes.there.hub.guard._revocation_sync.poll()
        assert await end(getattr(nodes, again), what, tokens) == 200
    for node, socket in reversed(list(zip(nodes, sockets, strict=True))):  # the other first: a refresh ends it, too
        await node.hub.guard._revocation_sync.poll()
        assert await socket.is_closed()
        assert not await node.is_good(tokens)
        assert (await node.refresh(tokens["refresh_token"])).status_code == 401


async def test_token_revoked_alone_does_not_end_other_sessions(nodes: Nodes) -> None:
    """A thief cannot log out the owner with a stolen token that was revoked."""
    tokens = await nodes.here.login()
    who = await nodes.here.hub.guard.verify(tokens["access_token"])
    await nodes.here.hub.guard.revoke(token_id=who.token_id)
    for what in ("logout-all", "session"):
        assert await end(nodes.here, what, tokens) == 401


# A password change whose answer is lost


@pytest.mark.parametrize("moment", ["before", "commit", "after"])
async def test_failed_password_change_can_be_repeated(
    nodes: Nodes, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The same request succeeds, and does not count as a wrong password."""
    mine, other = await nodes.here.login(), await nodes.here.login()
    change = {"password": PASSWORD, "new_password": NEW_PASSWORD}
    accounts, set_password = nodes.here.accounts, nodes.here.accounts.set_password

    async def loses_its_answer(*arguments: Any) -> None:
        if moment != "before":
            await set_password(*arguments)
        if moment == "after":
            fail(outage, nodes.here.sessions, "list_for")
        else:
            raise Unavailable("scripted")

    with monkeypatch.context() as outage:
        outage.setattr(accounts, "set_password", loses_its_answer)
        assert (await nodes.here.post("password", mine, **change)).status_code == 503
    for _ in range(FREE_FOR_PAIR):
        assert (await nodes.here.post("password", mine, **change)).status_code == 200
    assert (await nodes.there.post("password", mine, **change)).status_code == 200
    await nodes.there.login(password=NEW_PASSWORD)
    for node in nodes:
        assert (await node.refresh(other["refresh_token"])).status_code == 401
    assert (await nodes.here.refresh(mine["refresh_token"])).status_code == 200


async def test_password_change_with_two_wrong_passwords_is_two_attempts(nodes: Nodes) -> None:
    mine = await nodes.here.login()
    for attempt in range(FREE_FOR_PAIR):
        wrong = {"password": f"wrong {attempt}", "new_password": f"something else {attempt}"}
        answer = await nodes.here.post("password", mine, **wrong)
        assert answer.status_code == (400 if 2 * attempt < FREE_FOR_PAIR else 429)


# What was made up


@pytest.fixture
def statements() -> Iterator[list[str]]:
    """Collect the statements that the databases receive."""
    asked: list[str] = []

    def note(*arguments: Any) -> None:
        asked.append(arguments[2])

    event.listen(Engine, "before_cursor_execute", note)
    yield asked
    event.remove(Engine, "before_cursor_execute", note)


@pytest.mark.checklist("I115")
async def test_made_up_tickets_and_codes_do_not_reach_the_store(nodes: Nodes, statements: list[str]) -> None:
    """This includes expired values, and values of the other kind."""
    now = nodes.here.clock.now()
    tickets, key = (
        TicketVerifier(nodes.here.issuer.verifier(), nodes.here.single_use),
        await nodes.here.single_use.key(),
    )
    codes = AuthorizationCodes(nodes.here.single_use, nodes.here.logins)
    made_up = [
        "A" * 43,
        secrets.token_urlsafe(32),
        new_signed_value(key, "ticket", int(now)),
        new_signed_value(bytes(32), "ticket", int(now) + 9),
    ]
    statements.clear()
    for name in [*made_up, new_signed_value(key, "code", int(now) + 9)]:
        with pytest.raises(MalformedToken):
            await tickets.verify_presented(Credential(f"rkt_{name}", "query"), now)
    for name in [*made_up, new_signed_value(key, "ticket", int(now) + 9)]:
        with pytest.raises(InvalidGrant):
            await codes.exchange(name, Client("app"), redirect_uri="", verifier="")
    assert statements == []


@pytest.mark.checklist("I115")
async def test_made_up_refresh_tokens_write_nothing(nodes: Nodes, statements: list[str]) -> None:
    """It costs one index lookup, and no lock."""
    await nodes.here.login()
    statements.clear()
    for path in ("refresh", "logout"):
        answer = await nodes.here.http.post(f"/auth/{path}", json={"refresh_token": secrets.token_urlsafe(32)})
        assert answer.status_code == (401 if path == "refresh" else 200)
    assert len(statements) <= 2
    assert all(one.startswith("SELECT") for one in statements)


async def test_ticket_of_one_node_opens_a_connection_on_another(nodes: Nodes) -> None:
    tokens = await nodes.here.login()
    ticket = (await nodes.here.post("ticket", tokens)).json()["ticket"]
    raw = await nodes.there.raw()
    assert (await raw.ask({"token": ticket})).startswith("40")


async def test_concurrent_requests_for_the_key_get_the_same(nodes: Nodes) -> None:
    found = await asyncio.gather(*(node.single_use.key() for node in nodes for _ in range(20)))
    assert len({*found}) == 1
    assert len(found[0]) == 32
