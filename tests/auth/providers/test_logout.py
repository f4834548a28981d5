"""Back-channel logout: what is accepted as a logout token, and what it ends."""

from __future__ import annotations

import asyncio
import json
import time

import pytest
from support.provider_login import ROUTES, provider_desk
from support.scripted_provider import LOGOUT_EVENT, OMIT

from roomkey import Key
from roomkey.auth.ending import StoredRevocations
from roomkey.core.revocations import Revocation
from roomkey.errors import Unavailable
from roomkey.stores import MemoryRevocations, Stores

LOGOUT = f"{ROUTES}/sso/logout"


async def send(desk, token=None, **claims):
    token = desk.provider.logout_token(**claims) if token is None else token
    answer = await desk.http.post(LOGOUT, data={"logout_token": token})
    assert "no-store" in answer.headers["cache-control"]
    return answer


async def test_logout_of_a_session_ends_its_login(desk):
    first = await desk.logged_in_at_provider()
    desk.provider.claims = {"sid": "s2"}
    second = await desk.logged_in_at_provider()
    answer = await send(desk, sid="s1")
    assert (answer.status_code, answer.content) == (200, b"")
    assert not await desk.is_logged_in(first)
    assert await desk.is_logged_in(second)
    refresh = {"refresh_token": first["refresh_token"]}
    assert (await desk.http.post("/auth/refresh", json=refresh)).status_code == 401


async def test_logout_of_a_user_ends_all_logins_of_that_user(desk):
    first = await desk.logged_in_at_provider()
    desk.provider.claims = {"sid": OMIT}
    second = await desk.logged_in_at_provider()
    desk.provider.claims = {"sub": "grace", "sid": "s3"}
    other = await desk.logged_in_at_provider()
    assert (await send(desk, sid=OMIT)).status_code == 200
    assert [await desk.is_logged_in(one) for one in (first, second, other)] == [False, False, True]
    desk.clock.advance(1)
    desk.provider.claims = {"sid": "s4"}
    assert await desk.is_logged_in(await desk.logged_in_at_provider()), "a later login is not affected"


async def test_logout_of_an_unknown_session_succeeds(desk):
    tokens = await desk.logged_in_at_provider()
    assert (await send(desk, sid="other", sub=OMIT)).status_code == 200
    assert await desk.is_logged_in(tokens)


async def test_logout_does_not_end_a_login_with_a_password(desk):
    login = {"username": "ada", "password": "correct horse battery"}
    tokens = (await desk.http.post("/auth/login", json=login)).json()
    [session] = await desk.logins.list_sessions("ada")
    assert (await send(desk, sid=session.session_id)).status_code == 200
    assert (await send(desk, sub="ada", sid=OMIT)).status_code == 200
    assert await desk.is_logged_in(tokens)


async def test_logout_before_the_page_gets_its_tokens_prevents_the_login(desk):
    for claims in ({}, {"sid": OMIT}):
        sent = await desk.begin()
        await desk.come_back(sent["state"])
        assert (await send(desk, **claims)).status_code == 200
        assert (await desk.tokens()).status_code == 400
        desk.clock.advance(1)
        desk.provider.claims = {"sid": "s2"}


@pytest.mark.parametrize(("prefix", "sub"), [("", OMIT), ("sso:", "a" * 255)], ids=["no sub", "a long sub"])
async def test_logout_of_a_session_requires_no_subject(scripted, prefix, sub):
    scripted.claims = {"sub": "newcomer"}
    async with provider_desk(scripted, subject_prefix=prefix) as desk:
        tokens = await desk.logged_in_at_provider()
        assert (await send(desk, sub=sub)).status_code == 200
        assert not await desk.is_logged_in(tokens)


async def test_logout_of_a_subject_that_cannot_exist_is_rejected(desk):
    assert (await send(desk, sub="a" * 255, sid=OMIT)).status_code == 400


