"""Tokens that are bound to a key: sockets present a proof next to the token (DPoP, RFC 9449)."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from support.dpop import NONCE_SECRET, URL, ClientKey
from support.live import Poll
from support.offline import Client, Offline
from support.rawsocket import PATIENCE
from support.world import NOT_THE_OWNER

from roomkey import DPoP, Identity
from roomkey.core.credentials import Credential
from roomkey.core.dpop import MAX_PROOF, WINDOW
from roomkey.core.jws import MAX_TOKEN
from roomkey.errors import ConfigError, InvalidProof, Unavailable
from roomkey.guard import proofs
from roomkey.guard.settings import PACKET_AROUND_TOKEN, GuardSettings
from roomkey.socketio import Authenticate, Handshake

KEY, OTHER = ClientKey(), ClientKey()
WAYS = pytest.mark.parametrize("via", [Handshake(), Authenticate()], ids=["handshake", "authenticate"])


def bound(server: Any, key: ClientKey = KEY, subject: str = "ada", **claims: Any) -> str:
    return str(server.issuer.issue(subject, claims=key.binding, **claims))


def proof(server: Any, token: str, key: ClientKey = KEY, **changes: Any) -> str:
    return key.proof(token, server.clock.now(), **changes)


async def present(server: Offline, via: object, token: str, dpop: object = None, client: Client | None = None) -> Any:
    """Present a token in one of the ways; return None if the socket is admitted, or the error that its client gets."""
    payload = {"token": token} | ({} if dpop is None else {"dpop": dpop})
    client = client or await server.client()
    if isinstance(via, Handshake):
        client.begin(f"0{json.dumps(payload)}")
        packet = (await client.settle())[0]
        return json.loads(packet[1:])["data"] if packet.startswith("4") else None
    if server.admission(client) is None:
        client.begin_connect(None)
        await client.settle()
    before = len(client.heard("unauthorized"))
    client.begin_event("authenticate", payload)
    await client.settle()
    rejected = client.heard("unauthorized")[before:]
    return rejected[0]["data"] if rejected else None


@WAYS
async def test_bound_token_with_a_proof_is_admitted(offline, via):
    server = offline(via=via, dpop=DPoP(URL))
    token = bound(server)
    assert await present(server, via, token, proof(server, token)) is None
    [socket] = server.guard.sockets("ada")
    assert socket.identity.claim("cnf") == {"jkt": KEY.thumbprint}


@WAYS
@pytest.mark.parametrize("dpop", [None, DPoP(URL)], ids=["off", "on"])
async def test_bound_token_without_a_proof_is_refused(offline, via, dpop):
    server = offline(via=via, dpop=dpop)
    for nothing in (None, ""):
        error = await present(server, via, bound(server), nothing)
        assert (error["code"], error["message"]) == ("invalid_dpop_proof", "DPoP proof required")
    assert server.guard.sockets() == []


@WAYS
async def test_bound_token_is_refused_without_the_setting_although_there_is_a_proof(offline, via):
    server = offline(via=via)
    token = bound(server)
    assert (await present(server, via, token, proof(server, token)))["code"] == "invalid_dpop_proof"


@WAYS
async def test_thief_of_a_token_is_refused(offline, via):
    server = offline(via=via, dpop=DPoP(URL))
    token, another = bound(server), bound(server)
    for stolen, code in (
        (proof(server, token, OTHER), "invalid_token"),
        (proof(server, another), "invalid_dpop_proof"),
        (proof(server, token, htu="https://other.example/socket.io/"), "invalid_dpop_proof"),
        (proof(server, token, htm="POST"), "invalid_dpop_proof"),
        (proof(server, token, iat=server.clock.now() - 61), "invalid_dpop_proof"),
        (5, "invalid_dpop_proof"),
        ({"proof": "x"}, "invalid_dpop_proof"),
        (token, "invalid_dpop_proof"),
    ):
        error = await present(server, via, token, stolen)
        assert error["code"] == code, stolen
    assert server.guard.sockets() == []


@WAYS
async def test_proof_is_accepted_once(offline, via):
    server = offline(via=via, dpop=DPoP(URL))
    token = bound(server)
    once = proof(server, token)
    assert await present(server, via, token, once) is None
    assert (await present(server, via, token, once))["code"] == "invalid_dpop_proof"
    assert len(server.guard.sockets("ada")) == 1


async def test_proof_of_a_rejected_token_is_not_used_up(offline):
    server = offline(dpop=DPoP(URL, max_proofs=1))
    for _ in range(3):
        expired = bound(server, expires_in=-100)
        assert (await present(server, Handshake(), expired, proof(server, expired)))["reason"] == "token_expired"
        foreign = bound(server, OTHER)
        assert (await present(server, Handshake(), foreign, proof(server, foreign)))["code"] == "invalid_token"
    token = bound(server)
    assert await present(server, Handshake(), token, proof(server, token)) is None


@WAYS
async def test_proof_with_a_token_that_is_not_bound_is_refused(offline, via):
    server = offline(via=via, dpop=DPoP(URL))
    token = server.token()
    error = await present(server, via, token, proof(server, token))
    assert (error["reason"], error["claim"]) == ("claim", "cnf")
    assert await present(server, via, token) is None


async def test_member_dpop_is_the_applications_without_the_setting(offline):
    server = offline()
    assert await present(server, Handshake(), server.token(), {"anything": 1}) is None


@pytest.mark.parametrize("cnf", [{"x5t#S256": "x"}, {"jkt": KEY.thumbprint, "x5t#S256": "x"}, {}, None, "x"])
@pytest.mark.parametrize("dpop", [None, DPoP(URL)], ids=["off", "on"])
async def test_binding_that_cannot_be_checked_is_refused(offline, cnf, dpop):
    server = offline(dpop=dpop)
    token = server.token(claims={"cnf": cnf})
    for presented in (None, proof(server, token)):
        error = await present(server, Handshake(), token, presented)
        assert (error["reason"], error["claim"]) == ("claim", "cnf")


async def test_token_with_a_proof_and_again_in_a_header_is_refused(make_world):
    world = await make_world(dpop=DPoP(URL))
    token = bound(world)
    client = await world.client(headers={"Authorization": f"Bearer {token}"})
    reply = await client.ask({"token": token, "dpop": proof(world, token)})
    assert "more than one token provided" in reply


async def test_scheme_dpop_in_the_header_makes_no_guest(make_world):
    world = await make_world(dpop=DPoP(URL), required=False)
    token = bound(world)
    client = await world.client(headers={"Authorization": f"DPoP {token}", "DPoP": proof(world, token)})
    assert "credentials_bad_format" in await client.ask()
    client = await world.client(headers={"Authorization": f"DPoP {token}"})
    assert (await client.ask({"token": token, "dpop": proof(world, token)})).startswith("40")


async def test_bound_token_in_the_requests_of_a_session_is_refused(make_world):
    """A polling request has no proof, so another bound token cannot continue the session."""
    world = await make_world(dpop=DPoP(URL))
    owner, thief = (Poll(world.host, {"Authorization": f"Bearer {bound(world)}"}) for _ in range(2))
    await owner.open()
    thief.sid = owner.sid
    assert await thief.answer() == NOT_THE_OWNER
    assert (await owner.post("40")).status_code == 200
    assert "DPoP proof required" in (await owner.get())[0]
    for poll in (owner, thief):
        await poll.close()


# Nonces


@WAYS
async def test_client_answers_with_the_nonce_of_the_server(offline, via):
    server = offline(via=via, dpop=DPoP(URL, nonce_secret=NONCE_SECRET))
    token, client = bound(server), await server.client()
    error = await present(server, via, token, proof(server, token), client)
    assert (error["code"], error["retry"]) == ("use_dpop_nonce", True)
    if isinstance(via, Handshake):
        client = await server.client()
    assert await present(server, via, token, proof(server, token, nonce=error["nonce"]), client) is None


async def test_nonces_require_a_second_attempt():
    with pytest.raises(ConfigError, match="max_attempts"):
        GuardSettings(Anyone(), via=Authenticate(max_attempts=1), dpop=DPoP(URL, nonce_secret=NONCE_SECRET))


def test_packet_with_the_longest_token_and_proof_must_fit():
    smallest = MAX_TOKEN + PACKET_AROUND_TOKEN
    GuardSettings(Anyone(), max_anonymous_packet=smallest)
    with pytest.raises(ConfigError, match="max_anonymous_packet"):
        GuardSettings(Anyone(), max_anonymous_packet=smallest, dpop=DPoP(URL))
    GuardSettings(Anyone(), max_anonymous_packet=smallest + MAX_PROOF, dpop=DPoP(URL))


# Renewal


async def test_renewal_requires_a_proof_by_the_same_key(offline):
    server = offline(dpop=DPoP(URL))
    client, token = await server.client(), bound(server, expires_in=100)
    assert await present(server, Handshake(), token, proof(server, token), client) is None
    newer = bound(server, expires_in=200)
    for payload, code in (
        ({"token": newer}, "invalid_dpop_proof"),
        (
            {"token": (foreign := bound(server, OTHER, expires_in=200)), "dpop": proof(server, foreign, OTHER)},
            "invalid_token",
        ),
    ):
        client.begin_event("authenticate", payload)
        await client.settle()
        assert client.heard("unauthorized")[-1]["data"]["code"] == code
    client.begin_event("authenticate", {"token": newer, "dpop": proof(server, newer)})
    await client.settle()
    assert client.heard("authenticated") == [{"expires_in": 200}]


async def test_renewal_with_a_token_that_is_not_bound_is_rejected(offline):
    server = offline(dpop=DPoP(URL))
    client, token = await server.client(), bound(server, expires_in=100)
    assert await present(server, Handshake(), token, proof(server, token), client) is None
    client.begin_event("authenticate", {"token": server.token(expires_in=200)})
    await client.settle()
    assert client.heard("unauthorized")[-1]["data"]["claim"] == "cnf"
    assert len(server.guard.sockets("ada")) == 1


async def test_socket_can_be_renewed_with_a_bound_token(offline):
    server = offline(dpop=DPoP(URL))
    client = await server.member(expires_in=100)
    token = bound(server, expires_in=200)
    client.begin_event("authenticate", {"token": token, "dpop": proof(server, token)})
    await client.settle()
    assert client.heard("authenticated") == [{"expires_in": 200}]


# Limits and other settings


async def test_full_memory_of_proofs_refuses_for_a_while(offline):
    server = offline(dpop=DPoP(URL, max_proofs=2, max_proofs_per_subject=1))
    for subject, code in (("ada", None), ("ada", "limit_exceeded"), ("eve", None), ("bob", "temporarily_unavailable")):
        token = bound(server, subject=subject)
        error = await present(server, Handshake(), token, proof(server, token))
        assert (error and error["code"]) == code
    server.clock.advance(121)
    token = bound(server)
    assert await present(server, Handshake(), token, proof(server, token)) is None


@WAYS
async def test_required_setting_refuses_tokens_that_are_not_bound(offline, via):
    server = offline(via=via, dpop=DPoP(URL, required=True))
    assert (await present(server, via, server.token()))["message"] == "DPoP proof required"
    token = bound(server)
    assert await present(server, via, token, proof(server, token)) is None


# Several servers


class Shared:
    """A store of used proofs that two servers share, and that can fail or wait."""

    def __init__(self) -> None:
        self.known: set[str] = set()
        self.failure: Exception | None = None
        self.waits: asyncio.Event | None = None

    async def add_once(self, kind: str, value_hash: str, expires_at: int) -> bool:
        assert kind == "proof"
        assert len(value_hash) == 64
        if self.waits is not None:
            await self.waits.wait()
        if self.failure is not None:
            raise self.failure
        is_first = value_hash not in self.known
        self.known.add(value_hash)
        return is_first


@WAYS
async def test_proof_that_another_server_has_seen_is_refused(offline, via):
    store = Shared()
    one, two = (offline(via=via, dpop=DPoP(URL, store=store)) for _ in range(2))
    token = bound(one)
    presented = proof(one, token)
    assert await present(one, via, token, presented) is None
    assert (await present(two, via, token, presented))["code"] == "invalid_dpop_proof"
    assert await present(two, via, token, proof(two, token)) is None


@pytest.mark.parametrize("failure", [Unavailable("scripted"), OSError("scripted")], ids=["unavailable", "error"])
async def test_proofs_are_refused_while_the_shared_store_fails(offline, failure):
    store = Shared()
    store.failure = failure
    server = offline(dpop=DPoP(URL, store=store))
    token = bound(server)
    assert (await present(server, Handshake(), token, proof(server, token)))["code"] == "temporarily_unavailable"
    assert server.guard.sockets() == []
    store.failure = None
    assert await present(server, Handshake(), token, proof(server, token)) is None


async def test_proofs_are_refused_while_the_shared_store_hangs(offline, monkeypatch):
    monkeypatch.setattr(proofs, "STORE_SECONDS", 0.01)
    store = Shared()
    store.waits = asyncio.Event()
    server = offline(dpop=DPoP(URL, store=store))
    client, token = await server.client(), bound(server)
    client.begin(f"0{json.dumps({'token': token, 'dpop': proof(server, token)})}")
    async with asyncio.timeout(PATIENCE):
        while not (packets := await client.settle()):
            await asyncio.sleep(0.01)
    assert "temporarily_unavailable" in packets[0]


async def test_token_revoked_while_the_shared_store_is_asked_is_refused(offline):
    store = Shared()
    store.waits = asyncio.Event()
    server = offline(dpop=DPoP(URL, store=store))
    client, token = await server.client(), bound(server)
    client.begin(f"0{json.dumps({'token': token, 'dpop': proof(server, token)})}")
    await client.settle()
    await server.guard.revoke(subject="ada")
    store.waits.set()
    assert "token_revoked" in (await client.settle())[0]


@WAYS
async def test_proof_is_stored_until_no_clock_accepts_it(offline, via):
    class Noting(Shared):
        async def add_once(self, kind: str, value_hash: str, expires_at: int) -> bool:
            assert expires_at >= server.clock.now() + 2 * WINDOW
            return await super().add_once(kind, value_hash, expires_at)

    server = offline(via=via, dpop=DPoP(URL, store=Noting()))
    token = bound(server)
    assert await present(server, via, token, proof(server, token)) is None


async def test_required_setting_still_admits_guests(offline):
    server = offline(dpop=DPoP(URL, required=True), required=False)
    client = await server.client()
    client.begin_connect(None)
    assert (await client.settle())[0].startswith("0")
    client.begin_event("authenticate", {"token": server.token()})
    await client.settle()
    assert client.heard("unauthorized")[-1]["data"]["code"] == "invalid_dpop_proof"


async def test_routes_of_an_application_reject_bound_tokens(offline):
    server = offline(dpop=DPoP(URL))
    with pytest.raises(InvalidProof):
        await server.guard.verify(bound(server))
    assert (await server.guard.verify(server.token())).subject == "ada"


class Anyone:
    """A verifier of an application's own, which does not know about bindings."""

    def verify(self, token: object, now: float, *, source: str = "") -> Identity:
        return Identity("ada", claims={"cnf": {"jkt": KEY.thumbprint}}, expires_at=now + 100, issued_at=now)


