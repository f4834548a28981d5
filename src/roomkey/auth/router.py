"""The login routes, for FastAPI. An application mounts them with ``app.include_router(router(logins))``.

Answers and errors have the form of an OAuth 2.0 token endpoint (RFC 6749 sections 5.1 and 5.2).
"""

from __future__ import annotations

from typing import Annotated, Literal

from fastapi import APIRouter, Request
from fastapi.responses import Response
from pydantic import BaseModel, Field

from roomkey.auth.http import OAuthError, answer, answering, bearer, body_of, errors, invalid, origin, read, refused
from roomkey.auth.logins import Granted, Logins, Refused
from roomkey.auth.passwords import MAX_PASSWORD_BYTES
from roomkey.errors import ConfigError

__all__ = ["Ended", "SessionList", "TokenAnswer", "router"]

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


class RefreshRequest(BaseModel):
    """What is to be exchanged for new tokens."""

    refresh_token: str = Field(min_length=1)


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


def router(logins: Logins, *, prefix: str = "/auth") -> APIRouter:
    """The login server as routes.

    Args:
        logins: gives tokens, and takes them back.
        prefix: the path in front of ``/login`` and the others.

    Returns:
        A router with ``login``, ``refresh``, ``logout``, ``logout-all``, ``password`` and ``sessions``.
    """
    routes = APIRouter(prefix=prefix, tags=["login"])
    _add_logins(routes, logins)
    _add_endings(routes, logins)
    _add_sessions(routes, logins)
    return routes


def _add_logins(routes: APIRouter, logins: Logins) -> None:
    @routes.post(
        "/login",
        summary="Log in with a username and a password",
        response_model=TokenAnswer,
        responses=errors(400, 413, 429),
        openapi_extra=body_of(LoginRequest),
    )
    @answering
    async def login(request: Request) -> Response:
        typed = await read(request, LoginRequest, "Send username and password, each a string.")
        try:
            return answer(tokens(await logins.login(typed.username, typed.password, origin(request))))
        except Refused as error:
            raise refused(error) from None

    @routes.post(
        "/refresh",
        summary="Exchange a refresh token for new tokens",
        response_model=TokenAnswer,
        responses=errors(400, 401, 413),
        openapi_extra=body_of(RefreshRequest),
    )
    @answering
    async def refresh(request: Request) -> Response:
        sent = await read(request, RefreshRequest, "Send refresh_token, a string.")
        try:
            return answer(tokens(await logins.refresh(sent.refresh_token, origin(request))))
        except Refused as error:
            raise refused(error, "Log in again.", 401) from None


def _add_endings(routes: APIRouter, logins: Logins) -> None:
    live = logins.live

    @routes.post("/logout", summary="End this login", response_model=Ended, responses=errors(401))
    @answering
    async def logout(request: Request) -> Response:
        return answer(Ended(sockets=await logins.logout(await bearer(request, live))))

    @routes.post("/logout-all", summary="End every login of mine", response_model=Ended, responses=errors(401))
    @answering
    async def logout_all(request: Request) -> Response:
        return answer(Ended(sockets=await logins.logout_all(await bearer(request, live))))

    @routes.post(
        "/password",
        summary="Change my password, and end my other logins",
        response_model=Ended,
        responses=errors(400, 401, 413, 429),
        openapi_extra=body_of(PasswordRequest),
    )
    @answering
    async def password(request: Request) -> Response:
        who = await bearer(request, live)
        typed = await read(request, PasswordRequest, "Send password and new_password, each a string.")
        try:
            ended = await logins.change_password(who, typed.password, typed.new_password, origin(request))
        except Refused as error:
            raise refused(error, "The password is wrong.") from None
        except ConfigError as error:
            raise invalid(error) from None
        return answer(Ended(sockets=ended))


def _add_sessions(routes: APIRouter, logins: Logins) -> None:
    live = logins.live

    @routes.get("/sessions", summary="My logins and devices", response_model=SessionList, responses=errors(401))
    @answering
    async def sessions(request: Request) -> Response:
        who = await bearer(request, live)
        sockets = live.sockets_by_session(who.subject)
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
        responses=errors(401, 404),
    )
    @answering
    async def end_session(request: Request, session_id: str) -> Response:
        who = await bearer(request, live)
        ended = await logins.end_session(who.subject, session_id)
        if ended is None:
            raise OAuthError("not_found", "You have no such login.", 404)
        return answer(Ended(sockets=ended))


def tokens(granted: Granted) -> TokenAnswer:
    """What was granted, as an answer."""
    return TokenAnswer(
        access_token=granted.access_token,
        expires_in=granted.expires_in,
        refresh_token=granted.refresh_token,
        scope=granted.session.scope or None,
    )
