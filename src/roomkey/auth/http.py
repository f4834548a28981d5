"""Helpers for all routes: request bodies, responses, errors and access tokens (internal)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from roomkey.auth.issued_tokens import ClientInfo, TokenTooLong
from roomkey.auth.throttle import Throttled
from roomkey.auth.token_authority import TokenAuthority
from roomkey.core import jws, strict_json
from roomkey.core.credentials import bare_token
from roomkey.core.http_tokens import challenge
from roomkey.core.identity import Identity
from roomkey.errors import AuthError, ConfigError, RevokedToken, Unavailable

__all__ = [
    "ACCESS_TOKEN",
    "FORM",
    "JSON",
    "NO_STORE",
    "OAuthError",
    "Problem",
    "authorization_header",
    "body_schema",
    "client_info",
    "error_responses",
    "get_and_head",
    "invalid_grant",
    "invalid_request",
    "invalid_token",
    "is_body_empty",
    "json_response",
    "oauth_errors",
    "parse_body",
    "reject_cross_site_form",
    "verify_authorization",
    "verify_bearer",
]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_BODY = 16 * 1024
# RFC 6749 section 5.1: responses with tokens are not cached.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
WRONG = "The username or the password is wrong."

# Only for the OpenAPI document: with auto_error off, the routes themselves respond as RFC 6750 requires.
ACCESS_TOKEN = HTTPBearer(scheme_name="access_token", description="An access token.", auto_error=False)

BodyT = TypeVar("BodyT", bound=BaseModel)


class Problem(BaseModel):
    """An error (RFC 6749 section 5.2)."""

    error: str = Field(description="a code for programs")
    error_description: str = Field(description="a sentence for developers")


class OAuthError(Exception):
    """An error response (RFC 6749 section 5.2).

    Args:
        error: the error code.
        description: a sentence for developers, without secrets and without text that the client sent.
        status: the HTTP status.
        headers: further headers of the response.
    """

    def __init__(self, error: str, description: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        self.error = error
        self.description = description
        self.status = status
        self.headers = headers or {}
        super().__init__(f"{error}: {description}")

    def response(self) -> JSONResponse:
        """Return the response."""
        body = {"error": self.error, "error_description": self.description}
        return JSONResponse(body, self.status, NO_STORE | self.headers)


DESCRIBED = {
    400: "The request is malformed, or a credential is wrong.",
    401: "The access token is missing, invalid, expired or revoked (RFC 6750 section 3.1).",
    403: "Not allowed; or with cookies: the page is not allowed, or the CSRF header is missing.",
    404: "There is no such record.",
    409: "The name is taken.",
    413: f"The body has more than {MAX_BODY} bytes.",
    429: "Too many attempts; try again after Retry-After seconds.",
    503: "Unavailable or overloaded; try again after Retry-After seconds.",
}


def error_responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Return the error responses of a route for OpenAPI: these statuses, and 503, which every route can return."""
    return {status: {"model": Problem, "description": DESCRIBED[status]} for status in sorted({*statuses, 503})}


Route = TypeVar("Route", bound=Callable[..., Coroutine[Any, Any, Response]])
AnyRoute = TypeVar("AnyRoute", bound=Callable[..., Any])


def get_and_head(routes: APIRouter | FastAPI, path: str, **options: Any) -> Callable[[AnyRoute], AnyRoute]:
    """Decorate a route for GET, and for HEAD, to which servers respond without a body (RFC 9110 section 9.3.2).

    Args:
        routes: where to add the route.
        path: the path of the route.
        options: as for ``routes.get``.
    """

    def add(route: AnyRoute) -> AnyRoute:
        routes.head(path, **{**options, "include_in_schema": False})(route)
        return routes.get(path, **options)(route)

    return add


def oauth_errors(route: Route) -> Route:
    """Decorate a route, so that its errors become error responses."""

    @wraps(route)
    async def respond(*arguments: Any, **named: Any) -> Response:
        try:
            return await route(*arguments, **named)
        except OAuthError as error:
            return error.response()
        except Throttled as error:
            wait = {"Retry-After": str(error.retry_after)}
            return OAuthError("too_many_attempts", "Too many attempts; wait.", 429, wait).response()
        except TokenTooLong as error:
            description = (
                f"The access token has {error.length} characters, but a cookie keeps at most {error.most}. "
                "Log in without cookies, or give the account fewer roles and rooms."
            )
            return OAuthError(error.code, description).response()
        except Unavailable:
            wait = {"Retry-After": "1"}
            return OAuthError("temporarily_unavailable", "Unavailable or overloaded; try again.", 503, wait).response()

    return cast(Route, respond)


def json_response(body: BaseModel, status: int = 200) -> JSONResponse:
    """Return a response that is not cached."""
    return JSONResponse(body.model_dump(exclude_none=True), status, NO_STORE)


def client_info(request: Request) -> ClientInfo:
    """Return the client that sent a request; behind a trusted proxy, uvicorn has put the client's address there."""
    address = request.client.host if request.client else ""
    return ClientInfo(address, request.headers.get("user-agent", ""))


def authorization_header(request: Request) -> str | None:
    """Return the ``Authorization`` header, or None.

    Raises:
        OAuthError: there are several, and another server may read another one of them.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise OAuthError("invalid_request", "Send one Authorization header.")
    return headers[0] if headers else None


def reject_cross_site_form(request: Request) -> None:
    """Reject a form from a page of another site, before the server counts a wrong password.

    Browsers send JSON across sites only if the server's CORS settings allow it.

    Raises:
        OAuthError: the request is such a form.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" and _content_type(request) != JSON:
        raise OAuthError("forbidden", "Send forms from a page of this site.", 403)


