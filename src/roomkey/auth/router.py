"""The login routes, for FastAPI (internal; import from :mod:`roomkey.auth`).

Mount them with ``app.include_router(router(logins))``. Responses and errors have the form of an OAuth 2.0 token
endpoint (RFC 6749 sections 5.1 and 5.2).
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request, Security
from fastapi.responses import Response
from pydantic import BaseModel, Field

from roomkey.auth.cookies import MAX_COOKIE, Cookies
from roomkey.auth.http import (
    ACCESS_TOKEN,
    OAuthError,
    body_schema,
    client_info,
    error_responses,
    get_and_head,
    invalid_grant,
    invalid_request,
    invalid_token,
    json_response,
    oauth_errors,
    parse_body,
    reject_cross_site_form,
)
from roomkey.auth.issued_tokens import InvalidGrant, IssuedTokens
from roomkey.auth.login_service import LoginService
from roomkey.auth.passwords import MAX_PASSWORD_BYTES
from roomkey.auth.request_auth import RefreshRequest, RequestAuthenticator
from roomkey.auth.tickets import Tickets
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError, ExpiredToken

__all__ = ["CookieAnswer", "Ended", "SessionList", "TokenAnswer", "router", "token_answer", "token_response"]

# With cookies, the access token can be in a cookie instead.
TOKEN = [Security(ACCESS_TOKEN)]

Password = Annotated[
    str,
    Field(
        min_length=1,
        json_schema_extra={"format": "password"},
        description=f"at most {MAX_PASSWORD_BYTES} bytes",
    ),
]


class LoginRequest(BaseModel):
    """The credentials of a user."""

    username: str = Field(min_length=1)
    password: Password
    cookies: bool = Field(False, description="put the tokens into cookies, and not into the response")


class PasswordRequest(BaseModel):
    """The current and the new password."""

    password: Password
    new_password: Password


class TokenAnswer(BaseModel):
    """Tokens (RFC 6749 section 5.1)."""

    access_token: str = Field(description="a JSON Web Token: the room key")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a type, not a password
    expires_in: int = Field(description="its lifetime in seconds")
    refresh_token: str | None = Field(
        None, description="can be used once; the response to the refresh contains the next one"
    )
    scope: str | None = None


class CookieAnswer(BaseModel):
    """The lifetime of tokens in cookies, which scripts cannot read."""

    expires_in: int = Field(description="the access token's lifetime in seconds")
    scope: str | None = None


class TicketAnswer(BaseModel):
    """A connection ticket."""

    ticket: str = Field(description="opens one connection, once")
    expires_in: int = Field(description="its lifetime in seconds")


class Ended(BaseModel):
    """The effect of a logout."""

    sockets: int = Field(description="the number of sockets that were disconnected")


class SessionEntry(BaseModel):
    """A login session. Times are seconds since the epoch."""

    id: str
    client_id: str
    created_at: int
    used_at: int
    expires_at: int
    address: str
    user_agent: str
    sockets: int = Field(description="the number of its connected sockets")
    current: bool = Field(description="true for the session of this request")


class SessionList(BaseModel):
    """The user's active login sessions, the most recently used first."""

    sessions: list[SessionEntry]
    complete: bool = Field(description="false if a server did not say how many sockets it has")


def router(
    logins: LoginService, *, cookies: Cookies | None = None, tickets: Tickets | None = None, prefix: str = "/auth"
) -> APIRouter:
    """Return the login routes.

    Args:
        logins: issues and revokes tokens.
        cookies: for web pages that ask for cookies instead of tokens. Default: no cookies.
        tickets: issues connection tickets. Default: no route ``ticket``.
        prefix: the path before ``/login`` and the other routes.

    Returns:
        A router with ``login``, ``refresh``, ``logout``, ``logout-all``, ``password``, ``sessions`` and ``ticket``.
    """
    routes = APIRouter(prefix=prefix, tags=["login"])
    authenticator = RequestAuthenticator(logins.authority, cookies, logins.issuer.issuer)
    _add_logins(routes, logins, authenticator)
    _add_endings(routes, logins, authenticator)
    _add_password(routes, logins, authenticator)
    _add_sessions(routes, logins, authenticator)
    if tickets is not None:
        _add_tickets(routes, tickets, authenticator)
    return routes


def _add_logins(routes: APIRouter, logins: LoginService, authenticator: RequestAuthenticator) -> None:
    @routes.post(
        "/login",
        summary="Log in with a username and a password",
        response_model=TokenAnswer | CookieAnswer,
        responses=error_responses(400, 403, 413, 429),
        openapi_extra=body_schema(LoginRequest),
    )
    @oauth_errors
    async def login(request: Request) -> Response:
        reject_cross_site_form(request)
        typed = await parse_body(request, LoginRequest, "Send username and password, each a string.")
        into = authenticator.cookies_for(request) if typed.cookies else None
        try:
            issued = await logins.login(
                typed.username, typed.password, client_info(request), max_token=_max_token(into)
            )
        except InvalidGrant:
            raise invalid_grant() from None
        return token_response(issued, into)

    @routes.post(
        "/refresh",
        summary="Exchange a refresh token for new tokens",
        response_model=TokenAnswer | CookieAnswer,
        responses=error_responses(400, 401, 403, 413),
        openapi_extra=body_schema(RefreshRequest, required=False),
    )
    @oauth_errors
    async def refresh(request: Request) -> Response:
        token, into = await authenticator.refresh_token(request)
        try:
            issued = await logins.refresh(token, client_info(request), max_token=_max_token(into))
        except InvalidGrant:
            raise invalid_grant("Log in again.", 401) from None
        return token_response(issued, into)


