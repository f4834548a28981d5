"""RFC 9068: the requirements of access tokens, issuers and verifiers."""

from __future__ import annotations

import jwt
import pytest
from support.oauth import BASIC, SECRET, URL
from support.rfc import SHARED, Served, challenge, error_of
from support.tokens import hs256

from roomkey import Issuer, Verifier
from roomkey.errors import TokenError

pytestmark = SHARED


async def of_every_kind(served) -> dict[str, str]:
    """Return an access token from each grant."""
    given, own = await served.logged_in(), await served.own_login()
    return {
        "code": given["access_token"],
        "refresh": (await served.refresh(given["refresh_token"])).json()["access_token"],
        "service": (await served.post("token", BASIC, grant_type="client_credentials")).json()["access_token"],
        "login": own["access_token"],
    }


async def read(served, token: str) -> dict:
    """Return the claims, as another library verifies them with the published keys."""
    keys = jwt.PyJWKSet.from_dict((await served.http.get("/.well-known/jwks.json")).json())
    header = jwt.get_unverified_header(token)
    return jwt.decode(token, keys[header["kid"]].key, algorithms=[header["alg"]], audience="chat", issuer=URL)


async def test_s2_1_header_names_the_type_and_a_signature(served):
    """``typ`` is at+jwt, and ``alg`` is never none."""
    for token in (await of_every_kind(served)).values():
        header = jwt.get_unverified_header(token)
        assert (header["typ"], header["alg"]) == ("at+jwt", "ES256")


async def test_s2_1_rs256_is_supported_by_both_sides():
    """Both the issuer and the verifier support it."""
    async with Served.opened(algorithm="RS256") as served:
        token = (await served.own_login())["access_token"]
        assert jwt.get_unverified_header(token)["alg"] == "RS256"
        assert (await served.ask(token)).status_code == 200


async def test_s2_2_every_token_has_the_required_claims(served):
    """There are seven, each of its type, and no two tokens have the same ``jti``."""
    tokens = await of_every_kind(served)
    claims = [await read(served, token) for token in tokens.values()]
    for one in claims:
        assert all(type(one[name]) is str for name in ("iss", "sub", "aud", "client_id", "jti"))
        assert all(type(one[name]) is int for name in ("exp", "iat"))
        assert one["exp"] - one["iat"] == 900
    assert len({one["jti"] for one in claims}) == len(claims)


async def test_s2_2_subject_is_the_user_or_the_client_itself(served):
    """A service is its own subject; every token names the client."""
    tokens = await of_every_kind(served)
    told = {kind: await read(served, token) for kind, token in tokens.items()}
    assert {kind: (one["sub"], one["client_id"]) for kind, one in told.items()} == {
        "code": ("ada", "page"),
        "refresh": ("ada", "page"),
        "service": ("backend", "backend"),
        "login": ("ada", "roomkey"),
    }


async def test_s2_2_1_auth_time_survives_every_refresh(served):
    """``auth_time`` is when the user entered the password, not when the token was issued."""
    async with Served.opened() as alone:
        given = await alone.logged_in()
        first = (await read(alone, given["access_token"]))["auth_time"]
        alone.clock.advance(5)
        later = await read(alone, (await alone.refresh(given["refresh_token"])).json()["access_token"])
    assert (later["auth_time"], later["iat"] != first) == (first, True)


async def test_s2_2_3_requested_scope_is_in_the_token(served):
    """It equals the scope in the response."""
    given = await served.logged_in(scope="files")
    assert (await read(served, given["access_token"]))["scope"] == given["scope"] == "files"


async def test_s3_audience_is_the_server_that_publishes_the_keys(served):
    """There is one audience, and requests cannot change it."""
    code = await served.code(resource="https://elsewhere.example")
    answer = await served.redeem(code, resource="https://elsewhere.example", audience="elsewhere")
    assert (await read(served, answer.json()["access_token"]))["aud"] == "chat"