AllowRevoked: TypeAlias = Callable[[Identity], Awaitable[bool]]
"""Returns True if a route accepts a token that is valid except that it was revoked."""


async def verify_authorization(
    request: Request, authority: TokenAuthority, *, allow_revoked: AllowRevoked | None = None
) -> Identity:
    """Verify the access token in the ``Authorization`` header, and return its identity (RFC 6750 section 2.1).

    Args:
        request: the request.
        authority: verifies the token.
        allow_revoked: decides whether to accept a revoked token. Default: never.

    Raises:
        OAuthError: 401, because the token is missing or invalid.
        Unavailable: the token cannot be verified now.
    """
    try:
        header = authorization_header(request) or ""
    except OAuthError as error:
        raise OAuthError("invalid_token", error.description, 401, challenge("invalid_token")) from None
    if not header.lower().startswith("bearer "):  # no token, or another scheme: the challenge then has no error code
        raise OAuthError("invalid_token", "Send an access token: Authorization: Bearer TOKEN", 401, challenge(None))
    try:
        token = bare_token(header)
    except AuthError as error:
        raise invalid_token(error) from None
    return await verify_bearer(token, authority, "header", allow_revoked=allow_revoked)


async def verify_bearer(
    token: str, authority: TokenAuthority, source: str, *, allow_revoked: AllowRevoked | None = None
) -> Identity:
    """Verify an access token, and return its identity.

    Args:
        token: the access token.
        authority: verifies the token.
        source: where the token came from, such as ``header`` or ``cookie``.
        allow_revoked: decides whether to accept a revoked token. Default: never.

    Raises:
        OAuthError: 401, because the token is invalid.
        Unavailable: the token cannot be verified now.
    """
    try:
        return await authority.verify(token, source=source)
    except Unavailable:
        raise
    except RevokedToken as error:
        # The token is valid otherwise: revocation is checked after the signature and the claims.
        if allow_revoked is None or token.count(".") != 2:  # an opaque token names nobody
            raise invalid_token(error) from None
        payload = jws.split(token, jws.LONGEST_TOKEN, jws.TOLERABLE_MEMBERS).payload
        who = Identity.from_claims(jws.json_object(payload, "payload"), source)
        if not await allow_revoked(who):
            raise invalid_token(error) from None
        return who
    except AuthError as error:
        raise invalid_token(error) from None


def invalid_token(error: AuthError) -> OAuthError:
    """Return the error response for an invalid access token (RFC 6750 section 3.1)."""
    return OAuthError("invalid_token", error.message, 401, challenge("invalid_token"))


async def parse_body(request: Request, model: type[BodyT], hint: str) -> BodyT:
    """Return a request body, which is JSON or a form, as a model.

    Args:
        request: the request.
        model: the model of the body.
        hint: a sentence for the error that says what to send.

    Raises:
        OAuthError: the body is too large, of another type, or does not match the model.
    """
    body = await _read_body(request)
    content_type = _content_type(request)
    if content_type not in (JSON, FORM):
        raise OAuthError("invalid_request", f"Send {JSON} or {FORM}.")
    try:
        fields = strict_json.loads(body) if content_type == JSON else _form(body)
    except (ValueError, RecursionError):
        what = "JSON, or it repeats a member" if content_type == JSON else "a form, or it repeats a field"
        raise OAuthError("invalid_request", f"The body is not {what}.") from None
    try:
        return model.model_validate(fields, strict=True)
    except ValueError:
        raise OAuthError("invalid_request", hint) from None


def body_schema(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """Return the body of a request for OpenAPI. A form contains only the members that can be text."""
    schema = model.model_json_schema()
    texts = {name: member for name, member in schema["properties"].items() if "string" in _types(member)}
    content = {JSON: {"schema": schema}, FORM: {"schema": schema | {"properties": texts}}}
    return {"requestBody": {"required": required, "content": content}}


def _types(member: dict[str, Any]) -> set[str]:
    return {one["type"] for one in (member, *member.get("anyOf", ())) if "type" in one}


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=20)
    fields = dict(pairs)
    if len(fields) != len(pairs):  # RFC 6749 section 3.2: parameters are not repeated
        raise ValueError("the form repeats a field")
    return fields


async def _read_body(request: Request) -> bytes:
    """Return the body of a request. It can be called several times.

    Raises:
        OAuthError: the body is too large.
    """
    body: bytes | None = getattr(request.state, "roomkey_body", None)
    if body is None:
        body = b""
        async for chunk in request.stream():
            body += chunk
            if len(body) > MAX_BODY:
                raise OAuthError("invalid_request", "The body is too large.", 413)
        request.state.roomkey_body = body
    return body


async def is_body_empty(request: Request) -> bool:
    """Return True if a request has no body or an empty object, regardless of its ``Content-Type``.

    Raises:
        OAuthError: the body is too large.
    """
    return (await _read_body(request)).translate(None, b" \t\r\n") in (b"", b"{}")


def invalid_grant(description: str = WRONG, status: int = 400) -> OAuthError:
    """Return the error response for every rejected grant; only the log contains the reason."""
    return OAuthError("invalid_grant", description, status)


def invalid_request(error: ConfigError) -> OAuthError:
    """Return the error response for an invalid value, such as a password that is too short."""
    return OAuthError("invalid_request", str(error))
