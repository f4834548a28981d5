"""Authorization codes at ``POST /oauth/token``: RFC 6749 section 4.1.3 and RFC 7636."""

from __future__ import annotations

import asyncio

import pytest
from support.clock import forgets_by
from support.oauth import BACK, BASIC, Desk, challenge_of, query_of

from roomkey.auth.authorization_codes import CODE_LIFETIME, STORED_SECONDS, is_challenge
from roomkey.auth.refresh_tokens import hash_of
from roomkey.errors import RevokedToken


@pytest.fixture
async def desk():
    async with Desk.opened() as opened:
        yield opened


def refused(answer) -> bool:
    return (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")


def test_rfc7636_appendix_b():
    assert challenge_of("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk") == "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM"


async def test_rfc7636_4_6_verifier_of_appendix_b_is_accepted(desk):
    code = await desk.code("dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    answer = await desk.redeem(code, code_verifier="dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk")
    assert answer.status_code == 200


@pytest.mark.parametrize("verifier", ["w" * 43, "v" * 44, challenge_of("v" * 43), "V" * 43])
async def test_rfc7636_4_6_another_verifier_is_rejected(desk, verifier):
    assert refused(await desk.redeem(await desk.code(), code_verifier=verifier))


@pytest.mark.parametrize("verifier", ["v" * 42, "v" * 129, "v" * 42 + "+", "v" * 42 + "é", "v" * 43 + "\n"])
async def test_rfc7636_4_1_malformed_verifier_is_rejected(desk, verifier):
    code = await desk.code(verifier)  # its challenge fits: only the form is wrong
    assert refused(await desk.redeem(code, code_verifier=verifier))


@pytest.mark.parametrize("verifier", ["v" * 43, "~" * 128])
async def test_rfc7636_4_1_shortest_and_longest_verifiers_are_accepted(desk, verifier):
    assert (await desk.redeem(await desk.code(verifier), code_verifier=verifier)).status_code == 200


@pytest.mark.parametrize(
    "redirect_uri", ["https://app.example/back", BACK + "&x=1", BACK + "/", BACK.upper(), "com.app://back"]
)
async def test_rfc6749_4_1_3_redirect_uri_must_be_identical(desk, redirect_uri):
    assert refused(await desk.redeem(await desk.code(), redirect_uri=redirect_uri))


async def test_rfc6749_4_1_3_code_of_another_client_is_rejected(desk):
    assert refused(await desk.redeem(await desk.code(), BASIC))
    assert refused(await desk.redeem(await desk.code(client_id="backend")))


async def test_rfc6749_3_2_1_confidential_client_must_authenticate(desk):
    code = await desk.code(client_id="backend")
    assert (await desk.redeem(code, client_id="backend")).status_code == 401
    assert (await desk.redeem(code, BASIC)).status_code == 200


async def test_rfc6749_4_1_2_code_expires_after_a_minute(desk):
    assert CODE_LIFETIME <= 600, "the longest that the RFC recommends"
    in_time, late = await desk.code(), await desk.code()
    desk.clock.advance(CODE_LIFETIME - 1)
    assert (await desk.redeem(in_time)).status_code == 200
    desk.clock.advance(1)
    assert refused(await desk.redeem(late))


async def test_rfc6749_4_1_2_code_presented_again_ends_its_session(desk):
    code = await desk.code()
    given = (await desk.redeem(code)).json()
    other = await desk.logged_in()
    assert refused(await desk.redeem(code))
    with pytest.raises(RevokedToken):
        await desk.authority.verify(given["access_token"])
    assert refused(await desk.refresh(given["refresh_token"]))
    assert (await desk.refresh(other["refresh_token"])).status_code == 200


async def test_code_presented_late_or_by_another_client_ends_the_session(desk):
    for changed in ({"auth": BASIC}, {"code_verifier": "w" * 43}, {"redirect_uri": "https://evil.example/"}):
        code = await desk.code()
        given = (await desk.redeem(code)).json()
        desk.clock.advance(300)
        assert refused(await desk.redeem(code, **changed))
        assert refused(await desk.refresh(given["refresh_token"])), changed


async def test_code_is_consumed_by_a_wrong_request(desk):
    code = await desk.code()
    assert refused(await desk.redeem(code, code_verifier="w" * 43))
    assert refused(await desk.redeem(code))
    assert not await desk.logins.list_sessions("ada")


async def test_unknown_code_is_rejected(desk):
    for code in ("x", "c" * 43, "c" * 10_000, "\x00"):
        assert refused(await desk.redeem(code))


async def test_session_has_the_browser_and_the_time_of_the_password(desk):
    desk.http.headers["User-Agent"] = "a browser"
    code = await desk.code()
    given_at = desk.clock.now()
    desk.clock.advance(30)
    desk.http.headers["User-Agent"] = "a backend"
    given = (await desk.redeem(code)).json()
    [session] = await desk.logins.list_sessions("ada")
    assert (session.user_agent, session.auth_time) == ("a browser", given_at)
    assert (await desk.authority.verify(given["access_token"])).claims["auth_time"] == given_at


async def test_twenty_concurrent_uses_of_a_code_leave_no_session(postgres):
    async with Desk.opened(postgres.database()) as desk:
        for _ in range(5):
            code = await desk.code()
            answers = await asyncio.gather(*(desk.redeem(code) for _ in range(20)))
            assert sum(answer.status_code == 200 for answer in answers) <= 1
            assert not await desk.logins.list_sessions("ada")
            for answer in answers:
                if answer.status_code == 200:
                    with pytest.raises(RevokedToken):
                        await desk.authority.verify(answer.json()["access_token"])


@pytest.mark.parametrize("moment", ["before the login begins", "after the login has begun"])
async def test_second_use_at_any_moment_ends_the_session(desk, monkeypatch, moment):
    code, start = await desk.code(), desk.logins.start_session
    second: list[object] = []

    async def interrupted(*arguments, **named):
        if moment == "before the login begins":
            second.append(await desk.redeem(code))
        granted = await start(*arguments, **named)
        if moment == "after the login has begun":
            second.append(await desk.redeem(code))
        return granted

    monkeypatch.setattr(desk.logins, "start_session", interrupted)
    first = await desk.redeem(code)
    assert refused(first)
    assert refused(second[0])
    assert not await desk.logins.list_sessions("ada")


@pytest.mark.parametrize("text", ["", "x" * 42, "x" * 44, "x" * 42 + "=", "x" * 42 + "+", "x" * 43 + "\n"])
def test_rfc7636_4_2_malformed_challenge_is_rejected(text):
    assert not is_challenge(text)
    assert is_challenge(challenge_of("v" * 43))


async def test_codes_are_deleted_when_they_cannot_be_misused(desk, monkeypatch):
    settle = forgets_by(desk.clock, monkeypatch)
    code = await desk.code()
    name = hash_of(code)
    desk.clock.advance(STORED_SECONDS - 1)
    await desk.code()
    await settle()
    assert await desk.single_use.consume("code", name, 0) is not None
    desk.clock.advance(STORED_SECONDS)
    await desk.code()
    await settle()
    assert await desk.single_use.consume("code", name, 0) is None


async def test_password_change_invalidates_a_code(desk):
    mine, eves = await desk.code(), await desk.submit(await desk.show(), username="eve")
    await desk.accounts.set_password("ada", await desk.passwords.hash("another password"))
    assert refused(await desk.redeem(mine))
    assert (await desk.redeem(query_of(eves.headers["location"])["code"])).status_code == 200


@pytest.mark.parametrize(("seconds", "good"), [(0, False), (1, True)])
async def test_code_from_before_logout_all_is_rejected(desk, seconds, good):
    before = await desk.code()
    await desk.logins.logout_all("ada")
    assert refused(await desk.redeem(before))
    desk.clock.advance(seconds)  # a code of the same second counts as earlier
    assert (await desk.redeem(await desk.code())).status_code == (200 if good else 400)


async def test_client_disabled_meanwhile_gets_no_tokens_for_a_code(desk, monkeypatch):
    code, start = await desk.code(), desk.logins.start_session

    async def slowly(*arguments, **named):
        granted = await start(*arguments, **named)
        await desk.clients.set_disabled("page", True)
        return granted

    monkeypatch.setattr(desk.logins, "start_session", slowly)
    assert refused(await desk.redeem(code))
    assert await desk.logins.list_sessions("ada") == []


async def test_service_whose_secret_changes_meanwhile_gets_no_token(desk, monkeypatch):
    find = desk.accounts.find

    async def slowly(username):
        await desk.clients.set_secret("backend", "0" * 64)
        return await find(username)

    monkeypatch.setattr(desk.accounts, "find", slowly)
    assert refused(await desk.post("token", BASIC, grant_type="client_credentials"))
