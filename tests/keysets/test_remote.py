"""The keys of another server, against a server on loopback that answers as each test says."""

from __future__ import annotations

import asyncio
import json
import logging
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from support.certificate import make_certificate
from support.clock import FakeClock
from support.key_server import (
    Flood,
    Held,
    Huge,
    KeyServer,
    cut,
    drip,
    failing,
    html,
    json_response,
    key_server,
    keys,
    new_keys,
    redirect,
    response,
    signed,
    silent,
    with_kid,
)
from support.lag import lag_of_the_loop, seconds_awake
from support.tokens import part

from roomkey import ConfigError, Identity, Issuer, Key, Verifier
from roomkey.errors import BadSignature, InvalidProof, Unavailable, UnknownKey
from roomkey.keysets import RemoteKeySet, fetching, verify_blocking, verify_waiting
from roomkey.keysets.fetching import FetchError, Request, fetch
from roomkey.keysets.remote_answers import MAX_BYTES
from roomkey.keysets.remote_state import COOLDOWN, DUE, FRESH, KEPT, LOST

A, B = new_keys("a", "b")
RSA = Key.generate("RS256", kid="rsa")


@pytest.fixture
def server() -> Iterator[KeyServer]:
    with key_server(A.public()) as made:
        yield made


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
def remote(server: KeyServer, clock: FakeClock) -> RemoteKeySet:
    return RemoteKeySet(f"{server.url}/jwks", clock=clock.monotonic)


@pytest.fixture
def verifier(remote: RemoteKeySet) -> Verifier:
    return Verifier(remote, algorithms=remote.algorithms, issuer="https://sso.example", audience="chat")


def verify(verifier: Any, token: str) -> Identity:
    return verify_blocking(lambda: verifier.verify(token, time.time()))


def refresh(remote: RemoteKeySet) -> None:
    """Fetch the keys, if that is due, and wait for the end of it."""
    lookup = remote.prefetch()
    if lookup is not None:
        lookup.wait_blocking(20)


def logged(caplog: pytest.LogCaptureFixture, server: KeyServer) -> list[logging.LogRecord]:
    """Return what was logged about a server. A fetch of an earlier test, whose server has ended, can still fail."""
    return [record for record in caplog.records if server.url in record.message]


def other_kid(token: str, kid: str, **members: Any) -> str:
    """Return a token with another header."""
    return ".".join([part({"alg": "ES256", "kid": kid, **members}), *token.split(".")[1:]])


def test_the_first_token_waits_for_the_keys(server: KeyServer, verifier: Verifier) -> None:
    token = signed(A)
    with pytest.raises(Unavailable) as caught:
        verifier.verify(token, time.time())
    assert caught.value.lookup is not None
    assert verify(verifier, token).subject == "ada"
    assert server.requests == 1


@pytest.mark.parametrize("settings", [{"issuer": "https://other.example"}, {"audience": "other"}])
def test_without_keys_a_token_with_a_wrong_claim_is_rejected(
    server: KeyServer, verifier: Verifier, settings: dict[str, Any]
) -> None:
    server.respond = silent
    with pytest.raises(UnknownKey, match="the keys are unknown, and the token is not acceptable: ") as caught:
        verifier.verify(signed(A, **settings), time.time())
    assert caught.value.to_client() == UnknownKey().to_client()  # nothing about claims: anyone can write a token


@pytest.mark.parametrize("settings", [{}, {"expires_in": -60}])
def test_without_keys_other_tokens_wait(server: KeyServer, verifier: Verifier, settings: dict[str, Any]) -> None:
    """A client whose token has expired must connect again, and then get a new one."""
    server.respond = silent
    with pytest.raises(Unavailable):
        verifier.verify(signed(A, **settings), time.time())


def test_a_token_without_its_proof_waits_for_the_keys(server: KeyServer, verifier: Verifier) -> None:
    """Its client must learn that a proof is missing, because it can send one."""
    issuer = Issuer(A, issuer="https://sso.example", audience="chat")
    with pytest.raises(InvalidProof):
        verify(verifier, issuer.issue("ada", claims={"cnf": {"jkt": "A" * 43}}))
    server.publish(B.public(), A.public())
    issuer = Issuer(B, issuer="https://sso.example", audience="chat")
    with pytest.raises(InvalidProof):
        verify(verifier, issuer.issue("ada", claims={"cnf": {"jkt": "A" * 43}}))


