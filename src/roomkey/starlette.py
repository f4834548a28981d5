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
from collections.abc import Awaitable, Callable, Iterable
from functools import wraps
from typing import Any

from roomkey.extras import needs

with needs("starlette", "roomkey.starlette"):
    from starlette.authentication import AuthCredentials, AuthenticationBackend, AuthenticationError, BaseUser
    from starlette.concurrency import run_in_threadpool
    from starlette.exceptions import HTTPException, WebSocketException
    from starlette.requests import HTTPConnection
    from starlette.responses import JSONResponse

from roomkey import routes
from roomkey.core.credentials import Handshake
from roomkey.core.http_tokens import error_response
from roomkey.core.identity import Identity
from roomkey.core.requirements import Requirement
from roomkey.errors import AuthError, ConfigError

__all__ = ["AuthHTTPException", "Handshake", "RoomKey", "User"]

POLICY_VIOLATION = 1008
_KEPT = "roomkey.identity"


class AuthHTTPException(HTTPException):
    """The response of a route without a valid token, or without a right (RFC 6750 section 3).

    Attributes:
        error: the reason.
    """

    def __init__(self, error: AuthError, requirement: Requirement | None = None) -> None:
        response = error_response(error, requirement)
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
        guard: as for :class:`roomkey.routes.RoomKey`, like the other arguments.

    Raises:
        ConfigError: a setting is invalid.
    """

    def __init__(
        self,
        guard: routes.AnyGuard,
        *,
        via: Handshake | None = None,
        required: bool = True,
        allowed_origins: Iterable[str] = (),
    ) -> None:
        self._tokens = routes.RoomKey(guard, via=via, required=required, allowed_origins=allowed_origins)

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
                raise ConfigError("cannot decorate a class; write @requires() above the methods of the HTTPEndpoint")

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
            return self._tokens.check(await self._verify(connection), requirement)
        except AuthError as error:
            if connection.scope["type"] == "websocket":
                raise WebSocketException(POLICY_VIOLATION, error.message) from None
            raise AuthHTTPException(error, requirement) from None

    async def _verify(self, connection: HTTPConnection) -> Identity | None:
        """Return the identity of a request's token, or None without a token."""
        kept: tuple[object, Identity | None] = connection.scope.get(_KEPT, (None, None))
        if kept[0] is self:
            return kept[1]
        url = connection.url
        scheme = {"ws": "http", "wss": "https"}.get(url.scheme, url.scheme)
        who = await self._tokens.verify(connection.headers.items(), query=url.query, scheme=scheme)
        connection.scope[_KEPT] = (self, who)
        return who


def _connection_of(*arguments: object) -> HTTPConnection:
    for argument in arguments:
        if isinstance(argument, HTTPConnection):
            return argument
    raise ConfigError(
        "cannot verify a token: @requires() decorates a function without a request or WebSocket; add the argument"
    )
