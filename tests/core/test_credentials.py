"""The sources of a token. Exactly one token is used, and all errors are those of the contract."""

from __future__ import annotations

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from roomkey import AuthError, ConfigError
from roomkey.core.credentials import (
    SOURCES,
    Authenticate,
    Credential,
    Handshake,
    Request,
    bare_token,
    find_credential,
    from_event,
    missing_credential,
    page_of,
)
from roomkey.core.jws import LONGEST_TOKEN
from roomkey.errors import CredentialsBadFormat, CredentialsError, MalformedToken, MissingAuthorizationHeader

TOKEN = "aaaa.bbbb.cccc"
OTHER = "dddd.eeee.ffff"
EVERYWHERE = Handshake(cookie="session", query="token")


def from_handshake(way, auth, request):
    """Return the token, or raise the error for a handshake without one."""
    found = find_credential(way, auth, request)
    if found is None:
        raise missing_credential(way)
    return found


def test_find_credential_reads_each_source():
    assert from_handshake(Handshake(), {"token": TOKEN}, Request()) == Credential(TOKEN, "auth")
    assert from_handshake(Handshake(), None, Request(authorization=f"Bearer {TOKEN}")) == Credential(TOKEN, "header")
    cookie = Request(cookie=f"a=b; session={TOKEN}; c=d")
    assert from_handshake(EVERYWHERE, None, cookie) == Credential(TOKEN, "cookie")
    query = Request(query=f"EIO=4&token={TOKEN}&transport=polling")
    assert from_handshake(EVERYWHERE, None, query) == Credential(TOKEN, "query")
    assert from_event(({"token": TOKEN},)) == Credential(TOKEN, "event")
    assert from_event(({"token": TOKEN}, "more")) == Credential(TOKEN, "event")


def test_each_source_is_a_field_of_handshake():
    assert {source.name for source in SOURCES} == {field.name for field in fields(Handshake) if field.init}
    ambient = [source.is_ambient for source in SOURCES]
    assert ambient == sorted(ambient), "an ambient source is used only if no other presents a token"


def test_handshake_lists_its_enabled_sources():
    assert [source.name for source in EVERYWHERE.sources] == ["auth", "header", "query", "cookie"]
    assert EVERYWHERE.is_ambient
    assert not Handshake(query="token").is_ambient
    with pytest.raises(ConfigError, match=r"enable at least one of auth, header, query='…', cookie='…'"):
        Handshake(auth=False, header=False)


def test_handshake_knows_the_names_of_its_secrets():
    assert Handshake().secret_names == ()
    named = Handshake(auth="jwt", header="X-Token", cookie="session", query="ticket")
    assert named.secret_names == ("jwt", "X-Token", "session", "ticket")
    assert (Handshake().header_name, named.header_name) == ("authorization", "x-token")


def test_request_prints_no_token():
    carried = Request(f"Bearer {TOKEN}", f"session={TOKEN}", f"token={TOKEN}", "https://a.example")
    assert repr(carried) == "Request(origin='https://a.example')"


@pytest.mark.parametrize("member", ["token", "access_token", "auth_token"])
@pytest.mark.parametrize("scheme", ["", "Bearer ", "bearer ", "BEARER "])
def test_payload_accepts_three_members_with_or_without_bearer(member, scheme):
    assert from_handshake(Handshake(), {member: scheme + TOKEN, "x": 1}, Request()).token == TOKEN
    assert from_event(({member: scheme + TOKEN},)).token == TOKEN


def test_disabled_sources_are_ignored():
    carried = Request(cookie=f"session={TOKEN}", query=f"token={TOKEN}", authorization=f"Bearer {TOKEN}")
    with pytest.raises(CredentialsError):
        from_handshake(Handshake(header=False), None, carried)
    with pytest.raises(MissingAuthorizationHeader):
        from_handshake(Handshake(auth=False), {"token": TOKEN}, Request(cookie=f"session={TOKEN}"))
    with pytest.raises(CredentialsError):
        from_handshake(
            Handshake(cookie="other", query="other"), None, Request(cookie=carried.cookie, query=carried.query)
        )
    assert find_credential(Handshake(header=False), None, carried) is None
    with pytest.raises(MalformedToken):
        find_credential(Handshake(), {"token": 1}, Request())


