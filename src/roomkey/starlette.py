"""Tokens for the routes of a Starlette application, with the verifier and the revocations of its sockets.

::

    tokens = RoomKey(guard)

    @tokens.requires(role="editor")
    async def news(request):
        who = await tokens.identity(request)

It requires ``roomkey[starlette]``. For FastAPI, use :mod:`roomkey.fastapi`.
"""

from __future__ import annotations

import inspect
import time
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any, Protocol

from roomkey.extras import needs

with needs("starlette", "roomkey.starlette"):
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException, WebSocketException
    from starlette.requests import HTTPConnection
    from starlette.responses import JSONResponse

from roomkey.audit import redact_logs
from roomkey.core.credentials import Handshake, find_credential, missing_credential
from roomkey.core.http_tokens import ErrorResponse, error_response, route_request
from roomkey.core.identity import Identity
from roomkey.core.origins import allowed_origins as parse_origins
from roomkey.core.requirements import Requirement
from roomkey.errors import AuthError, ConfigError
from roomkey.guard.guard import Guard
from roomkey.guard.settings import AnyVerifier

__all__ = ["AuthHTTPException", "Handshake", "RoomKey", "User"]

POLICY_VIOLATION = 1008
_KEPT = "roomkey.identity"


class TokenAuthority(Protocol):
    """Verifies tokens and checks revocations. Every asyncio guard is one."""

    def verify(self, token: str, *, source: str = "") -> Awaitable[Identity]:
        """Return the identity of a token, or raise one :class:`roomkey.AuthError`."""


class HasGuard(Protocol):
    """A server with a guard, such as the hub."""

    @property
    def guard(self) -> TokenAuthority:
        """The guard."""


class AuthHTTPException(HTTPException):
    """The response of a route without a valid token, or without a right (RFC 6750 section 3).

    Attributes:
        error: the reason.
    """

    def __init__(self, error: AuthError, response: ErrorResponse) -> None:
        super().__init__(response.status, response.description, response.headers)
        self.error = error


class User(BaseUser):
    """``request.user`` behind Starlette's ``AuthenticationMiddleware``.

    Attributes:
        token: the identity of the token.
    """

    def __init__(self, token: Identity) -> None:
        self.token = token

    @property
    def is_authenticated(self) -> bool:
        """False for a guest."""
        return not self.token.is_guest

    @property
    def display_name(self) -> str:
        """The subject."""
        return self.token.subject

    @property
    def identity(self) -> str:
        """The subject."""
        return self.token.subject


class _Rejected(AuthenticationError):
    def __init__(self, error: AuthError) -> None:
        super().__init__(error.message)
        self.error = error