async def test_logouts_are_in_the_audit_log(desk, caplog):
    caplog.set_level("INFO", "roomkey.audit")
    for token in (desk.provider.logout_token(jti="j"), desk.provider.logout_token(jti="j"), "x"):
        await send(desk, token)
    lines = [json.loads(entry.getMessage()) for entry in caplog.records if entry.name == "roomkey.audit"]
    found = [(line["outcome"], line.get("reason")) for line in lines if line["event"] == "provider_logout"]
    assert [outcome for outcome, _ in found] == ["granted", "refused", "refused"]
    assert found[1][1] == "the logout token was sent before"


async def test_logout_token_can_be_used_once(desk):
    token = desk.provider.logout_token()
    assert (await send(desk, token)).status_code == 200
    answer = await send(desk, token)
    assert answer.status_code == 400
    assert answer.json() == {"error": "invalid_request", "error_description": "The logout token is not valid."}


async def test_replayed_logout_does_not_end_a_later_login(desk):
    token = desk.provider.logout_token(sid=OMIT)
    await send(desk, token)
    desk.clock.advance(2)
    tokens = await desk.logged_in_at_provider()
    await send(desk, token)
    assert await desk.is_logged_in(tokens)


async def test_failed_logout_can_be_sent_again(desk, monkeypatch):
    tokens = await desk.logged_in_at_provider()
    token = desk.provider.logout_token()

    async def fail(**_):
        raise Unavailable("the database failed")

    with monkeypatch.context() as patch:
        patch.setattr(desk.authority, "revoke", fail)
        answer = await send(desk, token)
    assert (answer.status_code, answer.json()["error"]) == (400, "temporarily_unavailable")
    assert await desk.is_logged_in(tokens)
    assert (await send(desk, token)).status_code == 200
    assert not await desk.is_logged_in(tokens)


BAD_CLAIMS = {
    "another issuer": {"iss": "https://evil.example"},
    "no issuer": {"iss": OMIT},
    "another client": {"aud": "other"},
    "no audience": {"aud": OMIT},
    "no iat": {"iat": OMIT},
    "old": {"iat": int(time.time()) - 700},
    "from the future": {"iat": int(time.time()) + 1000, "exp": int(time.time()) + 2000},
    "no exp": {"exp": OMIT},
    "expired": {"exp": int(time.time()) - 60, "iat": int(time.time()) - 120},
    "no jti": {"jti": OMIT},
    "jti is a number": {"jti": 5},
    "no events": {"events": OMIT},
    "events is a list": {"events": [LOGOUT_EVENT]},
    "events is text": {"events": LOGOUT_EVENT},
    "another event": {"events": {"http://schemas.openid.net/event/other": {}}},
    "the event is no object": {"events": {LOGOUT_EVENT: None}},
    "neither sub nor sid": {"sub": OMIT, "sid": OMIT},
    "sid is a number": {"sid": 5},
    "empty sid": {"sid": ""},
    "a nonce": {"nonce": "x"},
    "a nonce that is null": {"nonce": None},
}
BAD_HEADERS = {
    "an access token by its type": {"typ": "at+jwt"},
    "a security event of another kind": {"typ": "secevent+jwt"},
    "alg none": {"alg": "none"},
    "HS256": {"alg": "HS256"},
    "another kid": {"kid": "k2"},
    "crit": {"crit": ["exp"]},
    "jku": {"jku": "https://evil.example/jwks"},
}


@pytest.mark.parametrize("case", [*BAD_CLAIMS, *BAD_HEADERS])
async def test_logout_token_with_a_fault_is_rejected(desk, case):
    tokens = await desk.logged_in_at_provider()
    token = desk.provider.logout_token(BAD_HEADERS.get(case), **BAD_CLAIMS.get(case, {}))
    assert (await send(desk, token)).status_code == 400
    assert await desk.is_logged_in(tokens)


