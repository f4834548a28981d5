"""What the routes share: bodies that are read within bounds, answers, errors, and who is asking."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from functools import wraps
from typing import Any, TypeAlias, TypeVar, cast
from urllib.parse import parse_qsl

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from fastapi.security import HTTPBearer
from pydantic import BaseModel, Field

from roomkey.auth.issued_tokens import InvalidGrant, Origin, TokenTooLong
from roomkey.auth.throttle import Throttled
from roomkey.auth.token_authority import TokenAuthority
from roomkey.core import jws, strict_json
from roomkey.core.credentials import bare_token
from roomkey.core.identity import Identity
from roomkey.errors import AuthError, ConfigError, RevokedToken, Unavailable

__all__ = [
    "ACCESS_TOKEN",
    "FORM",
    "JSON",
    "NO_STORE",
    "OAuthError",
    "Problem",
    "answer",
    "answering",
    "authorization",
    "bearer",
    "challenge",
    "errors",
    "holder",
    "is_empty",
    "origin",
    "read",
    "readable",
    "refuse_foreign_form",
]

JSON = "application/json"
FORM = "application/x-www-form-urlencoded"
MAX_BODY = 16 * 1024
# RFC 6749 section 5.1: an answer with a token in it is kept nowhere.
NO_STORE = {"Cache-Control": "no-store", "Pragma": "no-cache"}
WRONG = "The username or the password is wrong."

# For the OpenAPI document: it refuses nobody, so that the routes themselves answer as RFC 6750 wants it.
ACCESS_TOKEN = HTTPBearer(scheme_name="access_token", description="An access token.", auto_error=False)

BodyT = TypeVar("BodyT", bound=BaseModel)


class Problem(BaseModel):
    """Why not (RFC 6749 section 5.2)."""

    error: str = Field(description="a code for programs")
    error_description: str = Field(description="a sentence for developers")


class OAuthError(Exception):
    """An answer that is an error (RFC 6749 section 5.2).

    Args:
        error: its code.
        description: a sentence for developers; nothing secret, and nothing that the client sent.
        status: of HTTP.
        headers: of the answer.
    """

    def __init__(self, error: str, description: str, status: int = 400, headers: dict[str, str] | None = None) -> None:
        self.error = error
        self.description = description
        self.status = status
        self.headers = headers or {}
        super().__init__(f"{error}: {description}")

    def response(self) -> JSONResponse:
        """The answer."""
        body = {"error": self.error, "error_description": self.description}
        return JSONResponse(body, self.status, NO_STORE | self.headers)


DESCRIBED = {
    400: "The request is broken, or what it presents is wrong.",
    401: "No access token, or one that is not (or no longer) good (RFC 6750 section 3.1).",
    403: "Not allowed to; or with cookies: not from an allowed page, or without the header against forgery.",
    404: "There is none of this name.",
    409: "The name is taken.",
    413: f"The body has more than {MAX_BODY} bytes.",
    429: "Too many attempts; the next is looked at after Retry-After seconds.",
    503: "Out of order or too busy; try again after Retry-After seconds.",
}


def errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """Answers for OpenAPI: those of these numbers, and that something is out of order, which may happen anywhere."""
    return {status: {"model": Problem, "description": DESCRIBED[status]} for status in sorted({*statuses, 503})}


Route = TypeVar("Route", bound=Callable[..., Coroutine[Any, Any, Response]])
AnyRoute = TypeVar("AnyRoute", bound=Callable[..., Any])


def readable(routes: APIRouter | FastAPI, path: str, **options: Any) -> Callable[[AnyRoute], AnyRoute]:
    """Decorate a route for GET, and for HEAD, which servers answer without the body (RFC 9110, section 9.3.2).

    Args:
        routes: where to add it.
        path: of the route.
        options: those of ``routes.get``.
    """

    def add(route: AnyRoute) -> AnyRoute:
        routes.head(path, **{**options, "include_in_schema": False})(route)
        return routes.get(path, **options)(route)

    return add


def answering(route: Route) -> Route:
    """Decorate a route: whatever it raises becomes an answer that it documents."""

    @wraps(route)
    async def answered(*arguments: Any, **named: Any) -> Response:
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
            return OAuthError("temporarily_unavailable", "Out of order or too busy; try again.", 503, wait).response()

    return cast(Route, answered)


def answer(body: BaseModel, status: int = 200) -> JSONResponse:
    """An answer that nobody keeps."""
    return JSONResponse(body.model_dump(exclude_none=True), status, NO_STORE)


def origin(request: Request) -> Origin:
    """Where a request comes from; a proxy's word counts where the server in front says so."""
    address = request.client.host if request.client else ""
    return Origin(address, request.headers.get("user-agent", ""))


def authorization(request: Request) -> str | None:
    """The one ``Authorization`` header, or None.

    Raises:
        OAuthError: there are several, of which another server may read another one.
    """
    headers = request.headers.getlist("authorization")
    if len(headers) > 1:
        raise OAuthError("invalid_request", "Send one Authorization header.")
    return headers[0] if headers else None


def refuse_foreign_form(request: Request) -> None:
    """A form that a page of another site makes its visitor send is not looked at, and no wrong password is counted.

    JSON is sent across sites only where the server's CORS settings allow it.

    Raises:
        OAuthError: it is one.
    """
    if request.headers.get("sec-fetch-site") == "cross-site" and _content_type(request) != JSON:
        raise OAuthError("forbidden", "Forms are sent from this site's own pages.", 403)


