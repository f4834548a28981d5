"""The login routes, for FastAPI. An application mounts them with ``app.include_router(router(logins))``.

Answers and errors have the form of an OAuth 2.0 token endpoint (RFC 6749 sections 5.1 and 5.2).
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
    answer,
    answering,
    bad_token,
    body_of,
    errors,
    invalid,
    origin,
    read,
    readable,
    refuse_foreign_form,
    refused,
)
from roomkey.auth.issued_tokens import InvalidGrant, IssuedTokens
from roomkey.auth.logins import LoginService
from roomkey.auth.passwords import MAX_PASSWORD_BYTES
from roomkey.auth.request_auth import RefreshRequest, RequestAuthenticator
from roomkey.auth.tickets import Tickets
from roomkey.core.identity import Identity
from roomkey.errors import ConfigError, ExpiredToken

__all__ = ["Ended", "SessionList", "TokenAnswer", "router"]

# Where cookies are on, they will do instead.
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
    """Who wants a token."""

    username: str = Field(min_length=1)
    password: Password
    cookies: bool = Field(False, description="put the tokens into cookies, and none into the answer")


class PasswordRequest(BaseModel):
    """The password as it is, and as it is to be."""

    password: Password
    new_password: Password


class TokenAnswer(BaseModel):
    """Tokens (RFC 6749 section 5.1)."""

    access_token: str = Field(description="a JSON Web Token: the room key")
    token_type: Literal["Bearer"] = "Bearer"  # noqa: S105 - a type, not a password
    expires_in: int = Field(description="its lifetime in seconds")
    refresh_token: str | None = Field(None, description="good for one refresh; the answer to it has the next")
    scope: str | None = None


class CookieAnswer(BaseModel):
    """The tokens are in cookies, where no script can read them."""

    expires_in: int = Field(description="the access token's lifetime in seconds")
    scope: str | None = None


class TicketAnswer(BaseModel):
    """A connection ticket."""

    ticket: str = Field(description="opens one connection, once")
    expires_in: int = Field(description="seconds in which it does")


class Ended(BaseModel):
    """What was ended."""

    sockets: int = Field(description="how many live sockets it ended")


class SessionEntry(BaseModel):
    """One login on one device. Times are seconds since the epoch."""

    id: str
    client_id: str
    created_at: int
    used_at: int
    expires_at: int
    address: str
    user_agent: str
    sockets: int = Field(description="how many live sockets it has")
    current: bool = Field(description="true for the one that asks")


class SessionList(BaseModel):
    """The live logins of whoever asks, the last used first."""

    sessions: list[SessionEntry]


def router(
    logins: LoginService, *, cookies: Cookies | None = None, tickets: Tickets | None = None, prefix: str = "/auth"
) -> APIRouter:
    """The login server as routes.

    Args:
        logins: gives tokens, and takes them back.
        cookies: for pages that ask for cookies instead of tokens; nobody gets any if absent.
        tickets: gives connection tickets; there is no route ``ticket`` if absent.
        prefix: the path in front of ``/login`` and the others.

    Returns:
        A router with ``login``, ``refresh``, ``logout``, ``logout-all``, ``password``, ``sessions`` and ``ticket``.
    """
    routes = APIRouter(prefix=prefix, tags=["login"])
    asking = RequestAuthenticator(logins.live, cookies, logins.issuer.issuer)
    _add_logins(routes, logins, asking)
    _add_endings(routes, logins, asking)
    _add_password(routes, logins, asking)
    _add_sessions(routes, logins, asking)
    if tickets is not None:
        _add_tickets(routes, tickets, asking)
    return routes


def _add_logins(routes: APIRouter, logins: LoginService, asking: RequestAuthenticator) -> None:
    @routes.post(
        "/login",
        summary="Log in with a username and a password",
        response_model=TokenAnswer | CookieAnswer,
        responses=errors(400, 403, 413, 429),
        openapi_extra=body_of(LoginRequest),
    )
    @answering
    async def login(request: Request) -> Response:
        refuse_foreign_form(request)
        typed = await read(request, LoginRequest, "Send username and password, each a string.")
        put = asking.cookies_for(request) if typed.cookies else None
        try:
            granted = await logins.login(typed.username, typed.password, origin(request), max_token=_most(put))
        except InvalidGrant as error:
            raise refused(error) from None
        return _given(granted, put)

    @routes.post(
        "/refresh",
        summary="Exchange a refresh token for new tokens",
        response_model=TokenAnswer | CookieAnswer,
        responses=errors(400, 401, 403, 413),
        openapi_extra=body_of(RefreshRequest, required=False),
    )
    @answering
    async def refresh(request: Request) -> Response:
        token, put = await asking.refresh_token(request)
        try:
            return _given(await logins.refresh(token, origin(request), max_token=_most(put)), put)
        except InvalidGrant as error:
            raise refused(error, "Log in again.", 401) from None


def _most(put: Cookies | None) -> int | None:
    """Characters that an access token may have."""
    return None if put is None else MAX_COOKIE


def _given(granted: IssuedTokens, put: Cookies | None) -> Response:
    if put is None:
        return answer(tokens(granted))
    response = answer(CookieAnswer(expires_in=granted.expires_in, scope=granted.session.scope or None))
    put.put(response, granted)
    return response


def _add_endings(routes: APIRouter, logins: LoginService, asking: RequestAuthenticator) -> None:
    @routes.post(
        "/logout",
        summary="End this login; its refresh token will do, if the access token has expired",
        response_model=Ended,
        dependencies=TOKEN,
        responses=errors(400, 401, 403, 413),
        openapi_extra=body_of(RefreshRequest, required=False) | {"security": [{}]},
    )
    @answering
    async def logout(request: Request) -> Response:
        try:
            sockets = await logins.logout(await asking.who(request, even_revoked=_always))
        except OAuthError as error:
            if error.status != 401 or not await asking.has_refresh_token(request):
                raise
            token, _ = await asking.refresh_token(request)
            sockets = await logins.forget_token(token) or 0
        return asking.without_cookies(request, answer(Ended(sockets=sockets)))

    @routes.post(
        "/logout-all",
        summary="End every login of mine",
        response_model=Ended,
        dependencies=TOKEN,
        responses=errors(401, 403),
    )
    @answering
    async def logout_all(request: Request) -> Response:
        sockets = await logins.logout_all(await asking.who(request, even_revoked=logins.is_half_ended))
        return asking.without_cookies(request, answer(Ended(sockets=sockets)))


async def _always(_: Identity) -> bool:
    return True


def _add_password(routes: APIRouter, logins: LoginService, asking: RequestAuthenticator) -> None:
    @routes.post(
        "/password",
        summary="Change my password, and end my other logins",
        response_model=Ended,
        dependencies=TOKEN,
        responses=errors(400, 401, 403, 413, 429),
        openapi_extra=body_of(PasswordRequest),
    )
    @answering
    async def password(request: Request) -> Response:
        who = await asking.who(request)
        typed = await read(request, PasswordRequest, "Send password and new_password, each a string.")
        try:
            ended = await logins.change_password(who, typed.password, typed.new_password, origin(request))
        except InvalidGrant as error:
            raise refused(error, "The password is wrong.") from None
        except ConfigError as error:
            raise invalid(error) from None
        return answer(Ended(sockets=ended))


def _add_sessions(routes: APIRouter, logins: LoginService, asking: RequestAuthenticator) -> None:
    @readable(
        routes,
        "/sessions",
        summary="My logins and devices",
        response_model=SessionList,
        dependencies=TOKEN,
        responses=errors(401, 403),
    )
    @answering
    async def sessions(request: Request) -> Response:
        who = await asking.who(request)
        sockets = logins.live.sockets_by_session(who.subject)
        return answer(
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
                    for session in await logins.sessions_of(who.subject)
                ]
            )
        )

    @routes.delete(
        "/sessions/{session_id}",
        summary="End one of my logins",
        response_model=Ended,
        dependencies=TOKEN,
        responses=errors(401, 403, 404),
    )
    @answering
    async def end_session(request: Request, session_id: str) -> Response:
        who = await asking.who(request, even_revoked=logins.is_half_ended)
        ended = await logins.end_session(who.subject, session_id)
        if ended is None:
            raise OAuthError("not_found", "You have no such login.", 404)
        return answer(Ended(sockets=ended))


def _add_tickets(routes: APIRouter, tickets: Tickets, asking: RequestAuthenticator) -> None:
    @routes.post(
        "/ticket",
        summary="A ticket that opens one connection",
        response_model=TicketAnswer,
        dependencies=TOKEN,
        responses=errors(401, 403),
    )
    @answering
    async def ticket(request: Request) -> Response:
        who = await asking.who(request)
        try:
            made, expires_in = await tickets.issue(who, request.headers.get("origin"))
        except ExpiredToken as error:
            raise bad_token(error) from None
        return answer(TicketAnswer(ticket=made, expires_in=expires_in))


def tokens(granted: IssuedTokens) -> TokenAnswer:
    """What was granted, as an answer."""
    return TokenAnswer(
        access_token=granted.access_token,
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token,
        scope=granted.session.scope or None,
    )
