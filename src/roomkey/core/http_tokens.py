"""Tokens in the requests of an application's own HTTP routes, and the responses without a usable token (RFC 6750).

Each web framework passes in the headers and sends what is returned.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from roomkey.core.credentials import Request, page_of
from roomkey.core.origins import Origin, origin_of, own_origin
from roomkey.core.requirements import Requirement
from roomkey.errors import AuthError, CredentialsError, PermissionDenied, ReauthenticationRequired

RETRY_SECONDS = 1
"""When a client can try again, if the store of revocations or the keys are unavailable."""

NO_TOKEN = frozenset({"credentials_required", "missing_authorization_header"})


def route_request(
    *,
    authorization: str | None,
    cookie: str | None = None,
    query: str | None = None,
    origin: str | None = None,
    fetch_site: str | None = None,
    scheme: str = "https",
    host: str | None = None,
    allowed_origins: Collection[Origin] = (),
) -> Request:
    """Return the parts of a request that may contain a token; cookies only if an allowed page sent it.

    Args:
        authorization: the ``Authorization`` header; several are joined by ``, `` and then rejected.
        cookie: the ``Cookie`` header.
        query: the query string.
        origin: the ``Origin`` header.
        fetch_site: the ``Sec-Fetch-Site`` header.
        scheme: ``http`` or ``https``.
        host: the ``Host`` header.
        allowed_origins: origins of other pages whose cookies are accepted, besides the server's own.
    """
    may_use_cookies = is_allowed_page(origin, fetch_site, own_origin(scheme, host), allowed_origins)
    return Request(authorization, cookie if may_use_cookies else None, query, page_of(origin, fetch_site, host))


def is_allowed_page(
    origin: str | None, fetch_site: str | None, own: Origin | None, allowed_origins: Collection[Origin]
) -> bool:
    """Return True if the server's own page or an allowed one sent a request, according to its browser.

    Args:
        origin: the ``Origin`` header. Browsers leave it out in a GET to the page's own server.
        fetch_site: the ``Sec-Fetch-Site`` header, which is used without ``Origin``.
        own: the server's own origin.
        allowed_origins: further origins.
    """
    if origin is None:
        return fetch_site == "same-origin"
    page = origin_of(origin)
    return page is not None and (page == own or page in allowed_origins)


def challenge(error: str | None, scope: str = "", *, max_age: float | None = None) -> dict[str, str]:
    """Return the header ``WWW-Authenticate`` (RFC 6750 section 3).

    Args:
        error: the error code; None if the request has no token.
        scope: the scopes that the token requires, separated by spaces.
        max_age: the longest accepted time since the login, in seconds (RFC 9470 section 3).
    """
    age = "" if max_age is None else f"{max_age:g}"
    parameters = {"realm": "roomkey", "error": error, "scope": scope, "max_age": age}
    return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{text}"' for name, text in parameters.items() if text)}


@dataclass(frozen=True, slots=True)
class ErrorResponse:
    """The response of a route that an identity, or a client without one, cannot use.

    Attributes:
        status: 401 without a valid token or a recent login, 403 without a right, 503 if it cannot be decided now.
        headers: ``WWW-Authenticate``, or ``Retry-After``.
        error: a code for programs (RFC 6750 section 3.1).
        description: a sentence for developers, without secrets and without text that the client sent.
    """

    status: int
    headers: dict[str, str]
    error: str
    description: str

    @property
    def body(self) -> dict[str, str]:
        """The members of a JSON response (RFC 6749 section 5.2)."""
        return {"error": self.error, "error_description": self.description}


def error_response(error: AuthError, requirement: Requirement | None = None) -> ErrorResponse:
    """Return the response for an error.

    Args:
        error: why the route cannot be used.
        requirement: what the route requires; its scopes are named to the client.
    """
    if error.temporary:
        return ErrorResponse(503, {"Retry-After": str(RETRY_SECONDS)}, "temporarily_unavailable", error.message)
    if isinstance(error, PermissionDenied):
        scope = requirement.scope if requirement is not None else ""
        return ErrorResponse(403, challenge("insufficient_scope", scope=scope), "insufficient_scope", error.message)
    if isinstance(error, ReauthenticationRequired):
        age = error.facts.get("max_age")
        header = challenge(error.code, max_age=age if isinstance(age, (int, float)) else None)
        return ErrorResponse(401, header, error.code, error.message)
    if isinstance(error, CredentialsError) and error.code in NO_TOKEN:
        return ErrorResponse(401, challenge(None), "invalid_token", "Send an access token: Authorization: Bearer TOKEN")
    return ErrorResponse(401, challenge("invalid_token"), "invalid_token", error.message)