EvenRevoked: TypeAlias = Callable[[Identity], Awaitable[bool]]
"""Says whether a token that is good but for being revoked is taken."""


async def bearer(request: Request, live: TokenAuthority, *, even_revoked: EvenRevoked | None = None) -> Identity:
    """Whose access token the request carries (RFC 6750 section 2.1).

    Args:
        even_revoked: whether one is taken that is good but for being revoked; never if absent.

    Raises:
        OAuthError: none, or one that is not good: 401 with its challenge.
        Unavailable: nobody can say.
    """
    try:
        header = authorization(request) or ""
    except OAuthError as error:
        raise OAuthError("invalid_token", error.description, 401, challenge("invalid_token")) from None
    if not header.lower().startswith("bearer "):  # none, or another scheme's: no token was wrong
        raise OAuthError("invalid_token", "Send an access token: Authorization: Bearer TOKEN", 401, challenge(None))
    try:
        token = bare_token(header)
    except AuthError as error:
        raise bad_token(error) from None
    return await holder(token, live, "header", even_revoked=even_revoked)


async def holder(token: str, live: TokenAuthority, source: str, *, even_revoked: EvenRevoked | None = None) -> Identity:
    """Whose access token it is.

    Raises:
        OAuthError: it is not good: 401 with its challenge.
        Unavailable: nobody can say.
    """
    try:
        return await live.verify(token, source=source)
    except Unavailable:
        raise
    except RevokedToken as error:
        # Only of a token whose signature and claims are good it is asked whether it was revoked.
        who = Identity.from_claims(jws.json_object(jws.split(token, jws.LONGEST_TOKEN).payload, "payload"), source)
        if even_revoked is None or not await even_revoked(who):
            raise bad_token(error) from None
        return who
    except AuthError as error:
        raise bad_token(error) from None


def bad_token(error: AuthError) -> OAuthError:
    """An access token that is not good (RFC 6750 section 3.1)."""
    return OAuthError("invalid_token", error.message, 401, challenge("invalid_token"))


def challenge(error: str | None, scope: str | None = None) -> dict[str, str]:
    """``WWW-Authenticate`` (RFC 6750 section 3).

    Args:
        error: what was wrong with the token that came, if one did.
        scope: what it would have to hold.
    """
    told = {"realm": "roomkey", "error": error, "scope": scope}
    return {"WWW-Authenticate": "Bearer " + ", ".join(f'{name}="{text}"' for name, text in told.items() if text)}


async def read(request: Request, model: type[BodyT], hint: str) -> BodyT:
    """A body, JSON or a form, as a model.

    Args:
        hint: what to send, for the error.

    Raises:
        OAuthError: too large, of another kind, or not what the model asks for.
    """
    body = await body_sent(request)
    kind = _content_type(request)
    if kind not in (JSON, FORM):
        raise OAuthError("invalid_request", f"Send {JSON} or {FORM}.")
    try:
        fields = strict_json.loads(body) if kind == JSON else _form(body)
    except (ValueError, RecursionError):
        what = "JSON, or a member is there twice" if kind == JSON else "a form, or a field is there twice"
        raise OAuthError("invalid_request", f"The body is not {what}.") from None
    try:
        return model.model_validate(fields, strict=True)
    except ValueError:
        raise OAuthError("invalid_request", hint) from None


def body_of(model: type[BaseModel], *, required: bool = True) -> dict[str, Any]:
    """A request's body for OpenAPI; in a form there are only those members that may be text."""
    schema = model.model_json_schema()
    texts = {name: told for name, told in schema["properties"].items() if "string" in _types(told)}
    content = {JSON: {"schema": schema}, FORM: {"schema": schema | {"properties": texts}}}
    return {"requestBody": {"required": required, "content": content}}


def _types(told: dict[str, Any]) -> set[str]:
    return {one["type"] for one in (told, *told.get("anyOf", ())) if "type" in one}


def _content_type(request: Request) -> str:
    return request.headers.get("content-type", "").partition(";")[0].strip().lower()


def _form(body: bytes) -> dict[str, str]:
    pairs = parse_qsl(body.decode("utf-8"), keep_blank_values=True, errors="strict", max_num_fields=20)
    fields = dict(pairs)
    if len(fields) != len(pairs):  # RFC 6749 section 3.2: parameters are not repeated
        raise ValueError("a repeated field")
    return fields


async def body_sent(request: Request) -> bytes:
    """Return the body of a request, however often it is asked for.

    Raises:
        OAuthError: it is too large.
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


async def is_empty(request: Request) -> bool:
    """Return True if a request has no body, or an object without members, whatever its headers call it.

    Raises:
        OAuthError: it is too large.
    """
    return (await body_sent(request)).translate(None, b" \t\r\n") in (b"", b"{}")


def refused(error: InvalidGrant, description: str = WRONG, status: int = 400) -> OAuthError:
    """The one answer for every way in which a grant is refused; the log has the difference."""
    del error
    return OAuthError("invalid_grant", description, status)


def invalid(error: ConfigError) -> OAuthError:
    """A value that cannot be taken, such as a password that is too short."""
    return OAuthError("invalid_request", str(error))
