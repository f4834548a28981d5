"""Connection tickets: one connection, once, within seconds, from the page that requested it."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from socketio import ASGIApp
from sqlalchemy import text
from support.clock import FakeClock, forgets_by
from support.live import Poll, Raw, new_server, serve
from support.login_server import LoginServer, bearer, running
from support.postgres import PostgreSQL
from support.tokens import issuer_at

from roomkey.auth import Tickets, TicketVerifier
from roomkey.auth.tickets import LIFETIME
from roomkey.core.credentials import Credential
from roomkey.core.identity import Identity
from roomkey.errors import AuthError, ClaimError, ExpiredToken, InvalidProof, MalformedToken, Unavailable
from roomkey.hub import Authenticate, Handshake
from roomkey.socketio import AsyncGuard
from roomkey.stores import Database, SqlSingleUseStore

PAGE, OTHER = "http://own.example", "http://evil.example"
VIA = {"via": (Handshake(query="ticket"), Authenticate())}


@pytest.fixture
async def server() -> AsyncIterator[LoginServer]:
    async with running(port=True, hub=VIA | {"cors_allowed_origins": [PAGE, OTHER]}) as made:
        yield made


async def ask(server: LoginServer, tokens: dict[str, Any], **headers: str) -> str:
    answer = await server.http.post("/auth/ticket", headers=bearer(tokens) | headers)
    assert (answer.status_code, answer.headers["cache-control"]) == (200, "no-store")
    return str(answer.json()["ticket"])


async def connect(server: LoginServer, ticket: str, **headers: str) -> tuple[Raw, str]:
    raw = await Raw.open(server.host, query=f"&ticket={ticket}", headers=headers)
    return raw, await raw.ask()


async def test_ticket_opens_one_connection(server: LoginServer) -> None:
    tokens = await server.login()
    answer = await server.post("ticket", tokens)
    assert answer.json().keys() == {"ticket", "expires_in"}
    assert answer.json()["expires_in"] == LIFETIME == 30
    raw, reply = await connect(server, answer.json()["ticket"])
    assert reply.startswith("40")
    [socket] = server.hub.guard.sockets("ada")
    who = server.issuer.verifier().verify(tokens["access_token"], server.clock.now())
    assert (socket.identity.session_id, socket.identity.expires_at) == (who.session_id, who.expires_at)
    assert (socket.identity.roles, socket.identity.rooms) == ({"admin"}, ("red",))
    assert socket.identity.source == "query"
    again, reply = await connect(server, answer.json()["ticket"])
    assert json.loads(reply[2:])["data"]["reason"] == "malformed"
    for one in (raw, again):
        await one.close()


@pytest.mark.parametrize("ticket", ["rkt_", "rkt_" + "a" * 43, "rkt_" + "a" * 42, "a" * 43])
async def test_unknown_ticket_is_a_bad_token(server: LoginServer, ticket: str) -> None:
    raw, reply = await connect(server, ticket)
    assert json.loads(reply[2:])["data"]["code"] == "invalid_token"
    assert ticket not in reply
    await raw.close()


@pytest.mark.parametrize(("seconds", "good"), [(29, True), (30, False), (300, False)])
async def test_ticket_is_valid_for_thirty_seconds(server: LoginServer, seconds: int, good: bool) -> None:
    ticket = await ask(server, await server.login())
    server.clock.advance(seconds)
    raw, reply = await connect(server, ticket)
    assert reply.startswith("40" if good else "44")
    await raw.close()


async def test_ticket_does_not_outlive_its_token(server: LoginServer) -> None:
    tokens = await server.login()
    server.clock.advance(890)
    answer = await server.post("ticket", tokens)
    assert answer.json()["expires_in"] == 10
    server.clock.advance(9)
    raw, reply = await connect(server, answer.json()["ticket"])
    assert reply.startswith("40")
    server.clock.advance(26)  # token and grace period have expired
    server.hub.check_deadlines()
    assert await raw.is_closed()


async def test_ending_the_session_ends_its_ticket(server: LoginServer) -> None:
    tokens = await server.login()
    ticket = await ask(server, tokens)
    await server.post("logout", tokens)
    raw, reply = await connect(server, ticket)
    assert "token_revoked" in reply
    await raw.close()


async def test_logout_disconnects_the_socket_that_a_ticket_opened(server: LoginServer) -> None:
    tokens = await server.login()
    raw, _ = await connect(server, await ask(server, tokens))
    assert (await server.post("logout", tokens)).json() == {"sockets": 1}
    assert await raw.is_closed()


@pytest.mark.parametrize(
    ("asked", "used", "good"),
    [(PAGE, PAGE, True), (PAGE, OTHER, False), (PAGE, None, False), (None, PAGE, True), (None, None, True)],
)
async def test_ticket_is_bound_to_the_page_that_requested_it(
    server: LoginServer, asked: str | None, used: str | None, good: bool
) -> None:
    ticket = await ask(server, await server.login(), **({"Origin": asked} if asked else {}))
    raw, reply = await connect(server, ticket, **({"Origin": used} if used else {}))
    assert reply.startswith("40" if good else "44")
    again, reply = await connect(server, ticket, **({"Origin": asked} if asked else {}))
    assert reply.startswith("44"), "it is used up in any case"
    for one in (raw, again):
        await one.close()


async def test_ticket_is_bound_to_the_page_on_python_socketio() -> None:
    async with running() as server:
        sio = new_server(cors_allowed_origins=[PAGE, OTHER])
        verifier = TicketVerifier(server.issuer.verifier(), server.single_use)
        guard = AsyncGuard(verifier, via=Handshake(query="ticket"), clock=server.clock)
        guard.attach(sio)
        async with serve(ASGIApp(sio)) as host:
            server.host = host
            for used, expected in ((OTHER, "44"), (PAGE, "40")):
                ticket = await ask(server, await server.login(), Origin=PAGE)
                raw, reply = await connect(server, ticket, Origin=used)
                assert reply.startswith(expected)
                await raw.close()
            await guard.close()


async def test_polling_session_continues_after_its_ticket(server: LoginServer) -> None:
    ticket = await ask(server, await server.login())
    poll = Poll(server.host)
    await poll.open(f"&ticket={ticket}")
    poll.url = lambda query="": f"/socket.io/?EIO=4&transport=polling&sid={poll.sid}&ticket={ticket}{query}"
    assert (await poll.post("40")).status_code == 200
    assert (await poll.get())[0].startswith("40")
    assert (await poll.post('42["x"]')).status_code == 200
    await poll.close()


@pytest.mark.parametrize(("site", "good"), [("same-origin", True), ("cross-site", False), ("none", False)])
async def test_first_poll_of_the_servers_own_page_has_no_origin(server: LoginServer, site: str, good: bool) -> None:
    ticket = await ask(server, await server.login(), Origin=f"https://{server.host}")
    raw, reply = await connect(server, ticket, **{"Sec-Fetch-Site": site})
    assert reply.startswith("40" if good else "44")
    await raw.close()


@pytest.mark.parametrize(("used", "good"), [(PAGE, True), (OTHER, False), (None, False)])
async def test_ticket_in_an_event_is_bound_to_the_page_of_the_connection(
    server: LoginServer, used: str | None, good: bool
) -> None:
    raw = await Raw.open(server.host, headers={"Origin": used} if used else {})
    assert (await raw.ask()).startswith("40")
    await raw.event("authenticate", {"token": await ask(server, await server.login(), Origin=PAGE)})
    assert await raw.expect_event("authenticated" if good else "unauthorized")
    await raw.close()


async def test_ticket_works_in_the_payload_and_in_an_event(server: LoginServer) -> None:
    tokens = await server.login()
    raw = await Raw.open(server.host)
    assert (await raw.ask({"token": await ask(server, tokens)})).startswith("40")
    late = await Raw.open(server.host)
    assert (await late.ask()).startswith("40")
    await late.event("authenticate", {"token": await ask(server, tokens)})
    assert await late.expect_event("authenticated")
    server.clock.advance(300)
    renewed = (await server.refresh(tokens["refresh_token"])).json()
    await late.event("authenticate", {"token": await ask(server, renewed)})
    assert (await late.expect_event("authenticated"))[0] == {"expires_in": 900}
    for one in (raw, late):
        await one.close()


async def test_http_route_rejects_a_ticket(server: LoginServer) -> None:
    ticket = await ask(server, await server.login())
    for path in ("ticket", "logout", "logout-all"):
        answer = await server.http.post(f"/auth/{path}", headers={"Authorization": f"Bearer {ticket}"})
        assert answer.status_code == 401
    raw, reply = await connect(server, ticket)
    assert reply.startswith("40"), "asking there did not use it up"
    await raw.close()


async def test_of_fifty_concurrent_uses_one_opens_a_connection(server: LoginServer) -> None:
    ticket = await ask(server, await server.login())
    found = await asyncio.gather(*(connect(server, ticket) for _ in range(50)))
    assert Counter(reply[:2] for _, reply in found) == {"40": 1, "44": 49}
    refused = {json.loads(reply[2:])["message"] for _, reply in found if reply.startswith("44")}
    assert refused == {"ticket used, expired or unknown"}, "none for want of time"
    for raw, _ in found:
        await raw.close()


# The verifier alone, with SQLite and PostgreSQL

ADA = {"sub": "ada", "iss": "https://login.example", "aud": "chat", "iat": 1_800_000_000, "exp": 1_800_000_900}


@pytest.fixture
async def single_use(where: Path | str) -> AsyncIterator[SqlSingleUseStore]:
    database = Database(where)
    yield SqlSingleUseStore(database)
    await database.close()


async def test_of_fifty_concurrent_uses_on_all_servers_one_succeeds(single_use: SqlSingleUseStore) -> None:
    clock = FakeClock()
    ticket, _ = await Tickets(single_use, clock=clock.now).issue(Identity.from_claims(dict(ADA)))
    verifier = issuer_at(clock).verifier()
    servers = [TicketVerifier(verifier, single_use) for _ in range(2)]
    taken = await asyncio.gather(
        *(_verified(servers[n % 2], Credential(ticket, "query"), clock.now()) for n in range(50))
    )
    assert Counter(type(one) for one in taken) == {Identity: 1, MalformedToken: 49}


async def _verified(verifier: TicketVerifier, presented: Credential, now: float) -> object:
    try:
        who = verifier.verify_presented(presented, now)
        return who if isinstance(who, Identity) else await who
    except AuthError as error:
        return error


async def test_ticket_for_another_audience_is_rejected(single_use: SqlSingleUseStore) -> None:
    clock = FakeClock()
    tickets = Tickets(single_use, clock=clock.now)
    ticket, _ = await tickets.issue(Identity.from_claims(ADA | {"aud": "admin"}))
    verifier = TicketVerifier(issuer_at(clock).verifier(), single_use)
    refused = await _verified(verifier, Credential(ticket, "query"), clock.now())
    assert isinstance(refused, ClaimError)


async def test_expired_token_gets_no_ticket(single_use: SqlSingleUseStore) -> None:
    clock = FakeClock(1_800_000_900.0)
    with pytest.raises(ExpiredToken):
        await Tickets(single_use, clock=clock.now).issue(Identity.from_claims(dict(ADA)))


@pytest.mark.parametrize("token", [None, 5, "", "a.b.c"])
def test_other_tokens_go_to_the_other_verifier(token: Any) -> None:
    verifier = TicketVerifier(issuer_at(FakeClock()).verifier(), SqlSingleUseStore())
    with pytest.raises(AuthError):
        verifier.verify(token, 1_800_000_000.0)


async def test_unused_tickets_are_deleted(monkeypatch: pytest.MonkeyPatch) -> None:
    clock, database = FakeClock(), Database()
    settle = forgets_by(clock, monkeypatch)
    tickets = Tickets(SqlSingleUseStore(database), clock=clock.now)
    for _ in range(3):
        clock.advance(3601)
        await tickets.issue(Identity("ada", claims=ADA))
        await settle()
    assert len(await database.rows(text("SELECT * FROM one_time"))) == 1
    await database.close()


async def test_unavailable_ticket_store_asks_to_retry(postgres: PostgreSQL) -> None:
    async with running(postgres.database(), port=True, hub=VIA) as server:
        tokens = await server.login()
        ticket = await ask(server, tokens)
        take = server.single_use.consume

        async def fails(*_arguments: Any) -> Any:
            raise Unavailable("scripted")

        server.single_use.consume = fails  # type: ignore[method-assign]
        raw, reply = await connect(server, ticket)
        assert json.loads(reply[2:])["data"]["code"] == "temporarily_unavailable"
        server.single_use.consume = take  # type: ignore[method-assign]
        again, reply = await connect(server, ticket)
        assert reply.startswith("40")
        for one in (raw, again):
            await one.close()


async def test_ticket_does_not_replace_a_proof(single_use: SqlSingleUseStore) -> None:
    clock = FakeClock()
    bound = ADA | {"cnf": {"jkt": "x" * 42 + "A"}}
    ticket, _ = await Tickets(single_use, clock=clock.now).issue(Identity.from_claims(bound))
    verifier = TicketVerifier(issuer_at(clock).verifier(), single_use)
    refused = await _verified(verifier, Credential(ticket, "query"), clock.now())
    assert isinstance(refused, InvalidProof)
