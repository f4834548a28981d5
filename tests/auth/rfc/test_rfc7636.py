"""RFC 7636: the requirements of proof of possession (PKCE)."""

from __future__ import annotations

import string
from hashlib import sha256

import pytest
from support.oauth import BASIC
from support.rfc import SHARED, error_of, refusal, sent_back

pytestmark = SHARED
BASE64URL = string.ascii_uppercase + string.ascii_lowercase + string.digits + "-_"
METADATA = "/.well-known/oauth-authorization-server"


def base64url(octets: bytes) -> str:
    """Encode as in appendix A, bit by bit, independently of the server's code."""
    bits = "".join(f"{octet:08b}" for octet in octets)
    sixes = (bits[start : start + 6].ljust(6, "0") for start in range(0, len(bits), 6))
    return "".join(BASE64URL[int(six, 2)] for six in sixes)


def s256(verifier: str) -> str:
    """Section 4.2."""
    return base64url(sha256(verifier.encode("ascii")).digest())


async def code_for(desk, challenge: str, **changed) -> str:
    answer = await desk.submit(await desk.show(code_challenge=challenge, **changed))
    return sent_back(answer)["code"]


@pytest.mark.parametrize("verifier", ["v" * 43, "~" * 128, "-._~" * 11, string.ascii_letters + string.digits])
async def test_s4_1_every_verifier_of_43_to_128_unreserved_characters_is_accepted(desk, verifier):
    """The server accepts the shortest, the longest, and each allowed character."""
    assert (await desk.redeem(await code_for(desk, s256(verifier)), code_verifier=verifier)).status_code == 200


@pytest.mark.parametrize("verifier", ["v" * 42, "v" * 129, "v" * 42 + "+", "v" * 42 + "=", "v" * 42 + " "])
async def test_s4_1_other_forms_of_a_verifier_are_rejected(desk, verifier):
    """A malformed verifier is rejected, even if its hash is the challenge."""
    code = await code_for(desk, s256(verifier))
    assert error_of(await desk.redeem(code, code_verifier=verifier)) == (400, "invalid_grant")


async def test_s4_2_only_s256_is_supported(desk):
    """S256 is required; plain is not supported, and the metadata says so."""
    assert (await desk.http.get(METADATA)).json()["code_challenge_methods_supported"] == ["S256"]


@pytest.mark.parametrize("octets", [bytes(range(32)), bytes(range(255, 223, -1)), b"\xfb\xef" * 16])
async def test_appendix_b_verifier_of_32_octets_is_accepted(desk, octets):
    """The test computes verifier and challenge from octets, and the server agrees."""
    verifier = base64url(octets)
    code = await code_for(desk, s256(verifier))
    assert len(verifier) == len(s256(verifier)) == 43
    assert (await desk.redeem(code, code_verifier=verifier)).status_code == 200


@pytest.mark.parametrize(
    "changed",
    [
        {"code_challenge": None},
        {"code_challenge": ""},
        {"code_challenge": "c" * 42},
        {"code_challenge": "c" * 129},
        {"code_challenge": "c" * 42 + "="},
    ],
    ids=str,
)
@pytest.mark.parametrize("client_id", ["page", "backend"])
async def test_s4_3_and_4_4_1_challenge_is_required(desk, client_id, changed):
    """Every client must send a valid challenge; otherwise it gets an error."""
    told = await refusal(desk, await desk.show(client_id=client_id, **changed))
    assert told["error"] == "invalid_request"
    assert "code_challenge" in told["error_description"]


@pytest.mark.parametrize("method", [None, "plain", "s256", "S512"])
async def test_s4_3_and_4_4_1_unsupported_method_is_an_invalid_request(desk, method):
    """This includes plain, and no method, which would mean plain."""
    told = await refusal(desk, await desk.show(code_challenge_method=method))
    assert told["error"] == "invalid_request"
    assert "code_challenge_method=S256" in told["error_description"]


async def test_s4_4_code_does_not_reveal_the_challenge(desk):
    """The code does not contain what the server stores with it."""
    challenge = s256("v" * 43)
    codes = [await code_for(desk, challenge) for _ in range(2)]
    assert codes[0] != codes[1]
    assert not any(challenge in code or "v" * 43 in code for code in codes)


@pytest.mark.parametrize("auth", [None, BASIC], ids=["public", "confidential"])
async def test_s4_5_verifier_is_required(desk, auth):
    """Every client must send it, even with a secret; then the exchange works."""
    code = await desk.code(client_id="backend" if auth else "page")
    assert error_of(await desk.redeem(code, auth, code_verifier="")) == (400, "invalid_request")
    assert (await desk.redeem(code, auth)).status_code == 200


@pytest.mark.parametrize("wrong", ["w" * 43, "v" * 44, "V" * 43, s256("v" * 43)])
@pytest.mark.parametrize("auth", [None, BASIC], ids=["public", "confidential"])
async def test_s4_6_another_verifier_is_an_invalid_grant(desk, auth, wrong):
    """This includes the challenge itself, because the server hashes the verifier."""
    code = await desk.code(client_id="backend" if auth else "page")
    assert error_of(await desk.redeem(code, auth, code_verifier=wrong)) == (400, "invalid_grant")


async def test_s4_6_verifier_is_for_its_own_code(desk):
    """Of two codes, neither can be exchanged with the verifier of the other."""
    mine, theirs = await code_for(desk, s256("m" * 43)), await code_for(desk, s256("t" * 43))
    assert error_of(await desk.redeem(mine, code_verifier="t" * 43)) == (400, "invalid_grant")
    assert (await desk.redeem(theirs, code_verifier="t" * 43)).status_code == 200