async def test_200_tasks_at_once_share_one_fetch(server: KeyServer, verifier: Verifier) -> None:
    held = server.respond = Held(keys(A.public()))
    token = signed(A)
    waiting = [asyncio.create_task(verify_waiting(lambda: verifier.verify(token, time.time()))) for _ in range(200)]
    await asyncio.to_thread(held.arrived.wait, 10)
    held.release()
    assert {who.subject for who in await asyncio.gather(*waiting)} == {"ada"}
    assert server.requests == 1


def test_threads_and_event_loops_share_one_fetch(server: KeyServer, verifier: Verifier) -> None:
    held = server.respond = Held(keys(A.public()))
    token = signed(A)

    def loop() -> Identity:
        return asyncio.run(verify_waiting(lambda: verifier.verify(token, time.time())))

    with ThreadPoolExecutor(20) as pool:
        waiting = [pool.submit(loop if number % 2 else lambda: verify(verifier, token)) for number in range(20)]
        assert held.arrived.wait(10)
        held.release()
        assert {one.result().subject for one in waiting} == {"ada"}
    assert server.requests == 1


async def test_one_cancelled_task_does_not_cancel_the_fetch_of_others(server: KeyServer, verifier: Verifier) -> None:
    held = server.respond = Held(keys(A.public()))
    token = signed(A)
    first, second = (asyncio.create_task(verify_waiting(lambda: verifier.verify(token, time.time()))) for _ in range(2))
    await asyncio.to_thread(held.arrived.wait, 10)
    first.cancel()
    await asyncio.wait([first])
    held.release()
    assert (await second).subject == "ada"
    assert first.cancelled()


def test_a_known_key_never_waits(server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock) -> None:
    refresh(remote)
    held = server.respond = Held(keys(A.public()))
    clock.advance(FRESH)
    assert verifier.verify(signed(A), time.time()).subject == "ada"  # this one starts the fetch
    assert held.arrived.wait(10)
    assert verifier.verify(signed(A), time.time()).subject == "ada"
    assert remote.status().state == "stale"
    held.release()
    refresh(remote)
    assert remote.status().state == "fresh"
    assert server.requests == 2


@pytest.mark.checklist("G106")
def test_a_rotation_rejects_no_token(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    assert verify(verifier, signed(A)).subject == "ada"
    for old, new in ((A, B), (B, RSA)):
        server.publish(new.public(), old.public())
        assert verify(verifier, signed(new)).subject == "ada"  # immediately after the fetch before
        assert verify(verifier, signed(old)).subject == "ada"
        clock.advance(COOLDOWN)
    assert server.requests == 3
    server.publish(RSA.public())
    clock.advance(DUE)
    refresh(remote)
    with pytest.raises(UnknownKey):
        verify(verifier, signed(A))


def test_keys_that_arrive_during_a_verification_are_used(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier
) -> None:
    """Another thread fetched them between the moment at which a verification took the keys and its lookup."""
    verify(verifier, signed(A))
    known = remote(0)
    server.publish(B.public(), A.public())
    assert verify(verifier, signed(B)).subject == "ada"
    with pytest.raises(Unavailable) as caught:
        remote.look_up(B.kid, known)
    assert caught.value.lookup is not None
    caught.value.lookup.wait_blocking(20)
    assert verifier.verify(signed(B), time.time()).subject == "ada"
    assert server.requests == 2


A_SET = json.dumps({"keys": [B.public().to_jwk()]}).encode()
MISBEHAVIOUR = {
    "500": failing,
    "cut": cut,
    "silent": silent,
    "web page": html,
    "100 MB": Huge(),
    "redirect": redirect("http://127.0.0.1:9/"),
    "404": response(b"{}", b"404 Not Found"),
    "204": response(b"", b"204 No Content"),
    "empty body": response(b""),
    "empty set": json_response({"keys": []}),
    "no set": json_response({"issuer": "https://sso.example"}),
    "list": json_response([A.public().to_jwk()]),
    "one key": json_response(B.public().to_jwk()),
    "nonsense": response(b"\x00\xff" * 100),
    "nested": response(b'{"keys":' + b"[" * 100_000),
    "duplicate member": response(b'{"keys":[],"keys":[]}'),
    "101 keys": json_response({"keys": [A.public().to_jwk()] * 101}),
    "257 KiB": json_response({"keys": [A.public().to_jwk()], "x": "x" * 257 * 1024}),
    "compressed": response(b"{}", headers=b"Content-Encoding: gzip\r\n"),
    "a compressed key set": response(A_SET, headers=b"CONTENT-ENCODING: gzip\r\n"),
    "only a private key": keys(B.to_jwk(private=True)),
    "only a secret": json_response({"keys": [Key.generate("HS256").to_jwk(private=True)]}),
    "only for encryption": json_response({"keys": [{**B.public().to_jwk(), "use": "enc"}]}),
    "alg none": json_response({"keys": [{**B.public().to_jwk(), "alg": "none"}]}),
    "keys is an object": json_response({"keys": {"a": B.public().to_jwk()}}),
}


@pytest.mark.checklist("G107")
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOUR)
def test_a_bad_answer_leaves_the_keys_in_use(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock, misbehaviour: str
) -> None:
    refresh(remote)
    server.respond = MISBEHAVIOUR[misbehaviour]
    clock.advance(DUE)
    refresh(remote)
    status = remote.status()
    assert (status.kids, status.failures, server.requests) == (("a",), 1, 2)
    assert status.last_error
    assert verifier.verify(signed(A), time.time()).subject == "ada"
    server.publish(B.public())
    clock.advance(1.0)
    refresh(remote)
    assert remote.status().kids == ("b",)
    assert remote.status().last_error is None