class Aware(Anyone):
    """A verifier that receives the proved key."""

    def verify_presented(self, presented: Credential, now: float) -> Identity:
        assert presented.proof is None
        return replace(self.verify(presented.token, now), claims={"cnf": {"jkt": presented.proved_key}})


@pytest.mark.parametrize("verifier", [Anyone(), Aware()])
async def test_guard_checks_the_binding_after_the_applications_own_verifier(offline, verifier):
    server = offline(verifier=verifier, dpop=DPoP(URL))
    assert await present(server, Handshake(), "opaque", proof(server, "opaque")) is None
    assert (await present(server, Handshake(), "opaque"))["code"] in ("invalid_dpop_proof", "invalid_token")
    if not isinstance(verifier, Aware):
        assert (await present(server, Handshake(), "opaque", proof(server, "opaque", OTHER)))["claim"] == "cnf"


async def test_proofs_do_not_appear_in_logs(offline, caplog):
    caplog.set_level("DEBUG")
    server = offline(dpop=DPoP(URL))
    token = bound(server)
    presented = proof(server, token, htm="POST")
    assert await present(server, Handshake(), token, presented)
    assert "htm" in caplog.text
    assert token not in caplog.text
    assert presented not in caplog.text


def test_settings_reject_another_kind_of_dpop(offline):
    with pytest.raises(ConfigError, match="DPoP"):
        offline(dpop=URL)