@pytest.mark.parametrize(
    ("auth", "carried"),
    [
        (None, Request()),
        ({}, Request()),  # python-socketio's client sends this without auth
        ({"token": None}, Request()),
        ({"token": "", "access_token": None}, Request()),
        ({"nick": "ada"}, Request()),
        (None, Request(authorization="")),
        (None, Request(authorization="Basic eDp5")),
        (None, Request(authorization="basic eDp5")),
        (None, Request(authorization='Digest username="x", realm="y"')),
        (None, Request(authorization="Negotiate " + "Y" * 10_000)),
        (None, Request(cookie="session=")),
        (None, Request(cookie='session=""; session=')),
        (None, Request(query="token=&EIO=4")),
    ],
)
def test_empty_values_and_other_schemes_present_no_token(auth, carried):
    assert find_credential(EVERYWHERE, auth, carried) is None
    with pytest.raises(CredentialsError) as caught:
        from_handshake(EVERYWHERE, auth, carried)
    assert caught.value.code == "credentials_required"
    with_cookie = replace(carried, cookie=f"session={TOKEN}")
    assert from_handshake(EVERYWHERE, auth, with_cookie) == Credential(TOKEN, "cookie")
    if carried.authorization is None:
        assert from_handshake(EVERYWHERE, auth, replace(carried, authorization=f"Bearer {TOKEN}")).source == "header"
    if auth is None:
        assert from_handshake(EVERYWHERE, {"token": "", "auth_token": TOKEN}, carried).source == "auth"


@pytest.mark.parametrize("value", [f"Basic eDp5, Bearer {TOKEN}", f"Bearer {TOKEN}, Basic eDp5", "Bearer", "Bearer "])
def test_bearer_header_without_a_single_token_is_rejected(value):
    """Two headers arrive as one. A client with a token must not become a guest."""
    with pytest.raises(CredentialsBadFormat):
        find_credential(Handshake(), None, Request(authorization=value))


@pytest.mark.checklist("C36")
@pytest.mark.parametrize(
    "request_",
    [
        Request(authorization=f"Bearer {OTHER}"),
        Request(query=f"token={OTHER}"),
        Request(query=f"token={OTHER}", cookie=f"session={TOKEN}"),
    ],
)
def test_two_different_tokens_are_rejected(request_):
    with pytest.raises(CredentialsBadFormat) as caught:
        from_handshake(EVERYWHERE, {"token": TOKEN}, request_)
    assert caught.value.message == "more than one token provided"
    assert OTHER not in str(caught.value)


@pytest.mark.parametrize(
    ("origin", "site", "page"),
    [
        ("https://a.example", "cross-site", "https://a.example"),
        (None, "same-origin", "//own.example"),
        ("", "same-origin", "//own.example"),
        ("", "cross-site", None),
        (None, "cross-site", None),
        (None, "none", None),
        (None, None, None),
        ("null", "same-origin", "null"),
    ],
)
def test_page_of_returns_the_origin_of_the_page(origin, site, page):
    assert page_of(origin, site, "own.example") == page
    assert page_of(origin, site, None) == (page if origin else None)


@pytest.mark.parametrize("cookie", [f"session={OTHER}", f"session={OTHER}; session=more", "session=Basic x"])
def test_cookie_is_used_only_without_other_tokens(cookie):
    """Browsers send the cookie with every request, also if the page presents a ticket."""
    carried = Request(cookie=cookie)
    assert from_handshake(EVERYWHERE, {"token": TOKEN}, carried) == Credential(TOKEN, "auth")
    for more in (Request(authorization=TOKEN), Request(query=f"token={TOKEN}")):
        assert from_handshake(EVERYWHERE, None, replace(more, cookie=cookie)).token == TOKEN


def test_same_token_in_two_sources_is_accepted():
    carried = Request(authorization=f"Bearer {TOKEN}", cookie=f"session={TOKEN}", query=f"token={TOKEN}")
    assert from_handshake(EVERYWHERE, {"token": TOKEN}, carried) == Credential(TOKEN, "auth")
    assert from_handshake(EVERYWHERE, None, carried) == Credential(TOKEN, "header")


@pytest.mark.parametrize("cookie", [f"session={TOKEN}; session={OTHER}", f"session={OTHER};x=1;session={TOKEN}"])
def test_two_cookies_with_different_tokens_are_rejected(cookie):
    """A sibling domain can set a second cookie; neither position may win."""
    with pytest.raises(CredentialsBadFormat):
        from_handshake(EVERYWHERE, None, Request(cookie=cookie))


def test_different_tokens_in_one_source_are_rejected():
    with pytest.raises(CredentialsBadFormat):
        from_handshake(EVERYWHERE, None, Request(query=f"token={TOKEN}&token={OTHER}"))
    with pytest.raises(CredentialsBadFormat):
        from_event(({"token": TOKEN, "access_token": OTHER},))
    assert from_event(({"token": TOKEN, "access_token": f"Bearer {TOKEN}"},)).token == TOKEN