@pytest.mark.checklist("G107")
@pytest.mark.parametrize("misbehaviour", MISBEHAVIOUR)
def test_a_bad_first_answer_makes_the_keys_unavailable(
    server: KeyServer, verifier: Verifier, clock: FakeClock, misbehaviour: str
) -> None:
    server.respond = MISBEHAVIOUR[misbehaviour]
    for _ in range(3):
        with pytest.raises(Unavailable):
            verify(verifier, signed(A))
    assert server.requests == 1  # the others back off
    server.publish(A.public())
    clock.advance(1.0)
    assert verify(verifier, signed(A)).subject == "ada"


def test_100_mb_are_not_read(server: KeyServer, remote: RemoteKeySet) -> None:
    huge = server.respond = Huge()
    refresh(remote)
    assert remote.status().last_error == "more than 262144 bytes"
    assert huge.sent < 20_000_000  # what fits into the buffers of the system


CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
BUSY = {
    "interim responses": (b"", b"HTTP/1.1 102 Processing\r\n\r\n"),
    "long interim responses": (b"", b"HTTP/1.1 103 Early Hints\r\n" + b"X-A: b\r\n" * 500 + b"\r\n"),
    "chunks of one byte": (CHUNKED, b"1\r\n \r\n"),
    "chunks with extensions": (CHUNKED, b"1;" + b"x" * 60 + b"\r\n \r\n"),
    "headers": (b"HTTP/1.1 200 OK\r\n", b"X-A: b\r\n"),
    "trailers": (CHUNKED + b"2\r\n{}\r\n0\r\n", b"X-A: b\r\n"),
}


@pytest.mark.parametrize("busy", BUSY)
def test_a_server_cannot_keep_a_request_busy_around_the_body(server: KeyServer, busy: str) -> None:
    flood = server.respond = Flood(*BUSY[busy])
    with pytest.raises(FetchError, match=r"too (much|long)"):
        fetch(Request(server.url, MAX_BYTES))
    assert flood.sent < Flood.SIZE  # what fits into the buffers of the system


def test_a_redirect_is_not_followed(server: KeyServer, remote: RemoteKeySet) -> None:
    with key_server(B.public()) as other:
        server.respond = redirect(f"{other.url}/jwks")
        refresh(remote)
        assert other.requests == 0
    assert remote.status().kids == ()
    assert "no redirects; configure the final URL" in (remote.status().last_error or "")


def test_an_unreachable_server_makes_the_keys_unavailable(clock: FakeClock) -> None:
    with key_server() as gone:
        url = gone.url
    remote = RemoteKeySet(url, clock=clock.monotonic)
    refresh(remote)
    assert "ConnectError" in (remote.status().last_error or "")
    with pytest.raises(Unavailable):
        remote(0.0)