class RoomKey(AuthenticationBackend):
    """Verifies the tokens of routes: the same tokens, and the same revocations, as those of the sockets.

    Args:
        guard: the guard or the hub of the sockets. Without sockets, a verifier, or a guard that is not attached.
        via: where clients can send the token. Default: only the ``Authorization`` header. A cookie is used only if the
            request has no other token, and the server's own page or one of ``allowed_origins`` sent the request.
        required: False also accepts requests without a token, as :meth:`roomkey.Identity.guest`. An invalid token is
            still rejected.
        allowed_origins: origins of further web pages whose cookies are accepted, such as ``https://app.example``.

    Raises:
        ConfigError: a setting is invalid.
    """

    def __init__(
        self,
        guard: TokenAuthority | HasGuard | AnyVerifier,
        *,
        via: Handshake | None = None,
        required: bool = True,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._authority = _authority_of(guard)
        clock = getattr(self._authority, "clock", None)
        self._now: Callable[[], float] = time.time if clock is None else clock.now
        self._way = Handshake() if via is None else via
        if not isinstance(self._way, Handshake) or not (self._way.header or self._way.cookie or self._way.query):
            raise ConfigError(
                "via must be a Handshake with a source in the request, such as Handshake(cookie='session')"
            )
        if not isinstance(required, bool):
            raise ConfigError("required must be True or False")
        self._required = required
        listed = [allowed_origins] if isinstance(allowed_origins, str) else allowed_origins
        self._allowed = parse_origins(listed, schemes=("http", "https"))
        if self._way.query is not None:
            redact_logs(names=self._way.secret_names)

    async def identity(self, connection: HTTPConnection) -> Identity:
        """Return the identity of a request or WebSocket. Each request is verified once.

        Raises:
            AuthHTTPException: there is no valid token.
            WebSocketException: the same for a WebSocket.
        """
        return await self.check(connection, None)

    def requires(
        self,
        *,
        role: str | Iterable[str] | None = None,
        scope: str | Iterable[str] | None = None,
        max_auth_age: float | None = None,
    ) -> Callable[[Callable[..., Any]], Callable[..., Awaitable[Any]]]:
        """Decorate an endpoint, a function or method with a request or WebSocket, that requires a user.

        Args:
            role: a role, or several of which one is enough.
            scope: one or several scopes, which are all required.
            max_auth_age: the longest time in seconds since the user logged in.

        Raises:
            ConfigError: an argument is invalid.
        """
        requirement = Requirement.of(role, scope, max_auth_age)

        def decorate(endpoint: Callable[..., Any]) -> Callable[..., Awaitable[Any]]:
            if isinstance(endpoint, type):
                raise ConfigError("requires decorates functions; decorate the methods of an HTTPEndpoint instead")

            @wraps(endpoint)
            async def check_first(*arguments: Any, **named: Any) -> Any:
                await self.check(_connection_of(*arguments, *named.values()), requirement)
                if inspect.iscoroutinefunction(endpoint):
                    return await endpoint(*arguments, **named)
                return await run_in_threadpool(endpoint, *arguments, **named)

            return check_first

        return decorate

    async def authenticate(self, conn: HTTPConnection) -> tuple[AuthCredentials, BaseUser] | None:
        """Verify a request for Starlette's ``AuthenticationMiddleware``; pass :meth:`on_error` to it, too.

        Returns:
            The scopes of the token, next to ``authenticated``, and a :class:`User`; None if the request has no token.
        """
        try:
            who = await self._verify(conn)
        except AuthError as error:
            raise _Rejected(error) from None
        if who is None:
            return None
        return AuthCredentials(["authenticated", *sorted(who.scopes)]), User(who)

    @staticmethod
    def on_error(_connection: HTTPConnection, error: Exception) -> JSONResponse:
        """Return the response to a request that the middleware rejects."""
        response = error_response(getattr(error, "error", None) or AuthError())
        return JSONResponse(response.body, response.status, response.headers)

    async def check(self, connection: HTTPConnection, requirement: Requirement | None) -> Identity:
        """Return the identity of a request that meets a requirement (internal)."""
        try:
            who = await self._verify(connection)
            if who is None:
                if self._required:
                    raise missing_credential(self._way)
                who = Identity.guest()
            problem = None if requirement is None else requirement.problem(who, self._now())
            if problem is not None:
                raise problem
        except AuthError as error:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(POLICY_VIOLATION, error.message) from None
            raise AuthHTTPException(error, error_response(error, requirement)) from None
        return who

    async def _verify(self, connection: HTTPConnection) -> Identity | None:
        """Return the identity of a request's token, or None without a token."""
        kept: tuple[object, Identity | None] = connection.scope.get(_KEPT, (None, None))
        if kept[0] is self:
            return kept[1]
        headers, url = connection.headers, connection.url
        request = route_request(
            authorization=", ".join(headers.getlist(self._way.header_name)),
            cookie="; ".join(headers.getlist("cookie")),
            query=url.query,
            origin=headers.get("origin"),
            fetch_site=headers.get("sec-fetch-site"),
            scheme={"ws": "http", "wss": "https"}.get(url.scheme, url.scheme),
            host=headers.get("host"),
            allowed_origins=self._allowed,
        )
        presented = find_credential(self._way, None, request)
        who = await self._authority.verify(presented.token, source=presented.source) if presented is not None else None
        connection.scope[_KEPT] = (self, who)
        return who


def _authority_of(guard: TokenAuthority | HasGuard | AnyVerifier) -> TokenAuthority:
    """Return what verifies tokens and knows revocations: the guard, the hub's, or one for a verifier alone."""
    authority: Any = getattr(guard, "guard", guard)
    if callable(getattr(authority, "follow_revocations", None)):
        known: TokenAuthority = authority
        return known
    return Guard(authority)


def _connection_of(*arguments: object) -> HTTPConnection:
    for argument in arguments:
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigError("requires decorates endpoints with a request or a WebSocket")
