"""RFC 6749: the requirements of the authorization endpoint."""

from __future__ import annotations

import html
from urllib.parse import urlsplit

import pytest
from support.oauth import BACK, PASSWORD, Form, challenge_of
from support.rfc import SHARED, TEXT, is_page, refusal, sent_back

from roomkey.errors import ConfigError
from roomkey.stores import Client

pytestmark = SHARED
METADATA = "/.well-known/oauth-authorization-server"


async def test_s3_1_endpoint_supports_get_and_post(desk):
    """GET is supported, and POST does the same."""
    page = await desk.show()
    assert page.status_code == 200
    asked = {name: value for name, value in Form(page.text).fields.items() if name not in ("username", "password")}
    assert (await desk.http.post("/oauth/authorize", data=asked)).status_code == 200


@pytest.mark.parametrize("typed", [{"password": "wrong"}, {"password": ""}, {"username": "nobody"}], ids=str)
async def test_s3_1_user_is_authenticated_first(desk, typed):
    """Without username and password there is no code."""
    assert is_page(await desk.submit(await desk.show(), **typed))


@pytest.mark.parametrize("endpoint", ["authorization_endpoint", "token_endpoint"])
async def test_s3_1_and_3_2_endpoint_has_no_fragment_and_uses_tls(desk, endpoint):
    """The URL of an endpoint uses https and has no fragment."""
    parts = urlsplit((await desk.http.get(METADATA)).json()[endpoint])
    assert (parts.scheme, parts.fragment) == ("https", "")


async def test_s3_1_parameter_without_a_value_is_ignored(desk):
    """An empty scope is the default, and an empty state is no state."""
    told = sent_back(await desk.submit(await desk.show(scope="", state="")))
    assert "state" not in told
    assert (await desk.redeem(told["code"])).json()["scope"] == "chat files"


async def test_s3_1_and_3_2_unknown_parameters_are_ignored(desk):
    """Both endpoints ignore unknown parameters."""
    code = sent_back(await desk.submit(await desk.show(prompt="none", foo="bar")))["code"]
    assert (await desk.redeem(code, foo="bar")).status_code == 200


@pytest.mark.parametrize("repeated", ["scope=chat", "state=x", "response_type=code", "foo=1&foo=2"])
async def test_s3_1_repeated_parameter_is_rejected(desk, repeated):
    """A repeated parameter makes the request invalid, and no user logs in."""
    query = (await desk.show(scope="chat")).url.query.decode()
    answer = await desk.http.get(f"/oauth/authorize?{query}&{repeated}")
    assert is_page(answer)
    assert (answer.status_code, "<form" in answer.text) == (400, False)


@pytest.mark.parametrize(
    ("asked", "error"),
    [
        (None, "invalid_request"),
        ("", "invalid_request"),
        ("token", "unsupported_response_type"),
        ("code token", "unsupported_response_type"),
        ("CODE", "unsupported_response_type"),
    ],
)
async def test_s3_1_1_response_type_is_required_and_known(desk, asked, error):
    """If it is missing or unknown, the client gets an error."""
    assert (await refusal(desk, await desk.show(response_type=asked)))["error"] == error


@pytest.mark.parametrize("uri", ["/back", "app.example/back", "https://app.example/#here", "https://app.example/ b"])
async def test_s3_1_2_redirect_uri_is_absolute_and_has_no_fragment(uri):
    """The store rejects clients with other redirect URIs."""
    with pytest.raises(ConfigError):
        Client("x", redirect_uris=(uri,), grants=("authorization_code",))


async def test_s3_1_2_query_of_a_redirect_uri_is_retained(desk):
    """The response is appended to the existing query."""
    answer = await desk.submit(await desk.show())
    assert answer.headers["location"].startswith(BACK + "&")
    assert sent_back(answer)["tenant"] == "7"


async def test_s3_1_2_2_client_registers_its_redirect_uris():
    """A client that requests codes requires a redirect URI."""
    with pytest.raises(ConfigError):
        Client("x", grants=("authorization_code",))


@pytest.mark.parametrize("other", [None, BACK + "/", "https://app.example/back", "https://evil.example/"])
async def test_s3_1_2_3_and_3_1_2_4_other_redirect_uri_is_never_used(desk, other):
    """If it is missing or not registered, the browser stays, and the user sees an error."""
    answer = await desk.show(redirect_uri=other)
    assert is_page(answer)
    assert 'role="alert"' in answer.text


@pytest.mark.parametrize("state", ["af0ifjsldkj", "a b&c=d#e?f%00+ü", '"><b>', "x" * 2000])
async def test_s4_1_2_state_is_returned_unchanged(desk, state):
    """This applies to codes, errors and denials."""
    page = await desk.show(state=state)
    for decision in ("allow", "deny"):
        assert sent_back(await desk.submit(page, decision=decision))["state"] == state
    assert (await refusal(desk, await desk.show(state=state, scope="x")))["state"] == state


@pytest.mark.parametrize(
    ("changed", "error"),
    [
        ({"code_challenge": None}, "invalid_request"),
        ({"client_id": "service"}, "unauthorized_client"),
        ({"response_type": "token"}, "unsupported_response_type"),
        ({"scope": "admin"}, "invalid_scope"),
    ],
    ids=str,
)
async def test_s4_1_2_1_client_receives_the_error(desk, changed, error):
    """If client and redirect URI are right, the client gets the error code and a plain description."""
    told = await refusal(desk, await desk.show(**changed))
    assert told["error"] == error
    assert TEXT.fullmatch(told["error_description"])
    assert "code" not in told


async def test_s4_1_2_1_deny_is_access_denied(desk):
    """If the user denies access, the client gets an error and no code."""
    told = sent_back(await desk.submit(await desk.show(), decision="deny"))
    assert (told["error"], "code" in told) == ("access_denied", False)


@pytest.mark.parametrize("client_id", [None, "nobody", "gone"])
async def test_s4_1_2_1_unknown_client_is_never_redirected_to(desk, client_id):
    """The browser stays, whatever the redirect URI is."""
    assert is_page(await desk.show(client_id=client_id))


async def test_s10_2_page_shows_the_client_and_the_scopes(desk):
    """The page names the client and the scopes, and asks for every request."""
    for _ in range(2):
        page = (await desk.show(scope="files")).text
        assert html.escape("The <b>Page</b>") in page
        assert "<li>files</li>" in page
        assert "code" not in Form(page).action


async def test_s10_12_another_site_cannot_consent_for_the_user(desk):
    """A forged form has no password, and there is no session that could replace it."""
    forged = {"response_type": "code", "client_id": "page", "redirect_uri": BACK, "decision": "allow"}
    proof = {"code_challenge": challenge_of("v" * 43), "code_challenge_method": "S256"}
    await desk.submit(await desk.show())
    answer = await desk.http.post("/oauth/authorize", data=forged | proof, headers={"Origin": "https://evil.example"})
    assert is_page(answer)
    assert not desk.http.cookies


async def test_s10_13_page_cannot_be_framed(desk):
    """Old and new browsers refuse to show it in a frame of another site."""
    headers = (await desk.show()).headers
    assert headers["x-frame-options"] == "DENY"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


async def test_s10_14_input_is_escaped(desk):
    """A value that the page shows again is text, not markup."""
    answer = await desk.submit(await desk.show(state="<script>1</script>"), username="<script>2</script>", password="")
    assert "<script" not in answer.text
    assert PASSWORD not in answer.text