def _max_token(into: Cookies | None) -> int | None:
    """Return the greatest length of an access token, in characters; None for no limit."""
    return None if into is None else MAX_COOKIE


def token_response(issued: IssuedTokens, into: Cookies | None) -> Response:
    """Return issued tokens as a response, or in the cookies of a response."""
    if into is None:
        return json_response(token_answer(issued))
    response = json_response(CookieAnswer(expires_in=issued.expires_in, scope=issued.session.scope or None))
    into.set(response, issued)
    return response


def _add_endings(routes: APIRouter, logins: LoginService, authenticator: RequestAuthenticator) -> None:
    @routes.post(
        "/logout",
        summary="End this login session; if the access token has expired, send the refresh token",
        response_model=Ended,
        dependencies=TOKEN,
        responses=error_responses(400, 401, 403, 413),
        openapi_extra=body_schema(RefreshRequest, required=False) | {"security": [{}]},
    )
    @oauth_errors
    async def logout(request: Request) -> Response:
        try:
            sockets = await logins.logout(await authenticator.identity(request, allow_revoked=_always))
        except OAuthError as error:
            if error.status != 401 or not await authenticator.has_refresh_token(request):
                raise
            token, _ = await authenticator.refresh_token(request)
            sockets = await logins.logout_with_refresh_token(token) or 0
        return authenticator.without_cookies(request, json_response(Ended(sockets=sockets)))

    @routes.post(
        "/logout-all",
        summary="End all login sessions of the user",
        response_model=Ended,
        dependencies=TOKEN,
        responses=error_responses(401, 403),
    )
    @oauth_errors
    async def logout_all(request: Request) -> Response:
        who = await authenticator.identity(request, allow_revoked=logins.is_half_ended)
        sockets = await logins.logout_all(who.subject)
        return authenticator.without_cookies(request, json_response(Ended(sockets=sockets)))


async def _always(_: Identity) -> bool:
    return True


def _add_password(routes: APIRouter, logins: LoginService, authenticator: RequestAuthenticator) -> None:
    @routes.post(
        "/password",
        summary="Change the password, and end the user's other login sessions",
        response_model=Ended,
        dependencies=TOKEN,
        responses=error_responses(400, 401, 403, 413, 429),
        openapi_extra=body_schema(PasswordRequest),
    )
    @oauth_errors
    async def password(request: Request) -> Response:
        who = await authenticator.identity(request)
        typed = await parse_body(request, PasswordRequest, "Send password and new_password, each a string.")
        try:
            ended = await logins.change_password(who, typed.password, typed.new_password, client_info(request))
        except InvalidGrant:
            raise invalid_grant("The password is wrong.") from None
        except ConfigError as error:
            raise invalid_request(error) from None
        return json_response(Ended(sockets=ended))


def _add_sessions(routes: APIRouter, logins: LoginService, authenticator: RequestAuthenticator) -> None:
    @get_and_head(
        routes,
        "/sessions",
        summary="List the user's login sessions",
        response_model=SessionList,
        dependencies=TOKEN,
        responses=error_responses(401, 403),
    )
    @oauth_errors
    async def sessions(request: Request) -> Response:
        who = await authenticator.identity(request)
        sockets, complete = await logins.authority.count_sockets(who.subject)
        return json_response(
            SessionList(
                sessions=[
                    SessionEntry(
                        id=session.session_id,
                        client_id=session.client_id,
                        created_at=session.auth_time,
                        used_at=session.used_at,
                        expires_at=session.expires_at,
                        address=session.address,
                        user_agent=session.user_agent,
                        sockets=sockets.get(session.session_id, 0),
                        current=session.session_id == who.session_id,
                    )
                    for session in await logins.list_sessions(who.subject)
                ],
                complete=complete,
            )
        )

    @routes.delete(
        "/sessions/{session_id}",
        summary="End one of the user's login sessions",
        response_model=Ended,
        dependencies=TOKEN,
        responses=error_responses(401, 403, 404),
    )
    @oauth_errors
    async def end_session(request: Request, session_id: str) -> Response:
        who = await authenticator.identity(request, allow_revoked=logins.is_half_ended)
        ended = await logins.end_session_of(who.subject, session_id)
        if ended is None:
            raise OAuthError("not_found", "You have no such login session.", 404)
        return json_response(Ended(sockets=ended))


def _add_tickets(routes: APIRouter, tickets: Tickets, authenticator: RequestAuthenticator) -> None:
    @routes.post(
        "/ticket",
        summary="Get a ticket that opens one connection",
        response_model=TicketAnswer,
        dependencies=TOKEN,
        responses=error_responses(401, 403),
    )
    @oauth_errors
    async def ticket(request: Request) -> Response:
        who = await authenticator.identity(request)
        try:
            issued, expires_in = await tickets.issue(who, request.headers.get("origin"))
        except ExpiredToken as error:
            raise invalid_token(error) from None
        return json_response(TicketAnswer(ticket=issued, expires_in=expires_in))


def token_answer(issued: IssuedTokens) -> TokenAnswer:
    """Return issued tokens as the body of a response."""
    return TokenAnswer(
        access_token=issued.access_token,
        expires_in=issued.expires_in,
        refresh_token=issued.refresh_token,
        scope=issued.session.scope or None,
    )
