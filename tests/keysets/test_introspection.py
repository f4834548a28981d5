"""Tokens that another server reads, against an endpoint on loopback that answers as each test says."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from typing import Any
from urllib.parse import parse_qs

import pytest
from support.clock import FakeClock
from support.key_server import (
    Held,
    KeyServer,
    cut,
    failing,
    html,
    json_response,
    key_server,
    new_keys,
    redirect,
    response,
    signed,
)

from roomkey import ConfigError, Identity, Verifier
from roomkey.errors import ClaimError, ExpiredToken, MalformedToken, MissingClaim, Unavailable
from roomkey.keysets import introspection as module
from roomkey.keysets import verify_blocking, verify_waiting
from roomkey.keysets.introspection import MAX_ANSWERS, NEGATIVE, POSITIVE, UNANSWERED, Answers, IntrospectionVerifier
from roomkey.keysets.verifiers import introspection_verifier

ISSUER = "https://sso.example"
OPAQUE = "kq3TR-opaque_token.with~all+kinds/of=="


def active(**members: Any) -> dict[str, Any]:
    return {"active": True, "sub": "ada", "exp": int(time.time()) + 900, "aud": "chat", "iss": ISSUER, **members}


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server() as made:
        made.respond = json_response(active())
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def verifier(server: KeyServer, clock: FakeClock) -> IntrospectionVerifier:
    return new_verifier(server, clock)


def new_verifier(server: KeyServer, clock: FakeClock, **settings: Any) -> IntrospectionVerifier:
    settings = {"issuer": ISSUER, "audience": "chat", "fetch_timeout": 2.0, **settings}
    client, timeout = ("room key", "s/e:cret"), settings.pop("fetch_timeout")
    return introspection_verifier(Verifier, server.url, client, timeout, settings, clock.monotonic)


def verify(verifier: Any, token: str = OPAQUE, now: float | None = None) -> Identity:
    return verify_blocking(lambda: verifier.verify(token, time.time() if now is None else now))


def test_the_endpoint_is_asked_with_the_token_in_the_body(server: KeyServer, verifier: IntrospectionVerifier) -> None:
    assert verify(verifier).subject == "ada"
    assert parse_qs(server.bodies[0].decode()) == {"token": [OPAQUE], "token_type_hint": ["access_token"]}
    assert server.paths == ["/"]
    assert b"Authorization: Basic cm9vbSUyMGtleTpzJTJGZSUzQWNyZXQ=" in server.heads[0]  # RFC 6749 section 2.3.1


def test_a_positive_answer_is_kept_for_a_minute(
    server: KeyServer, verifier: IntrospectionVerifier, clock: FakeClock
) -> None:
    verify(verifier)
    server.respond = json_response({"active": False})
    clock.advance(POSITIVE - 0.1)
    assert verifier.verify(OPAQUE, time.time()).subject == "ada"
    clock.advance(0.1)
    with pytest.raises(ExpiredToken):
        verify(verifier)
    assert server.requests == 2


def test_a_positive_answer_is_never_used_past_exp(server: KeyServer, verifier: IntrospectionVerifier) -> None:
    now = time.time()
    server.respond = json_response(active(exp=int(now) + 5))
    assert verify(verifier, now=now).subject == "ada"
    with pytest.raises(ExpiredToken):
        verifier.verify(OPAQUE, int(now) + 5)


def test_a_negative_answer_is_kept_for_ten_seconds(
    server: KeyServer, verifier: IntrospectionVerifier, clock: FakeClock
) -> None:
    server.respond = json_response({"active": False})
    for _ in range(3):
        with pytest.raises(ExpiredToken) as caught:
            verify(verifier)
    assert caught.value.retry
    assert server.requests == 1
    server.respond = json_response(active())
    clock.advance(NEGATIVE)
    assert verify(verifier).subject == "ada"


@pytest.mark.parametrize(
    ("members", "claim"),
    [
        ({"aud": "other"}, "aud"),
        ({"aud": ["other"]}, "aud"),
        ({"aud": None}, "aud"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": 7}, "iss"),
        ({"sub": 7}, "sub"),
        ({"sub": ""}, "sub"),
        ({"exp": "900"}, "exp"),
        ({"exp": 1e30}, "exp"),
        ({"nbf": 32_503_680_000}, "nbf"),
        ({"token_type": "refresh_token"}, "token_type"),
        ({"typ": "Refresh"}, "typ"),
    ],
)
def test_an_answer_for_others_is_rejected(
    server: KeyServer, verifier: IntrospectionVerifier, members: dict[str, Any], claim: str
) -> None:
    server.respond = json_response(active(**members))
    with pytest.raises(ClaimError) as caught:
        verify(verifier)
    assert caught.value.claim == claim
    assert server.requests == 1


def test_sub_is_required_unless_the_settings_allow_otherwise(server: KeyServer, clock: FakeClock) -> None:
    answer = active(client_id="robot")
    del answer["sub"]
    server.respond = json_response(answer)
    with pytest.raises(MissingClaim):
        verify(new_verifier(server, clock))
    assert verify(new_verifier(server, clock, require=["exp"])).subject == ""
    assert verify(new_verifier(server, clock, claims_map={"subject": "client_id"})).subject == "robot"


def test_iss_may_be_missing_in_the_answer(server: KeyServer, verifier: IntrospectionVerifier) -> None:
    answer = active()
    del answer["iss"]
    server.respond = json_response(answer)
    assert verify(verifier).issuer == ISSUER


@pytest.mark.parametrize(
    "respond",
    [
        cut,
        redirect("http://127.0.0.1:9/"),
        *(response(b"{}", b"%d No" % status) for status in (401, 403, 404, 429, 502, 503, 504)),
    ],
)
def test_a_failure_of_the_endpoint_makes_all_tokens_unavailable(
    server: KeyServer, verifier: IntrospectionVerifier, clock: FakeClock, respond: Any
) -> None:
    server.respond = respond
    for token in (OPAQUE, OPAQUE, "another"):
        with pytest.raises(Unavailable):
            verify(verifier, token)
    assert (server.requests, verifier.status().failures) == (1, 1)
    server.respond = json_response(active())
    clock.advance(1.0)
    assert verify(verifier).subject == "ada"


@pytest.mark.parametrize(
    "respond",
    [
        failing,
        html,
        json_response({}),
        json_response({"active": "true"}),
        json_response({"active": 1}),
        json_response([True]),
        response(b'{"active": false, "active": true}'),
        json_response({"active": True, "x": "x" * 70_000}),
    ],
)
def test_a_bad_answer_makes_one_token_unavailable(
    server: KeyServer,
    verifier: IntrospectionVerifier,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    respond: Any,
) -> None:
    server.respond = respond
    for token in ("bad-1", "bad-2", "bad-3", "bad-1", "bad-2", "bad-3"):
        with pytest.raises(Unavailable):
            verify(verifier, token)
    assert (server.requests, verifier.status().failures, len(caplog.records)) == (3, 0, 1)
    assert verifier.last_error is not None
    server.respond = json_response(active())
    assert verify(verifier).subject == "ada"
    with pytest.raises(Unavailable):
        verify(verifier, "bad-1")
    clock.advance(UNANSWERED)
    assert verify(verifier, "bad-1").subject == "ada"


@pytest.mark.parametrize("status", [400, 413, 414, 422])
def test_a_wrong_question_is_about_one_token_only(
    server: KeyServer, verifier: IntrospectionVerifier, status: int
) -> None:
    server.respond = response(b'{"error":"unsupported_token_type"}', b"%d Bad Request" % status)
    for _ in range(2):
        with pytest.raises(ExpiredToken):
            verify(verifier, "another.kind.of-token")
    assert server.requests == 1
    server.respond = json_response(active())
    assert verify(verifier).subject == "ada"


@pytest.mark.parametrize("token", [None, 7, b"opaque", "", "a b", "a\nb", "ä", "a=b", "x" * 9000, "{}"])
def test_what_is_no_token_is_not_asked_about(server: KeyServer, verifier: IntrospectionVerifier, token: Any) -> None:
    with pytest.raises(MalformedToken):
        verify(verifier, token)
    assert server.requests == 0


async def test_100_sockets_with_one_token_ask_once(server: KeyServer, verifier: IntrospectionVerifier) -> None:
    held = server.respond = Held(json_response(active()))
    waiting = [asyncio.create_task(verify_waiting(lambda: verifier.verify(OPAQUE, time.time()))) for _ in range(100)]
    await asyncio.to_thread(held.arrived.wait, 10)
    held.release()
    assert {who.subject for who in await asyncio.gather(*waiting)} == {"ada"}
    assert server.requests == 1


async def test_too_many_tokens_at_once_are_unavailable(
    server: KeyServer, verifier: IntrospectionVerifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_ASKED", 20)
    monkeypatch.setattr(module, "WORKERS", 3)
    held = server.respond = Held(json_response(active()))
    lookups = []
    for number in range(50):
        with pytest.raises(Unavailable) as caught:
            verifier.verify(f"opaque-{number}", time.time())
        lookups.append(caught.value.lookup)
    assert sum(lookup is not None for lookup in lookups) == 20
    held.release()
    for lookup in lookups:
        if lookup is not None:
            await lookup.wait(20)
    assert server.requests == 20
    assert verifier.verify("opaque-0", time.time()).subject == "ada"
    assert verifier.status().asked == 20


def test_answers_are_bounded() -> None:
    answers = Answers()
    for number in range(MAX_ANSWERS + 10):
        answers.put(str(number).encode(), None, 0.0)
    assert len(answers) == MAX_ANSWERS
    assert answers.get(b"9", 0.0) is None
    assert answers.get(b"10", 0.0) == (None,)


def test_tokens_and_secrets_are_not_logged(
    server: KeyServer, verifier: IntrospectionVerifier, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    server.respond = failing
    with pytest.raises(Unavailable) as caught:
        verify(verifier)
    shown = caplog.text + str(caught.value) + repr(verifier) + repr(verifier.status())
    assert OPAQUE not in shown
    assert "cret" not in shown


def test_any_of_asks_about_tokens_that_are_no_jwt(server: KeyServer, clock: FakeClock) -> None:
    (key,) = new_keys("a")
    jwt = Verifier(key.public(), algorithms=["ES256"], issuer=ISSUER, audience="chat")
    for order in (1, -1):
        both = Verifier.any_of(*[new_verifier(server, clock), jwt][::order])
        assert verify(both, signed(key)).subject == "ada"
        assert server.requests == (0 if order == 1 else 1)
        assert verify(both, "opaque").subject == "ada"
    with pytest.raises(ConfigError, match="two verifiers"):
        Verifier.any_of(new_verifier(server, clock), new_verifier(server, clock))
    with pytest.raises(ConfigError, match="two verifiers use introspection"):
        Verifier.any_of(new_verifier(server, clock), new_verifier(server, clock, issuer="https://b.example"))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"url": "http://sso.example"}, "https://"),
        ({"client": ("me", "")}, "client must be"),
        ({"client": "me:secret"}, "client must be"),
        ({"fetch_timeout": 0}, "fetch_timeout"),
        ({"token_type": "at+jwt"}, "token_type"),
    ],
)
def test_unusable_settings_are_rejected(arguments: dict[str, Any], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        Verifier.introspection(**{"url": "https://sso.example/introspect", "client": ("me", "secret"), **arguments})