def test_a_lost_fetch_replaces_no_later_answer(server: KeyServer, remote: RemoteKeySet, clock: FakeClock) -> None:
    late = server.respond = Held(keys(A.public()))
    lost = remote.prefetch()
    assert lost is not None
    assert late.arrived.wait(10)
    clock.advance(LOST)
    server.publish(B.public())
    refresh(remote)
    assert remote.status().kids == ("b",)
    late.release()
    lost.wait_blocking(20)
    assert remote.status().kids == ("b",)


def test_the_whole_request_has_one_deadline(server: KeyServer) -> None:
    server.respond = drip
    started = time.monotonic()
    with pytest.raises(FetchError, match="no complete response"):
        fetch(Request(server.url, 1000), seconds=0.3)
    assert time.monotonic() - started < 5


@pytest.mark.checklist("G107")
def test_keys_are_given_up_a_day_after_the_last_good_answer(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    refresh(remote)
    server.respond = failing
    clock.advance(KEPT - 60)
    refresh(remote)
    assert verifier.verify(signed(A), time.time()).subject == "ada"
    clock.advance(60)
    refresh(remote)
    assert remote.status().state == "gone"
    with pytest.raises(Unavailable):
        verify(verifier, signed(A))
    server.publish(A.public())
    clock.advance(60)
    assert verify(verifier, signed(A)).subject == "ada"


async def test_a_slow_server_delays_no_token_beyond_the_limit_and_no_other_task(
    server: KeyServer, clock: FakeClock
) -> None:
    remote = RemoteKeySet(server.url, fetch_timeout=0.3, clock=clock.monotonic)
    verifier = Verifier(remote, algorithms=remote.algorithms, issuer="https://sso.example", audience="chat")
    held = server.respond = Held(keys(A.public()))
    token = signed(A)
    async with lag_of_the_loop() as lag:
        waiting = [verify_waiting(lambda: verifier.verify(token, time.time())) for _ in range(50)]
        with seconds_awake() as seconds:
            errors = await asyncio.gather(*waiting, return_exceptions=True)
        assert lag() < 0.2  # 50 ms on a quiet machine
    assert {type(error) for error in errors} == {Unavailable}
    assert seconds() < 1.5
    held.release()
    refresh(remote)
    assert verifier.verify(token, time.time()).subject == "ada"
    assert server.requests == 1


@pytest.mark.checklist("G109")
def test_10000_unknown_kids_cause_one_fetch_for_each_cooldown(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    known, forged = signed(A), signed(B)
    refresh(remote)
    for cooldown in range(2):
        for number in range(5000):
            with pytest.raises((UnknownKey, Unavailable)):
                verify(verifier, other_kid(forged, f"x{cooldown}-{number}"))
            if number % 500 == 0:
                assert verifier.verify(known, time.time()).subject == "ada"
        assert server.requests == 2 + cooldown
        clock.advance(COOLDOWN)


def test_a_token_that_came_before_its_key_is_accepted_after_the_cooldown(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    refresh(remote)
    with pytest.raises(UnknownKey):
        verify(verifier, signed(B))
    server.publish(A.public(), B.public())
    clock.advance(COOLDOWN - 0.1)
    with pytest.raises(UnknownKey):
        verify(verifier, signed(B))
    clock.advance(0.1)
    assert verify(verifier, signed(B)).subject == "ada"
    assert server.requests == 3


def test_an_unknown_kid_is_rejected_only_after_an_answer_without_it(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    refresh(remote)
    forged = signed(B)
    with pytest.raises(UnknownKey):
        verify(verifier, other_kid(forged, "x"))
    with pytest.raises(UnknownKey):
        verifier.verify(other_kid(forged, "x"), time.time())
    with pytest.raises(Unavailable) as caught:
        verify(verifier, other_kid(forged, "y"))  # the cooldown: nobody knows
    assert caught.value.retry
    server.publish(A.public(), with_kid(B, "y").public())
    clock.advance(COOLDOWN)
    assert verify(verifier, signed(with_kid(B, "y"))).subject == "ada"


@pytest.mark.parametrize(
    "token",
    [
        signed(B, audience="other"),
        signed(B, issuer="https://other.example"),
        signed(B, expires_in=-3600),
    ],
    ids=["audience", "issuer", "expired"],
)
def test_a_token_that_would_be_rejected_anyway_causes_no_fetch(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, token: str
) -> None:
    refresh(remote)
    with pytest.raises(UnknownKey):
        verify(verifier, token)
    assert server.requests == 1


def test_a_bad_signature_of_a_known_key_causes_no_fetch(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier
) -> None:
    refresh(remote)
    with pytest.raises(BadSignature):
        verify(verifier, other_kid(signed(B), "a"))
    assert server.requests == 1


def test_keys_without_kid_can_be_rotated(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock
) -> None:
    def unnamed(key: Key) -> dict[str, Any]:
        return {name: value for name, value in key.public().to_jwk().items() if name != "kid"}

    def without_kid(key: Key) -> str:
        token = signed(key).split(".")
        header = part({"alg": "ES256"})
        return f"{header}.{token[1]}.{part(key.sign('ES256', f'{header}.{token[1]}'.encode()))}"

    server.publish(unnamed(A))
    assert verify(verifier, without_kid(A)).subject == "ada"
    server.publish(unnamed(B))
    assert verify(verifier, without_kid(B)).subject == "ada"
    clock.advance(COOLDOWN)
    for _ in range(2):
        with pytest.raises(BadSignature):
            verify(verifier, without_kid(A))
    assert server.requests == 3


WEAK = Key.generate("RS256").public().to_jwk() | {"kid": "weak", "n": part(b"\xff" * 127 + b"\xfd")}
BAD_KEYS = {
    "secret": Key.generate("HS256", kid="bad").to_jwk(private=True),
    "private": with_kid(B, "bad").to_jwk(private=True),
    "weak": WEAK,
    "encryption": {**with_kid(B, "bad").public().to_jwk(), "use": "enc"},
    "alg none": {**with_kid(B, "bad").public().to_jwk(), "alg": "none"},
    "off the curve": {**with_kid(B, "bad").public().to_jwk(), "x": part(b"\x01" * 32)},
    "no object": "bad",
    "unknown type": {"kty": "AKP", "kid": "bad"},
}


@pytest.mark.checklist("G108")
@pytest.mark.parametrize("bad", BAD_KEYS)
def test_a_bad_key_is_left_out_and_logged_once(
    server: KeyServer,
    remote: RemoteKeySet,
    verifier: Verifier,
    clock: FakeClock,
    caplog: pytest.LogCaptureFixture,
    bad: str,
) -> None:
    caplog.set_level(logging.INFO, "roomkey.keys")
    server.publish(BAD_KEYS[bad], A.public())
    for _ in range(3):
        refresh(remote)
        clock.advance(DUE)
    assert server.requests == 3
    status = remote.status()
    assert (status.kids, len(status.refused)) == (("a",), 1)
    assert verifier.verify(signed(A), time.time()).subject == "ada"
    assert [record.message for record in caplog.records if "left out" in record.message] == [
        f"left out key {status.refused[0][0]!a} of {server.url}/jwks: {status.refused[0][1]}"
    ]
    secret = B.to_jwk(private=True)["d"]
    assert all(secret not in record.message for record in caplog.records)


@pytest.mark.checklist("G108")
def test_two_keys_under_one_kid_are_left_out(server: KeyServer, remote: RemoteKeySet) -> None:
    server.publish(A.public(), with_kid(B, "a").public(), with_kid(RSA, "a").public(), B.public())
    refresh(remote)
    assert sorted(key.kty for key in remote(0.0)) == ["EC", "RSA"]  # RSA with kid a has another algorithm


@pytest.mark.checklist("G108")
def test_another_key_under_a_known_kid_is_ignored_and_alarmed(
    server: KeyServer, remote: RemoteKeySet, verifier: Verifier, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    refresh(remote)
    server.publish(with_kid(B, "a").public())
    for _ in range(2):
        clock.advance(DUE)
        refresh(remote)
    assert server.requests == 3
    assert verifier.verify(signed(A), time.time()).subject == "ada"
    with pytest.raises(BadSignature):
        verify(verifier, signed(with_kid(B, "a")))
    assert [record.levelname for record in logged(caplog, server) if record.levelno > logging.INFO] == ["ERROR"]


def test_an_outage_is_logged_once_and_so_is_its_end(
    server: KeyServer, remote: RemoteKeySet, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, "roomkey.keys")
    refresh(remote)
    server.respond = failing
    for seconds in (*[DUE] * 5, KEPT, DUE):
        clock.advance(seconds)
        refresh(remote)
    server.publish(A.public())
    clock.advance(DUE)
    refresh(remote)
    where = f"the keys of {server.url}/jwks"
    assert [record.message for record in logged(caplog, server)] == [
        f"{where}: 'a'",
        f"cannot fetch {where}: status 500; the known keys stay in use for 23.9 h",
        f"cannot fetch {where}: status 500; no token can be verified",
        f"{where} can be fetched again",
    ]


@pytest.mark.checklist("A7")
@pytest.mark.parametrize("member", ["jku", "x5u"])
def test_key_urls_in_tokens_are_never_requested(remote: RemoteKeySet, server: KeyServer, member: str) -> None:
    with key_server(B.public()) as attacker:
        options: dict[str, Any] = {"algorithms": remote.algorithms, "audience": "chat", "issuer": "https://sso.example"}
        strict, tolerant = Verifier(remote, **options), Verifier(remote, **options, tolerate_header=[member])
        header = {"alg": "ES256", "kid": "a", member: f"{attacker.url}/jwks"}

        def token(key: Key) -> str:
            payload = signed(key).split(".")[1]
            return f"{part(header)}.{payload}.{part(key.sign('ES256', f'{part(header)}.{payload}'.encode()))}"

        refresh(remote)
        for key in (A, B):
            with pytest.raises(Exception, match=f"header member {member} is not accepted"):
                verify(strict, token(key))
        assert verify(tolerant, token(A)).subject == "ada"
        with pytest.raises(BadSignature):
            verify(tolerant, token(B))
        assert (attacker.requests, server.requests) == (0, 1)


@pytest.mark.parametrize("member", ["crit", "b64", "jwk", "cty", "zip", "enc", "alg", "kid"])
def test_only_harmless_header_members_can_be_tolerated(member: str) -> None:
    with pytest.raises(ConfigError, match="tolerate_header can list jku, x5c, x5u"):
        Verifier.hs256("x" * 16 + "0123456789abcdef" * 2, tolerate_header=[member])
    with pytest.raises(ConfigError, match="tolerate_header"):
        Verifier.hs256("x" * 16 + "0123456789abcdef" * 2, tolerate_header="jku")


@pytest.mark.parametrize(
    "url",
    [
        "http://sso.example/jwks",
        "https://ada:pw@sso.example",
        "file:///etc/passwd",
        "sso.example",
        "https://",
        "",
        None,
    ],
)
def test_only_confidential_urls_are_accepted(url: Any) -> None:
    with pytest.raises(ConfigError, match="must be an https:// URL"):
        Verifier.jwks(url)
    with pytest.raises(ConfigError, match="must be an https:// URL"):
        Verifier.oidc(url)


@pytest.mark.parametrize("settings", [{"algorithms": ["HS256"]}, {"fetch_timeout": 0}, {"fetch_timeout": 11}])
def test_unusable_settings_are_rejected(settings: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        Verifier.jwks("https://sso.example/jwks", **settings)


def test_a_key_set_is_rejected_as_the_url_of_one() -> None:
    with pytest.raises(ConfigError, match=r"KeySet\.from_jwks"):
        Verifier.jwks({"keys": []})  # type: ignore[arg-type]


def test_a_url_in_the_environment_is_not_a_proxy_for_this_machine(
    server: KeyServer, remote: RemoteKeySet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    refresh(remote)
    assert remote.status().kids == ("a",)


def test_an_https_request_goes_through_the_proxy_of_the_environment(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("https_proxy", f"http://me:pass%20word@127.0.0.1:{server.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    server.respond = response(b"", b"407 Proxy Authentication Required")
    with pytest.raises(FetchError):
        fetch(Request("https://sso.example/jwks", 1000), seconds=5)
    assert server.paths == ["sso.example:443"]
    assert b"Proxy-Authorization: Basic bWU6cGFzcyB3b3Jk" in server.heads[0]


def test_the_certificate_of_the_server_is_verified(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")
    monkeypatch.setenv("no_proxy", "*")
    fetching._trusted.cache_clear()
    with key_server(A.public(), tls=context) as server:
        url = server.url.replace("127.0.0.1", "localhost")
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(Request(url, 10_000))
        fetching._trusted.cache_clear()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
        assert b'"a"' in fetch(Request(url, 10_000))
        with pytest.raises(FetchError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch(Request(server.url, 10_000))  # the certificate of another host
    fetching._trusted.cache_clear()


def test_without_more_threads_the_keys_are_unavailable(
    remote: RemoteKeySet, verifier: Verifier, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patch:
        patch.setattr(threading.Thread, "start", full)
        with pytest.raises(Unavailable, match="can't start new thread"):
            verifier.verify(signed(A), time.time())
    assert remote.status().failures == 1


class TestDiscovery:
    def verifier(self, server: KeyServer, **settings: Any) -> Verifier:
        return Verifier.oidc(server.url, audience="chat", **settings)

    def test_keys_are_found_by_the_issuer(self, server: KeyServer) -> None:
        server.discover()
        verifier = self.verifier(server)
        assert verify(verifier, signed(A, issuer=server.url)).subject == "ada"
        assert server.paths == ["/.well-known/openid-configuration", "/jwks"]
        with pytest.raises(Exception, match="iss"):
            verify(verifier, signed(A))

    def test_an_unknown_kid_fetches_only_the_keys_again(self, server: KeyServer) -> None:
        server.discover()
        verifier = self.verifier(server)
        verify(verifier, signed(A, issuer=server.url))
        server.publish(A.public(), B.public())
        verify(verifier, signed(B, issuer=server.url))
        assert server.paths[2:] == ["/jwks"]

    @pytest.mark.parametrize(
        "members",
        [
            {"issuer": "https://other.example"},
            {"issuer": "/"},
            {"issuer": None},
            {"jwks_uri": "http://sso.example/jwks"},
            {"jwks_uri": "file:///etc/passwd"},
            {"jwks_uri": None},
        ],
    )
    def test_a_wrong_document_is_discarded(self, server: KeyServer, members: dict[str, Any]) -> None:
        document = {"issuer": server.url, "jwks_uri": f"{server.url}/jwks", **members}
        if members.get("issuer") == "/":
            document["issuer"] = server.url + "/"
        server.routes["/.well-known/openid-configuration"] = json_response(document)
        with pytest.raises(Unavailable):
            verify(self.verifier(server), signed(A, issuer=server.url))
        assert server.requests == 1

    def test_an_issuer_with_a_slash_keeps_it(self, server: KeyServer) -> None:
        server.discover(f"{server.url}/")
        verifier = Verifier.oidc(f"{server.url}/", audience="chat")
        assert verify(verifier, signed(A, issuer=f"{server.url}/")).subject == "ada"
        assert server.paths[0] == "/.well-known/openid-configuration"

    def test_discovery_never_adds_an_algorithm(self, server: KeyServer) -> None:
        server.discover(id_token_signing_alg_values_supported=["none", "HS256", "ES256"])
        verifier = self.verifier(server)
        assert verify(verifier, signed(A, issuer=server.url)).subject == "ada"
        assert "HS256" not in verifier.algorithms

    def test_discovery_limits_keys_without_alg(self, server: KeyServer) -> None:
        unlimited = {name: value for name, value in RSA.public().to_jwk().items() if name != "alg"}
        server.publish(unlimited)
        server.discover(id_token_signing_alg_values_supported=["RS256"])

        def pss() -> str:
            return signed(Key.from_jwk({**RSA.to_jwk(private=True), "alg": "PS256"}), issuer=server.url)

        with pytest.raises(Exception, match="alg PS256"):
            verify(self.verifier(server), pss())
        assert verify(self.verifier(server, algorithms=["PS256"]), pss()).subject == "ada"

    def test_several_spellings_of_iss_can_be_accepted(self, server: KeyServer) -> None:
        server.discover()
        verifier = self.verifier(server, issuer=[server.url, "sso.example"])
        assert verify(verifier, signed(A, issuer="sso.example")).subject == "ada"
        with pytest.raises(ConfigError, match="issuer must contain"):
            self.verifier(server, issuer=["sso.example"])