@pytest.mark.parametrize("header", [{"typ": OMIT}, {"typ": "JWT"}, {"typ": "Logout+JWT"}, {"kid": OMIT}])
async def test_usual_logout_tokens_are_accepted(desk, header):
    tokens = await desk.logged_in_at_provider()
    assert (await send(desk, desk.provider.logout_token(header, aud=["x", "chat"], typ="Logout"))).status_code == 200
    assert not await desk.is_logged_in(tokens)


async def test_key_of_somebody_else_is_rejected(desk):
    tokens = await desk.logged_in_at_provider()
    assert (await send(desk, desk.provider.logout_token(key=Key.generate("ES256")))).status_code == 400
    assert await desk.is_logged_in(tokens)


async def test_id_token_is_not_a_logout_token(desk):
    tokens = await desk.logged_in_at_provider()
    desk.provider.claims = {"jti": "j"}
    assert (await send(desk, desk.provider.id_token())).status_code == 400
    assert await desk.is_logged_in(tokens)


@pytest.mark.parametrize(
    "body",
    [b"", b"logout_token=", b"logout_token=x", b"logout_token=a&logout_token=b", b"logout_token=" + b"x" * 9000,
     b"logout_token=" + b"." * 8000, b"\xff", b"other=1"],
)  # fmt: skip
async def test_body_that_is_not_a_logout_is_rejected(desk, body):
    headers = {"Content-Type": "application/x-www-form-urlencoded"}
    answer = await desk.http.post(LOGOUT, content=body, headers=headers)
    assert (answer.status_code, answer.json()["error"]) == (400, "invalid_request")
    assert "/jwks" not in desk.provider.requests


async def test_body_over_the_limit_is_rejected(desk):
    assert (await desk.http.post(LOGOUT, data={"logout_token": "x" * 20_000})).status_code == 413


async def test_strangers_tokens_do_not_make_the_server_ask_for_keys(desk):
    await desk.logged_in_at_provider()
    before = desk.provider.requests.count("/jwks")
    for number in range(200):
        assert (await send(desk, desk.provider.logout_token({"kid": f"x{number}"}))).status_code == 400
    assert desk.provider.requests.count("/jwks") <= before + 1
    assert (await send(desk)).status_code == 200


async def test_provider_that_is_down_makes_logouts_fail(scripted):
    async with provider_desk(scripted) as desk:
        scripted.metadata = {"issuer": "https://evil.example"}
        answer = await send(desk)
        assert (answer.status_code, answer.json()["error"]) == (400, "temporarily_unavailable")


async def test_logout_twice_at_once_succeeds(desk):
    tokens = await desk.logged_in_at_provider()
    token = desk.provider.logout_token()
    answers = await asyncio.gather(*(send(desk, token) for _ in range(5)))
    assert {answer.status_code for answer in answers} <= {200, 400}
    assert answers[0].status_code == 200
    assert not await desk.is_logged_in(tokens)


async def test_revocation_of_the_provider_ends_logins_by_every_door(desk):
    """The command line and the admin API revoke by issuer and names, too."""
    stores = Stores(desk.accounts, desk.clients, desk.sessions, desk.single_use, desk.links, MemoryRevocations())
    doors = StoredRevocations(stores, desk.issuer.issuer, clock=desk.clock.now)
    for number, names in enumerate(({"session_id": "s0"}, {"subject": "sso:ada"}, {"session_id": "s2"})):
        desk.provider.claims = {"sid": f"s{number}"}
        tokens = await desk.logged_in_at_provider()
        issuer = None if number == 2 else desk.provider.issuer
        other = Revocation.of(**names, issuer="https://other.example", now=desk.clock.now())
        await doors.revoke(other)
        refreshed = await desk.http.post("/auth/refresh", json={"refresh_token": tokens["refresh_token"]})
        assert refreshed.status_code == 200
        await doors.revoke(Revocation.of(**names, issuer=issuer, now=desk.clock.now()))
        refresh = {"refresh_token": refreshed.json()["refresh_token"]}
        assert (await desk.http.post("/auth/refresh", json=refresh)).status_code == 401
        desk.clock.advance(1)