@pytest.mark.parametrize(
    "cookie",
    [
        "",
        ";",
        "session",
        f"Session={TOKEN}",
        f"xsession={TOKEN}",
        f"session2={TOKEN}",
        f"x=session={TOKEN}",
        f"bad cookie; [x]; session{TOKEN}",
        "\0\xff",
    ],
)
def test_other_cookies_are_ignored(cookie):
    with pytest.raises(CredentialsError):
        from_handshake(EVERYWHERE, None, Request(cookie=cookie))


def test_cookie_is_found_among_broken_cookies():
    for cookie in (f'x="a;b"; [bad]=1; ; session="{TOKEN}"', f"session={TOKEN};{{}}=;="):
        assert from_handshake(EVERYWHERE, None, Request(cookie=cookie)).token == TOKEN


@pytest.mark.parametrize("value", ["Bearer", "bearer ", "Bearer  a.b.c", "Basic a.b.c", "Bearer a b", "a b", " a.b.c"])
def test_bare_token_rejects_other_schemes(value):
    with pytest.raises(CredentialsBadFormat) as caught:
        bare_token(value)
    assert caught.value.message == "Format is Authorization: Bearer [token]"


@pytest.mark.parametrize("value", [None, 5, True, [TOKEN], {"t": TOKEN}, TOKEN.encode(), 1.5])
def test_bare_token_rejects_other_types(value):
    with pytest.raises(MalformedToken) as caught:
        bare_token(value)
    assert caught.value.message == "invalid token datatype"


def test_bare_token_checks_the_size_first():
    assert bare_token("Bearer " + "x" * LONGEST_TOKEN) == "x" * LONGEST_TOKEN
    for value in ("x" * (LONGEST_TOKEN + 8), " " * 1_000_000, "Bearer " + "x" * (LONGEST_TOKEN + 1)):
        with pytest.raises(MalformedToken) as caught:
            bare_token(value)
        assert caught.value.message == "jwt malformed"
    with pytest.raises(MalformedToken) as caught:
        bare_token("")
    assert caught.value.message == "jwt must be provided"


@pytest.mark.parametrize("arguments", [(), (None,), (None, {"token": TOKEN})])
def test_event_without_arguments_requires_credentials(arguments):
    with pytest.raises(CredentialsError) as caught:
        from_event(arguments)
    assert caught.value.code == "credentials_required"


@pytest.mark.parametrize("payload", [5, TOKEN, [TOKEN], {}, {"jwt": TOKEN}, {"token": None}, {"Token": TOKEN}])
def test_event_without_a_token_is_malformed(payload):
    with pytest.raises(MalformedToken) as caught:
        from_event((payload,))
    assert caught.value.message == "invalid token datatype"


def test_header_of_another_scheme_does_not_affect_the_payload():
    """A proxy can use Basic authentication of its own."""
    carried = Request(authorization="Basic eDp5")
    assert from_handshake(Handshake(), {"token": TOKEN}, carried) == Credential(TOKEN, "auth")


CODES = ("credentials_required", "credentials_bad_format", "invalid_token")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["token", "access_token", "x"]) | st.text(), inner),
    max_leaves=8,
)


@given(JSON, st.none() | st.text(), st.none() | st.text() | st.just("session="), st.none() | st.text())
def test_credentials_raise_only_errors_of_the_contract(auth, authorization, cookie, query):
    for call in (
        lambda: from_handshake(EVERYWHERE, auth, Request(authorization, cookie, query)),
        lambda: from_event((auth,)),
    ):
        try:
            presented = call()
        except AuthError as error:
            told = error.to_client()
        else:
            told = {"code": "invalid_token"}
            assert presented.token
            assert isinstance(presented.token, str)
        assert json.loads(json.dumps(told))["code"] in CODES


def test_settings_that_admit_nobody_are_rejected():
    with pytest.raises(ConfigError):
        Handshake(auth=False, header=False)
    for wrong in (
        {"timeout": 0},
        {"timeout": -1},
        {"timeout": float("inf")},
        {"timeout": float("nan")},
        {"max_attempts": 0},
    ):
        with pytest.raises(ConfigError):
            Authenticate(**wrong)
    assert (Authenticate().timeout, Authenticate().max_attempts) == (15.0, 3)


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"header": "X Token"}, "header must be True, False or the name of a header"),
        ({"header": "Cookie"}, "a header other than Cookie .*, such as header='X-Token', not 'Cookie'"),
        ({"auth": "dpop"}, "a member other than dpop, such as auth='jwt', not 'dpop'"),
        ({"header": None}, "header must be True, False or the name"),
        ({"cookie": True}, "the name of a cookie"),
        ({"query": True}, "the name of a query"),
        ({"query": ""}, "the name of a query"),
    ],
    ids=str,
)
def test_source_of_a_wrong_type_is_rejected_with_the_remedy(settings, said):
    with pytest.raises(ConfigError, match=said):
        Handshake(**settings)
