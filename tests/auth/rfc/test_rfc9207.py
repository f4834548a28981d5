"""RFC 9207: the issuer in every response of the authorization endpoint."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from support.oauth import BACK, URL
from support.rfc import SHARED, refusal, sent_back

pytestmark = SHARED
METADATA = "/.well-known/oauth-authorization-server"


@pytest.mark.parametrize("redirect_uri", [BACK, "com.app://back"])
async def test_s2_response_with_a_code_names_the_issuer(desk, redirect_uri):
    """Every redirect URI gets it once."""
    told = sent_back(await desk.submit(await desk.show(redirect_uri=redirect_uri)))
    assert "code" in told
    assert told["iss"] == URL


@pytest.mark.parametrize(
    "changed",
    [
        {"response_type": None},
        {"response_type": "token"},
        {"scope": "admin"},
        {"client_id": "service"},
        {"code_challenge": None},
        {"code_challenge_method": "plain"},
        {"state": None, "scope": "admin"},
    ],
    ids=str,
)
async def test_s2_response_with_an_error_names_the_issuer(desk, changed):
    """This applies to every error, with or without a state."""
    told = await refusal(desk, await desk.show(**changed))
    assert "error" in told
    assert told["iss"] == URL


async def test_s2_denial_names_the_issuer(desk):
    """A denial is a response, too."""
    told = sent_back(await desk.submit(await desk.show(), decision="deny"))
    assert (told["error"], told["iss"]) == ("access_denied", URL)


async def test_s2_and_2_4_issuer_is_that_of_the_metadata(desk):
    """Clients compare it exactly: it is an https URL without query and fragment."""
    told = sent_back(await desk.submit(await desk.show()))
    assert told["iss"] == (await desk.http.get(METADATA)).json()["issuer"]
    parts = urlsplit(told["iss"])
    assert (parts.scheme, parts.query, parts.fragment) == ("https", "", "")


async def test_s2_other_routes_do_not_name_the_issuer(desk):
    """The response ignores an ``iss`` in the request."""
    told = sent_back(await desk.submit(await desk.show(iss="https://evil.example")))
    assert told["iss"] == URL


async def test_s3_metadata_announces_the_issuer(desk):
    """So clients can reject responses without it."""
    assert (await desk.http.get(METADATA)).json()["authorization_response_iss_parameter_supported"] is True