@pytest.mark.parametrize("typ", ["at+jwt", "application/at+jwt", "AT+JWT"])
async def test_s4_token_with_the_type_is_accepted(served, typ):
    """Both spellings are accepted, in any case."""
    claims = await read(served, (await served.own_login())["access_token"])
    token = served.signed({"alg": "ES256", "kid": served.key.kid, "typ": typ}, claims)
    assert (await served.ask(token)).status_code == 200


@pytest.mark.parametrize("typ", ["JWT", None, "secevent+jwt", "dpop+jwt", "at+jwt2"])
async def test_s4_verifier_with_a_type_accepts_only_access_tokens(served, typ):
    """``token_type="at+jwt"`` rejects every other ``typ``, and a missing one."""
    claims = await read(served, (await served.own_login())["access_token"])
    verifier = Verifier(
        served.key.public(), algorithms=["ES256"], issuer=URL, audience="chat", token_type="at+jwt", leeway=0
    )
    header = {"alg": "ES256", "kid": served.key.kid}
    assert verifier.verify(served.signed(header | {"typ": "at+jwt"}, claims), claims["iat"]).subject == "ada"
    with pytest.raises(TokenError):
        verifier.verify(served.signed(header | ({} if typ is None else {"typ": typ}), claims), claims["iat"])


@pytest.mark.parametrize(
    "changed",
    [
        {"iss": "https://another.example"},
        {"iss": URL + "/"},
        {"iss": None},
        {"aud": "another"},
        {"aud": ["another", "and one more"]},
        {"aud": None},
        {"exp": 1_700_000_000},
        {"exp": None},
    ],
    ids=str,
)
async def test_s4_issuer_audience_and_time_are_checked(served, changed):
    """The issuer must be identical, the audience must be this server, and the token must not be expired."""
    claims = await read(served, (await served.own_login())["access_token"])
    header = {"alg": "ES256", "kid": served.key.kid, "typ": "at+jwt"}
    assert (await served.ask(served.signed(header, claims | {"aud": ["another", "chat"]}))).status_code == 200
    kept = {name: value for name, value in (claims | changed).items() if value is not None}
    answer = await served.ask(served.signed(header, kept))
    assert (error_of(answer), challenge(answer)["error"]) == ((401, "invalid_token"), "invalid_token")


@pytest.mark.parametrize("algorithm", ["none", "HS256", "ES384"])
async def test_s4_signature_is_checked_and_none_is_rejected(served, algorithm):
    """A missing signature, the public key as a secret, and other algorithms are rejected."""
    claims = await read(served, (await served.own_login())["access_token"])
    header = {"alg": algorithm, "kid": served.key.kid, "typ": "at+jwt"}
    token = {
        "none": served.signed(header, claims).rpartition(".")[0] + ".",
        "HS256": hs256(header, claims, served.key.to_pem()),
        "ES384": served.signed(header, claims),
    }[algorithm]
    assert (await served.ask(token)).status_code == 401


async def test_s5_service_cannot_get_the_subject_of_a_user(served):
    """A client with the name of an account gets no token, so that they cannot be confused."""
    answer = await served.post("token", ("ada", SECRET), grant_type="client_credentials")
    assert error_of(answer) == (400, "invalid_grant")


async def test_s6_token_contains_no_more_about_a_user_than_needed(served):
    """It is signed, not encrypted, so it contains no address, password or hash."""
    claims = await read(served, (await served.own_login())["access_token"])
    assert claims.keys() <= {
        *("iss", "sub", "aud", "exp", "iat", "jti", "sid", "client_id", "auth_time", "name", "roles", "rooms", "scope")
    }


async def test_s4_issuer_without_a_type_issues_no_access_tokens_of_this_kind(served):
    """A verifier that requires the type rejects its tokens."""
    plain = Issuer(served.key, issuer=URL, audience="chat")
    with pytest.raises(TokenError):
        plain.verifier(token_type="at+jwt").verify(plain.issue("ada"), plain.clock())
